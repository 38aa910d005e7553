"""The sensor ``alerts`` and what somebody else wrote into its memory in the storage."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.envelope.document import encode, summed
from recyclic_backups.notify import state as remembered
from recyclic_backups.notify.incidents import Change, Incident, OpenIncidents
from recyclic_backups.notify.outbox import Delivery, Letter
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState
from recyclic_backups.notify.stored_state import name_in_storage
from recyclic_backups_tests.defs.conftest import elsewhere
from recyclic_backups_tests.defs.test_alerts import Looks, failed_run, looks, signed_looks
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.notify.problems import problem
from recyclic_backups_tests.notify.receivers import Web, bot

__all__ = ["bot", "looks", "signed_looks"]

TEXT = "KEY LEAKED, open evil.example now"


def forge(looks: Looks, serial: int) -> Path:
    """Write a memory there as anybody can: a letter in our name, and that the failure was told long ago."""
    settings, now = looks.house.settings(), looks.house.clock.at
    told = replace(problem("run/daily_backup_job/2026-11-02", kind="backup failed"), since=now)
    lie = replace(problem("storage", kind="storage"), facts={"reason": TEXT}, since=now)
    incidents = {each.key: Incident(each, Severity.CRITICAL, now, now) for each in (told, lie)}
    letter = Letter(
        "x",
        Change.OPENED,
        now,
        (incidents["storage"],),
        1,
        0,
        RecoveryPoint(),
        (Delivery("telegram", 0, now),),
    )
    memory = AlertState(serial, now, True, OpenIncidents(incidents, now), (letter,))
    name = name_in_storage(settings.database)
    path = Path(settings.storage_url.removeprefix("file://")) / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode(summed(json.loads(remembered.to_document(memory)), name)))
    return path


@pytest.mark.parametrize(
    ("signs", "cursor_lost"),
    some([(False, False), (False, True), (True, False), (True, True)], {(False, False), (True, True)}),
)
def test_a_forged_memory_sends_nothing_and_silences_nothing(
    looks: Looks, bot: Web, signs: bool, cursor_lost: bool, request: pytest.FixtureRequest
) -> None:
    """Attack: without any key, a letter of the forger's goes to everybody, and the true alarm to nobody."""
    if signs:
        request.getfixturevalue("signed_looks")
    elsewhere(looks.house, Tier.DAILY, "2026-11-01")
    looks.look()
    bot.texts.clear()
    failed_run(looks.house, "daily_backup_job", "2026-11-02")
    for minute in range(4):
        path = forge(looks, 10**9 + minute)
        if cursor_lost and minute == 0:
            looks.cursor = None
        looks.look()
        # Made anew at once, so that the next lost cursor is not everything.
        assert TEXT not in path.read_text()
    said = "\n".join(bot.texts)
    assert TEXT not in said
    assert said.count("CRITICAL: The daily backup of 2026-11-02 failed") > 0
    # That somebody writes there is told once, not each minute; where nothing is signed anybody may.
    assert sum("What alerts remember in the storage is not used" in text for text in bot.texts) == int(signs)
    assert ("memory" in looks.kinds) is signs
    looks.house.clock.at += timedelta(minutes=1)
    for _ in range(15):
        looks.look()
    assert "memory" not in looks.kinds


def test_what_an_older_version_wrote_accuses_nobody(signed_looks: Looks, bot: Web) -> None:
    """Prevents every installation from being told of a forger on the day of the upgrade."""
    looks = signed_looks
    elsewhere(looks.house, Tier.DAILY, "2026-11-01")
    looks.look()
    settings = looks.house.settings()
    path = Path(settings.storage_url.removeprefix("file://")) / name_in_storage(settings.database)
    memory = remembered.read(looks.cursor)
    assert memory is not None
    path.write_text(remembered.to_document(memory))
    bot.texts.clear()
    looks.look()
    assert "memory" not in looks.kinds
    assert bot.texts == []
    assert "mac" in json.loads(path.read_bytes())
