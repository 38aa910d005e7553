"""The full scenario: everything is gone but the storage and the key.

Brought back twice, from an empty directory and an empty environment: by our command line with Dagster not even
importable, and without this software, by the commands that ``recover.py`` prints.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from psycopg import sql

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.drill import without_this_software
from recyclic_backups.drill.plan import DrillPlacement, StorageAccess
from recyclic_backups.drill.probes import Answer, ask, expected_of
from recyclic_backups.drill.report import ScenarioResult
from recyclic_backups.drill.server import DrillServer, drill_server
from recyclic_backups.drill.simple import (
    DrillContext,
    bring_roles,
    excuse_unloaded,
    failure,
    probe,
    reasons_of,
    role_of_application,
)
from recyclic_backups.dump.definitions import read_definitions
from recyclic_backups.errors import (
    BackupError,
    DamagedData,
    DatabaseError,
    NoUsableKey,
    ProgramFailed,
    VerdictNegative,
)
from recyclic_backups.fingerprint.compare import Comparison, TableComparison, compare
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.postgres.process import run
from recyclic_backups.postgres.programs import choose
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import timed

_WITHOUT_DAGSTER = (
    "import sys; sys.modules['dagster'] = None\n"
    "from recyclic_backups.cli.main import main\n"
    "sys.exit(main(sys.argv[1:]))"
)


def run_full(
    context: DrillContext, placement: DrillPlacement, backup: Backup, access: StorageAccess
) -> ScenarioResult:
    """Restore one backup from nothing, be its application, and do it again without this software.

    The time that counts is that of our own way. Raises what :func:`~recyclic_backups.drill.simple.run_simple` raises.
    """
    reasons: list[str] = []
    notes: list[str] = []
    try:
        with context.place.database("full") as name, context.place.directory() as directory:
            notes.extend(bring_roles(context, backup, context.place))
            report = _restore_from_nothing(context, backup, access, name, directory)
            context.place.created_roles.extend(report["created_roles"])
            phases = {str(phase): float(seconds) for phase, seconds in report["phases"].items()}
            missing = [(str(each["name"]), str(each["reason"])) for each in report["missing"]]
            comparison, excused = excuse_unloaded(
                context.place, _comparison_of(report["comparison"]), missing
            )
            notes.extend(excused)
            reasons.extend(comparison.differences)
            with timed(phases, "probes"):
                answers, role = _be_the_application(context, str(report["database"]), backup, notes)
            reasons.extend(reasons_of(answers))
        seconds_without_us: dict[str, float] = {}
        if access.directory is None or not context.place.throwaway:
            notes.append(
                "not done without this software: that needs a storage on disk and a throwaway server"
            )
        elif context.place.unloaded:
            notes.append("not done without this software: the server lacks what extensions need")
        else:
            reasons.extend(_restore_without_us(context, placement, backup, access, seconds_without_us))
            against, remarks = without_this_software.judge_script(context.repository)
            reasons.extend(against)
            notes.extend(remarks)
    except (DamagedData, ProgramFailed) as found:
        return failure(backup, found)
    return ScenarioResult(
        backup_id=backup.backup_id,
        as_of=backup.as_of,
        phases=phases,
        reasons=tuple(reasons),
        comparison=comparison,
        notes=(*comparison.notes, *report["notes"], *notes),
        details={
            "probes": [answer.to_json() for answer in answers],
            "probed_as": role,
            "without_this_software_seconds": {
                name: round(seconds, 3) for name, seconds in seconds_without_us.items()
            },
        },
    )


def _restore_from_nothing(
    context: DrillContext, backup: Backup, access: StorageAccess, name: str, directory: Path
) -> Mapping[str, Any]:
    """Our own ``restore`` as a process that knows only the storage, the key and the new server."""
    server = context.place.server
    environment = {
        **access.environment(),
        "HOME": str(directory),
        "BACKUP_STORAGE": access.storage_url,
        "BACKUP_ENCRYPTION": "true" if access.encryption_key else "false",
        "BACKUP_ENVIRONMENT": "production" if context.place.throwaway else "staging",
        "POSTGRES_DB": backup.manifest.database,
        "POSTGRES_PASSWORD": server.password,
        "PG_BIN": str(_programs(context, backup).directory),
    }
    arguments = ["restore", backup.backup_id, "--into", name, "--to-server", server.url, "--json"]
    context.progress.stage("restoring from nothing but storage and key")
    finished = run(
        # -P: whatever lies in the working directory is no module of ours.
        [sys.executable, "-P", "-c", _WITHOUT_DAGSTER, *arguments],
        environment,
        timeout_seconds=context.options.timeout_seconds,
        cwd=directory,
        any_code=True,
    )
    if finished.code not in (0, VerdictNegative.exit_code):
        raise _as_it_was(finished.code, finished.stderr)
    document: Mapping[str, Any] = json.loads(finished.stdout)
    return document


def _as_it_was(code: int, stderr: str) -> BackupError:
    """The error of the other process, as one of ours."""
    lines = [line.removeprefix("error: ") for line in stderr.splitlines() if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in stderr.splitlines() if line.startswith("hint: ")]
    message = lines[0] if lines else f"the restore ended with exit code {code}"
    if code == DamagedData.exit_code:
        return DamagedData(message, *hints[:1])
    if code == NoUsableKey.exit_code:
        return NoUsableKey(message, *hints[:1])
    if code == DatabaseError.exit_code and "pg_restore" in message:
        return ProgramFailed(message, *hints[:1])
    return DatabaseError(f"restoring from nothing did not work here: {message}", *hints[:1])


def _comparison_of(document: Mapping[str, Any]) -> Comparison:
    return Comparison(
        tables=tuple(
            TableComparison(
                each["name"], each["rows_expected"], each["rows_actual"], tuple(each["differences"])
            )
            for each in document["tables"]
        ),
        differences=tuple(document["differences"]),
        notes=tuple(document["notes"]),
        comparable=bool(document["comparable"]),
    )


def _be_the_application(
    context: DrillContext, database: str, backup: Backup, notes: list[str]
) -> tuple[list[Answer], str]:
    """Log in as the application's role does, and ask its questions; on a staging server only act as that role."""
    with context.place.server.connect(database) as connection:
        role = role_of_application(connection)
        if not role or not context.place.throwaway:
            if not role:
                notes.append(
                    "no role but superusers may log in and read tables: nothing was asked as the application"
                )
            return probe(context, database, backup)
        # Its password is known to nobody here, only its hash; another one opens the same door.
        password = secrets.token_urlsafe(24)
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )
    expected = expected_of(backup.manifest.fingerprint)
    as_role = replace(context.place.server, user=role, password=password)
    try:
        with as_role.connect(database, settings={"row_security": "on"}) as connection:
            return ask(connection, context.probes, expected, backup.as_of), role
    except DatabaseError as refused:
        return [Answer("the application's role can log in", passed=False, reason=refused.message)], role


