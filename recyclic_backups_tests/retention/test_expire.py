"""Expiry acts: in the right order, to the end whatever stops it, and on nothing that cannot be believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups import rescue
from recyclic_backups.audit.log import append, read_log
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog import read_once
from recyclic_backups.catalog.documents import Check, CheckKind, Hold
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.record import record_hold
from recyclic_backups.envelope.document import summed
from recyclic_backups.errors import DamagedData, DatabaseError, NoUsableKey, Refused, StorageError, UsageError
from recyclic_backups.health.gaps import missing_partitions
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.server import Server
from recyclic_backups.retention.expire import ExpiryReport, expire, expire_under_lock, plan_expiry
from recyclic_backups.retention.holds import hold, release
from recyclic_backups.retention.policy import Retention, plan
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.faults.disks import can_mount, mounted
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.retention.histories import CALENDAR, DAY, DEFAULTS, History, ids, paris
from recyclic_backups_tests.retention.stored import catalog_of, names, open_repository, stored, write

NOW = paris("2026-11-22T12:00")
LAYOUT = Layout("recyclic")
FEW = Retention(daily=2, weekly=0, monthly=0, checkpoint=0, minimum=2)


def _nights(first: str = "2026-11-19") -> History:
    history = History()
    history.nights(first, "2026-11-22")
    return history


def _expire(store: MemoryStore, retention: Retention = FEW, *, encrypt: bool = True) -> ExpiryReport:
    return expire(open_repository(store, encrypt=encrypt), retention, CALENDAR, now=NOW)


@pytest.mark.parametrize("encrypt", [True, False])
def test_what_the_plan_lets_go_is_gone_and_what_it_keeps_is_untouched(encrypt: bool) -> None:
    """Loss prevented: a deletion that takes more than it said, or says that it freed what is still there."""
    store = stored(_nights(), encrypt=encrypt)
    shown = plan_expiry(open_repository(store, encrypt=encrypt), FEW, CALENDAR, NOW)
    gone = ids(shown.expiring)
    before = {item.name: item for item in store.list("") if "/audit/" not in item.name}
    report = _expire(store, encrypt=encrypt)
    assert {removal.backup_id for removal in report.removed} == gone
    assert len(gone) == 2
    left = set(names(store))
    tombstones = {LAYOUT.tombstone(backup_id) for backup_id in gone}
    lost = before.keys() - left
    assert left - before.keys() == tombstones
    folders = [f"{LAYOUT.backup(backup_id)}/" for backup_id in gone]
    labels = {LAYOUT.label("daily", day) for day in ("2026-11-19", "2026-11-20")}
    assert lost == {name for name in before if any(name.startswith(each) for each in folders)} | labels
    freed = sum(before[name].size_bytes for name in lost if "/backups/" in name)
    assert report.freed_bytes == freed
    catalog = catalog_of(store, encrypt=encrypt)
    assert not catalog.damage
    assert {each.backup_id for each in catalog} == ids(shown.kept)
    assert catalog.tombstones == gone
    # A partition whose backup expired had one.
    assert catalog.labels[Tier.DAILY, "2026-11-19"].backup_id in gone
    missing = {gap.partition for gap in missing_partitions(catalog, CALENDAR, NOW)}
    assert "2026-11-18" in missing
    assert not missing & {"2026-11-19", "2026-11-20", "2026-11-21"}
    (first, *_) = catalog.expired
    assert first.expired_at == NOW
    assert first.reasons


def test_the_report_has_what_the_contract_says() -> None:
    """Loss prevented: a script that reads the plan and finds other names the day it acts."""
    store = stored(_nights())
    shown = plan_expiry(open_repository(store), FEW, CALENDAR, NOW).to_json()
    assert [set(entry) for entry in shown] == [{"backup_id", "action", "reasons"}] * 4
    done = _expire(store).to_json()
    assert [{name: entry[name] for name in ("backup_id", "action", "reasons")} for entry in done] == shown
    assert [entry["freed_bytes"] > 0 for entry in done] == [entry["action"] == "expire" for entry in done]


def test_the_tombstone_comes_first_and_the_manifest_before_the_objects() -> None:
    """Loss prevented: a crash leaves a manifest without objects, a backup that is none (invariant 1)."""
    store = stored(_nights("2026-11-20"))
    calls: list[str] = []
    store.before = lambda verb, name: calls.append(f"{verb} {name}") if verb in ("create", "delete") else None
    (removal,) = _expire(store).removed
    folder = LAYOUT.backup(removal.backup_id)
    calls = [call for call in calls if "/audit/" not in call]
    kinds = [call.replace(folder, "~").split("/checks/")[0].split("recyclic/")[-1] for call in calls]
    assert kinds == [
        f"tombstones/{removal.backup_id}.json",
        "tiers/daily/2026-11-20.json",
        f"holds/{removal.backup_id}.json",
        "delete ~/manifest.json",
        "delete ~/main.dump.zst",
        "delete ~",
    ]


@pytest.mark.parametrize("encrypt", [True, False])
def test_stopped_after_any_call_it_ends_the_same(encrypt: bool) -> None:
    """Loss prevented: an expiry that is killed leaves half a backup that looks whole, or more is deleted next time."""
    history = _nights("2026-11-20")
    original = stored(history, encrypt=encrypt)
    calls: list[str] = []
    undisturbed = _copy(original)
    undisturbed.before = lambda verb, name: calls.append(f"{verb} {name}")
    _expire(undisturbed, encrypt=encrypt)
    undisturbed.before = lambda *_: None
    whole = {each.backup_id for each in catalog_of(original, encrypt=encrypt)}
    assert len(calls) > 20

    for failing in range(len(calls)):
        store = _copy(original)
        store.before = _failing_at(failing)
        with pytest.raises(StorageError, match="injected"):
            _expire(store, encrypt=encrypt)
        store.before = lambda *_: None
        between = catalog_of(store, encrypt=encrypt)
        # Whatever is listed is whole.
        assert not between.damage, calls[failing]
        for backup in between:
            own = {name for name in names(original) if name.startswith(LAYOUT.backup(backup.backup_id))}
            assert own <= set(names(store)), calls[failing]
        assert {each.backup_id for each in between} | between.tombstones == whole
        _expire(store, encrypt=encrypt)
        assert names(store) == names(undisturbed), calls[failing]
        assert _expire(store, encrypt=encrypt).removed == ()


def _copy(store: MemoryStore) -> MemoryStore:
    read_once._memories.clear()  # what happens to the copy is done by another process
    copied = MemoryStore(clock=store._clock)
    copied._objects = deepcopy(store._objects)
    return copied


def _failing_at(number: int) -> Callable[[str, str], None]:
    count: Iterator[int] = iter(range(10**9))

    def before(verb: str, name: str) -> None:
        if next(count) == number:
            raise StorageError(f"injected into {verb} {name}")

    return before


def test_deletion_that_does_not_delete_is_an_error() -> None:
    """Loss prevented: a bucket that keeps versions, a mount that ignores us; freed space that nobody has."""

    class Stubborn(MemoryStore):
        def delete(self, name: str) -> None:
            if not name.endswith("main.dump.zst"):
                super().delete(name)

    store = Stubborn()
    store._objects = stored(_nights())._objects
    with pytest.raises(StorageError, match="still there after it was deleted"):
        _expire(store)


FORGERIES = {
    "a label that is not ours": (LAYOUT.label("daily", "2026-11-19"), {"partition": "2026-11-19"}),
    "a hold that is not ours": ("recyclic/holds/{id}.json", {"reason": "mine"}),
    "a tombstone that is not ours": ("recyclic/tombstones/{id}.json", {"reason": "mine"}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_document_deletes_nothing(forgery: str) -> None:
    """Loss prevented: whoever may write a file into the storage decides which backups are deleted."""
    store = stored(_nights())
    victim = catalog_of(store).backups[0].backup_id
    name, fields = FORGERIES[forgery]
    name = name.format(id=victim)
    document: dict[str, object] = {"format": 1, "backup_id": victim, **fields}
    if "tiers" in name:
        document = json.loads(store.get(name)) | {"backup_id": victim}
    store.replace(name, json.dumps(document if "mac" in document else summed(document, name)).encode())
    before = names(store)
    with pytest.raises(DamagedData, match="nothing expires"):
        _expire(store)
    with pytest.raises(DamagedData, match="nothing expires"):
        plan_expiry(open_repository(store), FEW, CALENDAR, NOW)
    assert names(store) == before


@pytest.mark.parametrize("content", [b"{", b'{"format": 1}', None])
def test_a_label_that_cannot_be_read_stops_everything(content: bytes | None) -> None:
    """Loss prevented: a month whose label a disk spoilt counts as unlabelled and is deleted after a week."""
    store = stored(_nights())
    name = LAYOUT.label("daily", "2026-11-21")
    if content is None:
        ghost = {**json.loads(store.get(name)), "backup_id": "20261121T000000Z-AAAAAA"}
        content = json.dumps(ghost).encode()
    store.replace(name, content)
    before = names(store)
    with pytest.raises(DamagedData, match="2026-11-21"):
        _expire(store)
    assert names(store) == before


@pytest.mark.parametrize("how", ["unreadable", "edited", "a check unreadable", "a check forged"])
def test_a_backup_that_cannot_be_believed_stays_and_the_others_go_on(how: str) -> None:
    """Loss prevented: the only copy of a day deleted for its broken manifest; or a full disk because of one."""
    store = stored(_nights())
    victim = catalog_of(store).backups[-1].backup_id
    name = LAYOUT.manifest(victim)
    if how.startswith("a check"):
        name = next(each for each in names(store) if each.startswith(f"{LAYOUT.backup(victim)}/checks/"))
    data = store.get(name)
    damaged = b"{" if "unreadable" in how else data.replace(b'"duration_seconds": ', b'"duration_seconds": 1')
    assert damaged != data
    store.replace(name, damaged)
    own = {each for each in names(store) if victim in each}
    report = _expire(store)
    assert own <= set(names(store))
    entry = next(each for each in report.to_json() if each["backup_id"] == victim)
    assert entry["action"] == "keep"
    assert "cannot be trusted" in entry["reasons"][0]
    assert len(report.removed) == 1


def test_without_the_key_nothing_expires() -> None:
    """Loss prevented: labels that nobody could check decide what is deleted."""
    store = stored(_nights())
    before = names(store)
    with pytest.raises(NoUsableKey):
        _expire(store, encrypt=False)
    assert names(store) == before


def test_a_hold_is_written_released_and_extended() -> None:
    """Loss prevented: a hold that somebody else's shorter hold ends."""
    store = stored(_nights())
    repository = open_repository(store)

    backup = catalog_of(store).backups[-1]
    hold(repository, backup, "court order", NOW + 10 * DAY, NOW)
    backup = catalog_of(store).backups[-1]
    assert backup.is_held(NOW)
    assert not backup.is_held(NOW + 10 * DAY)
    assert backup.backup_id in ids(plan_expiry(repository, FEW, CALENDAR, NOW).kept)
    with pytest.raises(Refused, match="held for longer"):
        hold(repository, backup, "mine", NOW + 5 * DAY, NOW)
    hold(repository, backup, "court order", NOW + 20 * DAY, NOW)
    backup = catalog_of(store).backups[-1]
    assert backup.is_held(NOW + 19 * DAY)
    assert release(repository, backup, NOW)
    backup = catalog_of(store).backups[-1]
    assert not backup.is_held(NOW)
    assert not release(repository, backup, NOW)
    for reason, until in (("", NOW + DAY), ("late", NOW)):
        with pytest.raises(UsageError):
            hold(repository, backup, reason, until, NOW)
    assert backup.backup_id in {removal.backup_id for removal in _expire(store).removed}


