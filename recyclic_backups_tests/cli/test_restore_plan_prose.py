"""``restore --replace`` at three in the morning: what it says before, and the way back that it prints after."""

from __future__ import annotations

import os
import subprocess

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small


def _lines_sold(cluster: ScratchCluster, database: str, change: str = "") -> int:
    with cluster.server.connect(database) as connection:
        if change:
            connection.execute(change.encode())
        row = connection.execute("SELECT count(*) FROM sale").fetchone()
    return int(row[0]) if row else -1


def _databases(cluster: ScratchCluster) -> set[str]:
    with cluster.server.connect("postgres") as connection:
        return {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database").fetchall()}


def _drop(cluster: ScratchCluster, *names: str) -> None:
    with cluster.server.connect("postgres") as connection:
        for name in names:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def _paste(cluster: ScratchCluster, line: str) -> str:
    """As a volunteer does: into a shell, with the password where psql looks for it."""
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": cluster.server.password}
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_the_plan_says_what_is_lost_what_is_proven_and_how_long_it_takes(operator: Operator) -> None:
    """Loss prevented: a yes by somebody who did not know what they said yes to."""
    backup_id = operator.backup_id()
    live = operator.variables["POSTGRES_DB"]
    first = operator.run("restore", "latest", "--replace")
    assert first.code == 70
    assert first.out == ""
    for said in (
        f"restore   {backup_id} (daily ",
        "content   of 20",
        ("CET, nothing newer", "CEST, nothing newer"),
        "lost      what was written in the ",
        "since then (it stays in the database that is replaced, which is kept)",
        "proven    never yet; this restore compares every row before anything changes",
        "took      not known: no drill or restore was measured yet",
        f"replaces  '{live}' on ",
        "restored beside and compared first",
        "the names swapped",
    ):
        assert any(each in first.err for each in ([said] if isinstance(said, str) else said)), said
    assert first.err.splitlines()[-1] == "error: nothing was done: add --yes to do it"

    operator.must("drill", "simple")
    second = operator.run("restore", "latest", "--replace").err
    assert "restored and found equal" in second
    assert " s the last time (drill simple, 20" in second

    newer_id = operator.backup_id()
    newest = operator.run("restore", "latest", "--replace").err
    assert "proven    never yet" in newest
    assert f" s the last time (drill simple of {backup_id}, 20" in newest
    assert "newer " not in newest
    assert f"newer     {newer_id}, of 20" in operator.run("restore", backup_id, "--replace").err

    merge = operator.run("restore", "latest", "--table", "public.sale", "--merge-into", live).err
    assert "since     what was written into these tables in the " in merge
    assert "since then is taken out, and kept beside" in merge
    assert "lost" not in merge
    assert "public.sale become those of the backup" in merge
    assert "the rows are put back with the rights of the tables' owner" in merge


def test_the_printed_line_goes_back_and_the_other_drops(cluster: ScratchCluster, operator: Operator) -> None:
    """Loss prevented: the wrong backup restored, and nobody awake who knows how to undo it."""
    before = _databases(cluster)
    backup_id = operator.backup_id()
    live = operator.variables["POSTGRES_DB"]
    assert _lines_sold(cluster, live, "DELETE FROM sale") == 0
    try:
        out = operator.must("restore", backup_id, "--replace", "--yes").out
        assert _lines_sold(cluster, live) > 0
        assert cluster.server.password not in out
        back, drop = (line.strip() for line in out.splitlines() if line.startswith("  ") and "psql" in line)
        assert out.splitlines()[-1] == "equal"
        with cluster.server.connect(live):  # the application is connected again
            _paste(cluster, back)
        assert _lines_sold(cluster, live) == 0

        report = operator.must("restore", "latest", "--replace", "--yes", "--json").json
        assert report["kept_as"] in _databases(cluster)
        assert report["go_back"]["command"] != back
        assert "DROP DATABASE" in drop
        _paste(cluster, report["go_back"]["drop_command"])
        assert report["kept_as"] not in _databases(cluster)
    finally:
        _drop(cluster, *(_databases(cluster) - before))


def test_where_there_is_no_database_nothing_is_replaced(cluster: ScratchCluster, operator: Operator) -> None:
    """Loss prevented: at three in the morning, the belief that there is something to keep or to go back to."""
    operator.backup_id()
    absent = f"{operator.variables['POSTGRES_DB']}_absent"
    try:
        plan = operator.run("restore", "latest", "--replace", "--into", absent)
        assert plan.code == 70
        assert f"replaces  nothing: there is no database '{absent}' on " in plan.err
        assert "kept" not in plan.err
        assert "sessions" not in plan.err
        done = operator.must("restore", "latest", "--replace", "--into", absent, "--yes").out
        assert (
            f"there was no database '{absent}': nothing was replaced, there is nothing to go back to" in done
        )
        assert "psql" not in done
        assert done.splitlines()[-1] == "equal"
    finally:
        _drop(cluster, absent)


def test_rows_taken_out_are_looked_at_and_dropped_by_the_printed_lines(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: the work since the backup, kept where nobody finds it; and personal data kept for ever."""
    before = _databases(cluster)
    live = operator.variables["POSTGRES_DB"]
    _lines_sold(
        cluster,
        live,
        "CREATE TABLE remark (id numeric PRIMARY KEY, said text); INSERT INTO remark VALUES (1.0)",
    )
    operator.backup_id()
    _lines_sold(
        cluster,
        live,
        "UPDATE remark SET id = 1.00, said = 'since then'; INSERT INTO remark VALUES (2, 'new')",
    )
    try:
        tables = ("--table", "public.remark", "--table", "public.sale")
        out = operator.must("restore", "latest", *tables, "--merge-into", live, "--yes").out
        assert out.splitlines()[-1] == "equal"
        look, drop = (line.strip() for line in out.splitlines() if line.startswith("  "))
        seen = _paste(cluster, look)
        assert "since then" in seen
        assert "new" in seen
        assert "(2 rows)" in seen
        assert "overwritten" in seen
        assert "taken out" in seen
        assert "not in the backup, and taken out of public.remark: 1 (id 2)" in out
        assert "written as in the backup now: id of 1" in out
        (kept,) = _databases(cluster) - before
        assert kept in drop
        _paste(cluster, drop)
        assert _databases(cluster) == before
    finally:
        _drop(cluster, *(_databases(cluster) - before))


def test_a_database_beside_is_opened_and_dropped_by_the_printed_lines(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: a copy of everybody's data that nobody remembers to drop, or that a subscription in it keeps."""
    live = operator.variables["POSTGRES_DB"]
    with cluster.server.connect(live) as connection:
        connection.execute(
            "CREATE SUBSCRIPTION zq_s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE)"
        )
        operator.backup_id()
        connection.execute("DROP SUBSCRIPTION zq_s")
    into = f"{operator.variables['POSTGRES_DB']}_look = 'x'"
    try:
        out = operator.must("restore", "latest", "--into", into).out
        look, drop = (line.strip() for line in out.splitlines() if line.startswith("  psql"))
        assert "sale" in _paste(cluster, f"{look} -c '\\dt'")
        _paste(cluster, drop)
        assert into not in _databases(cluster)
    finally:
        _drop(cluster, into)


def test_a_restore_into_a_new_database_has_nothing_to_go_back_to(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: commands pasted that rename what should stay."""
    operator.backup_id()
    into = f"{operator.variables['POSTGRES_DB']}_new"
    try:
        assert operator.must("restore", "latest", "--into", into, "--json").json["go_back"] is None
    finally:
        _drop(cluster, into)
