"""The table of limits in docs/health.md is made from those that the judge has."""

from __future__ import annotations

from recyclic_backups.catalog.catalog import CLOCK_SKEW
from recyclic_backups.fingerprint.sketch import MOST_SHARE, REWRITTEN_SHARE
from recyclic_backups.health import thresholds
from recyclic_backups.health.thresholds import (
    ALARMING_SHARE,
    ALLOWED_SHARE,
    AVAILABILITY_OBJECTIVE,
    AVAILABILITY_WINDOW,
    BASE_AGE_SECONDS,
    COMPRESSION_PERCENT,
    DEVIATIONS,
    DRILL_PAUSE_FACTOR,
    DRILL_PAUSE_SECONDS,
    DURATION_SECONDS,
    HISTORY_COUNT,
    HISTORY_MINIMUM,
    NEWS_COUNT,
    NULLS_CRITICAL,
    NULLS_ROWS,
    NULLS_WARNING,
    OTHER_ROWS_SHARE,
    PROOF_SECONDS,
    REWRITTEN_ROWS,
    REWRITTEN_TABLES,
    SLOWER_COUNT,
    SLOWER_FACTOR,
    SLOWER_SECONDS,
    SMALL_TABLE_ROWS,
    STORED_CRITICAL,
    STORED_WARNING,
    UNVERIFIED_SECONDS,
    WAL_HELD_CRITICAL_BYTES,
    WAL_HELD_WARNING_BYTES,
    WAL_LEFT_CRITICAL_SHARE,
    WAL_LEFT_WARNING_SHARE,
    WAL_SILENT_CRITICAL_SECONDS,
    WAL_SILENT_WARNING_SECONDS,
    Thresholds,
)
from recyclic_backups.texts.language import Bytes, Seconds, Share
from recyclic_backups_tests.docs.pages import read

NOT_SHOWN = {"NIGHT_SECONDS", "OVERDUE_AFTER"}
"""The first is in a sentence about nightly dumps, the second says when a cell of the page turns amber."""


def rows(thresholds: Thresholds) -> list[tuple[str, str, str]]:
    """Every limit as docs/health.md shows it: what is judged, from where on it is wrong, the setting that moves it."""

    def time(seconds: float) -> str:
        return Seconds(seconds).text().removesuffix(" 0 h")

    def size(count: int) -> str:
        return Bytes(count).text().replace(".0 ", " ")

    def part(share: float) -> str:
        return Share(share).text()

    stored = (part(STORED_WARNING - 1), part(STORED_CRITICAL - 1))
    return [
        (
            "age of the newest verified backup",
            f"over {time(thresholds.age_warning_seconds)}, critical over {time(thresholds.age_critical_seconds)}",
            "`ALERT_BACKUP_AGE_WARNING`, `ALERT_BACKUP_AGE_CRITICAL`",
        ),
        (
            "free space",
            f"under {size(thresholds.disk_warning_bytes)}, critical under {size(thresholds.disk_critical_bytes)}",
            "`ALERT_DISK_SPACE_WARNING`, `ALERT_DISK_SPACE_CRITICAL`",
        ),
        ("a date in the future", f"more than {time(CLOCK_SKEW.total_seconds())} ahead", ""),
        ("time without a proven restore", f"over {time(PROOF_SECONDS)}", ""),
        (
            "a drill that used to come",
            f"away for {DRILL_PAUSE_FACTOR} times its usual pause, which is {time(DRILL_PAUSE_SECONDS)} or more",
            "",
        ),
        (
            "a day, week or month without a good backup",
            "ended within as many days, weeks or months as are kept",
            "`RETENTION_DAILY`, `RETENTION_WEEKLY`, `RETENTION_MONTHLY`",
        ),
        (
            "availability",
            f"under {part(AVAILABILITY_OBJECTIVE)} of the last {AVAILABILITY_WINDOW.days} days",
            "",
        ),
        ("duration of a backup", f"{time(DURATION_SECONDS)} or more", ""),
        (
            "duration that drifts",
            f"the last {SLOWER_COUNT} took {SLOWER_FACTOR} times as long as those before, and "
            f"{time(SLOWER_SECONDS)} more",
            "",
        ),
        (
            "compression",
            f"not above {COMPRESSION_PERCENT:.0f} %, or, from {HISTORY_MINIMUM} earlier good backups of the same "
            f"compression on, {stored[0]} more stored than their median where that is less",
            "",
        ),
        (
            "compression that collapses",
            f"{stored[0]} more stored of what was dumped than usual, critical from {stored[1]}; nothing is said where "
            f"new tables hold the difference and {part(1 - OTHER_ROWS_SHARE)} of the rows that were there still are",
            "",
        ),
        (
            "history",
            f"{HISTORY_MINIMUM} to {HISTORY_COUNT} backups before; a change is news for {NEWS_COUNT} backups",
            "",
        ),
        (
            "size of the dump, rows of a table",
            f"over {DEVIATIONS} deviations from the median (more in a short history) and {part(ALLOWED_SHARE)} of it; "
            f"critical when less than {part(ALARMING_SHARE)} is left",
            "",
        ),
        ("a small table", f"under {SMALL_TABLE_ROWS} rows: a warning at most", ""),
        (
            "a table that was rewritten",
            f"under {part(REWRITTEN_SHARE)} of its rows are those of the night before, where it kept "
            f"{part(MOST_SHARE)} of them each night; nothing is said under {REWRITTEN_ROWS} rows",
            "",
        ),
        (
            "tables rewritten together",
            f"{REWRITTEN_TABLES} or more, and over half of those that keep their rows",
            "",
        ),
        (
            "values that vanish or appear",
            f"in {part(NULLS_WARNING)} of the rows, critical where they vanish from {part(NULLS_CRITICAL)}; nothing "
            f"is said under {NULLS_ROWS} rows",
            "",
        ),
        ("a newest backup that nobody verified", f"over {time(UNVERIFIED_SECONDS)}", ""),
        (
            "age of the newest WAL in the archive",
            f"over {time(WAL_SILENT_WARNING_SECONDS)}, critical over {time(WAL_SILENT_CRITICAL_SECONDS)}",
            "",
        ),
        (
            "WAL that production keeps for the receiver",
            f"over {size(WAL_HELD_WARNING_BYTES)}, critical over {size(WAL_HELD_CRITICAL_BYTES)}; where the server has "
            f"a limit for it, under {part(WAL_LEFT_WARNING_SHARE)} of that left, critical under "
            f"{part(WAL_LEFT_CRITICAL_SHARE)}",
            "`max_slot_wal_keep_size` of the server",
        ),
        ("age of the newest verified base backup", f"over {time(BASE_AGE_SECONDS)}", "`BASE_BACKUP_CRON`"),
    ]


def test_the_page_has_the_limits_that_the_judge_has() -> None:
    """Loss prevented: people who wait for an alarm at a limit that only a page knows."""
    lines = [f"| {what} | {limit} | {setting} |" for what, limit, setting in rows(Thresholds())]
    table = "\n".join(["| What | Limit | Setting |", "|---|---|---|", *lines])
    assert table in read("docs/health.md"), f"docs/health.md should have:\n{table}"


def test_every_limit_is_shown() -> None:
    """Loss prevented: a limit that is added to the judge and to no page."""
    limits = {name for name in vars(thresholds) if name.isupper() and not name.startswith("_")}
    assert limits - NOT_SHOWN == set(rows.__code__.co_names) & limits
