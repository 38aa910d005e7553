"""What a live database has lost since its backup, beyond what the days between explain. Pure.

Rows come and go every day, so a smaller number alone says nothing. What a table usually loses in a day is read
off the fingerprints of earlier backups (:func:`usual_loss`); only what goes beyond is a loss. Growth never is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, TypeAlias

from recyclic_backups.fingerprint.model import Fingerprint, SequenceReading, TableFingerprint
from recyclic_backups.fingerprint.replayed import LOGGED_AHEAD
from recyclic_backups.fingerprint.sketch import REWRITTEN_SHARE, new_name, overlap
from recyclic_backups.postgres.names import some
from recyclic_backups.quantities import counted

LossKind: TypeAlias = Literal["table", "rows", "rewritten", "column", "values", "sequence", "large_objects"]
Series: TypeAlias = Sequence[tuple[datetime, int]]

_DAY = timedelta(days=1)
NOTABLE_SHARE = 0.05
"""By how much of all rows a column may lack more values than ever before without a remark."""

_STEPS_KNOWN = 4  # from one backup to the next, before it is known how many rows usually stay


@dataclass(frozen=True, slots=True)
class Dated:
    """What a database contained at ``as_of`` (aware UTC).

    ``sequences_ahead``: a standby said where sequences stand, and may have said up to :data:`LOGGED_AHEAD` too many.
    """

    as_of: datetime
    fingerprint: Fingerprint
    sequences_ahead: bool = False


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """What it contains now. ``unread`` are tables and sequences that are there and could not be read."""

    tables: Mapping[str, TableFingerprint]
    sequences: Mapping[str, SequenceReading] = field(default_factory=dict)
    large_objects: int | None = None
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss, in a sentence. ``name`` is a table's or sequence's; ``expected`` were in the backup, ``found`` are now.

    For a sequence they are the values that come next, for rewritten rows ``found`` are about those that stayed.
    """

    kind: LossKind
    name: str
    sentence: str
    expected: int
    found: int
    column: str | None = None

    @property
    def lost(self) -> int:
        """How many rows, values or objects are missing."""
        return max(self.expected - self.found, 0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Losses, in the order of names; ``notes`` are what may be one and may as well be ordinary life."""

    losses: tuple[Loss, ...]
    notes: tuple[str, ...] = ()


def find_losses(base: Dated, live: LiveFigures, history: Sequence[Dated], now: datetime) -> Judgement:
    """Compare the live figures with a backup's; ``history`` are earlier backups, in any order.

    A table or column that never shrank in history has no allowance, one without history neither. The same
    backup may be in ``history``: it counts once.
    """
    past = sorted({each.as_of: each for each in (*history, base)}.values(), key=lambda each: each.as_of)
    comparison = LossComparison(
        base.fingerprint, live, [each for each in past if each.as_of <= base.as_of], base, now
    )
    losses: list[Loss] = []
    for name in sorted(base.fingerprint.tables):
        losses += comparison.table(name)
    losses += comparison.large_objects()
    losses += comparison.sequences({loss.name for loss in losses if loss.kind == "table"})
    return Judgement(tuple(losses), (*comparison.said_once(), *comparison.notes))


def usual_loss(series: Series) -> float:
    """The share of a count that may go in a day (0 to 1), from what it was at earlier moments, oldest first.

    It is the largest shrink of a day seen so far, but at most twice the second largest, and nothing if there
    was only one: an accident of the past, or its cleaning up, does not become what is usual. Backups closer
    together than a day count as a day apart, because a nightly clean-up falls between two of them at once.
    """
    shrinks = sorted(
        (
            1 - (after / before) ** (1 / max((then - first) / _DAY, 1.0))
            for (first, before), (then, after) in pairwise(series)
            if after < before
        ),
        reverse=True,
    )
    return min(shrinks[0], 2 * shrinks[1]) if len(shrinks) > 1 else 0.0


def least_expected(count: int, usual: float, elapsed: timedelta) -> int:
    """How many of ``count`` must at least be left: ``usual`` may go on each day begun, and at least on one."""
    days = max(math.ceil(elapsed / _DAY), 1)
    return math.floor(count * (1 - usual) ** days)


class LossComparison:
    """The evidence, and a verdict on each table."""

    def __init__(
        self, then: Fingerprint, live: LiveFigures, past: Sequence[Dated], base: Dated, now: datetime
    ) -> None:
        self.then = then
        self.live = live
        self.past = past
        self.elapsed = now - base.as_of
        self.steps_ahead = LOGGED_AHEAD if base.sequences_ahead else 0
        self.notes: list[str] = []
        self.without_history: set[str] = set()

    def table(self, name: str) -> Iterator[Loss]:
        """What one table of the backup has lost."""
        then, now = self.then.tables[name], self.live.tables.get(name)
        if name in self.live.unread:
            return
        if now is None:
            if self._partition_that_usually_goes(name):
                self.notes.append(f"partition {name} is gone, as others of its table before")
                return
            sentence = f"the table is missing; it had {counted(then.rows, 'row')}"
            if renamed := new_name(name, self.then.tables, self.live.tables):
                sentence += f", most of which are in {renamed} now: it may only have another name"
            yield Loss("table", name, sentence, then.rows, 0)
            return
        series = [(each.as_of, each.fingerprint.tables[name].rows) for each in self._with(name)]
        if now.rows < least_expected(then.rows, usual_loss(series), self.elapsed):
            gone = counted(then.rows - now.rows, "row")
            sentence = (
                f"{gone} fewer than in the backup ({then.rows} then, {now.rows} now){self._history(name)}"
            )
            yield Loss("rows", name, sentence, then.rows, now.rows)
        yield from self._rewritten(name, then, now)
        for column, values in sorted(then.non_null.items()):
            if column not in now.non_null:
                sentence = f"column {column} is missing; it had {counted(values, 'value')}"
                yield Loss("column", name, sentence, values, 0, column)
            else:
                yield from self._values(name, column, then, now)

    def _rewritten(self, name: str, then: TableFingerprint, now: TableFingerprint) -> Iterator[Loss]:
        """Rows that became others, far more of them than ever did from one backup to the next."""
        stayed = overlap(then, now)
        if stayed is None or stayed >= REWRITTEN_SHARE:
            return
        tables = [each.fingerprint.tables[name] for each in self._with(name)]
        known = [share for pair in pairwise(tables) if (share := overlap(*pair)) is not None]
        if stayed >= REWRITTEN_SHARE * min(known, default=1.0) ** self._days:
            return
        others = f"{100 * (1 - stayed):.0f} % of the rows are others than in the backup"
        if not then.is_alike(now):
            self.notes.append(f"{name}: {others}; the types of its columns are too")
            return
        if len(known) < _STEPS_KNOWN:
            self.notes.append(f"{name}: {others}; too few backups tell how many usually stay")
            return
        sentence = (
            f"{others}, and from one backup to the next it was {100 * (1 - min(known)):.0f} % at most: "
            "an UPDATE without its WHERE, or somebody encrypted them"
        )
        yield Loss("rewritten", name, sentence, then.rows, round(stayed * min(then.rows, now.rows)))

    def _values(
        self, name: str, column: str, then: TableFingerprint, now: TableFingerprint
    ) -> Iterator[Loss]:
        before, after = then.non_null[column], now.non_null[column]
        series = [
            (each.as_of, table.non_null[column], table.rows)
            for each in self._with(name)
            if column in (table := each.fingerprint.tables[name]).non_null
        ]
        usual = least_expected(before, usual_loss([each[:2] for each in series]), self.elapsed)
        # Each row that is gone may have taken a value with it: that is the loss of rows, reported or usual.
        with_rows_gone = before - max(then.rows - now.rows, 0)
        shares = f"{_percent(before, then.rows)} of rows had one, {_percent(after, now.rows)} have"
        if after < min(usual, with_rows_gone):
            sentence = (
                f"column {column} has {counted(before - after, 'value')} fewer than in the backup "
                f"({before} then, {after} now; {shares}){self._history(name)}"
            )
            yield Loss("values", name, sentence, before, after, column)
            return
        lowest = min((values / rows for _, values, rows in series if rows), default=0.0)
        if len(series) > 1 and now.rows and after / now.rows < lowest - NOTABLE_SHARE:
            self.notes.append(
                f"{name}.{column}: {shares}, fewer than ever before; newer rows may have come without, "
                "or older ones have lost theirs"
            )

    def sequences(self, missing_tables: set[str]) -> Iterator[Loss]:
        """Sequences that are gone or went back; those of missing tables are gone with them."""
        for name, item in sorted(self.then.sequences.items()):
            then = item.after or item.before
            if then is None or item.owned_by in missing_tables or name in self.live.unread:
                continue
            now = self.live.sequences.get(name)
            if now is None:
                yield Loss("sequence", name, "the sequence is missing", then.next_value, 0)
                continue
            comparable = not (then.cycles or now.cycles) and then.increment * now.increment > 0
            back = (then.next_value - now.next_value) * (1 if then.increment > 0 else -1)
            if comparable and back > self.steps_ahead * abs(then.increment):
                sentence = (
                    f"the sequence went back: it gives {now.next_value} next, and gave {then.next_value} "
                    "next when the backup was taken; numbers would be given twice"
                )
                yield Loss("sequence", name, sentence, then.next_value, now.next_value)

    def large_objects(self) -> Iterator[Loss]:
        """Large objects, as a number of all."""
        then, now = self.then.large_objects.count, self.live.large_objects
        series = [(each.as_of, each.fingerprint.large_objects.count) for each in self.past]
        if now is not None and now < least_expected(then, usual_loss(series), self.elapsed):
            sentence = (
                f"{counted(then - now, 'large object')} fewer than in the backup ({then} then, {now} now)"
            )
            yield Loss("large_objects", "large objects", sentence, then, now)

    def _with(self, name: str) -> list[Dated]:
        return [each for each in self.past if name in each.fingerprint.tables]

    def _history(self, name: str) -> str:
        """How much the past says about a loss, to end its sentence with; without a past, one note for all."""
        earlier = len(self._with(name)) - 1
        if earlier < 1:
            self.without_history.add(name)
            return ""
        days = counted(self._days, "day")
        return f"; {counted(earlier, 'earlier backup')} and {days} since do not explain it"

    def said_once(self) -> Iterator[str]:
        """That some tables have no past, after all were judged."""
        if self.without_history:
            which = "" if len(self.past) == 1 else f" with {some(sorted(self.without_history))}"
            yield f"there is no earlier backup{which} to tell whether such losses are usual"

    @property
    def _days(self) -> int:
        return max(math.ceil(self.elapsed / _DAY), 1)

    def _partition_that_usually_goes(self, name: str) -> bool:
        """Whether partitions of the same table went between backups at least twice before."""
        parents = [parent for parent, table in self.then.tables.items() if name in table.partitions]
        gone = 0
        for earlier, later in pairwise(self.past):
            for parent in parents:
                table = earlier.fingerprint.tables.get(parent)
                gone += len(set(table.partitions) - set(later.fingerprint.tables)) if table else 0
        return gone >= 2


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"
