"""Which base backups and which WAL leave: for every history of a server, nothing leaves that a recovery may need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.archive.documents import Gap
from recyclic_backups.archive.listing import Listing, Tail
from recyclic_backups.archive.wal import lineage, segment_name, segment_start
from recyclic_backups.base_backup.catalog import BaseBackup
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.documents import Check, Hold
from recyclic_backups.retention.policy import Action
from recyclic_backups.retention.wal_policy import WalPlan, plan_wal

SEGMENT = 1 << 20
START = datetime(2026, 2, 1, tzinfo=UTC)


@dataclass
class ServerHistory:
    """A server that writes, is copied, fails over, and is taken back to an earlier moment."""

    listing: Listing = field(default_factory=lambda: Listing({}, defaultdict(list), {}))
    histories: dict[int, Sequence[tuple[int, int]]] = field(default_factory=lambda: {1: ()})
    bases: list[BaseBackup] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    timeline: int = 1
    lsn: int = SEGMENT + 40
    now: datetime = START

    def write(self, count: int) -> None:
        """So many segments, and the beginning of another as a tail."""
        for _ in range(count):
            name = segment_name(self.timeline, self.lsn, SEGMENT)
            self.listing.segments[name] = f"wal/{name}"
            self.listing.tails.pop(name, None)
            self.lsn = segment_start(self.lsn, SEGMENT) + SEGMENT
        self.lsn += 100
        name = segment_name(self.timeline, self.lsn, SEGMENT)
        filled = self.lsn % SEGMENT
        self.listing.tails[name] = [Tail(0, filled, f"wal/{name}.tail")]

    def lose(self, count: int) -> None:
        """So many segments that never came into the archive."""
        self.gaps.append(Gap(self.timeline, self.lsn, self.lsn + count * SEGMENT, self.now, "lost"))
        self.lsn = segment_start(self.lsn, SEGMENT) + count * SEGMENT

    def base(self, state: str = "good", *, incremental: bool = False) -> BaseBackup:
        """A base backup, which needs a segment of WAL."""
        self.now += timedelta(days=1)
        parent = next((each for each in self.bases if each.good), None) if incremental else None
        start = self.lsn
        self.write(1)
        base_id = f"{self.now:%Y%m%dT%H%M%SZ}-AAAAAA"
        manifest = BaseManifest(
            base_id=base_id,
            system_identifier="7",
            parent=None if parent is None else parent.base_id,
            server_version=180000,
            segment_bytes=SEGMENT,
            timeline=self.timeline,
            start_lsn=start,
            stop_lsn=self.lsn - 50,
            as_of=self.now,
            taken_at=self.now,
            duration_seconds=1,
            superuser="postgres",
            data_checksums=True,
            objects=(),
            key_id=None,
        )
        checks = (
            () if state == "unverified" else (Check("verify", base_id, self.now, passed=state == "good"),)
        )
        self.bases.insert(0, BaseBackup(manifest, checks))
        return self.bases[0]

    def hold(self, number: int, until: datetime | None) -> None:
        """Hold a base backup."""
        base = self.bases[number % len(self.bases)]
        held = BaseBackup(base.manifest, base.checks, Hold(base.base_id, "a dispute", self.now, until))
        self.bases[self.bases.index(base)] = held

    def fork(self, back_bytes: int) -> None:
        """Another timeline, begun so far before the end of this one."""
        line = list(lineage(list(self.histories[self.timeline]), self.timeline))
        fork_lsn = max(SEGMENT + 40, self.lsn - back_bytes)
        ancestors: list[tuple[int, int]] = []
        for timeline, begins, left_at in line:
            if left_at is None or left_at >= fork_lsn:
                ancestors.append((timeline, max(fork_lsn, begins)))
                break
            ancestors.append((timeline, left_at))
        self.lsn = ancestors[-1][1]
        self.timeline = max(self.histories) + 1
        self.histories[self.timeline] = tuple(ancestors)
        self.listing.histories[self.timeline] = f"wal/{self.timeline:08X}.history"
        self.write(0)

    def plan(self, keep: int) -> WalPlan:
        """What leaves."""
        return plan_wal(self.bases, self.listing, self.histories, self.gaps, keep, self.now)

    def after(self, plan: WalPlan) -> ServerHistory:
        """The history once that has left."""
        gone = set(plan.wal)
        left = {name for name, stored in self.listing.segments.items() if stored not in gone}
        tails = {
            name: kept
            for name, found in self.listing.tails.items()
            if (kept := [tail for tail in found if tail.name not in gone])
        }
        listing = Listing({name: self.listing.segments[name] for name in left}, tails, self.listing.histories)
        bases = [each.base for each in plan.decisions if each.action is Action.KEEP]
        gaps = [each for each in self.gaps if each not in plan.gaps]
        return ServerHistory(listing, self.histories, bases, gaps, self.timeline, self.lsn, self.now)

    def reach(self, base: BaseBackup) -> set[tuple[int, int]]:
        """Up to where a recovery from a base backup comes, for each timeline that it may be told to follow."""
        found = set()
        manifest = base.manifest
        for target, ancestors in self.histories.items():
            line = list(lineage(list(ancestors), target))
            own = [number for number, (timeline, _, _) in enumerate(line) if timeline == manifest.timeline]
            if not own:
                continue
            left_at = line[own[0]][2]
            if left_at is not None and left_at < manifest.stop_lsn:
                continue
            lsn = manifest.start_lsn
            for timeline, _, ends in line[own[0] :]:
                while ends is None or lsn < ends:
                    start = segment_start(lsn, SEGMENT)
                    filled = self.listing.end_in(segment_name(timeline, lsn, SEGMENT), SEGMENT)
                    if start + filled <= lsn:
                        break
                    lsn = start + filled if ends is None else min(ends, start + filled)
                if ends is not None and lsn < ends:
                    break
            found.add((target, lsn))
        return found


@st.composite
def servers(draw: st.DrawFn) -> ServerHistory:
    """Any history."""
    history = ServerHistory()
    history.write(2)
    steps = draw(
        st.lists(
            st.sampled_from(
                ["write"] * 4
                + ["good"] * 4
                + ["incremental"] * 3
                + ["unverified", "damaged", "fork", "back", "lose"]
            ),
            max_size=25,
        )
    )
    for step in steps:
        match step:
            case "write":
                history.write(draw(st.integers(1, 3)))
            case "fork":
                history.fork(0)
            case "back":
                history.fork(draw(st.integers(0, 6 * SEGMENT)))
            case "lose":
                history.lose(draw(st.integers(1, 2)))
            case "incremental":
                history.base(incremental=True)
            case state:
                history.base(state)
    for _ in range(draw(st.integers(0, 2)) if history.bases else 0):
        until = draw(st.none() | st.integers(-20, 20).map(lambda days: history.now + timedelta(days=days)))
        history.hold(draw(st.integers(0, 30)), until)
    history.now += draw(st.sampled_from([timedelta(0), timedelta(days=3), timedelta(days=20_000)]))
    return history


KEEP = st.integers(1, 4)


@given(servers(), KEEP)
def test_every_base_backup_that_stays_reaches_what_it_reached_before(
    history: ServerHistory, keep: int
) -> None:
    """Loss prevented: WAL that is gone when the base backup before it is needed (pg_probackup #150, WAL-G #1869)."""
    plan = history.plan(keep)
    after = history.after(plan)
    for each in plan.decisions:
        if each.action is Action.KEEP and each.base.hold is None and not _held_with(each.base, history, plan):
            assert after.reach(each.base) == history.reach(each.base), each.base.base_id


def _held_with(base: BaseBackup, history: ServerHistory, plan: WalPlan) -> bool:
    """Whether it stays because of a hold in its chain, and has no claim to the WAL behind it."""
    [decision] = [each for each in plan.decisions if each.base is base]
    return all(reason.code == "retention.base_held" for reason in decision.reasons)


@given(servers(), KEEP)
def test_a_held_one_can_be_made_consistent(history: ServerHistory, keep: int) -> None:
    """Loss prevented: a base backup kept for a dispute, without the WAL that makes it one."""
    plan = history.plan(keep)
    after = history.after(plan)
    for each in history.bases:
        if each.hold is not None and each.hold.until is None:
            assert each in after.bases
            before = [lsn >= each.manifest.stop_lsn for _, lsn in history.reach(each)]
            assert [lsn >= each.manifest.stop_lsn for _, lsn in after.reach(each)].count(True) >= min(
                1, before.count(True)
            )


@given(servers(), KEEP)
def test_what_is_newer_than_the_newest_verified_one_stays(history: ServerHistory, keep: int) -> None:
    """Loss prevented: last week's work, when base backups fail."""
    plan = history.plan(keep)
    good = [each for each in history.bases if each.good]
    if not good:
        assert not plan.leaving
        assert not plan.wal
        return
    newest = good[0]
    assert all(each.as_of < newest.as_of for each in plan.leaving)
    gone = set(plan.wal)
    for segment, name in history.listing.segments.items():
        on_its_line = segment >= segment_name(newest.manifest.timeline, newest.manifest.start_lsn, SEGMENT)
        assert not (on_its_line and name in gone)


@given(servers(), KEEP)
def test_so_many_verified_chains_stay_and_each_with_all_of_it(history: ServerHistory, keep: int) -> None:
    """Loss prevented: an incremental base backup without what it builds on; fewer ways back than were asked for."""
    plan = history.plan(keep)
    after = history.after(plan)
    kept = {each.base_id for each in after.bases}
    full = [each for each in history.bases if each.good and not each.manifest.is_incremental]
    assert len([each for each in full if each.base_id in kept]) >= min(keep, len(full))
    for each in history.bases:
        if each.base_id in kept and each.manifest.parent is not None:
            assert each.manifest.parent in kept


@given(servers(), KEEP)
def test_the_newest_timeline_can_still_be_reached(history: ServerHistory, keep: int) -> None:
    """Loss prevented: after a recovery to an earlier moment, the only base backup that leads there."""
    newest = max(history.histories)

    def ways(found: ServerHistory) -> int:
        return sum(
            each.good and any(target == newest for target, _ in found.reach(each))
            for each in found.bases
            if not each.manifest.is_incremental
        )

    assert ways(history.after(history.plan(keep))) >= min(keep, ways(history))


@given(servers(), KEEP)
def test_a_plan_that_was_carried_out_is_over(history: ServerHistory, keep: int) -> None:
    """Loss prevented: a night after a night in which a little more leaves."""
    after = history.after(history.plan(keep))
    again = after.plan(keep)
    assert not again.leaving
    assert not again.wal
    assert not again.gaps


@given(servers(), KEEP)
def test_a_plan_that_was_stopped_is_finished_by_the_next(history: ServerHistory, keep: int) -> None:
    """Loss prevented: a crash in the middle, after which something stays that nobody counts, or too much leaves."""
    plan = history.plan(keep)
    stopped = WalPlan(plan.decisions, plan.wal[: len(plan.wal) // 2], (), plan.kept_from)
    after = history.after(stopped)
    rest = after.plan(keep)
    assert {*stopped.wal, *rest.wal} == set(plan.wal)


def test_old_wal_and_old_chains_leave() -> None:
    """Loss prevented: a storage that fills up because nothing ever leaves; data that outlive what was promised."""
    history = ServerHistory()
    history.write(5)
    old = history.base()
    history.lose(1)
    history.base(incremental=True)
    history.write(4)
    first = history.base()
    history.write(4)
    history.base(incremental=True)
    history.write(4)
    history.base()
    plan = history.plan(2)
    assert [each.base_id for each in plan.leaving] == [history.bases[-2].base_id, old.base_id]
    assert plan.kept_from is not None
    assert plan.kept_from.lsn == first.manifest.start_lsn
    kept = history.after(plan).listing.segments
    assert min(kept) == segment_name(1, first.manifest.start_lsn, SEGMENT)
    assert plan.gaps == tuple(history.gaps)


def test_a_branch_that_was_left_leaves_with_its_wal() -> None:
    """Loss prevented: the WAL of a failed server kept for ever beside that of its successor."""
    history = ServerHistory()
    history.write(2)
    history.base()
    history.write(6)
    history.base()
    history.fork(5 * SEGMENT)
    history.write(3)
    assert not history.plan(1).wal or all("/00000001" in name for name in history.plan(1).wal)
    history.base()
    history.base()
    plan = history.plan(2)
    assert {each.manifest.timeline for each in history.after(plan).bases} == {2}
    assert all(name.startswith("00000002") for name in history.after(plan).listing.segments)


def test_a_hold_ends_by_the_clock_of_base_backups_alone() -> None:
    """Attack: a clock that is set ahead lets go of what somebody held."""
    history = ServerHistory()
    held = history.base()
    history.hold(0, history.now + timedelta(days=30))
    for _ in range(3):
        history.base()
    history.now += timedelta(days=20_000)
    assert held.base_id not in {each.base_id for each in history.plan(1).leaving}
    history.base()
    assert held.base_id in {each.base_id for each in history.plan(1).leaving}


def test_bases_of_a_branch_that_was_left_take_no_place() -> None:
    """Loss prevented: after a recovery to an earlier moment, the older of two ways back, for one that leads nowhere."""
    history = ServerHistory()
    leads_on = history.base()
    history.write(4)
    history.base()
    history.base()
    history.fork(6 * SEGMENT)
    history.write(3)
    history.base()
    after = history.after(history.plan(2))
    assert leads_on in after.bases
    assert {target for target, _ in after.reach(leads_on)} == {1, 2}


def test_holding_an_incremental_one_holds_what_it_builds_on() -> None:
    """Loss prevented: a held base backup that is a heap of changes to files that are gone."""
    history = ServerHistory()
    full = history.base()
    history.base(incremental=True)
    history.hold(0, None)
    for _ in range(3):
        history.base()
    assert full in history.after(history.plan(2)).bases
