"""Feature flags: switched at once, and off by themselves once runs fail with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.dump import partition as filling
from recyclic_backups.errors import DatabaseError
from recyclic_backups.flags.flags import (
    FEATURES,
    FILL_GAPS,
    PARALLEL_STREAMS,
    PROMOTE_PROVEN,
    THRESHOLD,
    Flags,
)
from recyclic_backups.flags.store import flags_in_force, load_flags, switch
from recyclic_backups.tiers import Tier
from recyclic_backups_tests.house import House
from recyclic_backups_tests.operator import Operator

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


@given(st.lists(st.booleans(), max_size=12))
def test_a_flag_goes_off_exactly_when_its_runs_fail_often_enough_in_a_row(failures: list[bool]) -> None:
    """Prevents a new behaviour from losing a third night, and one bad night from ending it."""
    flags = Flags().set(PARALLEL_STREAMS.name, on=True, now=NOW)
    in_a_row = 0
    for failed in failures:
        flags = flags.after_run([PARALLEL_STREAMS], "out of luck" if failed else "", NOW)
        in_a_row = in_a_row + 1 if failed else 0
        if in_a_row >= THRESHOLD:
            break
    assert flags.is_on(PARALLEL_STREAMS) is (in_a_row < THRESHOLD)
    assert bool(flags.tripped) is (in_a_row >= THRESHOLD)
    assert Flags.from_json(flags.to_json()) == flags


def test_what_is_on_by_default_is_never_switched_off_by_failures() -> None:
    """Prevents a dead database server from switching off the filling of gaps, for when it is back."""
    flags = Flags().set(FILL_GAPS.name, on=True, now=NOW)
    for _ in range(5):
        flags = flags.after_run([FILL_GAPS], "no server", NOW)
    assert flags.is_on(FILL_GAPS)


def test_flags_are_listed_set_and_unset_and_the_audit_log_knows(operator: Operator) -> None:
    """Prevents a night that went differently, and nobody who remembers why."""
    defaults = {each["flag"]: each["on"] for each in operator.must("flags", "list", "--json").json}
    assert defaults == {name: feature.default for name, feature in FEATURES.items()}
    operator.storage.mkdir()
    operator.must("flags", "set", "parallel_streams", "on")
    assert {each["flag"]: each["on"] for each in operator.must("flags", "list", "--json").json}[
        "parallel_streams"
    ]
    operator.must("flags", "unset", "parallel_streams")
    assert defaults == {each["flag"]: each["on"] for each in operator.must("flags", "list", "--json").json}
    changes = operator.must("audit", "show", "--action", "flag", "--json").json
    assert [change["details"] for change in changes] == [
        {"flag": "parallel_streams", "on": True},
        {"flag": "parallel_streams", "on": None},
    ]
    unknown = operator.run("flags", "set", "warp_drive", "on")
    assert unknown.code == 2
    assert "parallel_streams" in unknown.err


def test_a_flag_whose_backups_fail_twice_switches_itself_off(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a new behaviour from ending all backups until somebody looks."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)

    def failing(*_: object, **__: object) -> None:
        raise DatabaseError("out of streams")

    monkeypatch.setattr(filling, "take", failing)
    for _ in range(THRESHOLD):
        assert load_flags(house.repository).is_on(PARALLEL_STREAMS)
        with pytest.raises(DatabaseError):
            house.back_up()
    flags = load_flags(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert "out of streams" in flags.tripped[PARALLEL_STREAMS.name].tripped
    monkeypatch.undo()
    assert house.back_up().fresh


def test_parallel_streams_are_taken_by_the_next_run(house: House) -> None:
    """Prevents a switch that changes nothing."""
    with house.server.connect(house.database) as connection:
        connection.execute(
            "CREATE TABLE bulk AS SELECT n, repeat(md5(n::text), 40) AS noise FROM generate_series(1, 2000) n"
        )
    house.options(split_bytes=1 << 20)
    assert {item.role for item in house.back_up().backup.manifest.objects} == {"main", "globals"}
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    house.now += timedelta(minutes=1)
    roles = {item.role for item in house.back_up().backup.manifest.objects}
    assert roles == {"main", "globals", "table"}


def test_a_week_prefers_the_backup_that_was_proven_where_the_flag_says_so(house: House) -> None:
    """Prevents the one backup that is known to restore from leaving after seven days while another stays a month."""
    from dataclasses import replace

    from recyclic_backups.catalog.documents import Check
    from recyclic_backups.catalog.record import record_check

    house.now = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
    saturday = house.back_up().backup
    check = Check("restore", saturday.backup_id, house.now, True, proves=True)
    record_check(house.repository, replace(check, duration_seconds=1.0), saturday.manifest)
    house.now = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
    sunday = house.back_up().backup
    switch(house.repository, PROMOTE_PROVEN.name, True, house.now)
    week = house.back_up(Tier.WEEKLY)
    assert week.backup.backup_id == saturday.backup_id
    assert "not proven yet" in week.label.reason
    switch(house.repository, PROMOTE_PROVEN.name, None, house.now)
    house.store.delete(house.repository.layout.label("weekly", week.label.partition))
    assert house.back_up(Tier.WEEKLY).backup.backup_id == sunday.backup_id


def test_a_damaged_list_of_flags_stops_no_backup_and_is_named(house: House) -> None:
    """Prevents a spoilt document about experiments from ending all backups."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    house.store.replace(house.repository.layout.flags, b"{}")
    assert flags_in_force(house.repository) == Flags()
    assert house.back_up().fresh


