"""Put tables of a backup back into a live database: all of them in one transaction, or nothing.

Each table's rows become those of the backup: rows it has lost come back, rows that differ are set right, rows
the backup does not have go (and are kept in the database beside). Rows of other tables that refer to one
that would go are *children that would break*; they are listed, and then nothing is changed at all.

Only differing rows are touched, found by the table's key, so that no superuser is needed to switch foreign
keys off, and no ``ON DELETE CASCADE`` ever fires on a row that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.names import split_qualified_name
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.recovery import compose
from recyclic_backups.recovery.database import MAX_NAME_BYTES
from recyclic_backups.recovery.live_table import (
    ForeignKey,
    LiveTable,
    describe,
    foreign_keys_of,
    parents_first,
)
from recyclic_backups.recovery.merge_sessions import NO_TRUST, Sessions, Trust, sessions
from recyclic_backups.recovery.numbering import catch_up, identities_settable
from recyclic_backups.recovery.switched_off import policies_off, user_triggers_off

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class TableMerge:
    """What putting one table back did: rows that came back, were set right, and went.

    ``kept_as`` is what the rows that were set right or went are called in the schema ``replaced``.
    """

    table: str
    inserted: int
    updated: int
    deleted: int
    kept_as: str = ""

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "table": self.table,
            "inserted": self.inserted,
            "updated": self.updated,
            "deleted": self.deleted,
            "kept_as": self.kept_as,
        }


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was put back, or why nothing was: ``broken`` lists rows whose parent would be missing."""

    database: str
    tables: tuple[TableMerge, ...]
    broken: tuple[str, ...]
    kept_in: str
    written_by: str = ""
    """With whose rights the live tables were written."""

    @property
    def clean(self) -> bool:
        """Whether it was committed."""
        return not self.broken


def merge(
    server: Server,
    restored: str,
    live: str,
    tables: Sequence[str],
    before_commit: Callable[[Sequence[TableMerge]], None] = lambda _: None,
    *,
    seconds: float = 3600,
    trust: Trust = NO_TRUST,
) -> MergeReport:
    """Make ``tables`` of the database ``live`` equal to those of ``restored``, a database beside it.

    ``before_commit`` is told what was done just before it counts. Rows that go are kept in ``restored``, in a schema
    ``replaced``. ``seconds`` is how long it may take, ``trust`` whose code may run as a superuser
    (:mod:`recyclic_backups.recovery.merge_sessions`). Raises Refused when the tables are not the same any more
    (columns), or would run code of others with our rights; DatabaseError when the server refuses a row; then nothing
    was changed.
    """
    with (
        translated(f"database {live!r} on {server.label}"),
        sessions(server, restored, live, tables, seconds=seconds, trust=trust) as opened,
    ):
        target = opened.target
        plan = [describe(opened.source, target, name, number) for number, name in enumerate(tables)]
        opened.hold()
        keys = {table.name: table.key for table in plan}
        with policies_off(target, keys):
            for table in plan:
                _stage(opened.reader(table.name), target, table)
            foreign_keys = foreign_keys_of(target)
            broken = tuple(_broken(target, plan, foreign_keys))
            done = [] if broken else _put(opened, plan, foreign_keys)
        if broken:
            target.rollback()
            return MergeReport(live, (), broken, restored, opened.written_by)
        catch_up(opened.reader, target, keys)
        before_commit(done)
        target.commit()
    return MergeReport(live, tuple(done), (), restored, opened.written_by)


def _put(opened: Sessions, plan: Sequence[LiveTable], foreign_keys: Sequence[ForeignKey]) -> list[TableMerge]:
    """Make the tables equal to what is staged, and prove it."""
    target, keys = opened.target, {table.name: table.key for table in plan}
    with identities_settable(target, keys), user_triggers_off(target, keys):
        _keep_rows_that_go(opened, plan)
        done = _apply(target, parents_first(plan, foreign_keys))
    for table in plan:
        _require_equal(target, table)
    return done


