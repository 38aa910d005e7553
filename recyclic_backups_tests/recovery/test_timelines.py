"""A server that was recovered once has left WAL behind: later recoveries follow what it did, unless told otherwise."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.recovery.target import LATEST, at_lsn, at_time
from recyclic_backups_tests.archive.conftest import receiving, small_segments
from recyclic_backups_tests.recovery.conftest import Site, one

ROWS = "SELECT string_agg(what, ',' ORDER BY what) FROM public.log"


def test_the_branch_that_was_left_is_passed_over_and_can_still_be_had(
    installation: Installation, scratch_directory: Path, tmp_path: Path
) -> None:
    """Loss: the work since a recovery, if a later one follows the WAL that was given up; and the other way round."""
    with small_segments(installation, scratch_directory) as cluster:
        site = Site(cluster, tmp_path / "storage", installation, scratch_directory)
        kept = cluster.home / "kept"
        site.sql("CREATE TABLE public.log (what text)")
        with receiving(cluster, site.store) as receiver:
            base_id = site.take_base()
            site.sql("INSERT INTO public.log VALUES ('a')")
            site.caught_up(receiver)
        before_fork = site.moment()
        cluster.stop()
        subprocess.run(["cp", "-a", str(cluster.data_directory), str(kept)], check=True)
        cluster.restart()
        with receiving(cluster, site.store) as receiver:
            site.sql("INSERT INTO public.log VALUES ('given up')")
            site.caught_up(receiver)
            given_up_lsn = site.lsn()
        before_position = (site.directory / f"server.{site.system_identifier}/wal/position.json").read_bytes()
        # A recovery to before that: the server goes on from there, on timeline 2.
        cluster.stop()
        subprocess.run(["rm", "-r", str(cluster.data_directory)], check=True)
        kept.rename(cluster.data_directory)
        _promote(cluster)
        site.sql("INSERT INTO public.log VALUES ('b')")
        with receiving(cluster, site.store) as receiver:
            site.caught_up(receiver)
            site.sql("INSERT INTO public.log VALUES ('c')")
            site.caught_up(receiver)

        _attack(site, before_position)
        plan = site.plan(LATEST)
        assert plan.base.base_id == base_id
        assert plan.window.timeline == 2
        assert [branch.timeline for branch in site.survey().branches()] == [1]
        with site.recovered(LATEST) as recovered:
            assert one(recovered, ROWS) == "a,b,c"
            # a number that neither branch has
            assert one(recovered, "SELECT timeline_id FROM pg_control_checkpoint()") == 3
        with site.recovered(at_time(before_fork)) as recovered:
            assert one(recovered, ROWS) == "a"
        with site.recovered(at_lsn(given_up_lsn), timeline=1) as recovered:
            assert one(recovered, ROWS) == "a,given up"
        with receiving(cluster, site.store) as receiver:
            site.take_base()
            site.sql("INSERT INTO public.log VALUES ('d')")
            site.caught_up(receiver)
        with site.recovered(LATEST) as recovered:
            assert one(recovered, ROWS) == "a,b,c,d"
        with site.recovered(LATEST, base_id=base_id) as recovered:
            assert one(recovered, ROWS) == "a,b,c,d"


def _attack(site: Site, before: bytes) -> None:
    """The position from before the fork is laid back; then bytes under the name of WAL that there never was."""
    position = site.directory / f"server.{site.system_identifier}/wal/position.json"
    now = position.read_bytes()
    position.write_bytes(before)
    assert site.plan(LATEST).window.timeline == 2, "it pointed at what was given up"
    position.write_bytes(now)
    planted = position.parent / "000000FF/000000FF0000000000000009.zst.sealed"
    planted.parent.mkdir()
    planted.write_bytes(b"whatever")
    with pytest.raises(DamagedData) as raised:
        site.plan(LATEST)
    assert raised.value.hint.endswith("there is WAL of 1, 2")
    assert site.plan(LATEST, timeline=2).window.timeline == 2
    planted.unlink()


def _promote(cluster: ScratchCluster) -> None:
    """Start it as a standby of nobody, and have it go its own way."""
    signal = cluster.data_directory / "standby.signal"
    signal.touch()
    Account.for_servers().own(signal)
    cluster.begin(cluster.server.port)
    while cluster.state != "ready":
        time.sleep(0.02)
    with cluster.server.connect("postgres") as connection:
        connection.execute("SELECT pg_promote()")
