"""A hot standby as the source of backups: what it does not have is left out, what it interrupts is tried again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.dump.take import BackupRequest, take
from recyclic_backups.errors import DatabaseError
from recyclic_backups.postgres.process import failure
from recyclic_backups.postgres.standby import CONFLICT_HINT
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.restore import restore
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.operator import PASSPHRASE, Operator, variables_of
from recyclic_backups_tests.standby.conftest import Pair

DATABASE = "shop"


@pytest.fixture
def shop(pair: Pair) -> Iterator[Pair]:
    """A database with unlogged tables of every kind, with an identity, a serial, and a sequence of its own."""
    with pair.primary.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    pair.execute(
        DATABASE,
        "CREATE TABLE sale (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text)",
        "INSERT INTO sale (what) SELECT repeat(md5(n::text), 20) FROM generate_series(1, 30000) n",
        "CREATE UNLOGGED TABLE session (id int GENERATED ALWAYS AS IDENTITY (START 7) PRIMARY KEY, v text)",
        'CREATE UNLOGGED TABLE "Cache, old" (id serial, v jsonb, d numeric(5,2)[])',
        "CREATE UNLOGGED TABLE nothing ()",
        "INSERT INTO session (v) VALUES ('x'), ('y')",
        "INSERT INTO \"Cache, old\" (v) VALUES ('{}')",
        "INSERT INTO nothing DEFAULT VALUES",
        "CREATE TABLE log (at date, line text) PARTITION BY RANGE (at)",
        "CREATE UNLOGGED TABLE log_old PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        "CREATE TABLE log_new PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "INSERT INTO log VALUES ('2025-05-05', 'old'), ('2026-05-05', 'new')",
        "CREATE MATERIALIZED VIEW sales AS SELECT count(*) FROM sale",
    )
    yield pair
    with pair.primary.connect("postgres") as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.mark.parametrize(
    ("level", "jobs"),
    some([("content", 1), ("content", 3), ("counts", 1), ("counts", 3)], {("content", 3), ("counts", 1)}),
)
def test_a_standby_with_unlogged_tables_is_backed_up_and_restored(shop: Pair, level: str, jobs: int) -> None:
    """Loss prevented: no backup at all of a standby, for one table of a cache that pg_dump leaves out itself."""
    house = House(shop.standby, DATABASE, MemoryStore())
    house.options(fingerprint=level, jobs=jobs, split_bytes=8192)
    backup = house.back_up().backup
    (note,) = [note for note in backup.manifest.notes if "standby" in note]
    for name in ("session", "Cache, old", "nothing", "log_old"):
        assert name in note
    assert "sale" not in note
    options = RestoreOptions(house.plan.options.installations, timeout_seconds=60)
    report = restore(house.repository, backup, shop.primary, "shop_back", options, clock=house.clock)
    try:
        assert report.comparison.differences == ()
        assert report.comparison.equal
        with shop.primary.connect("shop_back") as connection:
            counts = connection.execute(
                "SELECT (SELECT count(*) FROM sale), (SELECT count(*) FROM session), (SELECT count(*) FROM log),"
                ' (SELECT count(*) FROM "Cache, old")'
            ).fetchone()
            assert counts == (30000, 0, 1, 0)
            row = connection.execute("INSERT INTO session (v) VALUES ('z') RETURNING id").fetchone()
            assert row == (7,)
    finally:
        with shop.primary.connect("postgres") as connection:
            connection.execute("DROP DATABASE shop_back WITH (FORCE)")


def test_every_command_works_with_a_standby(
    shop: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loss prevented: a backup of a standby that no drill, no diagnosis and no verification can work with."""
    variables = {
        **variables_of(shop.standby, DATABASE),
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": PASSPHRASE,
    }
    operator = Operator(tmp_path, capsys, variables)
    (warned,) = [each for each in operator.must("validate", "--json").json if each["check"] == "standby"]
    assert (warned["status"], "hot_standby_feedback" in warned["hint"]) == ("warning", True)
    operator.backup_id()
    assert "session" in operator.must("show", "latest").out
    for command in ("verify", "drill simple", "diagnose", "expire --yes"):
        operator.must(*command.split())


