"""The zoo got back with storage and key alone, on a machine that has nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.rescue import recover
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.house import KEY, House
from recyclic_backups_tests.strange.conftest import Servers, dump_lines, put
from recyclic_backups_tests.strange.test_whole_databases import PROPERTIES


@pytest.mark.slow
def test_the_zoo_is_recovered_without_us(servers: Servers, tmp_path: Path) -> None:
    """Loss prevented: the way out of last resort, open for plain databases only."""
    zoo = servers.zoo(15)
    source = servers[15]
    house = House(source.server, zoo, LocalStore(tmp_path))
    house.back_up()
    with ScratchCluster.start(source.installation, servers.directory) as target:
        environment = {
            "PATH": f"{source.installation.directory}{os.pathsep}{os.environ['PATH']}",
            "PGHOST": target.server.host,
            "PGPORT": str(target.server.port),
            "PGUSER": target.server.user,
            "PGPASSWORD": target.server.password,
            "BACKUP_ENCRYPTION_KEY": KEY,
        }
        script = [sys.executable, "-I", str(Path(recover.__file__)), "--storage", str(tmp_path)]
        extracted = subprocess.run(
            [*script, "extract", "latest", "--output", str(tmp_path / "out")],
            env=environment,
            check=False,
            capture_output=True,
        )
        assert extracted.returncode == 0, extracted.stderr
        commands = [line for line in extracted.stdout.decode().splitlines() if line.startswith("  ")]
        done = subprocess.run(
            ["sh", "-e"],
            input="\n".join(commands).encode(),
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert dump_lines(target, zoo) == dump_lines(source, zoo)
        # And with us: on another server roles have other numbers, by which pg_dump orders some things.
        report = put(house, target, "zoo again")
        assert report.comparison.differences == ()
        with source.server.connect("postgres") as here, target.server.connect("postgres") as there:
            properties = [each.execute(PROPERTIES, (zoo,)).fetchone() for each in (here, there)]
        assert properties[0] == properties[1]
