"""The nights with which the newest backup is compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.document import a_map
from recyclic_backups.fingerprint.model import TableFingerprint


@dataclass(frozen=True, slots=True)
class Night:
    """One backup's figures. ``tables`` is None where it has no fingerprint that can be read.

    ``closed`` says that they are sealed and no key at hand opens them, ``unreadable`` that they are damaged: either way
    nothing is known of them.
    """

    backup: Backup
    tables: Mapping[str, TableFingerprint] | None
    closed: bool = False
    unreadable: bool = False

    @classmethod
    def of(cls, backup: Backup) -> Night:
        """The night of a backup."""
        try:
            if backup.manifest.is_closed:
                return cls(backup, None, closed=True)
            document = backup.manifest.fingerprint
            if document is None or document.get("level") == "off":
                return cls(backup, None)
            return cls(backup, a_map(document.get("tables"), TableFingerprint.from_json))
        except DamagedData:
            return cls(backup, None, unreadable=True)  # said by the caller, once for the backup

    @property
    def knows_rows(self) -> bool:
        """Whether it tells which rows there were, not only how many: what shows that rows became others."""
        return self.tables is not None and (self.backup.manifest.fingerprint or {}).get("level") == "content"

    @property
    def day(self) -> str:
        """The day of its content, as its backup id says it (UTC)."""
        return self.backup.as_of.date().isoformat()
