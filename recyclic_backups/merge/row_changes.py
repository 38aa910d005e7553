"""What becomes of each row when a live table is made equal to what is staged beside it.

Each row has at most one step: ``g``, a live row goes; ``n``, a staged one is new; ``u``, one is updated; ``m``, one is
taken out and put in again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from recyclic_backups.merge.live_table import ForeignKey, LiveTable
from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.quantities import counted

_FIRST_KEYS = 5

_GONE_BY_KEY = """
    INSERT INTO {steps} SELECT 'g', t.tableoid, t.ctid FROM {live} t
    WHERE NOT EXISTS (SELECT FROM {staged} s WHERE {same_key})
"""
_NEW_BY_KEY = """
    INSERT INTO {steps} SELECT 'n', NULL, NULL, s.ctid FROM {staged} s
    WHERE NOT EXISTS (SELECT FROM {live} t WHERE {same_key})
"""
_UPDATED = """
    INSERT INTO {steps} SELECT 'u', t.tableoid, t.ctid, s.ctid FROM {live} t JOIN {staged} s ON {same_key}
    WHERE ROW({t_stored})::text IS DISTINCT FROM ROW({s_stored})::text
      AND NOT EXISTS (SELECT FROM {steps} x WHERE x.staged = s.ctid)
"""
# Without key, equal rows are told apart by counting them.
_NUMBERED = """
    (SELECT part, place, row, pg_catalog.row_number() OVER (PARTITION BY row) AS number FROM
        (SELECT a.tableoid AS part, a.ctid AS place, ROW({a_stored})::text COLLATE "C" AS row FROM {rows} a) a)
"""
_ONLY_ONE_HAS = "NOT EXISTS (SELECT FROM {} b WHERE b.row = a.row AND b.number = a.number)"
_GONE = f"INSERT INTO {{steps}} SELECT 'g', a.part, a.place FROM {{here}} a WHERE {_ONLY_ONE_HAS.format('{there}')}"
_NEW = f"INSERT INTO {{steps}} SELECT 'n', NULL, NULL, a.place FROM {{there}} a WHERE {_ONLY_ONE_HAS.format('{here}')}"

OF_STEP = "t.tableoid = x.part AND t.ctid = x.place"
"""That ``t`` is the live row of a step ``x``."""
_REFERRED_TO = f"EXISTS (SELECT FROM {{live}} t JOIN {{child}} c ON {{refers}} WHERE {OF_STEP}{{also}})"
_OTHER_VALUES = """
    AND EXISTS (SELECT FROM {staged} s WHERE s.ctid = x.staged
                AND ROW({t_columns})::text IS DISTINCT FROM ROW({s_columns})::text)
