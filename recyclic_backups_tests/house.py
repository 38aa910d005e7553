"""A backup taken by calling the house itself: real server, any storage, a clock of the test's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from recyclic_backups.audit.verification import Verification
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Source
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.compression import Compression
from recyclic_backups.dump.back_up import BackedUp, BackupPlan, back_up
from recyclic_backups.dump.streams import DumpOptions
from recyclic_backups.dump.take import BackupRequest
from recyclic_backups.dump.verify import VerifyLevel, verify
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.server import Server
from recyclic_backups.storage.store import Store

# 256 bits in base64, so that no test waits for scrypt.
KEY = "q83vEjRWeJq83u8SNFZ4kKvN7xI0VniavN7vEjRWeJA="
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclass
class House:
    """Everything a backup needs, with defaults that tests change."""

    server: Server
    database: str
    store: Store
    now: datetime = NOON
    encrypt: bool = True
    plan: BackupPlan = field(init=False)

    def __post_init__(self) -> None:
        options = DumpOptions(
            installations=find_installations(os.environ.get("PG_BIN"), os.environ.get("PATH")),
            compression=Compression(),
            fingerprint="content",
            lock_timeout_seconds=5,
            timeout_seconds=60,
        )
        calendar = Calendar(ZoneInfo("Europe/Paris"), date(2026, 1, 1), hour=2, minute=0)
        self.plan = BackupPlan(calendar, options, "late", lock_wait_seconds=10)

    @property
    def clock(self) -> Callable[[], datetime]:
        """The test's clock."""
        return lambda: self.now

    @property
    def repository(self) -> Repository:
        """Opened anew, as every command does."""
        keyring = Keyring(self.store, KEY if self.encrypt else "")
        return Repository(self.store, self.database, keyring, encrypt=self.encrypt)

    @property
    def catalog(self) -> Catalog:
        """What the storage holds now."""
        return load_catalog(self.repository)

    def options(self, **changes: object) -> None:
        """Change how dumps are taken."""
        self.plan = replace(self.plan, options=replace(self.plan.options, **changes))  # type: ignore[arg-type]

    def back_up(
        self,
        tier: Tier = Tier.DAILY,
        partition: str | None = None,
        reuse_since: datetime | None = None,
        source: Source = "manual",
    ) -> BackedUp:
        """Back up a partition, the current one by default."""
        key = partition or self.plan.calendar.partition_of(tier, self.now)
        return back_up(
            self.server,
            self.repository,
            BackupRequest(tier, key, source),
            self.plan,
            clock=self.clock,
            reuse_since=reuse_since,
        )

    def verify(self, level: VerifyLevel = "parsed") -> list[Verification]:
        """Verify every backup."""
        return [
            verify(
                self.repository,
                backup,
                level,
                self.plan.options.installations,
                clock=self.clock,
                timeout_seconds=60,
            )
            for backup in self.catalog
        ]
