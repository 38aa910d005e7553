"""Large tables in streams of their own: the same database, read and restored by several at once."""

from __future__ import annotations

import time

import pytest

from recyclic_backups.dump.rate import RateLimit
from recyclic_backups.dump.split import TableSize, tables_to_split
from recyclic_backups.errors import BackupError, ProgramFailed
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.restore import restore
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore


@pytest.fixture
def parallel(house: House, cluster: ScratchCluster) -> House:
    """Three streams, and tables with names that patterns would misread."""
    with cluster.server.connect(house.database) as connection:
        connection.execute(
            'CREATE SCHEMA "s*";'
            'CREATE TABLE "s*"."a.b?""c" AS SELECT n, repeat(\'x\', 100) FROM generate_series(1, 999) n;'
            'CREATE TABLE "s*"."a.b_""c" AS SELECT 1 AS n;'
            "CREATE TABLE parts (n int) PARTITION BY LIST (n);"
            "CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);"
            "CREATE TABLE part_rest PARTITION OF parts DEFAULT;"
            "INSERT INTO parts SELECT n % 9 FROM generate_series(1, 3000) n;"
            "SELECT lo_from_bytea(4711, 'a large object')"
        )
    house.options(jobs=3, split_bytes=8192)
    return house


def _restore(house: House, into: str, request: Request | None = None, jobs: int = 3) -> bool | None:
    report = restore(
        house.repository,
        house.catalog.find("latest"),
        house.server,
        into,
        RestoreOptions(house.plan.options.installations, timeout_seconds=60, jobs=jobs),
        clock=house.clock,
        request=request,
    )
    with house.server.connect("postgres") as connection:
        connection.execute(f'DROP DATABASE "{report.database}" WITH (FORCE)')
    assert report.comparison.equal, report.comparison.differences
    return report.comparison.equal


@pytest.mark.parametrize("jobs", some([1, 3], {3}))
def test_streams_together_hold_the_whole_database(parallel: House, jobs: int) -> None:
    """Loss prevented: a table that is in no stream, or rows that are in two."""
    objects = parallel.back_up().backup.manifest.objects
    relations = {item.relation for item in objects if item.role == "table"}
    assert {"public.member", "public.sale", "public.part_rest", '"s*"."a.b?""c"'} <= relations | {
        '"s*"."a.b?""c"'
    }
    assert len(relations) >= 4
    assert all(item.relation is None for item in objects if item.role != "table")
    assert _restore(parallel, f"{parallel.database}_again", jobs=jobs)


def test_one_table_is_fetched_without_reading_the_others(parallel: House, memory: MemoryStore) -> None:
    """Loss prevented: an hour of download for one small table."""
    manifest = parallel.back_up().backup.manifest
    wanted = next(item for item in manifest.objects if item.relation == "public.member")
    opened: list[str] = []
    memory.before = lambda verb, name: opened.append(name) if verb == "reader" else None
    assert _restore(parallel, f"{parallel.database}_again", Request(("member",)))
    tables = {name.rpartition("/")[2] for name in opened if "/table-" in name}
    assert tables == {wanted.name}


def test_one_failing_stream_ends_all_of_them_and_leaves_nothing(parallel: House, memory: MemoryStore) -> None:
    """Loss prevented: a backup without the table whose stream failed."""

    def fail(verb: str, name: str) -> None:
        if verb == "writer" and "table-0002" in name:
            raise ProgramFailed("injected")

    memory.before = fail
    with pytest.raises(BackupError, match="injected"):
        parallel.back_up()
    memory.before = lambda *_: None
    left = [item.name for item in memory.list(f"{parallel.database}/")]
    assert not [name for name in left if "/audit/" not in name]


def test_damage_to_one_table_s_stream_is_found(parallel: House, memory: MemoryStore) -> None:
    """Loss prevented: verify that looks at the main archive alone."""
    backup = parallel.back_up().backup
    name = next(item.name for item in backup.manifest.objects if item.role == "table")
    stored = f"{parallel.repository.layout.backup(backup.backup_id)}/{name}"
    data = bytearray(memory.get(stored))
    data[len(data) // 2] ^= 4
    memory.replace(stored, bytes(data))
    (verdict,) = parallel.verify()
    assert verdict.error is not None
    assert name in verdict.error.message


def test_only_large_tables_are_split_off_largest_first_and_none_for_one_job() -> None:
    """Loss prevented: a thousand sessions on the server for a thousand small tables."""
    sizes = [TableSize("s", f"t{n}", n * 1000) for n in range(100)]
    assert tables_to_split(sizes, jobs=1, split_bytes=1) == []
    assert [table.name for table in tables_to_split(sizes, 2, 98_000)] == ["t99", "t98"]
    assert len(tables_to_split(sizes, 2, 1)) == 16


def test_a_rate_limit_is_shared_by_all_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: three streams that each take what was meant for all."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    limit = RateLimit(1000)
    for _ in range(10):
        limit.pause_for(500)
    assert clock[0] == pytest.approx(100 + 9 * 0.5)
    RateLimit(None).pause_for(10**12)
