"""What a live database contains now, counted table by table, and what of it cannot be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from recyclic_backups.diagnose.inspection import Failed, Inspection
from recyclic_backups.diagnose.losses import LiveFigures
from recyclic_backups.diagnose.report import Finding
from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.contents import table_fingerprint, table_query
from recyclic_backups.fingerprint.foreign_code import run_by_planning
from recyclic_backups.fingerprint.model import SequenceReading, TableFingerprint
from recyclic_backups.fingerprint.relations import (
    USER_SCHEMA,
    Table,
    columns_of,
    list_tables,
    partitions_of,
    references_of,
)
from recyclic_backups.fingerprint.sequences import read_sequences, ways_to_read
from recyclic_backups.fingerprint.session import is_still
from recyclic_backups.fingerprint.unplanned import read_unplanned
from recyclic_backups.postgres.names import qualified_name, some
from recyclic_backups.progress import Progress

_MATERIALIZED_VIEWS = f"""
SELECT c.oid, n.nspname, c.relname, c.oid::regclass::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated AND {USER_SCHEMA} ORDER BY 2, 3
"""

_INDEXES_OF = """
SELECT n.nspname, c.relname, c.oid::regclass::text, pg_catalog.pg_relation_filenode(c.oid)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE i.indrelid = %s ORDER BY 2
"""


@dataclass(frozen=True)
class LiveReading:
    """The figures, and findings about what could not be read.

    ``references`` are the foreign keys and parents of each table as they are now, ``unreadable`` the tables
    whose data are damaged, ``skipped`` these and those that could not be read for another reason, or that no query may
    be put to (:mod:`recyclic_backups.fingerprint.foreign_code`).
    """

    figures: LiveFigures
    findings: list[Finding]
    references: Mapping[str, tuple[str, ...]]
    unreadable: frozenset[str]
    skipped: frozenset[str]


@dataclass
class _Counting:
    inspection: Inspection
    tables: dict[str, TableFingerprint] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    run_by_planning: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def table(
        self, table: Table, columns: dict[str, str], references: tuple[str, ...], partitions: tuple[str, ...]
    ) -> None:
        name = table.qualified
        if not table.readable:
            self.unread.add(name)
            self.inspection.incomplete.append(f"table {name} was not looked at: this role may not read it")
            return
        if table.filtered:
            self.unread.add(name)
            self.inspection.incomplete.append(
                f"table {name} was not looked at: row-level security hides rows from this role"
            )
            return
        answer = self._figures(table, columns)
        if isinstance(answer, Failed) and self._is_sound(table):
            self.unread.add(name)
            self.findings.append(_damaged_index(self.inspection, table, answer))
            self.inspection.incomplete.append(
                f"table {name} was not looked at: diagnose again with its index rebuilt"
            )
        elif isinstance(answer, Failed):
            self.unreadable.add(name)
            sentence = f"the table cannot be read: {answer.sentence}"
            self.findings.append(Finding("unreadable", name, sentence, table=name, restore=(name,)))
        elif answer is None:
            self.unread.add(name)
        else:
            self.tables[name] = table_fingerprint(answer[0], columns, references, partitions)

    def _figures(self, table: Table, columns: dict[str, str]) -> list[tuple[Any, ...]] | Failed | None:
        """Hashing the text of each row is what makes the server fetch and decompress every value."""
        looking, subject = self.inspection, f"table {table.qualified}"
        if not looking.waited_for(subject, table.identifier, named=[(table.oid, table.identifier)]):
            return None
        if owners := run_by_planning(looking.beside, table.oid).get(table.oid):
            self.run_by_planning[table.qualified] = owners
            return looking.attempt(
                subject,
                lambda: [
                    tuple(read_unplanned(looking.connection, looking.beside, table, columns, "content"))
                ],
            )
        return looking.ask(subject, table_query(table, columns, "content"))

    def _is_sound(self, table: Table) -> bool:
        """Whether the rows themselves can be read, and it is an index that stops every query from being planned."""
        if table.kind != "r":
            return False
        return self.inspection.copies(
            f"table {table.qualified}", sql.SQL("COPY {} TO STDOUT").format(table.identifier)
        )


def _damaged_index(inspection: Inspection, table: Table, failed: Failed) -> Finding:
    """The index that the server's message means, by its file or name; if neither is in it, all of the table."""
    for schema, name, quoted, filenode in inspection.rows(_INDEXES_OF, (table.oid,)):
        if re.search(rf'/{filenode}\b|"{re.escape(name)}"', failed.sentence):
            sentence = f"the index is damaged, and no query of its table can be run: {failed.sentence}"
            statement = f"REINDEX INDEX {quoted};"
            return Finding(
                "index", qualified_name(schema, name), sentence, table=table.qualified, statement=statement
            )
    sentence = f"an index of the table is damaged, and no query of it can be run: {failed.sentence}"
    statement = f"REINDEX TABLE {table.identifier.as_string(inspection.connection)};"
    return Finding("index", table.qualified, sentence, table=table.qualified, statement=statement)