def _restore_without_us(
    context: DrillContext,
    placement: DrillPlacement,
    backup: Backup,
    access: StorageAccess,
    phases: dict[str, float],
) -> list[str]:
    """What ``recover.py`` extracts and says, done to the letter on another new server. Returns what was wrong."""
    context.progress.stage("restoring without this software")
    timeout_seconds = context.options.timeout_seconds
    with (
        drill_server(
            replace(placement, staging=None), [backup.manifest], database=backup.manifest.database
        ) as other,
        other.directory() as directory,
    ):
        bring_roles(context, backup, other)
        try:
            with timed(phases, "extract"):
                plan = without_this_software.extract(
                    backup, access, directory, directory / "extracted", timeout_seconds=timeout_seconds
                )
            environment = {**_libpq(other.server), "HOME": str(directory)}
            with timed(phases, "commands"):
                without_this_software.follow(
                    plan, _programs(context, backup).directory, environment, timeout_seconds=timeout_seconds
                )
        except ProgramFailed as failed:
            if failed.retryable:
                raise
            return [f"without this software: {failed.message}"]
        with timed(phases, "compare"):
            comparison = _compare(context, other, backup)
    return [f"without this software: {sentence}" for sentence in comparison.differences]


def _compare(context: DrillContext, other: DrillServer, backup: Backup) -> Comparison:
    fingerprint = backup.manifest.fingerprint
    if fingerprint is None:
        return compare(None, None, same_major=True)
    expected = Fingerprint.from_json(fingerprint)
    installation = _programs(context, backup)
    database = backup.manifest.database
    with other.server.connect(database) as connection:
        same_major = connection.info.server_version // 10000 == backup.manifest.server.major
    same_major = same_major and installation.major == backup.manifest.archive_major
    schema_text = None
    if same_major:
        schema_text = read_definitions(
            other.server,
            database,
            installation,
            encoding=backup.manifest.server.encoding,
            snapshot="",
            lock_wait_seconds=60,
            timeout_seconds=context.options.timeout_seconds,
        )
    actual = read_fingerprint(other.server, database, level=expected.level, schema_text=schema_text)
    return compare(expected, actual, same_major=same_major)


def _programs(context: DrillContext, backup: Backup) -> Any:
    return choose(
        context.options.installations, backup.manifest.archive_major, {"pg_restore", "pg_dump", "psql"}
    )


def _libpq(server: Server) -> dict[str, str]:
    """How programs reach a server; the database is each command's own."""
    return {name: value for name, value in server.environment("postgres").items() if name != "PGDATABASE"}
