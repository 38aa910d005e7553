"""What must always hold (docs/design.md, section 1), each with a test that fails when it is broken."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.documents import Label
from recyclic_backups.errors import BackupError, DamagedData, ProgramFailed, Refused, StorageError
from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.programs import exchange


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(1, 12))]
)
def test_a_backup_exists_if_and_only_if_its_manifest_does_whatever_call_fails(
    house: House, memory: MemoryStore, first: int
) -> None:
    """Loss prevented: a listed backup that lacks a part, believed in until it is needed (invariant 1).

    Every twelfth call fails in each run.
    """
    calls: list[str] = []
    memory.before = lambda verb, name: calls.append(f"{verb} {name}")
    house.back_up()
    writing = len(calls)

    for failing in range(first, writing, 12):
        count = 0

        def fail_once(verb: str, name: str, failing: int = failing) -> None:
            nonlocal count
            count += 1
            if count == failing + 1:
                raise StorageError(f"injected into call {failing} ({verb})")

        store = MemoryStore(before=fail_once)
        house.store = store
        failure = _failure_of(house)
        assert failure is None or "injected" in f"{failure} {getattr(failure, '__notes__', '')}"
        store.before = lambda *_: None
        catalog = house.catalog
        assert not catalog.damage
        assert all(verification.passed for verification in house.verify()), f"call {failing}"
        names = [item.name for item in store.list("")]
        for name in names:
            folder, _, file = name.rpartition("/")
            if file in ("main.dump.zst.sealed", "globals.sql.zst.sealed"):
                assert f"{folder}/manifest.json" in names, f"call {failing} left an orphan"
        house.back_up()
        assert house.catalog.newest_good() is not None


def _failure_of(house: House) -> BackupError | None:
    try:
        house.back_up()
    except BackupError as error:
        return error
    return None


def test_the_manifest_is_written_after_every_object(house: House, memory: MemoryStore) -> None:
    """Loss prevented: a power cut between manifest and data leaves a backup that is none (invariant 1)."""
    written: list[str] = []
    memory.before = lambda verb, name: (
        written.append(name) if verb in ("writer", "create", "replace") else None
    )
    backup_id = house.back_up().backup.backup_id
    own = [name.rpartition("/")[2] for name in written if f"/{backup_id}/" in name and "/checks/" not in name]
    assert own[-1] == "manifest.json"
    assert set(own[:-1]) == {"main.dump.zst.sealed", "globals.sql.zst.sealed"}
    label = f"{house.database}/tiers/daily/2026-11-22.json"
    assert written.index(label) > max(index for index, name in enumerate(written) if "/checks/" in name)


def _pg_dump_that_dies(directory: Path, real: Path, last_words: str) -> Path:
    """A directory of programs whose pg_dump writes half of what it should and then fails, as a crash does."""
    return exchange(real, directory, "pg_dump", f'"{real}/pg_dump" "$@" | head -c 20000\n{last_words}')


@pytest.mark.parametrize("last_words", ["echo 'pg_dump: error: out of luck' >&2; exit 1", "kill -9 $$"])
@pytest.mark.parametrize("encrypt", [True, False])
def test_half_a_dump_is_never_stored(house: House, tmp_path: Path, last_words: str, encrypt: bool) -> None:
    """Loss prevented: pg_dump's pipe ends like any other when it dies; half a database looks whole (invariant 2)."""
    real = next(each.directory for each in house.plan.options.installations if each.major == _major(house))
    programs = _pg_dump_that_dies(tmp_path, real, last_words)
    house.options(installations=find_installations(str(programs), ""))
    house.encrypt = encrypt
    with pytest.raises(ProgramFailed):
        house.back_up()
    left = [item.name for item in house.store.list(f"{house.database}/")]
    assert not [name for name in left if "/audit/" not in name]
    assert len(house.catalog) == 0


def _major(house: House) -> int:
    with house.server.connect(house.database) as connection:
        row = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone()
    assert row is not None
    return int(row[0])


def test_a_dump_is_of_its_snapshot_whatever_is_written_meanwhile(
    house: House, cluster: ScratchCluster, memory: MemoryStore
) -> None:
    """Loss prevented: fingerprint and dump of two different moments: every drill would be red (invariant 4)."""
    wrote = threading.Event()

    def write_once(verb: str, name: str) -> None:
        if verb == "writer" and "main.dump" in name and not wrote.is_set():
            wrote.set()
            with cluster.server.connect(house.database) as connection:
                connection.execute("INSERT INTO member (name) VALUES ('too late')")

    memory.before = write_once
    manifest = house.back_up().backup.manifest
    assert wrote.is_set()
    assert manifest.fingerprint is not None
    assert manifest.fingerprint["tables"]["public.member"]["rows"] == 500


