"""A storage that is not there is not an empty one: exit code 30 and its name, whatever the command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recyclic_backups.cli.commands import parser
from recyclic_backups.storage import mounts
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

COMMANDS: dict[str, tuple[str, ...]] = {
    "validate": (),
    "backup": (),
    "list": (),
    "show": ("latest",),
    "verify": ("--all",),
    "restore": ("latest", "--into", "new"),
    "diagnose": (),
    "diagnose --backup": ("latest",),
    "drill simple": (),
    "drill partial": (),
    "drill full": (),
    "drill pitr": (),
    "wal receive": (),
    "wal status": (),
    "wal accept --without-proof": ("--yes",),
    "wal fetch": ("000000010000000000000001",),
    "base-backup": (),
    "base-backup --list": (),
    "recover": ("--latest", "--dry-run"),
    "guard": ("--", "true"),
    "expire": (),
    "expire --yes": (),
    "hold": ("latest", "--reason", "why", "--until", "2099-01-01"),
    "release": ("latest",),
    "metrics": (),
    "metrics --format prometheus": (),
    "report": ("--output", "page.html"),
    "adopt": ("dump.sql",),
    "adopt --dry-run": ("dump.sql",),
    "keys list": (),
    "keys rotate": (),
    "keys sheet": (),
    "keys seal-manifests": (),
    "audit show": (),
    "audit verify": (),
    "audit accept": ("--head", f"1:{0:064}", "--reason", "why"),
    "status": (),
    "flags list": (),
    "flags set": ("fill_gaps", "off"),
    "flags unset": ("fill_gaps",),
}

WITHOUT_STORAGE = {"alerts", "demo", "completion", "keys generate", "notify-test"}
"""Commands that read none, and the one that tells people that it is gone."""


def commands_of(given: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    """Every command with its actions, as it is typed."""
    groups = [each for each in given._actions if isinstance(each, argparse._SubParsersAction)]
    if not groups:
        yield before.strip()
    for group in groups:
        for name, below in group.choices.items():
            yield from commands_of(below, f"{before} {name}")


def test_every_command_is_asked_here() -> None:
    """Loss prevented: a new command that takes an unmounted disk for an empty one."""
    asked = {" ".join(part for part in each.split() if not part.startswith("-")) for each in COMMANDS}
    asked = {each.removesuffix(" prometheus") for each in asked}
    known = set(commands_of(parser(whole=True)))
    assert known <= {*asked, *(each.split()[0] for each in asked), *WITHOUT_STORAGE}


def nothing(operator: Operator) -> Path:
    """A disk that is not mounted: not even the parent of the storage is there."""
    return operator.directory / "not" / "mounted"


def a_file(operator: Operator) -> Path:
    """Something else has the name."""
    place = operator.directory / "file"
    place.write_text("no storage")
    return place


def below_a_file(operator: Operator) -> Path:
    """Something else has the name of the parent."""
    return a_file(operator) / "backups"


def a_dangling_link(operator: Operator) -> Path:
    """A link to where the disk was."""
    place = operator.directory / "link"
    place.symlink_to(operator.directory / "gone")
    return place


def an_empty_mount_point(operator: Operator) -> Path:
    """The directory is there, the disk of /etc/fstab is not."""
    place = operator.directory / "mount point"
    place.mkdir()
    return place


PLACES = (nothing, a_file, below_a_file, a_dangling_link, an_empty_mount_point)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_storage_that_is_not_there_is_named_by_every_command(
    operator: Operator, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: "there is no backup yet" at 3 a.m., where the disk with two hundred of them is not mounted."""
    (operator.directory / "fstab").write_text(
        f"# comment\nproc /proc proc\nUUID=1 {operator.directory}/mount\\040point ext4 defaults 0 2\n"
    )
    monkeypatch.setattr(mounts, "FSTAB", operator.directory / "fstab")
    (operator.directory / "dump.sql").write_text("-- PostgreSQL database dump\n")
    for make in PLACES:
        place = make(operator)
        before = sorted(operator.directory.rglob("*"))
        outcome = operator.run(*command.split(), *COMMANDS[command], BACKUP_STORAGE=f"file://{place}")
        said = outcome.out + outcome.err
        assert outcome.code == 30, (make.__name__, said)
        assert str(place) in said, make.__name__
        assert "take one with" not in said
        assert "no .env in" in said
        assert sorted(operator.directory.rglob("*")) == before, make.__name__
        if place.is_file():
            place.unlink()


WRITERS = ("validate", "backup", "guard", "adopt")
READERS = [
    name
    for name in COMMANDS
    if name.partition(" ")[0] not in WRITERS and name not in ("wal receive", "base-backup")
]


@pytest.mark.parametrize("command", READERS)
def test_what_only_reads_makes_no_storage(operator: Operator, command: str) -> None:
    """Loss prevented: an empty directory, made by a look, that passes for the storage from then on."""
    outcome = operator.run(*command.split(), *COMMANDS[command])
    assert outcome.code == 30, outcome.err
    assert f"there is no storage at {operator.storage}" in outcome.err
    assert not operator.storage.exists()


def test_the_settings_file_that_was_read_is_said(operator: Operator) -> None:
    """Loss prevented: an hour's search for backups that the .env of another directory leads to."""
    (operator.directory / ".env").write_text("BACKUP_STORAGE=file:///not/mounted/at/all\n")
    outcome = operator.run("list")
    assert outcome.code == 30
    assert f"read from the environment and {operator.directory}/.env" in outcome.err


def test_an_empty_storage_says_where_it_is_and_how_to_take_the_first_backup(operator: Operator) -> None:
    """Loss prevented: a newcomer without the next step; an empty storage nobody knows the place of."""
    operator.storage.mkdir()
    for command, code in ((("list",), 0), (("restore", "latest", "--into", "x"), 60)):
        outcome = operator.run(*command)
        assert outcome.code == code
        assert f"no backup yet in {operator.storage.as_uri()}" in outcome.err
        assert "take one with: recyclic-backups backup" in outcome.err


def test_a_disk_mounted_below_a_place_without_its_own_is_a_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: backups refused where they are well kept."""
    (tmp_path / "fstab").write_text(f"UUID=1 {tmp_path}/above ext4\n")
    monkeypatch.setattr(mounts, "FSTAB", tmp_path / "fstab")
    mounted = tmp_path / "above" / "disk"
    (mounted / "backups").mkdir(parents=True)
    assert mounts.unmounted(mounted / "backups") == tmp_path / "above"
    is_mount: Callable[[object], bool] = lambda place: place in (mounted, Path("/"))  # noqa: E731
    monkeypatch.setattr("os.path.ismount", is_mount)
    assert mounts.unmounted(mounted / "backups") is None
    assert mounts.unmounted(tmp_path / "elsewhere") is None
