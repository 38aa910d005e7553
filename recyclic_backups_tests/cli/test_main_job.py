"""The main job at the command line: back up, verify, restore, compare."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recyclic_backups.cli.commands import parser
from recyclic_backups.envelope.document import summed
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.operator import Operator


def _rows(cluster: ScratchCluster, database: str, query: str) -> list[tuple[object, ...]]:
    with cluster.server.connect(database) as connection:
        return connection.execute(query).fetchall()


def _databases(cluster: ScratchCluster) -> set[str]:
    return {str(row[0]) for row in _rows(cluster, "postgres", "SELECT datname FROM pg_database")}


def _drop(cluster: ScratchCluster, *names: str) -> None:
    """Drop databases, and those a restore has left beside them."""
    with cluster.server.connect("postgres") as connection:
        for name in (found for found in _databases(cluster) if found.startswith(tuple(names) or (" ",))):
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_a_backup_is_verified_restored_and_found_equal(cluster: ScratchCluster, operator: Operator) -> None:
    """Loss prevented: all of it. This is what the product is for."""
    summary = operator.must("backup", "--json").json
    assert summary["encrypted"] is True
    assert summary["tier"] == "daily"
    assert summary["late"] is False
    (entry,) = operator.must("list", "--json").json
    assert set(entry) == {
        "database",
        "encrypted",
        "plain_bytes",
        "duration_seconds",
        *("backup_id", "as_of", "tiers", "late", "kind", "stored_bytes", "verified_at", "proven_at", "held"),
        "authenticity",
    }
    assert entry["authenticity"] == "signed"
    assert entry["backup_id"] == summary["backup_id"]
    assert entry["tiers"] == ["daily"]
    assert entry["verified_at"] is not None
    assert entry["proven_at"] is None

    into = f"{operator.variables['POSTGRES_DB']}_restored"
    try:
        report = operator.must("restore", "latest", "--into", into, "--json").json
    finally:
        _drop(cluster, into)
    assert report["equal"] is True
    assert report["differences"] == []
    assert {"schema", "data", "indexes", "compare"} <= set(report["phases"])
    assert all(table["equal"] for table in report["tables"])
    assert operator.must("list", "--json").json[0]["proven_at"] is not None


@pytest.mark.small
def test_the_last_line_of_a_restore_says_equal(cluster: ScratchCluster, operator: Operator) -> None:
    """Loss prevented: a person who has to search a report for its verdict reads the wrong line."""
    operator.backup_id()
    into = f"{operator.variables['POSTGRES_DB']}_restored"
    try:
        assert operator.must("restore", "latest", "--into", into).out.splitlines()[-1] == "equal"
    finally:
        _drop(cluster, into)


@pytest.mark.small
def test_what_the_dump_did_not_see_is_not_in_the_restored_database(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: a backup that says another moment than its content is of (invariant 4)."""
    live = operator.variables["POSTGRES_DB"]
    before = _rows(cluster, live, "SELECT count(*) FROM member")
    as_of = operator.must("backup", "--json").json["as_of"]
    _rows(cluster, live, "WITH gone AS (DELETE FROM sale RETURNING 1) SELECT count(*) FROM gone")
    into = f"{live}_restored"
    try:
        report = operator.must("restore", "latest", "--into", into, "--json").json
        assert report["as_of"] == as_of
        assert report["equal"] is True
        assert _rows(cluster, into, "SELECT count(*) FROM member") == before
        assert _rows(cluster, into, "SELECT count(*) > 0 FROM sale") == [(True,)]
    finally:
        _drop(cluster, into)


@pytest.mark.small
def test_replace_keeps_the_database_it_replaces(cluster: ScratchCluster, operator: Operator) -> None:
    """Loss prevented: a restore of the wrong backup over the only copy of today's sales (invariant 6)."""
    operator.backup_id()
    live = operator.variables["POSTGRES_DB"]
    _rows(cluster, live, "WITH gone AS (DELETE FROM sale RETURNING 1) SELECT count(*) FROM gone")
    with cluster.server.connect(live):  # the application is still connected
        report = operator.must("restore", "latest", "--replace", "--yes", "--json").json
    try:
        assert report["equal"] is True
        assert _rows(cluster, live, "SELECT count(*) > 0 FROM sale") == [(True,)]
        assert _rows(cluster, report["kept_as"], "SELECT count(*) FROM sale") == [(0,)]
    finally:
        _drop(cluster, report["kept_as"])


