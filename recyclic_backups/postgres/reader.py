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
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import psycopg

from recyclic_backups.errors import BackupError, DatabaseError, Refused
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE, forget, introduce, known_peer
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
_FIRST_WITH_LOGIN_TRIGGERS = 170000

# Which database, and what the lock is called after that is held for as long as the reading lasts.
_MARK = re.compile(r"recyclic_backups: reads ((?:[0-9a-f]{2})+) as ([0-9a-f]{12})\. Dropped at its end\.")
_MAY_CONNECT = "SELECT pg_catalog.has_database_privilege(%s::name, %s::text, 'CONNECT')"
_OVER = """
    SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.rolvaliduntil < pg_catalog.now()
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid)
"""
# One of ours owns nothing. What does may be somebody's, renamed: what it owns is not dropped.
_OWNER = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid
                   WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.deptype = 'o'
                     AND r.rolname = %s)
"""
_ATTEMPTS = 5

# Other databases in which it was granted something.
_ELSEWHERE = """
    SELECT DISTINCT d.datname FROM pg_catalog.pg_shdepend s
    JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid AND s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
    JOIN pg_catalog.pg_database d ON d.oid = s.dbid
    WHERE r.rolname = %s AND d.datname <> pg_catalog.current_database()
"""
_LONGEST_WAIT_SECONDS = 3
_MOST_DROPPED = 10
"""So many roles that were left behind are looked at by one reading."""

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
        connection, refusal = lock.connection, ""
        with translated(lock.subject):
            connection.execute(f"SET lock_timeout = '{_LONGEST_WAIT_SECONDS}s'".encode())
            # A role for minutes waits for no synchronous standby, which may be down.
            connection.execute("SET synchronous_commit = local")
        try:
            with translated(lock.subject):
                login = _made(connection, server, database, token, seconds, sessions, large_objects)
        except DatabaseError as refused:  # by a policy for passwords, say
            if refused.retryable or connection.closed:
                raise
            login, refusal = None, refused.message
        if login is not None:
            try:
                refusal = _why_kept_out(connection, login, database)
                if not refusal:
                    drop_left_behind(server, connection)
                    yield login
                    return
            finally:
                forget(login)
                _drop(server, connection, login.user)
        if refusal:
            _log.warning("%s is read as %s: %s; %s", database, server.user, refusal, LET_IN_HINT)
        yield server


def _why_kept_out(connection: Connection, login: Server, database: str) -> str:
    """Why the server does not let a role in that it has just got; empty if it does.

    Raises DatabaseError where it is the database alone that does not: whoever owns it could take the right to connect
    away, or allow no sessions, and so choose as whom we read.
    """
    try:
        _let_connect(connection, login.user, database)
        with login.connect(database):
            return ""
    except DatabaseError as refused:
        if refused.retryable:
            raise
        here = refused
    try:
        _let_connect(connection, login.user, NEUTRAL_DATABASE)
        with login.connect(NEUTRAL_DATABASE):
            pass
    except DatabaseError as refused:
        if refused.retryable:
            raise
        return here.message
    raise DatabaseError(
        f"the role that is to read it is not let in, though it is elsewhere: {here.message}",
        LET_IN_HINT,
        retryable=True,
    )


def _let_connect(connection: Connection, role: str, database: str) -> None:
    """Whoever owns the database may change its grants at the same moment. Raises DatabaseError."""
    with translated(f"database {database!r}"):
        if connection.execute(_MAY_CONNECT, (role, database)).fetchone() == (True,):
            return
        for attempt in range(_ATTEMPTS):
            try:
                connection.execute(
                    statement("GRANT CONNECT ON DATABASE {} TO {}", name(database), name(role))
                )
            except psycopg.errors.InternalError_:  # tuple concurrently updated
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return


def drop_left_behind(server: Server, connection: Connection) -> None:
    """Drop the roles of readings that were killed, of this database and of those that are gone. Raises nothing.

    Whose time is over is dropped unless it has a session: anybody could hold the lock that says that one is alive.
    """
    here = connection.info.dbname
    try:
        there = {row[0] for row in connection.execute("SELECT datname FROM pg_catalog.pg_database")}
        over = {row[0] for row in connection.execute(_OVER)}
        for role, comment in marked_roles(connection, READS)[:_MOST_DROPPED]:
            found = _MARK.fullmatch(comment)
            database = "" if found is None else bytes.fromhex(found[1]).decode(errors="replace")
            if found is None or (database != here and database in there):
                continue
            try:
                held = (
                    nullcontext()
                    if role in over
                    else exclusive(server, here, _purpose(found[2]), wait_seconds=0)
                )
                with held:
                    _drop(server, connection, role, left_behind=True)
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
            if version >= _FIRST_WITH_LOGIN_TRIGGERS:  # as for superusers: those mean people and applications
                connection.execute(statement("ALTER ROLE {} SET event_triggers = off", name(role)))
            let_log_in(connection, role, password)
    except psycopg.errors.ReadOnlySqlTransaction:
        return None  # a standby
    login = replace(server, user=role, password=password)
    introduce(login, Peer(version, superuser=False))
    return login


def _drop(server: Server, connection: Connection, role: str, *, left_behind: bool = False) -> None:
    """Raises nothing: what remains may do nothing, and the next reading drops it.

    Anybody may have granted it something in a database of his, or named it in a policy of a table that he keeps locked.
    """
    try:
        connection.execute(statement("ALTER ROLE {} NOLOGIN PASSWORD NULL NOBYPASSRLS", name(role)))
        connection.execute(statement("REVOKE pg_read_all_data FROM {}", name(role)))
        if left_behind and connection.execute(_OWNER, (role,)).fetchone() != (False,):
            return
        for (elsewhere,) in connection.execute(_ELSEWHERE, (role,)).fetchall():
            with server.connect(elsewhere, settings={"lock_timeout": f"{_LONGEST_WAIT_SECONDS}s"}) as inside:
                inside.execute(statement("DROP OWNED BY {} CASCADE", name(role)))
        drop_role(connection, role)
    except (psycopg.Error, BackupError) as error:
        _log.warning("the next reading drops the role %s, which remains without any rights: %s", role, error)
