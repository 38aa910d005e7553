"""Put tables of a backup back into a live database: all of them in one transaction, or nothing.

Each table's rows become those of the backup: rows it has lost come back, rows that differ are set right, rows
the backup does not have go (and are kept in the database beside). Rows of other tables that refer to one
that would go are *children that would break*; they are listed, and then nothing is changed at all.

Only differing rows are touched, found by the table's key, so that no superuser is needed to switch foreign
keys off, and no ``ON DELETE CASCADE`` ever fires on a row that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from recyclic_backups.catalog.fields import Document
from recyclic_backups.errors import DatabaseError
from recyclic_backups.merge import row_changes, row_writing
from recyclic_backups.merge.disabled_triggers import policies_off, user_triggers_off
from recyclic_backups.merge.identity_columns import catch_up, identities_settable
from recyclic_backups.merge.live_table import ForeignKey, LiveTable, describe, foreign_keys_of
from recyclic_backups.merge.row_changes import Changes
from recyclic_backups.merge.sessions import NO_TRUST, Sessions, Trust, sessions
from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name, split_qualified_name
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.quantities import counted
from recyclic_backups.restore.database import MAX_NAME_BYTES

TAKEN_OUT, OVERWRITTEN = "taken out", "overwritten"
"""Why a row is kept beside: the backup does not have it, or has it otherwise."""

_MAX_COLUMNS = 1600
_PARTITION_OF = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_partition_ancestors(%s::regclass) a
    JOIN pg_catalog.pg_class c ON c.oid = a.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid <> %s::regclass
"""


@dataclass(frozen=True, slots=True)
class TableMerge(Document):
    """What putting one table back did: rows that came back, were set right, and went.

    ``newer_keys`` are the keys, by column, of the first few rows that the backup does not have: those written since.
    ``keys_written_otherwise`` says in how many rows a column of the key was equal to the backup's and written
    otherwise. ``kept_as`` is what the rows that were set right or went are called in the schema ``replaced``, and
    ``told_by`` the column that says which of the two (:data:`TAKEN_OUT`, :data:`OVERWRITTEN`).
    """

    table: str
    inserted: int
    updated: int
    deleted: int
    newer_keys: tuple[Mapping[str, str], ...]
    keys_written_otherwise: Mapping[str, int]
    kept_as: str
    told_by: str

    @classmethod
    def of(cls, table: LiveTable, found: Changes) -> TableMerge:
        """What was found to be done, once it is."""
        return cls(
            table=table.name,
            inserted=found.inserted,
            updated=found.updated,
            deleted=found.deleted,
            newer_keys=found.newer_keys,
            keys_written_otherwise=found.respelled,
            kept_as=_kept_name(table),
            told_by=_told_by(table),
        )

    @property
    def keeps_rows(self) -> bool:
        """Whether rows of it are kept beside."""
        return bool(self.updated or self.deleted)


@dataclass(frozen=True, slots=True)
class MergedTables:
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


def merge_tables(
    server: Server,
    restored: str,
    live: str,
    tables: Sequence[str],
    before_commit: Callable[[Sequence[TableMerge]], None] = lambda _: None,
    *,
    seconds: float = 3600,
    lock_seconds: float = 60,
    trust: Trust = NO_TRUST,
) -> MergedTables:
    """Make ``tables`` of the database ``live`` equal to those of ``restored``, a database beside it.

    ``before_commit`` is told what was done just before it counts. Rows that go are kept in ``restored``, in a schema
    ``replaced``. ``seconds`` is how long it may take, ``lock_seconds`` how long it waits for others in all, ``trust``
    whose code may run as a superuser (:mod:`recyclic_backups.merge.sessions`). Raises Refused when the tables
    are not the same any more (columns), or would run code of others with our rights; DatabaseError when the server
    refuses a row or others keep theirs locked; then nothing was changed.
    """
    with (
        translated(f"database {live!r} on {server.label}"),
        sessions(
            server, restored, live, tables, seconds=seconds, lock_seconds=lock_seconds, trust=trust
        ) as opened,
        translated(f"database {live!r} on {server.label}"),
        opened.waiting.explained(),
    ):
        target = opened.target

        def plan_of() -> list[LiveTable]:
            return [describe(opened.source, target, name, number) for number, name in enumerate(tables)]

        plan = plan_of()
        opened.hold()
        if plan_of() != plan:
            raise DatabaseError(
                "the tables have just been altered; nothing was changed", "try again", retryable=True
            )
        keys = {table.name: table.key for table in plan}
        done: list[TableMerge] = []
        with policies_off(target, keys):
            for table in plan:
                _stage(opened.reader(table.name), target, table)
            foreign_keys = foreign_keys_of(target)
            found = {table.name: row_changes.find(target, table) for table in plan}
            broken = tuple(_broken(target, plan, foreign_keys)) or tuple(
                row_changes.what_would_be_taken_along(target, plan, foreign_keys)
            )
            if not broken:
                done = _put(opened, plan, found, foreign_keys)
        if broken:
            target.rollback()
            return MergedTables(live, (), broken, restored, opened.written_by)
        catch_up(opened.reader, target, keys)
        before_commit(done)
        target.commit()
    return MergedTables(live, tuple(done), (), restored, opened.written_by)