def read_live(inspection: Inspection, progress: Progress) -> LiveReading:
    """Read every table, materialized view and sequence to its end. Raises DatabaseError when the server is lost."""
    connection = inspection.connection
    tables = list_tables(connection)
    columns = columns_of(connection, tables)
    references = references_of(connection, tables)
    partitions = partitions_of(connection, tables)
    counting = _Counting(inspection)
    for table in tables:
        progress.stage(f"table {table.qualified}")
        counting.table(table, columns[table.oid], references[table.oid], partitions[table.oid])
    for name, owners in counting.run_by_planning.items():
        inspection.not_looked_at.append(
            f"not looked at: the constraints of {name}, since a query on it runs functions of {some(owners)}"
        )
    _materialized_views(inspection, counting, progress)
    sequences = _sequences(inspection, counting)
    large_objects = inspection.ask("large objects", "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata")
    unread = frozenset(counting.unread | counting.unreadable)
    figures = LiveFigures(
        tables=counting.tables,
        sequences=sequences,
        large_objects=large_objects[0][0] if isinstance(large_objects, list) else None,
        unread=unread,
    )
    return LiveReading(
        figures=figures,
        findings=counting.findings,
        references={table.qualified: references[table.oid] for table in tables},
        unreadable=frozenset(counting.unreadable),
        skipped=unread | frozenset(counting.run_by_planning),
    )


def _materialized_views(inspection: Inspection, counting: _Counting, progress: Progress) -> None:
    for oid, schema, view, quoted, columns in inspection.rows(_MATERIALIZED_VIEWS):
        name = qualified_name(schema, view)
        if not is_still(inspection.beside, (oid, sql.Identifier(schema, view))):
            inspection.changed(f"materialized view {name}")
            continue
        if owners := run_by_planning(inspection.beside, oid).get(oid):
            inspection.not_looked_at.append(
                f"not looked at: the materialized view {name}, since a query on it runs functions of {some(owners)}"
            )
            continue
        progress.stage(f"materialized view {name}")
        # Not CAST(v AS text): whoever owns the view may have made a cast of its rows to text.
        query = sql.SQL("SELECT count(CAST(ROW({}) AS text)) FROM {} v").format(
            sql.SQL(", ").join(sql.Identifier("v", column) for column in columns),
            sql.Identifier(schema, view),
        )
        answer = inspection.ask(f"materialized view {name}", query)
        if isinstance(answer, Failed):
            sentence = f"the materialized view cannot be read: {answer.sentence}"
            statement = f"REFRESH MATERIALIZED VIEW {quoted};"
            counting.findings.append(Finding("unreadable", name, sentence, statement=statement))


def _sequences(inspection: Inspection, counting: _Counting) -> dict[str, SequenceReading]:
    """All sequences at once; where one cannot be read, which ones those are."""

    try:
        return read_sequences(inspection.connection)
    except (DatabaseError, psycopg.Error):
        if inspection.connection.closed:
            raise
    for name, read in ways_to_read(inspection.connection):
        counting.unread.add(name)
        answer = inspection.attempt(f"sequence {name}", read)
        if isinstance(answer, Failed):
            sentence = f"the sequence cannot be read: {answer.sentence}"
            counting.findings.append(Finding("unreadable", name, sentence))
    inspection.incomplete.append("positions of sequences were not compared: not all of them can be read")
    return {}
