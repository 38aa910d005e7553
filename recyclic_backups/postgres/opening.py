"""Open a session: with the settings that hold from its first moment, at the server itself and nothing between."""

from __future__ import annotations

import contextlib
from threading import Lock
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import pq

from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres import startup
from recyclic_backups.postgres.connection import PatientConnection
from recyclic_backups.postgres.startup import NEWEST_AS_SUPERUSER, SEARCH_PATH, UNKNOWN, Peer

if TYPE_CHECKING:
    from recyclic_backups.postgres.server import Server

NEUTRAL_DATABASE = "postgres"
"""Where to learn what a server is, before a session in a database whose owner may have prepared it."""

_ATTEMPTS = 3
FIRST_WITH_REQUIRE_AUTH = 160000
_POOLER_HINT = "point POSTGRES_HOST and POSTGRES_PORT at the server itself, past the pooler"

_learning = Lock()
_peers: dict[tuple[str, int, str], Peer] = {}


def known_peer(server: Server) -> Peer:
    """What this process has learnt of a server from its sessions there; UNKNOWN before the first one."""
    return _peers.get(_key(server), UNKNOWN)


def introduce(server: Server, peer: Peer) -> None:
    """Say what a login is, so that its first session need not find that out in a database that it may not enter."""
    with _learning:
        _peers[_key(server)] = peer


def forget(server: Server) -> None:
    """Once a login is gone: this process may live for months."""
    with _learning:
        _peers.pop(_key(server), None)


def open_session(
    server: Server, database: str, application_name: str, *, autocommit: bool
) -> PatientConnection:
    """A session in a database. Raises psycopg's errors, and DatabaseError when a pooler is in between.

    What a server knows depends on its version and on whether we are superuser there, which is learnt once, in a
    database that belongs to nobody. A session that was begun on a wrong assumption is begun again.
    """
    if known_peer(server) is UNKNOWN and database != NEUTRAL_DATABASE:
        with contextlib.suppress(psycopg.Error, DatabaseError):
            _begin(server, NEUTRAL_DATABASE, application_name, autocommit=True).close()
    return _begin(server, database, application_name, autocommit=autocommit)


def _begin(server: Server, database: str, application_name: str, *, autocommit: bool) -> PatientConnection:
    assumed = known_peer(server)
    if assumed is UNKNOWN:
        # The neutral database is not there for us: rather be turned away once than run what its owner has prepared.
        assumed = UNKNOWN if database == NEUTRAL_DATABASE else NEWEST_AS_SUPERUSER
    for attempt in range(_ATTEMPTS):
        try:
            connection = _connected(server, database, application_name, assumed, autocommit=autocommit)
        except psycopg.OperationalError as error:
            if assumed is UNKNOWN or not startup.refused_setting(str(error)):
                raise
            assumed = UNKNOWN
            continue
        server.session_began(database)
        try:
            _require_direct(connection, server, database)
            found = Peer(
                connection.info.server_version, connection.info.parameter_status("is_superuser") == "on"
            )
            with _learning:
                _peers[_key(server)] = found
            begun_as_it_is = startup.settings_for(found, program=False) == startup.settings_for(
                assumed, program=False
            )
            if begun_as_it_is or attempt == _ATTEMPTS - 1 or database == NEUTRAL_DATABASE:
                if not begun_as_it_is:
                    with connection.watched(server.answer_timeout_seconds):
                        _make_up_for(connection, assumed, found)
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        assumed = found
    raise AssertionError("the last attempt returns or raises")


def _connected(
    server: Server, database: str, application_name: str, assumed: Peer, *, autocommit: bool
) -> PatientConnection:
    parameters = parameters_of(server, application_name, assumed)
    with startup.without_libpq_variables():
        return PatientConnection.connect(
            autocommit=autocommit, dbname=database, client_encoding="UTF8", **parameters
        )


def parameters_of(server: Server, application_name: str, assumed: Peer) -> dict[str, Any]:
    """How a session with that server begins, for our own libpq, whatever it is for."""
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password or None,
        "sslmode": server.sslmode,
        "sslrootcert": server.sslrootcert or None,
        "connect_timeout": server.connect_timeout_seconds,
        "application_name": application_name,
        "options": startup.as_options(startup.settings_for(assumed, program=False)),
        # A peer that vanished without a word is noticed within two minutes instead of two hours.
        "keepalives_idle": 30,
        "keepalives_interval": 15,
        "keepalives_count": 5,
        **server.protection(knows_require_auth=pq.version() >= FIRST_WITH_REQUIRE_AUTH),
    }


def _require_direct(connection: PatientConnection, server: Server, database: str) -> None:
    """Raises DatabaseError unless the server itself answers, in a session that is ours alone.

    A pooler hands sessions around: our settings and locks would be the application's next. It shows a process id of
    its own making, and some swallow the settings of the startup packet. Asked without any operator, since whose they
    would be is what is in doubt.
    """
    with connection.watched(server.answer_timeout_seconds):
        row = connection.execute(
            "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('search_path')"
        ).fetchone()
        if not connection.autocommit:
            connection.rollback()
    if row == (connection.info.backend_pid, SEARCH_PATH):
        return
    raise pooler_between(f"database {database!r} on {server.label}")


def pooler_between(subject: str) -> DatabaseError:
    """The error for a line that does not lead to the server itself."""
    return DatabaseError(
        f"{subject}: a connection pooler answers instead of the server; nothing was set or asked there",
        _POOLER_HINT,
    )


def _make_up_for(connection: PatientConnection, assumed: Peer, found: Peer) -> None:
    """Set what the server knows and the session did not begin with."""
    begun = startup.settings_for(assumed, program=False)
    missing = {
        name: value for name, value in startup.settings_for(found, program=False).items() if name not in begun
    }
    for name, value in missing.items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
    if not connection.autocommit:
        connection.commit()


def _key(server: Server) -> tuple[str, int, str]:
    return server.host, server.port, server.user
