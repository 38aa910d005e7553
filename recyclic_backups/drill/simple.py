"""The simple scenario: backups brought back whole, compared and probed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.drill.preload import wants_preloading
from recyclic_backups.drill.probes import Answer, Probe, ask, expected_of
from recyclic_backups.drill.report import ScenarioResult
from recyclic_backups.drill.server import DrillServer
from recyclic_backups.errors import DamagedData, ProgramFailed
from recyclic_backups.fingerprint.compare import Comparison
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import some
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress, timed
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.left_behind import under_way
from recyclic_backups.restore.loaders import loaders
from recyclic_backups.restore.missing_roles import create_named_roles
from recyclic_backups.restore.restore import RestoreReport, restore

_PROBING_SECONDS = 24 * 3600
"""For how long the login of probes is valid, at most."""
_PROBE_SETTINGS = {"statement_timeout": "300s", "row_security": "on"}


@dataclass(frozen=True, slots=True)
class DrillContext:
    """What every scenario works with."""

    repository: Repository
    place: DrillServer
    options: RestoreOptions
    probes: Sequence[Probe]
    clock: Callable[[], datetime]
    progress: Progress = SILENT


def run_simple(context: DrillContext, backup: Backup) -> ScenarioResult:
    """Restore one backup, compare it with its fingerprint, and ask the probes as the application would.

    That its bytes are damaged, or that PostgreSQL refuses what is in it, is a finding. Raises what says nothing
    about the backup: DatabaseError, StorageError, NoUsableKey.
    """
    with context.place.database("simple") as name:
        try:
            notes = bring_roles(context, backup, context.place)
            report, comparison, excused = bring_back(context, backup, name)
        except (DamagedData, ProgramFailed) as found:
            return failure(backup, found)
        phases = dict(report.phases)
        with timed(phases, "probes"):
            answers, role = probe(context, report.database, backup)
    return ScenarioResult(
        backup_id=backup.backup_id,
        as_of=backup.as_of,
        phases=phases,
        reasons=(*comparison.differences, *reasons_of(answers)),
        comparison=comparison,
        notes=(*comparison.notes, *report.notes, *notes, *excused),
        details={"probes": [answer.to_json() for answer in answers], "probed_as": role},
    )


def bring_back(
    context: DrillContext, backup: Backup, name: str
) -> tuple[RestoreReport, Comparison, list[str]]:
    """Restore a backup as a database of ours; what :func:`excuse_unloaded` leaves of its comparison, and its notes."""
    report = restore(
        context.repository,
        backup,
        context.place.server,
        name,
        context.options,
        clock=context.clock,
        replace=True,  # the name is ours: nothing else can have it
        recorded=False,
        progress=context.progress,
    )
    context.place.created_roles.extend(report.created_roles)
    missing = [(each.name, each.reason) for each in report.missing]
    return report, *excuse_unloaded(context.place, report.comparison, missing)


def bring_roles(context: DrillContext, backup: Backup, place: DrillServer) -> list[str]:
    """The roles that a backup without any names (an adopted one), where the drill's server lacks them; notes."""
    created = create_named_roles(context.repository, backup.manifest, place.server, context.options)
    place.created_roles.extend(created)
    if not created:
        return []
    return [
        f"this backup brings no roles: {some(created)} were created without rights for the drill; a restore "
        "on a new server needs them first"
    ]


def excuse_unloaded(
    place: DrillServer, comparison: Comparison, missing: Sequence[tuple[str, str]]
) -> tuple[Comparison, list[str]]:
    """What could not be made (names and reasons) for want of a library of the drill's own server is its fault alone.

    Returns the comparison without that, and a note on each.
    """
    if not place.unloaded:
        return comparison, []
    notes = [f"{name} cannot be made: {reason}" for name, reason in missing if wants_preloading(reason)]
    rest = tuple(sentence for sentence in comparison.differences if sentence not in notes)
    return replace(comparison, differences=rest), notes


def failure(backup: Backup, found: DamagedData | ProgramFailed) -> ScenarioResult:
    """What a restore that did not come to its end says of the backup. Raises one that says nothing of it."""
    if found.retryable:
        raise found
    damaged = isinstance(found, DamagedData)
    return ScenarioResult(backup.backup_id, backup.as_of, {}, (found.message,), damaged=damaged)


def reasons_of(answers: Sequence[Answer]) -> list[str]:
    """The probes that failed, as reasons."""
    return [f"probe {answer.probe!r}: {answer.reason}" for answer in answers if answer.passed is False]


def probe(context: DrillContext, database: str, backup: Backup) -> tuple[list[Answer], str]:
    """The answers, and the role in whose name they were asked."""
    expected = expected_of(backup.manifest.fingerprint)
    context.progress.stage("probes")
    server = context.place.server
    with ExitStack() as stack:
        connection = stack.enter_context(server.connect(database, settings=_PROBE_SETTINGS))
        role = role_of_application(connection, context.place.created_roles)
        if role:
            connection = stack.enter_context(as_application(server, database, role, _PROBE_SETTINGS))
        elif not context.place.throwaway:
            reason = (
                "passed over: no role but superusers may read tables, and what a query runs would run as one"
            )
            return [Answer(each.name, None, reason) for each in context.probes], ""
        return ask(connection, context.probes, expected, backup.as_of), role


@contextmanager
def as_application(
    server: Server, database: str, role: str, settings: Mapping[str, str]
) -> Iterator[Connection]:
    """A session that acts as a role, and logged in with its rights alone.

    Whatever its queries run (a policy, a view, a cast) may put the role off again, and is nobody more by that.
    """
    beside = databases.name_beside(database, "probing")
    with (
        under_way(server, beside),
        loaders(server, database, seconds=_PROBING_SECONDS, on_behalf_of=beside) as made,
        made.of(role).connect(database, settings=settings) as connection,
    ):
        connection.execute("SELECT pg_catalog.set_config('role', %s, false)", (role,))
        yield connection


def role_of_application(connection: Connection, created: Sequence[str] = ()) -> str:
    """Which role the application most likely is: of those that may log in and read tables, the one that may read most.

    Those that a drill ``created`` on a staging server could log in where they come from.

    Superusers are left out: they prove nothing about grants. Empty when there is none, as in a dump without grants.
    """
    row = connection.execute(
        """
        SELECT r.rolname FROM pg_catalog.pg_roles r
        CROSS JOIN pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE (r.rolcanlogin OR r.rolname = ANY(%s)) AND NOT r.rolsuper AND c.relkind IN ('r', 'p')
            AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
            AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
            AND pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')
        GROUP BY r.rolname
        ORDER BY count(*) DESC,
            count(*) FILTER (WHERE pg_catalog.has_table_privilege(r.rolname, c.oid, 'INSERT')) DESC, r.rolname LIMIT 1
        """,
        (list(created),),
    ).fetchone()
    return str(row[0]) if row else ""


def newest_of_each_tier(backups: Sequence[Backup]) -> list[Backup]:
    """The newest backup of every tier, each once, the newest first; without labels the newest of all. Pure."""
    chosen: dict[str, Backup] = {}
    for backup in sorted(backups, key=lambda each: each.as_of, reverse=True):
        for tier in backup.tiers:
            chosen.setdefault(tier, backup)
    distinct = {backup.backup_id: backup for backup in chosen.values()}
    newest = max(backups, key=lambda each: each.as_of, default=None)
    if newest is not None and not distinct:
        distinct[newest.backup_id] = newest
    return sorted(distinct.values(), key=lambda each: each.as_of, reverse=True)
