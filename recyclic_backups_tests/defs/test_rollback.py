"""A storage that went back to an older state, whole or in part: each document of it is authentic, and it is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups import wiring
from recyclic_backups.audit.event import Event, hash_of
from recyclic_backups.audit.log import read_head, read_log
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import encode, summed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups_tests.defs.conftest import elsewhere
from recyclic_backups_tests.defs.test_alerts import Looks, looks, signed_looks
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.notify.receivers import Web, bot
from recyclic_backups_tests.operator import Operator

__all__ = ["bot", "looks", "signed_looks"]


def storage_of(looks: Looks) -> Path:
    """Where the backups lie."""
    return Path(looks.house.settings().storage_url.removeprefix("file://"))


def root_of(looks: Looks) -> Path:
    """The folder of the database."""
    return storage_of(looks) / Layout(looks.house.settings().database).root


def lost(looks: Looks) -> dict[str, str]:
    """What went back, as it is told, by what kind of document."""
    return {
        key.removeprefix("rollback/"): facts["reason"]
        for key, facts in looks.facts.items()
        if key.startswith("rollback/")
    }


@pytest.fixture
def grown(signed_looks: Looks, tmp_path: Path) -> Looks:
    """A storage of two nights, of which the alerts know; a copy of its first night is in ``tmp_path / "old"``."""
    looks = signed_looks
    elsewhere(looks.house, Tier.DAILY, "2026-11-01")
    looks.look()
    shutil.copytree(storage_of(looks), tmp_path / "old")
    looks.house.clock.at += timedelta(days=1)
    elsewhere(looks.house, Tier.DAILY, "2026-11-02")
    looks.look()
    assert lost(looks) == {}
    return looks


def put_back(looks: Looks, old: Path, part: str) -> None:
    """Put an older state of a part of the storage in the place of what is there."""
    there = storage_of(looks) / part
    shutil.rmtree(there)
    shutil.copytree(old / part, there)


@pytest.mark.parametrize("locale", some(["en", "fr"], {"en"}))
def test_a_whole_storage_put_back_is_told_once_until_somebody_accepts_it(
    grown: Looks, bot: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], locale: str
) -> None:
    """Attack: whoever stole data at night puts yesterday's storage in the place of today's, so that no log knows of it.

    And an operator who put a copy back on purpose can say so, once, and only with the key.
    """
    looks, house = grown, grown.house
    house.variables["BACKUP_LOCALE"] = locale
    head = read_head(wiring.open_repository(house.settings()))
    assert head is not None
    put_back(looks, tmp_path / "old", "")
    bot.texts.clear()
    for _ in range(15):
        looks.look()
    now = read_head(wiring.open_repository(house.settings()))
    assert now is not None
    assert now.number < head.number
    assert lost(looks)["audit"].startswith(
        f"its audit log ended at event {head.number} of 2026-11-02 02:01, and ends"
    )
    assert lost(looks)["audit"].endswith(f" at {now.number} now")
    assert "backups" in lost(looks)
    (text,) = bot.texts
    sentence = {
        "en": "The storage went back to an older state: its audit log ended at event",
        "fr": "Le stockage est revenu à un état antérieur\u00a0: son journal d’audit finissait à l’événement",
    }
    assert sentence[locale] in text
    assert f"recyclic-backups audit verify --head {head}" in text

    operator = Operator(tmp_path, capsys, {**house.variables, "PATH": os.environ["PATH"]})
    assert operator.run("audit", "verify", "--head", str(head)).code == 40
    stranger = operator.run("audit", "accept", "--head", str(head), BACKUP_ENCRYPTION_KEY=KEY[::-1][1:] + "=")
    assert stranger.code in (10, 41)
    looks.look()
    assert lost(looks)
    operator.must("audit", "accept", "--head", str(head), "--reason", "the disk died")
    assert "was given up by" in operator.must("audit", "verify", "--head", str(head)).out
    bot.texts.clear()
    for _ in range(15):
        looks.look()
    assert lost(looks) == {}
    (text,) = bot.texts
    assert ("resolved" if locale == "en" else "résolu") in text
    # The same copy put back once more is not what was accepted.
    put_back(looks, tmp_path / "old", "")
    looks.look()
    assert "audit" in lost(looks)


def drop_newest(folder: str) -> Callable[[Looks, Path], None]:
    """Delete the newest file or folder of one of the database's folders."""

    def drop(looks: Looks, _old: Path) -> None:
        newest = max((root_of(looks) / folder).iterdir())
        if newest.is_dir():
            shutil.rmtree(newest)
            for label in root_of(looks).glob("tiers/*/2026-11-02.json"):
                label.unlink()
        else:
            newest.unlink()

    return drop


def drop_checks(looks: Looks, _old: Path) -> None:
    """The newest backup was never verified."""
    shutil.rmtree(max((root_of(looks) / "backups").iterdir()) / "checks")


