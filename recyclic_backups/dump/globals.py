"""The roles of the server as SQL that may be run on any server: it creates what is missing and alters nothing else.

The text is for people with psql as much as for our own restore: each role is created only where there is none
of its name; memberships and settings are given only where one of the roles was created by this very script.
``recyclic_created_roles``, a temporary table, tells which those were.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.server import as_meant

if TYPE_CHECKING:
    import psycopg

CREATED_ROLES = "recyclic_created_roles"

_HEADER = f"""\
-- Roles of the server a backup was taken from. Run it in one session, as a superuser, before restoring.
-- Roles that exist already are left as they are.
SELECT pg_catalog.set_config('search_path', 'pg_catalog', false);
CREATE TEMPORARY TABLE IF NOT EXISTS {CREATED_ROLES} (rolname name PRIMARY KEY);
"""

# Not those that a restore of ours has made for its own time (recovery/loaders.py).
_ROLES = """
    SELECT rolname, pg_catalog.concat_ws(' ',
        CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
        CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
        CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
        CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
        CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
        CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
        CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
        'CONNECTION LIMIT ' || rolconnlimit,
        {password}
        CASE WHEN rolvaliduntil IS NOT NULL
             THEN 'VALID UNTIL ' || pg_catalog.quote_literal(rolvaliduntil::text) END),
        pg_catalog.shobj_description(oid, 'pg_authid')
    FROM {source} WHERE rolname !~ '^(pg_|recyclic_loads_[0-9a-f]+$)' ORDER BY rolname
"""
_WITH_HASH = (
    "CASE WHEN rolpassword IS NOT NULL THEN 'PASSWORD ' || pg_catalog.quote_literal(rolpassword) END,"
)
# Since 16 a membership has options of its own (https://www.postgresql.org/docs/16/sql-grant.html).
_MEMBERSHIPS = """
    SELECT g.rolname, m.rolname, a.admin_option{options}
    FROM pg_catalog.pg_auth_members a
    JOIN pg_catalog.pg_roles g ON g.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member
    WHERE m.rolname !~ '^(pg_|recyclic_loads_[0-9a-f]+$)' ORDER BY 1, 2, a.grantor
"""
_SETTINGS = """
    SELECT rolname, pg_catalog.unnest(setconfig)
    FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
    WHERE setdatabase = 0 AND rolname !~ '^pg_' ORDER BY 1, 2
"""

# Settings that hold a list of names are stored quoted as a list and must not be quoted again
# (GUC_LIST_QUOTE in the server's source, src/bin/pg_dump/dumputils.c names the same ones).
_LIST_SETTINGS = frozenset(
    {"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
     "temp_tablespaces", "unix_socket_directories"}
)  # fmt: skip


def read_globals(connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, list[str]]:
    """The SQL, and notes on what it could not contain (password hashes, which only a superuser may read)."""
    notes: list[str] = []
    may_read = connection.execute(
        "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'),"
        " pg_catalog.current_setting('server_version_num')::int"
    ).fetchone()
    if may_read is None:
        raise DatabaseError("the server does not tell what the role may read")
    passwords, version_number = may_read
    if not passwords:
        notes.append("the role may not read password hashes: restored roles have none until one is set")
    query = _ROLES.format(
        password=_WITH_HASH if passwords else "",
        source="pg_catalog.pg_authid" if passwords else "pg_catalog.pg_roles",
    )
    parts = [_HEADER]
    for name, attributes, comment in connection.execute(query).fetchall():
        statements = f"CREATE ROLE {quoted_name(name)} WITH {attributes};"
        if comment is not None:
            statements += f" COMMENT ON ROLE {quoted_name(name)} IS {quoted_text(comment)};"
        statements += f" INSERT INTO {CREATED_ROLES} VALUES ({quoted_text(name)});"
        parts.append(
            _only_if(
                f"NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {quoted_text(name)})",
                statements,
            )
        )
    options = ", a.inherit_option, a.set_option" if version_number >= 160000 else ""
    for group, member, admin, *more in connection.execute(_MEMBERSHIPS.format(options=options)).fetchall():
        statement = f"GRANT {quoted_name(group)} TO {quoted_name(member)}"
        if more:
            inherit, settable = more
            statement += f" WITH ADMIN {_sql(admin)}, INHERIT {_sql(inherit)}, SET {_sql(settable)}"
        elif admin:
            statement += " WITH ADMIN OPTION"
        parts.append(_only_if(_created(group, member), f"{statement};"))
    for role, setting in connection.execute(_SETTINGS).fetchall():
        name, _, value = str(setting).partition("=")
        statement = f"ALTER ROLE {quoted_name(role)} SET {quoted_name(name)} TO {setting_value(name, value)};"
        parts.append(_only_if(_created(role), statement))
    return as_meant(connection, "\n".join(parts)), notes


_LISTED = re.compile(r'\s*("(?:[^"]|"")*"|[^\s",]+)\s*(?:,|$)')


def setting_value(name: str, value: str) -> str:
    """A parameter's stored value as SQL. A list is taken apart, each name quoted by itself; what is no list is a text.

    The value may come from somebody else: it is never passed on as SQL.
    """
    names, at = [], 0
    while at < len(value) and name.lower() in _LIST_SETTINGS:
        found = _LISTED.match(value, at)
        if found is None:
            return quoted_text(value)
        word = found[1]
        names.append(word[1:-1].replace('""', '"') if word.startswith('"') else word)
        at = found.end()
    return ", ".join(quoted_text(each) for each in names) or quoted_text(value)


def quoted_name(name: str) -> str:
    """An identifier, always quoted."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def quoted_text(text: str) -> str:
    """A string literal that means the same whatever standard_conforming_strings says."""
    doubled = text.replace("'", "''")
    if "\\" in doubled:
        escaped = doubled.replace("\\", "\\\\")
        return f" E'{escaped}'"
    return f"'{doubled}'"


def _only_if(condition: str, statements: str) -> str:
    tag = "$recyclic$"
    while tag in condition or tag in statements:
        tag = f"{tag[:-1]}_$"
    return f"DO {tag} BEGIN IF {condition} THEN {statements} END IF; END {tag};"


def _created(*roles: str) -> str:
    names = ", ".join(quoted_text(role) for role in roles)
    return f"EXISTS (SELECT FROM {CREATED_ROLES} WHERE rolname IN ({names}))"


def _sql(value: bool) -> str:
    return "TRUE" if value else "FALSE"
