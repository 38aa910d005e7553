"""Look at the storage, and let the one judge say how the backups are, or answer the checks of one partition."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.archive.documents import Position, read_newest_position
from recyclic_backups.archive.status import wal_status, which_server
from recyclic_backups.audit.log import read_head
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.recovery_point import recovery_point
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.rescue_files import changed_rescue_files
from recyclic_backups.dump.verify import recent_verification, verify
from recyclic_backups.errors import (
    BackupError,
    DamagedData,
    DatabaseError,
    NoUsableKey,
    RecoveryError,
    UsageError,
)
from recyclic_backups.health.finding import CheckAnswer, answer_of, critical
from recyclic_backups.health.judge import Facts, HealthTerms, WalSource
from recyclic_backups.health.questions import QUESTIONS, age, answer
from recyclic_backups.health.survey import Survey, survey_of
from recyclic_backups.health.thresholds import WAL_SILENT_WARNING_SECONDS, Thresholds
from recyclic_backups.health.wal import WalFacts, unheard
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.slots import ServerWal, look_at
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.recovery.survey import survey as recoverable
from recyclic_backups.recovery.windows import Window
from recyclic_backups.retention.space_forecast import StoredWal
from recyclic_backups.retention.wal_policy import Histories
from recyclic_backups.storage.shared import are_watched_closely, forget_servers, watch_servers
from recyclic_backups.texts.language import Untranslated

_PATIENCE_SECONDS = 3
"""A server that is gone must not keep people waiting for how the backups are."""


def survey(repository: Repository, terms: HealthTerms, *, clock: Callable[[], datetime]) -> Survey:
    """Look at the storage. Nothing is changed. No key is needed; without one nothing is checked, and that is told.

    Raises StorageError.
    """
    found = survey_of(read_facts(repository, terms.wal, clock()), terms, clock())
    return replace(found, audit_head=read_head(repository, clock()))


def read_facts(repository: Repository, wal: WalSource | None, now: datetime) -> Facts:
    """What is judged; ``wal`` says whose WAL is archived, if any. Raises StorageError."""
    catalog = load_catalog(repository)
    changed = changed_rescue_files(repository, lambda: catalog)
    archived = None if wal is None else read_wal(repository, catalog, wal, now)
    return Facts(catalog, repository.store.free_bytes(), tuple(changed), archived)


def read_wal(repository: Repository, catalog: Catalog, source: WalSource, now: datetime) -> WalFacts:
    """What is known of the server's WAL, also while the server does not answer. Raises StorageError."""
    server: ServerWal | None = None
    with suppress(DatabaseError):
        server = look_at(replace(source.server, connect_timeout_seconds=_PATIENCE_SECONDS), source.slot)
    if server is None:
        newest = catalog.newest_good()
        asked = "" if newest is None else newest.manifest.server.system_identifier
        if asked not in servers_in(repository):
            asked = ""
            with suppress(UsageError, RecoveryError):
                asked = which_server(repository, None, None)
    else:
        asked = server.system_identifier
    if not asked:
        return WalFacts()
    facts, is_old = _archive_seen(repository, asked, server, now)
    # A receiver that puts a segment in the place of its tails while they are listed: of that nobody is to be alarmed.
    if is_old or (facts.is_in_doubt and not are_watched_closely(repository.store)):
        forget_servers(repository.store)
        facts, _ = _archive_seen(repository, asked, server, now)
    watch_servers(repository.store, closely=facts.is_in_doubt)
    return facts


def _archive_seen(
    repository: Repository, system_identifier: str, server: ServerWal | None, now: datetime
) -> tuple[WalFacts, bool]:
    """What a listing shows that may be an hour old, and the newest position; and whether that says it is too old."""
    found = recoverable(repository, system_identifier, now=now, needs_key=False)
    status = wal_status(found.archive, server, found.listing)
    if status.position is None and not (
        status.damage or found.listing.timelines or found.bases.bases or found.bases.damage
    ):
        return WalFacts(), False  # there is no folder of that server
    damage = [
        *filter(None, [status.damage]),
        *(f"{each.name}: {each.problem}" for each in found.bases.damage),
    ]
    windows: tuple[Window, ...] = ()
    hidden, position = None, status.position
    try:
        windows = tuple(found.windows()) if position is not None else ()
        hidden = found.hidden_hole(windows)
        position = _newest_position(found.archive, now)
    except (DamagedData, NoUsableKey, RecoveryError) as error:
        if found.archive.is_checked or not isinstance(error, NoUsableKey):
            damage = [status.damage or error.message]
    if position is not None:
        windows = tuple(each.reaching(position) for each in windows)
    is_old = position is not None and (
        status.position is None or position.timeline != status.position.timeline
    )
    return WalFacts(
        replace(status, position=position, damage="; ".join(damage)),
        found.bases.bases,
        windows,
        hidden,
        None
        if status.position is None
        else StoredWal(found.bases.bases, found.listing, status.position, _histories_of(windows)),
        found.archive.is_checked,
    ), is_old


