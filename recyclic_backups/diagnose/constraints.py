"""Rows that violate what their tables promise: foreign keys, checks, domains, NOT NULL and unique keys.

A server checks a constraint when a row is written, and then believes it. A damaged index, a trigger switched off
(``session_replication_role``, ``DISABLE TRIGGER``), a catalog edited by hand leave rows that it would refuse.
Definitions are read from the catalog (https://www.postgresql.org/docs/15/catalog-pg-constraint.html) and put to
every row anew, with the operators of the constraint itself and without its indexes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias

from psycopg import sql

from recyclic_backups.diagnose.inspection import Failed, Inspection
from recyclic_backups.fingerprint.foreign_code import run_by_checks, run_by_joins, run_by_planning
from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.fingerprint.relations import USER_SCHEMA
from recyclic_backups.postgres.names import qualified_name, some
from recyclic_backups.progress import Progress
from recyclic_backups.quantities import counted

ViolationKind: TypeAlias = Literal["foreign_key", "check", "not_null", "unique"]

# A column that not every version has is read through to_jsonb. Partitions' copies are their parent's constraint.
_FOREIGN_KEYS = f"""
SELECT k.conname, n.nspname, c.relname, c.relkind::text, pn.nspname, p.relname, p.relkind::text,
       k.confmatchtype::text, k.convalidated,
       coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true),
       coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false),
       compared.pairs, k.oid::bigint, k.conrelid::bigint, k.confrelid::bigint
FROM pg_constraint k
JOIN (SELECT f.oid, array_agg(ARRAY[a.attname::text, pa.attname::text, opn.nspname::text, o.oprname::text,
              CASE WHEN a.attcollation <> pa.attcollation AND pa.attcollation <> 0 AND a.attcollation <> 0
                   THEN pa.attcollation::regcollation::text ELSE '' END] ORDER BY pair.place) AS pairs
      FROM pg_constraint f
      CROSS JOIN unnest(f.conkey, f.confkey, f.conpfeqop) WITH ORDINALITY pair(child, parent, equal, place)
      JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = pair.child
      JOIN pg_attribute pa ON pa.attrelid = f.confrelid AND pa.attnum = pair.parent
      JOIN pg_operator o ON o.oid = pair.equal JOIN pg_namespace opn ON opn.oid = o.oprnamespace
      WHERE f.contype = 'f' GROUP BY f.oid) compared USING (oid)
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relpersistence <> 't' AND {USER_SCHEMA}
ORDER BY n.nspname, c.relname, k.conname
"""
_CHECKS = f"""
SELECT n.nspname, c.relname, k.conname, pg_get_expr(k.conbin, k.conrelid), k.convalidated,
       coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true), k.oid::bigint,
       c.oid::bigint
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'c' AND c.relkind = 'r' AND c.relpersistence <> 't' AND {USER_SCHEMA}
ORDER BY n.nspname, c.relname, k.conname
"""
_DOMAINS = f"""
SELECT n.nspname, c.relname, a.attname, format_type(t.typbasetype, t.typtypmod), format_type(t.oid, NULL),
       ARRAY(WITH RECURSIVE below(oid) AS (
                 SELECT t.oid UNION SELECT d.typbasetype FROM pg_type d JOIN below USING (oid))
             SELECT t.oid::bigint UNION ALL SELECT d.oid::bigint FROM pg_type d JOIN below USING (oid)),
       c.oid::bigint
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = t.typbasetype
WHERE t.typtype = 'd' AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r' AND c.relpersistence <> 't'
  AND {USER_SCHEMA}
  AND (t.typnotnull OR b.typtype = 'd' OR EXISTS (SELECT FROM pg_constraint k WHERE k.contypid = t.oid))
