"""Whether the database can be backed up: the server, its sessions, and PostgreSQL's programs on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from recyclic_backups import wiring
from recyclic_backups.config.settings import Settings
from recyclic_backups.errors import DatabaseError
from recyclic_backups.fingerprint.relations import list_tables, require_readable
from recyclic_backups.fingerprint.session import cannot_refuse_views
from recyclic_backups.postgres.process import run as run_program
from recyclic_backups.postgres.programs import Installation, dump_argv, scripts_may_run_commands
from recyclic_backups.postgres.reader import LET_IN_HINT, ROLE_WITHOUT_POWER, reading_login
from recyclic_backups.postgres.standby import PREVENTION
from recyclic_backups.postgres.startup import VERIFIED_MODES
from recyclic_backups.postgres.tls import TLS_HINT, choose_for, is_this_machine, plaintext
from recyclic_backups.quantities import human_bytes
from recyclic_backups.validation.finding import Finding

# Milliseconds that a standby waits for us before it ends our queries; NULL where it does not, or is a primary.
_STANDBY = """
SELECT setting::pg_catalog.int8 FROM pg_catalog.pg_settings
WHERE name = 'max_standby_streaming_delay' AND setting::pg_catalog.int8 >= 0 AND pg_catalog.pg_is_in_recovery()
  AND NOT pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool
"""


def check_database(settings: Settings) -> Iterator[Finding]:
    """The server answers, lets us read every table, and is no standby that ends our queries."""
    with settings.server.connect(settings.database) as connection:
        row = connection.execute(
            "SELECT pg_catalog.current_setting('server_version'),"
            " pg_catalog.pg_database_size(pg_catalog.current_database()), rolsuper, pg_catalog.pg_is_in_recovery(),"
            " pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')"
            " FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchone()
        tables = list_tables(connection)
        require_readable(tables)
        delay = connection.execute(_STANDBY).fetchone()
        old = cannot_refuse_views(connection.info.server_version)
    version, size_bytes, superuser, standby, hashes = row or ("?", 0, False, False, False)
    with reading_login(settings.server, settings.database) as reader:
        powerless = reader.user != settings.user

    yield Finding(
        "database",
        "ok",
        f"{settings.database!r} on {settings.server.label}: PostgreSQL {version}, {len(tables)} tables, "
        f"{human_bytes(size_bytes)}",
    )
    if delay is not None and delay[0] < settings.timeout_seconds * 1000:
        yield Finding(
            "standby",
            "warning",
            f"a hot standby, which ends queries that keep it from replaying for {delay[0] / 1000:g} s",
            PREVENTION,
        )
    if superuser and not powerless:
        yield Finding(
            "privileges",
            "warning",
            f"tables are read as the superuser {settings.user!r}, who could do more than read if code of their "
            "owners were run",
            f"back up as a role that can only read, made on the primary: {ROLE_WITHOUT_POWER}"
            if standby
            else LET_IN_HINT,
        )
    if superuser and old:
        whose = "a login that may read everything" if powerless else f"{settings.user!r}"
        yield Finding(
            "database",
            "warning",
            f"PostgreSQL {version} lets whoever owns a sequence have {whose} run his code (CVE-2024-7348)",
            "update the server to the newest minor version",
        )
    if not hashes:
        yield Finding(
            "privileges",
            "warning",
            f"{settings.user!r} may not read password hashes of roles: they are not backed up",
            "restore as a superuser, or with --no-owner",
        )


# Of whom the limit is, how many sessions it allows, how many there are beside ours, whether we are superuser.
# Those have no limit, but the role that reads for them has that of the database; on a standby there is no such role.
_LIMITS = """
SELECT 'role ' || r.rolname, r.rolconnlimit,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid AND a.pid <> pg_backend_pid()),
       r.rolsuper
