"""WAL that goes without leaving a hole between two names is missed all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from recyclic_backups.archive.status import wal_status
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.health.wal import WalFacts, wal_findings
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.archive.conftest import receiving, small_segments, write_rows
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator, variables_of
from recyclic_backups_tests.recovery.conftest import SEGMENT_BYTES, Site
from recyclic_backups_tests.recovery.test_timelines import _promote


def findings(site: Site) -> list[str]:
    """What is told of the WAL, as a survey of its archive has it."""
    found = site.survey()
    windows = tuple(found.windows())
    facts = WalFacts(
        wal_status(found.archive, None, found.listing), found.bases.bases, windows, found.hidden_hole(windows)
    )
    return [each.code for each in wal_findings(facts, datetime.now(UTC))]


def status(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[object]]:
    """How ``wal status`` ends, and the gaps that it tells."""
    variables = {
        **variables_of(site.cluster.server, "postgres"),
        "BACKUP_STORAGE": f"file://{site.directory}",
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": KEY,
    }
    result = Operator(tmp_path, capsys, variables).run("wal", "status", "--json")
    return result.code, result.document["gaps"]


def test_all_wal_up_to_the_end_of_the_base_backup_is_taken_away(
    installation: Installation,
    scratch_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Attack: who writes to the storage deletes from the beginning on; no recovery begins, and all seems whole."""
    with small_segments(installation, scratch_directory) as cluster:
        site = _archived(cluster, tmp_path / "storage", installation, scratch_directory)
        assert status(site, tmp_path, capsys) == (0, [])
        assert not site.survey().damage
        position = site.directory / f"server.{site.system_identifier}/wal/position.json"
        position.rename(tmp_path / "position.json")
        assert "cannot be told" in site.survey().damage[0], "the end could go with it, without a word"
        (tmp_path / "position.json").rename(position)
        [base] = site.survey().usable
        for start in range(0, base.stop_lsn, SEGMENT_BYTES):
            listed = site.survey().listing.segments.get(segment_name(1, start, SEGMENT_BYTES))
            if listed:
                (site.directory / listed).unlink()
        assert "wal_gap" in findings(site)
        code, gaps = status(site, tmp_path, capsys)
        assert code == 50
        assert gaps


def test_the_end_of_a_timeline_that_was_left_is_taken_away(
    installation: Installation,
    scratch_directory: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Attack: what lies between two timelines is between no two segments of one of them."""
    with small_segments(installation, scratch_directory) as cluster:
        site = _archived(cluster, tmp_path / "storage", installation, scratch_directory)
        cluster.stop()
        _promote(cluster)
        with receiving(cluster, site.store) as receiver:
            write_rows(cluster, 4000)
            site.caught_up(receiver)
        assert status(site, tmp_path, capsys) == (0, [])
        listing = site.survey().listing
        [fork] = [
            int(line.split()[1].split("/")[1], 16)
            for line in [site.survey().archive.read_history(listing, 2).decode()]
        ]
        last = segment_name(1, fork - SEGMENT_BYTES, SEGMENT_BYTES)
        for name in [*listing.segments, *listing.tails]:
            if name.startswith("00000001") and name >= last:
                for file in (site.directory / f"server.{site.system_identifier}/wal/00000001").glob(
                    f"{name}*"
                ):
                    file.unlink()
        assert "wal_gap" in findings(site)
        assert status(site, tmp_path, capsys)[0] == 50


def _archived(cluster: ScratchCluster, storage: Path, installation: Installation, scratch: Path) -> Site:
    site = Site(cluster, storage, installation, scratch)
    site.sql("CREATE TABLE public.log (id bigserial, what text)")
    with receiving(cluster, site.store) as receiver:
        site.take_base()
        for _ in range(3):
            write_rows(cluster, 4000)
        site.caught_up(receiver)
    return site
