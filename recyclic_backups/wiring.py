"""Put together what the settings describe: storages, repositories, plans, terms, channels. Nobody else does.

Nothing here decides anything. Imports stand inside the functions, since each command needs few of these: `list` opens a
repository, and knows nothing of drills.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.config.settings import Settings
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import StorageError
from recyclic_backups.storage import opening
from recyclic_backups.storage.location import parse_storage_url
from recyclic_backups.storage.shared import shared
from recyclic_backups.storage.store import Store

if TYPE_CHECKING:
    from recyclic_backups.archive.receive import ReceiveTerms
    from recyclic_backups.base_backup.take import BaseBackupTerms
    from recyclic_backups.catalog.manifest import Manifest
    from recyclic_backups.drill.plan import DrillPlan
    from recyclic_backups.dump.back_up import BackupPlan, MissedDay
    from recyclic_backups.guard.plan import GuardPlan
    from recyclic_backups.health.judge import HealthTerms, WalSource
    from recyclic_backups.health.thresholds import Thresholds
    from recyclic_backups.notify.channels import Channel
    from recyclic_backups.notify.facts import AlertTerms
    from recyclic_backups.notify.message import Frame
    from recyclic_backups.notify.stored_state import LocalCopy
    from recyclic_backups.postgres.programs import Installation
    from recyclic_backups.restore.attempt import RestoreOptions

_RESTORE_JOBS = 4
"""Indexes built at once unless ``--jobs`` says otherwise, and where there are as many cores."""


def open_store(settings: Settings, *, create: bool = True) -> Store:
    """The storage. Raises StorageError when it cannot be used; its hint says where it was named."""
    try:
        return opening.open_store(settings.storage_url, create=create)
    except StorageError as error:
        named = f"BACKUP_STORAGE is {settings.storage_url}, {settings.read_from}"
        error.hint = f"{error.hint}; {named}" if error.hint else named
        raise


def open_repository(settings: Settings, *, create: bool = True) -> Repository:
    """The database's part of the storage, with the keys that open it. No key is derived yet. Raises StorageError."""
    layout = Layout(settings.database)
    store = shared(open_store(settings, create=create), layout.root, layout.recent_audit)
    keyring = Keyring(store, settings.encryption_key, settings.encryption_old_keys)
    return Repository(
        store,
        settings.database,
        keyring,
        settings.encryption,
        settings.actor,
        settings.public,
        settings.cache,
    )


def with_first_day(settings: Settings) -> Settings:
    """The same settings, and the first day that counts where BACKUP_START_DATE does not say it.

    It is the first of the month of the first believed backup, expired or not. Settings stay as they are while there is
    none, or while the storage does not answer: the first of the running month then counts (:class:`Calendar`).
    """
    from recyclic_backups.catalog.load import load_catalog

    if settings.start_date is not None:
        return settings
    try:
        began_at = load_catalog(open_repository(settings, create=False)).began_at
    except StorageError:
        return settings
    return replace(settings, start_date=settings.calendar.since(began_at).start)


def installations(settings: Settings) -> list[Installation]:
    """The PostgreSQL programs of this machine. Raises ConfigurationError when PG_BIN holds none."""
    from recyclic_backups.postgres.discovery import find_installations

    return find_installations(settings.pg_bin, settings.path)


def backup_plan(settings: Settings) -> BackupPlan:
    """How partitions are backed up. Raises ConfigurationError when PG_BIN holds no programs."""
    from recyclic_backups.dump.back_up import BackupPlan
    from recyclic_backups.dump.streams import DumpOptions

    options = DumpOptions(
        installations=installations(settings),
        compression=settings.compression,
        fingerprint=settings.fingerprint,
        lock_timeout_seconds=settings.lock_timeout_seconds,
        timeout_seconds=settings.timeout_seconds,
        jobs=settings.jobs,
        rate_limit_bytes=settings.rate_limit_bytes,
        find_replay_point=settings.wal_archive,
    )
    calendar = with_first_day(settings).calendar
    return BackupPlan(calendar, options, settings.missed_day, settings.lock_wait_seconds, _rebuild(settings))


def _rebuild(settings: Settings) -> Callable[[MissedDay], Manifest | str] | None:
    """How a missed day is rebuilt from WAL; None where that is not archived."""
    if not settings.wal_archive:
        return None

    def made(day: MissedDay) -> Manifest | str:
        from recyclic_backups.recovery.missed_day import rebuild

        return rebuild(day, settings.scratch or Path(tempfile.gettempdir()), settings.timezone)

    return made


def restore_options(
    settings: Settings,
    *,
    jobs: int | None = None,
    no_owner: bool = False,
    trust_owners: bool = False,
    accept_missing: Collection[str] = (),
) -> RestoreOptions:
    """How a backup is restored; on staging, roles come back without login."""
    from recyclic_backups.restore.attempt import RestoreOptions

    return RestoreOptions(
        installations=installations(settings),
        # A restore builds every index: it may take several times what the dump took.
        timeout_seconds=4 * settings.timeout_seconds,
        # Somebody waits for it: what a backup leaves to the application, a restore takes.
        jobs=jobs or max(settings.jobs, min(os.cpu_count() or 1, _RESTORE_JOBS)),
        no_owner=no_owner,
        disarm_roles=settings.environment == "staging",
        trust_owners=trust_owners,
        accept_missing=accept_missing,
        lock_timeout_seconds=settings.lock_timeout_seconds,
        scratch=settings.scratch,
    )