ORDER BY 1, 2, 3
"""
_NOT_NULL = f"""
SELECT n.nspname, c.relname, a.attname, coalesce(k.conname, ''), coalesce(k.convalidated, true)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
WHERE a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r' AND {USER_SCHEMA}
ORDER BY 1, 2, 3
"""
# What GROUP BY takes for equal is what the index does, as long as its columns have the usual operators.
_UNIQUE = f"""
SELECT n.nspname, c.relname, ic.relname, i.indpred IS NULL AND i.indexprs IS NULL AND u.usual,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false), u.columns, c.oid::bigint
FROM pg_index i
JOIN pg_class ic ON ic.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN (
    SELECT of.indexrelid, array_agg(a.attname::text ORDER BY key.place) AS columns,
           coalesce(bool_and(o.opcdefault AND key.coll IN (0, a.attcollation)), false) AS usual
    FROM pg_index of
    CROSS JOIN unnest(of.indkey::int2[], of.indclass::oid[], of.indcollation::oid[])
         WITH ORDINALITY key(attnum, opclass, coll, place)
    LEFT JOIN pg_attribute a ON a.attrelid = of.indrelid AND a.attnum = key.attnum
    LEFT JOIN pg_opclass o ON o.oid = key.opclass
    WHERE of.indisunique AND key.place <= of.indnkeyatts GROUP BY of.indexrelid) u USING (indexrelid)