def test_a_role_that_can_only_read_backs_a_standby_up_as_validate_says(
    shop: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Attack: nobody can make a role on a standby, so that a superuser asks the tables of strangers there."""
    more = {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": PASSPHRASE}
    superuser = Operator(tmp_path, capsys, {**variables_of(shop.standby, DATABASE), **more})
    (warned,) = [each for each in superuser.must("validate", "--json").json if each["check"] == "privileges"]
    made, _, large_objects = warned["hint"].partition("primary: ")[2].partition("; ")
    make = made.replace("ROLE …", "ROLE reads_standby").replace("PASSWORD …", "PASSWORD 'x'")
    shop.execute(
        DATABASE,
        make,
        large_objects.replace("…", "reads_standby"),
        "SELECT lo_from_bytea(0, 'x')",
        "CREATE TABLE hidden (a int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; INSERT INTO hidden VALUES (1)",
    )
    try:
        weak = replace(shop.standby, user="reads_standby", password="x")
        reading = Operator(tmp_path, capsys, {**variables_of(weak, DATABASE), **more})
        assert [
            each for each in reading.must("validate", "--json").json if each["check"] == "privileges"
        ] == []
        reading.backup_id()
        shown = reading.must("show", "latest", "--json").json
        assert "password hashes" not in str(shown)
        reading.must("drill", "simple")
    finally:
        with shop.primary.connect(DATABASE) as connection:
            connection.execute("DROP ROLE reads_standby")


def test_sequences_that_a_standby_saw_ahead_have_not_gone_back(
    shop: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loss prevented: numbers given twice, told of every sequence of a healthy primary until nobody believes it."""
    shop.execute(
        DATABASE,
        "CREATE SEQUENCE ticket; SELECT nextval('ticket')",
        "CREATE SEQUENCE down INCREMENT -2; SELECT nextval('down')",
        "CREATE SEQUENCE broken; SELECT setval('broken', 1000)",
    )
    more = {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": PASSPHRASE}
    standby = Operator(tmp_path, capsys, {**variables_of(shop.standby, DATABASE), **more})
    standby.backup_id()
    primary = Operator(tmp_path, capsys, {**variables_of(shop.primary, DATABASE), **more})
    assert primary.must("diagnose", "--json").json["findings"] == []
    shop.execute(DATABASE, "SELECT setval('broken', 967)")
    (finding,) = primary.run("diagnose", "--json").json["findings"]
    assert (finding["kind"], finding["name"]) == ("sequence", "public.broken")


class Disturbed:
    """Progress of a backup during which the primary removes rows that the backup's snapshot needs."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.done = pair, False

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """Nothing."""

    def advance(self, done_bytes: int) -> None:  # noqa: ARG002
        """With the first bytes: pg_dump is in the middle of the rest."""
        if self.done:
            return
        self.done = True
        with self.pair.primary.connect(DATABASE) as connection:
            connection.execute("DELETE FROM sale WHERE id % 2 = 0")
        flushed = self._vacuumed()
        # Either a session was ended already, or the standby waits for one that only ends when we read on.
        with self.pair.standby.connect("postgres") as connection:
            count = (
                "SELECT coalesce(sum(confl_snapshot), 0) > 0 OR EXISTS (SELECT FROM pg_stat_activity"
                " WHERE datname = %s AND state = 'idle in transaction (aborted)'), pg_last_wal_replay_lsn()::text,"
                " pg_last_wal_replay_lsn() < %s::pg_lsn FROM pg_stat_database_conflicts WHERE datname = %s"
            )
            standstill = 0
            last = None
            for number in range(1, 301):
                if number % 20 == 0:
                    flushed = self._vacuumed()
                ended, replayed, behind = connection.execute(
                    count, (DATABASE, flushed, DATABASE)
                ).fetchone() or (
                    0,
                    0,
                    0,
                )
                standstill = standstill + 1 if behind and replayed == last else 0
                last = replayed
                if ended or standstill > 15:
                    return
                time.sleep(0.1)
        raise AssertionError("the standby had no conflict")

    def _vacuumed(self) -> object:
        """Where the primary's WAL ends after a vacuum. What looks at the rows at that moment keeps them: once more."""
        with self.pair.primary.connect(DATABASE) as connection:
            connection.execute("VACUUM sale")
            (flushed,) = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or (None,)
        return flushed


@pytest.mark.parametrize("level", ["content", "off"])
def test_a_recovery_conflict_is_tried_again_and_says_what_to_set(shop: Pair, level: str) -> None:
    """Loss prevented: a night without a backup, and a sentence that nobody at the standby can act on."""
    house = House(shop.standby, DATABASE, MemoryStore())
    house.options(fingerprint=level)
    progress = Disturbed(shop)
    with pytest.raises(DatabaseError) as failed:
        take(
            shop.standby,
            house.repository,
            BackupRequest(Tier.DAILY, "2026-11-22", "manual"),
            house.plan.calendar,
            house.plan.options,
            clock=house.clock,
            progress=progress,
        )
    assert progress.done
    # A session that waits between two questions is ended, and its line may be gone before the reason is read.
    if "closed the connection" not in failed.value.message:
        assert "conflict with recovery" in failed.value.message
        assert failed.value.hint == CONFLICT_HINT
    assert failed.value.retryable
    assert not len(house.catalog)


@pytest.mark.parametrize(
    "said",
    [
        "ERROR:  canceling statement due to conflict with recovery",
        "FATAL:  terminating connection due to conflict with recovery",
        "ERROR:  annulation de la requête à cause d'un conflit avec la restauration",
        "ERROR:  storniere Anfrage wegen Konflikt mit der Wiederherstellung",
    ],
)
def test_what_pg_dump_says_of_it_is_retryable_in_the_server_s_language(said: str) -> None:
    """Loss prevented: a dump that the standby ended, told as damaged data; no second try where people speak French."""
    stderr = (
        'pg_dump: error: Dumping the contents of table "sale" failed: PQgetResult() failed.\n'
        f"pg_dump: detail: Error message from server: {said}\n"
        "DETAIL:  User query might have needed to see row versions that must be removed.\n"
    )
    error = failure("pg_dump", 1, stderr)
    assert error.retryable
    assert error.hint == CONFLICT_HINT
