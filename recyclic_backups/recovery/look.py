"""Which transactions deleted, changed, dropped or truncated what, and when: to find the second before an accident.

Told by the WAL alone, which knows files by number. Names come from whoever knows the numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.server import Server
from recyclic_backups.recovery.ask_wal import Record, WalReader, ending_of
from recyclic_backups.recovery.windows import Window

MOST_TOLD = 1000
"""So many transactions at most: those that removed files, and those with the most rows."""

_MANAGERS = ("Transaction", "Heap", "Storage", "Database")
_FIRST_OF_USERS = 16384  # FirstNormalObjectId: below are files of the system's own catalogs

_ROW = re.compile(
    r"(?P<what>DELETE|UPDATE|HOT_UPDATE)\b.*?blkref #0: rel \d+/(?P<database>\d+)/(?P<file>\d+) "
)
_FILE = re.compile(r"(?:base|pg_tblspc/\d+/[^/\s]+)/(?P<database>\d+)/(?P<file>\d+)")
_DROPPED = re.compile(r"\b\d+/(\d+)")
_REMOVED = re.compile(r"; rels: (?P<files>[^;]*)")
_SUBTRANSACTIONS = re.compile(r"; subxacts: (?P<xids>[\d ]+)")

Act = Literal["deleted", "updated"]


@dataclass(frozen=True, slots=True, order=True)
class RelationFile:
    """A table's file: the database's oid, and the number of the file."""

    database: int
    number: int


@dataclass(frozen=True, slots=True)
class Happening:
    """A committed transaction, and what it did to tables. ``lsn`` is where its commit is."""

    xid: int
    lsn: int
    at: datetime
    deleted: Mapping[RelationFile, int]
    updated: Mapping[RelationFile, int]
    removed: tuple[RelationFile, ...]
    """Files that are gone with it: of tables that were dropped, truncated or rewritten, of their indexes too."""
    created: tuple[RelationFile, ...]
    """Files that it made: where it removed some too, of tables that were truncated or rewritten."""
    databases: tuple[int, ...] = ()
    """Databases that it dropped, by their oid."""

    @property
    def rows(self) -> int:
        """How many rows it deleted or changed."""
        return sum(self.deleted.values()) + sum(self.updated.values())

    @property
    def weight(self) -> tuple[bool, bool, int]:
        """How likely it is the one that somebody looks for: databases and tables that went, then the most rows."""
        return bool(self.databases), bool(self.removed), self.rows

    def to_json(self, names: Names) -> dict[str, Any]:
        """As ``recover --look --json`` prints it."""
        return {
            "xid": self.xid,
            "commit_lsn": lsn_text(self.lsn),
            "time": to_text(self.at),
            "deleted": [{**names.to_json(file), "rows": rows} for file, rows in sorted(self.deleted.items())],
            "updated": [{**names.to_json(file), "rows": rows} for file, rows in sorted(self.updated.items())],
            "removed": [names.to_json(file) for file in self.removed],
            "created": [names.to_json(file) for file in self.created],
            "dropped_databases": list(self.databases),
        }


@dataclass(frozen=True, slots=True)
class Names:
    """What databases and files are called, as far as somebody knows."""

    databases: Mapping[int, str] = field(default_factory=dict)
    relations: Mapping[RelationFile, str] = field(default_factory=dict)
    hidden: frozenset[RelationFile] = frozenset()
    """Files of the system's own tables, and of parts of tables: nobody asks for them."""

    def of(self, file: RelationFile) -> str:
        """``public.member in shop``, or ``file 16402 in shop``."""
        database = self.databases.get(file.database, f"database {file.database}")
        return f"{self.relations.get(file, f'file {file.number}')} in {database}"

    def to_json(self, file: RelationFile) -> dict[str, Any]:
        """The same for machines."""
        return {
            "database": self.databases.get(file.database),
            "database_oid": file.database,
            "table": self.relations.get(file),
            "file": file.number,
        }


@dataclass(slots=True)
class _UnderWay:
    deleted: Counter[RelationFile] = field(default_factory=Counter)
    updated: Counter[RelationFile] = field(default_factory=Counter)
    created: list[RelationFile] = field(default_factory=list)
    databases: list[int] = field(default_factory=list)

    def take(self, other: _UnderWay) -> None:
        self.deleted += other.deleted
        self.updated += other.updated
        self.created += other.created
        self.databases += other.databases