def test_a_missed_day_says_late_and_keeps_the_real_time(house: House) -> None:
    """Loss prevented: a dump of today believed to show the till as it was last week (invariant 4)."""
    done = house.back_up(partition="2026-11-19")
    assert done.label.late
    assert done.backup.manifest.late
    assert done.backup.as_of == house.now
    assert done.backup.manifest.scheduled_for == datetime(2026, 11, 19, 1, 0, tzinfo=UTC)


def test_missed_days_share_one_dump(house: House) -> None:
    """Loss prevented: a backfill of a quarter that dumps production ninety times for ninety equal files."""
    first = house.back_up(partition="2026-11-18")
    house.now += timedelta(minutes=10)
    second = house.back_up(partition="2026-11-19")
    assert not second.fresh
    assert second.backup.backup_id == first.backup.backup_id
    house.now += timedelta(hours=3)
    assert house.back_up(partition="2026-11-20").fresh
    assert house.back_up(partition="2026-11-17", reuse_since=house.now - timedelta(hours=4)).fresh is False


def test_a_missed_day_can_be_refused(house: House) -> None:
    """Loss prevented: an operator who wants no late dumps gets them all the same."""
    house.plan = replace(house.plan, missed_day="refuse")
    with pytest.raises(Refused, match="is over"):
        house.back_up(partition="2026-11-19")
    assert len(house.catalog) == 0


def test_a_late_dump_does_not_take_a_good_day_s_place(house: House) -> None:
    """Loss prevented: re-running a partition that has its backup loses it (invariant 4)."""
    house.now = datetime(2026, 11, 19, 1, 0, tzinfo=UTC)
    on_time = house.back_up()
    house.now = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
    again = house.back_up(partition="2026-11-19")
    assert not again.fresh
    assert again.backup.backup_id == on_time.backup.backup_id
    assert not again.label.late


def test_a_newer_backup_of_the_same_day_takes_the_label_over(house: House) -> None:
    """Loss prevented: the backup somebody takes before a risky change is not the one a restore of the day finds."""
    first = house.back_up()
    house.now += timedelta(hours=1)
    second = house.back_up()
    assert second.fresh
    labelled = house.catalog.labelled(Tier.DAILY, "2026-11-22")
    assert labelled is not None
    assert labelled.backup_id == second.backup.backup_id != first.backup.backup_id
    assert len(house.catalog) == 2


def test_one_dump_serves_every_tier(house: House, memory: MemoryStore) -> None:
    """Loss prevented: three loads on production in one night, and three times the space (invariant 9)."""
    house.now = datetime(2026, 11, 1, 1, 0, tzinfo=UTC)  # a Sunday, and the first of a month
    daily = house.back_up()
    dumps: list[str] = []
    memory.before = lambda verb, name: dumps.append(name) if verb == "writer" else None
    weekly, monthly = house.back_up(Tier.WEEKLY), house.back_up(Tier.MONTHLY)
    assert dumps == []
    assert {each.backup.backup_id for each in (weekly, monthly)} == {daily.backup.backup_id}
    assert weekly.label.partition == "2026-10-26"
    assert monthly.label.partition == "2026-11-01"
    assert weekly.label.promoted_from == monthly.label.promoted_from == "daily/2026-11-01"
    (backup,) = house.catalog
    assert backup.tiers == (Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY)


def test_a_weekly_tick_that_comes_before_the_daily_one_makes_one_dump_for_both(
    house: House, memory: MemoryStore
) -> None:
    """Loss prevented: Saturday labelled as the week, in the night whose 02:00 does not exist (28 March 2027)."""
    house.now = datetime(2027, 3, 28, 1, 0, tzinfo=UTC)  # 03:00 in Paris: both ticks
    weekly = house.back_up(Tier.WEEKLY, source="scheduled")
    assert weekly.label.promoted_from == "daily/2027-03-28"
    house.now += timedelta(minutes=1)
    daily = house.back_up(source="scheduled")
    assert not daily.fresh
    assert daily.backup.backup_id == weekly.backup.backup_id
    assert len(house.catalog) == 1
    assert house.back_up().fresh  # by hand it is another one


def test_a_week_without_its_sunday_takes_the_nearest_good_day_and_says_so(house: House) -> None:
    """Loss prevented: no weekly backup at all because one night failed."""
    house.now = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
    friday = house.back_up()
    house.now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    weekly = house.back_up(Tier.WEEKLY, "2026-11-16")
    assert weekly.backup.backup_id == friday.backup.backup_id
    assert "2026-11-22" in weekly.label.reason


def test_a_period_that_is_over_and_has_nothing_is_refused(house: House) -> None:
    """Loss prevented: a monthly backup of January whose content is of November."""
    with pytest.raises(Refused, match="no good backup"):
        house.back_up(Tier.MONTHLY, "2026-01-01")