def _stage(source: Connection, target: Connection, table: LiveTable) -> None:
    """The backup's rows as a temporary table of the live database's transaction."""
    target.execute(
        compose.statement(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
            compose.temporary(table.staged),
            compose.names(table.stored),
            compose.relation(table.name),
        )
    )
    out = compose.statement(
        "COPY (SELECT {} FROM {}) TO STDOUT", compose.names(table.stored), compose.relation(table.name)
    )
    into = compose.statement(
        "COPY {} ({}) FROM STDIN", compose.temporary(table.staged), compose.names(table.stored)
    )
    with source.cursor().copy(out) as reading, target.cursor().copy(into) as writing:
        for piece in reading:
            writing.write(piece)
    if table.key:
        target.execute(
            compose.statement(
                "CREATE INDEX ON {} ({})", compose.temporary(table.staged), compose.names(table.key)
            )
        )
    target.execute(compose.statement("ANALYZE {}", compose.temporary(table.staged)))


def _broken(
    target: Connection, plan: Sequence[LiveTable], foreign_keys: Sequence[ForeignKey]
) -> Iterator[str]:
    """Rows that would refer to nothing: children of rows that go, and rows that come back without a parent."""
    staged = {table.name: table for table in plan}
    for key in foreign_keys:
        if key.child not in staged and key.parent not in staged:
            continue
        child = (
            compose.temporary(staged[key.child].staged)
            if key.child in staged
            else compose.relation(key.child)
        )
        parent = (
            compose.temporary(staged[key.parent].staged)
            if key.parent in staged
            else compose.relation(key.parent)
        )
        columns = list(zip(key.child_columns, key.parent_columns, key.equals, strict=True))
        query = compose.statement(
            "SELECT count(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})",
            child,
            # MATCH SIMPLE: a row with a null in its key refers to nothing (ddl-constraints.html).
            compose.joined(
                " AND ",
                [compose.statement("c.{} IS NOT NULL", compose.name(column)) for column in key.child_columns],
            ),
            parent,
            compose.joined(
                " AND ",
                [
                    compose.statement(
                        "p.{} {} c.{}", compose.name(there), compose.operator(equal), compose.name(here)
                    )
                    for here, there, equal in columns
                ],
            ),
        )
        count = (target.execute(query).fetchone() or (0,))[0]
        if count:
            rows = "1 row" if count == 1 else f"{count} rows"
            yield f"{rows} of {key.child} would refer to rows that {key.parent} would not have ({key.name})"


def _keep_rows_that_go(opened: Sessions, plan: Sequence[LiveTable]) -> None:
    """Copy what will be deleted or overwritten into the database beside: a restore destroys nothing (invariant 6)."""
    source, target = opened.source, opened.target
    source.execute("CREATE SCHEMA IF NOT EXISTS replaced")
    # The backup may have brought one: its owner could put a view in a kept table's place, for whoever looks at it.
    source.execute("ALTER SCHEMA replaced OWNER TO CURRENT_USER")
    for table in plan:
        kept = compose.statement("replaced.{}", compose.name(_kept_name(table)))
        source.execute(
            compose.statement(
                "CREATE TABLE {} AS SELECT {} FROM {} WITH NO DATA",
                kept,
                compose.names(table.stored),
                compose.relation(table.name),
            )
        )
        as_it_is = compose.statement(
            "SELECT {} FROM {} t", compose.columns_of("t", table.stored), compose.relation(table.name)
        )
        unchanged = compose.statement(
            "SELECT FROM {} s WHERE {} AND ROW({})::text IS NOT DISTINCT FROM ROW({})::text",
            compose.temporary(table.staged),
            _same_key(table) if table.key else compose.statement("false"),
            compose.columns_of("t", table.stored),
            compose.columns_of("s", table.stored),
        )
        out = compose.statement("COPY ({} WHERE NOT EXISTS ({})) TO STDOUT", as_it_is, unchanged)
        into = compose.statement("COPY {} FROM STDIN", kept)
        opened.let_fill(table.name, _kept_name(table))
        filling = opened.reader(table.name)
        with target.cursor().copy(out) as reading, filling.cursor().copy(into) as writing:
            for piece in reading:
                writing.write(piece)
    opened.finish()


