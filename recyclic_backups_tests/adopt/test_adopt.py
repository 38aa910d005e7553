"""The command: files of the old script become backups that are listed, verified, restored, and never taken twice."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.adopt import old_script
from recyclic_backups_tests.adopt.old_script import wrap
from recyclic_backups_tests.docs.pages import blocks, read
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.rescue.test_real_backup import everything

DAILY = "postgres_backup_20250127_020000.dump.enc.gz"


@pytest.fixture
def heir(operator: Operator) -> Operator:
    """An operator who has the old script's passphrase, and no database: it is down."""
    operator.variables["BACKUP_ENCRYPTION_OLD_KEYS"] = old_script.PASSPHRASE
    # Full entropy, so that nothing waits for scrypt.
    operator.variables["BACKUP_ENCRYPTION_KEY"] = "q83vEjRWeJq83u8SNFZ4kKvN7xI0VniavN7vEjRWeJA="
    operator.variables["WITH_DATABASE"] = operator.variables["POSTGRES_PORT"]
    operator.variables["POSTGRES_PORT"] = "1"
    return operator


def _up(heir: Operator) -> Operator:
    heir.variables["POSTGRES_PORT"] = heir.variables["WITH_DATABASE"]
    return heir


def _write(heir: Operator, name: str, data: bytes) -> str:
    (heir.directory / name).write_bytes(data)
    return name


def _known(heir: Operator) -> list[dict[str, object]]:
    return list(heir.must("list", "--json").json)