def _histories_of(windows: Sequence[Window]) -> Histories:
    """The ancestors of each timeline of the server's own line; what is of others stays, as far as is known here."""
    found: dict[int, Sequence[tuple[int, int]]] = {1: ()}
    for window in windows[-1:]:
        left: list[tuple[int, int]] = []
        for part in window.line.parts:
            found[part.timeline] = tuple(left)
            left.append((part.timeline, part.left_lsn or 0))
    return found


def _newest_position(archive: WalArchive, now: datetime) -> Position | None:
    """What is remembered of it, as long as that says that the receiver is heard; else what the storage says now."""
    known = read_newest_position(archive, anew=False)
    if known is not None and known.heard_at >= now - timedelta(seconds=WAL_SILENT_WARNING_SECONDS):
        return known
    return read_newest_position(archive, anew=True)


def receiver_problem(
    open_repository: Callable[[], Repository], source: WalSource, clock: Callable[[], datetime]
) -> str:
    """Why the receiver of WAL counts as dead, as a sentence; empty while it is heard, and never an error."""
    try:
        repository, now = open_repository(), clock()
        found = unheard(read_wal(repository, load_catalog(repository), source, now), now)
    except BackupError as error:
        return f"whether WAL is received cannot be seen: {error.message}"
    return "" if found is None else found.sentence.text()


@dataclass(frozen=True, slots=True)
class Demands:
    """What the settings ask of backups, and what reads one again within ``timeout_seconds``."""

    thresholds: Thresholds
    installations: Sequence[Installation]
    timeout_seconds: float
    verify_interval_seconds: float = 0.0


def assess(
    repository: Repository,
    tier: Tier,
    partition: str,
    wanted: Collection[str],
    demands: Demands,
    *,
    clock: Callable[[], datetime],
    progress: Progress = SILENT,
) -> dict[str, CheckAnswer]:
    """The answer to each wanted question (names of :data:`QUESTIONS`), in their order.

    ``integrity`` reads the whole backup again and records what it found beside it, unless a recent verification answers
    it; the others read the catalog.
    Raises StorageError when the catalog cannot be read.
    """
    catalog = load_catalog(repository)
    backup = catalog.labelled(tier, partition)
    error = None
    if "integrity" in wanted and backup is not None:
        within = demands.verify_interval_seconds
        if recent_verification(repository, backup, "parsed", clock(), within_seconds=within) is None:
            error = verify(
                repository,
                backup,
                "parsed",
                demands.installations,
                clock=clock,
                timeout_seconds=demands.timeout_seconds,
                progress=progress,
            ).error
        catalog = load_catalog(repository)  # which knows that verdict now
    return answers(catalog, tier, partition, wanted, demands.thresholds, clock(), error)


def answers(
    catalog: Catalog,
    tier: Tier,
    partition: str,
    wanted: Collection[str],
    thresholds: Thresholds,
    now: datetime,
    error: BackupError | None = None,
) -> dict[str, CheckAnswer]:
    """The same from the catalog alone: ``integrity`` is the last recorded verification's. Pure.

    ``error`` is why the backup could not be read just now.
    """
    label, backup = catalog.labels.get((tier, partition)), catalog.labelled(tier, partition)
    given: dict[str, CheckAnswer] = {}
    for name in QUESTIONS:
        if name not in wanted:
            continue
        if name == "age":
            found = tuple(age(recovery_point(catalog, now), catalog, thresholds, now))
        elif label is None or backup is None:
            found = (critical("absent", f"{tier.value}/{partition}", tier=tier, partition=partition),)
        elif name == "integrity" and error is not None and not backup.known_damaged:
            # Not of the bytes, or not recorded: no key, a storage that does not answer, pg_restore that was killed.
            problem = Untranslated(error.message)
            found = (critical("unreadable", backup.backup_id, backup_id=backup.backup_id, problem=problem),)
        else:
            found = (answer(name, label, backup, catalog, thresholds, now),)
        given[name] = answer_of(found)
    return given
