"""Whose functions a question of ours would run: those of people who could not run them with our rights.

To plan a query the server computes the constant parts of every expression in the table's indexes and extended
statistics, whatever the query asks (``get_relation_info`` and ``eval_const_expressions`` in its source, src/backend/
optimizer). A table's owner writes those expressions: ``CREATE INDEX ON t ((his_function(1)))`` has his function called
by whoever reads ``t``, a superuser too. COPY of a table is not planned, and calls nothing.

Functions are read off the stored expressions themselves (``pg_node_tree``): pg_depend does not list PostgreSQL's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from recyclic_backups.postgres.connection import Connection

# Code of a superuser, or our own, could do the same without us.
_TRUSTED = "(SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper OR r.rolname = session_user)"

FIRST_MADE_BY_PEOPLE = 16384  # FirstNormalObjectId

# In the text of a node tree (``e.tree``): FUNCEXPR and the like have their function, OPEXPR and others their operator.
CALLED = r"""
CROSS JOIN LATERAL pg_catalog.regexp_matches(e.tree, ':(funcid|opno|aggfnoid|winfnoid) (\d+)', 'g') m
JOIN pg_catalog.pg_proc p ON p.oid = CASE m[1] WHEN 'opno'
    THEN (SELECT o.oprcode::oid FROM pg_catalog.pg_operator o WHERE o.oid = m[2]::oid) ELSE m[2]::oid END
"""

_HARMLESS = """
    abbrev abs age area array_agg array_append array_cat array_dims array_length array_lower array_ndims
    array_position array_positions array_prepend array_remove array_replace array_to_string array_upper ascii
    avg bit_and bit_count bit_length bit_or bool_and bool_or broadcast btrim cardinality cbrt ceil ceiling
    center char_length character_length chr concat concat_ws corr count covar_pop covar_samp cume_dist date_bin
    date_part date_trunc decode degrees dense_rank diameter div encode every exp extract factorial family
    first_value floor format gcd generate_series generate_subscripts get_bit get_byte height host hostmask
    initcap is_normalized isclosed isempty isfinite isopen json_array_length json_extract_path
    json_extract_path_text json_typeof jsonb_array_length jsonb_extract_path jsonb_extract_path_text
    jsonb_path_exists jsonb_path_match jsonb_strip_nulls jsonb_typeof justify_days justify_hours
    justify_interval lag last_value lcm lead left length like_escape ln log log10 lower lower_inc lower_inf lpad
    ltrim make_date make_interval make_time make_timestamp make_timestamptz masklen max md5 min min_scale mod
    mode netmask network normalize notlike now npoints nth_value ntile num_nonnulls num_nulls numnode
    octet_length overlay percent_rank percentile_cont percentile_disc phraseto_tsquery pi plainto_tsquery
    position power quote_ident quote_literal quote_nullable radians rank regexp_count regexp_instr regexp_like
    regexp_match regexp_replace regexp_split_to_array regexp_substr repeat replace reverse right round
    row_number rpad rtrim scale set_bit set_byte setweight sha224 sha256 sha384 sha512 sign similar_escape
    similar_to_escape split_part sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg
    string_to_array strip strpos substr substring sum timezone to_char to_date to_hex to_number to_timestamp
    to_tsquery to_tsvector transaction_timestamp translate trim_scale trunc unistr unnest upper upper_inc
    upper_inf var_pop var_samp variance websearch_to_tsquery width width_bucket
"""
"""Functions of PostgreSQL's own that compute a value from values, and have nobody's code called: whatever their
arguments are, none of them is taken for the name or the number of a type, a query, or a row to be made."""

LOOKS_FOR_CODE = "[{](JSON|XML|TABLEFUNC)"
"""What the syntax of JSON and XML is in a node tree, as a pattern: it looks for casts and types by itself."""

# A list of what is harmless, as there was always one more way to have the server run a text, a view or a domain:
# domain_in() and its like, to which anybody may give the number of a type, or a text that names one. A function of a
# superuser runs with the rights of whoever calls it: one that is not immutable (dblink), that takes a value of any
# type and may make one (hstore's populate_record), or that the author of an expression (``e.maker``) may not call
# himself, does for him what he cannot.
ACTS_FOR_ITS_AUTHOR = f"""
    CASE WHEN p.oid < {FIRST_MADE_BY_PEOPLE}
        THEN p.provolatile = 'v' OR NOT (
            p.proname = ANY(pg_catalog.string_to_array('{" ".join(_HARMLESS.split())}', ' ')::name[])
            OR EXISTS (SELECT FROM pg_catalog.pg_operator o
                       WHERE o.oprcode = p.oid AND o.oid < {FIRST_MADE_BY_PEOPLE})
            OR EXISTS (SELECT FROM pg_catalog.pg_cast x
                       WHERE x.castfunc = p.oid AND x.oid < {FIRST_MADE_BY_PEOPLE}))
        ELSE p.provolatile <> 'i' OR NOT pg_catalog.has_function_privilege(e.maker, p.oid, 'EXECUTE')
            OR EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes) a(oid)
                       JOIN pg_catalog.pg_type y ON y.oid = a.oid WHERE y.typtype = 'p') END