def _kept_name(table: LiveTable) -> str:
    """``schema.table``, cut to the length of a name where it has to be, and then with the table's number."""
    name = ".".join(split_qualified_name(table.name))
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    number = f"~{table.staged.rpartition('_')[2]}"
    return name.encode()[: MAX_NAME_BYTES - len(number)].decode(errors="ignore") + number


def _apply(target: Connection, plan: Sequence[LiveTable]) -> list[TableMerge]:
    """Delete children before parents, bring back parents before children."""
    deleted = {table.name: _delete(target, table) for table in reversed(plan)}
    return [
        TableMerge(
            table.name,
            inserted=_insert(target, table),
            updated=_update(target, table),
            deleted=deleted[table.name],
            kept_as=_kept_name(table),
        )
        for table in plan
    ]


def _delete(target: Connection, table: LiveTable) -> int:
    if not table.key:
        return target.execute(compose.statement("DELETE FROM {}", compose.relation(table.name))).rowcount
    return target.execute(
        compose.statement(
            "DELETE FROM {} t WHERE NOT EXISTS (SELECT FROM {} s WHERE {})",
            compose.relation(table.name),
            compose.temporary(table.staged),
            _same_key(table),
        )
    ).rowcount


def _update(target: Connection, table: LiveTable) -> int:
    if not table.key or not table.others:
        return 0
    return target.execute(
        compose.statement(
            "UPDATE {} t SET {} FROM {} s WHERE {} AND ROW({})::text IS DISTINCT FROM ROW({})::text",
            compose.relation(table.name),
            compose.joined(
                ", ",
                [
                    compose.statement("{} = s.{}", compose.name(column), compose.name(column))
                    for column in table.others
                ],
            ),
            compose.temporary(table.staged),
            _same_key(table),
            compose.columns_of("t", table.others),
            compose.columns_of("s", table.others),
        )
    ).rowcount


def _insert(target: Connection, table: LiveTable) -> int:
    condition = (
        compose.statement(
            "WHERE NOT EXISTS (SELECT FROM {} t WHERE {})", compose.relation(table.name), _same_key(table)
        )
        if table.key
        else compose.statement("")
    )
    return target.execute(
        compose.statement(
            # The dump's own values, also for columns GENERATED ALWAYS AS IDENTITY (sql-insert.html).
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s {}",
            compose.relation(table.name),
            compose.names(table.stored),
            compose.columns_of("s", table.stored),
            compose.temporary(table.staged),
            condition,
        )
    ).rowcount


def _require_equal(target: Connection, table: LiveTable) -> None:
    """The proof inside the transaction: the same rows, as texts, as often."""
    rows = compose.statement(
        "SELECT ROW({})::text AS row FROM {}", compose.names(table.stored), compose.relation(table.name)
    )
    staged = compose.statement(
        "SELECT ROW({})::text AS row FROM {}", compose.names(table.stored), compose.temporary(table.staged)
    )
    query = compose.statement(
        "SELECT (SELECT count(*) FROM (({}) EXCEPT ALL ({})) a) + (SELECT count(*) FROM (({}) EXCEPT ALL ({})) b)",
        rows,
        staged,
        staged,
        rows,
    )
    different = (target.execute(query).fetchone() or (1,))[0]
    if different:
        target.rollback()
        raise DatabaseError(
            f"{table.name} would differ from the backup in {different} rows after being put back; nothing was changed",
            "a trigger or rule of the server changes rows on their way in",
        )


def _same_key(table: LiveTable) -> sql.Composable:
    return compose.joined(
        " AND ",
        [
            compose.statement(
                "s.{} {} t.{}", compose.name(column), compose.operator(equal), compose.name(column)
            )
            for column, equal in zip(table.key, table.equals, strict=True)
        ],
    )
