"""``drill pitr``: what WAL brings back is what a dump of that moment holds, and whatever is wrong turns it red."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recyclic_backups.archive.accept import accept_timeline
from recyclic_backups.archive.archive import WalArchive, packed
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.catalog import load_base_backups
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.timestamps import from_text
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import (
    SEGMENT_BYTES,
    Running,
    archive_of,
    copied,
    promote,
    put_in_its_place,
    reached,
    receiving,
    small_segments,
    to_accept,
    write_rows,
)
from recyclic_backups_tests.base_backup.conftest import Premises
from recyclic_backups_tests.cli.test_json import differences
from recyclic_backups_tests.house import KEY, House
from recyclic_backups_tests.operator import Operator, variables_of

pytestmark = pytest.mark.small


@dataclass
class Archived:
    """A server whose WAL was archived from a base backup on, and a dump taken in between."""

    cluster: ScratchCluster
    storage: Path
    backup_id: str
    stopped_at: datetime
    """When its receiver was stopped, by this machine's clock."""


@pytest.fixture(scope="module")
def archived(
    installation: Installation, scratch_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archived]:
    """See :class:`Archived`. Damage a copy."""
    directory = tmp_path_factory.mktemp("pitr")
    storage = directory / "backups"
    store = LocalStore.open(storage, create=True)
    with small_segments(installation, scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute(
                "CREATE TABLE public.log (id bigserial, what text); CREATE SEQUENCE public.ticket;"
                "CREATE UNLOGGED TABLE public.cache AS SELECT 1 AS n; SELECT nextval('public.ticket')"
            )
        archive = archive_of(store, cluster)
        with receiving(cluster, store) as running:
            Premises(cluster, store).take()
            write_rows(cluster, 3000)
            house = House(cluster.server, "postgres", store, datetime.now(UTC))
            house.options(find_replay_point=True)
            backup_id = house.back_up().backup.backup_id
            end = write_rows(cluster, 3000, "later")
            running.wait_until(lambda: reached(archive) >= end)
        yield Archived(cluster, storage, backup_id, datetime.now(UTC))


def _variables(cluster: ScratchCluster) -> dict[str, str]:
    return {
        **variables_of(cluster.server, "postgres"),
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": KEY,
        "WAL_ARCHIVE": "true",
    }


@pytest.fixture
def operator(archived: Archived, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """The command line beside a copy of the storage."""
    shutil.copytree(archived.storage, tmp_path / "backups")
    return Operator(tmp_path, capsys, _variables(archived.cluster))


def test_what_wal_brings_back_is_what_the_dump_of_that_moment_holds(
    archived: Archived, operator: Operator
) -> None:
    """Loss prevented: an archive of a year that nobody ever recovered from, and that brings back something else."""
    printed = operator.must("drill", "pitr", "--json")
    assert differences("drill, pitr", printed.out) == []
    report = printed.document
    assert report["scenario"] == "pitr"
    assert report["backup_id"] == archived.backup_id
    assert report["passed"]
    assert report["compared"]
    assert report["objectives_met"]
    (table,) = report["tables"]
    assert (table["name"], table["rows_actual"], table["equal"]) == ("public.log", 3000, True)
    assert report["random_reached"] is None or report["random_reached"] <= report["random_time"]
    # The verdict is the base backup's: nobody has restored the dump.
    assert operator.must("show", archived.backup_id, "--json").document["checks"] != []
    assert operator.must("list", "--json").json[0]["proven_at"] is None
    store = LocalStore.open(operator.storage, create=False)
    (base,) = load_base_backups(archive_of(store, archived.cluster)).bases
    assert [check.kind for check in base.checks if check.details.get("scenario") == "pitr"] == ["drill"]


def test_a_drill_of_a_dump_counts_with_wal_what_would_be_lost(archived: Archived, operator: Operator) -> None:
    """Loss prevented: a day that is called lost by each drill of a dump, where WAL has it up to the last seconds."""
    report = operator.must("drill", "simple", "--json").document
    began, dumped, until = (
        from_text(each) for each in (report["started_at"], report["backups"][0]["as_of"], report["wal_as_of"])
    )
    assert dumped < until <= began
    assert report["data_loss_seconds"] == round((began - until).total_seconds(), 3)
    assert report["objectives_met"] is True


def _segments(operator: Operator, archived: Archived) -> list[Path]:
    store = LocalStore.open(operator.storage, create=False)
    return [
        operator.storage / name
        for _, name in sorted(archive_of(store, archived.cluster).listing().segments.items())
    ]


def test_a_flipped_byte_in_a_segment_is_red_and_named(archived: Archived, operator: Operator) -> None:
    """Loss prevented: WAL that rotted in the storage, found out on the day of the recovery."""
    segment = _segments(operator, archived)[3]
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    outcome = operator.run("drill", "pitr", "--json")
    assert outcome.code == 80
    assert any(segment.name.split(".")[0] in reason for reason in outcome.document["reasons"])


def test_a_missing_segment_is_red_and_named(archived: Archived, operator: Operator) -> None:
    """Loss prevented: a recovery that ends early without a word."""
    segment = _segments(operator, archived)[3]
    segment.unlink()
    outcome = operator.run("drill", "pitr", "--json")
    assert outcome.code == 80
    assert any(segment.name.split(".")[0] in reason for reason in outcome.document["reasons"])


def test_one_row_that_is_another_is_red_and_named(
    archived: Archived, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a comparison that looks at nothing. One row is changed in what was recovered."""
    from recyclic_backups.drill import pitr

    compared = read_fingerprint

    def after_a_change(server: object, database: str, **options: object) -> object:
        with server.connect(database) as connection:  # type: ignore[attr-defined]
            connection.execute("UPDATE public.log SET what = 'another' WHERE id = 7")
        return compared(server, database, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pitr, "read_fingerprint", after_a_change)
    outcome = operator.run("drill", "pitr", "--json")
    assert outcome.code == 80
    assert outcome.document["reasons"] == ["public.log: content differs though row counts are equal"]
    # Its bytes are what they were: a drill that failed must not take the way back.
    plan = operator.must("recover", "--latest", "--dry-run", "--json").document["plan"]
    assert plan["base_id"] == outcome.document["base_id"]


def test_without_a_dump_that_carries_its_place_nothing_is_claimed(operator: Operator) -> None:
    """Loss prevented: a green drill that compared nothing."""
    for manifest in operator.storage.glob("postgres/backups/*/manifest.json"):
        shutil.rmtree(manifest.parent)
    shutil.rmtree(operator.storage / "postgres" / "tiers", ignore_errors=True)
    assert operator.run("drill", "pitr").code == 60


def test_a_dump_of_another_timeline_is_red_and_named(
    archived: Archived, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a server that went back behind a dump in a recovery, and a drill that compares two pasts."""
    from recyclic_backups.drill import pitr

    point = pitr._place
    monkeypatch.setattr(pitr, "_place", lambda backup: (9, point(backup)[1]))
    outcome = operator.run("drill", "pitr", "--json")
    assert outcome.code == 80
    (reason,) = outcome.document["reasons"]
    assert f"{archived.backup_id} was taken on timeline 9" in reason


@pytest.fixture
def forked(
    installation: Installation,
    scratch_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[tuple[Operator, WalArchive, Backup]]:
    """A server that was taken back and went on on timeline 2, where the dump is of. What it gave up is longer."""
    store = LocalStore.open(tmp_path / "backups", create=True)
    with small_segments(installation, scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
        archive = archive_of(store, cluster)
        with receiving(cluster, store) as running:
            Premises(cluster, store).take()
            running.write_and_store(cluster, archive)
        copy = copied(cluster)
        with receiving(cluster, store) as running:
            running.write_and_store(cluster, archive, 30_000)
        (copy / "standby.signal").touch()
        put_in_its_place(cluster, copy)
        promote(cluster)
        accept_timeline(archive, *to_accept(Running(cluster, store).join()), datetime.now(UTC))
        with receiving(cluster, store) as running:
            write_rows(cluster, 6000)
            house = House(cluster.server, "postgres", store, datetime.now(UTC))
            house.options(find_replay_point=True)
            taken = house.back_up().backup
            end = write_rows(cluster)
            running.wait_until(lambda: archive.listing().timelines == [1, 2] and reached(archive) == end)
        yield Operator(tmp_path, capsys, _variables(cluster)), archive, taken


def test_a_wrong_timeline_is_red_and_named(forked: tuple[Operator, WalArchive, Backup]) -> None:
    """Loss prevented: a recovery along the branch that a server gave up, found out on the day on which it is needed.

    Once WAL of that branch lies under the name of the right one, and once nothing else is left.
    """
    operator, archive, taken = forked
    assert operator.must("drill", "pitr", "--json").document["target_timeline"] == 2
    point = taken.manifest.replay_point
    assert point is not None
    listing = archive.listing()
    right = segment_name(2, point.lsn, SEGMENT_BYTES)
    wrong = segment_name(1, point.lsn, SEGMENT_BYTES)
    archive.store_segment(
        right,
        packed(archive.read_segment(listing, wrong, SEGMENT_BYTES)),
        archive.repository.key_for_backups(datetime.now(UTC)),
    )
    laid = operator.run("drill", "pitr", "--json")
    assert laid.code == 80
    (reason,) = laid.document["reasons"]
    assert f"the WAL segment {right} holds WAL of timeline 1 at" in reason
    archive.delete(each.name for each in archive.repository.store.list(f"{archive.wal}/00000002"))
    left = operator.run("drill", "pitr", "--json")
    assert left.code == 80
    (reason,) = left.document["reasons"]
    assert f"{taken.backup_id} was taken on timeline 2, which the server's line does not have" in reason
