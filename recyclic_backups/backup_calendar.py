"""Tiers and their partitions: which slot in time a moment belongs to, and when its backup is due. Pure.

A partition key is ``YYYY-MM-DD``, the first day of its partition in the configured time zone: the day
itself, the Monday of its ISO week, the first of its month. The backup of Sunday 22 November 2026 is the
daily 2026-11-22 and may become the weekly 2026-11-16.

Dagster has the same partitions (midnight windows, weeks from Monday, ``end_offset=1``) and the same ticks;
a test compares the two, so that the command line needs no Dagster to know them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from recyclic_backups.errors import ConfigurationError, UsageError

_DAY = timedelta(days=1)


class Tier(StrEnum):
    """A row of the retention plan."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CHECKPOINT = "checkpoint"

    @property
    def has_calendar(self) -> bool:
        """Whether it has partitions. A checkpoint is taken when somebody asks, as often as they ask."""
        return self is not Tier.CHECKPOINT


# Minutes after the daily backup at which a tier looks for the one to promote. Different, so that not all
# of them wait for the same lock when the first of the month is a Sunday.
_DELAY_MINUTES = {Tier.DAILY: 0, Tier.WEEKLY: 30, Tier.MONTHLY: 35}


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of time, ``start_at <= moment < end_at``; both aware UTC."""

    start_at: datetime
    end_at: datetime

    def contains(self, moment: datetime) -> bool:
        """Whether the aware moment lies inside."""
        return self.start_at <= moment < self.end_at


@dataclass(frozen=True, slots=True)
class Calendar:
    """When backups are due and which partition a moment is in.

    ``start`` is the first day that counts, None the first of the running month; the first week and the first month are
    those that begin on or after it. ``hour`` and ``minute`` are the daily backup's, on the clock of ``timezone``. Every
    method but :meth:`is_late` and :meth:`is_valid_key` raises UsageError for the checkpoint tier, which has no
    partitions, and for a key that is none.
    """

    timezone: ZoneInfo
    start: date | None
    hour: int
    minute: int

    def __post_init__(self) -> None:
        if not (0 <= self.hour < 24 and 0 <= self.minute < 60):
            raise ConfigurationError(
                f"there is no time of day {self.hour}:{self.minute:02}",
                "the hour is 0 to 23, the minute 0 to 59",
            )

    def partition_of(self, tier: Tier, moment: datetime) -> str:
        """Key of the partition whose window contains the aware moment, be it before the first one."""
        day = moment.astimezone(self.timezone).date()
        # Where clocks have been set back over midnight the date alone does not decide: the windows do.
        if moment < self._midnight(day):
            day -= _DAY
        elif moment >= self._midnight(day + _DAY):
            day += _DAY
        return _first_day(tier, day).isoformat()

    def window(self, tier: Tier, key: str) -> Window:
        """From the local midnight that begins the partition to the one that ends it.

        A day is 23 or 25 hours long when the clocks change.
        """
        first = _day_of_key(tier, key)
        return Window(self._midnight(first), self._midnight(_next_first_day(tier, first)))

    def contains(self, tier: Tier, key: str, moment: datetime) -> bool:
        """Whether the aware moment is in that partition."""
        return self.window(tier, key).contains(moment)

    def day_that_ends(self, moment: datetime) -> str | None:
        """Key of the day whose end that aware moment is; None for a moment within a day."""
        if not date(2, 1, 2) < moment.date() < date(9999, 12, 30):
            return None  # no room for arithmetic
        key = self.partition_of(Tier.DAILY, moment - timedelta(microseconds=1))
        return key if self._midnight(date.fromisoformat(key) + _DAY) == moment else None

    def is_valid_key(self, tier: Tier, key: str) -> bool:
        """Whether the key is well formed and not before ``start``, where there is one; it may be in the future."""
        try:
            day = _day_of_key(tier, key)
            return self.start is None or day >= _first_partition(tier, self.start)
        except UsageError:
            return False

    def check_key(self, tier: Tier, key: str, now: datetime) -> None:
        """Raises UsageError that says why the key is not one of :meth:`partitions`, and which would be."""
        day = _day_of_key(tier, key)
        first = _first_partition(tier, self.start_at(now))
        if day < first:
            raise UsageError(
                f"{key} is before the first {tier} partition, {first}",
                "BACKUP_START_DATE says where they begin",
            )
        if self._midnight(day) > now:
            raise UsageError(
                f"the {tier} partition {key} is in the future",
                f"the current one is {self.partition_of(tier, now)}",
            )

    def first_to_come(self, tier: Tier, now: datetime) -> str | None:
        """Key of the tier's first partition while the running one began before ``start`` though ``start`` has come.

        A calendar that starts on a Wednesday has no week until the next Monday, which is no mistake. None once
        there is a partition, and before ``start``: there, asking for a backup is one.
        """
        start = self.start_at(now)
        first = _first_partition(tier, start)
        return first.isoformat() if self._midnight(start) <= now < self._midnight(first) else None

    def start_at(self, now: datetime) -> date:
        """The first day that counts, as it is seen at that aware moment."""
        return self.start or date.fromisoformat(self.partition_of(Tier.MONTHLY, now))

    def since(self, began_at: datetime | None) -> Calendar:
        """The same; where no first day is set, it is the first of the month of ``began_at``."""
        if self.start is not None or began_at is None:
            return self
        return replace(self, start=date.fromisoformat(self.partition_of(Tier.MONTHLY, began_at)))

    def partitions(self, tier: Tier, now: datetime) -> list[str]:
        """Every key from the first partition to the one that contains ``now``, oldest first."""
        if not tier.has_calendar:
            raise _no_calendar()
        last = date.fromisoformat(self.partition_of(tier, now))
        keys = []
        day = _first_partition(tier, self.start_at(now))
        while day <= last:
            keys.append(day.isoformat())
            day = _next_first_day(tier, day)
        return keys

    def preferred_day(self, tier: Tier, key: str) -> date:
        """The day whose backup the partition promotes if it can: the week's Sunday, the month's first."""
        first = _day_of_key(tier, key)
        return first + 6 * _DAY if tier is Tier.WEEKLY else first

    def scheduled_for(self, tier: Tier, key: str) -> datetime:
        """When the partition's backup is due, aware UTC.

        On the preferred day: the daily one at ``hour:minute``, the weekly one 30 and the monthly one 35
        minutes later by the clock on the wall (which may be past midnight). As in Dagster, a time that the
        clocks skip becomes the first instant after the gap, and of a time that comes twice the second
        counts.
        """
        days_later, due = self._due(tier)
        return self._instant(datetime.combine(self.preferred_day(tier, key) + days_later * _DAY, due))

    def cron(self, tier: Tier) -> str:
        """The five cron fields of the ticks at which the tier's backups are due, in ``timezone``."""
        days_later, due = self._due(tier)
        if tier is Tier.WEEKLY:
            days = f"* * {days_later}"  # 0 is Sunday
        elif tier is Tier.MONTHLY:
            days = f"{1 + days_later} * *"
        else:
            days = "* * *"
        return f"{due.minute} {due.hour} {days}"

    def partition_due(self, tier: Tier, tick: datetime) -> str:
        """Key of the partition that the tick of :meth:`cron` at that aware moment is for."""
        days_later, _ = self._due(tier)
        return _first_day(tier, tick.astimezone(self.timezone).date() - days_later * _DAY).isoformat()

    def is_late(self, tier: Tier, key: str, as_of: datetime) -> bool:
        """Whether a backup of that moment shows another time than the partition's; no checkpoint does."""
        return tier.has_calendar and not self.contains(tier, key, as_of)

    def _due(self, tier: Tier) -> tuple[int, time]:
        """(0, or 1 where the delay leads past midnight; time of day on the wall)."""
        if not tier.has_calendar:
            raise _no_calendar()
        days, minutes = divmod(self.hour * 60 + self.minute + _DELAY_MINUTES[tier], 24 * 60)
        return days, time(minutes // 60, minutes % 60)

    def _midnight(self, day: date) -> datetime:
        """When the day begins. A midnight that is skipped is read by the clock before the change."""
        return datetime.combine(day, time(), self.timezone).astimezone(UTC)

    def _instant(self, wall: datetime) -> datetime:
        """The instant at which the clock on the wall shows that (naive) time."""
        local = wall.replace(tzinfo=self.timezone, fold=1)  # the second one, where it comes twice
        instant = local.astimezone(UTC)
        if instant.astimezone(self.timezone).replace(tzinfo=None) == wall:
            return instant
        # Skipped. The two readings lie on either side of the change (PEP 495): close in on it.
        before, after = instant, local.replace(fold=0).astimezone(UTC)
        offset = after.astimezone(self.timezone).utcoffset()
        while after - before > timedelta(seconds=1):
            middle = (before + (after - before) / 2).replace(microsecond=0)
            if middle.astimezone(self.timezone).utcoffset() == offset:
                after = middle
            else:
                before = middle
        return after


def _first_day(tier: Tier, day: date) -> date:
    """First day of the partition that the day is in."""
    if tier is Tier.DAILY:
        return day
    if tier is Tier.WEEKLY:
        return day - day.weekday() * _DAY
    if tier is Tier.MONTHLY:
        return day.replace(day=1)
    raise _no_calendar()


def _first_partition(tier: Tier, start: date) -> date:
    """First day of the tier's first partition that begins on or after that day."""
    first = _first_day(tier, start)
    return first if first == start else _next_first_day(tier, first)


def _next_first_day(tier: Tier, first: date) -> date:
    """First day of the partition after the one that begins on that day."""
    if tier is Tier.MONTHLY:
        return (first + 31 * _DAY).replace(day=1)
    return first + (7 if tier is Tier.WEEKLY else 1) * _DAY


def _day_of_key(tier: Tier, key: str) -> date:
    """The day that a key names. Raises UsageError for one that names none, or not a partition's first."""
    try:
        day = date.fromisoformat(key)
    except ValueError:
        day = None
    # fromisoformat also reads 20261122 and 2026-W47-7. The outermost years leave room for arithmetic.
    if day is None or day.isoformat() != key or not 1 < day.year < 9999:
        raise UsageError(f"{key!r} is not a date", "a partition is written YYYY-MM-DD, as 2026-11-22")
    first = _first_day(tier, day)
    if first != day:
        if tier is Tier.WEEKLY:
            sentence = f"{key} is a {_WEEKDAYS[day.weekday()]}; its week is {first}"
            hint = "a weekly partition is named by its Monday"
        else:
            sentence = f"{key} is not the first of a month; its month is {first}"
            hint = "a monthly partition is named by its first day"
        raise UsageError(sentence, hint)
    return day


# Not strftime("%A"), which speaks the language of the process.
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _no_calendar() -> UsageError:
    return UsageError("a checkpoint has no partition", "leave the partition out: it is taken now")
