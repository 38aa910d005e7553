"""Anomalies: what is far from the recent history, though every single step succeeded. Pure.

A backup can be whole, quick and young, and hold a database that somebody emptied or encrypted. What was dumped is
therefore compared with the backups before it, by median and median absolute deviation, which a few odd nights do not
move. What a change makes normal is accepted after about a week of backups; until then it is said.

A fingerprint holds one sum for all rows of a table: it tells *that* rows changed, not how many. An encrypted table is
seen by what encryption cannot hide: cipher text does not compress, tables that never change all change at once, values
appear where there was none. See docs/health.md for what that finds and what it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.document import a_map
from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.health.issues import Issue, Level, name_of
from recyclic_backups.health.rehearsals import rehearsed
from recyclic_backups.health.wording import Code, ScenarioName, Statement
from recyclic_backups.languages import Bytes as Size
from recyclic_backups.languages import Seconds, Share

HISTORY_COUNT = 14
"""With how many earlier backups the newest is compared: a change is news for about half as many nights."""

HISTORY_MINIMUM = 5
"""With fewer there is no history to compare with."""

NEWS_COUNT = 7
"""For so many backups an emptied table is news; then it is how it is."""

# The modified z-score of Iglewicz and Hoaglin ("How to Detect and Handle Outliers", ASQC, 1993): 1.4826 makes
# the median absolute deviation comparable with a standard deviation, and 3.5 of those mark an outlier.
_OUTLIER_DEVIATIONS = 3.5 * 1.4826
_ALLOWED_SHARE = 0.1  # nights that are all alike have no deviation at all
_ALARMING_SHARE = 0.5  # half of a table does not go by itself
_SMALL_TABLE_ROWS = 100  # below, rows come and go by hand: worth a warning, no alarm

# What is stored of what was dumped hardly moves from night to night: a twentieth more of it is a lot.
_COLLAPSE_WARNING = 1.05
_COLLAPSE_CRITICAL = 1.3

_REWRITTEN_MINIMUM = 3  # tables that never change, changed together: one or two may have been edited
_NULLS_CHANGED = 0.25  # of a table's rows, in one column
_NULLS_ALARMING = 0.9
_NULLS_MINIMUM_ROWS = 20

_DRIFT_FACTOR = 1.5
_DRIFT_COUNT = 3
_DRIFT_SECONDS = 60.0

_STOPPED_FACTOR = 2.5
_LEVELS = ("off", "counts", "content")
_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Night:
    """One backup's figures. ``tables`` is None where it has no fingerprint that can be read."""

    backup: Backup
    tables: Mapping[str, TableFingerprint] | None

    @property
    def day(self) -> str:
        """The day of its content, as its backup id says it (UTC)."""
        return self.backup.as_of.date().isoformat()


def anomalies(catalog: Catalog, now: datetime) -> tuple[Issue, ...]:
    """Everything in which the newest good backup, or what was asked of backups lately, is unlike the recent history.

    Nothing while there are too few backups to compare with, but for emptied tables, which need only one.
    """
    dumps = [each for each in catalog if each.manifest.kind == "dump" and each.manifest.source != "adopted"]
    found = list(_stopped_checks(catalog, dumps, now))
    good = [each for each in dumps if each.good][: HISTORY_COUNT + 1]
    if good:
        nights = [_Night(each, _tables(each)) for each in good]
        for night in nights:
            level = (night.backup.manifest.fingerprint or {}).get("level", "off")
            if night.tables is None and level != "off":
                found.append(
                    _found(Code.FINGERPRINT_UNREADABLE, Level.WARNING, backup_id=night.backup.backup_id)
                )
        found += _sizes(nights)
        found += _compression(nights)
        found += _durations(nights)
        found += _contents(nights)
    return tuple(found)


