"""Checkpoints: backups taken before a change, in a tier of their own."""

from __future__ import annotations

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.manifest import Checkpoint, Manifest
from recyclic_backups.dump.back_up import BackedUp, take_checkpoint
from recyclic_backups.errors import DamagedData
from recyclic_backups_tests.house import House


def _take(house: House, version: str = "", revision: str = "") -> BackedUp:
    checkpoint = Checkpoint(version, revision)
    return take_checkpoint(house.server, house.repository, checkpoint, house.plan, clock=house.clock)


def test_a_checkpoint_is_verified_says_before_what_and_leaves_the_daily_backup_alone(house: House) -> None:
    """Prevents the night's backup from losing its day to one that was taken before a migration."""
    daily = house.back_up()
    taken = _take(house, "2.4.0", "3f2a1c")
    assert taken.fresh
    assert taken.backup.good
    assert house.catalog.find(taken.backup.backup_id).tiers == (Tier.CHECKPOINT,)
    assert taken.backup.manifest.source == "checkpoint"
    assert taken.backup.manifest.checkpoint == Checkpoint("2.4.0", "3f2a1c")
    assert not taken.label.late
    assert house.catalog.find(daily.backup.backup_id).tiers == (Tier.DAILY,)
    assert all(each.passed for each in house.verify())


def test_two_checkpoints_of_one_second_have_both_a_label(house: House) -> None:
    """Prevents the second migration of a deployment from taking the first one's checkpoint away."""
    first, second = _take(house), _take(house)
    assert (first.label.partition, second.label.partition) == ("20261122T120000Z", "20261122T120001Z")
    assert [backup.tiers for backup in house.catalog] == [(Tier.CHECKPOINT,), (Tier.CHECKPOINT,)]


@pytest.mark.parametrize("spoilt", [[], {"version": 1, "revision": ""}])
def test_a_checkpoint_that_does_not_say_before_what_is_damage(house: House, spoilt: object) -> None:
    """Prevents a rewritten manifest from being taken for what was written."""
    document = _take(house).backup.manifest.to_json()
    assert Manifest.from_json(document).to_json()["checkpoint"] == {"version": "", "revision": ""}
    with pytest.raises(DamagedData):
        Manifest.from_json(document | {"checkpoint": spoilt})
