"""Where the assets get their settings and the time from, and how the house's errors become Dagster's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.dry_run import SHOWN_ONLY, is_shown_only
from recyclic_backups.errors import BackupError, ConfigurationError
from recyclic_backups.foreign_text import in_a_sentence, visible
from recyclic_backups.storage.shared import looking

MAXIMUM_RETRIES = 3
"""How often a run tries again after an error that may pass by itself."""

_LONGEST_WAIT_SECONDS = 600.0
_LONG_BYTES = 500_000_000


def utc_now() -> datetime:
    """The clock of Dagster's runs; below them ``now`` is always a parameter."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Environment:
    """What a run finds when it starts: the settings, read anew every time, and the clock.

    It has no configuration, so there is nothing secret for Dagster to show or store. The wait before the first
    retry is in seconds; each later one is four times as long, up to ten minutes.
    """

    settings: Callable[[], Settings] = load_settings
    now: Callable[[], datetime] = utc_now
    first_retry_seconds: float = 15.0
    shared_seconds: float = 0.0
    """How old what sensors and checks see of the storage may be, in one process (storage/shared.py); 0: not at all."""
    start_date: date | None = None
    """The first day that counts where the settings do not say it: that of the partitions that Dagster was given."""

    def settled(self) -> tuple[Settings, Environment]:
        """The settings that definitions are made from, and this environment for those definitions.

        The first day that counts is read from the storage where the settings do not say it, once: partitions stay what
        they are until the code location is loaded again. A storage that does not answer stops nobody from loading it.
        """
        settings = wiring.with_first_day(self.settings())
        start_date = settings.calendar.start_at(self.now())
        return replace(settings, start_date=start_date), replace(self, start_date=start_date)

    def looking(self) -> AbstractContextManager[None]:
        """A block in which nothing is taken, restored or deleted: it shares one view of the storage with others."""
        return looking(self.now, self.shared_seconds)

    def settings_of(self, database: str, door: str = "dagster") -> Settings:
        """The settings of this run. Raises ConfigurationError if they name another database than was loaded."""
        settings = self.settings().coming_through(door)
        settings = replace(settings, start_date=settings.start_date or self.start_date)
        if settings.database != database:
            raise ConfigurationError(
                f"these definitions are of the database {database!r}, POSTGRES_DB names {settings.database!r} now",
                "reload the code location",
            )
        return settings

    def retry_seconds(self, retry_number: int) -> float:
        """How long to wait before trying again, after so many retries already."""
        return min(self.first_retry_seconds * 4.0**retry_number, _LONGEST_WAIT_SECONDS)


def sentence(error: BackupError) -> str:
    """The error and its hint, as Dagster shows them."""
    message, hint = in_a_sentence(error.message), in_a_sentence(error.hint)
    return f"{message}\nHint: {hint}" if hint else message


def will_retry(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, error: BaseException
) -> bool:
    """Whether a run that meets this error tries again by itself."""
    retries = context.op_execution_context.retry_number
    return isinstance(error, BackupError) and error.retryable and retries < MAXIMUM_RETRIES


@contextmanager
def dagster_errors(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, environment: Environment
) -> Iterator[None]:
    """Turn what may pass by itself into a bounded retry, and every other BackupError into a Failure without one.

    Neither carries the original exception: its traceback says nothing to whoever reads a run's log.
    """
    try:
        yield
    except BackupError as error:
        if will_retry(context, error):
            seconds = environment.retry_seconds(context.op_execution_context.retry_number)
            context.log.warning(f"{sentence(error)}\nTrying again in {seconds:.0f} s.")
            raise dg.RetryRequested(max_retries=MAXIMUM_RETRIES, seconds_to_wait=seconds) from None
        raise dg.Failure(description=sentence(error), allow_retries=False) from None


Look = Callable[[dg.SensorEvaluationContext, Environment, str], dg.SensorResult]
"""One evaluation of a sensor, of the database of that name."""


def sensor_that(
    look: Look,
    settings: Settings,
    environment: Environment,
    *,
    name: str,
    interval_seconds: int,
    description: str,
    jobs: Sequence[dg.UnresolvedAssetJobDefinition] | None = None,
    acts_itself: bool = False,
) -> dg.SensorDefinition:
    """A sensor that looks, and starts ``jobs``; on from the beginning in production, elsewhere when switched on.

    One that ``acts_itself`` sends or writes while it looks; it does so in ticks of the daemon's only, and not when
    somebody has Dagster evaluate it to see the result.
    A tick that meets a BackupError fails with our sentence and its hint, and no traceback but the sensor's own.
    """
    production = settings.environment == "production"

    @dg.sensor(
        name=name,
        jobs=jobs,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if production else dg.DefaultSensorStatus.STOPPED,
        description=description,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if acts_itself and is_shown_only(context):
            return dg.SensorResult(skip_reason=dg.SkipReason(SHOWN_ONLY), cursor=context.cursor)
        try:
            with environment.looking():
                return look(context, environment, settings.database)
        except BackupError as error:
            raise type(error)(sentence(error)) from None

    return sensor


@dataclass
class LoggedProgress:
    """Progress as lines of the run's log: every stage, and every quarter of one that is long."""

    log: dg.DagsterLogManager
    _stage: str = ""
    _total_bytes: int = 0
    _done_bytes: int = 0

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """A new stage begins."""
        self._stage, self._total_bytes, self._done_bytes = visible(name), total_bytes or 0, 0
        self.log.info(visible(name))

    def advance(self, done_bytes: int) -> None:
        """So many more bytes are done."""
        before = self._quarters()
        self._done_bytes += done_bytes
        # The total is an estimate: nothing is said of the last quarter, whose end is the next stage.
        if before < self._quarters() < 4:
            self.log.info(
                f"{self._stage}: {self._done_bytes / 1e6:.0f} of about {self._total_bytes / 1e6:.0f} MB"
            )

    def _quarters(self) -> int:
        return 4 * self._done_bytes // self._total_bytes if self._total_bytes >= _LONG_BYTES else 0