def is_outlier(value: float, history: Sequence[float], *, allowed_share: float = _ALLOWED_SHARE) -> bool:
    """Whether a value is far from the history, in either direction. Without enough history nothing is."""
    if len(history) < HISTORY_MINIMUM:
        return False
    middle = median(history)
    deviation = median(abs(each - middle) for each in history)
    return abs(value - middle) > max(_OUTLIER_DEVIATIONS * deviation, allowed_share * abs(middle))


def _tables(backup: Backup) -> Mapping[str, TableFingerprint] | None:
    document = backup.manifest.fingerprint
    if document is None or document.get("level") == "off":
        return None
    try:
        return a_map(document.get("tables"), TableFingerprint.from_json)
    except DamagedData:
        return None  # said above, once for the backup


def _found(code: Code, level: Level, subject: str = "", **values: object) -> Issue:
    return Issue(name_of(code), level, Statement(code, values), subject, anomaly=True)


def _sizes(nights: Sequence[_Night]) -> Iterator[Issue]:
    now, *before = [night.backup.manifest.plain_bytes for night in nights]
    if not is_outlier(now, before):
        return
    usual = median(before)
    code = Code.DUMP_SHRANK if now < usual else Code.DUMP_GREW
    alarming = now < _ALARMING_SHARE * usual
    yield _found(
        code,
        Level.CRITICAL if alarming else Level.WARNING,
        now=Size(now),
        usual=Size(usual),
        count=len(before),
    )