def test_the_log_says_of_a_hold_and_its_release_how_they_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a log that testifies to a hold that never was."""
    history = _nights()
    store = stored(history)
    repository = open_repository(store)
    backup = catalog_of(store).backups[0]

    def broken(*_: object) -> None:
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(store, "replace", broken)
        patched.setattr(store, "delete", broken)
        for act in (
            lambda: hold(repository, backup, "a dispute", NOW + DAY, NOW),
            lambda: release(repository, backup, NOW),
        ):
            with pytest.raises(StorageError):
                act()
    hold(repository, backup, "a dispute", NOW + DAY, NOW)
    events = [each.event for each in read_log(repository) if each.event is not None]
    assert [(each.action, each.outcome) for each in events] == [
        ("hold", "failed"),
        ("release", "begun"),
        ("release", "failed"),
        ("hold", "done"),
    ]


def test_a_hold_that_cannot_be_read_holds() -> None:
    """Loss prevented: evidence deleted because a disk spoilt the note that it is evidence."""
    store = stored(_nights())
    backup_id = catalog_of(store).backups[-1].backup_id
    store.create(LAYOUT.hold(backup_id), b"{")
    backup = catalog_of(store).backups[-1]
    assert backup.is_held(NOW + 10_000 * DAY)
    with pytest.raises(DamagedData):
        _expire(store)


@pytest.mark.parametrize("moment", ["before the tombstone", "after the tombstone"])
def test_whoever_holds_a_backup_while_it_expires_has_it_or_is_told(moment: str) -> None:
    """Loss prevented: a hold that was confirmed and a backup that is gone."""
    store = stored(_nights())
    backup = catalog_of(store).backups[-1]
    tombstone = LAYOUT.tombstone(backup.backup_id)
    told: list[str] = []

    def hold_now(verb: str, name: str) -> None:
        # The look for a hold that comes just before the tombstone, or the first deletion after it.
        first = verb == "create" and name == tombstone
        second = verb == "delete" and name == LAYOUT.manifest(backup.backup_id)
        if first if moment == "before the tombstone" else second:
            store.before = lambda *_: None
            try:
                hold(open_repository(store), backup, "court order", NOW + DAY, NOW)
            except Refused as refused:
                told.append(refused.message)

    store.before = hold_now
    report = _expire(store)
    catalog = catalog_of(store)
    if moment == "before the tombstone":
        assert report.spared == (backup.backup_id,)
        assert backup.backup_id in {each.backup_id for each in catalog}
        assert tombstone not in names(store)
        entry = next(each for each in report.to_json() if each["backup_id"] == backup.backup_id)
        assert entry["action"] == "keep"
    else:
        assert told == [f"backup {backup.backup_id} is expiring at this moment"]
        assert backup.backup_id in catalog.tombstones
        assert LAYOUT.hold(backup.backup_id) not in names(store)


def test_the_announcement_of_a_held_backup_is_taken_back() -> None:
    """Loss prevented: killed between announcing and looking again, a backup that somebody holds is deleted later."""
    store = stored(_nights())
    backup = catalog_of(store).backups[-1]
    store.before = _stop_before_labels
    with pytest.raises(StorageError):
        _expire(store)
    store.before = lambda *_: None
    assert backup.backup_id in catalog_of(store).tombstones
    record_hold(
        open_repository(store), Hold(backup.backup_id, "court order", NOW, NOW + DAY), backup.manifest
    )
    assert _expire(store).spared == (backup.backup_id,)
    assert backup.backup_id in {each.backup_id for each in catalog_of(store)}


def _stop_before_labels(verb: str, name: str) -> None:
    if verb == "delete" and "/tiers/" in name:
        raise StorageError("injected")


def test_orphans_are_swept_and_old_tombstones_too() -> None:
    """Loss prevented: a disk that fills with halves of killed backups while backups are not even running."""
    store = stored(_nights())
    store._clock = lambda: NOW - timedelta(hours=49)
    orphan = LAYOUT.object("20261101T000000Z-AAAAAA", "main.dump.zst")
    store.create(orphan, b"half")
    store._clock = lambda: NOW - timedelta(hours=47)
    young = LAYOUT.object("20261121T000000Z-AAAAAA", "main.dump.zst")
    store.create(young, b"half")
    report = _expire(store)
    assert report.swept == (orphan,)
    assert young in names(store)
    tombstones = catalog_of(store).tombstones
    assert len(tombstones) == 2
    # A year and more later, with backups of that time, nobody needs to know any more.
    recent = History()
    recent.nights("2027-12-26", "2028-01-05")
    write(recent, store)
    later = expire(open_repository(store), FEW, CALENDAR, now=paris("2028-01-05T12:00"))
    assert {LAYOUT.tombstone(backup_id) for backup_id in tombstones} <= set(later.swept)


@contextmanager
def _full_disk(directory: Path, history: History, page: bytes = b"") -> Iterator[LocalStore]:
    """A storage with backups, the script of the rescue and a page, on a disk without a byte left."""
    if not can_mount():
        pytest.skip("mounts: this user may mount nothing here")
    with mounted(directory, 1 << 20):
        store = LocalStore(directory)
        write(history, store)
        rescue.install(store)
        if page:
            store.replace(LAYOUT.report, page)
        with (directory / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        yield store


@pytest.mark.parametrize("page", [b"", b"<html>" * 10_000])
def test_a_full_disk_can_be_emptied(tmp_path: Path, page: bytes) -> None:
    """Loss prevented: the night's backup, and every one after it, for want of the space to announce a deletion."""
    with _full_disk(tmp_path / "disk", _nights(), page) as store:
        repository = open_repository(store)
        with pytest.raises(StorageError, match="no space is left"):
            hold(repository, load_catalog(repository).backups[0], "a dispute", NOW + DAY, NOW)
        report = expire(repository, FEW, CALENDAR, now=NOW)
        assert len(report.removed) == 2
        assert not catalog_of(store).damage
        assert {item.name for item in store.list("")} >= set(rescue.NAMES)