"""


PARTS_OF_TYPE = """
    CROSS JOIN LATERAL (
        SELECT pg_catalog.unnest(ARRAY[t.typelem, t.typbasetype])
        UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE g.rngtypid = t.oid
        UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) part(oid)
"""
"""What a type ``t`` of pg_type consists of: an array's elements, what a domain or a range is made of, columns."""


def _made(source: str, key: str, but_for: str = "", name: str = "made") -> str:
    """A table expression, of this name, of the types in the trees of another one, and of what these consist of.

    ``but_for`` is what the field of a node does not begin with; it is ``typid`` where JSON is RETURNING a type, since
    PostgreSQL 16.
    """
    return f"""{name}({key}, oid) AS (
    SELECT {source}.{key}, m[1]::oid FROM {source}
    CROSS JOIN LATERAL pg_catalog.regexp_matches({source}.tree, ':{but_for}\\w*(?:type(?:id)?|typid) (\\d+)', 'gi') m
    WHERE m[1]::oid >= {FIRST_MADE_BY_PEOPLE}
  UNION
    SELECT {name}.{key}, part.oid FROM {name}
    JOIN pg_catalog.pg_type t ON t.oid = {name}.oid
    {PARTS_OF_TYPE}
    WHERE part.oid >= {FIRST_MADE_BY_PEOPLE})"""


# A function in SQL is put in place of its call, with names that are looked up along our search path and not its
# author's: that fails where he relied on his own. A function that makes a value of whatever type it is given runs the
# checks of a domain in it: hstore's populate_record, which anybody may install and which is immutable. It may be given
# a row of no named type, ``ROW((NULL::his.pair).x)``, and then its result has none. So an expression in which any type
# of somebody's stands, but for a column's, counts as his, unless that is an enumeration, which has no checks.
# PostgreSQL has functions in SQL too, which look for a cast to text when they are put in place: ``'x' || his_value``.
# So any type counts, a column's too, from which somebody's function is a cast.
_RUN_BY = f"""
WITH RECURSIVE e(relid, tree) AS ({{0}}), {_made("e", "relid", "(?!var)")}, {_made("e", "relid", name="met")}
SELECT e.relid::bigint, pg_catalog.pg_get_userbyid(p.proowner)
FROM e
{CALLED}
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.oid >= {FIRST_MADE_BY_PEOPLE} AND (l.lanname = 'sql' OR p.proowner NOT IN {_TRUSTED})
UNION
SELECT made.relid::bigint, pg_catalog.pg_get_userbyid(t.typowner)
FROM made
JOIN pg_catalog.pg_type t ON t.oid = made.oid
LEFT JOIN pg_catalog.pg_type x ON x.oid = t.typelem
WHERE t.typowner NOT IN {_TRUSTED}
  AND t.typtype <> 'e' AND NOT (t.typtype = 'b' AND x.typtype IS NOT DISTINCT FROM 'e')
UNION
SELECT met.relid::bigint, pg_catalog.pg_get_userbyid(p.proowner)
FROM met
JOIN pg_catalog.pg_cast k ON k.castsource = met.oid
JOIN pg_catalog.pg_proc p ON p.oid = k.castfunc
WHERE p.oid >= {FIRST_MADE_BY_PEOPLE} AND p.proowner NOT IN {_TRUSTED}
ORDER BY 1, 2
"""
_PLANNED = _RUN_BY.format("""
    SELECT i.indrelid, i.indexprs::text FROM pg_catalog.pg_index i WHERE i.indrelid {0}
    UNION ALL SELECT i.indrelid, i.indpred::text FROM pg_catalog.pg_index i WHERE i.indrelid {0}
    UNION ALL SELECT s.stxrelid, s.stxexprs::text FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid {0}
    UNION ALL SELECT t.partrelid, t.partexprs::text FROM pg_catalog.pg_partitioned_table t WHERE t.partrelid {0}
""")
_GENERATED = _RUN_BY.format("""
    SELECT d.adrelid, d.adbin::text FROM pg_catalog.pg_attrdef d
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attgenerated <> ''
""")

