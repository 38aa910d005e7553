"""The disk is full, broken, read-only or slow, at every write."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from recyclic_backups_tests.faults.disks import can_mount, mounted
from recyclic_backups_tests.faults.selection import slow, some
from recyclic_backups_tests.faults.site import Site, refused

STEPS = 65
FULL = "no space is left in the storage"


@lru_cache(maxsize=1)
def _mounts() -> bool:
    return can_mount()


@lru_cache(maxsize=1)
def _traces() -> bool:
    strace = shutil.which("strace")
    return (
        strace is not None
        and subprocess.run([strace, "true"], capture_output=True, check=False).returncode == 0
    )


def _require_recovered(site: Site) -> None:
    site.require_sound()
    site.require_next_backup()
    site.require_sound()


@pytest.mark.parametrize("missing_blocks", some([*range(1, 24), 100, 300, 600, 640], {6, 300}))
def test_a_disk_that_is_full_sooner_or_later(bulky_site: Site, tmp_path: Path, missing_blocks: int) -> None:
    """Loss prevented: the half of a dump that fitted, listed; and no way back to order without a person."""
    bulky_site.operator.variables.pop("BACKUP_RATE_LIMIT")
    directory = tmp_path / "measured"
    bulky_site.operator.must("backup", BACKUP_STORAGE=f"file://{directory}")
    blocks = sum(-(-path.stat().st_size // 4096) for path in directory.rglob("*") if path.is_file())
    room = max(1, blocks - missing_blocks)
    if _mounts():
        with mounted(bulky_site.storage, room * 4096) as disk:
            outcome = bulky_site.run("backup")
            if (
                outcome.code
            ):  # directories take no blocks of this file system, and uploads are made one by one
                refused(outcome, 30, FULL)
            assert not [name for name in bulky_site.operator.stored() if ".partial-" in name]
            assert not bulky_site.catalog.damage
            disk.remount("size=64m")
            _require_recovered(bulky_site)
    else:
        bulky_site.before = ("sh", "-c", 'ulimit -f "$0"; exec "$@"', str(room * 8))
        outcome = bulky_site.run("backup")
        bulky_site.before = ()
        if outcome.code:
            refused(outcome, 30, "larger than allowed")
        _require_recovered(bulky_site)


@slow
def test_a_file_that_grows_larger_than_the_system_allows(bulky_site: Site) -> None:
    """Loss prevented: a limit of the file system or the user (EFBIG) that ends the dump and nobody knows why."""
    bulky_site.operator.variables.pop("BACKUP_RATE_LIMIT")
    bulky_site.before = ("sh", "-c", 'ulimit -f "$0"; exec "$@"', "2048")
    refused(bulky_site.run("backup"), 30, "larger than allowed")
    bulky_site.before = ()
    _require_recovered(bulky_site)


@pytest.mark.parametrize(
    ("fault", "step"),
    some(
        [(fault, step) for fault in ("EIO", "ENOSPC") for step in range(STEPS)], {("EIO", 23), ("ENOSPC", 34)}
    ),
)
def test_an_error_of_the_disk_at_any_step(site: Site, fault: str, step: int) -> None:
    """Loss prevented: an error that is swallowed, and a backup that exists without being on the disk."""
    site.operator.backup_id()
    outcome = site.run("backup", FAULT=fault, FAULT_STEP=str(step))
    if outcome.code:  # a few are of no consequence: cleaning up after the backup was labelled
        refused(outcome, 30, "input/output error" if fault == "EIO" else FULL)
    _require_recovered(site)


@pytest.mark.parametrize("call", some(["fsync", "rename", "link"], {"fsync"}))
def test_a_commit_that_fails(site: Site, call: str) -> None:
    """Loss prevented: what the system refused to make durable is called a backup (the kernel's own errors)."""
    site.operator.backup_id()
    if _traces():
        names = {"fsync": "fsync", "rename": "rename,renameat,renameat2", "link": "link,linkat"}[call]
        site.before = (
            *("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={names}"),
            *("-e", f"inject={names}:error=EIO:when=1+"),
        )
        outcome = site.run("backup")
        site.before = ()
    else:
        outcome = site.run("backup", FAULT="EIO", FAULT_CALL=call, FAULT_STEP="0")
    refused(outcome, 30, "input/output error")
    assert "dmesg" in outcome.err
    _require_recovered(site)


def test_a_storage_that_is_read_only(site: Site, tmp_path: Path) -> None:
    """Loss prevented: backups that are there and cannot be listed, verified or restored where they lie."""
    into = f"{site.database}_restored"
    if not _mounts():
        site.operator.backup_id()
        refused(site.run("backup", FAULT="EROFS", FAULT_STEP="0"), 30, "read-only")
        return
    with mounted(site.storage, 32 << 20) as disk:
        backup_id = site.operator.backup_id()
        disk.remount("ro")
        refused(site.run("backup"), 30, "not writable")
        assert site.operator.must("list", "--json").json[0]["backup_id"] == backup_id
        verdict = site.run("verify", "--all")
        assert verdict.code == 30
        assert "the backup is whole, but the storage does not keep the verdict" in verdict.err
        try:
            report = site.operator.must("restore", "latest", "--into", into, "--json").json
        finally:
            site.drop(into)
        assert report["equal"]
        assert any("could not be recorded" in note for note in report["notes"])
        disk.remount("rw")
        _require_recovered(site)


@slow
def test_a_storage_that_turns_read_only_midway(bulky_site: Site) -> None:
    """Loss prevented: ext4's answer to a broken disk (errors=remount-ro) taken for the end of the dump."""
    if not _mounts():
        refused(bulky_site.run("backup", FAULT="EROFS", FAULT_CALL="write", FAULT_STEP="6"), 30, "read-only")
        return
    with mounted(bulky_site.storage, 32 << 20):
        # The kernel lets no file system be remounted while a file is open for writing: the driver says it instead.
        outcome = bulky_site.run("backup", FAULT="EROFS", FAULT_CALL="write", FAULT_STEP="6")
        refused(outcome, 30, "read-only")
        bulky_site.operator.variables.pop("BACKUP_RATE_LIMIT")
        _require_recovered(bulky_site)


def test_a_disk_that_is_not_mounted(site: Site) -> None:
    """Loss prevented: backups written into an empty mount point, on the system's disk, for months."""
    outcome = site.run("backup", BACKUP_STORAGE=f"file://{site.operator.directory}/not/mounted")
    refused(outcome, 30, "parent directory does not exist")
    assert not (site.operator.directory / "not").exists()


@slow
def test_a_disk_that_is_slow(site: Site) -> None:
    """Loss prevented: a network file system's bad day is no reason to have no backup."""
    assert site.run("backup", FAULT="slow").code == 0
    _require_recovered(site)


@slow
def test_no_space_for_a_restore_s_own_files(site: Site, tmp_path: Path) -> None:
    """Loss prevented: a restore at 3 a.m. that ends with "this is a bug" because /tmp is full."""
    site.operator.backup_id()
    before = site.databases()
    scratch = tmp_path / "missing"
    outcome = site.run(
        "restore", "latest", "--into", f"{site.database}_r", "--jobs", "2", BACKUP_SCRATCH=str(scratch)
    )
    refused(outcome, 30, str(scratch))
    assert "BACKUP_SCRATCH" in outcome.err
    assert site.databases() == before


@pytest.mark.parametrize("arguments", [("list", "--json"), ("list",)])
def test_a_report_that_cannot_be_printed(site: Site, arguments: tuple[str, ...]) -> None:
    """Loss prevented: a job of cron that is called a bug because the log's disk is full, or called done."""
    site.operator.backup_id()
    site.before = ("sh", "-c", 'exec "$0" "$@" > /dev/full')
    refused(site.run(*arguments), 30, "the report cannot be printed")
