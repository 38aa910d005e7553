"""The types that the fields of a manifest's document must have. Pure: each raises DamagedData, naming the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from recyclic_backups.errors import DamagedData

T = TypeVar("T")


def one_of(document: Mapping[str, Any], name: str, allowed: tuple[T, ...]) -> T:
    """The one of the allowed values that the field has."""
    for value in allowed:
        if document.get(name) == value:
            return value
    raise DamagedData(f"the manifest's {name} is {document.get(name)!r}")


def a_text(document: Mapping[str, Any], name: str) -> str:
    """The field's text."""
    value = document.get(name)
    if not isinstance(value, str):
        raise DamagedData(f"the manifest's {name} is not a text")
    return value


def a_number(document: Mapping[str, Any], name: str) -> Any:
    """The field's number, not negative and below 2^63."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        raise DamagedData(f"the manifest's {name} is not a number")
    return value


def a_boolean(document: Mapping[str, Any], name: str) -> bool:
    """Whether the field says true."""
    value = document.get(name)
    if not isinstance(value, bool):
        raise DamagedData(f"the manifest's {name} is neither true nor false")
    return value


def a_list(document: Mapping[str, Any], name: str) -> list[Any]:
    """The field's array; one that is not there is empty."""
    value = document.get(name, [])
    if not isinstance(value, list):
        raise DamagedData(f"the manifest's {name} is not a list")
    return value


def an_object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The field's object."""
    return as_object(document.get(name), name)


def as_object(value: Any, name: str) -> Mapping[str, Any]:
    """The value, if it is an object; ``name`` is the field it is in."""
    if not isinstance(value, Mapping):
        raise DamagedData(f"the manifest's {name} is not an object")
    return value
