"""Thresholds: from where on something is wrong. Every limit and window of health stands here, once. Pure.

docs/health.md shows them, and a test holds the page to these; Prometheus gets those that its rules need.
Others ask for three more, which stand with them: which rows make a table another one
(:mod:`recyclic_backups.fingerprint.sketch`), how far clocks may differ (:mod:`recyclic_backups.catalog.catalog`), and
how long a missing partition matters: as long as retention would keep its backup. Stretches of time are compared
strictly: in the night of 25 hours a backup that is exactly 25 hours old raises no alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Those that settings move: ages in seconds, free space in bytes, and whether backups have to be encrypted."""

    age_warning_seconds: float = 6 * _HOUR
    age_critical_seconds: float = 25 * _HOUR
    disk_warning_bytes: int = 5 * 10**9
    disk_critical_bytes: int = 10**9
    encryption: bool = True


PROOF_SECONDS = 8 * 24 * _HOUR
"""A restore has to be proven at least so often: a drill a week, and a day for the one that is late."""

DURATION_SECONDS = 0.5 * _HOUR
"""A backup takes no longer."""

NIGHT_SECONDS = 24 * _HOUR
"""From one nightly dump to the next: so much a disaster just before it would lose."""

WAL_SILENT_WARNING_SECONDS, WAL_SILENT_CRITICAL_SECONDS = 300.0, 900.0
"""A receiver says once a minute that it lives, also when nobody works. A quarter of the hour that may be lost is gone
by the second."""

WAL_HELD_WARNING_BYTES, WAL_HELD_CRITICAL_BYTES = 2 << 30, 10 << 30
"""So much WAL on production's own disk is a lot, for a server that sets no limit to it."""

WAL_LEFT_WARNING_SHARE, WAL_LEFT_CRITICAL_SHARE = 0.5, 0.2
"""So much of max_slot_wal_keep_size is left before WAL is lost."""

BASE_AGE_SECONDS = 9 * 24 * _HOUR
"""A base backup a week, and two days for the one that is late."""

AVAILABILITY_OBJECTIVE = 0.999
"""In so much of the time a verified backup younger than the critical age was there."""

AVAILABILITY_WINDOW = timedelta(days=30)
"""How far back is looked for it."""

COMPRESSION_PERCENT = 70.0
"""A backup is at least so much smaller than what pg_dump wrote: until its own history says that its data do not."""

STORED_WARNING, STORED_CRITICAL = 1.05, 1.3
"""What is stored of what was dumped hardly moves from night to night: a twentieth more of it is a lot."""

HISTORY_MINIMUM = 5
"""With fewer earlier backups there is no history to compare with."""

HISTORY_COUNT = 14
"""With how many earlier backups one is compared at most: a change is news for about half as many nights."""

NEWS_COUNT = 7
"""For so many backups a table that was emptied or rewritten is news; then it is how it is."""

DEVIATIONS = 3.5
"""So many deviations from the median are far: the modified z-score of Iglewicz and Hoaglin ("How to Detect and Handle
Outliers", ASQC, 1993)."""

ALLOWED_SHARE = 0.1
"""So much of the median is never far: nights that are all alike have no deviation at all."""

ALARMING_SHARE = 0.5
"""A database or table of which less is left did not just drift: half of it does not go by itself."""

SMALL_TABLE_ROWS = 100
"""Below, rows come and go by hand: worth a warning, no alarm."""

REWRITTEN_ROWS = 20
"""Fewer rows than this may all have been edited by hand."""

REWRITTEN_TABLES = 3
"""So many tables that kept their rows and lost them together: one or two may have been edited."""

OTHER_ROWS_SHARE = 0.1
"""Of all rows that were there, so many may be others while new tables explain worse compression."""

NULLS_WARNING, NULLS_CRITICAL = 0.25, 0.9
"""Of a table's rows, in one column: so many values vanished or appeared."""

NULLS_ROWS = 20
"""In a table with fewer rows that says nothing."""

SLOWER_FACTOR, SLOWER_SECONDS, SLOWER_COUNT = 1.5, 60.0, 3
"""The last so many backups together took so many times as long as those before, and so much longer."""

DRILL_PAUSE_FACTOR = 2.5
"""A drill that used to come and stays away for so many of its pauses has stopped."""

DRILL_PAUSE_SECONDS = 12 * _HOUR
"""Drills closer to each other are somebody trying things out, and no rhythm."""

UNVERIFIED_SECONDS = 6 * _HOUR
"""For so long a new backup may still be in the middle of being verified."""

OVERDUE_AFTER = timedelta(hours=1)
"""A backup that is due now is being taken: for so long nobody misses it."""
