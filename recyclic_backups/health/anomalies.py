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
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from recyclic_backups.catalog.catalog import Backup, Catalog, is_of_the_future
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.fingerprint.sketch import new_name
from recyclic_backups.health.history import HISTORY_COUNT, NEWS_COUNT, SMALL_TABLE_ROWS, Night, anomaly
from recyclic_backups.health.issues import Issue, Level, name_of, warning
from recyclic_backups.health.outliers import (
    ALARMING_SHARE,
    ALLOWED_SHARE,
    HISTORY_MINIMUM,
    Usual,
    is_outlier,
)
from recyclic_backups.health.rehearsals import rehearsed
from recyclic_backups.health.rewriting import changed_lately, listed, rewritten
from recyclic_backups.health.wording import Code, ScenarioName
from recyclic_backups.languages import Bytes as Size
from recyclic_backups.languages import Seconds, Share

# What is stored of what was dumped hardly moves from night to night: a twentieth more of it is a lot.
_COLLAPSE_WARNING = 1.05
_COLLAPSE_CRITICAL = 1.3

_OTHERS_SHARE = 0.1  # of all rows that were there: so many may be others while new tables explain the rest

_NULLS_CHANGED = 0.25  # of a table's rows, in one column
_NULLS_ALARMING = 0.9
_NULLS_MINIMUM_ROWS = 20

_DRIFT_FACTOR = 1.5
_DRIFT_COUNT = 3
_DRIFT_SECONDS = 60.0

# Anomalies by which nothing is lost.
_MORE_THAN_BEFORE = frozenset(map(name_of, (Code.TABLE_GREW, Code.VALUES_APPEARED)))

# What a fingerprint of counts cannot see.
_OTHER_ROWS = frozenset(map(name_of, (Code.TABLE_REWRITTEN, Code.TABLE_CONVERTED, Code.TABLES_REWRITTEN)))

_STOPPED_FACTOR = 2.5
_LEVELS = ("off", "counts", "content")


def anomalies(catalog: Catalog, now: datetime) -> tuple[Issue, ...]:
    """Everything in which the newest good backup, or what was asked of backups lately, is unlike the recent history.

    Nothing while there are too few backups to compare with, but for emptied tables, which need only one.
    """
    dumps = _dumps(catalog)
    found = list(_stopped_checks(catalog, dumps, now))
    good = [each for each in dumps if each.good][: HISTORY_COUNT + 1]
    if good:
        nights = [Night.of(each) for each in good]
        if closed := [night for night in nights if night.closed]:
            found.append(warning(Code.CONTENT_SEALED, count=len(closed)))
        for night in nights:
            if night.unreadable:
                found.append(
                    anomaly(Code.FINGERPRINT_UNREADABLE, Level.WARNING, backup_id=night.backup.backup_id)
                )
        found += _sizes(nights)
        found += _compression(nights)
        found += _durations(nights)
        found += _contents(nights)
    return tuple(found)


def newest_ordinary(catalog: Catalog) -> tuple[Backup, tuple[Issue, ...]] | None:
    """The newest good backup that lacks nothing its predecessors had, and what the next one lacked.

    None if the newest of all is such a one, or none is. A backup whose fingerprint cannot tell whether it lacks
    that is passed over: it may be of the accident too.
    """
    good = [each for each in _dumps(catalog) if each.good][: NEWS_COUNT + HISTORY_COUNT + 1]
    nights = [Night.of(each) for each in good]
    lacking: tuple[Issue, ...] = ()
    for number in range(min(NEWS_COUNT + 1, len(nights))):
        issues = _contents(nights[number : number + HISTORY_COUNT + 1])
        found = tuple(each for each in issues if each.name not in _MORE_THAN_BEFORE)
        if found:
            lacking = found
        elif _would_tell(nights[number], lacking):
            return (good[number], lacking) if lacking else None
    return None


def _would_tell(night: Night, lacking: Sequence[Issue]) -> bool:
    """Whether its fingerprint would show what the next one lacks, if it lacked that too."""
    return night.knows_rows or (
        night.tables is not None and not any(each.name in _OTHER_ROWS for each in lacking)
    )


def _dumps(catalog: Catalog) -> list[Backup]:
    return [each for each in catalog if each.manifest.kind == "dump" and each.manifest.source != "adopted"]


def _sizes(nights: Sequence[Night]) -> Iterator[Issue]:
    now, *before = [night.backup.manifest.plain_bytes for night in nights]
    known = Usual.of(before)
    if known is None or not known.is_far(now):
        return
    usual = known.median
    code = Code.DUMP_SHRANK if now < usual else Code.DUMP_GREW
    alarming = now < ALARMING_SHARE * usual
    yield anomaly(
        code,
        Level.CRITICAL if alarming else Level.WARNING,
        now=Size(now),
        usual=Size(usual),
        count=len(before),
    )


def _compression(nights: Sequence[Night]) -> Iterator[Issue]:
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