def _put(
    opened: Sessions,
    plan: Sequence[LiveTable],
    found: Mapping[str, Changes],
    foreign_keys: Sequence[ForeignKey],
) -> list[TableMerge]:
    """Make the tables equal to what is staged, and prove it."""
    target, keys = opened.target, {table.name: table.key for table in plan}
    with identities_settable(target, keys), user_triggers_off(target, keys):
        _keep_rows_that_go(opened, plan)
        row_writing.apply(target, plan, found, foreign_keys)
    for table in plan:
        _require_equal(target, table)
    return [TableMerge.of(table, found[table.name]) for table in plan]


def _stage(source: Connection, target: Connection, table: LiveTable) -> None:
    """The backup's rows as a temporary table of the live database's transaction."""
    target.execute(
        quoting.statement(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
            table.staged,
            quoting.names(table.columns),
            table.relation,
        )
    )
    out = quoting.statement(
        "COPY (SELECT {} FROM {}) TO STDOUT", quoting.names(table.columns), table.relation
    )
    into = quoting.statement("COPY {} ({}) FROM STDIN", table.staged, quoting.names(table.columns))
    with source.cursor().copy(out) as reading, target.cursor().copy(into) as writing:
        for piece in reading:
            writing.write(piece)
    if table.key:
        target.execute(quoting.statement("CREATE INDEX ON {} ({})", table.staged, quoting.names(table.key)))
    target.execute(quoting.statement("ANALYZE {}", table.staged))


def _broken(
    target: Connection, plan: Sequence[LiveTable], foreign_keys: Sequence[ForeignKey]
) -> Iterator[str]:
    """Rows that would refer to nothing: children of rows that go, and rows that come back without a parent."""
    holders = _holders(target, plan)
    for key in foreign_keys:
        if key.child not in holders and key.parent not in holders:
            continue
        child = _as_they_will_be(key.child, key.child_rows, holders, key.child_columns)
        parent = _as_they_will_be(key.parent, key.parent_rows, holders, key.parent_columns)
        query = quoting.statement(
            "SELECT count(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})",
            child,
            # MATCH SIMPLE: a row with a null in its key refers to nothing (ddl-constraints.html).
            quoting.joined(
                " AND ",
                [quoting.statement("c.{} IS NOT NULL", quoting.name(column)) for column in key.child_columns],
            ),
            parent,
            key.refers("c", "p"),
        )
        count = (target.execute(query).fetchone() or (0,))[0]
        if count:
            rows = counted(count, "row")
            yield f"{rows} of {key.child} would refer to rows that {key.parent} would not have ({key.name})"


def _holders(target: Connection, plan: Sequence[LiveTable]) -> dict[str, list[LiveTable]]:
    """Tables that are put back, by the names of those whose rows they hold: their own, and those above a partition."""
    found = {table.name: [table] for table in plan}
    for table in plan:
        name = table.relation.as_string(None)
        for schema, above in target.execute(_PARTITION_OF, (name, name)).fetchall():
            found.setdefault(qualified_name(schema, above), []).append(table)
    return found


