"""Whoever may write to the storage, without any key: no command hangs, ends in a bug, or goes outside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recyclic_backups_tests.operator import Operator

READING = (
    ("list",),
    ("show", "latest"),
    ("verify", "--all", "--level", "stored"),
    ("keys", "list"),
    ("validate",),
    ("metrics",),
    ("audit", "show"),
    ("audit", "verify"),
    ("flags", "list"),
    ("expire",),
)
"""Commands that read a little of everything."""

pytestmark = [pytest.mark.small, pytest.mark.timeout(120)]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 42)  # sparse: it takes no space


def _documents(operator: Operator) -> dict[str, Path]:
    """One small document of each kind, of a storage that has them all."""
    storage, backup_id = operator.storage, operator.backup_id()
    operator.must("hold", backup_id, "--until", "2099-01-01", "--reason", "an audit")
    operator.must("flags", "set", "fill_gaps", "on")
    made = {
        "key": next(storage.glob("keys/*.json")),
        "manifest": next(storage.glob("*/backups/*/manifest.json")),
        "check": next(storage.glob("*/backups/*/checks/*.json")),
        "label": next(storage.glob("*/tiers/daily/*.json")),
        "hold": next(storage.glob("*/holds/*.json")),
        "event": sorted(storage.glob("*/audit/*.json"))[-1],
        "flag": next(storage.glob("*/flags/*.json")),
        "script": storage / "recover.py",
        "page": storage / "RECOVERY.md",
    }
    folder = made["hold"].parents[1]
    for name, path in (
        ("tombstone", folder / "tombstones/20260101T000000Z-AAAAAA.json"),
        ("attempt", folder / "attempts/20260101T000000Z-AAAAAA.json"),
        ("alerts", folder / "alerts/state.json"),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        made[name] = path
    return made


@pytest.mark.parametrize("put", [_fifo, pytest.param(_endless, marks=pytest.mark.slow), _huge])
def test_no_command_waits_or_grows_for_something_in_the_place_of_a_document(
    operator: Operator, put: Callable[[Path], None]
) -> None:
    """Attack: a FIFO hangs backup and verify for ever, /dev/zero and terabytes of nothing eat the machine."""
    documents = _documents(operator)
    # The key and the manifest alone, since without them the commands do not come to the others.
    for chosen in (["key"], ["manifest"], [each for each in documents if each not in ("key", "manifest")]):
        kept = {documents[each]: documents[each].read_bytes() for each in chosen}
        for path in kept:
            path.unlink()
            put(path)
        for command in READING:
            outcome = operator.run(*command)
            assert outcome.code in (0, 40, 41, 60, 70, 80), (chosen, command, outcome.code, outcome.err)
        outcome = operator.run("backup")
        assert outcome.code in (0, 40, 41), (chosen, outcome.code, outcome.err)
        for path, content in kept.items():
            path.unlink(missing_ok=True)
            path.write_bytes(content)


def test_list_and_verify_name_what_is_strange_and_go_on(operator: Operator) -> None:
    """Attack: one link stops every command, or is passed over in silence."""
    backup_id = operator.backup_id()
    folder = operator.storage / "recyclic"
    folder = next(path for path in operator.storage.iterdir() if (path / "backups").is_dir())
    os.mkfifo(folder / "tiers/daily/2026-01-01.json")
    (folder / "backups/20261101T010000Z-AAAAAA").symlink_to("20261101T010000Z-AAAAAA")  # in a circle
    (operator.storage / "keys/0123456789abcdef.json").symlink_to("/dev/zero")
    told = (
        f"{folder.name}/tiers/daily/2026-01-01.json: it is a FIFO",
        f"{folder.name}/backups/20261101T010000Z-AAAAAA: it is a symbolic link",
        "keys/0123456789abcdef.json: it is a symbolic link",
    )
    outcome = operator.must("list")
    assert backup_id in outcome.out
    assert all(each in outcome.err for each in told)
    outcome = operator.run("verify", "--all", "--level", "stored")
    assert outcome.code == 40
    assert backup_id in outcome.out
    assert all(each in outcome.err for each in told)
    outcome = operator.must("keys", "list")
    assert told[-1] in outcome.err
    validated = [each["message"] for each in operator.run("validate", "--json").json]
    assert all(
        any(each.replace(": it is", " is damaged: it is") in said for said in validated) for each in told
    )
    operator.must("verify", backup_id, "--level", "stored")
    assert operator.must("backup").code == 0


def test_files_behind_a_link_survive_backup_and_expiry(operator: Operator, tmp_path: Path) -> None:
    """Attack: a folder of the storage linked to somebody's home; the next backup deleted every file behind it."""
    operator.must("backup")
    precious = tmp_path / "precious"
    (precious / "sub").mkdir(parents=True)
    for name in ("thesis.txt", "sub/y", "main.dump.zst.sealed"):
        (precious / name).write_text("thesis")
        os.utime(precious / name, (0, 0))
    folder = next(path for path in operator.storage.iterdir() if (path / "backups").is_dir())
    (folder / "backups/20261101T010000Z-AAAAAA").symlink_to(precious)
    (operator.storage / "software").symlink_to(precious)
    operator.must("backup")
    operator.must("expire", "--yes")
    assert sorted(str(path.relative_to(precious)) for path in precious.rglob("*") if path.is_file()) == [
        "main.dump.zst.sealed",
        "sub/y",
        "thesis.txt",
    ]


