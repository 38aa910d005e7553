"""What the commands say of backups that nobody signed, and of keys that are strangers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recyclic_backups.envelope.keyring import generate_passphrase
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import PASSPHRASE, Operator

pytestmark = pytest.mark.small


@pytest.fixture
def evil(operator: Operator) -> str:
    """A backup of ours, and a newer one that somebody without the key made elsewhere and laid beside it."""
    operator.backup_id()
    elsewhere = operator.directory / "evil"
    plain = {
        "BACKUP_ENCRYPTION": "false",
        "BACKUP_ENCRYPTION_KEY": None,
        "BACKUP_STORAGE": f"file://{elsewhere}",
    }
    backup_id = operator.backup_id(**plain)
    (folder,) = elsewhere.glob(f"*/backups/{backup_id}")
    shutil.copytree(folder, operator.storage / folder.relative_to(elsewhere))
    return backup_id


def test_a_forged_backup_is_marked_refused_and_restored_only_by_its_own_option(
    cluster: ScratchCluster, operator: Operator, evil: str
) -> None:
    """The attack: a newer backup with a superuser of the forger's, verified, latest and restored without a word."""
    listed = operator.must("list")
    assert evil in listed.err
    (row,) = [line for line in listed.out.splitlines() if evil in line]
    assert row.endswith("unsigned")
    assert {each["authenticity"] for each in operator.must("list", "--json").json} == {"signed", "unsigned"}
    shown = operator.must("show", evil)
    assert "NOBODY" in shown.out
    assert operator.must("show", evil, "--json").json["authenticity"] == "unsigned"
    assert operator.must("show", "latest", "--json").json["backup_id"] != evil
    assert operator.run("verify", evil).code == 40
    assert operator.run("hold", evil, "--reason", "x", "--until", "2099-12-31").code == 40
    into = f"{operator.variables['POSTGRES_DB']}_evil"
    refused = operator.run("restore", evil, "--into", into)
    assert refused.code == 70
    assert "--unsigned" in refused.err
    try:
        restored = operator.must("restore", evil, "--into", into, "--unsigned", "--json")
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{into}"')
    assert "nobody vouches" in restored.err
    assert any("nobody vouches" in note for note in restored.json["notes"])
    # Nothing is written beside it that would make it one of ours.
    assert (
        next(each for each in operator.must("list", "--json").json if each["backup_id"] == evil)["proven_at"]
        is None
    )


def test_what_nobody_signed_leaves_by_a_word_of_its_own(operator: Operator, evil: str) -> None:
    """Prevents members' data that no rule deletes, and a rule that deletes what somebody put there."""
    (entry,) = operator.must("expire", "--unsigned", "--json").json
    assert (entry["backup_id"], entry["action"]) == (evil, "expire")
    assert operator.must("expire", "--json", "--yes").json
    assert evil in operator.must("list").out
    operator.must("expire", "--unsigned", "--yes")
    assert [
        each["backup_id"] for each in operator.must("list", "--json").json if each["backup_id"] == evil
    ] == []
    assert operator.must("verify", "--all").code == 0


def test_without_the_key_the_list_says_that_nothing_was_checked(operator: Operator) -> None:
    """Prevents a list that looks like any other on a machine where a forged proof cannot be told."""
    operator.backup_id()
    keyless = {"BACKUP_ENCRYPTION": "false", "BACKUP_ENCRYPTION_KEY": None}
    listed = operator.must("list", **keyless)
    assert "not checked" in listed.err
    assert listed.out.splitlines()[-1].endswith("not checked")
    metrics = operator.run("metrics", "--format", "json", **keyless)
    assert metrics.json["authenticity"]["checked"] is False
    assert operator.run("restore", "latest", "--into", "nowhere", **keyless).code == 41
    # Nor is anything taken into it that would not be believed afterwards.
    assert operator.run("backup", **keyless).code == 70


def test_a_planted_key_is_listed_as_a_stranger_and_taken_in_only_by_name(operator: Operator) -> None:
    """The attack: who knows a former passphrase plants a key; and a legitimate one that has to come back in."""
    operator.backup_id()
    new = generate_passphrase()
    both: dict[str, str | None] = {"BACKUP_ENCRYPTION_KEY": new, "BACKUP_ENCRYPTION_OLD_KEYS": PASSPHRASE}
    waiting = operator.run("backup", **both)
    assert waiting.code == 41
    assert "keys rotate" in waiting.err
    operator.must("keys", "rotate", **both)
    elsewhere = operator.directory / "evil"
    operator.backup_id(BACKUP_STORAGE=f"file://{elsewhere}", BACKUP_ENCRYPTION_KEY=PASSPHRASE)
    (planted,) = (elsewhere / "keys").iterdir()
    shutil.copy(planted, operator.storage / "keys")
    operator.must("backup", **both)
    keys = {each["key_id"]: each for each in operator.must("keys", "list", "--json", **both).json}
    stranger = keys.pop(Path(planted).stem)
    (own,) = keys.values()
    assert (stranger["opened_by"], stranger["belongs"]) == ("former", False)
    assert (own["opened_by"], own["belongs"]) == ("current", True)
    assert own["storage_id"] == json.loads((operator.storage / "storage.json").read_text())["storage_id"]
    listed = operator.must("keys", "list", **both)
    assert "stranger" in listed.out
    assert "does not belong" in listed.err
    (newest,) = operator.must("list", "--json", **both).json[:1]
    manifest = operator.must("show", newest["backup_id"], "--json", **both).json
    assert manifest["encryption"]["key_id"] == own["key_id"]
    operator.must("keys", "rotate", "--adopt", stranger["key_id"], **both)
    assert all(each["belongs"] for each in operator.must("keys", "list", "--json", **both).json)
