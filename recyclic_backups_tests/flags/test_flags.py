"""Feature flags: switched at once, and done without by the run that follows a failed one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recyclic_backups.audit.log import read_log
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.dump import back_up as filling
from recyclic_backups.dump.streams import DumpOptions
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups.errors import DatabaseError, StorageError
from recyclic_backups.flags.flags import (
    FEATURES,
    FILL_GAPS,
    PARALLEL_STREAMS,
    PROMOTE_PROVEN,
    Flags,
    Switch,
)
from recyclic_backups.flags.store import flags_in_force, load_flags, switch
from recyclic_backups.storage.store import StoredObject
from recyclic_backups_tests.house import House
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


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


def test_a_backup_after_one_that_failed_with_an_experiment_does_without_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a new behaviour from losing a night: what tries again takes the old way, whoever tries."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    tried = []

    def failing(*arguments: object, **_: object) -> None:
        options = arguments[4]
        assert isinstance(options, DumpOptions)
        tried.append(options.jobs > 1)
        raise DatabaseError("out of streams")

    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with monkeypatch.context() as broken:
        broken.setattr(filling, "take", failing)
        for _ in range(3):
            with pytest.raises(DatabaseError):
                house.back_up()
    assert tried == [True, False, True]
    newest = [stored.event for stored in read_log(house.repository) if stored.event][-1]
    assert newest.details["with"] == ["parallel_streams"]
    assert house.back_up().fresh
    assert load_flags(house.repository).is_on(PARALLEL_STREAMS)


def test_what_an_older_release_switched_off_stays_off_until_somebody_sets_it(house: House) -> None:
    """Prevents an upgrade from switching on again what had lost two nights."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    switched_off_by_an_older_release(house.repository, PARALLEL_STREAMS.name, house.now)
    flags = load_flags(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert "out of streams" in flags.tripped[PARALLEL_STREAMS.name].tripped
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now + timedelta(seconds=1))
    assert load_flags(house.repository).is_on(PARALLEL_STREAMS)
    switched_off_by_an_older_release(house.repository, PARALLEL_STREAMS.name, house.now)  # of the former wish
    assert load_flags(house.repository).is_on(PARALLEL_STREAMS)


def switched_off_by_an_older_release(repository: Repository, name: str, set_at: datetime) -> None:
    """The document that releases wrote in which flags switched themselves off (docs/format/documents.md)."""
    storage_name = repository.layout.flag_outcome(name)
    document = {**_outcome(set_at), "flag": name}
    key = repository.keyring.for_writing(set_at)
    repository.store.replace(storage_name, encode(signed(document, storage_name, key)))


def _outcome(set_at: datetime) -> dict[str, Any]:
    tripped = "2 runs in a row failed with it; the last: out of streams"
    at = to_text(set_at)
    return {"format": 1, "set_at": at, "failures": 2, "tripped": tripped, "tripped_at": at}


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
    list_ = house.store.list

    def refused(prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        if "/flags/" in prefix:
            raise StorageError("permission denied")
        return list_(prefix, after)

    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    monkeypatch.setattr(house.store, "list", refused)
    assert flags_in_force(house.repository) == Flags()
    assert house.back_up().fresh


def test_flags_of_a_newer_version_are_still_there_after_going_back_to_it(house: House) -> None:
    """Loss prevented: an experiment that is switched off by an older version that never heard of it."""
    switch(house.repository, PARALLEL_STREAMS.name, True, house.now)
    unknown = house.repository.layout.flag("of_tomorrow")
    house.store.replace(unknown, b'{"format": 2}')
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
        forge(house, layout.flag(feature.name), Switch(True, NOW).to_json(feature.name))
    house.encrypt = way != "encryption switched off later"
    flags = flags_in_force(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert not flags.is_on(PROMOTE_PROVEN)


def test_a_forged_flag_does_not_stop_the_filling_of_gaps(house: House) -> None:
    """Attack: backups that fail at night are not tried again, because a file says that nobody wants it."""
    house.repository.keyring.for_writing(house.now)
    forge(house, house.repository.layout.flag(FILL_GAPS.name), Switch(False, NOW).to_json(FILL_GAPS.name))
    flags = load_flags(house.repository)
    assert flags.is_on(FILL_GAPS)
    assert "not signed" in flags.damaged[FILL_GAPS.name]


def test_a_forged_outcome_switches_nothing_on_and_is_told(house: House) -> None:
    """Attack: what an older release switched off, or what somebody switched off, goes on again."""
    repository = house.repository
    switch(repository, PARALLEL_STREAMS.name, True, house.now)
    switched_off_by_an_older_release(repository, PARALLEL_STREAMS.name, house.now)
    switch(repository, FILL_GAPS.name, False, house.now)
    for feature in (PARALLEL_STREAMS, FILL_GAPS):
        outcome = {**_outcome(house.now), "failures": 0, "tripped": "", "tripped_at": None}
        forge(house, repository.layout.flag_outcome(feature.name), outcome)
    flags = load_flags(house.repository)
    assert not flags.is_on(PARALLEL_STREAMS)
    assert not flags.is_on(FILL_GAPS)
    assert flags.damaged.keys() == {PARALLEL_STREAMS.name, FILL_GAPS.name}