def drill_plan(settings: Settings) -> DrillPlan:
    """How drills are done. The full one gets the storage and the key, and nothing else of all this."""
    from recyclic_backups.drill.plan import DrillPlacement, DrillPlan, StorageAccess

    location = parse_storage_url(settings.storage_url)
    directory = location.path.absolute() if location.scheme == "file" else None
    url = settings.storage_url if directory is None else f"file://{quote(os.fsencode(directory))}"
    options = restore_options(settings)
    return DrillPlan(
        placement=DrillPlacement(
            options.installations,
            settings.server,
            settings.drill_server,
            settings.scratch,
            jobs=options.jobs,
        ),
        options=options,
        probes=settings.drill_probes,
        access=StorageAccess(url, directory, settings.encryption_key, settings.encryption_old_keys),
        wal=wal_source(settings),
    )


def guard_plan(settings: Settings) -> GuardPlan:
    """How a command is guarded."""
    from recyclic_backups.guard.plan import GuardPlan

    return GuardPlan(backup_plan(settings), restore_options(settings), settings.drill_probes)


def receive_terms(settings: Settings) -> ReceiveTerms:
    """How WAL is received."""
    from recyclic_backups.archive.receive import ReceiveTerms

    return ReceiveTerms(settings.wal_slot, settings.wal_tail_seconds, settings.wal_heartbeat_seconds)


def wal_source(settings: Settings) -> WalSource | None:
    """Whose WAL is archived; None where it is not."""
    from recyclic_backups.health.judge import WalSource

    return WalSource(settings.server, settings.wal_slot) if settings.wal_archive else None


def base_backup_terms(settings: Settings) -> BaseBackupTerms:
    """How base backups are taken."""
    from recyclic_backups.base_backup.take import BaseBackupTerms

    return BaseBackupTerms(
        compression=settings.compression,
        rate_limit_bytes=settings.rate_limit_bytes,
        lock_wait_seconds=settings.lock_wait_seconds,
        # A receiver that is at work stores a tail that often.
        wal_patience_seconds=max(120.0, 6 * settings.wal_tail_seconds),
    )


def thresholds(settings: Settings) -> Thresholds:
    """From where on health warns, and from where on it is critical."""
    from recyclic_backups.health.thresholds import Thresholds

    return Thresholds(
        age_warning_seconds=settings.age_warning_seconds,
        age_critical_seconds=settings.age_critical_seconds,
        disk_warning_bytes=settings.disk_warning_bytes,
        disk_critical_bytes=settings.disk_critical_bytes,
        encryption=settings.encryption,
    )


def health_terms(settings: Settings) -> HealthTerms:
    """What is looked at for metrics and the report, and how it is judged."""
    from recyclic_backups.health.judge import HealthTerms

    return HealthTerms(
        database=settings.database,
        calendar=settings.calendar,
        retention=settings.retention,
        thresholds=thresholds(settings),
        wal=wal_source(settings),
        locale=settings.locale,
        environment=settings.environment,
    )


def channels(settings: Settings) -> tuple[Channel, ...]:
    """Everybody who is told of problems."""
    from recyclic_backups.notify.channels import Email, Service, Telegram

    server = settings.mail_server
    # Mail servers rarely let anybody send for others: who logs in by a mail address sends from it.
    own = (server.user,) if "@" in server.user else ()
    sender = (*settings.mail_senders, *own, *settings.mail_recipients, "")[0]
    found: list[Channel] = [
        Email(each, sender, server, settings.mail_severity) for each in settings.mail_recipients
    ]
    if settings.telegram_token:
        found.append(Telegram(settings.telegram_token, settings.telegram_chat, settings.telegram_severity))
    for number, (url, minimum) in enumerate(settings.services, start=1):
        found.append(Service(url, number, minimum or settings.services_severity))
    return tuple(found)


def message_frame(settings: Settings) -> Frame:
    """What all messages have in common, and the secrets that must not turn up in any."""
    from recyclic_backups.notify.message import Frame

    secrets = (
        settings.password,
        settings.encryption_key,
        *settings.encryption_old_keys,
        settings.heartbeat_url,
        settings.drill_server.password if settings.drill_server else "",
        *(secret for channel in channels(settings) for secret in channel.secrets),
    )
    return Frame(
        database=settings.database,
        environment=settings.environment,
        locale=settings.locale,
        timezone=settings.timezone,
        dagster_url=settings.dagster_url,
        secrets=tuple(secret for secret in secrets if secret),
    )


def alert_terms(settings: Settings) -> AlertTerms:
    """What alerts look at, how that is judged, and who is told."""
    from recyclic_backups.notify.facts import AlertTerms

    return AlertTerms(
        health_terms(settings), settings.run_limit_seconds, channels(settings), message_frame(settings)
    )


def local_alert_state(settings: Settings) -> LocalCopy | None:
    """Where this machine remembers what alerts told; None where it has no place for that."""
    from recyclic_backups.notify.stored_state import LocalCopy

    return (
        None if settings.state is None else LocalCopy(settings.state, settings.storage_url, settings.database)
    )


def heartbeat_for(settings: Settings, tier: Tier, partition: str, now: datetime) -> str:
    """Whom to tell of that backup: of the running day's only, for others say nothing about tonight. Or empty."""
    tonight = tier is Tier.DAILY and settings.calendar.contains(tier, partition, now)
    return settings.heartbeat_url if tonight else ""


def heartbeat_doubt(settings: Settings, clock: Callable[[], datetime]) -> Callable[[], str]:
    """What keeps a good backup from being told as a success: that WAL is archived, and nobody hears of its receiver."""

    def asked() -> str:
        from recyclic_backups.health.assess import receiver_problem

        source = wal_source(settings)
        if source is None:
            return ""
        return receiver_problem(lambda: open_repository(settings, create=False), source, clock)

    return asked
