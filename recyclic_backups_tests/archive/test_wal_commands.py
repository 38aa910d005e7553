"""``wal status`` and ``wal fetch``: what they say is so, and what was forged proves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import read_followed, read_position
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import (
    SEGMENT_BYTES,
    archive_of,
    assert_as_on_the_server,
    reached,
    receiving,
    write_rows,
)
from recyclic_backups_tests.cli.test_json import PAGE, _differences
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator, variables_of


@pytest.fixture
def archived(
    server_of_its_own: ScratchCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[Operator, WalArchive, Path]:
    """The command line beside a server, some segments of which are archived."""
    variables = variables_of(server_of_its_own.server, "postgres")
    encrypted = {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": KEY}
    operator = Operator(tmp_path, capsys, {**variables, **encrypted})
    folder = operator.directory / "backups"
    store = LocalStore.open(folder, create=True)
    archive = archive_of(store, server_of_its_own)
    with receiving(server_of_its_own, store) as running:
        for _ in range(3):
            end = write_rows(server_of_its_own, 4000)
        running.wait_until(lambda: reached(archive) >= end)
    return operator, archive, folder


def test_status_tells_how_far_it_reaches_and_fetch_gives_what_the_server_had(
    archived: tuple[Operator, WalArchive, Path], server_of_its_own: ScratchCluster, tmp_path: Path
) -> None:
    """Loss prevented: an archive that nobody can look into before the day it is needed."""
    operator, archive, _ = archived
    result = operator.run("wal", "status", "--json")
    assert result.code == 0, result.err
    said = result.document
    assert said["format"] == 1
    assert said["gaps"] == []
    assert said["age_seconds"] >= 0
    assert said["slot"]["active"] is False
    assert said["slot"]["left_bytes"] is None
    segment = min(archive.listing().segments)
    output = tmp_path / "fetched"
    assert operator.run("wal", "fetch", segment, "--output", str(output)).code == 0
    assert output.stat().st_size == SEGMENT_BYTES
    of_the_server = server_of_its_own.data_directory / "pg_wal" / segment
    assert not of_the_server.exists() or of_the_server.read_bytes() == output.read_bytes()
    assert operator.run("wal", "fetch", segment, "--output", str(output)).code == 70
    assert operator.run("wal", "fetch", "00000009" + segment[8:], "--output", f"{output}.2").code == 60
    assert operator.run("wal", "fetch", "nonsense").code == 2
    assert "system" in operator.run("wal", "status").out


def test_a_segment_that_is_gone_is_a_gap(archived: tuple[Operator, WalArchive, Path]) -> None:
    """Loss prevented: a recovery that ends in the middle without a word."""
    operator, archive, folder = archived
    listing = archive.listing()
    missing = sorted(listing.segments)[1]
    (folder / listing.segments[missing]).unlink()
    result = operator.run("wal", "status", "--json")
    assert result.code == 50
    (gap,) = result.document["gaps"]
    assert gap["from_lsn"] != gap["to_lsn"]
    assert not list(_differences(PAGE["wal status"], result.document)), "it is not what docs/json.md says"
    assert "GAP" in operator.run("wal", "status").out


def test_a_segment_that_somebody_changed_or_moved_is_damage(
    archived: tuple[Operator, WalArchive, Path], tmp_path: Path
) -> None:
    """Attack: who writes to the storage flips a byte, gives one segment another's name, or leaves an unsealed one."""
    operator, archive, folder = archived
    listing = archive.listing()
    first, second, *_ = sorted(listing.segments)
    file = folder / listing.segments[first]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert operator.run("wal", "fetch", first, "--output", str(tmp_path / "1")).code == 40
    file.write_bytes((folder / listing.segments[second]).read_bytes())
    assert operator.run("wal", "fetch", first, "--output", str(tmp_path / "2")).code == 40
    file.unlink()
    plain = archive._store(listing.segments[first].removesuffix(".sealed"), bytes(SEGMENT_BYTES), None)
    assert (folder / plain).exists()
    assert operator.run("wal", "fetch", first, "--output", str(tmp_path / "3")).code == 60, (
        "it does not exist"
    )


def test_what_is_not_sealed_hides_no_gap(archived: tuple[Operator, WalArchive, Path]) -> None:
    """Attack: who writes to the storage took a segment away, and lays something in its place that has its name."""
    operator, archive, folder = archived
    listing = archive.listing()
    name = listing.segments[sorted(listing.segments)[1]]
    (folder / name).rename(folder / name.removesuffix(".sealed"))
    assert operator.run("wal", "status").code == 50


