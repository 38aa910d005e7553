"""A drill's server takes a share of the machine's memory, whatever the machine and the database are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recyclic_backups.drill.memory import MIB, memory_of_machine, settings_for
from recyclic_backups.drill.plan import DrillPlacement
from recyclic_backups.drill.server import drill_server
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.house import House

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("memory_bytes", "jobs", "share_mb"),
    [(512 * MIB, 1, 128), (GIB, 4, 128), (4 * GIB, 2, 256), (24 * GIB, 4, 512), (1024 * GIB, 32, 512)],
)
def test_cache_and_index_building_stay_within_three_quarters_of_the_share(
    memory_bytes: int, jobs: int, share_mb: int
) -> None:
    """Prevents a drill from taking the memory of the application beside it."""
    settings = {
        name: int(value.removesuffix("MB")) for name, value in settings_for(memory_bytes, jobs, 8).items()
        if value.endswith("MB")
    }  # fmt: skip
    together = settings["shared_buffers"] + jobs * settings["maintenance_work_mem"]
    assert together <= share_mb * 3 / 4
    assert settings["shared_buffers"] >= 32
    assert settings["maintenance_work_mem"] >= 8
    assert settings["work_mem"] == 4


def test_the_server_of_a_drill_has_these_settings(
    house: House, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a share that is computed and not given."""
    from recyclic_backups.drill import server as drill_servers

    monkeypatch.setattr(drill_servers, "memory_of_machine", lambda: 2 * GIB)
    manifest = house.back_up().backup.manifest
    placement = DrillPlacement([installation], house.server, jobs=2)
    with drill_server(placement, [manifest]) as place, place.server.connect("postgres") as connection:
        wanted = {**settings_for(2 * GIB, 2, os.cpu_count() or 1), "max_logical_replication_workers": "0"}
        found = {
            name: str((connection.execute("SELECT current_setting(%s)", (name,)).fetchone() or ("",))[0])
            for name in wanted
        }
    assert found == wanted


def test_a_restore_builds_indexes_with_what_the_server_was_configured_for(
    cluster: ScratchCluster, database: str
) -> None:
    """Prevents a session's own setting from undoing the share."""
    from recyclic_backups.restore.database import memory_for_indexes

    with cluster.server.connect(database) as connection:
        assert memory_for_indexes(connection) == "131072kB"
    with cluster.server.connect(database, settings={"maintenance_work_mem": "16MB"}) as connection:
        assert memory_for_indexes(connection) == "16384kB"
    with cluster.server.connect(database, settings={"maintenance_work_mem": "1GB"}) as connection:
        assert memory_for_indexes(connection) == "131072kB"


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("0::/a/b", {"sys/fs/cgroup/a/memory.max": "1000", "sys/fs/cgroup/a/b/memory.max": "max"}, 1000),
        ("0::/", {"sys/fs/cgroup/memory.max": "2000"}, 2000),
        ("0::/../../x", {"sys/fs/cgroup/memory.max": "3000"}, 3000),
        ("4:cpu,memory:/a", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4000"}, 4000),
        ("4:memory:/a", {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/", {"sys/fs/cgroup/memory.max": "0"}, None),
        ("nonsense\n::\n0", {}, None),
        ("", {}, None),
    ],
)
def test_limits_of_a_container_are_read(
    tmp_path: Path, group: str, limits: dict[str, str], expected: int | None
) -> None:
    """Prevents a container of 1 GB on a machine of 64 GB from being ended for its memory in every drill."""
    for name, text in {"proc/self/cgroup": group, **limits}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_of_machine(tmp_path) == (physical if expected is None else expected)
