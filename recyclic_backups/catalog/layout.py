"""Where everything of one database lies in a storage (specified in docs/format/documents.md)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from recyclic_backups.catalog.timestamps import compact
from recyclic_backups.errors import DamagedData

RECENT_DAYS = 4
"""So many days of the audit log are listed when its end is looked for; more only where that is not enough."""

_CHECK_TIME = "%Y%m%dT%H%M%S.%fZ"

BACKUP_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[A-Z2-7]{6}")


OBJECT_NAME = re.compile(r"(?:main\.dump|table-\d{4,}\.dump|globals\.sql)(?:\.zst)?(?:\.sealed)?")
"""What the objects of a backup are called by whoever writes them; readers take any name that a manifest gives."""

TOP_FILES = frozenset({"storage.json", "recover.py", "RECOVERY.md"})
"""Files in the storage's top directory."""

TOP_FOLDERS = frozenset({"keys", "software", "lost+found"})
"""Folders there that are no database's; the last is made by mkfs(8)."""

DATABASE_FOLDERS = frozenset(
    {"backups", "tiers", "attempts", "holds", "tombstones", "audit", "flags", "alerts"}
)
"""Folders directly in a database's own."""

DATABASE_FILES = frozenset({"report.html"})
"""Files there."""


def folder_of(database: str) -> str:
    """The database's name with everything outside ``[A-Za-z0-9_-]`` percent-encoded, so that any name is a folder."""
    # quote() leaves "." and "~" alone whatever it is told: a database called ".." must not become a path.
    return quote(database, safe="").replace(".", "%2E").replace("~", "%7E")


def database_of(folder: str) -> str:
    """The reverse of :func:`folder_of`. Raises DamagedData when the folder cannot have come from it."""
    database = unquote(folder, errors="strict")
    if folder_of(database) != folder:
        raise DamagedData(f"{folder!r} is not the folder of any database")
    return database


def asset_name_of(database: str) -> str:
    """The first part of the database's asset keys: its name where Dagster allows it, else with a short hash added."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", database)
    if plain == database:
        return database
    return f"{plain}_{hashlib.sha256(database.encode()).hexdigest()[:6]}"


def new_backup_id(as_of: datetime, randomness: bytes) -> str:
    """``20261122T010003Z-K3X7QA``: the snapshot's second and six base32 characters made of ``randomness`` (4 bytes)."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    number = int.from_bytes(randomness, "big")
    token = "".join(alphabet[(number >> (5 * position)) & 31] for position in range(6))
    return f"{compact(as_of)}-{token}"


def backup_id_of_manifest(name: str) -> str | None:
    """The backup whose manifest has that storage name; None for a name that no manifest has."""
    folder, _, file = name.rpartition("/")
    folder, _, backup_id = folder.rpartition("/")
    is_one = file == "manifest.json" and folder.endswith("/backups") and BACKUP_ID.fullmatch(backup_id)
    return backup_id if is_one else None


def manifest_beside(name: str) -> str:
    """The storage name of the manifest of the backup in whose folder an object lies."""
    database, backups, backup_id, *_ = name.split("/")
    return f"{database}/{backups}/{backup_id}/manifest.json"


def check_name(folder: str, moment: datetime) -> str:
    """A verification or drill of what lies in that folder, append-only."""
    return f"{folder}/checks/{moment.strftime(_CHECK_TIME)}.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one database's objects."""

    database: str

    @property
    def root(self) -> str:
        """The database's own folder."""
        return folder_of(self.database)

    @property
    def backups(self) -> str:
        """The folder of all backups."""
        return f"{self.root}/backups"

    def backup(self, backup_id: str) -> str:
        """The folder of one backup."""
        return f"{self.backups}/{backup_id}"

    def manifest(self, backup_id: str) -> str:
        """The document that makes a backup exist."""
        return f"{self.backup(backup_id)}/manifest.json"

    def object(self, backup_id: str, name: str) -> str:
        """One of the objects that the manifest lists."""
        return f"{self.backup(backup_id)}/{name}"

    def check(self, backup_id: str, moment: datetime) -> str:
        """A verification or drill, append-only."""
        return check_name(self.backup(backup_id), moment)

    @property
    def labels(self) -> str:
        """The folder of all labels."""
        return f"{self.root}/tiers"

    def label(self, tier: str, partition: str) -> str:
        """The label of one tier's partition."""
        return f"{self.labels}/{tier}/{partition}.json"

    @property
    def holds(self) -> str:
        """The folder of all holds."""
        return f"{self.root}/holds"

    def hold(self, backup_id: str) -> str:
        """The document that keeps a backup from expiring."""
        return f"{self.holds}/{backup_id}.json"

    @property
    def tombstones(self) -> str:
        """The folder of all tombstones."""
        return f"{self.root}/tombstones"

    def tombstone(self, backup_id: str) -> str:
        """The document after which a backup is not usable any more."""
        return f"{self.tombstones}/{backup_id}.json"

    @property
    def audit(self) -> str:
        """The folder of the audit log."""
        return f"{self.root}/audit"

    def audit_since(self, moment: datetime) -> str:
        """What comes before the events of that moment (aware) and later ones, in the order of names.

        It is the same all day (UTC), so that who asks again asks the same.
        """
        return f"{self.audit}/{moment.astimezone(UTC):%Y%m%d}"

    def recent_audit(self, now: datetime) -> str:
        """What comes before the events of the last days, in the order of names."""
        return self.audit_since(now - timedelta(days=RECENT_DAYS))

    @property
    def end_of_audit(self) -> str:
        """What comes after the audit log, and before all folders of the catalog, in the order of names."""
        return f"{self.root}/audit0"

    @property
    def flags(self) -> str:
        """The folder of the feature flags that are set."""
        return f"{self.root}/flags"

    def flag(self, name: str) -> str:
        """The document that says whether somebody wants a feature."""
        return f"{self.flags}/{name}.json"

    def flag_outcome(self, name: str) -> str:
        """The document that says what runs made of it."""
        return f"{self.flags}/{name}.outcome.json"

    @property
    def report(self) -> str:
        """The page that Dagster writes every hour."""
        return f"{self.root}/report.html"

    @property
    def attempts(self) -> str:
        """The folder of attempts under way."""
        return f"{self.root}/attempts"

    def attempt(self, backup_id: str) -> str:
        """The document that says who is writing a backup's objects; gone once the backup exists."""
        return f"{self.attempts}/{backup_id}.json"
