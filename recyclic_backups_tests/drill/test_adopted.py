"""Adopted backups are drilled: they come back, nothing is compared, and nobody says that anything is equal."""

from __future__ import annotations

import json

import pytest

from recyclic_backups.postgres.process import run
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore.missing_roles import named_in
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.operator import Operator

_STRANGE = """
CREATE ROLE "o'Brien; x"; CREATE ROLE reader; CREATE ROLE "Chef de caisse"; CREATE ROLE "granted first" IN ROLE reader;
CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO "o'Brien; x"; INSERT INTO t VALUES (1);
GRANT SELECT ON t TO reader WITH GRANT OPTION; GRANT INSERT (id) ON t TO "Chef de caisse";
SET ROLE reader; GRANT SELECT ON t TO "granted first"; RESET ROLE;
ALTER DEFAULT PRIVILEGES FOR ROLE "o'Brien; x" GRANT SELECT ON TABLES TO reader;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON t TO reader, "Chef de caisse" USING (id = 1);
"""
_ROLES = ("o'Brien; x", "reader", "Chef de caisse", "granted first")


@pytest.fixture
def adopted(
    operator: Operator, cluster: ScratchCluster, installation: Installation, database: str
) -> Operator:
    """One adopted backup, of roles that no throwaway server has."""
    from recyclic_backups.postgres.programs import dump_argv

    with cluster.server.connect(database, settings={"search_path": "public"}) as connection:
        connection.execute(_STRANGE.encode())
        try:
            argv = dump_argv(installation, database=database, snapshot="", lock_wait_seconds=5)
            file = operator.directory / "postgres_weekly_20260125.dump"
            run([*argv, f"--file={file}"], cluster.server.environment(database), timeout_seconds=60)
        finally:
            for name in _ROLES:
                connection.execute(f'DROP OWNED BY "{name}" CASCADE; DROP ROLE "{name}"'.encode())
    operator.variables["POSTGRES_DB"] = database
    operator.must("adopt", str(file))
    return operator


@pytest.mark.parametrize("scenario", some(["simple", "full"], {"full"}))
def test_an_adopted_backup_is_drilled_with_the_roles_that_it_names(adopted: Operator, scenario: str) -> None:
    """Prevents a good old file from being called bad because the throwaway server has none of its people."""
    outcome = adopted.must("drill", scenario, "--json")
    report = outcome.json
    assert report["passed"], report["reasons"]
    assert (report["compared"], report["tables"]) == (False, [])
    assert any("brings no roles" in note for note in report["notes"])
    assert any("nothing to compare" in note for note in report["notes"])
    assert "equal" not in json.dumps(report)

    (check,) = [
        each for each in adopted.must("show", "latest", "--json").json["checks"] if each["check"] == "drill"
    ]
    assert (check["passed"], check["proves"], check["details"]["compared"]) == (True, False, False)
    assert "passed, nothing to compare" in adopted.must("show", "latest").out
    assert adopted.must("list", "--json").json[0]["proven_at"] is None
    assert adopted.run("metrics").json["objectives"]["drills"][scenario]["compared"] is False


def test_of_several_backups_an_adopted_one_is_not_called_equal(adopted: Operator) -> None:
    """Prevents the word of the newest backup from standing for one that nothing was compared with."""
    backup_id = adopted.must("list", "--json").json[0]["backup_id"]
    adopted.must("backup")
    said = adopted.must("drill", "simple").out
    assert f"{backup_id}: restored, nothing to compare" in said


def test_diagnose_says_that_it_compared_nothing(adopted: Operator) -> None:
    """Prevents `no damage found` from meaning that all rows are there."""
    outcome = adopted.must("diagnose", "--backup", "latest")
    assert "nothing was compared" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("no damage found in what could be looked at")


def test_roles_are_read_from_statements_and_not_made_of_text() -> None:
    """Prevents a name of an archive from becoming more than a name."""
    script = """
ALTER TABLE public.t OWNER TO bob;
GRANT ALL ON TABLE public."x TO y" TO "a ""b"" c" WITH GRANT OPTION;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE admin IN SCHEMA s GRANT SELECT ON TABLES TO PUBLIC;
CREATE POLICY p ON public.t FOR SELECT TO one, "Two, three" USING (true);
CREATE USER MAPPING FOR mapped SERVER s OPTIONS (
SET SESSION AUTHORIZATION granting;
ALTER TABLE public.t OWNER TO bob; DROP TABLE x;
    GRANT ALL ON x TO indented;
"""
    assert list(named_in(script)) == [
        "bob",
        'a "b" c',
        "admin",
        "one",
        "Two, three",
        "mapped",
        "granting",
        "bob",
    ]