FROM pg_catalog.pg_roles r WHERE r.rolname = session_user AND NOT r.rolsuper AND r.rolconnlimit >= 0
UNION ALL
SELECT 'database ' || d.datname, d.datconnlimit,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid AND a.pid <> pg_backend_pid()),
       r.rolsuper
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.rolname = session_user
WHERE d.datname = current_database() AND NOT (r.rolsuper AND pg_catalog.pg_is_in_recovery()) AND d.datconnlimit >= 0
"""
# One holds the lock, one the snapshot; one reads definitions, and later whose code a query would run; the streams.
_SESSIONS_BESIDE_STREAMS = 3
_SESSIONS_OF_SUPERUSER = 2
"""One has the reading role and drops it, one keeps schemas from being renamed."""


def check_connections(settings: Settings) -> Iterator[Finding]:
    """As many sessions as a backup needs are left to our role and to the database."""
    usual = wiring.backup_plan(settings).options.jobs + _SESSIONS_BESIDE_STREAMS
    with settings.server.connect(settings.database) as connection:
        limits = connection.execute(_LIMITS).fetchall()
    for whose, limit, taken, superuser in limits:
        needed = usual + (_SESSIONS_OF_SUPERUSER if superuser else 0)
        if limit - taken < needed:
            others = f", {taken} of them taken" if taken else ""
            yield Finding(
                "connections",
                "error",
                f"a backup has {needed} sessions at once, and the {whose} may have {limit}{others}",
                "raise its CONNECTION LIMIT, or lower BACKUP_JOBS",
                DatabaseError.exit_code,
            )


def check_programs(settings: Settings) -> Iterator[Finding]:
    """There is a pg_dump for this server, it is let in, and who answers it is known."""
    server = settings.server
    with server.connect(settings.database) as connection:
        needed = {"pg_dump", "pg_restore"}
        chosen = choose_for(
            server, wiring.installations(settings), connection.info.server_version // 10000, needed
        )
        readable = plaintext(connection, server, chosen)
        encrypted = connection.pgconn.ssl_in_use
        near = is_this_machine(connection.info.hostaddr)
        weak = _kept_as_md5(connection)
    _log_in_as_a_dump(settings, chosen)
    yield Finding("programs", "ok", f"pg_dump {chosen.version} in {chosen.directory}")
    if scripts_may_run_commands(chosen):
        yield Finding(
            "programs",
            "warning",
            f"scripts of pg_dump {chosen.version} can make psql run commands of a database's owner (CVE-2025-8714)",
            f"install the newest postgresql-client-{chosen.major}, and give its scripts to no psql until then",
        )
    if readable:
        yield Finding("transit", "warning", readable, TLS_HINT)
    else:
        way = f"TLS ({server.sslmode})" if encrypted else "nothing leaves this machine"
        unchecked = encrypted and server.sslmode not in VERIFIED_MODES
        if unchecked:
            way += ", but who answers is not checked"
        yield Finding(
            "transit", "warning" if unchecked and not near else "ok", f"to {server.label}: {way}", TLS_HINT
        )
    if server.sslmode in VERIFIED_MODES or near:
        return
    if chosen.major < _FIRST_TO_REFUSE and server.password:
        yield Finding(
            "password",
            "warning",
            f"pg_dump {chosen.version} tells the password to whoever takes the place of {server.label} and asks for it",
            f"{TLS_HINT}; programs of version {_FIRST_TO_REFUSE} and newer refuse",
        )
    if weak:
        yield Finding(
            "password",
            "warning",
            f"the server keeps the password of {server.user!r} as MD5, and whoever asks for it so can guess it",
            "SET password_encryption = 'scram-sha-256', then set the password anew",
        )


_FIRST_TO_REFUSE = 16
"""libpq's require_auth came with PostgreSQL 16."""


def _log_in_as_a_dump(settings: Settings, chosen: Installation) -> None:
    """Have pg_dump log in and dump nothing: it may be let in otherwise than we are. Raises ProgramFailed."""
    argv = dump_argv(
        chosen,
        database=settings.database,
        snapshot="",
        lock_wait_seconds=settings.lock_timeout_seconds,
        schema_only=True,
        extra=["--exclude-schema=*", "--no-publications", "--no-subscriptions"],
    )
    environment = settings.server.environment(settings.database)
    run_program(argv, environment, timeout_seconds=settings.timeout_seconds)


def _kept_as_md5(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Whether the server keeps our password as MD5, as far as we may see that."""
    if connection.info.parameter_status("is_superuser") != "on":
        return False
    row = connection.execute(
        "SELECT pg_catalog.starts_with(rolpassword, 'md5') FROM pg_catalog.pg_authid WHERE rolname = session_user"
    ).fetchone()
    return row is not None and bool(row[0])