@pytest.mark.small
def test_replace_without_consent_changes_nothing(cluster: ScratchCluster, operator: Operator) -> None:
    """Loss prevented: sessions ended and names swapped by a command somebody typed to see what it does."""
    operator.backup_id()
    before = _databases(cluster)
    outcome = operator.run("restore", "latest", "--replace")
    assert outcome.code == 70
    assert "--yes" in outcome.err
    assert _databases(cluster) == before


@pytest.mark.parametrize("jobs", some(["1", "3"], {"3"}))
def test_some_tables_come_with_the_ones_they_refer_to(
    cluster: ScratchCluster, operator: Operator, jobs: str
) -> None:
    """Loss prevented: rows brought back without the rows they belong to."""
    operator.backup_id()
    into = f"{operator.variables['POSTGRES_DB']}_part"
    try:
        report = operator.must(
            "restore", "latest", "--into", into, "--table", "public.sale_items", "--jobs", jobs, "--json"
        ).json
        assert report["equal"] is True
        assert "public.sales" in report["selected_tables"]
        assert _rows(
            cluster, into, "SELECT count(*) > 0 FROM sale_items JOIN sales ON sales.id = sale_id"
        ) == [(True,)]
        assert _rows(cluster, into, "SELECT count(*) FROM ligne_depot") == [(0,)]
    finally:
        _drop(cluster, into)


def test_a_schema_comes_with_its_tables(cluster: ScratchCluster, operator: Operator) -> None:
    """Loss prevented: --schema that silently restores nothing."""
    operator.backup_id()
    into = f"{operator.variables['POSTGRES_DB']}_audit"
    try:
        operator.must("restore", "latest", "--into", into, "--schema", "audit")
        assert _rows(cluster, into, "SELECT count(*) > 0 FROM audit.events") == [(True,)]
        assert _rows(cluster, into, "SELECT count(*) FROM sale_items") == [(0,)]
    finally:
        _drop(cluster, into)


def test_a_backup_goes_back_to_a_newer_server(
    operator: Operator, installations_by_major: dict[int, object], tmp_path: Path
) -> None:
    """Loss prevented: a backup that only the server it came from can read, which is the one that burned."""
    from recyclic_backups.postgres.programs import Installation

    operator.backup_id()
    newest = installations_by_major[max(installations_by_major)]
    assert isinstance(newest, Installation)
    with ScratchCluster.start(newest, tmp_path / "other") as other:
        url = f"postgresql://{other.server.user}:{other.server.password}@{other.server.host}:{other.server.port}/"
        report = operator.must("restore", "latest", "--into", "again", "--to-server", url, "--json").json
        assert report["equal"] is True, report["differences"]
        assert "recyclic_app" in report["created_roles"]
        assert _rows(
            other, "again", "SELECT has_table_privilege('recyclic_readonly', 'sales', 'SELECT')"
        ) == [(True,)]


