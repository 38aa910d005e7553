"""How two fingerprints differ, in sentences a volunteer understands. Pure.

What a person has to look at is a *difference*; what is expected to change between two servers (versions of
extensions, attributes of roles that were there before, rows of materialized views) is a *note*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recyclic_backups.fingerprint.definitions import compare_definitions
from recyclic_backups.fingerprint.model import (
    Fingerprint,
    LargeObjectsFingerprint,
    RoleFingerprint,
    SequenceFingerprint,
    TableFingerprint,
)
from recyclic_backups.quantities import counted

NOT_COMPARABLE = "not comparable: nothing to compare, this backup does not say what the database contained"


@dataclass(frozen=True, slots=True)
class TableComparison:
    """One table on both sides; rows are None on the side that does not have it."""

    name: str
    rows_expected: int | None
    rows_actual: int | None
    differences: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """The table for a report."""
        return {
            "name": self.name,
            "rows_expected": self.rows_expected,
            "rows_actual": self.rows_actual,
            "equal": self.equal,
            "differences": list(self.differences),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome. ``differences`` holds those of the tables too; ``comparable`` is False without a fingerprint."""

    tables: tuple[TableComparison, ...] = ()
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    comparable: bool = True

    @property
    def equal(self) -> bool | None:
        """Whether nothing differs; None if there was nothing to compare with."""
        return not self.differences if self.comparable else None

    def to_json(self) -> dict[str, Any]:
        """The comparison for a report."""
        return {
            "comparable": self.comparable,
            "equal": self.equal,
            "differences": list(self.differences),
            "notes": list(self.notes),
            "tables": [table.to_json() for table in self.tables],
        }


def compare(
    expected: Fingerprint | None,
    actual: Fingerprint | None,
    *,
    same_major: bool,
    only_tables: Collection[str] | None = None,
    owners: bool = True,
) -> Comparison:
    """Compare what a dump must contain with what a database does contain.

    ``same_major`` (both servers, and the programs that wrote both schema texts) compares the schema text,
    otherwise the catalog's listing. ``only_tables`` (qualified names, for a restore of some tables) limits
    the comparison to these tables and the sequences of their columns. Without ``owners`` (a restore with
    ``--no-owner``) owners and grants are passed over and what is said about roles is only a note.
    """
    if expected is None or actual is None or expected.level == "off" or actual.level == "off":
        return Comparison(notes=(NOT_COMPARABLE,), comparable=False)
    notes: list[str] = []
    if "counts" in (expected.level, actual.level):
        notes.append("rows and non-null values were counted; contents were not compared")
    names = sorted({*expected.tables, *actual.tables} if only_tables is None else set(only_tables))
    tables = tuple(_table(name, expected.tables.get(name), actual.tables.get(name)) for name in names)
    differences = [sentence for table in tables for sentence in table.differences]
    differences += _sequences(expected.sequences, actual.sequences, only_tables)
    if only_tables is not None:
        return Comparison(tables, tuple(differences), tuple(notes))

    differences += _large_objects(expected.large_objects, actual.large_objects, owners=owners)
    _materialized_views(expected, actual, differences, notes)
    _extensions(expected.extensions, actual.extensions, differences, notes)
    _roles(expected.roles, actual.roles, differences if owners else notes, notes)
    compare_definitions(
        expected, actual, same_major=same_major, owners=owners, differences=differences, notes=notes
    )
    return Comparison(tables, tuple(differences), tuple(notes))


def _table(name: str, expected: TableFingerprint | None, actual: TableFingerprint | None) -> TableComparison:
    if expected is None or actual is None:
        sentence = f"{name}: the table is missing"
        if expected is None:
            sentence = f"{name}: the table was not there when the backup was taken"
        return TableComparison(
            name,
            rows_expected=None if expected is None else expected.rows,
            rows_actual=None if actual is None else actual.rows,
            differences=(sentence,),
        )
    differences = list(_rows(name, expected, actual))
    differences += _columns(name, expected, actual)
    contents = (expected.content, actual.content)
    # A sentence above says more; this one is for values that changed without changing any number.
    if not differences and None not in contents and contents[0] != contents[1]:
        differences.append(f"{name}: content differs though row counts are equal")
    return TableComparison(name, expected.rows, actual.rows, tuple(differences))


def _rows(name: str, expected: TableFingerprint, actual: TableFingerprint) -> Iterator[str]:
    if expected.rows != actual.rows:
        difference = abs(expected.rows - actual.rows)
        what = "missing" if actual.rows < expected.rows else "too many"
        yield (f"{name}: {counted(difference, 'row')} {what} ({expected.rows} expected, {actual.rows} found)")


def _columns(name: str, expected: TableFingerprint, actual: TableFingerprint) -> Iterator[str]:
    for column in sorted({*expected.non_null, *actual.non_null}):
        if column not in actual.non_null:
            yield f"{name}.{column}: the column is missing"
        elif column not in expected.non_null:
            yield f"{name}.{column}: the column was not there when the backup was taken"
        elif expected.rows == actual.rows:
            # With rows missing or added, other counts are bound to follow and would only drown that.
            change = actual.non_null[column] - expected.non_null[column]
            if change < 0:
                yield f"{name}.{column}: {counted(-change, 'value')} became null"
            elif change > 0:
                yield f"{name}.{column}: {counted(change, 'null value')} became something else"


