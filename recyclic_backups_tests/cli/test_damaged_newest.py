"""The newest backup is damaged: the next whole one is offered, and ``latest`` means it from then on."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recyclic_backups.cli import render
from recyclic_backups.cli.commands import parser
from recyclic_backups.cli.restore import command_for
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small


def damage(operator: Operator, backup_id: str) -> Path:
    """Flip a byte of a backup's dump."""
    (path,) = operator.storage.glob(f"*/backups/{backup_id}/main.dump*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    return path


def backups(operator: Operator, count: int, **overrides: str | None) -> list[str]:
    """Some backups, the newest first."""
    return [operator.backup_id(**overrides) for _ in range(count)][::-1]


@pytest.mark.parametrize("encryption", some(["true", "false"], {"true"}))
def test_restore_offers_the_newest_whole_one_and_latest_means_it_from_then_on(
    operator: Operator, encryption: str
) -> None:
    """Loss prevented: the hour in which somebody finds out by hand which of two hundred backups can be restored."""
    operator.variables["BACKUP_ENCRYPTION"] = encryption
    newest, second, whole = backups(operator, 3)
    for each in (newest, second):
        damage(operator, each)
    refused = operator.run("restore", "latest", "--into", "look here")
    assert refused.code == 40
    assert "SHA-256 differs" in refused.err
    (command,) = re.findall(rf"^hint: {whole}, of .*, is whole: (.*)$", refused.err, re.MULTILINE)
    assert command == f"recyclic-backups restore {whole} --into 'look here'"

    listed = {
        line.split()[0]: "DAMAGED" in line for line in operator.must("list").out.splitlines()[1:] if line
    }
    assert listed == {newest: True, second: True, whole: False}
    for each in (newest, second):
        checks = operator.must("show", each, "--json").json["checks"]
        assert [(check["check"], check["passed"]) for check in checks] == [
            ("verify", True),
            ("verify", False),
        ]
    restores = operator.must("audit", "show", "--action", "restore", "--json").json
    assert [(each["backup_id"], each["outcome"]) for each in restores] == [(newest, "failed")]

    # Every command that takes `latest`, or takes it for granted, means the same one, and says what it passes over.
    passed_over = f"latest is {whole}: newer, and found damaged by their last check: {newest}, {second}"
    assert operator.must("verify", "--json").json[0]["backup_id"] == whole
    for command in (
        f"restore latest --into {operator.variables['POSTGRES_DB']}_r",
        "verify",
        "show latest",
        "hold latest --reason why --until 2099-01-01",
        "release latest",
        "diagnose --backup latest",
    ):
        assert passed_over in operator.must(*shlex.split(command)).err, command
    drilled = operator.must("drill", "simple", "--json").json
    assert [each["backup_id"] for each in drilled["backups"]] == [whole]
    assert any(newest in note and second in note for note in drilled["notes"])

    figures = operator.run("metrics")
    assert figures.json["objectives"]["newest_proven"] == whole
    assert figures.code == 80, "a damaged newest backup is never calm"
    issues = [each for each in figures.json["issues"] if each["name"] == "damaged_backup"]
    assert {each["subject"] for each in issues} == {newest, second}
    operator.run("report", "--output", "page.html")
    assert newest in (operator.directory / "page.html").read_text()


def test_a_backup_of_a_clock_that_was_ahead_is_not_what_latest_means_until_then(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: who answers for the time once has `restore latest` bring back that day, for as long as he likes."""
    with monkeypatch.context() as patch:
        patch.setattr(render, "now", lambda: datetime.now(UTC) + timedelta(days=40))
        ahead = operator.backup_id()
    alone = operator.must("show", "latest", "--json")
    assert alone.json["backup_id"] == ahead, "a clock that is behind leaves nothing else"
    now = operator.backup_id()
    said = f"latest is {now}: {ahead} is of the future, a clock is or was wrong"
    for command in (f"restore latest --into {operator.variables['POSTGRES_DB']}_s", "verify", "show latest"):
        assert said in operator.must(*shlex.split(command)).err, command
    assert operator.must("drill", "simple", "--json").json["backups"][0]["backup_id"] == now
    restores = operator.must("audit", "show", "--backup", "latest", "--action", "restore", "--json").json
    assert {each["backup_id"] for each in restores} == {now}
    argv = [sys.executable, "-I", str(operator.storage / "recover.py"), "--storage", str(operator.storage)]
    out = subprocess.run(
        [*argv, "extract", "latest", "--output", str(operator.directory / "out")],
        env=operator.variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{ahead} is of the future by this machine's clock" in out.stderr


def test_a_backup_named_by_its_id_is_replaced_by_the_next_older_whole_one(operator: Operator) -> None:
    """Loss prevented: rows that an accident took, for the newest backup is of after it."""
    newest, named, older = backups(operator, 3)
    damage(operator, named)
    assert f"restore {older} --into x" in operator.run("restore", named, "--into", "x").err
    damage(operator, older)
    assert f"restore {newest} --into x" in operator.run("restore", named[:-2], "--into", "x").err
    damage(operator, newest)
    nothing = operator.run("restore", named, "--into", "x")
    assert (nothing.code, "is whole" in nothing.err) == (40, False)
    assert operator.run("restore", "latest", "--into", "x").code == 60


def test_a_damaged_manifest_is_passed_by_too(operator: Operator) -> None:
    """Loss prevented: an id from yesterday's mail, and no hint at what can be restored in its place."""
    newest, whole = backups(operator, 2)
    (manifest,) = operator.storage.glob(f"*/backups/{newest}/manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:-9])
    refused = operator.run("restore", newest, "--into", "x")
    assert refused.code == 40
    assert f"restore {whole} --into x" in refused.err


@pytest.mark.parametrize("scenario", some(["simple", "partial", "full"], {"simple"}))
def test_a_drill_that_meets_damage_records_it_for_everybody(operator: Operator, scenario: str) -> None:
    """Loss prevented: a damage that the drill's report knows, and that the next restore meets again."""
    newest, whole = backups(operator, 2)
    damage(operator, newest)
    failed = operator.run("drill", scenario)
    assert failed.code == 40
    assert f"latest is {whole}" in operator.must("verify").err


def test_what_is_whole_again_is_latest_again(operator: Operator) -> None:
    """Loss prevented: a file that came back from a copy of the storage, and is not believed for ever."""
    newest, _ = backups(operator, 2)
    path = damage(operator, newest)
    spoilt = path.read_bytes()
    assert operator.run("restore", "latest", "--into", "x").code == 40
    whole = bytearray(spoilt)
    whole[len(whole) // 2] ^= 1
    path.write_bytes(bytes(whole))
    operator.must("verify", newest)
    assert operator.must("verify", "--json").json[0]["backup_id"] == newest


def test_a_storage_writer_who_damages_the_newest_does_not_hide_that_night(operator: Operator) -> None:
    """The attack: damage the newest, forge a verdict or delete ours, and last week's backup is restored in silence."""
    newest, whole = backups(operator, 2)
    (folder,) = operator.storage.glob(f"*/backups/{newest}")
    forged = folder / "checks" / "99990101T000000.000000Z.json"
    forged.write_text(
        f'{{"format": 1, "check": "verify", "backup_id": "{newest}", "checked_at": "9999-01-01T00:00:00Z", '
        '"passed": false, "reasons": ["bad"], "proves": false, "duration_seconds": 1, "details": {}}'
    )
    assert operator.must("show", "latest", "--json").json["backup_id"] == newest
    forged.unlink()
    damage(operator, newest)
    before = set((folder / "checks").iterdir())
    assert operator.run("restore", "latest", "--into", "x").code == 40
    (ours,) = set((folder / "checks").iterdir()) - before
    assert f"latest is {whole}: newer, and found damaged" in operator.must("verify").err
    ours.unlink()  # then it is met, told and recorded again
    again = operator.run("restore", "latest", "--into", "x")
    assert (again.code, whole in again.err) == (40, True)


def test_no_verdict_is_left_of_a_backup_that_expires_meanwhile(operator: Operator) -> None:
    """Loss prevented: an alarm for a damaged storage each time that somebody restores what is just being deleted."""
    newest, _ = backups(operator, 2)
    damage(operator, newest).unlink()
    (manifest,) = operator.storage.glob(f"*/backups/{newest}/manifest.json")
    from recyclic_backups.catalog.load import load_catalog
    from recyclic_backups.catalog.repository import Repository
    from recyclic_backups.dump.verify import record_damage
    from recyclic_backups.envelope.keyring import Keyring
    from recyclic_backups.errors import DamagedData
    from recyclic_backups.storage.local import LocalStore
    from recyclic_backups_tests.operator import PASSPHRASE

    store = LocalStore(operator.storage)
    repository = Repository(
        store, operator.variables["POSTGRES_DB"], Keyring(store, PASSPHRASE), encrypt=True
    )
    backup = load_catalog(repository).find(newest)
    manifest.unlink()
    before = operator.stored()
    record_damage(repository, backup, DamagedData("gone"), "restore", backup.as_of)
    assert operator.stored() == before


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("--into x --jobs 2 --json", "--into x --jobs 2 --json"),
        ("--replace --yes --trust-owners", "--replace --trust-owners --yes"),
        ("--table s.a --table 's.b c' --merge-into d", "--table s.a --table 's.b c' --merge-into d"),
        (
            "--into x --to-server 'postgresql://me:s3cret@host:5433/?sslmode=require&password=s3cret' --no-owner",
            "--into x --to-server 'postgresql://me@host:5433/?sslmode=require' --no-owner",
        ),
        ("--into x --unsigned", "--into x"),
    ],
)
def test_the_command_that_is_offered_is_the_one_that_was_typed(typed: str, printed: str) -> None:
    """Loss prevented: --no-owner or --table forgotten at 3 a.m.; a password on the screen and in the history."""
    options = parser().parse_args(["restore", "latest", *shlex.split(typed)])
    assert command_for(options, "ID") == f"recyclic-backups restore ID {printed}"
