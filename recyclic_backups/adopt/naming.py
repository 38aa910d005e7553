"""Which tier and which moment an old backup is of: by its name, else by the date in its header. Pure.

The names are those of the script that this project replaces: ``postgres_backup_20250127_020000.dump``,
``postgres_weekly_20250126.dump``, ``postgres_monthly_202501.dump``, each possibly with ``.enc`` and ``.gz``. Their
times are the clock on the wall. The time of a file is never asked: copying changes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from recyclic_backups.adopt.header import ArchiveHeader
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.errors import UsageError

_NAME = re.compile(
    r"(?<![A-Za-z0-9])postgres_(?P<what>backup|weekly|monthly)_(?P<day>\d{8}|\d{6})(?:_(?P<time>\d{6}))?(?!\d)"
)
_TIERS = {"backup": Tier.DAILY, "weekly": Tier.WEEKLY, "monthly": Tier.MONTHLY}

# The name is made when the script starts and the header when pg_dump does: hours apart at the very most.
_TOLERANCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class NamedDate:
    """What a name says. ``day`` is the first of the month where it names no day; ``at`` is None without a time."""

    tier: Tier
    day: date
    names_day: bool
    at: time | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file belongs: its tier's partition, the moment its content is of (aware UTC), and remarks."""

    tier: Tier
    partition: str
    as_of: datetime
    notes: tuple[str, ...] = ()


def parse_name(file_name: str) -> NamedDate | None:
    """The date in a file's name; None where the name has none.

    Raises UsageError when it has one that no calendar knows: guessing another would be worse.
    """
    found = _NAME.search(file_name)
    if found is None:
        return None
    digits, clock = found["day"], found["time"]
    names_day = len(digits) == 8
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]) if names_day else 1)
        at = None if clock is None else time(int(clock[:2]), int(clock[2:4]), int(clock[4:]))
        if not 1 < day.year < 9999 or (not names_day and found["what"] != "monthly"):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{found[0]!r} in its name is no date",
            "rename it as postgres_backup_YYYYMMDD_HHMMSS, postgres_weekly_YYYYMMDD or postgres_monthly_YYYYMM",
        ) from None
    return NamedDate(_TIERS[found["what"]], day, names_day, at)


def place(file_name: str, header: ArchiveHeader, calendar: Calendar, now: datetime) -> Place:
    """The tier, partition and moment of a file. A name without date is a daily backup of the header's moment.

    Raises UsageError when neither name nor header has a date, or when it is one in the future.
    """
    named = parse_name(file_name)
    if named is None:
        if header.created is None:
            raise UsageError(
                "neither its name nor its content says when it was made",
                "rename it as postgres_backup_YYYYMMDD_HHMMSS.dump",
            )
        as_of, notes = _instant(header.created, header, calendar.timezone)
        tier = Tier.DAILY
        partition = calendar.partition_of(tier, as_of)
        notes.insert(0, "its name has no date: the one in the archive counts")
    else:
        tier = named.tier
        as_of, notes = _moment(named, header, calendar.timezone)
        partition = _partition(named)
        if header.created is not None and not _agree(named, header.created):
            notes.append(f"the archive says that it was made on {header.created}, its name says otherwise")
    if as_of > now:
        raise UsageError(
            f"it would be of {as_of.astimezone(calendar.timezone):%Y-%m-%d %H:%M:%S}, which is in the future",
            "check the date in its name, and BACKUP_TIMEZONE",
        )
    return Place(tier, partition, as_of, tuple(notes))


def _moment(named: NamedDate, header: ArchiveHeader, timezone: ZoneInfo) -> tuple[datetime, list[str]]:
    """The time in the name, else the header's where that is of the same day (or month), else midnight."""
    if named.at is not None:
        return _instant(datetime.combine(named.day, named.at), header, timezone)
    if header.created is not None and _same_period(named, header.created.date()):
        return _instant(header.created, header, timezone)
    as_of, notes = _instant(datetime.combine(named.day, time()), header, timezone)
    return as_of, ["its time of day is not known: midnight stands for it", *notes]


def _instant(wall: datetime, header: ArchiveHeader, timezone: ZoneInfo) -> tuple[datetime, list[str]]:
    """The instant (aware UTC) at which a clock in that zone showed the naive time.

    Of a time that comes twice the header's summer time tells which; one that is skipped is read by the clock
    before the change (PEP 495).
    """
    fold = 0 if header.summer else 1
    local = wall.replace(tzinfo=timezone, fold=fold)
    instant = local.astimezone(UTC)
    if instant.astimezone(timezone).replace(tzinfo=None) == wall:
        return instant, []
    instant = local.replace(fold=0).astimezone(UTC)
    return instant, [f"the clocks of {timezone} skipped {wall}: it is read by the clock before the change"]


def _partition(named: NamedDate) -> str:
    """First day of the partition that the named day is in."""
    if named.tier is Tier.WEEKLY:
        return (named.day - timedelta(days=named.day.weekday())).isoformat()
    if named.tier is Tier.MONTHLY:
        return named.day.replace(day=1).isoformat()
    return named.day.isoformat()


def _same_period(named: NamedDate, day: date) -> bool:
    if named.names_day:
        return day == named.day
    return (day.year, day.month) == (named.day.year, named.day.month)


def _agree(named: NamedDate, created: datetime) -> bool:
    if named.at is None:
        return _same_period(named, created.date())
    return abs(created - datetime.combine(named.day, named.at)) <= _TOLERANCE
