"""Read documents of a storage: each once, then judged, then parsed. What fails in that is told as damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.catalog import Damage
from recyclic_backups.catalog.documents import FORMAT
from recyclic_backups.catalog.fields import require_known_format
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.envelope.document import decode
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.storage.store import StoredObject

T = TypeVar("T")

MOST_BYTES_NOBODY_SIGNED = 64 << 20
"""Of all documents that are not believed, together: in memory they are dozens of times as large."""


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """A document that could be parsed, and what vouches for it."""

    name: str
    value: T
    standing: Standing
    key_id: str | None
    """The key that it is signed with."""


class DocumentReader:
    """Reads, judges and parses one document after the other. ``damage`` collects what is wrong with them."""

    def __init__(self, repository: Repository) -> None:
        self.judge = Judge(repository)
        self.damage: list[Damage] = []
        self._documents = repository.documents()
        self._bytes_nobody_signed = 0

    def read(
        self,
        item: StoredObject,
        parse: Callable[[Mapping[str, Any]], T],
        *,
        filed_under: str = "",
        newest_format: int = FORMAT,
    ) -> Read[T] | None:
        """Read, judge, parse. None, and damage, where that fails; None where it expired since it was listed.

        ``filed_under`` is the backup that it has to name. Raises StorageError.
        """
        name = item.name
        try:
            content = self._documents.read(item, partial(self.judge.vouches_for, name))
            document = decode(content, name)
            # First: what a newer release wrote, it may also sign otherwise.
            require_known_format(document, newest_format)
            standing = self.judge.standing(document, name)
            if filed_under and document.get("backup_id") != filed_under:
                raise DamagedData("it does not name the backup that it is filed under")
            if not standing.is_believed:
                self._bytes_nobody_signed += len(content)
                if self._bytes_nobody_signed > MOST_BYTES_NOBODY_SIGNED:
                    raise DamagedData(
                        "nobody vouches for it, nor for much before it: no more of that is read"
                    )
            mac = document.get("mac")
            return Read(name, parse(document), standing, None if mac is None else mac["key_id"])
        except ObjectMissing:
            # Expired between the listing and the reading: an ordinary race with `expire`.
            return None
        except (DamagedData, NoUsableKey) as error:
            self.tell(name, error)
            return None

    def tell(self, name: str, problem: BackupError | str) -> None:
        """Note damage."""
        if isinstance(problem, BackupError):
            said = problem.message.removeprefix(f"{name} ")
            if said != problem.message:
                said = said.removeprefix("is damaged: ") if said.startswith("is damaged: ") else f"it {said}"
            self.damage.append(Damage(name, said, lacks_key=isinstance(problem, NoUsableKey)))
        else:
            self.damage.append(Damage(name, problem))

    def save(self) -> None:
        """Keep what was read for the next time."""
        self._documents.save()
