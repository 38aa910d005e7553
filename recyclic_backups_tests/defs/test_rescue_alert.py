"""A changed recover.py is told by an alert: nobody runs validate on an ordinary day."""

from __future__ import annotations

from datetime import timedelta

from recyclic_backups import rescue, wiring
from recyclic_backups.notify.message import what
from recyclic_backups_tests.defs.test_alerts import Looks, looks
from recyclic_backups_tests.notify.receivers import Web, bot

__all__ = ["bot", "looks"]


def test_a_changed_script_is_told_once_and_resolved_by_the_next_backup(looks: Looks, bot: Web) -> None:
    """Attack prevented: recover.py replaced for the day on which somebody runs it with the key, and nobody told."""
    house = looks.house
    assert house.run("daily", "2026-11-01").success
    looks.look()
    bot.texts.clear()
    store = wiring.open_store(house.settings())
    store.replace(rescue.SCRIPT, b"import os\n")
    for _ in range(2):
        looks.look()
    assert "rescue" in looks.kinds
    (text,) = bot.texts
    assert "CRITICAL: recover.py in the storage is not what this software put there" in text
    assert "do next: recyclic-backups validate" in text
    bot.texts.clear()
    house.clock.at += timedelta(days=1)
    assert house.run("daily", "2026-11-02").success
    assert store.get(rescue.SCRIPT) == rescue.shipped(rescue.SCRIPT)
    for _ in range(3):
        house.clock.at += timedelta(minutes=10)
        looks.look()
    assert "rescue" not in looks.kinds
    assert any("resolved: recover.py in the storage" in each for each in bot.texts)


def test_it_is_told_in_french() -> None:
    """Loss prevented: an alert that its reader does not understand."""
    assert what("rescue", {"name": "recover.py"}, "fr").startswith("recover.py, dans le stockage")
