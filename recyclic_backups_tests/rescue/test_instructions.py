"""The commands that the script prints, run on a real server."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict
from pathlib import Path

from recyclic_backups.dump.facts import read_server_facts
from recyclic_backups.dump.globals import read_globals
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.rescue.storages import Storage

DATABASE = "rescue d'été = x"
ROLE = "rescue_owner"

SCHEMA = f"""
    CREATE TABLE members (id bigint PRIMARY KEY, name text NOT NULL);
    CREATE TABLE visits (member bigint REFERENCES members, at date);
    CREATE MATERIALIZED VIEW busy AS SELECT member, count(*) FROM visits GROUP BY member;
    INSERT INTO members SELECT n, 'Zoé ' || n FROM generate_series(1, 100) n;
    INSERT INTO visits SELECT n, '2026-11-22' FROM generate_series(1, 100) n;
    REFRESH MATERIALIZED VIEW busy;
    ALTER TABLE visits OWNER TO {ROLE};
"""
QUESTION = """
    SELECT (SELECT count(*) FROM members), (SELECT count(*) FROM visits), (SELECT count(*) FROM busy),
           (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated),
           (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'visits'),
           (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()),
           has_database_privilege('rescue_owner', current_database(), 'CREATE'),
           (SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
            WHERE datname = current_database()),
           shobj_description((SELECT oid FROM pg_database WHERE datname = current_database()), 'pg_database')
"""


def test_the_printed_commands_bring_the_database_back(cluster: ScratchCluster, tmp_path: Path) -> None:
    """Instructions that were never followed are a guess: names, order, owners, keys, settings, grants."""
    quoted = f'"{DATABASE}"'
    environment = {
        "PATH": f"{cluster.installation.directory}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": cluster.server.host,
        "PGPORT": str(cluster.server.port),
        "PGUSER": cluster.server.user,
        "PGPASSWORD": cluster.server.password,
    }
    connection_string = "dbname='rescue d\\'été = x'"

    def dump(*options: str) -> bytes:
        argv = [cluster.installation.path("pg_dump"), "-Fc", "-Z0", *options, "-d", connection_string]
        return subprocess.run(argv, env=environment, check=True, capture_output=True).stdout

    try:
        with cluster.server.connect("postgres") as admin:
            admin.execute(f"CREATE ROLE {ROLE}")
            admin.execute(f"CREATE DATABASE {quoted} TEMPLATE template0 OWNER {ROLE}")
            admin.execute(f'ALTER DATABASE {quoted} SET search_path TO "$user", public')
            admin.execute(f"COMMENT ON DATABASE {quoted} IS 'l''été \\ 2026'")
            admin.execute(f"GRANT CREATE ON DATABASE {quoted} TO {ROLE}")
        with cluster.server.connect(DATABASE) as connection:
            connection.execute(SCHEMA)
            before = connection.execute(QUESTION).fetchone()
            facts = asdict(read_server_facts(connection))
            roles, _ = read_globals(connection)
        storage = Storage(tmp_path / "storage")
        storage.backup(
            database="rescue%20d%27%C3%A9t%C3%A9%20%3D%20x",
            database_name=DATABASE,
            server=facts,
            contents={
                "main.dump.zst": dump("--exclude-table-data=visits"),
                "table-0001.dump.zst": dump("--data-only", "--table=visits"),
                "globals.sql.zst": roles.encode(),
            },
        )
        with cluster.server.connect("postgres") as admin:
            admin.execute(f"DROP DATABASE {quoted}")
            admin.execute(f"DROP ROLE {ROLE}")

        result = storage.recover("extract", "latest", "--output", tmp_path / "out")
        assert result.returncode == 0, result.stderr
        commands = [line for line in result.stdout.decode().splitlines() if line.startswith("  ")]
        subprocess.run(["sh", "-e"], input="\n".join(commands).encode(), env=environment, check=True)

        with cluster.server.connect(DATABASE) as connection:
            assert connection.execute(QUESTION).fetchone() == before
        assert not (tmp_path / "out").exists(), "the data in the clear were left behind"
    finally:
        with cluster.server.connect("postgres") as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {quoted}")
            admin.execute(f"DROP ROLE IF EXISTS {ROLE}")