# A constant is written as text and read again: an array of a domain, or a composite type with one, makes its checks.
# A check is put to the rows by its text, in which names are looked up anew: where a function takes more than one type,
# another one of that name may be nearer by now if others may make it, and a cast of somebody's type may be his by now.
_COMPUTED = f"""
WITH RECURSIVE k(id, tree, maker) AS (
    SELECT k.oid, k.conbin::text, coalesce(c.relowner, t.typowner)
    FROM pg_catalog.pg_constraint k
    LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid
    WHERE k.contype = 'c' {{0}}
), {_made("k", "id")}
SELECT e.id::bigint, pg_catalog.pg_get_userbyid(CASE WHEN p.proowner IN {_TRUSTED} THEN e.maker ELSE p.proowner END)
FROM k e
{CALLED}
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE (p.oid >= {FIRST_MADE_BY_PEOPLE} AND p.proowner NOT IN {_TRUSTED})
   OR (e.maker NOT IN {_TRUSTED} AND {ACTS_FOR_ITS_AUTHOR})
   OR (p.oid >= {FIRST_MADE_BY_PEOPLE}
       AND EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes) a(oid)
                   JOIN pg_catalog.pg_type t ON t.oid = a.oid WHERE t.typtype = 'p')
       AND (n.nspowner NOT IN {_TRUSTED}
            OR EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) x
                       WHERE x.privilege_type = 'CREATE' AND x.grantee NOT IN {_TRUSTED})))
UNION
SELECT made.id::bigint, pg_catalog.pg_get_userbyid(t.typowner)
FROM made
JOIN pg_catalog.pg_type t ON t.oid = made.oid
WHERE t.typowner NOT IN {_TRUSTED}
"""

# A foreign key may join columns of two types, of which one becomes the other by a cast of somebody's.
_JOINED = f"""
SELECT DISTINCT pg_catalog.pg_get_userbyid(p.proowner)
FROM pg_catalog.pg_constraint k
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) pair(child, parent)
JOIN pg_catalog.pg_attribute c ON c.attrelid = k.conrelid AND c.attnum = pair.child
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = pair.parent
JOIN pg_catalog.pg_cast t ON t.castsource IN (c.atttypid, a.atttypid) OR t.casttarget IN (c.atttypid, a.atttypid)
JOIN pg_catalog.pg_proc p ON p.oid = t.castfunc
WHERE k.oid = %s AND k.contype = 'f' AND c.atttypid <> a.atttypid
  AND p.oid >= {FIRST_MADE_BY_PEOPLE} AND p.proowner NOT IN {_TRUSTED}
ORDER BY 1
"""


_VIEWS = f"""
SELECT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relkind = 'v' AND c.oid >= {FIRST_MADE_BY_PEOPLE}
               AND c.relowner NOT IN {_TRUSTED})
"""


def has_foreign_views(connection: Connection) -> bool:
    """Whether there is a view of somebody who could run what it runs with our rights only through us."""
    row = connection.execute(_VIEWS.encode()).fetchone()
    return row is None or bool(row[0])


def run_by_planning(connection: Connection, *oids: int) -> Mapping[int, tuple[str, ...]]:
    """By oid, the relations that cannot be planned without running somebody's functions, and whose those are.

    With ``oids``, of those alone: asked before each question of thousands, it must not read the whole catalog. The
    planner goes by what is there at the moment: asked within a transaction that keeps an older snapshot, this would
    not show an index made since.
    """
    return _owners(connection, _PLANNED.format("= ANY(%(oids)s::bigint[]::oid[])" if oids else "<> 0"), oids)


def run_by_generated_columns(connection: Connection) -> Mapping[int, tuple[str, ...]]:
    """By oid, the relations whose generated columns may run somebody's functions, and whose those are."""
    return _owners(connection, _GENERATED, ())


def run_by_checks(connection: Connection, *domains: int) -> Mapping[int, tuple[str, ...]]:
    """By oid, the CHECK constraints of tables and domains that would run somebody's functions, and whose those are.

    With ``domains``, of those types alone.
    """
    of_domains = "AND k.contypid = ANY(%(oids)s::bigint[]::oid[])"
    return _owners(connection, _COMPUTED.format(of_domains if domains else ""), domains)


def run_by_joins(connection: Connection, foreign_key: int) -> tuple[str, ...]:
    """Whose casts may compare the columns of a foreign key, given by its oid."""
    return tuple(owner for (owner,) in connection.execute(_JOINED.encode(), (foreign_key,)))


def _owners(connection: Connection, query: str, oids: Sequence[int]) -> Mapping[int, tuple[str, ...]]:
    found: dict[int, list[str]] = defaultdict(list)
    # As a parameter: a question of the same text is planned once.
    for oid, owner in connection.execute(query.encode(), {"oids": list(oids)} if oids else None):
        found[oid].append(owner)
    return {oid: tuple(sorted(owners)) for oid, owners in found.items()}