WHERE i.indisunique AND i.indisvalid AND c.relkind = 'r' AND c.relpersistence <> 't' AND {USER_SCHEMA}
ORDER BY 1, 2, 3
"""
_EXCLUSIONS = f"""
SELECT n.nspname, c.relname, k.conname
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'x' AND c.relkind = 'r' AND {USER_SCHEMA} ORDER BY 1, 2, 3
"""
_REFUSED = ("23514", "23502")
"""check_violation and not_null_violation (https://www.postgresql.org/docs/15/errcodes-appendix.html)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A constraint of ``table`` that ``rows`` rows violate (None: at least one).

    ``parent`` is the table that a foreign key refers to. A constraint that is not ``validated`` (NOT VALID)
    never promised anything about rows older than itself.
    """

    kind: ViolationKind
    table: str
    constraint: str
    sentence: str
    rows: int | None
    column: str | None = None
    parent: str | None = None
    validated: bool = True


def foreign_keys(inspection: Inspection, skipped: Collection[str], progress: Progress) -> Iterator[Violation]:
    """Foreign keys with rows that refer to nothing; those of the tables ``skipped`` are not looked at."""
    not_looked_at: list[str] = []
    for row in inspection.rows(_FOREIGN_KEYS):
        key = _ForeignKey(*row)
        if key.temporal or not key.enforced:
            not_looked_at.append(f"{key.name} of {key.child}")
        elif key.child not in skipped and key.parent not in skipped:
            progress.stage(f"foreign key {key.name} of {key.child}")
            relations = [
                _own_rows(key.child_schema, key.child_name, key.child_kind),
                _own_rows(key.parent_schema, key.parent_name, key.parent_kind),
            ]
            subject = f"foreign key {key.name} of {key.child}"
            if not inspection.waited_for(subject, *relations, named=key.named()) or not _is_so_still(
                inspection, subject, _OPERATORS, key.oid, ([list(pair[2:4]) for pair in key.pairs],)
            ):
                continue
            # Asked anew each time: what was true when the diagnosis began may be long past.
            owners = run_by_joins(inspection.beside, key.oid)
            partitioned = "p" in (key.child_kind, key.parent_kind)
            if owners := (
                *owners,
                *_by_planning(inspection, key.child_oid, key.parent_oid, partitioned=partitioned),
            ):
                inspection.not_looked_at.append(
                    _of_others(f"the foreign key {key.name} of {key.child}", owners)
                )
                continue
            answer = inspection.ask(f"foreign key {key.name} of {key.child}", key.query())
            yield from key.judged(_counts(inspection, f"foreign key {key.name} of {key.child}", answer))
    _say_not_looked_at(inspection, "foreign keys that are not enforced, or over periods", not_looked_at)


def checks(inspection: Inspection, skipped: Collection[str], progress: Progress) -> Iterator[Violation]:
    """CHECK constraints that are false for some row. All of a table are put to each row at once."""
    foreign = run_by_checks(inspection.beside)
    found = []
    for row in inspection.rows(_CHECKS):
        if owners := foreign.get(row[6]):
            inspection.not_looked_at.append(
                _of_others(f"the check {row[2]} of {qualified_name(*row[:2])}", owners)
            )
        elif row[5]:
            found.append(row)
    for (schema, name), group in groupby(found, key=lambda row: (row[0], row[1])):
        table, constraints = qualified_name(schema, name), list(group)
        if table in skipped:
            continue
        progress.stage(f"checks of {table}")
        named = [(constraints[0][7], sql.Identifier(schema, name))]
        if not inspection.waited_for(
            f"checks of {table}", _own_rows(schema, name, "r"), named=named
        ) or not all(
            _is_so_still(inspection, f"check {each[2]} of {table}", _TEXT, each[6], (each[3],))
            for each in constraints
        ):
            continue
        if owners := _by_planning(inspection, constraints[0][7]):
            inspection.not_looked_at.append(_of_others(f"checks of {table}", owners))
            continue
        for (_, _, constraint, _, validated, *_), rows in zip(
            constraints, _checked(inspection, schema, name, constraints), strict=False
        ):
            if rows:
                sentence = (
                    f"{counted(rows, 'row')} that the check {constraint} forbids{_not_valid(validated)}"
                )
                yield Violation("check", table, constraint, sentence, rows, validated=validated)


def domains(inspection: Inspection, skipped: Collection[str], progress: Progress) -> Iterator[Violation]:
    """Columns with a value that their domain forbids: the server ends at the first one, so they are not counted."""
    for schema, name, column, base, domain, types, oid in inspection.rows(_DOMAINS):
        table = qualified_name(schema, name)
        subject, named = f"domain {domain} of {table}.{column}", [(oid, sql.Identifier(schema, name))]
        if not inspection.waited_for(subject, _own_rows(schema, name, "r"), named=named) or not _is_so_still(
            inspection, subject, _NAMES_OF_TYPE, types[0], (base, domain)
        ):
            continue
        owners = [owner for whose in run_by_checks(inspection.beside, *types).values() for owner in whose]
        if owners := [*owners, *_by_planning(inspection, oid)]:
            inspection.not_looked_at.append(_of_others(f"the domain {domain} of {table}.{column}", owners))
            continue
        if table in skipped:
            continue
        progress.stage(f"domain of {table}.{column}")
        # Values in tables are believed to fit their domain; only a cast looks at them.
        query = sql.SQL("SELECT count(CAST(CAST({} AS {}) AS {})) FROM ONLY {}").format(
            sql.Identifier(column), sql.SQL(base), sql.SQL(domain), sql.Identifier(schema, name)
        )
        answer = inspection.ask(subject, query)
        if isinstance(answer, Failed) and answer.state in _REFUSED:
            sentence = f"column {column} has a value that its domain {domain} forbids: {answer.sentence}"
            yield Violation("check", table, domain, sentence, None, column)
        else:
            _counts(inspection, subject, answer)


def nulls(inspection: Inspection, tables: Mapping[str, TableFingerprint]) -> Iterator[Violation]:
    """NULLs in NOT NULL columns, from counts that were made before.

    Asking for ``IS NULL`` would not do: from version 17 on the planner believes the constraint instead of looking.
    """
    for schema, name, column, constraint, validated in inspection.rows(_NOT_NULL):
        table = qualified_name(schema, name)
        figures = tables.get(table)
        if figures is None or column not in figures.non_null:
            continue
        missing = figures.rows - figures.non_null[column]
        if missing:
            sentence = (
                f"{counted(missing, 'row')} with NULL in {column}, which is NOT NULL{_not_valid(validated)}"
            )
            yield Violation("not_null", table, constraint, sentence, missing, column, validated=validated)


def duplicates(inspection: Inspection, skipped: Collection[str], progress: Progress) -> Iterator[Violation]:
    """Keys that more than one row has although a unique index forbids it: what a damaged index lets through."""
    not_looked_at: list[str] = []
    for schema, name, index, plain, nulls_equal, columns, oid in inspection.rows(_UNIQUE):
        table = qualified_name(schema, name)
        if not plain:
            not_looked_at.append(f"{index} of {table}")
        elif table not in skipped and not inspection.waited_for(
            f"unique key {index} of {table}",
            _own_rows(schema, name, "r"),
            named=[(oid, sql.Identifier(schema, name))],
        ):
            continue
        elif owners := _by_planning(inspection, oid) if table not in skipped else ():
            inspection.not_looked_at.append(_of_others(f"the unique key {index} of {table}", owners))
        elif table not in skipped:
            progress.stage(f"unique key {index} of {table}")
            names = [sql.Identifier(column) for column in columns]
            present = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(each) for each in names)
            query = sql.SQL(
                "SELECT count(*) FROM (SELECT 1 FROM ONLY {} {} GROUP BY {} HAVING count(*) > 1) d"
            ).format(
                sql.Identifier(schema, name),
                sql.SQL("") if nulls_equal else sql.SQL("WHERE {}").format(present),
                sql.SQL(", ").join(names),
            )
            subject = f"unique key {index} of {table}"
            counts = _counts(inspection, subject, inspection.ask(subject, query))
            if counts and counts[0]:
                keys = counted(counts[0], "key")
                sentence = (
                    f"{keys} that more than one row has, though {index} is unique ({', '.join(columns)})"
                )
                yield Violation("unique", table, index, sentence, counts[0])
    _say_not_looked_at(
        inspection, "unique indexes on expressions, some rows only or unusual operators", not_looked_at
    )
    exclusions = [f"{name} of {qualified_name(*table)}" for *table, name in inspection.rows(_EXCLUSIONS)]
    _say_not_looked_at(inspection, "exclusion constraints", exclusions)


@dataclass(frozen=True, slots=True)
class _ForeignKey:
    name: str
    child_schema: str
    child_name: str
    child_kind: str
    parent_schema: str
    parent_name: str
    parent_kind: str
    match: str
    validated: bool
    enforced: bool
    temporal: bool
    pairs: Sequence[Sequence[str]]
    oid: int
    child_oid: int
    parent_oid: int

    @property
    def child(self) -> str:
        return qualified_name(self.child_schema, self.child_name)

    @property
    def parent(self) -> str:
        return qualified_name(self.parent_schema, self.parent_name)

    def named(self) -> Sequence[tuple[int, sql.Identifier]]:
        """Its tables by oid."""
        return [
            (self.child_oid, sql.Identifier(self.child_schema, self.child_name)),
            (self.parent_oid, sql.Identifier(self.parent_schema, self.parent_name)),
        ]

    def query(self) -> sql.Composed:
        """Rows whose parent is missing, and (MATCH FULL) rows with a part of the key null and a part not."""
        matches = []
        for child, parent, schema, operator, collation in self.pairs:
            matches.append(
                sql.SQL("p.{} OPERATOR({}.{}) c.{}{}").format(
                    sql.Identifier(parent),
                    sql.Identifier(schema),
                    sql.SQL(operator),
                    sql.Identifier(child),
                    # As the server itself does: the parent's collation decides what is equal.
                    sql.SQL(f" COLLATE {collation}") if collation else sql.SQL(""),
                )
            )
        present = [sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(pair[0])) for pair in self.pairs]
        # MATCH SIMPLE: a row with any null in its key refers to nothing (ddl-constraints.html).
        orphan = sql.SQL("{} AND NOT EXISTS (SELECT FROM {} p WHERE {})").format(
            sql.SQL(" AND ").join(present),
            _own_rows(self.parent_schema, self.parent_name, self.parent_kind),
            sql.SQL(" AND ").join(matches),
        )
        children = _own_rows(self.child_schema, self.child_name, self.child_kind)
        mixed: sql.Composable = sql.SQL("0::bigint")
        if self.match == "f":
            mixed = sql.SQL("(SELECT count(*) FROM {} c WHERE ({}) AND NOT ({}))").format(
                children, sql.SQL(" OR ").join(present), sql.SQL(" AND ").join(present)
            )
        return sql.SQL("SELECT (SELECT count(*) FROM {} c WHERE {}), {}").format(children, orphan, mixed)

    def judged(self, counts: Sequence[Any]) -> Iterator[Violation]:
        columns = ", ".join(pair[0] for pair in self.pairs)
        for rows, what in zip(
            counts,
            (
                f"whose {columns} refers to no row of {self.parent}",
                f"with a part of {columns} null, which MATCH FULL forbids",
            ),
            strict=False,
        ):
            if rows:
                sentence = (
                    f"{counted(rows, 'row')} {what} (foreign key {self.name}){_not_valid(self.validated)}"
                )
                column = self.pairs[0][0] if len(self.pairs) == 1 else None
                yield Violation(
                    "foreign_key", self.child, self.name, sentence, rows, column, self.parent, self.validated
                )


def _own_rows(schema: str, name: str, kind: str) -> sql.Composed:
    """A table as its foreign keys see it: with its partitions, without tables that inherit from it."""
    return sql.SQL("{} {}").format(sql.SQL("" if kind == "p" else "ONLY"), sql.Identifier(schema, name))


def _checked(
    inspection: Inspection, schema: str, name: str, constraints: Sequence[tuple[Any, ...]]
) -> list[int]:
    """Rows that violate each constraint; zero, and a note, where one cannot be computed."""
    table = qualified_name(schema, name)
    answer = inspection.ask(f"checks of {table}", _checking(schema, name, constraints))
    if not isinstance(answer, Failed):
        return list(answer[0]) if answer else []
    counted = []
    for each in constraints:  # one that cannot be computed must not hide the others
        subject = f"check {each[2]} of {table}"
        counts = _counts(inspection, subject, inspection.ask(subject, _checking(schema, name, [each])))
        counted.append(counts[0] if counts else 0)
    return counted


def _checking(schema: str, name: str, constraints: Sequence[tuple[Any, ...]]) -> sql.Composed:
    """One count for each constraint. The table has no alias: a check may name the table for its whole row."""
    counts = [
        sql.SQL("count(*) FILTER (WHERE ({}) IS FALSE)").format(sql.SQL(each[3])) for each in constraints
    ]
    return sql.SQL("SELECT {} FROM ONLY {}").format(sql.SQL(", ").join(counts), sql.Identifier(schema, name))


def _counts(
    inspection: Inspection, subject: str, answer: list[tuple[Any, ...]] | Failed | None
) -> Sequence[Any]:
    """The counts of an answer; none, and a note, where the question itself could not be computed."""
    if isinstance(answer, Failed):
        inspection.incomplete.append(f"{subject} could not be computed: {answer.sentence}")
        return ()
    return answer[0] if answer else ()


def _say_not_looked_at(inspection: Inspection, what: str, names: Sequence[str]) -> None:
    if names:
        inspection.not_looked_at.append(f"not looked at: {what} ({some(names)})")


# What was read of a constraint or a domain and is asked by name, once more.
_OPERATORS = """
    SELECT array_agg(ARRAY[n.nspname::text, o.oprname::text] ORDER BY pair.place)
    FROM pg_constraint k CROSS JOIN unnest(k.conpfeqop) WITH ORDINALITY pair(equal, place)
    JOIN pg_operator o ON o.oid = pair.equal JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE k.oid = %s::bigint::oid
"""
_TEXT = "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE oid = %s::bigint::oid"
_NAMES_OF_TYPE = """
    SELECT format_type(typbasetype, typtypmod), format_type(oid, NULL) FROM pg_type WHERE oid = %s::bigint::oid
"""


def _is_so_still(inspection: Inspection, subject: str, query: str, oid: int, known: tuple[Any, ...]) -> bool:
    """Whether names of functions, operators and types mean what was judged; False, and a note, if not.

    Who owns their schema can give it another name, and make others of theirs.
    """
    return inspection.beside.execute(query.encode(), (oid,)).fetchone() == known or inspection.changed(
        subject
    )


_PARTITIONS = "SELECT t.relid::oid::bigint FROM unnest(%s::bigint[]) o, pg_partition_tree(o::oid) t"


def _by_planning(inspection: Inspection, *tables: int, partitioned: bool = False) -> tuple[str, ...]:
    """Whose functions a question on these tables would run at this moment, by indexes made since they were read.

    ``partitioned`` says that one of them is: then its partitions' too.
    """
    parts = inspection.beside.execute(_PARTITIONS, (list(tables),)).fetchall() if partitioned else []
    found = run_by_planning(inspection.beside, *tables, *(oid for (oid,) in parts))
    return tuple(sorted({owner for owners in found.values() for owner in owners}))


def _of_others(what: str, owners: Sequence[str]) -> str:
    return f"not looked at: {what}, which runs functions of {some(sorted(set(owners)))} with our rights"


def _not_valid(validated: bool) -> str:
    return "" if validated else "; the constraint is NOT VALID"