def look(
    reader: WalReader, window: Window, from_at: datetime, until_at: datetime, names: Names
) -> list[Happening]:
    """What was committed between two moments and did something to tables, oldest first.

    Raises DamagedData, ArchiveError, NoUsableKey, StorageError, ProgramFailed.
    """
    found = [
        each
        for each in _happenings(reader, window, _where(reader, window, from_at), until_at, names)
        if from_at <= each.at <= until_at
    ]
    told = sorted(found, key=lambda each: each.weight, reverse=True)[:MOST_TOLD]
    return sorted(told, key=lambda each: each.lsn)


def _happenings(
    reader: WalReader, window: Window, from_lsn: int, until_at: datetime, names: Names
) -> Iterator[Happening]:
    running: dict[int, _UnderWay] = {}
    for record in reader.forward(window, from_lsn, window.end_lsn, _MANAGERS):
        if record.manager != "Transaction":
            _note(record, running, names)
            continue
        ending = ending_of(record)
        if ending is None:
            continue
        done = running.pop(ending.xid, _UnderWay())
        if match := _SUBTRANSACTIONS.search(record.what):
            for xid in map(int, match["xids"].split()):
                done.take(running.pop(xid, _UnderWay()))
        if not ending.committed:
            continue
        removed = _REMOVED.search(record.what)
        gone = tuple(
            file
            for each in _FILE.finditer(removed["files"] if removed else "")
            if _counts(file := RelationFile(int(each["database"]), int(each["file"])), names)
        )
        if gone or done.deleted or done.updated or done.databases:
            yield Happening(
                ending.xid,
                ending.lsn,
                ending.at,
                dict(done.deleted),
                dict(done.updated),
                gone,
                tuple(done.created),
                tuple(done.databases),
            )
        if ending.at > until_at:
            return


def _note(record: Record, running: dict[int, _UnderWay], names: Names) -> None:
    if record.manager == "Database":
        if record.what.startswith("DROP"):
            dropped = [int(oid) for oid in _DROPPED.findall(record.what)]
            running.setdefault(record.xid, _UnderWay()).databases.extend(dropped)
        return
    if record.manager == "Storage":
        match = _FILE.search(record.what) if record.what.startswith("CREATE") else None
    else:
        match = _ROW.match(record.what)
    if match is None:
        return
    file = RelationFile(int(match["database"]), int(match["file"]))
    if not _counts(file, names):
        return
    work = running.setdefault(record.xid, _UnderWay())
    if record.manager == "Storage":
        work.created.append(file)
    elif match["what"] == "DELETE":
        work.deleted[file] += 1
    else:
        work.updated[file] += 1


def _counts(file: RelationFile, names: Names) -> bool:
    return file.number >= _FIRST_OF_USERS and file not in names.hidden


def _where(reader: WalReader, window: Window, moment: datetime) -> int:
    """A position before which nothing was committed at that moment or later: the WAL need not be read from its start.

    Transactions that began before it and ended after it may have done some of their work in front of it.
    """
    size = window.segment_bytes
    low, high = window.start_lsn // size, max(window.start_lsn, window.end_lsn - 1) // size
    while low < high:
        middle = (low + high + 1) // 2
        first = next(
            (
                ending.at
                for record in reader.forward(
                    window,
                    max(window.start_lsn, middle * size),
                    window.end_lsn,
                    ("Transaction",),
                    at_once=1,
                )
                if (ending := ending_of(record)) is not None
            ),
            None,
        )
        if first is not None and first < moment:
            low = middle
        else:
            high = middle - 1
    return max(window.start_lsn, (low - 1) * size)


_NAMES = b"""
SELECT pg_catalog.pg_relation_filenode(c.oid), pg_catalog.format('%I.%I', n.nspname, c.relname),
    c.relkind::pg_catalog.text, n.nspname::pg_catalog.text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
"""
_DATABASES = "SELECT oid, datname, datallowconn FROM pg_catalog.pg_database"
_OWN_SCHEMAS = ("pg_catalog", "pg_toast", "information_schema")


def names_from(server: Server) -> Names:
    """What a running server calls its files now; what was dropped has no name there. Raises DatabaseError."""
    databases: dict[int, str] = {}
    relations: dict[RelationFile, str] = {}
    hidden: set[RelationFile] = set()
    with server.connect(NEUTRAL_DATABASE) as connection:
        rows = connection.execute(_DATABASES).fetchall()
    for oid, name, may_connect in rows:
        databases[oid] = name
        if not may_connect:
            continue
        with server.connect(name) as connection:
            for number, called, kind, schema in connection.execute(_NAMES):
                if number is None:
                    continue
                file = RelationFile(oid, number)
                if kind not in ("r", "m") or schema in _OWN_SCHEMAS:
                    hidden.add(file)
                relations[file] = called
    return Names(databases, relations, frozenset(hidden))
