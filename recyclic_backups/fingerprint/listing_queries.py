"""What is asked of the catalog for the listing: one query per kind, the same on PostgreSQL 15 to 18.

Every query gives ``identity, owner (or ''), aclitems exploded to text (or NULL), parts`` where ``parts`` is
an array of texts that together define the object; ``identity`` is an array of one part (the name), two
(schema and name) or three (schema, table and name). Members of extensions are left out everywhere.

Left out on purpose: what differs between versions without anybody having changed it (NOT NULL constraints,
which 18 lists by name; the MAINTAIN privilege of 17; constraints and triggers cloned to partitions), and
kinds that almost nobody makes by hand (casts, operators, foreign servers, text search, subscriptions).
Those are compared in full, as text, whenever both servers are of the same major version.
"""

from __future__ import annotations

from recyclic_backups.fingerprint.relations import USER_SCHEMA


def _own(catalog: str, oid: str) -> str:
    return (
        f"NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = '{catalog}'::regclass"
        f" AND x.objid = {oid} AND x.deptype = 'e')"
    )


def _grants(kind: str, acl: str, owner: str) -> str:
    """Grants that are not the default ones, sorted, or NULL. Without grantors: a restore is one grantor."""

    def exploded(what: str) -> str:
        return (
            "(SELECT string_agg(entry, ', ' ORDER BY entry COLLATE \"C\") FROM (SELECT "
            "CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END"
            " || ' ' || a.privilege_type || CASE WHEN a.is_grantable THEN ' again' ELSE '' END AS entry "
            f"FROM aclexplode({what}) a WHERE a.privilege_type <> 'MAINTAIN') e)"
        )

    default = exploded(f"acldefault('{kind}', {owner})")
    return f"CASE WHEN {acl} IS NOT NULL THEN nullif(coalesce({exploded(acl)}, 'nobody'), {default}) END"


# A default refers to no column, so pg_get_expr needs no table: with one it looks up all columns each time,
# which takes 13 s for a table of 1600.
_COLUMNS = """
ARRAY(SELECT concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
             CASE WHEN a.attnotnull THEN 'not null' END,
             'collate ' || nullif(a.attcollation, t.typcollation)::regcollation::text,
             'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''),
             pg_get_expr(d.adbin, CASE a.attgenerated WHEN '' THEN 0 ELSE d.adrelid END),
             col_description(a.attrelid, a.attnum))
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname COLLATE "C")
"""

_COLUMN_GRANTS = """
(SELECT string_agg(entry, ', ' ORDER BY entry COLLATE "C") FROM (
    SELECT concat_ws(' ', a.attname, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee) END,
                     g.privilege_type, g.is_grantable) AS entry
    FROM pg_attribute a, aclexplode(a.attacl) g
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) e)
"""

_RELATION = f"""
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND {USER_SCHEMA} AND {_own("pg_class", "c.oid")}
"""


def _relation(kinds: str, parts: str, acl_kind: str = "r") -> str:
    return f"""
    SELECT ARRAY[n.nspname::text, c.relname::text], pg_get_userbyid(c.relowner),
           nullif(concat_ws('; ', {_grants(acl_kind, "c.relacl", "c.relowner")}, {_COLUMN_GRANTS}), ''),
           {parts} || obj_description(c.oid, 'pg_class')
    {_RELATION} AND c.relkind IN ({kinds})
    """


# A function with a body in standard SQL has no prosrc; the text it is written back in may differ by version.
_FUNCTION = f"""
SELECT ARRAY[n.nspname::text, p.proname || '(' || oidvectortypes(p.proargtypes) || ')'],
       pg_get_userbyid(p.proowner), {_grants("f", "p.proacl", "p.proowner")},
       ARRAY[p.prokind::text, l.lanname::text, pg_get_function_arguments(p.oid),
             pg_get_function_result(p.oid), p.prosrc, p.probin, p.provolatile::text, p.proparallel::text,
             p.proisstrict::text, p.prosecdef::text, p.proleakproof::text, p.proretset::text,
             array_to_string(p.proconfig, ', '), g.aggtransfn::text, g.aggfinalfn::text,
             g.aggcombinefn::text, g.agginitval, obj_description(p.oid, 'pg_proc')]
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid
WHERE {USER_SCHEMA} AND {_own("pg_proc", "p.oid")}
  AND NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid
                  AND i.deptype = 'i')
"""

