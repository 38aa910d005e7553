"""Anomalies: what is far from the recent history, though every single step succeeded. Pure.

A backup can be whole, quick and young, and hold a database that somebody emptied or encrypted. What was dumped is
therefore compared with the backups before it, by median and median absolute deviation, which a few odd nights do not
move. What a change makes normal is accepted after about a week of backups; until then it is said.

An encrypted table is seen by what encryption cannot hide: its rows are none of those it had
(:mod:`~recyclic_backups.health.rewriting`), cipher text does not compress, values appear where there was none. See
docs/health.md for what that finds and what it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median

from recyclic_backups.catalog.catalog import Backup, Catalog, is_of_the_future
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.fingerprint.sketch import new_name
from recyclic_backups.health.drill_records import drill_records, scenario_name
from recyclic_backups.health.finding import Finding, alarm, critical, warning
from recyclic_backups.health.history import Night
from recyclic_backups.health.outliers import is_outlier
from recyclic_backups.health.rewriting import changed_lately, listed, rewritten
from recyclic_backups.health.thresholds import (
    ALARMING_SHARE,
    ALLOWED_SHARE,
    DRILL_PAUSE_FACTOR,
    DRILL_PAUSE_SECONDS,
    HISTORY_COUNT,
    HISTORY_MINIMUM,
    NEWS_COUNT,
    NULLS_CRITICAL,
    NULLS_ROWS,
    NULLS_WARNING,
    OTHER_ROWS_SHARE,
    SLOWER_COUNT,
    SLOWER_FACTOR,
    SLOWER_SECONDS,
    SMALL_TABLE_ROWS,
    STORED_CRITICAL,
    STORED_WARNING,
    UNVERIFIED_SECONDS,
)
from recyclic_backups.texts.language import Seconds, Share

# By these nothing is lost.
_MORE_THAN_BEFORE = frozenset({"table_grew", "values_appeared"})

# A fingerprint of counts cannot see these.
_OTHER_ROWS = frozenset({"table_rewritten", "table_converted", "tables_rewritten"})

_LEVELS = ("off", "counts", "content")


def anomalies(catalog: Catalog, now: datetime) -> tuple[Finding, ...]:
    """Everything in which the newest good backup, or what was asked of backups lately, is unlike the recent history.

    Nothing while there are too few backups to compare with, but for emptied tables, which need only one.
    """
    dumps = _dumps(catalog)
    found = list(_stopped_checks(catalog, dumps, now))
    good = [each for each in dumps if each.good][: HISTORY_COUNT + 1]
    if good:
        nights = [Night.of(each) for each in good]
        if closed := [night for night in nights if night.closed]:
            found.append(warning("content_sealed", count=len(closed)))
        for night in nights:
            if night.unreadable:
                found.append(warning("fingerprint_unreadable", backup_id=night.backup.backup_id))
        found += _compression(nights)
        found += _durations(nights)
        found += _contents(nights)
    return tuple(found)


def newest_ordinary(catalog: Catalog) -> tuple[Backup, tuple[Finding, ...]] | None:
    """The newest good backup that lacks nothing its predecessors had, and what the next one lacked.

    None if the newest of all is such a one, or none is. A backup whose fingerprint cannot tell whether it lacks
    that is passed over: it may be of the accident too.
    """
    good = [each for each in _dumps(catalog) if each.good][: NEWS_COUNT + HISTORY_COUNT + 1]
    nights = [Night.of(each) for each in good]
    lacking: tuple[Finding, ...] = ()
    for number in range(min(NEWS_COUNT + 1, len(nights))):
        issues = _contents(nights[number : number + HISTORY_COUNT + 1])
        found = tuple(each for each in issues if each.code not in _MORE_THAN_BEFORE)
        if found:
            lacking = found
        elif _would_tell(nights[number], lacking):
            return (good[number], lacking) if lacking else None
    return None


def _would_tell(night: Night, lacking: Sequence[Finding]) -> bool:
    """Whether its fingerprint would show what the next one lacks, if it lacked that too."""
    return night.knows_rows or (
        night.tables is not None and not any(each.code in _OTHER_ROWS for each in lacking)
    )


def _dumps(catalog: Catalog) -> list[Backup]:
    return [each for each in catalog if each.manifest.is_our_dump]


def _compression(nights: Sequence[Night]) -> Iterator[Finding]:
    """Of the whole, and of each large table that was dumped by itself, where one table is the whole.

    Against backups that were compressed in the same way: another setting is no anomaly.
    """
    newest = nights[0].backup.manifest
    if newest.compression == "none":
        return
    alike = [
        night.backup.manifest for night in nights if night.backup.manifest.compression == newest.compression
    ]
    whole = [(each.stored_bytes, each.plain_bytes) for each in alike]
    if not _comes_of_new_tables(nights, whole):
        yield from _collapse("", whole, listed(changed_lately(nights)))
    if not _tells(newest):
        return  # which tables were dumped by themselves is sealed
    told = [each for each in alike if _tells(each)]
    for relation in sorted({item.relation for item in newest.objects if item.relation is not None}):
        sizes = [
            (item.stored_bytes, item.plain_bytes)
            for each in told
            for item in each.objects
            if item.relation == relation
        ]
        yield from _collapse(relation, sizes, relation)


def _collapse(subject: str, sizes: Sequence[tuple[int, int]], suspects: str) -> Iterator[Finding]:
    """Whether what is stored became more of what was dumped; sizes (stored, plain) in bytes, the newest first."""
    shares = [stored / plain for stored, plain in sizes if plain]
    if not sizes or not sizes[0][1] or len(shares) <= HISTORY_MINIMUM:
        return
    now, before = shares[0], shares[1:]
    usual = median(before)
    if now > STORED_WARNING * usual and is_outlier(now, before, allowed_share=STORED_WARNING - 1):
        yield alarm(
            now > STORED_CRITICAL * usual,
            "compression_collapsed",
            subject,
            now=Share(now),
            usual=Share(usual),
            suspects=suspects,
        )


def _comes_of_new_tables(nights: Sequence[Night], sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether tables that were not there before are what does not compress: photographs, not ransom.

    Then all that is stored more than usual fits into what the dump grew by, even if nothing of that compressed, and
    what was there has kept its rows, but for a tenth of them. Only fingerprints of the content can tell that.
    """
    newest, older = nights[0], [night for night in nights[1:] if night.tables is not None]
    if newest.tables is None or len(older) < HISTORY_MINIMUM or len(sizes) <= HISTORY_MINIMUM:
        return False

    def had(night: Night, name: str) -> int:
        return 0 if (table := (night.tables or {}).get(name)) is None else table.rows

    new = [
        name
        for name, table in newest.tables.items()
        if table.rows and 2 * sum(not had(night, name) for night in older) > len(older)
    ]
    before = next((night for night in older if not any(had(night, name) for name in new)), None)
    if not new or before is None or not (newest.knows_rows and before.knows_rows):
        return False
    there = {name: table.rows for name, table in (before.tables or {}).items()}
    lost = sum(rows for name, rows in there.items() if name not in newest.tables)
    others = sum(there.get(name, 0) for name in changed_lately([newest, before]))
    usual = median(stored / plain for stored, plain in sizes[1:] if plain)
    dumped = before.backup.manifest.plain_bytes
    more_stored = newest.backup.manifest.stored_bytes - STORED_WARNING * usual * dumped
    grown = newest.backup.manifest.plain_bytes - dumped
    return more_stored <= grown and lost + others <= OTHER_ROWS_SHARE * sum(there.values())