def test_an_old_backup_comes_back(heir: Operator, cluster: ScratchCluster, archive: bytes) -> None:
    """Loss prevented: everything from before the change of software. From file to restored database, and without us."""
    file = _write(heir, DAILY, wrap(archive, ("pbkdf2", "gzip")))
    before = (heir.directory / file).read_bytes(), (heir.directory / file).stat().st_mtime_ns
    (entry,) = heir.must("adopt", file, "--json").json
    assert set(entry) == {"file", "action", "backup_id", "tier", "partition", "as_of", "reasons"}
    assert (entry["file"], entry["action"], entry["tier"]) == (file, "adopted", "daily")
    assert (entry["partition"], entry["as_of"]) == ("2025-01-27", "2025-01-27T01:00:00.000000Z")
    assert ((heir.directory / file).read_bytes(), (heir.directory / file).stat().st_mtime_ns) == before
    (listed,) = _known(heir)
    assert (listed["tiers"], listed["late"], listed["proven_at"]) == (["daily"], False, None)
    assert listed["verified_at"] is not None
    assert heir.must("verify", "--all", "--json").json[0]["passed"]
    manifest = heir.must("show", "latest", "--json").json
    assert (manifest["source"], manifest["fingerprint"]) == ("adopted", None)
    sha256 = hashlib.sha256(archive).hexdigest()
    assert manifest["adopted"] == {"file_name": DAILY, "sha256": sha256}
    assert manifest["objects"][0]["plain_bytes"] == len(archive)
    assert manifest["encryption"] is not None
    assert b"PGDMP" not in (heir.storage / _main(heir)).read_bytes()
    assert "adopted" in heir.must("show", "latest").out

    name = f"{heir.variables['POSTGRES_DB']}_old"
    try:
        outcome = _up(heir).must("restore", "latest", "--into", name)
        assert outcome.out.splitlines()[-1].startswith("not comparable")
        assert everything(cluster, name) == everything(cluster, heir.variables["POSTGRES_DB"])
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _main(heir: Operator) -> str:
    (name,) = (name for name in heir.stored() if "/main.dump" in name)
    return name


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_old_backup_comes_back_without_this_software(
    heir: Operator, archive: bytes, encrypted: bool
) -> None:
    """Loss prevented: adopted backups that only this software could read."""
    heir.variables["BACKUP_ENCRYPTION"] = str(encrypted).lower()
    heir.must("adopt", _write(heir, DAILY, wrap(archive, ("gzip",))))
    argv = [sys.executable, "-I", str(heir.storage / "recover.py"), "extract", "latest", "--output", "out"]
    # Who has a key asks for MACs: without encryption there is none to give.
    key = {"BACKUP_ENCRYPTION_KEY": heir.variables["BACKUP_ENCRYPTION_KEY"]} if encrypted else {}
    environment = {**os.environ, **key}
    done = subprocess.run(argv, cwd=heir.directory, env=environment, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (heir.directory / "out" / "main.dump").read_bytes() == archive
    said = done.stdout.decode()
    assert "createdb --template=template0 --encoding=UTF8" in said
    assert "globals.sql" not in said.partition("Without superuser")[0]


def test_every_tier_finds_its_partition(heir: Operator, archive: bytes) -> None:
    """Loss prevented: a month's backup counted as a day's, and gone after a week."""
    files = [
        _write(heir, "postgres_backup_20250127_020000.dump", archive),
        _write(heir, "postgres_weekly_20250126.dump.gz", wrap(archive, ("gzip",))),
        _write(heir, "postgres_monthly_202501.dump.enc", wrap(archive, ("md5",))),
        _write(heir, "of-today.dump.enc", wrap(archive, ("gzip", "sha256"))),
    ]
    entries = heir.must("adopt", *files, "--json").json
    assert [entry["action"] for entry in entries] == ["adopted"] * 4
    assert [(entry["tier"], entry["partition"]) for entry in entries[:3]] == [
        ("daily", "2025-01-27"),
        ("weekly", "2025-01-20"),
        ("monthly", "2025-01-01"),
    ]
    assert entries[3]["tier"] == "daily"
    assert any("midnight" in reason for reason in entries[1]["reasons"])
    assert len({entry["backup_id"] for entry in entries}) == 4
    assert sum(len(each["tiers"]) for each in heir.must("list", "--json").json) == 4


def test_a_dry_run_writes_nothing(heir: Operator, archive: bytes) -> None:
    """Loss prevented: trust in the word "dry"."""
    good, bad = _write(heir, DAILY, archive), _write(heir, "postgres_weekly_20250126.dump", archive[:-5000])
    before = sorted(path.name for path in heir.directory.rglob("*"))
    outcome = heir.run("adopt", good, bad, "--dry-run", "--json")
    assert outcome.code == 40
    assert [entry["action"] for entry in outcome.json] == ["would adopt", "refused"]
    assert outcome.json[0]["backup_id"] is None
    assert sorted(path.name for path in heir.directory.rglob("*")) == before
    heir.must("adopt", good)
    stored = heir.stored()
    (entry,) = heir.must("adopt", good, "--dry-run", "--json").json
    assert (entry["action"], entry["backup_id"]) == ("already adopted", _known(heir)[0]["backup_id"])
    assert heir.stored() == stored


def test_the_same_file_is_adopted_once(heir: Operator, archive: bytes) -> None:
    """Loss prevented: retention that counts one dump twice and drops another for it."""
    first = _write(heir, DAILY, wrap(archive, ("pbkdf2", "gzip")))
    heir.must("adopt", first)
    stored = {name: (heir.storage / name).read_bytes() for name in heir.stored()}
    again = _write(heir, "copy of postgres_backup_20250127_020000.dump", archive)
    entries = heir.must("adopt", first, again, first, "--json").json
    assert [entry["action"] for entry in entries] == ["already adopted"] * 3
    assert len({entry["backup_id"] for entry in entries}) == 1
    assert {name: (heir.storage / name).read_bytes() for name in heir.stored()} == stored
    other = _write(heir, "postgres_backup_20250128_020000.dump", archive)
    assert [entry["action"] for entry in heir.must("adopt", other, other, "--json").json] == [
        "adopted",
        "already adopted",
    ]
    assert len(_known(heir)) == 2


def test_a_damaged_adopted_backup_can_be_adopted_again(heir: Operator, archive: bytes) -> None:
    """Loss prevented: the good file at hand, and a catalog that says it has it already."""
    heir.must("adopt", _write(heir, DAILY, archive))
    main = heir.storage / _main(heir)
    main.write_bytes(main.read_bytes()[:-100])
    assert heir.run("verify", "--all").code == 40
    (entry,) = heir.must("adopt", DAILY, "--json").json
    assert entry["action"] == "adopted"
    assert [each["tiers"] for each in _known(heir) if each["backup_id"] == entry["backup_id"]] == [["daily"]]


def test_an_adoption_that_was_ended_is_finished(heir: Operator, archive: bytes) -> None:
    """Loss prevented: a backup without label, dropped after seven days, because the light went out in between."""
    heir.must("adopt", _write(heir, DAILY, archive))
    for name in heir.stored():
        if "/checks/" in name or "/tiers/" in name:
            (heir.storage / name).unlink()
    (entry,) = heir.must("adopt", DAILY, "--json").json
    assert entry["action"] == "already adopted"
    (known,) = _known(heir)
    assert known["tiers"] == ["daily"]
    assert known["verified_at"] is not None


def test_a_good_backup_keeps_its_partition(heir: Operator, archive: bytes) -> None:
    """Loss prevented: a day's proven backup, pushed out by an old file of the same day."""
    own = _up(heir).backup_id()
    # A moment of the same day in the past: the dump itself says when it was made.
    (entry,) = heir.must("adopt", _write(heir, "no-date.dump", archive), "--json").json
    assert entry["action"] == "adopted"
    labels = {each["backup_id"]: each["tiers"] for each in _known(heir)}
    if entry["partition"] == heir.must("show", own, "--json").json["partition"]:
        assert any(own in reason for reason in entry["reasons"])
        assert labels == {own: ["daily"], entry["backup_id"]: []}


def test_what_cannot_be_read_is_reported_and_the_others_go_on(heir: Operator, archive: bytes) -> None:
    """Loss prevented: one bad file that keeps a hundred good ones from being safe; or a bad one taken for good."""
    spoilt = bytearray(archive)
    spoilt[-3000:-2000] = bytes(1000)
    directory = heir.directory / "a-directory"
    directory.mkdir()
    files = {
        _write(heir, "empty.dump", b""): "empty",
        _write(heir, "cut.dump.gz", wrap(archive, ("gzip",))[:-9]): "gzip file is cut short",
        _write(heir, "cut.dump", archive[: len(archive) // 2]): "pg_restore cannot read it",
        _write(heir, "head.dump", archive[:30]): "cut short",
        _write(heir, "spoilt.dump", bytes(spoilt)): "pg_restore cannot read it",
        _write(heir, "longer.dump", archive + bytes(3 << 20)): "goes on after the end",
        _write(heir, "cut.enc", wrap(archive, ("pbkdf2",))[:-5]): "cut short",
        _write(heir, "key.enc", old_script.encrypt(archive, "pbkdf2", "nobody knows this one")): "no configured key",
        _write(heir, "plain.sql.gz", wrap(b"--\n-- PostgreSQL database dump\n--\n", ("gzip",))): "plain SQL",
        _write(heir, "holiday.jpg", b"\xff\xd8\xff\xe0 JFIF"): "not a backup of PostgreSQL's custom format",
        _write(heir, "postgres_backup_20251345_020000.dump", archive): "no date",
        "a-directory": "directory",
        "missing.dump": "no such file",
    }  # fmt: skip
    good = _write(heir, DAILY, archive)
    outcome = heir.run("adopt", *files, good, "--json")
    assert outcome.code == 40
    *refused, adopted = outcome.json
    assert adopted["action"] == "adopted"
    for entry, (file, said) in zip(refused, files.items(), strict=True):
        assert (entry["file"], entry["action"], entry["backup_id"]) == (file, "refused", None)
        assert said in entry["reasons"][0], (file, entry["reasons"])
    assert len(_known(heir)) == 1
    assert old_script.PASSPHRASE not in outcome.out + outcome.err
    assert heir.run("adopt", "holiday.jpg", "key.enc").code == 41
    assert heir.run("adopt", "holiday.jpg", DAILY).code == 2
    assert heir.run("adopt", "cut.enc", "key.enc").code == 40


def test_an_archive_of_another_database_says_so(heir: Operator, archive: bytes) -> None:
    """Loss prevented: the accounts of another association under the name of this one, unnoticed."""
    heir.variables["POSTGRES_DB"] = "renamed"
    (entry,) = heir.must("adopt", _write(heir, DAILY, archive), "--json").json
    assert any("recyclic_template" in reason and "renamed" in reason for reason in entry["reasons"])


def test_a_missing_owner_is_said_before_anything_is_restored(
    heir: Operator, cluster: ScratchCluster, database: str
) -> None:
    """Loss prevented: an hour of restoring before the sentence that a role is missing."""
    with cluster.server.connect(database) as connection:
        connection.execute(f"CREATE ROLE adopt_gone; ALTER DATABASE {database} OWNER TO adopt_gone")
        data = old_script.dump(cluster.installation, cluster.server, database)
        connection.execute(f"ALTER DATABASE {database} OWNER TO CURRENT_USER; DROP ROLE adopt_gone")
    heir.must("adopt", _write(heir, DAILY, data))
    outcome = _up(heir).run("restore", "latest", "--into", f"{database}_x")
    assert outcome.code == 70
    assert "adopt_gone" in outcome.err
    try:
        heir.must("restore", "latest", "--into", f"{database}_x", "--no-owner")
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database}_x WITH (FORCE)")


def test_a_newer_pg_dump_than_the_server_is_read_by_its_own_kind(
    heir: Operator, cluster: ScratchCluster, installations_by_major: dict[int, object], recyclic_template: str
) -> None:
    """Loss prevented: a good backup called damaged because the server was older than the programs."""
    newest = max(installations_by_major)
    installation = installations_by_major[newest]
    data = old_script.dump(installation, cluster.server, recyclic_template)  # type: ignore[arg-type]
    heir.must("adopt", _write(heir, DAILY, data))
    assert heir.must("verify", "--all", "--json").json[0]["passed"]


def test_a_name_in_another_encoding_is_no_obstacle(heir: Operator, archive: bytes) -> None:
    """Loss prevented: the files after one that an old machine named in Latin-1."""
    name = os.fsdecode(b"sauvegard\xe9e_postgres_backup_20250127_020000.dump")
    (heir.directory / name).write_bytes(archive)
    assert "adopted" in heir.must("adopt", name).out
    (entry,) = heir.must("adopt", name, "--json").json
    assert (entry["action"], entry["partition"]) == ("already adopted", "2025-01-27")


def test_an_old_key_may_be_short(heir: Operator, archive: bytes) -> None:
    """Loss prevented: a year of backups behind a key that today's rules would not accept."""
    heir.variables["BACKUP_ENCRYPTION_OLD_KEYS"] = "another,short"
    heir.must("adopt", _write(heir, DAILY, old_script.encrypt(archive, "pbkdf2", "short")))


def test_the_page_can_be_typed(heir: Operator, cluster: ScratchCluster, archive: bytes) -> None:
    """Loss prevented: instructions that were true of another version."""
    (heir.directory / "old").mkdir()
    _write(heir, f"old/{DAILY}", wrap(archive, ("pbkdf2", "gzip")))
    _write(heir, "old/postgres_weekly_20250126.dump", archive)
    _up(heir)
    try:
        for command in "".join(each.text for each in blocks(read("docs/adopting.md"))).splitlines():
            words = shlex.split(command.removeprefix("recyclic-backups "))
            typed = [sorted(glob(word, root_dir=heir.directory)) if "*" in word else [word] for word in words]
            outcome = heir.must(*(word for expanded in typed for word in expanded))
            if "--dry-run" in command:
                assert heir.stored() == set()
                assert outcome.out.count("would adopt") == 2
        assert outcome.out.splitlines()[-1].startswith("not comparable")
        assert len(_known(heir)) == 2
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE IF EXISTS recyclic_old WITH (FORCE)")


def test_help_and_usage(heir: Operator, tmp_path: Path) -> None:
    """Loss prevented: a command that does nothing and says nothing."""
    assert heir.run("adopt").code == 2
    assert "--dry-run" in heir.must("adopt", "--help").out
