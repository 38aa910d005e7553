"""Count and hash the rows of a table without a query on it, which would have to be planned.

Its rows come by COPY, are written as the text of a row here, and hashed by the server from there: the figures are
those of :func:`recyclic_backups.fingerprint.contents.table_query`. Rows travel twice, so this is for tables whose
indexes would run somebody's code (:mod:`recyclic_backups.fingerprint.foreign_code`) and no others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from recyclic_backups.fingerprint.model import Level
from recyclic_backups.fingerprint.relations import Table
from recyclic_backups.fingerprint.sketch import BUCKET_BITS, KEPT_BITS, KEPT_SHIFT
from recyclic_backups.postgres.connection import Connection

_BATCH_CHARACTERS = 4 << 20
_BATCH_ROWS = 20_000

_HASHES = f"""
SELECT hash & {BUCKET_BITS}, min(hash), sum(hash)::text FROM (
    SELECT pg_catalog.hashtextextended(row COLLATE "C", 0) AS hash FROM pg_catalog.unnest(%s::text[]) AS row) h
GROUP BY 1
"""
# The text format of COPY (https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.2).
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEANING = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
# What record_out puts into quotes (https://www.postgresql.org/docs/15/rowtypes.html#ROWTYPES-IO-SYNTAX).
_QUOTED = re.compile(r'["\\(), \t\n\r\v\f]')
_DOUBLED = re.compile(r'["\\]')


@dataclass
class _Hashes:
    """The sum of all hashes, and the smallest of each bucket."""

    connection: Connection
    total: int = 0
    smallest: dict[int, int] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    characters: int = 0

    def add(self, row: str) -> None:
        self.waiting.append(row)
        self.characters += len(row)
        if self.characters >= _BATCH_CHARACTERS or len(self.waiting) >= _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        for bucket, smallest, total in self.connection.execute(_HASHES, (self.waiting,)).fetchall():
            self.total += int(total)
            self.smallest[bucket] = min(smallest, self.smallest.get(bucket, smallest))
        self.waiting.clear()
        self.characters = 0


def read_unplanned(
    connection: Connection, beside: Connection, table: Table, columns: Collection[str], level: Level
) -> Sequence[Any]:
    """The row that ``table_query`` would have given. ``beside`` is another session in the same database: it hashes.

    Raises psycopg's errors.
    """
    rows = 0
    counts = [0] * len(columns)
    hashes = _Hashes(beside) if level == "content" else None
    # A partitioned table has no rows of its own.
    for values in _copied(connection, table, columns) if table.kind == "r" else ():
        rows += 1
        for place, value in enumerate(values):
            if value is not None:
                counts[place] += 1
        if hashes is not None:
            hashes.add(row_text(values))
    if hashes is None:
        return (rows, None, None, *counts)
    hashes.flush()
    buckets = [[bucket, smallest >> KEPT_SHIFT & KEPT_BITS] for bucket, smallest in hashes.smallest.items()]
    return (rows, str(hashes.total), buckets, *counts)


def row_text(values: Sequence[str | None]) -> str:
    """The values of a row, each as its type writes it, as the text that ``CAST(ROW(…) AS text)`` is."""
    return "(" + ",".join("" if value is None else _field(value) for value in values) + ")"


def _field(value: str) -> str:
    if value and not _QUOTED.search(value):
        return value
    return '"' + _DOUBLED.sub(r"\g<0>\g<0>", value) + '"'


def _copied(connection: Connection, table: Table, columns: Collection[str]) -> Iterator[list[str | None]]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    listed = sql.SQL("({})").format(names) if columns else sql.SQL("")
    query = sql.SQL("COPY {} {} TO STDOUT").format(table.identifier, listed)
    encoding = connection.info.encoding
    rest = b""
    with connection.cursor().copy(query) as copying:
        for piece in copying:
            *lines, rest = (rest + bytes(piece)).split(b"\n")
            for line in lines:
                yield [_value(text) for text in line.decode(encoding).split("\t")] if columns else []


def _value(text: str) -> str | None:
    if "\\" not in text:
        return text
    return None if text == "\\N" else _ESCAPED.sub(lambda found: _MEANING.get(found[1], found[1]), text)
