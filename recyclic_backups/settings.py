"""What is settled when a process starts, and what follows from it: storage, plans, terms."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression
from recyclic_backups.drill.plan import DrillPlan, Remains, Terms
from recyclic_backups.dump.partition import BackupPlan
from recyclic_backups.dump.streams import DumpOptions
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import StorageError
from recyclic_backups.guard.plan import GuardPlan
from recyclic_backups.notify.channels import Channel
from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.server import Server
from recyclic_backups.recovery.attempt import RestoreOptions
from recyclic_backups.retention.policy import Retention
from recyclic_backups.storage.location import open_store, parse_storage_url
from recyclic_backups.storage.shared import shared
from recyclic_backups.storage.store import Store
from recyclic_backups.tiers import Calendar, Tier

if TYPE_CHECKING:
    from recyclic_backups.notify.message import Frame
    from recyclic_backups.report.survey import SurveyTerms

_RESTORE_JOBS = 4
"""Indexes built at once unless ``--jobs`` says otherwise, and where there are as many cores."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """Thresholds: ages in seconds, free space in bytes."""

    age_warning_seconds: float
    age_critical_seconds: float
    disk_warning_bytes: int
    disk_critical_bytes: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured. Durations in seconds, sizes in bytes; secrets never show in ``repr``."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    sslmode: str
    sslrootcert: str
    connect_timeout_seconds: int
    lock_timeout_seconds: int
    timeout_seconds: int
    lock_wait_seconds: int
    verify_interval_seconds: int
    storage_url: str
    scratch: Path | None
    cache: Path | None
    """Where this machine remembers documents of the storage: below BACKUP_SCRATCH, or Dagster's home."""
    calendar: Calendar
    missed_day: Literal["late", "refuse"]
    compression: Compression
    jobs: int
    rate_limit_bytes: int | None
    fingerprint: Literal["content", "counts", "off"]
    pg_bin: str | None
    path: str
    encryption: bool
    encryption_key: str = field(repr=False)
    encryption_old_keys: tuple[str, ...] = field(repr=False)
    retention: Retention
    alerts: Alerts
    channels: tuple[Channel, ...] = field(repr=False)
    heartbeat_url: str = field(repr=False)
    dagster_url: str
    drill_server: Server | None
    drill_probes: Path | None
    locale: Literal["en", "fr"]
    environment: Literal["production", "staging", "development"]
    misspelt: tuple[str, ...]
    """A sentence for each variable whose name is nearly that of a setting."""
    code_server_tcp: bool
    """Whether Dagster's code server may listen on a TCP port, which answers whoever reaches it."""
    actor: Actor
    public: Mapping[str, str]
    """Every setting as it was read, secrets only as given or not: what the audit log compares."""
    dotenv: Path | None = field(default=None, compare=False)
    """The ``.env`` that was read, if there was one."""

    @property
    def server(self) -> Server:
        """The production server."""
        return Server(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            sslmode=self.sslmode,
            sslrootcert=self.sslrootcert,
            connect_timeout_seconds=self.connect_timeout_seconds,
            answer_timeout_seconds=self.timeout_seconds,
        )

    def open_store(self, *, create: bool = True) -> Store:
        """The storage. Raises StorageError when it cannot be used; its hint says where it was named."""
        try:
            return open_store(self.storage_url, create=create)
        except StorageError as error:
            error.hint = f"{error.hint}; BACKUP_STORAGE is {self.storage_url}, {self.read_from}".removeprefix(
                "; "
            )
            raise

    @property
    def read_from(self) -> str:
        """Where the settings were read: which ``.env``, or that there was none."""
        if self.dotenv is not None:
            return f"read from the environment and {self.dotenv}"
        return f"read from the environment; there is no .env in {Path.cwd()}"

    def open_repository(self, *, create: bool = True) -> Repository:
        """The database's part of the storage, with the keys that open it. No key is derived yet."""
        layout = Layout(self.database)
        store = shared(self.open_store(create=create), layout.root, layout.recent_audit)
        keyring = Keyring(store, self.encryption_key, self.encryption_old_keys)
        return Repository(store, self.database, keyring, self.encryption, self.actor, self.public, self.cache)

    def coming_through(self, door: str) -> Settings:
        """The same settings for somebody who does not come through the command line: the audit log says so."""
        return replace(self, actor=replace(self.actor, via=door))

    def installations(self) -> list[Installation]:
        """The PostgreSQL programs of this machine. Raises ConfigurationError when PG_BIN holds none."""
        return find_installations(self.pg_bin, self.path)

    def backup_plan(self) -> BackupPlan:
        """How partitions are backed up."""
        options = DumpOptions(
            installations=self.installations(),
            compression=self.compression,
            fingerprint=self.fingerprint,
            lock_timeout_seconds=self.lock_timeout_seconds,
            timeout_seconds=self.timeout_seconds,
            jobs=self.jobs,
            rate_limit_bytes=self.rate_limit_bytes,
        )
        return BackupPlan(self.calendar, options, self.missed_day, self.lock_wait_seconds)

    def restore_options(
        self,
        *,
        jobs: int | None = None,
        no_owner: bool = False,
        trust_owners: bool = False,
        accept_missing: Collection[str] = (),
    ) -> RestoreOptions:
        """How a backup is restored; on staging, roles come back without login."""
        return RestoreOptions(
            installations=self.installations(),
            # A restore builds every index: it may take several times what the dump took.
            timeout_seconds=4 * self.timeout_seconds,
            # Somebody waits for it: what a backup leaves to the application, a restore takes.
            jobs=jobs or max(self.jobs, min(os.cpu_count() or 1, _RESTORE_JOBS)),
            no_owner=no_owner,
            disarm_roles=self.environment == "staging",
            trust_owners=trust_owners,
            accept_missing=accept_missing,
            lock_timeout_seconds=self.lock_timeout_seconds,
            scratch=self.scratch,
        )

    def message_frame(self) -> Frame:
        """What all messages have in common, and the secrets that must not turn up in any."""
        from recyclic_backups.notify.message import Frame  # noqa: PLC0415 - not for commands that send none

        secrets = (
            self.password,
            self.encryption_key,
            *self.encryption_old_keys,
            self.heartbeat_url,
            self.drill_server.password if self.drill_server else "",
            *(secret for channel in self.channels for secret in channel.secrets),
        )
        return Frame(
            database=self.database,
            environment=self.environment,
            locale=self.locale,
            timezone=self.calendar.timezone,
            dagster_url=self.dagster_url,
            secrets=tuple(secret for secret in secrets if secret),
        )

    def survey_terms(self) -> SurveyTerms:
        """What is looked at for metrics and the report, and how it is judged."""
        # Only where it is asked for: a list of backups needs none of it.
        from recyclic_backups.health.thresholds import Thresholds  # noqa: PLC0415
        from recyclic_backups.report.survey import SurveyTerms  # noqa: PLC0415

        return SurveyTerms(
            database=self.database,
            calendar=self.calendar,
            retention=self.retention,
            thresholds=Thresholds(
                age_warning_seconds=self.alerts.age_warning_seconds,
                age_critical_seconds=self.alerts.age_critical_seconds,
                disk_warning_bytes=self.alerts.disk_warning_bytes,
                disk_critical_bytes=self.alerts.disk_critical_bytes,
                encryption=self.encryption,
            ),
            locale=self.locale,
            environment=self.environment,
        )

    def heartbeat_for(self, tier: Tier, partition: str, now: datetime) -> str:
        """Whom to tell of that backup: of the running day's only, for others say nothing about tonight. Or empty."""
        tonight = tier is Tier.DAILY and self.calendar.contains(tier, partition, now)
        return self.heartbeat_url if tonight else ""

    def drill_plan(self) -> DrillPlan:
        """How drills are done. The full one gets the storage and the key, and nothing else of all this."""
        location = parse_storage_url(self.storage_url)
        directory = location.path.absolute() if location.scheme == "file" else None
        url = self.storage_url if directory is None else f"file://{quote(os.fsencode(directory))}"
        options = self.restore_options()
        return DrillPlan(
            terms=Terms(
                self.installations(), self.server, self.drill_server, self.scratch, jobs=options.jobs
            ),
            options=options,
            probes=self.drill_probes,
            remains=Remains(url, directory, self.encryption_key, self.encryption_old_keys),
        )

    def guard_plan(self) -> GuardPlan:
        """How a command is guarded."""
        return GuardPlan(self.backup_plan(), self.restore_options(), self.drill_probes)