def test_a_full_disk_with_nothing_to_expire_keeps_the_rescue_script_and_the_page(tmp_path: Path) -> None:
    """Loss prevented: the way back without this software, given up every night for nothing."""
    with _full_disk(tmp_path / "disk", _nights("2026-11-21"), b"<html>") as store:
        assert expire(open_repository(store), FEW, CALENDAR, now=NOW).removed == ()
        assert {item.name for item in store.list("")} >= {*rescue.NAMES, LAYOUT.report}


def test_a_run_that_ends_midway_on_a_full_disk_puts_the_rescue_script_back(tmp_path: Path) -> None:
    """Loss prevented: a lost line to the server, and no recover.py beside the only backups."""
    asked: list[int] = []

    def alone_at_first() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise Refused("the lock was lost")

    with _full_disk(tmp_path / "disk", _nights()) as store:
        with pytest.raises(Refused):
            expire(open_repository(store), FEW, CALENDAR, now=NOW, check_lock=alone_at_first)
        assert {item.name for item in store.list("")} >= set(rescue.NAMES)


@pytest.mark.parametrize("minimum", [1, 2])
def test_one_backup_does_not_vouch_for_its_own_clock(minimum: int) -> None:
    """Loss prevented: every real backup, after a single night with a clock years ahead."""
    history = _nights()
    history.nights("2030-12-01", "2030-12-01")
    decided = plan(
        history.catalog(),
        Retention(daily=7, weekly=0, monthly=0, minimum=minimum),
        CALENDAR,
        paris("2030-12-01T12:00"),
    )
    assert decided.expiring == []
    assert not decided.steady


