"""The full drill's second way back, against a storage that lies and names that are commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recyclic_backups.drill.without_this_software import follow, require_same_for_people
from recyclic_backups.errors import ProgramFailed
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import PASSPHRASE, Operator, variables_of


@pytest.mark.small
def test_a_script_that_somebody_put_into_the_storage_is_not_run(operator: Operator, tmp_path: Path) -> None:
    """Attack: recover.py in the storage is replaced, and the drill gives it the key."""
    operator.backup_id()
    loot = tmp_path / "loot"
    (operator.storage / "recover.py").write_text(f"open({str(loot)!r}, 'w')\n")
    (operator.storage / "argparse.py").write_text(f"open({str(loot)!r}, 'w')\n")
    drilled = operator.run("drill", "full", "--json")
    assert not loot.exists()
    assert drilled.code == 80
    (reason,) = drilled.json["reasons"]
    assert "recover.py in the storage: it was changed" in reason


def test_names_that_are_commands_are_drilled_and_run_nothing(
    cluster: ScratchCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Attack: a database, its owner and a role are called by a line end and a command; the drill ran it as root."""
    from psycopg import sql

    harmed = tmp_path / "harmed"
    name = f"a$(touch {harmed})\n  touch {harmed}\n'\"\\"[:60]
    owner = f"o`touch {harmed}`\n  id\n;"[:60]
    quoted, role = sql.Identifier(name), sql.Identifier(owner)
    try:
        with cluster.server.connect("postgres") as admin:
            admin.execute(sql.SQL("CREATE ROLE {}").format(role))
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(quoted, role))
            admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(quoted, sql.Literal(name)))
            admin.execute(sql.SQL("ALTER DATABASE {} SET search_path TO {}, public").format(quoted, quoted))
            admin.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} SET work_mem TO '8MB'").format(role, quoted))
            admin.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {} WITH GRANT OPTION").format(quoted, role))
        with cluster.server.connect(name) as connection:
            connection.execute("CREATE TABLE public.t AS SELECT 1 AS a")
        secrecy = {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": PASSPHRASE}
        operator = Operator(tmp_path, capsys, {**variables_of(cluster.server, name), **secrecy})
        operator.backup_id()
        report = operator.must("drill", "full", "--json").json
        assert report["passed"], report["reasons"]
        assert not harmed.exists()
    finally:
        with cluster.server.connect("postgres") as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(quoted))
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))


@pytest.mark.parametrize("argv", [["sh", "-c", "touch harmed"], ["/bin/sh"], ["../bin/psql"], []])
def test_a_plan_runs_no_other_program(tmp_path: Path, argv: list[str]) -> None:
    """Attack: a plan that somebody got to write asks for a shell."""
    plan = {"environment": {}, "steps": [{"argv": argv, "directory": str(tmp_path), "line": " ".join(argv)}]}
    with pytest.raises((ProgramFailed, ValueError)):
        follow(plan, Path("/bin"), {"PATH": os.defpath}, timeout_seconds=10)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("line", ["psql -X -d other", "psql -X -d 'shop\n'", "psql -X -d shop; id"])
def test_what_people_are_shown_is_what_was_drilled(line: str) -> None:
    """Loss prevented: the drill passes by lists, and the printed commands are of something else."""
    require_same_for_people(["psql", "-X", "-d", "shop"], "psql -X -d shop")
    with pytest.raises(ProgramFailed):
        require_same_for_people(["psql", "-X", "-d", "shop"], line)