def _sequences(
    expected: Mapping[str, SequenceFingerprint],
    actual: Mapping[str, SequenceFingerprint],
    only_tables: Collection[str] | None,
) -> Iterator[str]:
    for name in sorted({*expected, *actual}):
        wanted, found = expected.get(name), actual.get(name)
        owned_by = (wanted or found or SequenceFingerprint(None, None)).owned_by
        if only_tables is not None and owned_by not in only_tables:
            continue
        if wanted is None:
            yield f"sequence {name} was not there when the backup was taken"
        elif found is None or found.after is None:
            yield f"sequence {name} is missing"
        elif not _within(wanted, value := found.after.next_value):
            yield f"sequence {name}: {_range(wanted, value)}"


def _within(expected: SequenceFingerprint, value: int) -> bool:
    """Whether ``value`` may come next, given what would have come next before and after the dump."""
    if expected.before is None or expected.after is None:
        # Made or dropped around the snapshot: one reading alone bounds nothing.
        return True
    before, after = expected.before.next_value, expected.after.next_value
    descending = expected.after.increment < 0
    wrapped = after > before if descending else after < before
    if expected.after.cycles and wrapped:
        return value <= before or value >= after if descending else value >= before or value <= after
    return min(before, after) <= value <= max(before, after)


def _range(expected: SequenceFingerprint, value: int) -> str:
    low, high = sorted(reading.next_value for reading in (expected.before, expected.after) if reading)
    if low == high:
        return f"the next value is {value} instead of {low}"
    return f"{value} is not between {low} and {high}"


def _large_objects(
    expected: LargeObjectsFingerprint, actual: LargeObjectsFingerprint, *, owners: bool
) -> Iterator[str]:
    if expected.count != actual.count:
        difference = abs(expected.count - actual.count)
        what = "missing" if actual.count < expected.count else "too many"
        yield (f"large objects: {difference} {what} ({expected.count} expected, {actual.count} found)")
        return
    if expected.total_bytes != actual.total_bytes:
        yield f"large objects: {expected.total_bytes} bytes expected, {actual.total_bytes} found"
    elif None not in (expected.content, actual.content) and expected.content != actual.content:
        yield "large objects: content differs though number and size are equal"
    if owners and expected.ownership != actual.ownership:
        yield "large objects: owners or grants differ"


def _materialized_views(
    expected: Fingerprint, actual: Fingerprint, differences: list[str], notes: list[str]
) -> None:
    for name, wanted in sorted(expected.materialized_views.items()):
        found = actual.materialized_views.get(name)
        if found is None:
            differences.append(f"materialized view {name} is missing")
        elif wanted.populated and not found.populated:
            differences.append(
                f"materialized view {name} is not populated; REFRESH MATERIALIZED VIEW fills it"
            )
        elif found.populated and not wanted.populated:
            notes.append(f"materialized view {name} is populated and was not when the backup was taken")
        elif None not in (wanted.rows, found.rows) and wanted.rows != found.rows:
            notes.append(f"materialized view {name}: {wanted.rows} rows then, {found.rows} computed now")


def _extensions(
    expected: Mapping[str, str], actual: Mapping[str, str], differences: list[str], notes: list[str]
) -> None:
    for name, version in sorted(expected.items()):
        if name not in actual:
            differences.append(f"extension {name} is missing")
        elif actual[name] != version:
            notes.append(f"extension {name}: version {version} then, {actual[name]} now")
    differences += [
        f"extension {name} was not there when the backup was taken"
        for name in sorted(set(actual) - set(expected))
    ]


def _roles(
    expected: Mapping[str, RoleFingerprint],
    actual: Mapping[str, RoleFingerprint],
    losses: list[str],
    notes: list[str],
) -> None:
    """Roles more than expected are other people's business: a server holds more than one database."""
    for name, wanted in sorted(expected.items()):
        found = actual.get(name)
        if found is None:
            losses.append(f"role {name} is missing")
            continue
        for group in _missing(wanted.member_of, found.member_of):
            losses.append(f"role {name} is no longer a member of {group}")
        for group in _missing(found.member_of, wanted.member_of):
            notes.append(f"role {name} is a member of {group} and was not when the backup was taken")
        for attribute in _missing(wanted.attributes, found.attributes):
            notes.append(f"role {name} no longer has: {attribute}")
        for attribute in _missing(found.attributes, wanted.attributes):
            notes.append(f"role {name} now has: {attribute}")
        for setting in sorted({*wanted.settings, *found.settings}):
            if wanted.settings.get(setting) != found.settings.get(setting):
                notes.append(f"role {name} has another setting of {setting}")


def _missing(wanted: Collection[str], found: Collection[str]) -> list[str]:
    return [each for each in wanted if each not in found]