def test_a_clock_years_ahead_takes_neither_the_log_nor_what_is_known_of_the_expired() -> None:
    """Loss prevented: one night with a wrong clock, and three years of who read what are gone without a gap."""
    store = stored(_nights())
    _expire(store)
    tombstones = catalog_of(store).tombstones
    assert tombstones
    known = {stored.name for stored in read_log(open_repository(store))}
    ahead = History()
    ahead.nights("2030-12-01", "2030-12-01")
    write(ahead, store)
    wrong = paris("2030-12-01T03:00")
    append(open_repository(store), "backup", "done", wrong)
    report = expire(open_repository(store), FEW, CALENDAR, now=wrong)
    assert report.swept == ()
    assert catalog_of(store).tombstones >= tombstones
    assert known <= {stored.name for stored in read_log(open_repository(store))}
    # Once backups have been coming for some nights, it is the time.
    following = History()
    following.nights("2030-12-02", "2030-12-03")
    write(following, store)
    later = expire(open_repository(store), FEW, CALENDAR, now=paris("2030-12-03T03:00"))
    assert {LAYOUT.tombstone(backup_id) for backup_id in tombstones} == set(later.swept)
    assert not known & {stored.name for stored in read_log(open_repository(store))}


def test_a_damaged_backup_leaves_for_its_damage_not_for_a_drill_that_failed_on_it() -> None:
    """Loss prevented: a reason in the tombstone that sends somebody to look at the wrong thing."""
    history = _nights()
    oldest = history.backups[0]

    def failed(kind: CheckKind, days: int, reason: str) -> Check:
        return Check(kind, oldest.backup_id, oldest.as_of + days * DAY, passed=False, reasons=(reason,))

    damaged = failed("verify", 1, "main.dump.zst is cut off")
    drilled = failed("drill", 2, "no space left")
    history.change(replace(oldest, checks=(damaged, drilled)))
    decisions = plan(history.catalog(), FEW, CALENDAR, NOW).decisions
    (told,) = (each.texts() for each in decisions if each.backup_id == oldest.backup_id)
    assert "cut off" in " ".join(told)
    assert "no space left" not in " ".join(told)


