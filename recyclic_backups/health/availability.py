"""Availability: the share of time in which a verified recovery point younger than the critical age was there. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from recyclic_backups.backup_calendar import Window
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.health.thresholds import AVAILABILITY_OBJECTIVE, AVAILABILITY_WINDOW


@dataclass(frozen=True, slots=True)
class Availability:
    """What was asked about (``since`` until ``until``, aware UTC) and when nothing young enough was there."""

    since: datetime
    until: datetime
    gaps: tuple[Window, ...]

    @property
    def total_seconds(self) -> float:
        """How long the time asked about was."""
        return (self.until - self.since).total_seconds()

    @property
    def share(self) -> float:
        """Of the time, 0 to 1; 1 of no time at all."""
        missed = sum((gap.end_at - gap.start_at).total_seconds() for gap in self.gaps)
        return 1 - missed / self.total_seconds if self.total_seconds else 1.0

    @property
    def met(self) -> bool:
        """Whether it is enough."""
        return self.share >= AVAILABILITY_OBJECTIVE


def availability(catalog: Catalog, now: datetime, *, critical_seconds: float) -> Availability | None:
    """Of the last 30 days, or since the first backup if that is younger. None while there never was a good one.

    A backup counts from when it was there until its content is older than the critical age. Expired ones count as
    they did while they were there if they had a label, which only verified backups get; when exactly they were done
    is not known any more, so they count from the moment that their content is of.
    """
    lasts = timedelta(seconds=critical_seconds)
    covered = [
        Window(max(backup.as_of, backup.manifest.taken_at), backup.as_of + lasts)
        for backup in catalog
        if backup.good and backup.manifest.source != "adopted"
    ]
    covered += [
        Window(tombstone.as_of, tombstone.as_of + lasts)
        for tombstone in catalog.expired
        if tombstone.as_of is not None and tombstone.labels
    ]
    covered = [each for each in covered if each.start_at <= now]
    if not covered:
        return None
    since = max(now - AVAILABILITY_WINDOW, min(each.start_at for each in covered))
    return Availability(since, now, tuple(_gaps(covered, since, now)))


def _gaps(covered: Iterable[Window], since: datetime, until: datetime) -> Iterable[Window]:
    """The stretches between ``since`` and ``until`` that no window covers, in their order."""
    reached = since
    for each in sorted(covered, key=lambda window: window.start_at):
        if each.start_at >= until:
            break
        if each.start_at > reached:
            yield Window(reached, each.start_at)
        reached = max(reached, each.end_at)
    if reached < until:
        yield Window(reached, until)