_TYPE = f"""
SELECT ARRAY[n.nspname::text, t.typname::text], pg_get_userbyid(t.typowner),
       {_grants("T", "t.typacl", "t.typowner")},
       ARRAY[t.typtype::text, obj_description(t.oid, 'pg_type')]
       || ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
       || CASE t.typtype WHEN 'd' THEN ARRAY[format_type(t.typbasetype, t.typtypmod), t.typnotnull::text,
                                             t.typdefault]
               WHEN 'c' THEN {_COLUMNS}
               WHEN 'r' THEN ARRAY(SELECT format_type(r.rngsubtype, NULL) FROM pg_range r
                                   WHERE r.rngtypid = t.oid) END
       || ARRAY(SELECT k.conname || ' ' || pg_get_constraintdef(k.oid) FROM pg_constraint k
                WHERE k.contypid = t.oid AND k.contype <> 'n' ORDER BY k.conname)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE {USER_SCHEMA} AND {_own("pg_type", "t.oid")}
  AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
"""

_ON_TABLE = f"""
JOIN pg_class c ON c.oid = o.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND {USER_SCHEMA} AND {_own("pg_class", "c.oid")}
"""


def _on_table(name: str, parts: str, source: str) -> str:
    return f"""
    SELECT ARRAY[n.nspname::text, c.relname::text, {name}::text], '', NULL::text, {parts}
    FROM (SELECT * FROM {source}) o {_ON_TABLE}
    """