def test_an_owner_who_is_no_superuser_backs_up_and_restores_without_owners(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: installations where nobody gets to be superuser have no backup at all."""
    live, into = operator.variables["POSTGRES_DB"], f"{operator.variables['POSTGRES_DB']}_mine"
    with cluster.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE keeper LOGIN CREATEDB PASSWORD 'keeper-secret'")
    as_keeper = {"POSTGRES_USER": "keeper", "POSTGRES_PASSWORD": "keeper-secret"}
    try:
        with cluster.server.connect(live) as connection:
            connection.execute(f'GRANT CONNECT ON DATABASE "{live}" TO keeper')
            # Not pg_read_all_data, whose members may read pg_authid as well, password hashes included.
            for schema in ("public", "association", "audit"):
                connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO keeper")
                connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO keeper")
                connection.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO keeper")
            connection.execute(
                "DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP"
                " EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO keeper', o); END LOOP; END $$"
            )
        notes = operator.must("backup", "--json", **as_keeper).json["notes"]
        assert any("password" in note for note in notes)
        refused = operator.run("restore", "latest", "--into", into, **as_keeper)
        assert refused.code == 70
        assert "--no-owner" in refused.err
        report = operator.must("restore", "latest", "--into", into, "--no-owner", "--json", **as_keeper).json
        assert report["equal"] is True, report["differences"]
    finally:
        _drop(cluster, into, live)
        with cluster.server.connect("postgres") as connection:
            connection.execute("DROP OWNED BY keeper")
            connection.execute("DROP ROLE keeper")


@pytest.mark.small
def test_a_difference_is_named_ends_with_80_and_keeps_its_name_off(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: a restored database that lacks rows takes the live one's place."""
    operator.variables |= {"BACKUP_ENCRYPTION": "false"}
    backup_id = operator.must("backup", "--json").json["backup_id"]
    (path,) = operator.storage.glob(f"*/backups/{backup_id}/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["fingerprint"]["tables"]["public.member"]["rows"] += 1
    # Whole as far as anybody can tell where there is no key.
    path.write_text(json.dumps(summed(manifest, str(path.relative_to(operator.storage)))))
    before = _databases(cluster)
    outcome = operator.run("restore", "latest", "--replace", "--yes", "--json")
    left = _databases(cluster) - before
    _drop(cluster, *left)
    assert outcome.code == 80
    assert any("public.member" in difference for difference in outcome.json["differences"])
    assert left == {outcome.json["database"]}
    assert "restoring" in outcome.json["database"]


@pytest.mark.small
def test_the_command_line_works_where_dagster_is_not_installed(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: no restore on a rescue machine because an orchestrator is missing (invariant 3)."""
    script = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0].startswith('dagster'): raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from recyclic_backups.cli.main import main\n"
        "for command in (['validate'], ['backup'], ['list'], ['show', 'latest'], ['verify', '--all'],\n"
        "                ['restore', 'latest', '--into', sys.argv[1]], ['restore', 'latest', '--into', sys.argv[1],\n"
        "                 '--replace', '--yes']):\n"
        "    code = main(command)\n"
        "    assert code == 0, (command, code)\n"
    )
    into = f"{operator.variables['POSTGRES_DB']}_plain"
    outcome = subprocess.run(
        [sys.executable, "-c", script, into],
        cwd=operator.directory,
        env={**operator.variables, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    _drop(cluster, into)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == "equal"


def test_every_command_has_help_that_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Loss prevented: an operator who cannot find the command that brings the data back."""
    actions = [
        action for action in parser(whole=True)._actions if hasattr(action, "choices") and action.choices
    ]
    names = [name for action in actions for name in (action.choices or ())]
    assert {"demo", "validate", "backup", "list", "show", "verify", "restore"} <= set(names)
    for name in names:
        with pytest.raises(SystemExit) as end:
            parser().parse_args([str(name), "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out.strip()


@pytest.mark.small
def test_list_needs_no_key(operator: Operator) -> None:
    """Loss prevented: a listing that takes seconds, or fails on the host that must not have the key."""
    operator.backup_id()
    key = {"BACKUP_ENCRYPTION": "false", "BACKUP_ENCRYPTION_KEY": None}
    assert len(operator.must("list", "--json", **key).json) == 1


@pytest.mark.small
def test_another_server_s_password_need_not_be_on_the_command_line(
    cluster: ScratchCluster, operator: Operator
) -> None:
    """Loss prevented: the password of the new server in everybody's process list and in a shell's history."""
    operator.backup_id()
    into = f"{operator.variables['POSTGRES_DB']}_there"
    url = f"postgresql://{cluster.server.user}@{cluster.server.host}:{cluster.server.port}/"
    try:
        operator.must("restore", "latest", "--into", into, "--to-server", url)
    finally:
        _drop(cluster, into)


@pytest.mark.small
def test_what_answered_in_the_servers_place_is_told_and_not_restored_onto_it(
    operator: Operator,
    installations_by_major: dict[int, object],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Attack: the server is down, and somebody listens on its port when the backup is taken: his superuser is in it."""
    from recyclic_backups.postgres.programs import Installation

    ours, database = operator.backup_id(), operator.variables["POSTGRES_DB"]
    installation = installations_by_major[15]
    assert isinstance(installation, Installation)
    with ScratchCluster.start(installation, tmp_path / "other") as other:
        with other.server.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        where = {
            "POSTGRES_HOST": other.server.host,
            "POSTGRES_PORT": str(other.server.port),
            "POSTGRES_USER": other.server.user,
            "POSTGRES_PASSWORD": other.server.password,
        }
        his = operator.backup_id(**where)
        assert f"than the one that {ours} is of" in caplog.text
        assert any(ours in note for note in operator.must("show", his, "--json").json["notes"])
        # As after pg_upgrade: a backup of the server before.
        operator.must("restore", ours, "--into", "earlier", **where)
    refused = operator.run("restore", "latest", "--into", f"{database}_r")
    assert refused.code == 70
    assert f"{his} is of another server" in refused.err
    assert ours in refused.err