def test_no_backup_runs_meanwhile(house: House) -> None:
    """Loss prevented: a backup promoted to a month in the moment in which it is deleted."""
    house.back_up()
    with (
        exclusive(house.server, house.database, "backup", wait_seconds=1),
        pytest.raises(Refused, match="another backup"),
    ):
        _expire_alone(house, house.server)
    assert _expire_alone(house, house.server).removed == ()


def test_while_the_server_is_away_nothing_expires(house: House) -> None:
    """Loss prevented: old backups deleted on the day on which they are needed."""
    house.back_up()
    before = names(house.store)
    nobody = Server("127.0.0.1", 1, "postgres", "", connect_timeout_seconds=2)
    with pytest.raises(Refused, match="nothing expires while the database cannot be reached"):
        _expire_alone(house, nobody)
    assert names(house.store) == before


def _expire_alone(house: House, server: Server) -> ExpiryReport:
    return expire_under_lock(
        server, house.repository, DEFAULTS, CALENDAR, clock=house.clock, lock_wait_seconds=0.1
    )


def test_a_lost_lock_stops_it_before_anything_is_deleted() -> None:
    """Loss prevented: a session that was ended, a backup that began, and a deletion that goes on."""
    store = stored(_nights())
    before = names(store)

    def lost() -> None:
        raise DatabaseError("the lock was lost")

    with pytest.raises(DatabaseError):
        expire(open_repository(store), FEW, CALENDAR, now=NOW, check_lock=lost)
    assert names(store) == before


def test_the_next_backup_takes_an_expired_partition_again(house: House) -> None:
    """Loss prevented: a partition that counts as filled for ever by a backup that is gone."""
    first = house.back_up().backup
    house.now += timedelta(hours=1)
    second = house.back_up().backup
    house.now += 9 * DAY
    house.back_up()
    report = expire(house.repository, Retention(1, 0, 0, 0, 1, 400), house.plan.calendar, now=house.now)
    assert {removal.backup_id for removal in report.removed} == {first.backup_id, second.backup_id}
    again = house.back_up(partition="2026-11-22", source="backfill")
    assert again.label.late
    assert house.catalog.labelled(Tier.DAILY, "2026-11-22") is not None
