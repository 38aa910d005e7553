"""``validate``: would a backup work tonight? Settings, programs, database, storage and keys, each with a hint."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recyclic_backups.cli import render

if TYPE_CHECKING:
    import psycopg

    from recyclic_backups.settings import Settings


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
    from recyclic_backups.configuration import load_settings, secrets_for_everybody
    from recyclic_backups.errors import BackupError

    try:
        settings = load_settings()
    except BackupError as error:
        yield _Finding("settings", "error", error.message, error.hint, error.exit_code)
        return
    yield _Finding("settings", "ok", f"{settings.environment}, times are {settings.calendar.timezone}")
    if exposed := secrets_for_everybody():
        yield _Finding(
            "secrets",
            "warning",
            f"every user of this machine may read {', '.join(exposed)} in .env",
            "chmod 600 .env",
        )
    checks: list[tuple[str, Callable[[Settings], Iterator[_Finding]]]] = [
        ("database", _database),
        ("programs", _programs),
        ("storage", _storage),
        ("encryption", _encryption),
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


def _database(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.fingerprint.relations import list_tables, require_readable

    with settings.server.connect(settings.database) as connection:
        row = connection.execute(
            "SELECT pg_catalog.current_setting('server_version'),"
            " pg_catalog.pg_database_size(pg_catalog.current_database()), rolsuper"
            " FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchone()
        tables = list_tables(connection)
        require_readable(tables)
    version, size_bytes, superuser = row or ("?", 0, False)
    from recyclic_backups.quantities import human_bytes

    yield _Finding(
        "database",
        "ok",
        f"{settings.database!r} on {settings.server.label}: PostgreSQL {version}, {len(tables)} tables, "
        f"{human_bytes(size_bytes)}",
    )
    if not superuser:
        yield _Finding(
            "privileges",
            "warning",
            f"{settings.user!r} is no superuser: password hashes of roles are not backed up",
            "restore as a superuser, or with --no-owner",
        )


def _programs(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.postgres.transit import TLS_HINT, choose_for, plaintext

    server = settings.server
    with server.connect(settings.database) as connection:
        needed = {"pg_dump", "pg_restore"}
        chosen = choose_for(server, settings.installations(), _major(connection), needed)
        readable = plaintext(connection, server, chosen)
        encrypted = connection.pgconn.ssl_in_use
    yield _Finding("programs", "ok", f"pg_dump {chosen.version} in {chosen.directory}")
    if readable:
        yield _Finding("transit", "warning", readable, TLS_HINT)
    else:
        way = f"TLS ({server.sslmode})" if encrypted else "nothing leaves this machine"
        if encrypted and not server.sslmode.startswith("verify-"):
            way += ", but who answers is not checked"
        yield _Finding("transit", "ok", f"to {server.label}: {way}")


def _storage(settings: Settings) -> Iterator[_Finding]:
    from recyclic_backups.quantities import human_bytes

    store = settings.open_store()
    free_bytes = store.free_bytes()
    free = "" if free_bytes is None else f", {human_bytes(free_bytes)} free"
    if free_bytes is not None and free_bytes < settings.alerts.disk_critical_bytes:
        yield _Finding("storage", "warning", f"{store.url}{free}", "make room, or move the storage")
    else:
        yield _Finding("storage", "ok", f"{store.url}{free}")


def _encryption(settings: Settings) -> Iterator[_Finding]:
    if not settings.encryption:
        yield _Finding(
            "encryption",
            "warning",
            "BACKUP_ENCRYPTION is off: members' data are stored readable (GDPR, article 32)",
            "set BACKUP_ENCRYPTION=true and BACKUP_ENCRYPTION_KEY (recyclic-backups keys generate)",
        )
        return
    repository = settings.open_repository()
    existing = any(True for _ in repository.store.list("keys/"))
    if existing:
        data_key = repository.keyring.for_writing(render.now())
        yield _Finding("encryption", "ok", f"the key opens the storage's data key {data_key.key_id}")
    else:
        yield _Finding("encryption", "ok", "a data key will be made by the first backup")


def _manifests(settings: Settings) -> Iterator[_Finding]:
    """Encrypted backups of older releases, whose manifests everybody can read."""
    from recyclic_backups.catalog.load import load_catalog
    from recyclic_backups.catalog.sealing import READABLE_HINT, is_readable_by_all
    from recyclic_backups.fingerprint.names import some

    catalog = load_catalog(settings.open_repository())
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

    problems = {each.name: why_unusable(each) for each in settings.channels}
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
    if not settings.channels:
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