def test_a_damaged_backup_is_never_promoted(house: House, memory: MemoryStore) -> None:
    """Loss prevented: the twelve months' backup that was broken on its first day."""
    daily = house.back_up()
    name = f"{house.repository.layout.backup(daily.backup.backup_id)}/main.dump.zst.sealed"
    data = bytearray(memory.get(name))
    data[len(data) // 2] ^= 1
    memory.replace(name, bytes(data))
    (verdict,) = house.verify()
    assert isinstance(verdict.error, DamagedData)
    house.now += timedelta(minutes=30)
    weekly = house.back_up(Tier.WEEKLY)
    assert weekly.backup.good
    assert weekly.backup.backup_id != daily.backup.backup_id


def test_a_backup_that_does_not_verify_gets_no_label(house: House, memory: MemoryStore) -> None:
    """Loss prevented: bytes that the disk spoiled on their way are taken for the day's backup."""

    def spoil(verb: str, name: str) -> None:
        if verb == "create" and name.endswith("manifest.json"):
            stored = f"{name.rpartition('/')[0]}/main.dump.zst.sealed"
            data = bytearray(memory.get(stored))
            data[-20] ^= 1
            memory.replace(stored, bytes(data))

    memory.before = spoil
    with pytest.raises(DamagedData, match="does not verify"):
        house.back_up()
    memory.before = lambda *_: None
    assert house.catalog.labels == {}
    assert house.catalog.newest_good() is None


def test_no_plaintext_reaches_a_disk_and_no_secret_a_document(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: members' names on a stolen disk (invariant 7, GDPR article 32)."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    house.store = LocalStore.open(tmp_path / "backups", create=True)
    seen: set[Path] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            # os.walk minds no directory that vanishes meanwhile; Path.rglob does.
            seen.update(Path(folder, name) for folder, _, names in os.walk(tmp_path) for name in names)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    house.back_up()
    assert house.verify()[0].passed
    stop.set()
    watcher.join()
    assert not list(scratch.iterdir())
    assert len(seen) >= 4
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"Plaintext-Marker" not in content, path
            assert house.server.password.encode() not in content, path


def test_only_one_backup_of_a_database_runs_at_a_time(house: House) -> None:
    """Loss prevented: two dumps at once slow the till down; two labels of one day race."""
    waiting = house.plan
    house.plan = replace(waiting, lock_wait_seconds=0)
    with (
        exclusive(house.server, house.database, "backup", wait_seconds=1),
        pytest.raises(Refused, match="another backup"),
    ):
        house.back_up()
    house.plan = waiting
    assert house.back_up().fresh


def test_an_edited_label_is_found(house: House, memory: MemoryStore) -> None:
    """Loss prevented: a label pointed at another backup by whoever can write to the storage."""
    import json

    house.back_up()
    name = f"{house.database}/tiers/daily/2026-11-22.json"
    document = json.loads(memory.get(name))
    document["late"] = True
    memory.replace(name, json.dumps(document).encode())
    catalog = house.catalog
    assert [damage.name for damage in catalog.damage] == [name]
    assert "edited" in catalog.damage[0].problem
    assert catalog.labels == {}
    assert house.verify()[0].error is None  # the backup itself is what it was


def test_a_label_is_read_back_as_it_was_written(house: House) -> None:
    """Loss prevented: a field of a label that is written and never read decides nothing."""
    label = house.back_up().label
    assert Label.from_json(label.to_json()) == label
    assert house.catalog.labels == {(Tier.DAILY, "2026-11-22"): label}


def test_the_way_back_without_us_is_kept_beside_the_backups(house: House, memory: MemoryStore) -> None:
    """Loss prevented: a storage that outlives this software and that nobody can read (invariant 10)."""
    house.back_up()
    assert b"def " in memory.get("recover.py")
    assert memory.get("RECOVERY.md")


def test_tests_find_the_programs_of_this_machine() -> None:
    """Loss prevented: a suite that passes because it never ran a real pg_dump."""
    assert find_installations(os.environ.get("PG_BIN"), os.environ.get("PATH"))


def test_a_server_that_stops_answering_ends_the_backup_in_time(
    house: House, cluster: ScratchCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a nightly run that hangs for weeks, and no backup while nobody is told."""
    monkeypatch.setattr("recyclic_backups.dump.streams._CANCEL_SECONDS", 0.5)
    house.options(timeout_seconds=5)  # enough for what is asked before the dump, on a busy machine too
    stopped: list[int] = []

    def stop_the_server(verb: str, name: str) -> None:
        if verb == "writer" and "main.dump" in name and not stopped:
            with cluster.server.connect("postgres") as connection:
                rows = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = %s", (house.database,)
                ).fetchall()
            for (pid,) in rows:
                stopped.append(pid)
                os.kill(pid, signal.SIGSTOP)

    assert isinstance(house.store, MemoryStore)
    house.store.before = stop_the_server
    try:
        with pytest.raises(BackupError, match=r"did not (?:finish|answer) within|not read within"):
            house.back_up()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    house.store.before = lambda *_: None
    house.options(timeout_seconds=60)
    assert house.back_up().fresh
