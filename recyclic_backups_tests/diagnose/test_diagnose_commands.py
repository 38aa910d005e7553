"""The commands a diagnosis proposes: in an order that works, together where tables depend on each other."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.cli.commands import parser
from recyclic_backups.diagnose.report import Finding, Remedy
from recyclic_backups.fingerprint.model import Fingerprint, TableFingerprint
from recyclic_backups.postgres.names import qualified_name

BACKUP = "20261122T010003Z-k3q7xa"


def _table(*references: str, partitions: tuple[str, ...] = ()) -> TableFingerprint:
    return TableFingerprint(rows=1, non_null={}, references=references, partitions=partitions)


def _remedy(beside_only: frozenset[str] = frozenset(), **tables: TableFingerprint) -> Remedy:
    fingerprint = Fingerprint(level="counts", tables={f"p.{name}": table for name, table in tables.items()})
    return Remedy(BACKUP, "db", fingerprint, {}, beside_only)


def _loss(*tables: str) -> list[Finding]:
    return [Finding("rows", name, "fewer", table=name, restore=(name,)) for name in tables]


def _index(table: str) -> Finding:
    return Finding("index", f"{table}_pkey", "damaged", table=table, statement=f"REINDEX INDEX {table}_pkey;")


def test_all_tables_come_back_at_once_parents_first() -> None:
    """Loss prevented: the seventh of ten commands forgotten, or typed before the one it needs."""
    remedy = _remedy(sale=_table("p.member"), member=_table("p.sale"), line=_table("p.sale"), note=_table())
    assert remedy.commands(_loss("p.sale", "p.note", "p.line")) == (
        f"recyclic-backups restore {BACKUP} --table p.note --table p.sale --table p.line --merge-into db --yes",
    )


def test_what_comes_right_with_another_table_says_so() -> None:
    """Loss prevented: a search for the command that a finding has not."""
    remedy = _remedy(sale=_table(partitions=("p.sale_1",)), sale_1=_table(), line=_table("p.sale"))
    orphans = Finding("foreign_key", "p.line", "rows refer to nothing", table="p.line", restore=("p.sale_1",))
    part = Finding("rows", "p.sale_1", "fewer", table="p.sale_1", restore=("p.sale_1",))
    findings = remedy.with_others([*_loss("p.sale"), part, orphans, _index("p.line")])
    assert [each.comes_right_with for each in findings] == [(), ("p.sale",), ("p.sale",), ()]


def test_indexes_come_before_rows_unless_their_table_is_the_problem() -> None:
    """Loss prevented: rows not found through a damaged index, and a unique index that cannot be built."""
    remedy = _remedy(sale=_table(), note=_table())
    twice = Finding("unique", "p.note", "two", table="p.note", restore=("p.note",))
    commands = remedy.commands([*_loss("p.sale"), _index("p.sale"), twice, _index("p.note")])
    assert commands[0] == "REINDEX INDEX p.sale_pkey;"
    assert commands[-1] == "REINDEX INDEX p.note_pkey;"
    assert len(commands) == 3


def test_a_partition_does_not_come_back_beside_its_whole_table() -> None:
    """Loss prevented: rows staged twice, and the merge refused."""
    remedy = _remedy(sale=_table(partitions=("p.sale_1",)), sale_1=_table("p.sale"))
    assert remedy.tables_to_bring_back(_loss("p.sale_1", "p.sale")) == ("p.sale",)


def test_what_cannot_be_merged_comes_into_a_database_beside() -> None:
    """Loss prevented: a command that refuses, at three in the morning."""
    remedy = _remedy(frozenset({"p.gone"}), gone=_table(), sale=_table("p.gone"))
    assert remedy.commands(_loss("p.gone", "p.sale", "p.unknown")) == (
        f"recyclic-backups restore {BACKUP} --table p.sale --merge-into db --yes",
        f"recyclic-backups restore {BACKUP} --table p.gone --into db_recovered",
    )


def test_large_objects_need_the_whole_backup() -> None:
    """Loss prevented: documents that no --table brings back."""
    finding = Finding("large_objects", "large objects", "fewer")
    assert _remedy(sale=_table()).commands([finding]) == (
        f"recyclic-backups restore {BACKUP} --into db_recovered",
    )


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(schema=names, table=names, database=names)
def test_any_name_survives_the_shell_and_the_command_line(schema: str, table: str, database: str) -> None:
    """Loss prevented: another table brought back, or another program run."""
    name = qualified_name(schema, table)
    fingerprint = Fingerprint(level="counts", tables={name: _table()})
    (command,) = Remedy(BACKUP, database, fingerprint, {}, frozenset()).commands(_loss(name))
    program, *words = shlex.split(command)
    options = parser().parse_args(words)
    assert program == "recyclic-backups"
    assert (options.backup, options.table, options.merge_into, options.yes) == (
        BACKUP,
        [name],
        database,
        True,
    )