@pytest.mark.parametrize("spoilt", [b"", b"{}", b"[]", b"tampered"])
def test_flags_that_cannot_be_read_are_listed_as_their_defaults_and_never_written_over(
    operator: Operator, spoilt: bytes
) -> None:
    """Loss prevented: every other flag, forgotten without a word by whoever sets one over a spoilt document."""
    operator.backup_id()
    operator.must("flags", "set", "fill_gaps", "off")
    operator.must("flags", "set", "promote_proven", "on")
    file = next(operator.storage.rglob("flags.json"))
    name = str(file.relative_to(operator.storage))
    if spoilt == b"tampered":
        spoilt = file.read_bytes().replace(b'"on": true', b'"on": false')
    file.write_bytes(spoilt)
    events = len(operator.must("audit", "show", "--json").json)

    listed = operator.run("flags", "list")
    as_json = operator.run("flags", "list", "--json")
    for outcome in (listed, as_json):
        assert outcome.code == 40
        assert name in outcome.err
        assert f"delete {name}" in outcome.err
        assert "default" in outcome.err
    assert all(name in listed.out for name in FEATURES)
    assert {each["flag"]: each["on"] for each in as_json.json} == {
        name: feature.default for name, feature in FEATURES.items()
    }
    for change in (("set", "parallel_streams", "on"), ("unset", "fill_gaps")):
        refused = operator.run("flags", *change)
        assert refused.code == 40
        assert f"delete {name}" in refused.err
        assert file.read_bytes() == spoilt
    assert len(operator.must("audit", "show", "--json").json) == events  # nothing was done
    file.unlink()
    operator.must("flags", "set", "fill_gaps", "off")


def test_flags_that_no_key_opens_are_listed_as_their_defaults(operator: Operator) -> None:
    """Loss prevented: flags that another key signed, forgotten by whoever has the wrong one."""
    operator.backup_id()
    operator.must("flags", "set", "promote_proven", "on")
    before = next(operator.storage.rglob("flags.json")).read_bytes()
    other = "another horse, another battery"
    listed = operator.run("flags", "list", BACKUP_ENCRYPTION_KEY=other)
    assert listed.code == 41
    assert "promote_proven" in listed.out
    assert operator.run("flags", "set", "fill_gaps", "off", BACKUP_ENCRYPTION_KEY=other).code == 41
    assert next(operator.storage.rglob("flags.json")).read_bytes() == before


def test_a_flag_set_on_a_storage_that_is_missing_makes_none(operator: Operator) -> None:
    """Loss prevented: a switch that went onto the empty mount point, beneath the disk with the backups."""
    for change in (("set", "parallel_streams", "on"), ("unset", "parallel_streams")):
        refused = operator.run("flags", *change)
        assert refused.code == 30
        assert "there is no storage" in refused.err
        assert "mounted" in refused.err
        assert not operator.storage.exists()
    assert operator.must("flags", "list").out
