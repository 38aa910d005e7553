"""A login that can do nothing but read, made for one reading of a database and dropped after it.

Whoever owns a table, a view or a type writes expressions that PostgreSQL computes when somebody plans a query, and
computes with the rights of whoever asks. Asked by a superuser they could do anything on the server. So where we are
superuser, whatever is asked of the tables of others is asked by a role that may read everything and do nothing else
(docs/adr/0021-read-without-power.md). What only a superuser may ask is asked of the catalog alone.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg

from recyclic_backups.errors import BackupError, DatabaseError, Refused
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.opening import forget, introduce, known_peer
from recyclic_backups.postgres.quoting import name, statement
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.postgres.startup import UNKNOWN, Peer
from recyclic_backups.postgres.temporary_roles import READS, drop_role, let_log_in, make_role, marked_roles

LET_IN_HINT = (
    "let the roles recyclic_reads_… in from this machine with a password (pg_hba.conf: scram-sha-256), or back up as a "
    "role without power"
)
ROLE_WITHOUT_POWER = (
    "CREATE ROLE … LOGIN PASSWORD … BYPASSRLS IN ROLE pg_read_all_data; "
    "ALTER ROLE … SET lo_compat_privileges = on"
)
"""What to type on the primary where no role can be made for the time of a reading."""

_LONGEST_SECONDS = 24 * 3600
_USUAL_SESSIONS = 8
_FIRST_WITH_READ_ALL_DATA = 140000
_FIRST_WITH_OPTIONS_OF_MEMBERSHIP = 160000

# Which database, and what the lock is called after that is held for as long as the reading lasts.
_MARK = re.compile(r"recyclic_backups: reads ((?:[0-9a-f]{2})+) as ([0-9a-f]{12})\. Dropped at its end\.")
_MAY_CONNECT = (
    "SELECT pg_catalog.has_database_privilege(%s::name, pg_catalog.current_database()::text, 'CONNECT')"
)

_log = logging.getLogger(__name__)


@contextmanager
def reading_login(
    server: Server,
    database: str,
    *,
    seconds: float = _LONGEST_SECONDS,
    sessions: int = _USUAL_SESSIONS,
    large_objects: bool = False,
) -> Iterator[Server]:
    """How to log in to read ``database``: as a role without power where ``server`` logs in as a superuser.

    It is for sessions that only read and never commit: with ``large_objects`` the server lets it write those too. It
    may have ``sessions`` at once, and begin none after ``seconds``. Where no role can be made (a standby) or the
    server does not let it in, and where ``server`` is no superuser, that is ``server`` itself; then our looks at what a
    question would run (:mod:`recyclic_backups.fingerprint.foreign_code`) are all there is. Raises DatabaseError.
    """
    if not _is_superuser(server, database):
        yield server
        return
    token = secrets.token_hex(6)
    with exclusive(server, database, _purpose(token), wait_seconds=0) as lock:
        connection = lock.connection
        login, refusal = None, ""
        try:
            with translated(lock.subject):
                login = _made(connection, server, database, token, seconds, sessions, large_objects)
        except DatabaseError as refused:  # by a policy for passwords, say
            if refused.retryable or connection.closed:
                raise
            refusal = refused.message
        if login is not None:
            try:
                refusal = why_not_let_in(login, database)
                if not refusal:
                    drop_left_behind(server, connection)
                    yield login
                    return
            finally:
                forget(login)
                _drop(connection, login.user)
        if refusal:
            _log.warning("%s is read as %s: %s; %s", database, server.user, refusal, LET_IN_HINT)
        yield server


def why_not_let_in(login: Server, database: str) -> str:
    """Why a server does not let a role in that it has just got; empty if it does. Raises DatabaseError for a while."""
    try:
        with login.connect(database):
            return ""
    except DatabaseError as refused:
        if refused.retryable:  # a limit of connections, which whoever owns the database may set
            raise
        return refused.message


def drop_left_behind(server: Server, connection: Connection) -> None:
    """Drop the roles of readings that were killed, of this database and of those that are gone. Raises nothing."""
    here = connection.info.dbname
    try:
        there = {row[0] for row in connection.execute("SELECT datname FROM pg_catalog.pg_database")}
        for role, comment in marked_roles(connection, READS):
            found = _MARK.fullmatch(comment)
            database = "" if found is None else bytes.fromhex(found[1]).decode(errors="replace")
            if found is None or (database != here and database in there):
                continue
            try:
                with exclusive(server, here, _purpose(found[2]), wait_seconds=0):
                    drop_role(connection, role)
            except Refused:
                continue  # that reading is under way
    except (psycopg.Error, BackupError) as error:
        _log.info("roles that killed readings left stay: %s", error)


def _purpose(token: str) -> str:
    return f"reading {token}"


def _is_superuser(server: Server, database: str) -> bool:
    if known_peer(server) is UNKNOWN:
        with server.connect(database):
            pass
    return known_peer(server).superuser


def _made(
    connection: Connection,
    server: Server,
    database: str,
    token: str,
    seconds: float,
    sessions: int,
    large_objects: bool,
) -> Server | None:
    """The login, or None where none can be made. Raises psycopg's errors."""
    version = connection.info.server_version
    if version < _FIRST_WITH_READ_ALL_DATA:
        return None
    attributes = f"BYPASSRLS CONNECTION LIMIT {sessions:d}"
    mark = f"recyclic_backups: reads {database.encode().hex()} as {token}. Dropped at its end."
    # It may not become a role by which it would be more.
    membership = " WITH INHERIT TRUE, SET FALSE" if version >= _FIRST_WITH_OPTIONS_OF_MEMBERSHIP else ""
    try:
        with connection.transaction():
            role, password = make_role(connection, READS, mark, attributes, seconds=seconds)
            connection.execute(statement(f"GRANT pg_read_all_data TO {{}}{membership}", name(role)))
            if large_objects:
                connection.execute(statement("ALTER ROLE {} SET lo_compat_privileges = on", name(role)))
            if connection.execute(_MAY_CONNECT, (role,)).fetchone() != (True,):
                connection.execute(
                    statement("GRANT CONNECT ON DATABASE {} TO {}", name(database), name(role))
                )
            let_log_in(connection, role, password)
    except psycopg.errors.ReadOnlySqlTransaction:
        return None  # a standby
    login = replace(server, user=role, password=password)
    introduce(login, Peer(version, superuser=False))
    return login


def _drop(connection: Connection, role: str) -> None:
    """What cannot be dropped is of no use to anybody, and is dropped by the next reading. Raises nothing."""
    try:
        drop_role(connection, role)
    except (psycopg.Error, BackupError) as error:
        _log.warning("the next reading drops the role %s, which remains: %s", role, error)
