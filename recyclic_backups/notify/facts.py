"""Facts: what alerts judge, in plain values, whoever read it: from Dagster, from the storage, or from both. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from recyclic_backups.audit.event import Event
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.errors import BackupError
from recyclic_backups.flags.flags import Flags
from recyclic_backups.health.judge import Facts as HealthFacts
from recyclic_backups.health.judge import HealthTerms
from recyclic_backups.notify.channels import Channel
from recyclic_backups.notify.message import Frame
from recyclic_backups.notify.rollback import Rollback
from recyclic_backups.texts.language import Bilingual
from recyclic_backups.texts.text import Text

BACKUP_JOBS = {f"{tier.value}_backup_job": tier for tier in (Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY)}
DRILL_JOBS = {f"drill_{scenario}_job": scenario for scenario in Scenario}
BASE_JOB = "base_backup_job"
"""Names of jobs, which name the same work where no Dagster is."""

STORED_JOBS = frozenset({*BACKUP_JOBS, *DRILL_JOBS, BASE_JOB})
"""What the storage knows of whoever did it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a run is to do: the same for every attempt at it, whoever started it."""

    job: str
    partition: str | None = None

    @property
    def key(self) -> str:
        """That of the problem that it failed."""
        if self.job in DRILL_JOBS:
            return f"drill/{DRILL_JOBS[self.job]}"
        return f"run/{self.job}" + (f"/{self.partition}" if self.partition else "")


@dataclass(frozen=True, slots=True)
class RunFact:
    """A run. Moments are aware UTC; ``updated_at`` is when it ended, if it did.

    ``order`` tells which of two that ended at once was started later. ``page`` is a path below DAGSTER_URL, empty for
    work that Dagster did not start; ``reason`` is why that failed. Of a run in Dagster it is read when asked for.
    """

    targets: tuple[Target, ...]
    status: Literal["waiting", "working", "succeeded", "failed"]
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    run_id: str = ""
    order: int = 0
    backfill: str = ""
    limit_seconds: float | None = None
    page: str = ""
    reason: Bilingual | None = None

    @property
    def place(self) -> tuple[datetime, int]:
        """For which of two was over later: runs of a backfill are all made at once, and wait for their turn."""
        return self.updated_at, self.order


@dataclass(frozen=True, slots=True)
class TickFact:
    """One evaluation of a sensor or schedule; ``reason`` is why it failed, None if it did not."""

    at: datetime
    reason: Bilingual | None = None


@dataclass(frozen=True, slots=True)
class AutomationFact:
    """A sensor or schedule that is on, and its newest ticks, newest first."""

    name: str
    kind: Literal["sensor", "schedule"]
    ticks: tuple[TickFact, ...]


@dataclass(frozen=True, slots=True)
class BackfillFact:
    """A backfill that broke before it had started its runs; ``is_newest`` unless another was started since."""

    backfill_id: str
    since: datetime
    reason: Bilingual
    is_newest: bool


@dataclass(frozen=True, slots=True)
class DagsterFacts:
    """What only Dagster knows. A part is None if it could not be read: ``broken`` has the class of the exception.

    ``reason_of`` reads why a run failed from its log: once for each failure, and not at every look.
    """

    runs: tuple[RunFact, ...] | None = ()
    automation: tuple[AutomationFact, ...] | None = ()
    backfills: tuple[BackfillFact, ...] | None = ()
    newest_created_at: datetime | None = None
    reason_of: Callable[[str], Bilingual] | None = None
    broken: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """What the storage says. ``health`` is what the judge asks for, None where the storage cannot be read.

    ``problem`` says why. ``failures`` are backups, base backups and drills of the command line that failed, as the
    audit log's newest events tell. ``flags`` and ``rollback`` are None where nobody can know. ``is_signed`` says
    whether documents carry MACs. ``doubt`` is why what lies there of the alerts' state is not used, where that is worth
    telling.
    """

    health: HealthFacts | None = None
    problem: BackupError | None = None
    failures: tuple[Event, ...] = ()
    flags: Flags | None = None
    rollback: Rollback | None = None
    is_signed: bool = False
    doubt: Text | None = None

    @property
    def catalog(self) -> Catalog | None:
        """What the storage holds; None where it cannot be read."""
        return None if self.health is None else self.health.catalog


@dataclass(frozen=True, slots=True)
class AlertTerms:
    """What the settings say about alerts: how health is judged, how long a run may work (seconds), who is told.

    ``tells_of_wal`` is False where another database's alerts tell the same people of the server's WAL.
    """

    health: HealthTerms
    run_limit_seconds: float
    channels: tuple[Channel, ...]
    frame: Frame
    tells_of_wal: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that one look judges. Without ``dagster`` nobody knows what only Dagster would."""

    terms: AlertTerms
    storage: StorageFacts
    dagster: DagsterFacts | None = None
