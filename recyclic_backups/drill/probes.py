"""Probes: questions in SQL that a restored database must answer as its application would expect.

A probe is a file with one query and, in comments before it, what it is about::

    -- probe: every sale has at least one line
    -- needs: public.sales(id), public.sale_items(sale_id)
    -- expect: no rows
    SELECT …

``expect`` is one of ``rows``, ``no rows``, ``true``, ``at least NUMBER`` and ``younger than NUMBER hours|days``: there
has to be a row, there must be none, or the first value is true, large enough, or a moment not older than that when
the backup was taken. ``needs`` names tables, and in brackets the columns that the query uses. A probe whose tables or
columns the backup does not have is passed over, and the report says so.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg

from recyclic_backups.catalog.fields import Document
from recyclic_backups.errors import ConfigurationError, DatabaseError
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name, some
from recyclic_backups.quantities import human_seconds

_HEADER = re.compile(r"^--\s*(probe|needs|expect)\s*:\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_NEED = re.compile(r"\s*([^(),]+?)\s*(?:\(([^()]*)\))?\s*(?:,|$)")
_YOUNGER = re.compile(r"younger than (\d+(?:\.\d+)?) (hour|day)s?")
_AT_LEAST = re.compile(r"at least (-?\d+(?:\.\d+)?)")
_REFUSED_VIEW = "55000"
"""object_not_in_prerequisite_state: also how a server says that access to views is restricted (rewriteHandler.c)."""
_NOT_FOUND = ("42P01", "42883", "42704")
"""undefined_table, undefined_function (operators too), undefined_object."""
_HOW_TO = "see docs/drills.md: -- expect: rows | no rows | true | at least N | younger than N hours|days"


_COLUMNS = """
SELECT n.nspname, c.relname, pg_catalog.array_agg(a.attname::pg_catalog.text)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY n.nspname, c.relname
"""

Columns = Mapping[str, Collection[str]]
"""Tables and views as ``schema.table``, each with the names of its columns."""


@dataclass(frozen=True, slots=True)
class Need:
    """A table that a query is about, as ``schema.table``, and those of its columns that it is said to use."""

    table: str
    columns: tuple[str, ...] = ()

    def missing_from(self, known: Columns) -> list[str]:
        """What of it is not known, in words; empty when all of it is."""
        if self.table not in known:
            return [self.table]
        return [f"column {name} of {self.table}" for name in self.columns if name not in known[self.table]]


@dataclass(frozen=True, slots=True)
class Probe:
    """One question."""

    name: str
    query: str
    expect: str
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer(Document):
    """What a probe found: ``passed`` is None for one that was passed over."""

    probe: str
    passed: bool | None
    reason: str


def load_probes(own_directory: Path | None) -> list[Probe]:
    """Recyclic's own probes, and the user's (``DRILL_PROBES``). Raises ConfigurationError, naming the file."""
    shipped = files(__package__).joinpath("probes")
    texts = [
        (each.name, each.read_text(encoding="utf-8"))
        for each in shipped.iterdir()
        if each.name.endswith(".sql")
    ]
    if own_directory is not None:
        try:
            own = sorted(own_directory.glob("*.sql"))
            if not own_directory.is_dir():
                raise NotADirectoryError
            texts += [(str(path), path.read_text(encoding="utf-8")) for path in own]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"DRILL_PROBES {str(own_directory)!r} cannot be read: {error.__class__.__name__}",
                "name a directory of .sql files",
            ) from None
    return [parse(name, text) for name, text in sorted(texts)]


def parse(name: str, text: str) -> Probe:
    """A probe from its file. Raises ConfigurationError when what it expects is none of the known things."""
    headers = {key.lower(): value for key, value in _HEADER.findall(text)}
    expect = " ".join(headers.get("expect", "").lower().split())
    known = expect in ("rows", "no rows", "true") or _YOUNGER.fullmatch(expect) or _AT_LEAST.fullmatch(expect)
    if not known:
        raise ConfigurationError(f"the probe {name} expects {expect or 'nothing'!r}", _HOW_TO)
    query = _HEADER.sub("", text).strip().rstrip(";")
    if not query:
        raise ConfigurationError(f"the probe {name} has no query", _HOW_TO)
    return Probe(
        headers.get("probe") or Path(name).stem, query, expect, _needs(name, headers.get("needs", ""))
    )


def _needs(name: str, text: str) -> tuple[Need, ...]:
    needs, position = [], 0
    while text[position:].strip():
        found = _NEED.match(text, position)
        if found is None:
            raise ConfigurationError(
                f"the probe {name} needs {text!r}, which cannot be understood",
                "write tables, and in brackets their columns: -- needs: public.sales(id, total_amount), public.users",
            )
        columns = tuple(column.strip() for column in (found[2] or "").split(",") if column.strip())
        needs.append(Need(found[1], columns))
        position = found.end()
    return tuple(needs)


def expected_of(fingerprint: Mapping[str, Any] | None) -> dict[str, Collection[str]]:
    """The tables that a backup has, with their columns; none where it has no fingerprint. Raises DamagedData."""
    tables = Fingerprint.from_json(fingerprint).tables if fingerprint else {}
    return {name: table.non_null.keys() for name, table in tables.items()}


def columns_of(connection: Connection) -> dict[str, frozenset[str]]:
    """The tables and views of the connected database with their columns. Raises psycopg.Error."""
    rows = connection.execute(_COLUMNS).fetchall()
    return {qualified_name(schema, name): frozenset(columns) for schema, name, columns in rows}


def ask(
    connection: Connection,
    probes: Sequence[Probe],
    expected: Columns,
    as_of: datetime,
    *,
    running: Mapping[str, Sequence[str]] | None = None,
    views_refused: bool = False,
) -> list[Answer]:
    """Ask every probe, each in a read-only transaction of its own. A query that fails is an answer: it failed.

    ``expected`` are the tables that have to be there, with their columns: a probe about others is passed over. A
    column that is only in the database itself counts too (fingerprints leave generated ones out).

    Their names are looked up in ``pg_catalog`` alone: a probe writes ``public.sales``. Of a live database ``running``
    are tables that no query may be put to, and whose functions it would run; with ``views_refused`` the session was
    told to lead to no view (:mod:`recyclic_backups.fingerprint.foreign_code`). What needs those is passed over.
    """
    present = columns_of(connection)
    known = {table: {*columns, *present.get(table, ())} for table, columns in expected.items()}
    answers = []
    for probe in probes:
        barred = [need.table for need in probe.needs if need.table in (running or {})]
        if barred and running is not None:
            owners = some(sorted({owner for name in barred for owner in running[name]}))
            reason = f"passed over: a query on {some(barred)} runs functions of {owners} with our rights"
            answers.append(Answer(probe.name, None, reason))
        else:
            answers.append(_ask(connection, probe, known, as_of, views_refused=views_refused))
    return answers


def _ask(
    connection: Connection, probe: Probe, known: Columns, as_of: datetime, *, views_refused: bool
) -> Answer:
    if missing := [what for need in probe.needs for what in need.missing_from(known)]:
        return Answer(probe.name, None, f"passed over: the backup has no {', no '.join(missing)}")
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ ONLY")
            row = connection.execute(probe.query.encode()).fetchone()
    except Exception as error:
        if not _is_of_the_database(error):
            raise
        if views_refused and getattr(error, "sqlstate", "") == _REFUSED_VIEW:
            reason = "passed over: it reads a view, whose owner's code would run with our rights"
            return Answer(probe.name, None, reason)
        sentence = str(error).strip().splitlines()[0] if str(error).strip() else error.__class__.__name__
        if getattr(error, "sqlstate", "") in _NOT_FOUND:
            sentence += " (names are looked up in pg_catalog alone: write public.sales)"
        return Answer(probe.name, False, f"the query fails: {sentence}")
    problem = judge(probe.expect, row, as_of)
    return Answer(probe.name, not problem, problem or "as expected")


def judge(expect: str, row: tuple[Any, ...] | None, as_of: datetime) -> str:
    """What is wrong with an answer; empty when nothing is. Pure. ``row`` is the first one, if there is any."""
    if expect == "no rows":
        return "" if row is None else f"found a row that should not be: {_shown(row)}"
    if row is None:
        return "found no row"
    if expect == "rows":
        return ""
    value = row[0]
    if expect == "true":
        return "" if value is True else f"is {value!r}, not true"
    if found := _AT_LEAST.fullmatch(expect):
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return f"is {value!r}, not a number"
        return "" if value >= Decimal(found[1]) else f"is {value}, less than {found[1]}"
    found = _YOUNGER.fullmatch(expect)
    assert found is not None, expect
    moment = _moment(value)
    if moment is None:
        return f"is {value!r}, not a moment"
    allowed = timedelta(**{f"{found[2]}s": float(found[1])})
    age = as_of - moment
    return (
        "" if age <= allowed else f"the newest is {human_seconds(age.total_seconds())} older than the backup"
    )


def _moment(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        # The end of that day, wherever: a date has no hour to be held against.
        return datetime.combine(value + timedelta(days=1), time(), UTC)
    return None


def _shown(row: tuple[Any, ...]) -> str:
    """Enough of a row to find it by: its first column. The others may be somebody's personal data."""
    return str(row[0])[:60]


def _is_of_the_database(error: Exception) -> bool:
    return isinstance(error, psycopg.Error | DatabaseError)