def test_what_was_deleted_or_replaced_and_is_put_back_makes_the_archive_older_and_nothing_else(
    archived: tuple[Operator, WalArchive, Path], server_of_its_own: ScratchCluster
) -> None:
    """Attack: who writes to the storage lays back a position of ours, and tails that one of ours took the place of."""
    operator, archive, folder = archived
    position = folder / f"{archive.wal}/position.json"
    older, store = position.read_bytes(), LocalStore(folder)
    listing = archive.listing()
    kept = {
        tail.name: (folder / tail.name).read_bytes() for tails in listing.tails.values() for tail in tails
    }
    with receiving(server_of_its_own, store) as running:
        for _ in range(3):
            end = write_rows(server_of_its_own, 4000)
        running.wait_until(lambda: reached(archive) >= end)
    assert kept
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    newer = operator.run("wal", "status", "--json").document
    position.write_bytes(older)
    result = operator.run("wal", "status", "--json")
    assert result.code == 0
    assert result.document["position"]["lsn"] != newer["position"]["lsn"]
    assert result.document["age_seconds"] > newer["age_seconds"]
    with receiving(server_of_its_own, store) as running:
        running.write_and_store(server_of_its_own, archive, 4000)
    assert_as_on_the_server(server_of_its_own, archive)
    assert operator.run("wal", "status").code == 0


def test_a_position_that_nobody_signed_is_believed_nothing_of(
    archived: tuple[Operator, WalArchive, Path],
) -> None:
    """Attack: a position of tomorrow hides that nothing is received any more."""
    operator, archive, folder = archived
    file = folder / f"{archive.wal}/position.json"
    document = json.loads(file.read_text())
    document["server_time"] = "2099-01-01T00:00:00.000000Z"
    file.write_text(json.dumps(document))
    result = operator.run("wal", "status", "--json")
    assert result.code == 40
    assert result.document["age_seconds"] is None


def test_without_encryption_it_works_the_same(
    server_of_its_own: ScratchCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loss prevented: an archive that only those have who turned encryption on."""
    operator = Operator(tmp_path, capsys, variables_of(server_of_its_own.server, "postgres"))
    folder = operator.directory / "backups"
    store = LocalStore.open(folder, create=True)
    archive = archive_of(store, server_of_its_own, encrypt=False)
    with receiving(server_of_its_own, store, encrypt=False) as running:
        running.write_and_store(server_of_its_own, archive, 4000)
    assert operator.run("wal", "status").code == 0
    segment = min(archive.listing().segments)
    assert operator.run("wal", "fetch", segment, "--output", str(tmp_path / "fetched")).code == 0


def test_what_the_receiver_refuses_is_accepted_by_a_person_alone_and_recorded(
    archived: tuple[Operator, WalArchive, Path],
) -> None:
    """Loss prevented: a receiver that stands still for good; or an attacker's word in the place of a person's."""
    operator, archive, _ = archived
    position = read_position(archive)
    assert position is not None
    assert position.proof == "password"
    assert operator.run("wal", "accept", "--without-proof").code == 70
    assert read_position(archive) == position
    operator.must("wal", "accept", "--without-proof", "--yes")
    assert read_position(archive) == replace(position, proof="")
    assert operator.run("wal", "accept", "--without-proof", "--yes").code == 70, "there is nothing to accept"

    assert operator.run("wal", "accept", "--timeline", "2").code == 2
    assert operator.run("wal", "accept", "--timeline", "2", "--left", "1@here").code == 2
    assert operator.run("wal", "accept", "--timeline", "9", "--left", "7@0/5000060", "--yes").code == 70
    assert operator.run("wal", "accept", "--timeline", "2", "--left", "1@0/5000060").code == 70
    assert read_followed(archive, 2) is None
    operator.must("wal", "accept", "--timeline", "2", "--left", "1@0/5000060", "--yes")
    followed = read_followed(archive, 2)
    assert followed is not None
    assert (followed.left_timeline, followed.left_lsn) == (1, 0x5000060)
    events = operator.must("audit", "show", "--action", "accept server", "--json").json
    assert [each["details"]["reason"] for each in events] == [
        "without proof by password",
        "timeline 2, which left 1@0/5000060",
    ]
