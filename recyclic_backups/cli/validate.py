"""``validate``: would a backup work tonight? Settings, programs, database, storage and keys, each with a hint."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import render

if TYPE_CHECKING:
    import psycopg

    from recyclic_backups.config.settings import Settings
    from recyclic_backups.postgres.programs import Installation


@dataclass(frozen=True, slots=True)
class _Finding:
    check: str
    status: str
    message: str
    hint: str = ""
    exit_code: int = 0


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser("validate", help="check settings, database, storage and keys")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit code is that of the first error found."""
    findings = list(_findings())
    if options.json:
        render.print_json(
            [
                {"check": each.check, "status": each.status, "message": each.message, "hint": each.hint}
                for each in findings
            ]
        )
    else:
        for each in findings:
            render.line(f"{each.status:<8} {each.check:<11} {each.message}")
            if each.hint and each.status != "ok":
                render.line(f"{'':<20} hint: {each.hint}")
    return next((each.exit_code for each in findings if each.status == "error"), 0)


def _findings() -> Iterator[_Finding]:
    from recyclic_backups.config.env_file import secrets_for_everybody
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import BackupError
    from recyclic_backups.postgres.startup import is_of_libpq

    try:
        settings = load_settings()
    except BackupError as error:
        yield _Finding("settings", "error", error.message, error.hint, error.exit_code)
        return
    yield _Finding(
        "settings",
        "ok",
        f"{settings.environment}, times are {settings.calendar.timezone}; {settings.read_from}",
    )
    for sentence in settings.misspelt:
        yield _Finding("settings", "warning", sentence, "docs/settings.md lists every setting")
    if exposed := secrets_for_everybody():
        yield _Finding(
            "secrets",
            "warning",
            f"every user of this machine may read {', '.join(exposed)} in .env",
            "chmod 600 .env",
        )
    if unread := sorted(name for name in os.environ if is_of_libpq(name)):
        yield _Finding(
            "environment",
            "warning",
            f"{', '.join(unread)}: set, and not read by this program nor by those it runs",
            "POSTGRES_* alone say where to connect, and as whom; see docs/settings.md",
        )
    checks: list[tuple[str, Callable[[Settings], Iterator[_Finding]]]] = [
        ("database", _database),
        ("connections", _connections),
        ("programs", _programs),
        ("storage", _storage),
        ("rescue", _rescue),
        ("encryption", _encryption),
        ("drills", _drills),
        ("manifests", _manifests),
        ("alerts", _alerts),
    ]
    for name, check in checks:
        try:
            yield from check(settings)
        except BackupError as error:
            yield _Finding(name, "error", error.message, error.hint, error.exit_code)


