"""A document is what its dataclass says: written and read field by field, by names and types. Pure.

A field that says ``metadata=OMITTED`` is left out where it has its default, one that says ``named("other")`` stands
under another name, and ``UNSTORED`` ones stand nowhere. A field that is missing has its default. Fields that nobody
knows are passed over. Numbers are not negative, and below 2^63, but for a field's default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache, partial
from types import UnionType
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar, get_args, get_origin, get_type_hints

from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData

T = TypeVar("T")
Read = Callable[[Any, str], Any]
"""Reads a JSON value; the text names where it stands: "manifest's server.version". Raises DamagedData."""

OMITTED: Mapping[str, Any] = {"omitted": True}
UNSTORED: Mapping[str, Any] = {"stored": False}

_PLAIN = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def named(name: str) -> Mapping[str, Any]:
    """Metadata of a field that stands in the document under another name than its own."""
    return {"name": name}


def spelled(write: Callable[[Any], str], read: Callable[[str], Any]) -> Mapping[str, Any]:
    """Metadata of a field that is a text in the document; ``read`` raises ValueError with a sentence's end."""
    return {"spelled": (write, read)}


class Document:
    """Base of dataclasses with slots that are documents, or say themselves how they are written in one.

    With a ``FORMAT`` the document says it first, and only that one is read.
    """

    __slots__ = ()
    FORMAT: ClassVar[int | None] = None

    def to_json(self) -> dict[str, Any]:
        """The document, without its MAC."""
        return ({} if self.FORMAT is None else {"format": self.FORMAT}) | fields_of(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a document. Raises DamagedData."""
        if cls.FORMAT is not None:
            require_known_format(document, cls.FORMAT)
            if document.get("format") != cls.FORMAT:
                raise DamagedData(
                    f"the document has format {document.get('format')!r}, this version reads {cls.FORMAT}"
                )
        return parsed(cls, document, cls.__name__.lower())


def require_known_format(document: Mapping[str, Any], newest: int) -> None:
    """Refuse what a newer release wrote: a format later than the ``newest`` of its kind. Raises DamagedData."""
    version = document.get("format")
    if isinstance(version, int) and version > newest:
        raise DamagedData(
            f"the document has format {version}, this version reads up to {newest}: a newer release wrote it",
            "use a newer recyclic-backups",
        )


def as_json(value: Any) -> Any:
    """A value as JSON has it: of a dataclass its fields, but of a :class:`Document` what that says."""
    match value:
        case datetime():
            return to_text(value)
        case Enum():
            return value.value
        case Document():
            return value.to_json()
        case Mapping():
            return {name: as_json(each) for name, each in value.items()}
        case tuple() | list():
            return [as_json(each) for each in value]
    return fields_of(value) if is_dataclass(value) else value


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, in their order."""
    kind: Any = type(value)
    found = ((each, getattr(value, each.attribute)) for each in _fields_of(kind))
    return {each.name: each.write(it) for each, it in found if not (each.omitted and it == each.default)}


def parsed(kind: type[T], document: Any, of: str, /, **given: Any) -> T:
    """The dataclass that a document has the fields of; ``of`` names it in messages: "manifest".

    ``given`` are fields that are not read. Raises DamagedData.
    """
    if not isinstance(document, Mapping):
        raise DamagedData(f"the {of} is not an object")
    wanted: Any = kind
    for each in _fields_of(wanted):
        if each.name in document:
            value = document[each.name]
            is_default = type(value) is type(each.default) and value == each.default
            given[each.attribute] = value if is_default else each.read(value, f"{of}'s {each.name}")
        elif each.is_required:
            raise DamagedData(f"the {of} has no {each.name}")
    return kind(**given)


class _Field(NamedTuple):
    attribute: str
    name: str
    write: Callable[[Any], Any]
    read: Read
    default: Any
    is_required: bool
    omitted: bool


@cache
def _fields_of(kind: Any) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _Field(
            each.name,
            each.metadata.get("name", each.name),
            *_spelling(each.metadata.get("spelled"), hints[each.name]),
            each.default,
            each.default is MISSING and each.default_factory is MISSING,
            "omitted" in each.metadata,
        )
        for each in fields(kind)
        if "stored" not in each.metadata
    )


def _spelling(
    given: tuple[Callable[[Any], str], Callable[[str], Any]] | None, kind: Any
) -> tuple[Callable[[Any], Any], Read]:
    """How a field is written, and read."""
    if given is None:
        return as_json, _reader(kind)
    write, read = given

    def read_text(value: Any, where: str) -> Any:
        try:
            return read(_plain(str, value, where))
        except ValueError as error:
            raise DamagedData(f"the {where} {error}") from None

    return write, read_text


@cache
def _reader(kind: Any) -> Read:
    """What reads a value of that type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value, _: value
    if origin is UnionType:  # of a type and None
        inner = _reader(arguments[0])
        return lambda value, where: None if value is None else inner(value, where)
    if origin is Literal:
        return partial(_one_of, arguments)
    if origin is tuple:
        inner = _reader(arguments[0])
        return lambda value, where: tuple(inner(each, where) for each in _a(list, "a list", value, where))
    if origin is not None:
        if arguments[1] is Any:
            return lambda value, where: _a(dict, "an object", value, where)
        inner = _reader(arguments[1])
        return lambda value, where: {
            name: inner(each, f"{where}.{name}") for name, each in _a(dict, "an object", value, where).items()
        }
    if kind is datetime:
        return lambda value, _: from_text(value)
    if issubclass(kind, Enum):
        return lambda value, where: kind(_one_of([each.value for each in kind], value, where))
    if issubclass(kind, Document):
        return lambda value, where: kind.from_json(_a(dict, "an object", value, where))
    if kind in _PLAIN:
        return partial(_plain, kind)
    return partial(parsed, kind)


def _a(kind: type[T], named: str, value: Any, where: str) -> T:
    if not isinstance(value, kind):
        raise DamagedData(f"the {where} is not {named}")
    return value


def _one_of(allowed: Iterable[Any], value: Any, where: str) -> Any:
    for each in allowed:
        if type(each) is type(value) and each == value:
            return each
    raise DamagedData(f"the {where} is {value!r}")


def _plain(kind: type[Any], value: Any, where: str) -> Any:
    """A text, a truth or a number: a whole one for int, any for float."""
    is_right = type(value) is kind or (kind is float and type(value) is int)
    if not is_right or (kind in (int, float) and not 0 <= value < 2**63):  # beyond, floats lack it
        raise DamagedData(f"the {where} is not {_PLAIN[kind]}")
    return kind(value)
