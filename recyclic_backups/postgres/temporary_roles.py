"""Roles that we make on a server for a time and drop again: some load rows for a restore, some read.

Each is named after what it is for, has a random password that nobody is told and an end of validity, and its comment
says whose it is, so that the next run drops what a killed one has left. None is in any backup.
"""

from __future__ import annotations

import secrets

from psycopg import sql

from recyclic_backups.errors import Refused
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.quoting import name, statement

LOADS, READS = "recyclic_loads_", "recyclic_reads_"
"""How the names of both kinds begin; twelve hexadecimal digits come after that."""
NAME = "^recyclic_(loads|reads)_[0-9a-f]+$"
"""A regular expression of PostgreSQL's for both."""

_SESSIONS = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = %s"
# Waits for each of them, ten seconds at most.
_ENDING = (
    "SELECT pg_catalog.pg_terminate_backend(pid, 10000) FROM pg_catalog.pg_stat_activity WHERE usename = %s"
)
_COMMENTS = """
    SELECT rolname, coalesce(pg_catalog.shobj_description(oid, 'pg_authid'), '') FROM pg_catalog.pg_roles
    WHERE pg_catalog.starts_with(rolname, %s) ORDER BY 1
"""


def make_role(
    connection: Connection, prefix: str, mark: str, attributes: str, *, seconds: float
) -> tuple[str, str]:
    """A new role that cannot log in yet, and not after ``seconds``. Returns its name and the password meant for it."""
    role, password = f"{prefix}{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    row = connection.execute(
        "SELECT (pg_catalog.now() + pg_catalog.make_interval(secs => %s))::text", (seconds,)
    ).fetchone()
    connection.execute(
        statement(
            f"CREATE ROLE {{}} NOLOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION {attributes}"
            " VALID UNTIL {}",
            name(role),
            sql.Literal(str(row[0]) if row else "infinity"),
        )
    )
    connection.execute(statement("COMMENT ON ROLE {} IS {}", name(role), sql.Literal(mark)))
    return role, password


def let_log_in(connection: Connection, role: str, password: str) -> None:
    """The password leaves us as a verifier: nobody finds it in the server's log."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(role), sql.Literal(verifier.decode())
        )
    )


def marked_roles(connection: Connection, prefix: str) -> list[tuple[str, str]]:
    """Roles whose name begins so, with their comments."""
    return [(str(role), str(comment)) for role, comment in connection.execute(_COMMENTS, (prefix,))]


def drop_role(connection: Connection, role: str) -> None:
    """End its sessions and drop it, with what it owns or was given in the connected database."""
    end_sessions(connection, role)
    connection.execute(statement("DROP OWNED BY {} CASCADE", name(role)))
    connection.execute(statement("DROP ROLE {}", name(role)))


def end_sessions(connection: Connection, role: str) -> None:
    """Keep a role from logging in and end its sessions. Raises Refused if one does not end."""
    connection.execute(statement("ALTER ROLE {} NOLOGIN", name(role)))
    connection.execute(_ENDING, (role,))
    left = connection.execute(_SESSIONS, (role,)).fetchone()
    if left is None or left[0]:
        raise Refused(
            f"a session of the role {role!r} does not end",
            "end it (pg_terminate_backend), or restart the server",
        )
