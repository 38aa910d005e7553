"""Feature flags: switched at once, and off by themselves once runs fail with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.audit.log import read_log
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.dump import back_up as filling
from recyclic_backups.envelope.document import encode, summed
from recyclic_backups.errors import DatabaseError, StorageError
from recyclic_backups.flags.flags import (
    FEATURES,
    FILL_GAPS,
    PARALLEL_STREAMS,
    PROMOTE_PROVEN,
    THRESHOLD,
    Flags,
    Switch,
)
from recyclic_backups.flags.store import flags_in_force, judge_run, load_flags, switch
from recyclic_backups_tests.house import House
from recyclic_backups_tests.operator import Operator

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


@given(st.lists(st.booleans(), max_size=12))
def test_a_flag_goes_off_exactly_when_its_runs_fail_often_enough_in_a_row(failures: list[bool]) -> None:
    """Prevents a new behaviour from losing a third night, and one bad night from ending it."""
    flags = Flags({PARALLEL_STREAMS.name: Switch(True, NOW)})
    in_a_row = 0
    for failed in failures:
        flags = flags.after_run([PARALLEL_STREAMS], "out of luck" if failed else "", NOW)
        in_a_row = in_a_row + 1 if failed else 0
        if in_a_row >= THRESHOLD:
            break
    assert flags.is_on(PARALLEL_STREAMS) is (in_a_row < THRESHOLD)
    assert bool(flags.tripped) is (in_a_row >= THRESHOLD)
    (made,) = flags.switches.values()
    assert Switch.of(made.wish(PARALLEL_STREAMS.name), made.outcome(PARALLEL_STREAMS.name)) == made


def test_what_is_on_by_default_is_never_switched_off_by_failures() -> None:
    """Prevents a dead database server from switching off the filling of gaps, for when it is back."""
    flags = Flags({FILL_GAPS.name: Switch(True, NOW)})
    for _ in range(5):
        flags = flags.after_run([FILL_GAPS], "no server", NOW)
    assert flags.is_on(FILL_GAPS)


def test_flags_are_listed_set_and_unset_and_the_audit_log_knows(operator: Operator) -> None:
    """Prevents a night that went differently, and nobody who remembers why."""
    operator.storage.mkdir()
    defaults = {each["flag"]: each["on"] for each in operator.must("flags", "list", "--json").json}
    assert defaults == {name: feature.default for name, feature in FEATURES.items()}
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


@pytest.mark.parametrize("which", ["flag", "flag_outcome"])
def test_a_damaged_flag_stops_no_backup(house: House, which: str) -> None:
    """Prevents a spoilt document about experiments from ending all backups."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    switch(house.repository, PROMOTE_PROVEN.name, True, house.now)
    house.store.replace(getattr(house.repository.layout, which)(PARALLEL_STREAMS.name), b"{}")
    flags = flags_in_force(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert flags.is_on(PROMOTE_PROVEN)
    assert house.back_up().fresh


def test_flags_that_cannot_be_read_at_all_stop_no_backup(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: every night's backup, over a folder of experiments that its user may not read."""
    get = house.store.get

    def refused(name: str) -> bytes:
        if "/flags/" in name:
            raise StorageError("permission denied")
        return get(name)

    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    monkeypatch.setattr(house.store, "get", refused)
    assert flags_in_force(house.repository) == Flags()
    assert house.back_up().fresh


def test_a_good_backup_is_not_failed_by_the_bookkeeping_of_flags(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: production dumped a second time, for a count of failures that could not be written."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    judge_run(house.repository, [PARALLEL_STREAMS], "no luck", house.now)
    replace_ = house.store.replace

    def refusing(name: str, data: bytes) -> None:
        if "/flags/" in name:
            raise StorageError("no space is left")
        replace_(name, data)

    monkeypatch.setattr(house.store, "replace", refusing)
    assert house.back_up().fresh
    newest = [stored.event for stored in read_log(house.repository) if stored.event][-1]
    assert (newest.action, newest.outcome) == ("backup", "done")
    assert "no space" in newest.details["flags_not_written"]


def test_a_run_that_did_not_use_a_flag_neither_blames_nor_absolves_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a locked table from switching off what prefers proven backups, and a kept one from clearing a count."""
    for feature in (PARALLEL_STREAMS, PROMOTE_PROVEN):
        switch(house.repository, feature.name, True, house.now)
    assert house.back_up(source="scheduled").fresh

    def failing(*_: object, **__: object) -> None:
        raise DatabaseError("a table is locked")

    monkeypatch.setattr(filling, "take", failing)
    for _ in range(THRESHOLD):
        assert load_flags(house.repository).is_on(PARALLEL_STREAMS)
        with pytest.raises(DatabaseError):
            house.back_up()
        assert not house.back_up(source="scheduled").fresh  # done since it was due: nothing is dumped
    flags = load_flags(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert flags.is_on(PROMOTE_PROVEN)
    assert flags.switches[PROMOTE_PROVEN.name].failures == 0


def test_two_who_set_flags_at_once_and_a_run_that_ends_meanwhile_undo_nothing(house: House) -> None:
    """Loss prevented: a flag somebody switched off, on again because a run ended in that second."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    repository = house.repository
    before = load_flags(repository).switches[PARALLEL_STREAMS.name]
    judge_run(repository, [PARALLEL_STREAMS], "no luck", house.now)
    late = repository.store.get(repository.layout.flag_outcome(PARALLEL_STREAMS.name))
    switch(repository, PARALLEL_STREAMS.name, False, house.now + timedelta(seconds=1))
    switch(repository, PROMOTE_PROVEN.name, True, house.now + timedelta(seconds=1))
    # What a run writes that had read the flags before.
    repository.store.replace(repository.layout.flag_outcome(PARALLEL_STREAMS.name), late)
    flags = load_flags(repository)
    assert before.on
    assert flags.switches[PARALLEL_STREAMS.name] == Switch(False, house.now + timedelta(seconds=1))
    assert flags.is_on(PROMOTE_PROVEN)


def test_flags_of_a_newer_version_are_still_there_after_going_back_to_it(house: House) -> None:
    """Loss prevented: an experiment that is switched off by an older version that never heard of it."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    unknown = house.repository.layout.flag("of_tomorrow")
    house.store.replace(unknown, b'{"format": 2}')
    judge_run(house.repository, [PARALLEL_STREAMS], "no luck", house.now)
    switch(house.repository, PARALLEL_STREAMS.name, None, house.now)
    assert load_flags(house.repository) == Flags()
    assert house.store.get(unknown) == b'{"format": 2}'


def test_a_spoilt_key_name_takes_one_flag_with_it_and_not_all(operator: Operator) -> None:
    """Loss prevented: gaps filled again by themselves, against somebody's wish, by whoever can write files."""
    operator.backup_id()
    operator.must("flags", "set", "fill_gaps", "off")
    operator.must("flags", "set", "parallel_streams", "on")
    file = next(operator.storage.rglob("flags/parallel_streams.json"))
    key_id = json.loads(file.read_bytes())["mac"]["key_id"]
    file.write_text(file.read_text().replace(key_id, key_id[::-1]))
    listed = operator.run("flags", "list", "--json")
    assert listed.code == 40
    assert {each["flag"]: each["on"] for each in listed.json} == {
        "parallel_streams": False,
        "promote_proven": False,
        "fill_gaps": False,
    }
    operator.must("flags", "set", "parallel_streams", "on")
    assert operator.must("flags", "list", "--json").json[0]["on"]


def test_a_flag_that_trips_is_in_the_log_or_has_not_tripped(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a behaviour that is off since some night, and nothing anywhere that says since when and why."""
    repository = house.repository
    switch(repository, PARALLEL_STREAMS.name, True, house.now)
    judge_run(repository, [PARALLEL_STREAMS], "no luck", house.now)
    create = house.store.create

    def refusing(name: str, data: bytes) -> None:
        if "/audit/" in name:
            raise StorageError("no space is left")
        create(name, data)

    with monkeypatch.context() as full:
        full.setattr(house.store, "create", refusing)
        with pytest.raises(StorageError):
            judge_run(repository, [PARALLEL_STREAMS], "no luck", house.now)
    assert load_flags(repository).is_on(PARALLEL_STREAMS)
    assert judge_run(repository, [PARALLEL_STREAMS], "no luck", house.now) == [PARALLEL_STREAMS.name]


@pytest.mark.parametrize("spoilt", [b"", b"{}", b"[]", b"tampered"])
def test_a_flag_that_cannot_be_read_is_listed_as_its_default_and_named(
    operator: Operator, spoilt: bytes
) -> None:
    """Loss prevented: a switch that somebody without the key turned, believed; or a list that hides it."""
    operator.backup_id()
    operator.must("flags", "set", "fill_gaps", "off")
    operator.must("flags", "set", "promote_proven", "on")
    file = next(operator.storage.rglob("flags/promote_proven.json"))
    name = str(file.relative_to(operator.storage))
    if spoilt == b"tampered":
        spoilt = file.read_bytes().replace(b'"on": true', b'"on": false')
    file.write_bytes(spoilt)

    listed = operator.run("flags", "list")
    as_json = operator.run("flags", "list", "--json")
    for outcome in (listed, as_json):
        assert outcome.code == 40
        assert name in outcome.err
        assert "flags set promote_proven on" in outcome.err
        assert "default" in outcome.err
    assert all(feature in listed.out for feature in FEATURES)
    assert {each["flag"]: each["on"] for each in as_json.json} == {
        "parallel_streams": False,
        "promote_proven": False,
        "fill_gaps": False,
    }
    operator.must("flags", "set", "promote_proven", "on")
    assert all(
        each["on"] is (each["flag"] == "promote_proven")
        for each in operator.must("flags", "list", "--json").json
    )


def test_flags_that_no_key_opens_are_listed_as_their_defaults_and_changed_by_nobody(
    operator: Operator,
) -> None:
    """Loss prevented: flags that another key signed, forgotten by whoever has the wrong one; a log that says "done"."""
    operator.backup_id()
    operator.must("flags", "set", "promote_proven", "on")
    before = next(operator.storage.rglob("flags/promote_proven.json")).read_bytes()
    other = "another horse, another battery"
    listed = operator.run("flags", "list", BACKUP_ENCRYPTION_KEY=other)
    assert listed.code == 41
    assert "promote_proven" in listed.out
    for change in (("set", "fill_gaps", "off"), ("unset", "promote_proven")):
        assert operator.run("flags", *change, BACKUP_ENCRYPTION_KEY=other).code == 41
    assert next(operator.storage.rglob("flags/promote_proven.json")).read_bytes() == before
    changes = operator.must("audit", "show", "--action", "flag", "--json").json
    assert [(change["details"]["flag"], change["outcome"]) for change in changes] == [
        ("promote_proven", "done"),
        ("fill_gaps", "failed"),
        ("promote_proven", "failed"),
    ]


def test_a_flag_set_on_a_storage_that_is_missing_makes_none(operator: Operator) -> None:
    """Loss prevented: a switch that went onto the empty mount point, beneath the disk with the backups."""
    for change in (("set", "parallel_streams", "on"), ("unset", "parallel_streams"), ("list",)):
        refused = operator.run("flags", *change)
        assert refused.code == 30
        assert "there is no storage" in refused.err
        assert "mounted" in refused.err
        assert not operator.storage.exists()


def forge(house: House, name: str, document: Mapping[str, Any]) -> None:
    """Write a flag's document as whoever can write to the storage and has no key."""
    house.store.replace(name, encode(summed(document, name)))


@pytest.mark.parametrize("way", ["no keys yet", "encrypted", "encryption switched off later"])
def test_a_forged_flag_switches_nothing_on(house: House, way: str) -> None:
    """Attack: without any key, four streams at once on production, or labels that follow a forged proof."""
    if way != "no keys yet":
        house.repository.keyring.for_writing(house.now)
    layout = house.repository.layout
    for feature in (PARALLEL_STREAMS, PROMOTE_PROVEN):
        forge(house, layout.flag(feature.name), Switch(True, NOW).wish(feature.name))
    house.encrypt = way != "encryption switched off later"
    flags = flags_in_force(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert not flags.is_on(PROMOTE_PROVEN)


def test_a_forged_flag_does_not_stop_the_filling_of_gaps(house: House) -> None:
    """Attack: backups that fail at night are not tried again, because a file says that nobody wants it."""
    house.repository.keyring.for_writing(house.now)
    forge(house, house.repository.layout.flag(FILL_GAPS.name), Switch(False, NOW).wish(FILL_GAPS.name))
    flags = load_flags(house.repository)
    assert flags.is_on(FILL_GAPS)
    assert "not signed" in flags.damaged[FILL_GAPS.name]


def test_a_forged_outcome_switches_nothing_on_and_is_told(house: House) -> None:
    """Attack: what switched itself off after two lost nights, or what somebody switched off, goes on again."""
    repository = house.repository
    switch(repository, PARALLEL_STREAMS.name, True, house.now)
    for _ in range(THRESHOLD):
        judge_run(repository, [PARALLEL_STREAMS], "no luck", house.now)
    switch(repository, FILL_GAPS.name, False, house.now)
    for feature, wanted in ((PARALLEL_STREAMS, True), (FILL_GAPS, False)):
        forge(
            house,
            repository.layout.flag_outcome(feature.name),
            Switch(wanted, house.now).outcome(feature.name),
        )
    flags = load_flags(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert not flags.is_on(FILL_GAPS)
    assert flags.damaged.keys() == {PARALLEL_STREAMS.name, FILL_GAPS.name}
