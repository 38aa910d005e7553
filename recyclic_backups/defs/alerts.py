"""The sensor ``alerts``: looks at everything once a minute and tells people what changed, each thing once.

A plain sensor that asks for the state of things, not one that is called with events: what Dagster's own failure
sensors do not deliver at once is lost, and a check that does not pass fails no run. What was told is remembered twice,
in the cursor and in the storage (docs/adr/0010).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.recovery_point import RecoveryPoint, recovery_point
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.defs.answer_look import look_at_checks, look_at_ticks
from recyclic_backups.defs.resources import Environment, sensor_that
from recyclic_backups.defs.rollback_look import look_for_rollback
from recyclic_backups.defs.run_look import backup_is_working, look_at_runs
from recyclic_backups.dump.rescue_files import changed_rescue_files
from recyclic_backups.errors import BackupError, NoUsableKey
from recyclic_backups.flags.store import load_flags
from recyclic_backups.health.judge import Facts, findings
from recyclic_backups.notify import memory as remembered
from recyclic_backups.notify import wording
from recyclic_backups.notify.alert import deliver, take_note
from recyclic_backups.notify.catalog_look import SOURCES, Circumstances, is_bare, look_at_catalog
from recyclic_backups.notify.harmless import shortened
from recyclic_backups.notify.incidents import News, Observation, Problem
from recyclic_backups.notify.keeping import Copy, look_up, store
from recyclic_backups.notify.labels import label
from recyclic_backups.notify.memory import Memory, younger
from recyclic_backups.notify.message import redact
from recyclic_backups.notify.outbox import LISTED
from recyclic_backups.notify.reasons import UNSENT
from recyclic_backups.notify.rollback import Mark
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import Kind
from recyclic_backups.settings import Settings

SENSOR = "alerts"
INTERVAL_SECONDS = 60


def alerts_sensor(settings: Settings, environment: Environment) -> dg.SensorDefinition:
    """The sensor."""
    return sensor_that(
        look,
        settings,
        environment,
        name=SENSOR,
        interval_seconds=INTERVAL_SECONDS,
        acts_itself=True,
        description=(
            "Tells people what is wrong: failed runs and checks, missed partitions, old backups, stale drills, runs "
            "that wait or do not end, sensors and schedules that raise. Once when it begins, once when it becomes "
            "worse, once a day while it lasts, once when it is over."
        ),
    )


def look(context: dg.SensorEvaluationContext, environment: Environment, database: str) -> dg.SensorResult:
    """One evaluation. Raises ConfigurationError when the settings are of another database."""
    settings = environment.settings_of(database)
    now = environment.now()
    shelf = Shelf(context, settings)
    copy, own = shelf.look_up(), remembered.read(context.cursor)
    before = younger(own, copy.memory) or Memory(had_backups=copy.had_backups)
    catalog = shelf.open(create=not before.had_backups)

    seen, recovery = _observe(context, environment, settings, shelf, catalog, before)
    seen += _doubts(context, copy, own, before, now)
    lost_ground, mark = _rollback(context, settings, shelf, catalog, before, now)
    seen += lost_ground
    memory, news, lost = take_note(before, seen, recovery, settings.channels, now, mark=mark)
    for each in news:
        context.log.warning(_lines(each, settings))
    for letter, delivery in lost:
        reason = delivery.reason or "not answered"
        context.log.error(f"{delivery.channel} never took {letter.letter_id}: {reason}; given up")
    # Also where nothing changed but the copy is gone or damaged: the next lost cursor would be everything.
    stored = copy.memory or copy.shown
    if stored is None or stored.serial != memory.serial:
        shelf.keep(memory)
    memory = deliver(
        memory,
        settings.channels,
        settings.message_frame(),
        clock=environment.now,
        keep=shelf.keep,
        say=context.log.error,
    )
    return dg.SensorResult(
        skip_reason=dg.SkipReason(_summary(memory, settings)), cursor=remembered.to_cursor(memory)
    )


@dataclass
class Shelf:
    """The copy of the memory in the storage. It is a copy: whatever is wrong with the storage is said, never raised."""

    context: dg.SensorEvaluationContext
    settings: Settings
    problem: BackupError | None = None
    repository: Repository | None = None
    _writable: bool = False

    def look_up(self) -> Copy:
        """What lies there, and whether it is believed. That the storage cannot be read is said by :meth:`open`."""
        try:
            return look_up(self.settings.open_repository(create=False))
        except BackupError:
            return Copy()

    def open(self, *, create: bool) -> Catalog | None:
        """The catalog; None, and ``problem`` says why, if it cannot be read."""
        try:
            self.repository = self.settings.open_repository(create=create)
            catalog = load_catalog(self.repository)
        except BackupError as error:
            self.problem = error
            return None
        # Where there are no backups there may be no storage either, but the directory where it is mounted.
        self._writable = len(catalog) > 0
        return catalog

    def keep(self, memory: Memory) -> None:
        """Put it there, if the storage is one."""
        if self.repository is None or not self._writable:
            return
        try:
            store(self.repository, memory)
        except BackupError as error:
            self.context.log.error(f"what alerts remember cannot be kept in the storage: {error.message}")


def _observe(
    context: dg.SensorEvaluationContext,
    environment: Environment,
    settings: Settings,
    shelf: Shelf,
    catalog: Catalog | None,
    before: Memory,
) -> tuple[Observation, RecoveryPoint]:
    instance, known, now = context.instance, before.state.incidents, environment.now()
    # One that held backups and holds none is not the storage that knows what is missing or was made up for.
    knowing = None if catalog is not None and before.had_backups and is_bare(catalog) else catalog

    def at_catalog() -> Observation:
        if catalog is None:
            reason = "" if shelf.problem is None else shelf.problem.message
            problem = Problem("storage", Kind.STORAGE, Severity.CRITICAL, now, {"reason": reason})
            return Observation((problem,), unseen=SOURCES)
        given = Circumstances(
            working=backup_is_working(instance, settings, now),
            began_at=before.begun(now),
            had_backups=before.had_backups,
        )
        changed = () if shelf.repository is None else changed_rescue_files(shelf.repository, lambda: catalog)
        terms = settings.survey_terms()
        judged = findings(Facts(catalog, changed_rescue_files=tuple(changed)), terms, now)
        found = look_at_catalog(judged, catalog, terms, given, known, now)
        return found if knowing is not None else found + Observation(unseen=SOURCES)

    looks: list[tuple[frozenset[str], Callable[[], Observation]]] = [
        (SOURCES, at_catalog),
        (
            frozenset({"run", "drill", "stuck", "backfill"}),
            lambda: look_at_runs(instance, settings, knowing, known, now),
        ),
        (
            frozenset({"check", "drill"}),
            lambda: look_at_checks(instance, settings, catalog, _checks(context), now),
        ),
        (frozenset({"flag"}), lambda: _flags(shelf, now)),
        (frozenset({"tick"}), lambda: look_at_ticks(instance, SENSOR, known, now)),
    ]
    seen = Observation()
    for sources, each in looks:
        try:
            seen += each()
        except Exception as error:  # noqa: BLE001 - one that breaks must not keep the others from being told
            names = ", ".join(sorted(sources))
            # Where it happened, without the text of an exception that is not ours and may hold anything.
            where = "".join(traceback.format_tb(error.__traceback__))
            context.log.error(f"could not look at {names}: {type(error).__name__}\n{where}")
            reason = f"alerts cannot look at {names}: unexpected error, {type(error).__name__}"
            broken = Problem(f"look/{min(sources)}", Kind.OTHER, Severity.WARNING, now, {"reason": reason})
            seen += Observation((broken,), unseen=sources)
    return seen, RecoveryPoint(known=False) if catalog is None else recovery_point(catalog, now)


def _doubts(
    context: dg.SensorEvaluationContext, copy: Copy, own: Memory | None, before: Memory, now: datetime
) -> Observation:
    """That what lies in the storage is not used, as one incident, however often it is put there.

    What older versions wrote is no news where the cursor knows as much; nor is what a disk spoilt: it is made anew.
    """
    if copy.doubt is None:
        return Observation()
    key = "memory"
    if key not in before.state.incidents:
        context.log.warning(copy.doubt.text())
    is_known = own is not None and copy.serial <= own.serial
    if copy.is_unreadable or (copy.is_old_fashioned and is_known):
        return Observation()
    facts = {"reason": copy.doubt.text("en"), "reason_fr": copy.doubt.text("fr")}
    return Observation((Problem(key, Kind.MEMORY, Severity.WARNING, now, facts),))


def _rollback(
    context: dg.SensorEvaluationContext,
    settings: Settings,
    shelf: Shelf,
    catalog: Catalog | None,
    before: Memory,
    now: datetime,
) -> tuple[Observation, Mark | None]:
    """What of the storage is older than it was, and how far it has come: None where that is not to be noted."""
    unseen = Observation(unseen=frozenset({"rollback"}))
    if catalog is None or shelf.repository is None or (before.had_backups and is_bare(catalog)):
        return unseen, None
    try:
        return look_for_rollback(shelf.repository, settings, catalog, before.mark, now, context.log.warning)
    except BackupError as error:
        context.log.error(f"nobody can tell whether the storage went back to an older state: {error.message}")
        return unseen, None


def _flags(shelf: Shelf, now: datetime) -> Observation:
    """Flags that switched themselves off, or cannot be read or believed, until a person sets them."""
    if shelf.repository is None or shelf.problem is not None:
        return Observation(unseen=frozenset({"flag"}))
    signed = shelf.repository.asks_for_macs
    try:
        flags = load_flags(shelf.repository)
    except NoUsableKey:
        return Observation(
            unseen=frozenset({"flag"})
        )  # what that means for backups is told by whoever needs the key
    problems = [
        Problem(
            f"flag/{name}",
            Kind.FLAG_TRIPPED,
            Severity.WARNING,
            switch.tripped_at or switch.set_at,
            # Where nothing is signed the reason may be anybody's text: it is read there, and not sent to people.
            {"name": name, "reason": shortened(switch.tripped) if signed else UNSENT},
        )
        for name, switch in flags.tripped.items()
    ]
    problems += [
        Problem(f"flag/{name}", Kind.OTHER, Severity.WARNING, now, {"reason": shortened(reason)})
        for name, reason in flags.damaged.items()
    ]
    return Observation(tuple(problems))


def _checks(context: dg.SensorEvaluationContext) -> Collection[dg.AssetCheckKey]:
    """Every check of this code location. Raises RuntimeError where Dagster does not say."""
    if context.repository_def is None:
        raise RuntimeError("a sensor that belongs to no code location")
    return context.repository_def.asset_graph.asset_check_keys


def _lines(news: News, settings: Settings) -> str:
    """What is told, for the sensor's log: there it stands even where no channel is configured."""
    lines = [
        f"{news.change}, {each.severity}: {wording.what(each.problem.kind, each.problem.facts, settings.locale)}"
        for each in news.incidents[:LISTED]
    ]
    if len(news.incidents) > LISTED:
        lines.append(label("more", settings.locale, count=len(news.incidents) - LISTED))
    return redact("\n".join(lines), settings.message_frame().secrets)


def _summary(memory: Memory, settings: Settings) -> str:
    incidents, waiting = len(memory.state.incidents), memory.outbox
    said = [f"{incidents} open incidents." if incidents else "Nothing is wrong."]
    if not settings.channels:
        said.append("Nobody is told: no channel is configured (docs/alerts.md).")
    reasons = {each.channel: each.reason for letter in waiting for each in letter.deliveries if each.reason}
    if waiting:
        said.append(f"{len(waiting)} messages wait to be delivered.")
    said += [f"{channel}: {reason}" for channel, reason in reasons.items()]
    return "\n".join(said)
