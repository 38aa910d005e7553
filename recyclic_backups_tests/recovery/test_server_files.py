"""What a server has beside one plain data directory: tablespaces, other settings, chains of base backups."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.recovery.target import LATEST, at_time
from recyclic_backups_tests.archive.conftest import receiving, small_segments
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.recovery.conftest import History, Site, one
from recyclic_backups_tests.recovery.test_command import place, started

__all__ = ["place"]


def test_a_tablespace_comes_to_lie_beside_and_production_s_own_is_not_touched(
    installation: Installation,
    scratch_directory: Path,
    recovering: Operator,
    place: Path,
    tmp_path: Path,
) -> None:
    """Accident: a recovered server on production's machine that writes into production's tablespace."""
    with small_segments(installation, scratch_directory) as cluster:
        site = Site(cluster, tmp_path / "storage", installation, scratch_directory)
        _tablespace(cluster)
        with receiving(cluster, site.store) as receiver:
            site.sql("CREATE TABLE public.far TABLESPACE elsewhere AS SELECT 'a' AS what")
            site.take_base()
            site.sql("INSERT INTO public.far VALUES ('b')")
            site.caught_up(receiver)
            done = recovering.must(
                "recover", "--latest", "--promote", "--data-directory", str(place), "--json",
                BACKUP_STORAGE=f"file://{site.directory}",
            ).document  # fmt: skip
            assert done["tablespaces"] == f"{place}-tablespaces"
            with started(done["start"], place) as server:
                assert server
            links = [each.resolve() for each in (place / "pg_tblspc").iterdir()]
            assert [each.parent for each in links] == [Path(done["tablespaces"]).resolve()]
            with site.recovered(LATEST) as recovered:
                assert one(recovered, "SELECT string_agg(what, '' ORDER BY what) FROM public.far") == "ab"


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
