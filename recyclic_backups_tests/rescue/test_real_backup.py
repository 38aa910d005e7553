"""A backup made by the command line, got back without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import PASSPHRASE, Operator, variables_of

TABLES = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relkind = 'r' AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


def everything(cluster: ScratchCluster, database: str) -> dict[str, tuple[object, ...]]:
    """Of each table the number of rows, their length and their digest, asked in another way than our own."""
    with cluster.server.connect(database) as connection:
        query = (
            "SELECT count(*), sum(length(t::text)), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {} t"
        )
        return {
            str(name): connection.execute(query.format(name)).fetchone() or ()
            for (name,) in connection.execute(TABLES).fetchall()
        }


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_backup_comes_back_with_storage_and_key_alone(
    cluster: ScratchCluster,
    recyclic_database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    encrypted: bool,
) -> None:
    """What the running system writes is what the script reads: the promise, kept end to end."""
    secrecy = {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": PASSPHRASE} if encrypted else {}
    operator = Operator(tmp_path, capsys, {**variables_of(cluster.server, recyclic_database), **secrecy})
    before = everything(cluster, recyclic_database)
    assert len(before) > 20
    backup_id = operator.backup_id()

    environment = {
        "PATH": f"{cluster.installation.directory}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": cluster.server.host,
        "PGPORT": str(cluster.server.port),
        "PGUSER": cluster.server.user,
        "PGPASSWORD": cluster.server.password,
        **secrecy,
    }
    argv = [
        sys.executable,
        "-I",
        str(operator.storage / "recover.py"),
        "extract",
        backup_id,
        "--output",
        "out",
    ]
    result = subprocess.run(argv, cwd=tmp_path, env=environment, check=False, capture_output=True)
    assert result.returncode == 0, result.stderr
    commands = [line for line in result.stdout.decode().splitlines() if line.startswith("  ")]
    with cluster.server.connect("postgres") as admin:
        admin.execute(f"DROP DATABASE {recyclic_database} WITH (FORCE)")
    done = subprocess.run(
        ["sh", "-e"], input="\n".join(commands).encode(), env=environment, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert everything(cluster, recyclic_database) == before