def _collapse(subject: str, sizes: Sequence[tuple[int, int]], suspects: str) -> Iterator[Issue]:
    """Whether what is stored became more of what was dumped; sizes (stored, plain) in bytes, the newest first."""
    shares = [stored / plain for stored, plain in sizes if plain]
    if not sizes or not sizes[0][1] or len(shares) <= HISTORY_MINIMUM:
        return
    now, before = shares[0], shares[1:]
    usual = median(before)
    if now > _COLLAPSE_WARNING * usual and is_outlier(now, before, allowed_share=_COLLAPSE_WARNING - 1):
        yield anomaly(
            Code.COMPRESSION_COLLAPSED,
            Level.CRITICAL if now > _COLLAPSE_CRITICAL * usual else Level.WARNING,
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
    more_stored = newest.backup.manifest.stored_bytes - _COLLAPSE_WARNING * usual * dumped
    grown = newest.backup.manifest.plain_bytes - dumped
    return more_stored <= grown and lost + others <= _OTHERS_SHARE * sum(there.values())


def _durations(nights: Sequence[Night]) -> Iterator[Issue]:
    """Drift, not one slow night: that one the objective judges."""
    seconds = [night.backup.manifest.duration_seconds for night in nights]
    recent, before = seconds[:_DRIFT_COUNT], seconds[_DRIFT_COUNT:]
    if len(before) < HISTORY_MINIMUM:
        return
    now, usual = median(recent), median(before)
    if now > _DRIFT_FACTOR * usual and now - usual > _DRIFT_SECONDS and is_outlier(now, before):
        yield anomaly(
            Code.SLOWER, Level.WARNING, count=len(recent), now=Seconds(now), usual=Seconds(round(usual))
        )


def _contents(nights: Sequence[Night]) -> Iterator[Issue]:
    newest = nights[0].tables
    if newest is None:
        return
    known = [night for night in nights if night.tables is not None]
    names = sorted({name for night in known for name in night.tables or {}})
    for name in names:
        series = [None if night.tables is None else night.tables.get(name) for night in known]
        yield from _table(name, series, known)
    yield from rewritten(names, [night for night in known if night.knows_rows])


def _table(name: str, series: Sequence[TableFingerprint | None], nights: Sequence[Night]) -> Iterator[Issue]:
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
            yield anomaly(
                Code.TABLE_SHRANK if shrank else Code.TABLE_GREW,
                Level.CRITICAL if alarming else Level.WARNING,
                name,
                table=name,
                now=rows[0],
                usual=round(usual),
                count=len(before),
            )
    earlier = [table for table in series[1:] if table is not None]
    yield from _nulls(name, newest, earlier)


def _lost(name: str, rows: Sequence[int | None], nights: Sequence[Night]) -> Iterator[Issue]:
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
    yield anomaly(
        Code.TABLE_GONE if gone else Code.TABLE_EMPTIED,
        Level.CRITICAL if sure else Level.WARNING,
        name,
        table=name,
        usual=usual,
        since=nights[since - 1].day,
    )


def _nulls(name: str, newest: TableFingerprint, before: Sequence[TableFingerprint]) -> Iterator[Issue]:
    """Columns whose values vanished, or appeared where there was none."""
    if newest.rows < _NULLS_MINIMUM_ROWS:
        return
    for column, filled in newest.non_null.items():
        empty = 1 - filled / newest.rows
        earlier = [
            1 - table.non_null[column] / table.rows
            for table in before
            if table.rows >= _NULLS_MINIMUM_ROWS and column in table.non_null
        ]
        if not is_outlier(empty, earlier, allowed_share=0.0) or abs(empty - median(earlier)) < _NULLS_CHANGED:
            continue
        usual = median(earlier)
        vanished = empty > usual
        yield anomaly(
            Code.VALUES_VANISHED if vanished else Code.VALUES_APPEARED,
            Level.CRITICAL if vanished and abs(empty - usual) >= _NULLS_ALARMING else Level.WARNING,
            f"{name}.{column}",
            table=name,
            column=column,
            now=Share(empty),
            usual=Share(usual),
        )


def _stopped_checks(catalog: Catalog, dumps: Sequence[Backup], now: datetime) -> Iterator[Issue]:
    """Drills that used to come and do not any more; verifications and fingerprints that the newest backup lacks."""
    times: dict[str, list[datetime]] = {}
    for each in rehearsed(catalog):
        if not is_of_the_future(each.checked_at, now):  # the last one must not be of the future
            times.setdefault(each.scenario, []).append(each.checked_at)
    for scenario, at in sorted(times.items()):
        pauses = [(after - before).total_seconds() for before, after in pairwise(at)]
        # Drills of one evening, somebody trying things out, are no rhythm.
        regular = [pause for pause in pauses if pause >= timedelta(hours=12).total_seconds()]
        if len(regular) < 2:
            continue
        usual = median(regular)
        if (now - at[-1]).total_seconds() > _STOPPED_FACTOR * usual:
            yield anomaly(
                Code.DRILL_STOPPED,
                Level.WARNING,
                scenario,
                scenario=ScenarioName(scenario),
                since=at[-1].date().isoformat(),
                usual=Seconds(usual),
            )
    if len(dumps) < 2:
        return
    newest, *before = dumps[: HISTORY_COUNT + 1]
    # One that is just being verified is not yet known to be good.
    waited = now - newest.manifest.taken_at
    if not newest.checks and all(each.checks for each in before) and waited > timedelta(hours=6):
        yield anomaly(Code.VERIFYING_STOPPED, Level.CRITICAL, backup_id=newest.backup_id)
    if not _tells(newest.manifest):
        return  # whether it has a fingerprint is not known
    levels = [_level(each) for each in before[:NEWS_COUNT] if _tells(each.manifest)]
    usual_level = max(levels, key=_LEVELS.index, default="off")
    if _LEVELS.index(_level(newest)) < _LEVELS.index(usual_level):
        yield anomaly(
            Code.FINGERPRINT_STOPPED,
            Level.WARNING,
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