def _durations(nights: Sequence[Night]) -> Iterator[Finding]:
    """Drift, not one slow night: that one the objective judges."""
    seconds = [night.backup.manifest.duration_seconds for night in nights]
    recent, before = seconds[:SLOWER_COUNT], seconds[SLOWER_COUNT:]
    if len(before) < HISTORY_MINIMUM:
        return
    now, usual = median(recent), median(before)
    if now > SLOWER_FACTOR * usual and now - usual > SLOWER_SECONDS and is_outlier(now, before):
        yield warning("slower", count=len(recent), now=Seconds(now), usual=Seconds(round(usual)))


def _contents(nights: Sequence[Night]) -> Iterator[Finding]:
    newest = nights[0].tables
    if newest is None:
        return
    known = [night for night in nights if night.tables is not None]
    names = sorted({name for night in known for name in night.tables or {}})
    for name in names:
        series = [None if night.tables is None else night.tables.get(name) for night in known]
        yield from _table(name, series, known)
    yield from rewritten(names, [night for night in known if night.knows_rows])


def _table(
    name: str, series: Sequence[TableFingerprint | None], nights: Sequence[Night]
) -> Iterator[Finding]:
    """One table over the nights, newest first; None where it was not there."""
    rows = [None if table is None else table.rows for table in series]
    if not rows[0]:
        yield from _lost(name, rows, nights)
        return
    newest = series[0]
    assert newest is not None
    before = [each for each in rows[1:] if each is not None]
    if is_outlier(rows[0], before) and median(before) > 0:
        usual = median(before)
        shrank = rows[0] < usual
        alarming = shrank and rows[0] < ALARMING_SHARE * usual and usual >= SMALL_TABLE_ROWS
        # A table that doubled from three rows to six is nobody's news.
        if abs(rows[0] - usual) >= max(5, ALLOWED_SHARE * usual):
            yield alarm(
                alarming,
                "table_shrank" if shrank else "table_grew",
                name,
                table=name,
                now=rows[0],
                usual=round(usual),
                count=len(before),
            )
    earlier = [table for table in series[1:] if table is not None]
    yield from _nulls(name, newest, earlier)


