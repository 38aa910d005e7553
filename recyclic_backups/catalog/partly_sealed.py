"""Fields that a manifest's document holds sealed: opened when somebody first asks for one. Pure.

Of a sealed manifest that was read, these fields have no value; the object knows a function that opens what is sealed
and gives its *twin*, which has them all. Whoever reads ``manifest.fingerprint`` gets the opened one or an error that
says why not: nobody can take "sealed, and no key" for "has none".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from recyclic_backups.catalog.fields import Document
from recyclic_backups.errors import BackupError, NoUsableKey

T = TypeVar("T", bound="PartlySealed")


class PartlySealed(Document):
    """Base of frozen dataclasses with slots and a field ``twin``: a slot without value is looked up in the twin."""

    __slots__ = ()
    CLOSED_BY: ClassVar[tuple[type[BackupError], ...]] = (NoUsableKey,)
    """What opening raises where it is merely closed; whatever else it raises, asking :attr:`is_closed` does too."""

    @property
    def is_closed(self) -> bool:
        """Whether something of it is sealed, and no key at hand opens that."""
        try:
            if self.twin is not None:
                self.twin()
        except self.CLOSED_BY:
            return True
        return False

    if TYPE_CHECKING:
        twin: Callable[[], Any] | None
    else:  # a type checker would believe that every name is an attribute

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute without value only. Raises what opening raises: NoUsableKey, DamagedData."""
            if name == "twin" or name not in type(self).__dataclass_fields__:
                raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
            if self.twin is None:
                raise AttributeError(f"{name} has no value")
            return getattr(self.twin(), name)


def closed(value: T, names: Iterable[str], twin: Callable[[], T]) -> T:
    """The same object with these fields taken from ``twin()`` from now on. Changes it: only for one just made."""
    for name in names:
        object.__delattr__(value, name)
    object.__setattr__(value, "twin", twin)
    return value
