"""Which base backups of a server stay, and which of its WAL. Pure.

In the words of docs/retention.md:

- The newest RETENTION_BASE verified chains stay. A chain is a full base backup and all that build on it: it stays or
  leaves as one. Counted are those from which the newest timeline can be reached, if there are any.
- What is newer than the oldest of them stays, verified or not; without a verified one everything stays. So nothing that
  is newer than the newest verified base backup ever leaves.
- A hold keeps a chain; of the WAL it keeps what the held base backup needs by itself, from its start to its stop.
- Of the WAL stays what a recovery from the chains that stay may need: from the start of each on its timeline, and all
  of the timelines that were begun after it. What is of a timeline of which nobody can tell where it came from stays,
  and so does what is of a later timeline than that of the newest verified base backup.
- A note on lost WAL leaves with the WAL around it. History files stay: they are small, and say how timelines hang
  together.

No rule goes by the clock: when base backups stop, expiry stops. A plan can be stopped and made again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from recyclic_backups.archive.documents import Gap, KeptFrom
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import start_of, timeline_of
from recyclic_backups.base_backup.chain import root_of
from recyclic_backups.catalog.catalog import is_of_the_future, newest_good
from recyclic_backups.retention.policy import Action
from recyclic_backups.texts.text import Text, say

if TYPE_CHECKING:
    from recyclic_backups.base_backup.catalog import BaseBackup

Histories = Mapping[int, Sequence[tuple[int, int]]]
"""The ancestors of each timeline whose history is known, oldest first, each with the position where it was left."""


@dataclass(frozen=True, slots=True)
class BaseDecision:
    """What becomes of one base backup, and why."""

    base: BaseBackup
    action: Action
    reasons: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class WalPlan:
    """A decision on every base backup of a server, newest first, and the names of the WAL that leaves, oldest first."""

    decisions: tuple[BaseDecision, ...] = ()
    wal: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    kept_from: KeptFrom | None = None

    @property
    def leaving(self) -> list[BaseBackup]:
        """Base backups that leave, newest first: none goes before those that build on it."""
        return [each.base for each in self.decisions if each.action is Action.EXPIRE]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """WAL that somebody may need: of a timeline, from a position on, and up to one if only that is needed."""

    timeline: int
    start_lsn: int
    stop_lsn: int | None = None


def plan_wal(
    bases: Sequence[BaseBackup],
    listing: Listing,
    histories: Histories,
    gaps: Iterable[Gap],
    keep: int,
    now: datetime,
) -> WalPlan:
    """Decide. ``bases`` are those that are believed, newest first; ``keep`` is RETENTION_BASE, ``now`` is aware."""
    chains = _chains(bases, now)
    good = [each for each in chains if each.is_good]
    newest_timeline = max((*histories, *(each.root.manifest.timeline for each in good)), default=1)
    on_the_line = [each for each in good if _leads_to(each.root, newest_timeline, histories)]
    counted = (on_the_line or good)[:keep]
    newest = newest_good(bases, now)
    for chain in chains:
        chain.judge(counted, keep, newest)
    decisions = {
        base.base_id: BaseDecision(base, chain.action, tuple(chain.reasons))
        for chain in chains
        for base in chain.members
    }
    ordered = tuple(decisions[each.base_id] for each in bases)
    anchors = [
        _Stretch(chain.root.manifest.timeline, chain.root.manifest.start_lsn)
        for chain in chains
        if chain.stays_with_its_wal
    ]
    sizes = {each.manifest.segment_bytes for each in bases}
    if newest is None or not anchors or len(sizes) != 1:
        # Of WAL whose segments changed in size nobody can tell by its name where it is.
        return WalPlan(ordered)
    held = [
        _Stretch(each.manifest.timeline, each.manifest.start_lsn, each.manifest.stop_lsn)
        for each in bases
        if each.hold is not None and decisions[each.base_id].action is Action.KEEP
    ]
    needs = _Needs(anchors, held, histories, newest.manifest.timeline)
    [segment_bytes] = sizes
    leaving = [
        segment
        for segment in sorted({*listing.segments, *listing.tails})
        if not needs.asks_for(
            timeline_of(segment), start := start_of(segment, segment_bytes), start + segment_bytes
        )
    ]
    first = min(anchors, key=lambda each: (each.timeline, each.start_lsn))
    return WalPlan(
        ordered,
        tuple(name for segment in leaving for name in listing.names_of(segment)),
        tuple(each for each in gaps if not needs.asks_for(each.timeline, each.from_lsn, each.to_lsn)),
        KeptFrom(first.timeline, first.start_lsn, newest.manifest.archive_id),
    )


def _leads_to(base: BaseBackup, timeline: int, histories: Histories) -> bool:
    """Whether a recovery from it may come to a timeline."""
    manifest = base.manifest
    return manifest.timeline == timeline or any(
        ancestor == manifest.timeline and left_at >= manifest.stop_lsn
        for ancestor, left_at in histories.get(timeline, ())
    )


class _Chain:
    """A full base backup and all that build on it, and what becomes of them."""

    def __init__(self, root: BaseBackup, members: Sequence[BaseBackup], *, is_future: bool) -> None:
        self.root, self.members, self._is_future = root, members, is_future
        self.reasons: list[Text] = []
        self.action = Action.EXPIRE
        self.stays_with_its_wal = False

    @property
    def is_good(self) -> bool:
        """Whether a recovery can start from its full base backup: that is there, and was found whole."""
        return self.root.good and not self.root.manifest.is_incremental and not self._is_future

    def judge(self, counted: Sequence[_Chain], keep: int, newest_good: BaseBackup | None) -> None:
        """Collect the reasons to stay; without any it leaves."""
        if self._is_future:
            self._stay(say("retention.base_future"))
        elif newest_good is None or not counted:
            self._stay(say("retention.base_no_good"))
        elif self in counted:
            self._stay(say("retention.base_kept", number=counted.index(self) + 1, count=keep))
        elif len(counted) < keep:
            self._stay(say("retention.base_few", count=keep))
        elif any(each.as_of >= counted[-1].root.as_of for each in self.members):
            code = "retention.base_other_line" if self.is_good else "retention.base_not_counted"
            self._stay(say(code))
        for base in self.members:
            # By the clock of the newest verified one: no clock that jumps ahead ends a hold.
            hold = base.hold
            if hold is not None and (
                hold.until is None or newest_good is None or newest_good.as_of < hold.until
            ):
                self.reasons.append(say("retention.base_held", base_id=base.base_id, reason=hold.reason))
                self.action = Action.KEEP
        if self.action is Action.EXPIRE:
            self.reasons.append(say("retention.base_over", count=keep))

    def _stay(self, reason: Text) -> None:
        self.reasons.append(reason)
        self.action, self.stays_with_its_wal = Action.KEEP, True


def _chains(bases: Sequence[BaseBackup], now: datetime) -> list[_Chain]:
    """The chains, those with the newest full base backup first."""
    by_id = {each.base_id: each for each in bases}
    manifests = {each.base_id: each.manifest for each in bases}
    members: dict[str, list[BaseBackup]] = defaultdict(list)
    for each in bases:
        members[root_of(manifests, each.base_id)].append(each)
    roots = sorted(
        (by_id[each] for each in members), key=lambda root: (root.as_of, root.base_id), reverse=True
    )
    return [
        _Chain(
            root,
            members[root.base_id],
            is_future=any(is_of_the_future(each.as_of, now) for each in members[root.base_id]),
        )
        for root in roots
    ]


class _Needs:
    """The WAL that may be needed."""

    def __init__(
        self,
        anchors: Sequence[_Stretch],
        held: Sequence[_Stretch],
        histories: Histories,
        newest_good_timeline: int,
    ) -> None:
        self._anchors, self._held = anchors, held
        self._histories = histories
        self._newest_good_timeline = newest_good_timeline

    def asks_for(self, timeline: int, from_lsn: int, to_lsn: int) -> bool:
        """Whether WAL of a timeline between two positions may be needed."""
        if timeline > self._newest_good_timeline or (timeline > 1 and timeline not in self._histories):
            return True
        if any(self._asks(each, timeline, to_lsn) for each in self._anchors):
            return True
        return any(
            each.timeline == timeline
            and to_lsn > each.start_lsn
            and (each.stop_lsn is None or from_lsn < each.stop_lsn)
            for each in self._held
        )

    def _asks(self, anchor: _Stretch, timeline: int, to_lsn: int) -> bool:
        if timeline == anchor.timeline:
            return to_lsn > anchor.start_lsn
        return any(
            ancestor == anchor.timeline and left_at >= anchor.start_lsn
            for ancestor, left_at in self._histories.get(timeline, ())
        )