def _as_they_will_be(
    name: str,
    now: sql.Composable,
    holders: Mapping[str, Sequence[LiveTable]],
    columns: Sequence[str],
) -> sql.Composable:
    """The rows that a table, which has those of ``now``, has after the merge: the backup's for each part put back."""
    staged = holders.get(name, ())
    if not staged:
        return now
    if staged[0].name == name:
        return staged[0].staged
    rest = quoting.statement(
        "SELECT {} FROM {} WHERE tableoid NOT IN (SELECT relid FROM {})",
        quoting.names(columns),
        quoting.relation(name),
        quoting.joined(
            " UNION ALL SELECT relid FROM ",
            [_partition_tree(table) for table in staged],
        ),
    )
    pieces = [
        quoting.statement("SELECT {} FROM {}", quoting.names(columns), table.staged) for table in staged
    ]
    return quoting.statement("({})", quoting.joined(" UNION ALL ", [rest, *pieces]))


def _partition_tree(table: LiveTable) -> sql.Composable:
    return sql.SQL("pg_catalog.pg_partition_tree({})").format(sql.Literal(table.relation.as_string(None)))


def _keep_rows_that_go(opened: Sessions, plan: Sequence[LiveTable]) -> None:
    """Copy what will be deleted or overwritten into the database beside: a restore destroys nothing (invariant 6)."""
    source, target = opened.source, opened.target
    source.execute("CREATE SCHEMA IF NOT EXISTS replaced")
    # The backup may have brought one: its owner could put a view in a kept table's place, for whoever looks at it.
    source.execute("ALTER SCHEMA replaced OWNER TO CURRENT_USER")
    for table in plan:
        kept = quoting.statement("replaced.{}", quoting.name(_kept_name(table)))
        columns, told_by = quoting.columns_of("t", table.stored), _told_by(table)
        none, why = quoting.statement(""), quoting.statement("")
        if told_by:
            none = quoting.statement(", NULL::text AS {}", quoting.name(told_by))
            why = quoting.statement(f", CASE x.step WHEN 'g' THEN '{TAKEN_OUT}' ELSE '{OVERWRITTEN}' END")
        source.execute(
            quoting.statement(
                "CREATE TABLE {} AS SELECT {}{} FROM {} t WITH NO DATA", kept, columns, none, table.relation
            )
        )
        out = quoting.statement(
            "COPY (SELECT {}{} FROM {} t JOIN {} x ON t.tableoid = x.part AND t.ctid = x.place) TO STDOUT",
            *(columns, why, table.relation, table.steps),
        )
        into = quoting.statement("COPY {} FROM STDIN", kept)
        opened.let_fill(table.name, _kept_name(table))
        filling = opened.reader(table.name)
        with target.cursor().copy(out) as reading, filling.cursor().copy(into) as writing:
            for piece in reading:
                writing.write(piece)
    opened.finish()


def _told_by(table: LiveTable) -> str:
    """A column that the table does not have; none where it has all that a table may have."""
    if len(table.stored) >= _MAX_COLUMNS:
        return ""
    return next(
        each for number in range(_MAX_COLUMNS) if (each := "kept_because" + "_" * number) not in table.columns
    )


def _kept_name(table: LiveTable) -> str:
    """``schema.table``, cut to the length of a name where it has to be, and then with the table's number."""
    name = ".".join(split_qualified_name(table.name))
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    number = f"~{table.number}"
    return name.encode()[: MAX_NAME_BYTES - len(number)].decode(errors="ignore") + number


def _require_equal(target: Connection, table: LiveTable) -> None:
    """The proof inside the transaction: the same rows, as texts, as often.

    Grouping goes to disk beyond ``work_mem``; EXCEPT ALL may not, and took the memory of both tables. Which of two
    texts comes first is no matter: that of bytes is the cheapest order.
    """
    row = quoting.statement('SELECT ROW({})::text COLLATE "C" AS row', quoting.names(table.stored))
    query = quoting.statement(
        "SELECT coalesce(sum(abs(more)), 0)::bigint FROM (SELECT sum(n) AS more FROM"
        " ({}, 1 AS n FROM {} UNION ALL {}, -1 FROM {}) both_sides GROUP BY row) counted",
        *(row, table.relation, row, table.staged),
    )
    different = (target.execute(query).fetchone() or (1,))[0]
    if different:
        target.rollback()
        raise DatabaseError(
            f"{table.name} would differ from the backup in {different} rows after being put back; nothing was changed",
            "a trigger or rule of the server changes rows on their way in",
        )