def test_a_module_beside_recover_py_is_told_by_backup_verify_and_validate(operator: Operator) -> None:
    """Attack: ``argparse.py`` beside recover.py, loaded by it with the key at hand on the worst day of all."""
    operator.must("backup")
    (operator.storage / "argparse.py").write_text("evil")
    told = "the file argparse.py in the storage's top directory is not of this software"
    hint = "then move it away"
    for command in (("backup",), ("verify", "--all", "--level", "stored")):
        outcome = operator.must(*command)
        assert f"warning: {told}" in outcome.err
        assert hint in outcome.err
    [found] = [each for each in operator.must("validate", "--json").json if each["message"] == told]
    assert found["status"] == "warning"
    assert hint in found["hint"]


def test_a_linked_recover_py_is_told_and_replaced_and_nothing_is_written_through_it(
    operator: Operator, tmp_path: Path
) -> None:
    """Attack: recover.py as a link to the operator's .profile, which the next backup would have overwritten."""
    operator.must("backup")
    profile = tmp_path / "profile"
    profile.write_text("mine")
    script = operator.storage / "recover.py"
    content = script.read_bytes()
    script.unlink()
    script.symlink_to(profile)
    assert "recover.py in the storage's top directory is a symbolic link" in operator.must("backup").err
    assert profile.read_text() == "mine"
    assert not script.is_symlink()
    assert script.read_bytes() == content


def test_validate_warns_of_a_storage_that_others_may_write_to(operator: Operator) -> None:
    """Attack: any user of the machine puts all of the above there."""
    operator.must("backup")
    assert "others can change" not in operator.must("validate").out
    operator.storage.chmod(0o777)
    outcome = operator.must("validate")
    assert "others can change what is in file://" in outcome.out
    assert "every user of this machine may write there" in outcome.out


def test_a_hold_that_is_a_fifo_is_not_said_to_be_released(operator: Operator) -> None:
    """Loss prevented: "released", and the backup is held for ever all the same."""
    backup_id = operator.backup_id()
    operator.must("hold", backup_id, "--until", "2099-01-01", "--reason", "an audit")
    hold = next(operator.storage.glob("*/holds/*.json"))
    hold.unlink()
    os.mkfifo(hold)
    outcome = operator.run("release", backup_id)
    assert outcome.code == 40
    assert f"holds/{backup_id}.json is still there: it is a FIFO" in outcome.err
    hold.unlink()
    operator.must("release", backup_id)