def _lost(name: str, rows: Sequence[int | None], nights: Sequence[Night]) -> Iterator[Finding]:
    """A table that is empty or gone now and never was before.

    One that is emptied now and then is left alone, and one that only has another name.
    """
    since = next((number for number, each in enumerate(rows) if each), len(rows))
    earlier = [each for each in rows[since:] if each is not None]
    if not earlier or 0 in earlier or since > NEWS_COUNT:
        return
    gone = rows[0] is None
    if gone and new_name(name, nights[since].tables or {}, nights[since - 1].tables or {}):
        return
    usual = round(median(earlier))
    # One night of history is enough to say it, not to raise the alarm.
    sure = len(earlier) >= HISTORY_MINIMUM and (not gone or usual >= SMALL_TABLE_ROWS)
    yield alarm(
        sure,
        "table_gone" if gone else "table_emptied",
        name,
        nights[since - 1].backup.as_of,
        table=name,
        usual=usual,
        day=nights[since - 1].day,
    )


def _nulls(name: str, newest: TableFingerprint, before: Sequence[TableFingerprint]) -> Iterator[Finding]:
    """Columns whose values vanished, or appeared where there was none."""
    if newest.rows < NULLS_ROWS:
        return
    for column, filled in newest.non_null.items():
        empty = 1 - filled / newest.rows
        earlier = [
            1 - table.non_null[column] / table.rows
            for table in before
            if table.rows >= NULLS_ROWS and column in table.non_null
        ]
        if not is_outlier(empty, earlier, allowed_share=0.0) or abs(empty - median(earlier)) < NULLS_WARNING:
            continue
        usual = median(earlier)
        vanished = empty > usual
        yield alarm(
            vanished and abs(empty - usual) >= NULLS_CRITICAL,
            "values_vanished" if vanished else "values_appeared",
            f"{name}.{column}",
            table=name,
            column=column,
            now=Share(empty),
            usual=Share(usual),
        )


def _stopped_checks(catalog: Catalog, dumps: Sequence[Backup], now: datetime) -> Iterator[Finding]:
    """Drills that used to come and do not any more; verifications and fingerprints that the newest backup lacks."""
    times: dict[str, list[datetime]] = {}
    for each in drill_records(catalog):
        if not is_of_the_future(each.checked_at, now):  # the last one must not be of the future
            times.setdefault(each.scenario, []).append(each.checked_at)
    for scenario, at in sorted(times.items()):
        pauses = [(after - before).total_seconds() for before, after in pairwise(at)]
        # Drills of one evening, somebody trying things out, are no rhythm.
        regular = [pause for pause in pauses if pause >= DRILL_PAUSE_SECONDS]
        if len(regular) < 2:
            continue
        usual = median(regular)
        if (now - at[-1]).total_seconds() > DRILL_PAUSE_FACTOR * usual:
            yield warning(
                "drill_stopped",
                scenario,
                at[-1],
                scenario=scenario_name(scenario),
                day=at[-1].date().isoformat(),
                usual=Seconds(usual),
            )
    if len(dumps) < 2:
        return
    newest, *before = dumps[: HISTORY_COUNT + 1]
    # One that is just being verified is not yet known to be good.
    waited = now - newest.manifest.taken_at
    if (
        not newest.checks
        and all(each.checks for each in before)
        and waited.total_seconds() > UNVERIFIED_SECONDS
    ):
        yield critical("verifying_stopped", backup_id=newest.backup_id)
    if not _tells(newest.manifest):
        return  # whether it has a fingerprint is not known
    levels = [_level(each) for each in before[:NEWS_COUNT] if _tells(each.manifest)]
    usual_level = max(levels, key=_LEVELS.index, default="off")
    if _LEVELS.index(_level(newest)) < _LEVELS.index(usual_level):
        yield warning(
            "fingerprint_stopped",
            backup_id=newest.backup_id,
            now=_level(newest),
            usual=usual_level,
        )


def _tells(manifest: Manifest) -> bool:
    """Whether what it says of the content can be read: it is not sealed, or a key at hand opens it."""
    try:
        return not manifest.is_closed
    except DamagedData:
        return False


def _level(backup: Backup) -> str:
    level = str((backup.manifest.fingerprint or {}).get("level", "off"))
    return level if level in _LEVELS else "off"
