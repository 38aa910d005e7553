"""Extensions that work only if their library is loaded when the server starts: loaded from a list, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from recyclic_backups.drill import preload as preloading
from recyclic_backups.drill.preload import LIBRARIES, preload, settings_for, wanted_by
from recyclic_backups.errors import ProgramFailed
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import Operator, variables_of

_ALWAYS = ("client backend", "checkpointer", "background writer", "walwriter", "autovacuum launcher")


@pytest.mark.parametrize("there", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_view_of_a_preloaded_extension_is_drilled(
    operator: Operator,
    installation: Installation,
    scratch_directory: Path,
    there: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prevents a good backup from being called bad because the drill's server was not told what to load."""
    if not there:
        monkeypatch.setattr(preloading, "LIBRARIES", {"pg_stat_statements": ("no_such_library",)})
    with ScratchCluster.start(
        installation, scratch_directory, settings={"shared_preload_libraries": "pg_stat_statements"}
    ) as production:
        with production.server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE till TEMPLATE template0")
        with production.server.connect("till", settings={"search_path": "public"}) as connection:
            connection.execute(
                "CREATE EXTENSION pg_stat_statements; CREATE TABLE t (id int PRIMARY KEY);"
                "INSERT INTO t SELECT generate_series(1, 20);"
                "CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM pg_stat_statements"
            )
        operator.variables |= {**variables_of(production.server, "till"), "POSTGRES_DB": "till"}
        operator.backup_id()
    for scenario in ("simple",) if there else ("simple", "partial", "full"):
        report = operator.must("drill", scenario, "--json").json
        told = "\n".join(report["notes"])
        assert ("does not have no_such_library" in told) is not there
        assert ("M cannot be made".lower() in told.lower()) is not there


def test_no_background_worker_runs_on_a_server_that_preloads(
    installation: Installation, scratch_directory: Path
) -> None:
    """Prevents jobs of the source (pg_cron, timescaledb) from being done again by its copy."""
    with ScratchCluster.start(installation, scratch_directory) as cluster:
        loaded = preload(cluster, {"pg_stat_statements", "plpgsql", "../evil", "hstore"}, "copy")
        assert (loaded.libraries, loaded.lacking) == (("pg_stat_statements",), "")
        with cluster.server.connect("postgres") as connection:
            assert connection.execute("SHOW shared_preload_libraries").fetchone() == (
                "$libdir/pg_stat_statements",
            )
            assert connection.execute("SHOW max_worker_processes").fetchone() == ("0",)
            others = connection.execute(
                "SELECT backend_type FROM pg_stat_activity WHERE backend_type <> ALL(%s)", (list(_ALWAYS),)
            ).fetchall()
            assert others == []


def test_a_server_that_does_not_start_with_a_library_starts_without(
    installation: Installation, scratch_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a library that wants to be configured from keeping all backups from being drilled."""
    restart = ScratchCluster.restart
    tried: list[int] = []

    def once(cluster: ScratchCluster) -> None:
        tried.append(1)
        if len(tried) == 1:
            cluster.stop()
            raise ProgramFailed("it wants a key")
        restart(cluster)

    monkeypatch.setattr(ScratchCluster, "restart", once)
    with ScratchCluster.start(installation, scratch_directory) as cluster:
        loaded = preload(cluster, {"pg_stat_statements"}, "copy")
        assert loaded.libraries == ()
        assert "it wants a key" in loaded.lacking
        with cluster.server.connect("postgres") as connection:
            assert connection.execute("SHOW shared_preload_libraries").fetchone() == ("",)


def test_only_names_of_the_list_are_loaded_and_from_one_directory() -> None:
    """Prevents a backup, or the owner of a database, from choosing a file that the server loads."""
    assert wanted_by({"pg_stat_kcache", "pgaudit", "x, /tmp/evil", "$libdir/../evil"}) == [
        "pg_stat_statements",
        "pg_stat_kcache",
        "pgaudit",
    ]
    assert all(name.isidentifier() for needed in LIBRARIES.values() for name in needed)
    told = settings_for(["pgaudit", "pg_cron"], {"pg_cron"}, "copy'; x")
    assert told["shared_preload_libraries"] == "$libdir/pgaudit, $libdir/pg_cron"
    assert (told["cron.database_name"], told["cron.launch_active_jobs"]) == ("copy'; x", "off")
    assert settings_for([], {"pg_cron"}, "copy")["cron.database_name"] == "copy"
