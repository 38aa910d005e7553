"""What a server has beside one plain data directory: tablespaces, other settings, chains of base backups."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recyclic_backups.errors import BackupError, DamagedData
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.recovery import into_directory
from recyclic_backups.recovery.cluster import RecoveredCluster
from recyclic_backups.recovery.into_directory import recover_into
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.recovery.target import LATEST, at_time
from recyclic_backups_tests.archive.conftest import receiving, small_segments
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.recovery.conftest import History, Site, one
from recyclic_backups_tests.recovery.test_command import place, started

__all__ = ["place"]


@pytest.fixture(scope="module")
def apart(
    installation: Installation, scratch_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The archive of a server with a table in a tablespace; it holds a, since the base backup also b."""
    with small_segments(installation, scratch_directory) as cluster:
        site = Site(cluster, tmp_path_factory.mktemp("apart") / "storage", installation, scratch_directory)
        _tablespace(cluster)
        with receiving(cluster, site.store) as receiver:
            site.sql("CREATE TABLE public.far TABLESPACE elsewhere AS SELECT 'a' AS what")
            site.take_base()
            site.sql("INSERT INTO public.far VALUES ('b')")
            site.caught_up(receiver)
            yield site


def test_a_tablespace_comes_to_lie_beside_and_production_s_own_is_not_touched(
    apart: Site, recovering: Operator, place: Path
) -> None:
    """Accident: a recovered server on production's machine that writes into production's tablespace."""
    done = recovering.must(
        "recover", "--latest", "--promote", "--data-directory", str(place), "--json",
        BACKUP_STORAGE=f"file://{apart.directory}",
    ).document  # fmt: skip
    assert done["tablespaces"] == f"{place}-tablespaces"
    with started(done["start"], place) as server:
        assert server
    links = [each.resolve() for each in (place / "pg_tblspc").iterdir()]
    assert [each.parent for each in links] == [Path(done["tablespaces"]).resolve()]
    with apart.recovered(LATEST) as recovered:
        assert one(recovered, "SELECT string_agg(what, '' ORDER BY what) FROM public.far") == "ab"


@pytest.mark.parametrize("when", ["before it is opened", "while it is filled"])
@pytest.mark.parametrize("suffix", ["", "-tablespaces"], ids=["the data", "the tablespaces"])
def test_what_comes_into_the_place_of_the_directory_is_neither_filled_nor_given_away(
    apart: Site, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, suffix: str
) -> None:
    """Attack: whoever owns the directory around it lays a link there; root fills, and gives away, what it leads to."""
    victim, target = tmp_path / "victim", place.with_name(f"{place.name}{suffix}")
    victim.mkdir()
    (victim / "kept").touch()

    def swap() -> None:
        if target.exists():
            target.rename(tmp_path / "aside")
        target.symlink_to(victim)

    def made_room(directory: Path, plan: Plan) -> None:
        swap()

    def fill(cluster: RecoveredCluster, progress: Progress = SILENT) -> None:
        swap()
        fills(cluster, progress)

    fills = RecoveredCluster.fill
    if when == "before it is opened":
        monkeypatch.setattr(into_directory, "require_space", made_room)
    else:
        monkeypatch.setattr(RecoveredCluster, "fill", fill)
    before = os.stat(victim)
    with pytest.raises(BackupError):
        recover_into(
            apart.survey().source,
            apart.plan(LATEST),
            place,
            [apart.installation],
            apart.scratch,
            now=datetime.now(UTC),
        )
    assert os.listdir(victim) == ["kept"]
    after = os.stat(victim)
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def _tablespace(cluster: ScratchCluster) -> None:
    space = cluster.socket_directory / "space"
    Account.for_servers().directory(cluster.socket_directory, space.name)
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{space}'".encode())


def test_production_that_was_given_more_connections_after_the_base_backup_is_recovered(
    installation: Installation, scratch_directory: Path, tmp_path: Path
) -> None:
    """Loss: a standby whose max_connections is lower than production's pauses, which looks like its target."""
    with small_segments(installation, scratch_directory) as cluster:
        site = Site(cluster, tmp_path / "storage", installation, scratch_directory)
        with receiving(cluster, site.store) as receiver:
            site.sql("CREATE TABLE public.log (what text)")
            site.take_base()
            site.caught_up(receiver)
        cluster.configure({"max_connections": "150", "max_worker_processes": "12"})
        cluster.restart()
        with receiving(cluster, site.store) as receiver:
            site.sql("INSERT INTO public.log VALUES ('a')")
            moment = site.moment()
            site.sql("INSERT INTO public.log VALUES ('b')")
            site.caught_up(receiver)
        for target, rows in ((LATEST, 2), (at_time(moment), 1)):
            with site.recovered(target) as recovered:
                assert one(recovered, "SELECT count(*) FROM public.log") == rows
                assert one(recovered, "SELECT current_setting('max_connections')") == "150"


def test_a_damaged_base_backup_is_named_and_files_of_it_are_not_kept(
    history: History, tmp_path: Path
) -> None:
    """Loss: a recovery that ends halfway at night, each time again."""
    site = history.copy(tmp_path / "copy")
    plan = site.plan(LATEST)
    [data] = [each.name for each in plan.base.objects if each.role == "data"]
    file = site.directory / f"server.{site.system_identifier}/base/{plan.base.base_id}/{data}"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    with pytest.raises(DamagedData, match=data), site.recovered(LATEST):
        pass


def test_a_chain_of_incremental_base_backups_is_combined(
    installations_by_major: dict[int, Installation], scratch_directory: Path, tmp_path: Path
) -> None:
    """Loss: the last days of a week, whose base backups are of use only together."""
    able = [major for major in installations_by_major if major >= 17]
    if not able:
        pytest.skip("versions: PostgreSQL 17 or newer is the first with incremental base backups")
    installation = installations_by_major[max(able)]
    with small_segments(installation, scratch_directory) as cluster:
        site = Site(cluster, tmp_path / "storage", installation, scratch_directory)
        site.sql("ALTER SYSTEM SET summarize_wal = on")
        site.sql("SELECT pg_reload_conf()")
        _tablespace(cluster)
        with receiving(cluster, site.store) as receiver:
            site.sql("CREATE TABLE public.log (what text)")
            site.sql("CREATE TABLE public.far TABLESPACE elsewhere AS SELECT 'x' AS what")
            site.sql("CHECKPOINT")
            while not site.sql("SELECT 1 FROM pg_available_wal_summaries()"):
                site.sql("CHECKPOINT")
                time.sleep(0.1)
            bases = []
            for what in "abc":
                bases.append(site.take_base())
                site.sql(f"INSERT INTO public.log VALUES ('{what}')")
                site.sql(f"INSERT INTO public.far VALUES ('{what}')")
            site.caught_up(receiver)
        plan = site.plan(LATEST)
        assert [each.base_id for each in plan.chain] == bases
        with site.recovered(LATEST) as recovered:
            assert one(recovered, "SELECT string_agg(what, '' ORDER BY what) FROM public.log") == "abc"
            assert one(recovered, "SELECT string_agg(what, '' ORDER BY what) FROM public.far") == "abcx"
