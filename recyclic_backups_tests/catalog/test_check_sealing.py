"""Checks of encrypted backups: reasons and what was found are sealed, verdicts and figures are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recyclic_backups.catalog import sealing
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.catalog.record import record_check
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.sealing import unseal_check
from recyclic_backups.catalog.why import why, why_text
from recyclic_backups.envelope.document import decode, encode, signed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import DamagedData, NoUsableKey
from recyclic_backups.health.drill_records import drill_records
from recyclic_backups.health.finding import Level
from recyclic_backups.health.questions import proven
from recyclic_backups_tests.house import House

pytestmark = pytest.mark.small

IN_CLEAR = {
    *("format", "check", "backup_id", "checked_at", "passed", "proves", "duration_seconds"),
    *("details", "sealed", "mac"),
}
DETAILS_IN_CLEAR = {
    *("scenario", "started_at", "leading", "restore_seconds", "data_loss_seconds", "objective"),
}


def _drill(house: House, backup: Backup) -> Check:
    """A failed drill with all that one writes down."""
    return Check(
        "drill",
        backup.backup_id,
        house.now,
        passed=False,
        reasons=("public.member: 12 rows, the backup has 13",),
        duration_seconds=7.5,
        details={
            "scenario": "simple",
            "started_at": "2026-11-22T11:00:00.000000Z",
            "leading": True,
            "restore_seconds": 7.5,
            "data_loss_seconds": 3600.0,
            "objective": {"restore_seconds": 1800.0, "data_loss_seconds": 3600.0},
            "ground": "server db.example.org",
            "phases": {"data": 3.0},
            "tables": [{"name": "public.member", "rows": 12}],
            "wounds": [{"table": "public.member"}],
            "probes": [{"query": "SELECT count(*) FROM member"}],
        },
    )


@pytest.fixture
def drilled(house: House) -> Check:
    """An encrypted backup whose drill failed."""
    backup = house.back_up().backup
    check = _drill(house, backup)
    record_check(house.repository, check, backup.manifest)
    return check


def _name(house: House) -> str:
    """The storage name of the newest check."""
    (backup,) = house.catalog.backups
    folder = f"{house.repository.layout.backup(backup.backup_id)}/checks/"
    return max(item.name for item in house.store.list(folder))


def _without_key(house: House) -> Repository:
    return Repository(house.store, house.database, Keyring(house.store, ""), encrypt=False)


def test_a_sealed_check_says_exactly_this_in_clear(house: House, drilled: Check) -> None:
    """Attack prevented: names of tables, their rows and queries read from a stolen disk. The format has this list."""
    content = house.store.get(_name(house))
    document = decode(content, "check")
    assert document["format"] == 2
    assert set(document) == IN_CLEAR
    assert set(document["details"]) == DETAILS_IN_CLEAR
    assert b"member" not in content
    assert b"example.org" not in content


def test_with_the_key_a_sealed_check_is_the_one_that_was_written(house: House, drilled: Check) -> None:
    """Loss prevented: a failed drill whose reasons nobody ever reads."""
    read = house.catalog.backups[0].checks[-1]
    assert read == replace(drilled, checked_at=read.checked_at)
    assert not read.is_closed
    assert why_text(read) == drilled.reasons[0]
    assert read.figures == {
        name: value for name, value in drilled.details.items() if name in DETAILS_IN_CLEAR
    }


def test_two_checks_of_one_moment_open_both(house: House, drilled: Check) -> None:
    """Loss prevented: a check filed a microsecond later, sealed under the name that it did not get."""
    (backup,) = house.catalog.backups
    record_check(house.repository, drilled, backup.manifest)
    assert [check.reasons for check in house.catalog.backups[0].checks[-2:]] == [drilled.reasons] * 2


def test_without_the_key_nobody_takes_sealed_for_no_reasons(house: House, drilled: Check) -> None:
    """Loss prevented: a failed drill that looks as if it gave no reason, or found nothing."""
    check = load_catalog(_without_key(house)).backups[0].checks[-1]
    assert check.is_closed
    assert (check.kind, check.passed, check.proves) == ("drill", False, False)
    assert "member" not in repr(check)
    for field in ("reasons", "details"):
        with pytest.raises(NoUsableKey):
            getattr(check, field)
    with pytest.raises(NoUsableKey):
        check.to_json()
    assert "sealed" in why_text(check)
    told = why(check)
    assert told is not None
    assert "scellée" in told.text("fr")


def test_figures_and_verdicts_need_no_key(house: House, drilled: Check) -> None:
    """Loss prevented: metrics, retention and the proof of a backup that vanish where no key is."""
    closed, opened = load_catalog(_without_key(house)), house.catalog
    assert drill_records(closed) == drill_records(opened)
    assert drill_records(closed)[0].restore_objective_seconds == 1800.0
    assert closed.backups[0].verified_at == opened.backups[0].verified_at is not None
    assert proven_at(closed.backups[0], datetime.now(UTC)) is None
    found = proven(closed.backups[0], closed, house.now)
    assert found.level is Level.CRITICAL
    assert "is sealed" in found.sentence.text("en")
    assert "scellée" in found.sentence.text("fr")
    assert drilled.reasons[0] in proven(opened.backups[0], opened, house.now).sentence.text()


def test_what_cannot_even_be_unpacked_stops_nobody_without_a_key(house: House, drilled: Check) -> None:
    """Attack prevented: rubbish in one check, which without the key nobody can refuse, ends metrics for all backups."""
    name = _name(house)
    document = decode(house.store.get(name), name)
    house.store.replace(name, encode({**document, "sealed": "!"}))
    closed = load_catalog(_without_key(house))
    check = closed.backups[0].checks[-1]
    assert check.is_closed
    assert proven(closed.backups[0], closed, house.now).level is Level.CRITICAL
    assert any(each.name == name for each in house.catalog.damage)


def test_what_is_sealed_in_one_check_opens_in_no_other(house: House, drilled: Check) -> None:
    """Attack prevented: yesterday's findings under today's verdict, by whoever has the MAC's key and not the data's."""
    repository, (backup,) = house.repository, house.catalog.backups
    first = _name(house)
    record_check(repository, drilled, backup.manifest)
    second = _name(house)
    moved = {
        **decode(house.store.get(second), second),
        "sealed": decode(house.store.get(first), first)["sealed"],
    }
    with pytest.raises(DamagedData):
        unseal_check(moved, second, repository.keyring.for_reading)


def test_a_check_that_an_older_release_wrote_counts_as_before(house: House) -> None:
    """Loss prevented: after the upgrade, no backup is verified or proven any more."""
    backup = house.back_up().backup
    repository = house.repository
    check = replace(_drill(house, backup), passed=True, proves=True, reasons=())
    record_check(repository, check, backup.manifest)
    name = _name(house)
    checked_at = house.catalog.backups[0].checks[-1].checked_at
    older = replace(check, checked_at=checked_at).to_json()
    assert older["format"] == 1
    assert backup.manifest.encryption is not None
    key = repository.keyring.for_reading(backup.manifest.encryption.key_id)
    house.store.replace(name, encode(signed(older, name, key)))
    (read,) = house.catalog.backups
    assert not house.catalog.damage
    assert proven_at(read, checked_at) == checked_at
    assert read.checks[-1].details == check.details


def test_a_backup_that_is_not_encrypted_keeps_its_checks_in_clear(house: House) -> None:
    """Loss prevented: a backup without key whose checks need one."""
    house.encrypt = False
    backup = house.back_up().backup
    record_check(house.repository, _drill(house, backup), backup.manifest)
    name = _name(house)
    document = decode(house.store.get(name), name)
    assert document["format"] == 1
    assert "sealed" not in document
    assert not house.catalog.backups[0].checks[-1].is_closed


def test_reading_the_catalog_opens_no_check(
    house: House, drilled: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: `list` of a thousand backups that unseals a thousand checks."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was opened")

    monkeypatch.setattr(sealing, "UnsealedReader", refuse)
    (backup,) = house.catalog.backups
    assert backup.good
    assert proven_at(backup, datetime.now(UTC)) is None
    assert drill_records(house.catalog)
