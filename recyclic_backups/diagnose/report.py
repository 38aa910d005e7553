"""What ``diagnose`` found, and the commands that put it right. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.diagnose.losses import LossKind
from recyclic_backups.fingerprint.model import Fingerprint, TableFingerprint
from recyclic_backups.own_command import own_command
from recyclic_backups.quantities import counted

Kind: TypeAlias = Literal["unreadable", "index", "foreign_key", "check", "not_null", "unique"] | LossKind

NO_DAMAGE = "no damage found"
_MAX_NAME_BYTES = 63


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is damaged. ``name`` is the qualified name of a table, index, view or sequence.

    ``table`` is the table it belongs to, or is.
    ``rows`` are those concerned (values for a column, duplicated keys for a unique key), None where nobody can
    count. ``restore`` are the tables that put it right when they come back from the backup, ``statement`` is
    the SQL that does. ``comes_right_with`` are the tables of the proposed commands by which it does, where its own is
    not among them.
    """

    kind: Kind
    name: str
    sentence: str
    table: str | None = None
    column: str | None = None
    constraint: str | None = None
    rows: int | None = None
    restore: tuple[str, ...] = ()
    statement: str = ""
    comes_right_with: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The finding for a report."""
        return {
            "kind": self.kind,
            "name": self.name,
            "table": self.table,
            "column": self.column,
            "constraint": self.constraint,
            "rows": self.rows,
            "sentence": self.sentence,
            "restore": list(self.restore),
            "statement": self.statement or None,
            "comes_right_with": list(self.comes_right_with),
        }


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The report. ``damaged_tables`` go by the names fingerprints give them, what is referred to first.

    ``commands`` are to be run in this order: command lines of ``recyclic-backups``, and SQL that ends in a
    semicolon. ``incomplete`` are the notes on what could not be looked at.
    """

    database: str
    backup_id: str | None
    as_of: datetime | None
    findings: tuple[Finding, ...]
    damaged_tables: tuple[str, ...]
    commands: tuple[str, ...]
    notes: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    tables: int = 0
    rows: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def verdict(self) -> str:
        """The last line of the report."""
        if self.findings:
            return f"damaged: {counted(len(self.findings), 'finding')}"
        if self.incomplete:
            return f"{NO_DAMAGE} in what could be looked at; see the notes for the rest"
        return NO_DAMAGE

    def to_json(self) -> dict[str, Any]:
        """The report as the command line prints it."""
        return {
            "database": self.database,
            "backup_id": self.backup_id,
            "as_of": None if self.as_of is None else to_text(self.as_of),
            "damaged": not self.clean,
            "findings": [finding.to_json() for finding in self.findings],
            "damaged_tables": list(self.damaged_tables),
            "commands": list(self.commands),
            "notes": list(self.notes),
            "incomplete": list(self.incomplete),
            "tables": self.tables,
            "rows": self.rows,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Remedy:
    """From where and into what tables come back.

    ``references`` are the live foreign keys, child to parents; ``beside_only`` are tables whose rows
    ``--merge-into`` cannot put back (missing, unreadable, other columns), so that they come into a database of
    their own.
    """

    backup_id: str
    database: str
    fingerprint: Fingerprint
    references: Mapping[str, Sequence[str]]
    beside_only: frozenset[str]

    def parents_first(self, tables: Iterable[str]) -> tuple[str, ...]:
        """Tables in an order in which what is referred to comes before what refers; else by name."""
        ordered: list[str] = []
        waiting = sorted(set(tables))
        while waiting:
            free = [name for name in waiting if not set(self._parents(name)) & (set(waiting) - {name})]
            ordered += free or waiting  # a circle has no beginning
            waiting = [name for name in waiting if name not in ordered]
        return tuple(ordered)

    def commands(self, findings: Sequence[Finding]) -> tuple[str, ...]:
        """What to run, in order: indexes first, because rows are found through them; sequences last.

        All tables that can be merged are in one command: one transaction, in which foreign keys among them hold.
        An index of a table that has to come back first (its keys are duplicated, or it is unreadable) is built
        again after it.
        """
        tables = self.tables_to_bring_back(findings)
        ill = {each.table for each in findings if each.kind in ("unique", "unreadable")}
        first = [each for each in findings if each.kind == "index" and each.table not in ill]
        lines = [each.statement for each in first]
        if mergeable := [name for name in tables if name not in self.beside_only]:
            lines.append(self._merge(mergeable))
        beside = [name for name in tables if name in self.beside_only]
        if any(self._only_in_the_whole(each) for each in findings):
            lines.append(self._beside(()))
        elif beside:
            lines.append(self._beside(beside))
        lines += [each.statement for each in findings if each not in first]
        return tuple(dict.fromkeys(line for line in lines if line))

    def tables_to_bring_back(self, findings: Sequence[Finding]) -> tuple[str, ...]:
        """The tables of all findings that the backup has, parents first; no partition of one that comes whole."""
        wanted = {name for finding in findings for name in finding.restore} & self.fingerprint.tables.keys()
        tables = self.fingerprint.tables
        return self.parents_first(
            wanted - {part for name in wanted for part in family(name, tables) - {name}}
        )

    def with_others(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """The findings, and with which table those come right whose own is in none of the commands."""
        brought = self.tables_to_bring_back(findings)
        families = {name: family(name, self.fingerprint.tables) for name in brought}

        def helped(finding: Finding) -> Finding:
            helping = tuple(name for name in brought if families[name] & set(finding.restore))
            own = finding.statement or finding.table in helping
            return finding if own else replace(finding, comes_right_with=helping)

        return tuple(helped(each) for each in findings)

    def _only_in_the_whole(self, finding: Finding) -> bool:
        """Whether it comes back with the whole database only: large objects, the definition of a sequence."""
        lost = finding.kind in ("large_objects", "sequence") and not finding.statement
        return lost and bool(self.fingerprint.tables or self.fingerprint.sequences)

    def _parents(self, name: str) -> Sequence[str]:
        table = self.fingerprint.tables.get(name)
        return [*self.references.get(name, ()), *(table.references if table else ())]

    def _merge(self, tables: Sequence[str]) -> str:
        options = [word for name in tables for word in _option("--table", name)]
        into = _option("--merge-into", self.database)
        return own_command("restore", self.backup_id, *options, *into, "--yes")

    def _beside(self, tables: Sequence[str]) -> str:
        options = [word for name in tables for word in _option("--table", name)]
        into = _option("--into", database_beside(self.database))
        return own_command("restore", self.backup_id, *options, *into)


def database_beside(database: str) -> str:
    """Into what the proposed commands restore what cannot be merged."""
    suffix = "_recovered"
    return database.encode()[: _MAX_NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix


def family(name: str, tables: Mapping[str, TableFingerprint]) -> set[str]:
    """A table and its partitions, theirs too."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += tables[each].partitions if each in tables else ()
    return found


def _option(name: str, value: str) -> list[str]:
    """An option with its value, in one word where the value would be taken for an option."""
    return [f"{name}={value}"] if value.startswith("-") else [name, value]