def _compression(nights: Sequence[_Night]) -> Iterator[Issue]:
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
    yield from _collapse("", whole, _listed(_changed_in_place(nights)))
    for relation in sorted({item.relation for item in newest.objects if item.relation is not None}):
        sizes = [
            (item.stored_bytes, item.plain_bytes)
            for each in alike
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
        yield _found(
            Code.COMPRESSION_COLLAPSED,
            Level.CRITICAL if now > _COLLAPSE_CRITICAL * usual else Level.WARNING,
            subject,
            now=Share(now),
            usual=Share(usual),
            suspects=suspects,
        )


def _changed_in_place(nights: Sequence[_Night]) -> list[str]:
    """Tables whose content is another than the night before though they have as many rows, the largest first."""
    if len(nights) < 2 or nights[0].tables is None or nights[1].tables is None:
        return []
    now, before = nights[0].tables, nights[1].tables
    changed = [
        name
        for name, table in now.items()
        if name in before
        and table.rows == before[name].rows > 0
        and table.content is not None
        and before[name].content is not None
        and table.content != before[name].content
    ]
    return sorted(changed, key=lambda name: (-now[name].rows, name))


def _durations(nights: Sequence[_Night]) -> Iterator[Issue]:
    """Drift, not one slow night: that one the objective judges."""
    seconds = [night.backup.manifest.duration_seconds for night in nights]
    recent, before = seconds[:_DRIFT_COUNT], seconds[_DRIFT_COUNT:]
    if len(before) < HISTORY_MINIMUM:
        return
    now, usual = median(recent), median(before)
    if now > _DRIFT_FACTOR * usual and now - usual > _DRIFT_SECONDS and is_outlier(now, before):
        yield _found(
            Code.SLOWER, Level.WARNING, count=len(recent), now=Seconds(now), usual=Seconds(round(usual))
        )


def _contents(nights: Sequence[_Night]) -> Iterator[Issue]:
    newest = nights[0].tables
    if newest is None:
        return
    known = [night for night in nights if night.tables is not None]
    names = sorted({name for night in known for name in night.tables or {}})
    for name in names:
        series = [None if night.tables is None else night.tables.get(name) for night in known]
        yield from _table(name, series, known)
    yield from _rewritten(names, known)


def _table(name: str, series: Sequence[TableFingerprint | None], nights: Sequence[_Night]) -> Iterator[Issue]:
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
        alarming = shrank and rows[0] < _ALARMING_SHARE * usual and usual >= _SMALL_TABLE_ROWS
        # A table that doubled from three rows to six is nobody's news.
        if abs(rows[0] - usual) >= max(5, _ALLOWED_SHARE * usual):
            yield _found(
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


def _lost(name: str, rows: Sequence[int | None], nights: Sequence[_Night]) -> Iterator[Issue]:
    """A table that is empty or gone now and never was before. One that is emptied now and then is left alone."""
    since = next((number for number, each in enumerate(rows) if each), len(rows))
    earlier = [each for each in rows[since:] if each is not None]
    if not earlier or 0 in earlier or since > NEWS_COUNT:
        return
    gone = rows[0] is None
    usual = round(median(earlier))
    # One night of history is enough to say it, not to raise the alarm.
    sure = len(earlier) >= HISTORY_MINIMUM and (not gone or usual >= _SMALL_TABLE_ROWS)
    yield _found(
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
        yield _found(
            Code.VALUES_VANISHED if vanished else Code.VALUES_APPEARED,
            Level.CRITICAL if vanished and abs(empty - usual) >= _NULLS_ALARMING else Level.WARNING,
            f"{name}.{column}",
            table=name,
            column=column,
            now=Share(empty),
            usual=Share(usual),
        )


def _rewritten(names: Sequence[str], nights: Sequence[_Night]) -> Iterator[Issue]:
    """Tables that never changed and changed together, in place: nobody edits all of them in one night."""
    steps = list(pairwise(nights))
    for number, (after, before) in enumerate(steps[:NEWS_COUNT]):
        older = nights[number + 1 :]
        if len(older) < HISTORY_MINIMUM:
            return
        quiet = [name for name in names if _stood_still(name, older)]
        changed = [name for name in quiet if _is_changed(name, after, before)]
        if len(changed) >= _REWRITTEN_MINIMUM and 2 * len(changed) > len(quiet):
            yield _found(
                Code.TABLES_REWRITTEN,
                Level.CRITICAL,
                changed=len(changed),
                quiet=len(quiet),
                since=after.day,
                tables=_listed(changed),
            )
            return


def _stood_still(name: str, nights: Sequence[_Night]) -> bool:
    tables = [(night.tables or {}).get(name) for night in nights]
    contents = {None if table is None else table.content for table in tables}
    return len(contents) == 1 and None not in contents and tables[0] is not None and tables[0].rows > 0


def _is_changed(name: str, after: _Night, before: _Night) -> bool:
    now, then = (after.tables or {}).get(name), (before.tables or {}).get(name)
    return (
        now is not None
        and then is not None
        and now.rows == then.rows
        and now.content is not None
        and now.content != then.content
    )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "-"
    more = f" … (+{len(names) - _NAMED})" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _stopped_checks(catalog: Catalog, dumps: Sequence[Backup], now: datetime) -> Iterator[Issue]:
    """Drills that used to come and do not any more; verifications and fingerprints that the newest backup lacks."""
    times: dict[str, list[datetime]] = {}
    for each in rehearsed(catalog):
        times.setdefault(each.scenario, []).append(each.checked_at)
    for scenario, at in sorted(times.items()):
        pauses = [(after - before).total_seconds() for before, after in pairwise(at)]
        # Drills of one evening, somebody trying things out, are no rhythm.
        regular = [pause for pause in pauses if pause >= timedelta(hours=12).total_seconds()]
        if len(regular) < 2:
            continue
        usual = median(regular)
        if (now - at[-1]).total_seconds() > _STOPPED_FACTOR * usual:
            yield _found(
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
        yield _found(Code.VERIFYING_STOPPED, Level.CRITICAL, backup_id=newest.backup_id)
    levels = [_level(each) for each in before[:NEWS_COUNT]]
    usual_level = max(levels, key=_LEVELS.index)
    if _LEVELS.index(_level(newest)) < _LEVELS.index(usual_level):
        yield _found(
            Code.FINGERPRINT_STOPPED,
            Level.WARNING,
            backup_id=newest.backup_id,
            now=_level(newest),
            usual=usual_level,
        )


def _level(backup: Backup) -> str:
    level = str((backup.manifest.fingerprint or {}).get("level", "off"))
    return level if level in _LEVELS else "off"