QUERIES: dict[str, str] = {
    "SCHEMA": f"""
    SELECT ARRAY[n.nspname::text], pg_get_userbyid(n.nspowner), {_grants("n", "n.nspacl", "n.nspowner")},
           ARRAY[CASE WHEN n.nspname <> 'public' THEN obj_description(n.oid, 'pg_namespace') END]
    FROM pg_namespace n WHERE {USER_SCHEMA} AND {_own("pg_namespace", "n.oid")}
    """,
    "TABLE": _relation(
        "'r', 'p', 'f'",
        f"""{_COLUMNS} || ARRAY[c.relkind::text, c.relpersistence::text, c.relrowsecurity::text,
            c.relforcerowsecurity::text, c.relreplident::text, array_to_string(c.reloptions, ', '),
            pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid)]
            || ARRAY(SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = c.oid
                     ORDER BY i.inhseqno)""",
    ),
    "VIEW": _relation("'v'", f"{_COLUMNS} || array_to_string(c.reloptions, ', ')"),
    "MATERIALIZED VIEW": _relation("'m'", f"{_COLUMNS} || array_to_string(c.reloptions, ', ')"),
    "SEQUENCE": _relation(
        "'S'",
        """(SELECT ARRAY[format_type(s.seqtypid, NULL), s.seqstart::text, s.seqincrement::text,
                         s.seqmin::text, s.seqmax::text, s.seqcache::text, s.seqcycle::text, c.relpersistence::text]
            FROM pg_sequence s WHERE s.seqrelid = c.oid)""",
        "s",
    ),
    "CONSTRAINT": _on_table(
        "o.conname",
        "ARRAY[pg_get_constraintdef(o.oid), obj_description(o.oid, 'pg_constraint')]",
        "(SELECT *, conrelid AS relid FROM pg_constraint"
        " WHERE contype NOT IN ('n', 't') AND conparentid = 0) k",
    ),
    "INDEX": f"""
    SELECT ARRAY[n.nspname::text, c.relname::text], '', NULL::text,
           ARRAY[pg_get_indexdef(c.oid), obj_description(c.oid, 'pg_class')]
    {_RELATION} AND c.relkind IN ('i', 'I') AND EXISTS (
        SELECT FROM pg_index x WHERE x.indexrelid = c.oid AND (x.indisvalid OR c.relkind = 'I'))
    """,
    "TRIGGER": _on_table(
        "o.tgname",
        "ARRAY[pg_get_triggerdef(o.oid), o.tgenabled::text, obj_description(o.oid, 'pg_trigger')]",
        "(SELECT *, tgrelid AS relid FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0) k",
    ),
    "RULE": _on_table(
        "o.rulename",
        "ARRAY[o.ev_type::text, o.is_instead::text, o.ev_enabled::text]",
        "(SELECT *, ev_class AS relid FROM pg_rewrite WHERE rulename <> '_RETURN') k",
    ),
    "POLICY": _on_table(
        "o.polname",
        """ARRAY[o.polcmd::text, o.polpermissive::text, pg_get_expr(o.polqual, o.polrelid),
                 pg_get_expr(o.polwithcheck, o.polrelid)]
           || ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC') FROM unnest(o.polroles) p
                    LEFT JOIN pg_roles r ON r.oid = p
                    ORDER BY coalesce(r.rolname::text, 'PUBLIC') COLLATE "C")""",
        "(SELECT *, polrelid AS relid FROM pg_policy) k",
    ),
    "STATISTICS": _on_table(
        "o.stxname",
        "ARRAY[pg_get_statisticsobjdef(o.oid)]",
        "(SELECT *, stxrelid AS relid FROM pg_statistic_ext) k",
    ),
    "FUNCTION": _FUNCTION,
    "TYPE": _TYPE,
    "EVENT TRIGGER": f"""
    SELECT ARRAY[evtname::text], pg_get_userbyid(evtowner), NULL::text,
           ARRAY[evtevent::text, evtfoid::regproc::text, evtenabled::text, array_to_string(evttags, ', ')]
    FROM pg_event_trigger WHERE {_own("pg_event_trigger", "pg_event_trigger.oid")}
    """,
    "PUBLICATION": f"""
    SELECT ARRAY[p.pubname::text], pg_get_userbyid(p.pubowner), NULL::text,
           ARRAY[puballtables::text, pubinsert::text, pubupdate::text, pubdelete::text, pubtruncate::text,
                 pubviaroot::text]
           || ARRAY(SELECT r.prrelid::regclass::text FROM pg_publication_rel r
                    WHERE r.prpubid = p.oid ORDER BY r.prrelid::regclass::text COLLATE "C")
           || ARRAY(SELECT s.pnnspid::regnamespace::text FROM pg_publication_namespace s
                    WHERE s.pnpubid = p.oid ORDER BY s.pnnspid::regnamespace::text COLLATE "C")
    FROM pg_publication p WHERE {_own("pg_publication", "p.oid")}
    """,
    "DEFAULT PRIVILEGES": """
    SELECT ARRAY[concat_ws(' ', pg_get_userbyid(d.defaclrole), d.defaclobjtype,
                           nullif(d.defaclnamespace, 0)::regnamespace)], '',
           coalesce((SELECT string_agg(entry, ', ' ORDER BY entry COLLATE "C") FROM (
               SELECT concat_ws(' ', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee) END,
                                g.privilege_type, g.is_grantable) AS entry
               FROM aclexplode(d.defaclacl) g WHERE g.privilege_type <> 'MAINTAIN') e),
               'nobody'), NULL::text[]
    FROM pg_default_acl d
    """,
}

# Apart, because pg_get_viewdef locks what the view reads, and a REFRESH under way keeps it waiting.
TEXTS_OF_VIEWS = f"""
SELECT ARRAY[n.nspname::text, c.relname::text], '', NULL::text, ARRAY[pg_get_viewdef(c.oid)]
{_RELATION} AND c.relkind IN ('v', 'm')
"""