"""


@dataclass(frozen=True, slots=True)
class Changes:
    """How many rows of a table come back, are set right and go, and what is worth saying of them.

    ``newer_keys`` are those of the first few rows that go, by column; ``respelled`` are columns of the key in which
    rows have a value that is equal to the backup's and written otherwise, and in how many rows.
    """

    inserted: int
    updated: int
    deleted: int
    newer_keys: tuple[Mapping[str, str], ...]
    respelled: Mapping[str, int]


def find(target: Connection, table: LiveTable) -> Changes:
    """Compare a live table with what is staged of it, row by row; the steps stay in its temporary table."""
    target.execute(
        quoting.statement(
            'CREATE TEMPORARY TABLE {} (step "char", part oid, place tid, staged tid) ON COMMIT DROP',
            table.steps,
        )
    )
    if table.key:
        for query in (_GONE_BY_KEY, _NEW_BY_KEY):
            target.execute(_filled(query, table))
        find_updates(target, table)
    else:
        for query in (_GONE, _NEW):
            target.execute(_filled(query, table))
    count_steps(target, table)
    count = quoting.statement("SELECT step::text, count(*) FROM {} GROUP BY 1", table.steps)
    counts = {str(step): int(rows) for step, rows in target.execute(count)}
    return Changes(
        inserted=counts.get("n", 0),
        updated=counts.get("u", 0),
        deleted=counts.get("g", 0),
        newer_keys=_first_keys(target, table) if table.key and counts.get("g") else (),
        respelled=_respelled(target, table) if counts.get("u") else {},
    )


def find_updates(target: Connection, table: LiveTable) -> None:
    """Rows with the same key and other values for which there is no step yet."""
    target.execute(_filled(_UPDATED, table))


def count_steps(target: Connection, table: LiveTable) -> None:
    """Tell the planner how many steps of each kind there are: taken for few, they are gone through one by one."""
    target.execute(quoting.statement("ANALYZE {}", table.steps))


def _filled(query: str, table: LiveTable) -> sql.Composed:
    a_stored = quoting.columns_of("a", table.stored)
    return sql.SQL(query).format(
        steps=table.steps,
        live=table.relation,
        staged=table.staged,
        same_key=table.same_key,
        t_stored=quoting.columns_of("t", table.stored),
        s_stored=quoting.columns_of("s", table.stored),
        here=sql.SQL(_NUMBERED).format(a_stored=a_stored, rows=table.relation),
        there=sql.SQL(_NUMBERED).format(a_stored=a_stored, rows=table.staged),
    )


def _first_keys(target: Connection, table: LiveTable) -> tuple[Mapping[str, str], ...]:
    # format() writes any value by its type's own output function, which a cast to text may not.
    values = [
        quoting.statement("pg_catalog.format('%s', t.{})", quoting.name(column)) for column in table.key
    ]
    query = quoting.statement(
        f"SELECT {{}} FROM {{}} t JOIN {{}} x ON {OF_STEP} WHERE x.step = 'g'"
        f" ORDER BY x.part, x.place LIMIT {_FIRST_KEYS}",
        *(quoting.joined(", ", values), table.relation, table.steps),
    )
    return tuple(dict(zip(table.key, row, strict=True)) for row in target.execute(query).fetchall())


def _respelled(target: Connection, table: LiveTable) -> Mapping[str, int]:
    differing = [
        quoting.statement(
            "count(*) FILTER (WHERE ROW(t.{})::text IS DISTINCT FROM ROW(s.{})::text)",
            *(quoting.name(column), quoting.name(column)),
        )
        for column in table.key
    ]
    query = quoting.statement(
        f"SELECT {{}} FROM {{}} x JOIN {{}} t ON {OF_STEP} JOIN {{}} s ON s.ctid = x.staged WHERE x.step = 'u'",
        *(quoting.joined(", ", differing), table.steps, table.relation, table.staged),
    )
    row = target.execute(query).fetchone() or ()
    return {column: count for column, count in zip(table.key, row, strict=True) if count}


def what_would_be_taken_along(
    target: Connection, plan: Sequence[LiveTable], foreign_keys: Sequence[ForeignKey]
) -> Iterator[str]:
    """Rows of other tables that the server would change because of a foreign key, though what they refer to stays.

    A row to which such a key leads by a value that changes is taken out and put in again, if that takes nothing along.
    """
    tables = {table.name: table for table in plan}
    for key in foreign_keys:
        table = tables.get(key.parent)
        if table is not None and key.acts_on_update:
            also = _other_values(key, table)
            target.execute(
                quoting.statement(
                    "UPDATE {} x SET step = 'm' WHERE x.step = 'u' AND {}",
                    *(table.steps, referred_to(key, table, tables, also)),
                )
            )
            count_steps(target, table)
    for key in foreign_keys:
        table = tables.get(key.parent)
        if table is None or not key.acts_on_delete:
            continue
        query = quoting.statement(
            "SELECT count(*) FROM {} x WHERE x.step IN ('g', 'm') AND {}",
            *(table.steps, referred_to(key, table, tables)),
        )
        count = (target.execute(query).fetchone() or (0,))[0]
        if count:
            yield (
                f"{counted(count, 'row')} of {key.parent} would take rows of {key.child} along, which refer to "
                f"values that pass on to other rows ({key.name} acts on DELETE and UPDATE)"
            )


def _other_values(key: ForeignKey, table: LiveTable) -> sql.Composed:
    return sql.SQL(_OTHER_VALUES).format(
        staged=table.staged,
        t_columns=quoting.columns_of("t", key.parent_columns),
        s_columns=quoting.columns_of("s", key.parent_columns),
    )


def referred_to(
    key: ForeignKey,
    table: LiveTable,
    tables: Mapping[str, LiveTable],
    also: sql.Composable | None = None,
) -> sql.Composed:
    """Of a step ``x``: that a row of the key's child, as it will be, refers to the live row."""
    child = tables.get(key.child)
    return sql.SQL(_REFERRED_TO).format(
        live=table.relation,
        child=key.child_rows if child is None else child.staged,
        refers=key.refers("c", "t"),
        also=also or sql.SQL(""),
    )
