"""Databases with a logical subscription: copies let go of its slot, and what we made can always be dropped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.merge.merge import MergeReport, merge_backup
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.commands import drop_command, go_back
from recyclic_backups.restore.left_behind import drop_left_behind, mark
from recyclic_backups.restore.restore import RestoreReport, restore
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.house import NOON, House
from recyclic_backups_tests.memory_store import MemoryStore

NAME = 'zq\'s "news"'
_QUOTED = '"' + NAME.replace('"', '""') + '"'
_SUBSCRIPTIONS = """
    SELECT d.datname, s.subname, s.subslotname, s.subenabled
    FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid ORDER BY 1
"""


@pytest.fixture
def house(cluster: ScratchCluster, database: str) -> Iterator[House]:
    """A database that subscribes to something out of reach, backed up."""
    with cluster.server.connect(database) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)")
        connection.execute(
            f"CREATE SUBSCRIPTION {_QUOTED} CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p"
            " WITH (connect = false, slot_name = 'zq_news')"
        )
    made = House(cluster.server, database, MemoryStore())
    made.back_up()
    try:
        yield made
    finally:
        with cluster.server.connect("postgres") as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (database,)
            ).fetchall()
        for (name,) in names:
            databases.drop_database(cluster.server, name)
        assert _subscriptions(made) == []


def _subscriptions(house: House) -> list[tuple[object, ...]]:
    with house.server.connect("postgres") as connection:
        return connection.execute(_SUBSCRIPTIONS).fetchall()


def _restore(house: House, into: str, *, replace: bool = False) -> RestoreReport:
    report = restore(
        house.repository,
        house.catalog.find("latest"),
        house.server,
        into,
        RestoreOptions(house.plan.options.installations, timeout_seconds=60),
        clock=house.clock,
        replace=replace,
    )
    assert report.comparison.differences == ()
    return report


def _put_back(house: House) -> MergeReport:
    return merge_backup(
        house.repository,
        house.catalog.find("latest"),
        house.server,
        house.database,
        Request(("t",)),
        RestoreOptions(house.plan.options.installations, timeout_seconds=60),
        clock=house.clock,
    )


def _paste(house: House, line: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": house.server.password, "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_copy_lets_go_of_the_slot_and_can_be_dropped(house: House) -> None:
    """Loss prevented: whoever drops the copy's subscription drops the slot at the publisher that production reads."""
    into = f"{house.database}_copy"
    report = _restore(house, into)
    mine = [row for row in _subscriptions(house) if row[0] == into]
    assert mine == [(into, NAME, None, False)]
    assert any("'zq_news'" in note and "a copy must not" in note for note in report.notes)
    _paste(house, drop_command(house.server, into, subscriptions=[NAME]))
    assert [row[:3] for row in _subscriptions(house)] == [(house.database, NAME, "zq_news")]


def test_a_database_that_takes_the_place_of_another_has_its_slot(house: House) -> None:
    """Loss prevented: production swapped back without what it is fed by, and no word about it."""
    report = _restore(house, house.database, replace=True)
    assert report.kept_as is not None
    assert [row[:3] for row in _subscriptions(house)] == [
        (house.database, NAME, "zq_news"),
        (report.kept_as, NAME, "zq_news"),
    ]
    assert any("has its slot 'zq_news'" in note for note in report.notes)
    back = go_back(house.server, house.database, report.kept_as, subscriptions=[NAME])
    _paste(house, back.drop_command)
    assert [row[0] for row in _subscriptions(house)] == [house.database]


def test_a_database_that_replaces_none_with_that_slot_does_not_get_it(house: House) -> None:
    """Loss prevented: staging, overwritten with last night's production, reads production's slot empty."""
    staging = f"{house.database}_staging"
    with house.server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE {staging}")
    _restore(house, staging, replace=True)
    assert (staging, NAME, None, False) in _subscriptions(house)


def test_a_merge_ends_with_what_it_did_and_leaves_no_subscription(house: House) -> None:
    """Loss prevented: the rows are back, and the command says that it failed and leaves a copy nobody can drop."""
    with house.server.connect(house.database) as connection:
        connection.execute("DELETE FROM t WHERE id = 2")
    merged = _put_back(house)
    assert merged.merged is not None
    assert merged.notes == ()
    with house.server.connect(house.database) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)
        connection.execute("UPDATE t SET v = 7")
    kept = _put_back(house).merged
    assert kept is not None
    assert [row[0] for row in _subscriptions(house)] == [house.database]
    _paste(house, drop_command(house.server, kept.kept_in))


def test_a_copy_that_stays_is_no_failure_of_what_was_put_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: somebody merges again, or goes back, because the command says that it failed."""
    with house.server.connect(house.database) as connection:
        connection.execute("DELETE FROM t WHERE id = 2")

    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("somebody is connected")

    monkeypatch.setattr(databases, "drop_database", refuse)
    report = _put_back(house)
    monkeypatch.undo()
    assert report.merged is not None
    assert report.merged.clean
    assert "somebody is connected" in report.to_json()["notes"][-1]


def test_what_a_killed_restore_left_is_dropped_whatever_is_in_it(house: House) -> None:
    """Loss prevented: databases that each restore says it would like to drop, for ever."""
    left = f"{house.database}_restoring_3f9a1c"
    _restore(house, left)
    with house.server.connect(left) as connection:
        connection.execute(f"ALTER SUBSCRIPTION {_QUOTED} SET (slot_name = 'zq_other')")
        connection.execute(f"ALTER SUBSCRIPTION {_QUOTED} ENABLE")
        connection.execute(
            "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';"
            "CREATE EVENT TRIGGER no ON ddl_command_start EXECUTE FUNCTION no();"
            "ALTER EVENT TRIGGER no ENABLE ALWAYS"
        )
        databases.comment_on(connection, left, mark("20261122T120000Z-ABCDEF", left, NOON))
    (note,) = drop_left_behind(house.server)
    assert note.startswith("dropped the database")
    assert [row[0] for row in _subscriptions(house)] == [house.database]
