"""The roles of the server as SQL that may be run on any server: it creates what is missing and alters nothing else.

The text is for people with psql as much as for our own restore: each role is created only where there is none
of its name; memberships and settings are given only where one of the roles was created by this very script.
``recyclic_created_roles``, a temporary table, tells which those were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from recyclic_backups.dump.setting_lists import quoted_text, setting_value
from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.server import as_meant
from recyclic_backups.postgres.temporary_roles import NAME

CREATED_ROLES = "recyclic_created_roles"

_HEADER = f"""\
-- Roles of the server a backup was taken from. Run it in one session, as a superuser, before restoring.
-- Roles that exist already are left as they are.
SELECT pg_catalog.set_config('search_path', 'pg_catalog', false);
CREATE TEMPORARY TABLE IF NOT EXISTS {CREATED_ROLES} (rolname name PRIMARY KEY);
"""

# Not those that we have made for a time.
_ROLES = f"""
    SELECT rolname, pg_catalog.concat_ws(' ',
        CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
        CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
        CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
        CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
        CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
        CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
        CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
        'CONNECTION LIMIT ' || rolconnlimit,
        {{password}}
        CASE WHEN rolvaliduntil IS NOT NULL
             THEN 'VALID UNTIL ' || pg_catalog.quote_literal(rolvaliduntil::text) END),
        pg_catalog.shobj_description(oid, 'pg_authid')
    FROM {{source}} WHERE rolname !~ '^pg_|{NAME}' ORDER BY rolname
"""
_WITH_HASH = (
    "CASE WHEN rolpassword IS NOT NULL THEN 'PASSWORD ' || pg_catalog.quote_literal(rolpassword) END,"
)
# Since 16 a membership has options of its own, and one for each grantor
# (https://www.postgresql.org/docs/16/sql-grant.html); what 10 granted, the bootstrap superuser, names no grantor.
_OPTIONS = (
    "a.inherit_option, a.set_option, CASE WHEN a.grantor <> 10 THEN pg_catalog.pg_get_userbyid(a.grantor) END"
)
_MEMBERSHIPS = f"""
    SELECT g.rolname, m.rolname, a.admin_option, {{options}}
    FROM pg_catalog.pg_auth_members a
    JOIN pg_catalog.pg_roles g ON g.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member
    WHERE m.rolname !~ '^pg_|{NAME}' ORDER BY 1, 2, a.grantor
"""
# Since 15. 10 is the bootstrap superuser, who may set everything anyhow.
_PARAMETERS = """
    SELECT p.parname, CASE WHEN x.grantee <> 0 THEN pg_catalog.pg_get_userbyid(x.grantee) END,
           x.privilege_type, x.is_grantable
    FROM pg_catalog.pg_parameter_acl p CROSS JOIN pg_catalog.aclexplode(p.paracl) x
    WHERE x.grantee <> 10 ORDER BY 1, 2, 3
"""
_SETTINGS = f"""
    SELECT rolname, pg_catalog.unnest(setconfig)
    FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
    WHERE setdatabase = 0 AND rolname !~ '^pg_|{NAME}' ORDER BY 1, 2
"""


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
    options = _OPTIONS if version_number >= 160000 else "NULL, NULL, NULL"
    memberships = [_Membership(*row) for row in connection.execute(_MEMBERSHIPS.format(options=options))]
    for each in _in_order(memberships):
        parts.append(_only_if(_created(each.group, each.member), each.statements()))
    if version_number >= 150000:
        for parameter, grantee, privilege, grantable in connection.execute(_PARAMETERS).fetchall():
            if grantee is None:
                # It would be everybody's on the other server too, also of those who were there before.
                notes.append(
                    f"{privilege} ON PARAMETER {parameter} is granted to PUBLIC: grant it again by hand"
                )
            elif not str(grantee).startswith("pg_"):
                parts.append(
                    _only_if(_created(grantee), _grant_on_parameter(parameter, grantee, privilege, grantable))
                )
    for role, setting in connection.execute(_SETTINGS).fetchall():
        name, _, value = str(setting).partition("=")
        statement = f"ALTER ROLE {quoted_name(role)} SET {quoted_name(name)} TO {setting_value(name, value)};"
        parts.append(_only_if(_created(role), statement))
    return as_meant(connection, "\n".join(parts)), notes


@dataclass(frozen=True, slots=True)
class _Membership:
    """A row of pg_auth_members; the options of 16 are None before, the grantor where nobody has to be named."""

    group: str
    member: str
    admin: bool
    inherit: bool | None
    settable: bool | None
    grantor: str | None

    def statements(self) -> str:
        statement = f"GRANT {quoted_name(self.group)} TO {quoted_name(self.member)}"
        if self.inherit is not None:
            statement += f" WITH ADMIN {_sql(self.admin)}, INHERIT {_sql(self.inherit)}"
            statement += f", SET {_sql(bool(self.settable))}"
        elif self.admin:
            statement += " WITH ADMIN OPTION"
        if self.grantor is None:
            return f"{statement};"
        # A grantor who was there before and may not grant it is no reason to end: it is granted all the same.
        by = f"{statement} GRANTED BY {quoted_name(self.grantor)};"
        return f"BEGIN {by} EXCEPTION WHEN OTHERS THEN {statement}; END;"


def _in_order(memberships: Iterable[_Membership]) -> Iterator[_Membership]:
    """Each after those that let its grantor grant it (dumpRoleMembership in pg_dumpall.c does the same).

    What nobody could have granted, after a role was dropped by force, comes without its grantor.
    """
    waiting = list(memberships)
    may_grant: set[tuple[str, str]] = set()
    while waiting:
        ready = [each for each in waiting if each.grantor is None or (each.group, each.grantor) in may_grant]
        if not ready:
            ready = [replace(each, grantor=None) for each in waiting]
            waiting = []
        yield from ready
        may_grant |= {(each.group, each.member) for each in ready if each.admin}
        waiting = [each for each in waiting if each not in ready]


def _grant_on_parameter(parameter: str, grantee: str, privilege: str, grantable: bool) -> str:
    """``GRANT … ON PARAMETER``, or a warning where the server does not know the parameter."""
    option = " WITH GRANT OPTION" if grantable else ""
    warning = "the grant on the parameter % could not be given: %"
    return (
        f"BEGIN GRANT {privilege} ON PARAMETER {quoted_name(parameter)} TO {quoted_name(grantee)}{option};"
        f" EXCEPTION WHEN OTHERS THEN RAISE WARNING {quoted_text(warning)}, {quoted_text(parameter)}, SQLERRM; END;"
    )


def quoted_name(name: str) -> str:
    """An identifier, always quoted."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


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
