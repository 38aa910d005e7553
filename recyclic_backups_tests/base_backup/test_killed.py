"""A base backup that dies at any call of the storage: nothing half exists, and the next one tidies up."""

from __future__ import annotations

import threading

import pytest

from recyclic_backups_tests.base_backup.conftest import Premises
from recyclic_backups_tests.faults.selection import slow, some

STEPS = 70
"""More calls than one makes on its own part of the storage, but for writing its data."""


class Killed(BaseException):
    """As SIGKILL: nothing of the run gets to the storage any more."""


def _killed_at(premises: Premises, step: int) -> int:
    """Take one, and kill it before its call of that number; returns how many calls it made."""
    calls, me = 0, threading.current_thread()

    def kill(verb: str, name: str) -> None:
        nonlocal calls
        if verb in ("write", "free_bytes") or threading.current_thread() is not me:
            return  # the receiver's, and the thread that stores, whose commit is ours
        calls += "/base/" in name or calls >= step
        if calls >= step:
            raise Killed

    premises.store.before = kill  # type: ignore[attr-defined]
    try:
        premises.take("full")
    except Killed:
        pass
    finally:
        premises.store.before = lambda _verb, _name: None  # type: ignore[attr-defined]
    return calls


@pytest.mark.parametrize("step", some(range(1, STEPS), {3, 12, 17}))
def test_what_is_listed_is_whole_and_the_next_one_is_good(premises: Premises, step: int) -> None:
    """Loss prevented: a base backup that is one by its name, found out in the night of the recovery (invariant 1)."""
    _killed_at(premises, step)
    for base in premises.bases.bases:
        folder = f"{premises.archive.root}/base/{base.base_id}"
        assert {f"{folder}/{each.name}" for each in base.manifest.objects}.issubset(premises.base_objects)
        assert premises.verify(base.base_id).passed
    done = premises.take("full")
    assert done.base.good
    known = {each.base_id for each in premises.bases.bases}
    left = {
        name.removeprefix(f"{premises.archive.root}/base/").split("/")[0] for name in premises.base_objects
    }
    assert left == known
    assert premises.bases.damage == ()


@slow
def test_no_step_is_left_out(premises: Premises) -> None:
    """Loss prevented: a sweep that stops before the steps that matter."""
    assert _killed_at(premises, 10_000) < STEPS
