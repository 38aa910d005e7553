"""A healthy database with nearly everything is not called damaged."""

from __future__ import annotations

from datetime import timedelta

import pytest

from recyclic_backups.diagnose.diagnose import diagnose
from recyclic_backups_tests.strange.conftest import Servers, back_up


@pytest.mark.parametrize("major", [15, *(pytest.param(major, marks=pytest.mark.slow) for major in (16, 18))])
def test_nothing_strange_is_taken_for_damage(servers: Servers, major: int) -> None:
    """Loss prevented: an odd but healthy table, put back to yesterday's state."""
    cluster, zoo = servers[major], servers.zoo(major)
    house = back_up(cluster, zoo)
    diagnosis = diagnose(
        house.catalog,
        cluster.server,
        zoo,
        timeout_seconds=60,
        lock_timeout_seconds=2,
        now=house.now + timedelta(hours=3),
    )
    assert diagnosis.findings == ()
    assert diagnosis.incomplete == ()
    assert any("zoo.unchecked" in note for note in diagnosis.notes)
    assert any("bookings_during_excl" in note for note in diagnosis.notes)