def turn_label(looks: Looks, _old: Path) -> None:
    """The label of a day, as it was before the second backup of that day."""
    (label,) = root_of(looks).glob("tiers/daily/2026-11-02.json")
    before = label.read_bytes()
    looks.house.clock.at += timedelta(hours=1)
    elsewhere(looks.house, Tier.DAILY, "2026-11-02")
    looks.look()
    label.write_bytes(before)


def unrotate(looks: Looks, _old: Path) -> None:
    """A key file from before the passphrase was changed: the former one opens it."""
    repository = wiring.open_repository(looks.house.settings())
    (file,) = (storage_of(looks) / "keys").iterdir()
    before = file.read_bytes()
    looks.house.clock.at += timedelta(hours=1)
    new = "kN7vEjRWeJq83u8SNFZ4kKvN7xI0VniavN7vEjRWeJA="
    Keyring(repository.store, KEY).rotate(new, looks.house.clock())
    looks.house.variables |= {"BACKUP_ENCRYPTION_KEY": new, "BACKUP_ENCRYPTION_OLD_KEYS": KEY}
    looks.look()
    file.write_bytes(before)


def drop_keys(looks: Looks, _old: Path) -> None:
    """No key file is there any more."""
    shutil.rmtree(storage_of(looks) / "keys")


PARTS: dict[str, tuple[Callable[[Looks, Path], None], str]] = {
    "audit log": (lambda looks, old: put_back(looks, old, f"{root_of(looks).name}/audit"), "audit"),
    "newest event": (drop_newest("audit"), "audit"),
    "newest backup": (drop_newest("backups"), "backups"),
    "checks": (drop_checks, "checks"),
    "label": (turn_label, "labels"),
    "keys": (unrotate, "keys"),
    "no keys": (drop_keys, "keys"),
}


@pytest.mark.parametrize("part", some(PARTS, {"audit log", "newest backup", "checks", "label", "keys"}))
def test_an_older_state_of_one_kind_of_document_is_told(grown: Looks, tmp_path: Path, part: str) -> None:
    """Attack: only what betrays the intruder goes back, and everything that is left is authentic."""
    attack, told = PARTS[part]
    attack(grown, tmp_path / "old")
    grown.look()
    assert told in lost(grown)
    grown.look()
    assert told in lost(grown)


def test_a_log_that_grew_past_the_lost_events_is_told_all_the_same(grown: Looks, tmp_path: Path) -> None:
    """Attack: the log is put back and nobody looks until it is as long as it was."""
    put_back(grown, tmp_path / "old", f"{root_of(grown).name}/audit")
    for _ in range(3):
        elsewhere(grown.house, Tier.DAILY, "2026-11-02")
        grown.house.clock.at += timedelta(minutes=1)
    grown.look()
    assert "is not in its audit log any more, which goes up to event" in lost(grown)["audit"]


def test_a_word_that_nobody_signed_accepts_nothing(grown: Looks, tmp_path: Path) -> None:
    """Attack: the storage is put back, with an event that says it was done on purpose."""
    repository: Repository = wiring.open_repository(grown.house.settings())
    head = read_head(repository)
    put_back(grown, tmp_path / "old", "")
    last = read_log(repository)[-1]
    assert last.event is not None
    forged = Event(
        last.event.number + 1,
        last.event.at + timedelta(seconds=1),
        "accept",
        "done",
        last.event.actor,
        details={"head": str(head)},
        previous=(hash_of(repository.store.get(last.name)),),
    )
    name = f"{repository.layout.audit}/{forged.file_name}"
    repository.store.create(name, encode(summed(forged.to_json(), name)))
    grown.look()
    assert "audit" in lost(grown)


def test_an_expiry_and_a_new_storage_of_the_settings_are_no_rollback(grown: Looks, tmp_path: Path) -> None:
    """Prevents an alarm each night from hiding the one that counts."""
    from recyclic_backups.retention.expire import expire

    house = grown.house
    house.variables["RETENTION_DAILY"] = "1"
    house.clock.at += timedelta(days=3)
    for partition in ("2026-11-04", "2026-11-05"):
        house.clock.at += timedelta(days=1)
        elsewhere(house, Tier.DAILY, partition)
    grown.look()
    settings = house.settings()
    expire(wiring.open_repository(settings), settings.retention, settings.calendar, now=house.clock())
    grown.look()
    assert lost(grown) == {}
    shutil.copytree(tmp_path / "old", tmp_path / "other")
    house.variables["BACKUP_STORAGE"] = f"file://{tmp_path / 'other'}"
    grown.look()
    assert lost(grown) == {}


def test_while_the_storage_is_not_there_nothing_has_gone_back(grown: Looks) -> None:
    """Prevents a disk that is not mounted from being told as an intruder, and forgotten marks after it."""
    storage = storage_of(grown)
    storage.rename(f"{storage}-away")
    grown.look()
    storage.mkdir()
    grown.look()
    assert "rollback" not in grown.kinds
    storage.rmdir()
    Path(f"{storage}-away").rename(storage)
    grown.look()
    assert lost(grown) == {}
    max((root_of(grown) / "audit").iterdir()).unlink()
    grown.look()
    assert "audit" in lost(grown)
