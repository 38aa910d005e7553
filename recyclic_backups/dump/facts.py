"""What surrounds a dump and is not in it: the server, the database's own properties, the roles.

pg_dump leaves the database's encoding, locale, owner, settings and grants to ``pg_dump --create`` and roles
to pg_dumpall (https://www.postgresql.org/docs/15/app-pgdump.html#PG-DUMP-NOTES). We restore under another
name first, so both are read here and written again by the restore.
"""

from __future__ import annotations

from typing import Any

import psycopg

from recyclic_backups.catalog.manifest import ServerFacts
from recyclic_backups.postgres.server import as_meant
from recyclic_backups.postgres.temporary_roles import NAME

# datlocprovider: c = libc, i = icu, b = builtin (17+); datlocale was daticulocale before 17.
_DATABASE = """
    SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider,
           {locale}, pg_catalog.pg_get_userbyid(datdba), pg_catalog.shobj_description(oid, 'pg_database'),
           datacl IS NULL, datconnlimit, datistemplate, {rules},
           EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'plpgsql')
    FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""
_ACL = f"""
    SELECT CASE WHEN grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(grantee) END,
           privilege_type, is_grantable
    FROM pg_catalog.pg_database, pg_catalog.aclexplode(datacl)
    WHERE datname = pg_catalog.current_database() AND pg_catalog.pg_get_userbyid(grantee) !~ '{NAME}'
    ORDER BY 1 NULLS FIRST, 2
"""
_SETTINGS = """
    SELECT CASE WHEN setrole = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(setrole) END,
           pg_catalog.unnest(setconfig)
    FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
    WHERE d.datname = pg_catalog.current_database() ORDER BY 1 NULLS FIRST, 2
"""


def read_server_facts(connection: psycopg.Connection[tuple[Any, ...]]) -> ServerFacts:
    """The server and the connected database, as of the connection's transaction."""
    version_number = int(_one(connection, "SELECT pg_catalog.current_setting('server_version_num')"))
    version = str(_one(connection, "SELECT pg_catalog.current_setting('server_version')")).split()[0]
    column = "datlocale" if version_number >= 170000 else "daticulocale"
    rules = "daticurules" if version_number >= 160000 else "NULL"
    row = connection.execute(_DATABASE.format(locale=column, rules=rules)).fetchone()
    if row is None:
        raise RuntimeError("a database that does not list itself in pg_database")
    (
        encoding,
        collate,
        ctype,
        provider,
        locale,
        owner,
        comment,
        default_acl,
        limit,
        template,
        rules,
        plpgsql,
    ) = row
    # A standby has no current write position; what it has replayed is what the snapshot can see.
    standby = bool(_one(connection, "SELECT pg_catalog.pg_is_in_recovery()"))
    position = "pg_last_wal_replay_lsn" if standby else "pg_current_wal_lsn"
    lsn = _one(connection, f"SELECT pg_catalog.{position}()::text")
    settings = []
    for role, setting in connection.execute(_SETTINGS).fetchall():
        name, _, value = str(setting).partition("=")
        value = as_meant(connection, value)
        role_name = None if role is None else as_meant(connection, str(role))
        settings.append({"name": name, "value": value} | ({} if role_name is None else {"role": role_name}))
    acl = None
    if not default_acl:
        acl = tuple(
            {
                "grantee": grantee and as_meant(connection, grantee),
                "privilege": privilege,
                "grantable": grantable,
            }
            for grantee, privilege, grantable in connection.execute(_ACL).fetchall()
        )
    return ServerFacts(
        system_identifier=read_system_identifier(connection),
        version=version,
        lsn=str(lsn),
        encoding=str(encoding),
        locale={
            "provider": {"c": "libc", "i": "icu", "b": "builtin"}[_text(provider)],
            "collate": collate,
            "ctype": ctype,
            "locale": locale,
        }
        | ({} if rules is None else {"rules": as_meant(connection, rules)}),
        owner=as_meant(connection, str(owner)),
        settings=tuple(settings),
        acl=acl,
        comment=comment and as_meant(connection, comment),
        connection_limit=int(limit),
        is_template=template,
        has_plpgsql=plpgsql,
        is_standby=standby,
    )


def read_system_identifier(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """The number initdb gave the cluster: the same for a server and its physical copies, for no other."""
    return str(_one(connection, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"))


def _one(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _text(value: Any) -> str:
    # "char" arrives as bytes or str depending on the adapter.
    return value.decode() if isinstance(value, bytes) else str(value)
