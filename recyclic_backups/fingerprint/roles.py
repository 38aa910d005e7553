"""The roles a database refers to, as any role may see them in pg_roles: without passwords."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from recyclic_backups.fingerprint.model import RoleFingerprint
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.temporary_roles import NAME

# pg_shdepend knows owners, grants and policies, but not those of the bootstrap superuser, who is "pinned"
# (https://www.postgresql.org/docs/15/catalog-pg-shdepend.html): hence the owners beside it.
_REFERRED_TO = """
WITH here AS (SELECT oid, datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
SELECT d.refobjid FROM pg_catalog.pg_shdepend d, here
WHERE d.refclassid = 'pg_authid'::regclass
  AND (d.dbid = here.oid OR (d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = here.oid))
UNION SELECT datdba FROM here
UNION SELECT relowner FROM pg_catalog.pg_class WHERE oid >= 16384
UNION SELECT nspowner FROM pg_catalog.pg_namespace WHERE oid >= 16384
UNION SELECT proowner FROM pg_catalog.pg_proc WHERE oid >= 16384
"""

_ROLES = f"""
SELECT oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
       rolbypassrls, rolconnlimit, rolvaliduntil::text
FROM pg_catalog.pg_roles WHERE rolname !~ '{NAME}'
"""

_MEMBERSHIPS = """
SELECT member, roleid, pg_catalog.bool_or(admin_option) FROM pg_catalog.pg_auth_members GROUP BY 1, 2
"""

_SETTINGS = """
SELECT setrole, setdatabase <> 0, setting
FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) setting
WHERE setrole <> 0 AND setdatabase IN (
    0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
"""

_ATTRIBUTES = ("superuser", "inherit", "createrole", "createdb", "login", "replication", "bypassrls")


def read_roles(connection: Connection, *, everyone: bool) -> dict[str, RoleFingerprint]:
    """The roles the database refers to and those they are members of, or every role of the server.

    Predefined roles (``pg_...``) come with PostgreSQL and are named as memberships only.
    """
    roles = {row[0]: row[1:] for row in connection.execute(_ROLES)}
    member_of: dict[int, dict[int, bool]] = defaultdict(dict)
    for member, role, admin in connection.execute(_MEMBERSHIPS):
        member_of[member][role] = admin
    settings: dict[int, dict[str, str]] = defaultdict(dict)
    for role, of_database, setting in connection.execute(_SETTINGS):
        name, _, value = setting.partition("=")
        key = f"{name} in this database" if of_database else name
        settings[role][key] = hashlib.sha256(value.encode()).hexdigest()[:16]

    wanted = set(roles) if everyone else {row[0] for row in connection.execute(_REFERRED_TO)}
    waiting = list(wanted)
    while waiting:
        new = set(member_of[waiting.pop()]) - wanted
        wanted |= new
        waiting += new
    return {
        roles[oid][0]: RoleFingerprint(
            attributes=_attributes(*roles[oid][1:]),
            member_of=tuple(
                sorted(
                    roles[role][0] + (" with admin option" if admin else "")
                    for role, admin in member_of[oid].items()
                    if role in roles
                )
            ),
            settings=dict(sorted(settings[oid].items())),
        )
        for oid in wanted
        # A role may be dropped while we read: what refers to it has then gone too.
        if oid in roles and not roles[oid][0].startswith("pg_")
    }


def _attributes(*values: object) -> tuple[str, ...]:
    *flags, limit, valid_until = values
    words = [word for word, flag in zip(_ATTRIBUTES, flags, strict=True) if flag]
    if limit != -1:
        words.append(f"connection limit {limit}")
    if valid_until is not None:
        words.append(f"valid until {valid_until}")
    return tuple(words)