def _major(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    return connection.info.server_version // 10000


# Milliseconds that a standby waits for us before it ends our queries; NULL where it does not, or is a primary.
_STANDBY = """
SELECT setting::pg_catalog.int8 FROM pg_catalog.pg_settings
WHERE name = 'max_standby_streaming_delay' AND setting::pg_catalog.int8 >= 0 AND pg_catalog.pg_is_in_recovery()
  AND NOT pg_catalog.current_setting('hot_standby_feedback')::pg_catalog.bool
"""


def _database(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.fingerprint.relations import list_tables, require_readable
    from recyclic_backups.fingerprint.session import cannot_refuse_views
    from recyclic_backups.postgres.standby import PREVENTION

    with settings.server.connect(settings.database) as connection:
        row = connection.execute(
            "SELECT pg_catalog.current_setting('server_version'),"
            " pg_catalog.pg_database_size(pg_catalog.current_database()), rolsuper"
            " FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchone()
        tables = list_tables(connection)
        require_readable(tables)
        delay = connection.execute(_STANDBY).fetchone()
        old = cannot_refuse_views(connection.info.server_version)
    version, size_bytes, superuser = row or ("?", 0, False)
    from recyclic_backups.quantities import human_bytes

    yield _Finding(
        "database",
        "ok",
        f"{settings.database!r} on {settings.server.label}: PostgreSQL {version}, {len(tables)} tables, "
        f"{human_bytes(size_bytes)}",
    )
    if delay is not None and delay[0] < settings.timeout_seconds * 1000:
        yield _Finding(
            "standby",
            "warning",
            f"a hot standby, which ends queries that keep it from replaying for {delay[0] / 1000:g} s",
            PREVENTION,
        )
    if superuser and old:
        yield _Finding(
            "database",
            "warning",
            f"PostgreSQL {version} lets whoever owns a sequence have {settings.user!r} run his code (CVE-2024-7348)",
            "update the server to the newest minor version, or take backups as a role with pg_read_all_data that is no"
            " superuser",
        )
    if not superuser:
        yield _Finding(
            "privileges",
            "warning",
            f"{settings.user!r} is no superuser: password hashes of roles are not backed up",
            "restore as a superuser, or with --no-owner",
        )


# Of whom the limit is, how many sessions it allows, how many there are beside ours. Superusers have no limit.
_LIMITS = """
SELECT 'role ' || r.rolname, r.rolconnlimit,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid AND a.pid <> pg_backend_pid())
FROM pg_catalog.pg_roles r WHERE r.rolname = session_user AND NOT r.rolsuper AND r.rolconnlimit >= 0
UNION ALL
SELECT 'database ' || d.datname, d.datconnlimit,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid AND a.pid <> pg_backend_pid())
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.rolname = session_user
WHERE d.datname = current_database() AND NOT r.rolsuper AND d.datconnlimit >= 0
"""
# One holds the lock, one the snapshot; one reads definitions, and later whose code a query would run; the streams.
_SESSIONS_BESIDE_STREAMS = 3


def _connections(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.errors import DatabaseError

    needed = wiring.backup_plan(settings).options.jobs + _SESSIONS_BESIDE_STREAMS
    with settings.server.connect(settings.database) as connection:
        limits = connection.execute(_LIMITS).fetchall()
    for whose, limit, taken in limits:
        if limit - taken < needed:
            others = f", {taken} of them taken" if taken else ""
            yield _Finding(
                "connections",
                "error",
                f"a backup has {needed} sessions at once, and the {whose} may have {limit}{others}",
                "raise its CONNECTION LIMIT, or lower BACKUP_JOBS",
                DatabaseError.exit_code,
            )


def _programs(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.postgres.programs import scripts_may_run_commands
    from recyclic_backups.postgres.startup import VERIFIED_MODES
    from recyclic_backups.postgres.tls import TLS_HINT, choose_for, is_this_machine, plaintext

    server = settings.server
    with server.connect(settings.database) as connection:
        needed = {"pg_dump", "pg_restore"}
        chosen = choose_for(server, wiring.installations(settings), _major(connection), needed)
        readable = plaintext(connection, server, chosen)
        encrypted = connection.pgconn.ssl_in_use
        near = is_this_machine(connection.info.hostaddr)
        weak = _kept_as_md5(connection)
    _log_in_as_a_dump(settings, chosen)
    yield _Finding("programs", "ok", f"pg_dump {chosen.version} in {chosen.directory}")
    if scripts_may_run_commands(chosen):
        yield _Finding(
            "programs",
            "warning",
            f"scripts of pg_dump {chosen.version} can make psql run commands of a database's owner (CVE-2025-8714)",
            f"install the newest postgresql-client-{chosen.major}, and give its scripts to no psql until then",
        )
    if readable:
        yield _Finding("transit", "warning", readable, TLS_HINT)
    else:
        way = f"TLS ({server.sslmode})" if encrypted else "nothing leaves this machine"
        unchecked = encrypted and server.sslmode not in VERIFIED_MODES
        if unchecked:
            way += ", but who answers is not checked"
        status = "warning" if unchecked and not near else "ok"
        yield _Finding("transit", status, f"to {server.label}: {way}", TLS_HINT)
    if server.sslmode in VERIFIED_MODES or near:
        return
    if chosen.major < _FIRST_TO_REFUSE and server.password:
        yield _Finding(
            "password",
            "warning",
            f"pg_dump {chosen.version} tells the password to whoever takes the place of {server.label} and asks for it",
            f"{TLS_HINT}; programs of version {_FIRST_TO_REFUSE} and newer refuse",
        )
    if weak:
        yield _Finding(
            "password",
            "warning",
            f"the server keeps the password of {server.user!r} as MD5, and whoever asks for it so can guess it",
            "SET password_encryption = 'scram-sha-256', then set the password anew",
        )


_FIRST_TO_REFUSE = 16
"""libpq's require_auth came with PostgreSQL 16."""


def _log_in_as_a_dump(settings: Settings, chosen: Installation) -> None:
    """Have pg_dump log in and dump nothing: it may be let in otherwise than we are. Raises ProgramFailed."""
    from recyclic_backups.postgres.process import run as run_program
    from recyclic_backups.postgres.programs import dump_argv

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


def _storage(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.catalog.layout import Layout
    from recyclic_backups.catalog.strangers import HINT, find_strangers, objects_and_damage
    from recyclic_backups.quantities import human_bytes
    from recyclic_backups.storage.descent import REMOVE_IT

    store = wiring.open_store(settings)
    free_bytes = store.free_bytes()
    free = "" if free_bytes is None else f", {human_bytes(free_bytes)} free"
    if free_bytes is not None and free_bytes < settings.disk_critical_bytes:
        yield _Finding("storage", "warning", f"{store.url}{free}", "make room, or move the storage")
    else:
        yield _Finding("storage", "ok", f"{store.url}{free}")
    if others := store.open_to_others():
        yield _Finding(
            "storage",
            "warning",
            f"others can change what is in {store.url}: {others}",
            "let the user that runs the backups own the directory, with mode 700",
        )
    for sentence in find_strangers(store):
        yield _Finding("storage", "warning", sentence, HINT)
    _, damage = objects_and_damage(store, Layout(settings.database))
    for each in damage:
        yield _Finding("storage", "warning", f"{each.name} is damaged: {each.problem}", REMOVE_IT)


def _rescue(settings: Settings) -> Iterator[_Finding]:
    """The script and the instructions that people follow when this software is gone."""
    from recyclic_backups.catalog.load import load_catalog
    from recyclic_backups.dump.rescue_files import inspect_rescue
    from recyclic_backups.rescue import SCRIPT, shipped_sha256

    repository = wiring.open_repository(settings)
    findings = inspect_rescue(repository, lambda: load_catalog(repository))
    for each in findings:
        yield _Finding(
            "rescue",
            "warning",
            f"{each.name} in the storage: {each.problem}",
            f"this release's {SCRIPT} has the SHA-256 {shipped_sha256(SCRIPT)}",
        )
    if not findings:
        yield _Finding("rescue", "ok", f"{SCRIPT} in the storage is as it was put there")


def _drills(settings: Settings) -> Iterator[_Finding]:
    """Where drills run, and what keeps the code of restored databases from what else is on this machine."""
    from recyclic_backups.postgres.account import MAKE_USER, USERS, Account
    from recyclic_backups.postgres.confinement import lacking

    if settings.drill_server is not None:
        yield _Finding("drills", "ok", f"on the staging server {settings.drill_server.label}")
        return
    account = Account.for_servers()
    if account.shared:
        yield _Finding(
            "drills",
            "warning",
            f"throwaway servers run as the user {USERS[-1]!r}, and any other program of that user can read what is "
            "restored into them",
            f"make a user for them alone: {MAKE_USER}",
        )
    if missing := lacking(same_user=not account.change):
        hint = (
            f"a kernel with Landlock, or root and a user {USERS[0]!r}, or DRILL_SERVER_URL on another machine"
        )
        yield _Finding("drills", "warning", missing, hint)
    else:
        yield _Finding(
            "drills", "ok", "throwaway servers reach their own files alone, and can run no program (Landlock)"
        )


def _encryption(settings: Settings) -> Iterator[_Finding]:
    if not settings.encryption:
        yield _Finding(
            "encryption",
            "warning",
            "BACKUP_ENCRYPTION is off: members' data are stored readable (GDPR, article 32)",
            "set BACKUP_ENCRYPTION=true and BACKUP_ENCRYPTION_KEY (recyclic-backups keys generate)",
        )
        wiring.open_repository(settings).key_for_backups(render.now())  # refused where the storage has keys
        return
    repository = wiring.open_repository(settings)
    existing = any(True for _ in repository.store.list("keys/"))
    if existing:
        data_key = repository.keyring.writer()
        storage_id = repository.storage_id()
        yield _Finding(
            "encryption",
            "ok",
            f"the key opens the data key {data_key.key_id} of the storage {storage_id or 'without an id yet'}",
        )
        for name, problem in repository.keyring.belonging().problems:
            yield _Finding("keys", "warning", f"{name}: {problem}", "see: recyclic-backups keys list")
    else:
        yield _Finding("encryption", "ok", "a data key will be made by the first backup")


def _manifests(settings: Settings) -> Iterator[_Finding]:
    """Encrypted backups of older releases, whose manifests everybody can read."""
    from recyclic_backups.catalog.load import load_catalog
    from recyclic_backups.catalog.sealing import READABLE_HINT, is_readable_by_all
    from recyclic_backups.postgres.names import some

    catalog = load_catalog(wiring.open_repository(settings))
    readable = [backup.backup_id for backup in catalog if is_readable_by_all(backup.manifest)]
    if readable:
        yield _Finding(
            "manifests",
            "warning",
            f"settings, comment, owner and tables lie in clear beside the encrypted {some(readable)}",
            READABLE_HINT,
        )


def _alerts(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.notify.send import why_unusable

    problems = {each.name: why_unusable(each) for each in wiring.channels(settings)}
    told = [name for name, problem in problems.items() if problem is None]
    if told:
        yield _Finding("alerts", "ok", f"told: {', '.join(told)}")
    for problem in problems.values():
        if problem is not None:
            yield _Finding(
                "alerts",
                "warning",
                f"{problem}: nobody is told there",
                "correct it (docs/alerts.md), then send a test: recyclic-backups notify-test",
            )
    if not wiring.channels(settings):
        yield _Finding(
            "alerts",
            "warning",
            "nobody is told of problems: no channel is configured",
            "set NOTIFICATION_EMAIL, NOTIFICATION_TELEGRAM_TOKEN or NOTIFICATION_URLS; see docs/alerts.md",
        )
    if settings.heartbeat_url:
        yield _Finding("heartbeat", "ok", "each daily backup pings HEARTBEAT_URL")
    else:
        yield _Finding(
            "heartbeat",
            "warning",
            "nobody notices silence: HEARTBEAT_URL is not set",
            "a machine that is dead sends no mail; see docs/alerts.md",
        )
