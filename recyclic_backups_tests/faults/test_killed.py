"""Commands killed at every step of their work on the storage, and at moments in between."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from recyclic_backups_tests.faults.selection import slow, some
from recyclic_backups_tests.faults.site import Site, ended, killed, wait_until

FIRST_STEPS, NEXT_STEPS = 130, 90
"""More system calls than a first backup, and one into a storage that has one, make on the storage."""


@pytest.mark.parametrize("step", some(range(FIRST_STEPS), {52}))
def test_the_first_backup_killed_at_any_step(site: Site, step: int) -> None:
    """Loss prevented: a storage that a power cut on its first night has made unusable."""
    outcome = site.run("backup", FAULT="kill", FAULT_STEP=str(step))
    killed(outcome)
    if (site.storage / "storage.json").exists():
        site.require_sound()
    else:  # killed before there was a storage: that is told, and the next backup makes it
        verdict = site.operator.run("verify", "--all")
        assert verdict.code in (30, 40, 60), verdict.err
        assert "storage" in verdict.err or verdict.code == 60
    site.require_next_backup()
    site.require_sound()


@pytest.mark.parametrize("step", some(range(NEXT_STEPS), {6, 23, 37}))
def test_a_backup_killed_at_any_step(site: Site, step: int) -> None:
    """Loss prevented: a listed backup that is none; halves of backups that fill the disk (invariant 1)."""
    first = site.operator.backup_id()
    outcome = site.run("backup", FAULT="kill-after" if step % 2 else "kill", FAULT_STEP=str(step))
    killed(outcome)
    assert first in {backup.backup_id for backup in site.catalog}
    site.require_sound()
    site.require_next_backup()


@pytest.mark.parametrize("step", some(range(NEXT_STEPS), {30}))
def test_a_backup_ended_politely_at_any_step_leaves_nothing_to_sweep(site: Site, step: int) -> None:
    """Loss prevented: a restarted container that leaves a half backup each time."""
    site.operator.backup_id()
    outcome = site.run("backup", FAULT="term", FAULT_STEP=str(step))
    assert outcome.code in (0, 128 + signal.SIGTERM), outcome.err
    site.require_nobody_at_work()
    assert site.operator.stored() == site.expected_files()
    site.require_sound()
    site.require_next_backup()


@slow
def test_no_step_is_left_out(site: Site, tmp_path: Path) -> None:
    """Loss prevented: a sweep that stops before the steps that matter."""
    for most in (FIRST_STEPS, NEXT_STEPS):
        log = tmp_path / f"{most}.log"
        assert site.run("backup", FAULT_LOG=str(log)).code == 0
        assert most - 45 < len(log.read_text().splitlines()) < most


@pytest.mark.parametrize("moment", some(range(20), ()))
@pytest.mark.parametrize("command", ["backup", "verify", "restore"])
def test_a_command_killed_at_any_moment(site: Site, command: str, moment: int) -> None:
    """Loss prevented: what no step of the storage shows: killed in the middle of pg_dump or pg_restore."""
    site.operator.backup_id()
    before = site.databases()
    into = f"{site.database}_restored"
    arguments = ("restore", "latest", "--into", into) if command == "restore" else (command,)
    with site.start(*arguments) as process:
        time.sleep(0.15 + moment * 0.1)
        process.kill()
        ended(process)
    site.require_nobody_at_work()
    site.require_sound()
    site.require_next_backup()
    try:
        if command == "restore":
            if into not in site.databases():
                assert site.operator.must("restore", "latest", "--into", into, "--json").json["equal"]
            else:
                site.operator.must("restore", "latest", "--into", into, "--replace", "--yes")
            assert {name for name in site.databases() - before if "_restoring_" in name} == set()
    finally:
        site.drop(*(site.databases() - before))


@pytest.mark.parametrize(
    "number",
    some([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], {signal.SIGKILL, signal.SIGTERM}),
)
def test_a_backup_ended_in_the_middle_of_the_dump(bulky_site: Site, number: signal.Signals) -> None:
    """Loss prevented: a pg_dump that nobody waits for any more and that keeps every table locked."""
    with bulky_site.held_midway() as (process, proxy):
        process.send_signal(number)
        proxy.let_go()
        outcome = ended(process)
        bulky_site.require_nobody_at_work()  # while the line is there: it must not be that which ends pg_dump
    assert outcome.code == {signal.SIGKILL: -9, signal.SIGINT: 130}.get(number, 128 + number)
    assert len(outcome.err.splitlines()) == (0 if number == signal.SIGKILL else 1), outcome.err
    bulky_site.require_sound()
    if number != signal.SIGKILL:
        assert bulky_site.operator.stored() == bulky_site.expected_files()
    bulky_site.operator.variables.pop("BACKUP_RATE_LIMIT")
    bulky_site.require_next_backup()


@pytest.mark.parametrize("step", some(range(30), {3}))
def test_verify_killed_at_any_step(site: Site, step: int) -> None:
    """Loss prevented: half a verdict beside a good backup."""
    site.operator.backup_id()
    killed(site.run("verify", "--all", FAULT="kill", FAULT_STEP=str(step)))
    site.require_sound()
    site.require_next_backup()


@slow
def test_a_killed_upload_is_swept_whatever_it_was(site: Site) -> None:
    """Loss prevented: temporary files of labels, checks and events that stay for two days each, and add up."""
    site.operator.backup_id()
    log = site.operator.directory / "steps"
    site.run("backup", FAULT_LOG=str(log))
    last_open = [line.split()[0] for line in log.read_text().splitlines()]
    step = len(last_open) - 1 - last_open[::-1].index("write")
    killed(site.run("backup", FAULT="kill", FAULT_STEP=str(step)))  # the last event, open and empty
    wait_until(lambda: any(".partial-" in name for name in site.operator.stored()))
    site.require_next_backup()
