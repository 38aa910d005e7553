"""``diagnose`` at the command line: what it prints, its exit codes, and its commands, typed as printed."""

from __future__ import annotations

import os
import shlex
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.cli import render
from recyclic_backups.cli.drill import print_report
from recyclic_backups.drill.report import DrillReport, ScenarioResult
from recyclic_backups.drill.scenarios import Scenario
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.docs.pages import block, read
from recyclic_backups_tests.operator import Operator


@pytest.mark.small
def test_damage_is_found_and_the_printed_command_puts_it_right(
    operator: Operator, cluster: ScratchCluster
) -> None:
    """Loss prevented: a command that has to be thought about at three in the morning."""
    backup_id = operator.backup_id()
    healthy = operator.must("diagnose")
    assert healthy.out.splitlines()[-1] == "no damage found"
    database = operator.variables["POSTGRES_DB"]
    with cluster.server.connect(database) as connection:
        connection.execute("DELETE FROM sale WHERE id <= 30")
    found = operator.run("diagnose", database, "--json")
    assert found.code == 80
    (command,) = found.json["commands"]
    assert found.json["damaged_tables"] == ["public.sale"]
    assert found.json["backup_id"] == backup_id
    printed = operator.run("diagnose", database)
    assert printed.code == 80
    assert f"  {command}" in printed.out.splitlines()
    assert printed.out.splitlines()[-1] == "damaged: 1 finding"
    assert printed.err == ""
    lines = printed.out.splitlines()
    notes = [number for number, line in enumerate(lines) if line.startswith("note: ")]
    assert notes[0] > lines.index(f"  {command}")
    assert lines[notes[0]] == "note: there is no earlier backup to tell whether such losses are usual"
    assert printed.out.count("no earlier backup") == 1
    program, *words = shlex.split(command)
    assert program == "recyclic-backups"
    operator.must(*words)
    assert operator.must("diagnose", "--json").json["damaged"] is False


@pytest.mark.small
def test_the_morning_after_it_compares_with_the_backup_from_before(
    operator: Operator, cluster: ScratchCluster
) -> None:
    """Loss prevented: "no damage found", because the night's backup holds the emptied table as well."""
    before = operator.backup_id()
    database = operator.variables["POSTGRES_DB"]
    with cluster.server.connect(database) as connection:
        connection.execute("TRUNCATE sale")
    after = operator.backup_id()
    found = operator.run("diagnose", "--json")
    assert found.code == 80
    assert found.json["backup_id"] == before
    assert found.json["damaged_tables"] == ["public.sale"]
    assert "public.sale is empty since" in found.json["notes"][0]
    same = operator.must("diagnose", "--backup", "latest", "--json")
    assert same.json["backup_id"] == after
    assert not same.json["damaged"]
    (command,) = found.json["commands"]
    operator.must(*shlex.split(command)[1:])
    assert not operator.must("diagnose", "--json").json["damaged"]
    assert operator.run("diagnose", "--backup", "20200101T").code == 60


@pytest.mark.small
def test_a_backup_of_the_future_is_not_compared_with_by_itself(
    operator: Operator, cluster: ScratchCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: "no damage found", since a wrong clock's backup of the emptied table is for ever the newest."""
    now = operator.backup_id()
    database = operator.variables["POSTGRES_DB"]
    with cluster.server.connect(database) as connection:
        connection.execute("TRUNCATE sale")
    with monkeypatch.context() as patch:
        patch.setattr(render, "now", lambda: datetime.now(UTC) + timedelta(days=1500))
        ahead = operator.backup_id()
    found = operator.run("diagnose", "--json").json
    assert found["backup_id"] == now
    assert found["damaged_tables"] == ["public.sale"]
    assert f"{ahead} is dated in the future" in found["notes"][0]
    assert operator.must("diagnose", "--backup", ahead, "--json").json["backup_id"] == ahead


@pytest.mark.small
def test_a_table_encrypted_in_place_is_found_and_put_right(
    operator: Operator, cluster: ScratchCluster
) -> None:
    """Loss prevented: every row there, none of them readable, and nothing said."""
    database = operator.variables["POSTGRES_DB"]
    for number in range(6):
        with cluster.server.connect(database) as connection:
            connection.execute(
                f"UPDATE member SET name = 'Amélie 0{number}' WHERE id = (SELECT min(id) FROM member)"
            )
        before = operator.backup_id()
    with cluster.server.connect(database) as connection:
        connection.execute("UPDATE member SET name = encode(sha256(name::bytea), 'base64')")
    operator.backup_id()
    health = operator.run("metrics", "--format", "json")
    # Of so small a database, where this is most of it, the dump's size says it too.
    assert "table_rewritten" in [each["name"] for each in health.json["issues"] if each["anomaly"]]
    found = operator.run("diagnose", "--json")
    assert found.json["backup_id"] == before
    assert [each["kind"] for each in found.json["findings"]] == ["rewritten"]
    (command,) = found.json["commands"]
    operator.must(*shlex.split(command)[1:])
    operator.backup_id()
    assert not [
        each for each in operator.run("metrics", "--format", "json").json["issues"] if each["anomaly"]
    ]


@pytest.mark.small
def test_tables_that_cannot_be_merged_do_not_take_the_others_with_them(
    operator: Operator, cluster: ScratchCluster
) -> None:
    """Loss prevented: a command that is refused whole because of a column that a migration changed."""
    database = operator.variables["POSTGRES_DB"]
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE empty (); INSERT INTO empty DEFAULT VALUES;"
            "CREATE TABLE receipt (file_name varchar(200)); INSERT INTO receipt VALUES ('a.pdf')"
        )
    operator.backup_id()
    with cluster.server.connect(database) as connection:
        connection.execute("DELETE FROM sale WHERE id <= 30")
        connection.execute("DELETE FROM public.receipt; DELETE FROM empty")
        connection.execute("ALTER TABLE public.receipt ALTER file_name TYPE varchar(300)")
    found = operator.run("diagnose", "--json").json
    merge, beside = found["commands"]
    assert "--table public.sale" in merge
    assert "receipt" not in merge
    assert "empty" not in merge
    assert "--table public.receipt" in beside
    assert "--table public.empty" in beside
    for command in (merge, beside):
        operator.must(*shlex.split(command)[1:])
    refused = operator.run("restore", "latest", "--table", "public.empty", "--merge-into", database, "--yes")
    assert refused.code == 70
    assert "no columns" in refused.err
    with cluster.server.connect("postgres") as connection:
        connection.execute(f'DROP DATABASE "{database}_recovered"')


@pytest.mark.small
def test_a_table_that_is_gone_comes_back_by_the_two_printed_lines(
    operator: Operator, cluster: ScratchCluster, installation: Installation
) -> None:
    """Loss prevented: a table in a database beside, and nobody who knows how it gets from there."""
    operator.backup_id()
    database = operator.variables["POSTGRES_DB"]
    with cluster.server.connect(database) as connection:
        connection.execute("DROP TABLE sale")
    lines = operator.run("diagnose").out.splitlines()
    restore, move = (line.strip() for line in lines if line.startswith("  "))
    operator.must(*shlex.split(restore)[1:])
    path = f"{installation.directory}:{os.environ['PATH']}"
    secret = {"PATH": path, "PGPASSWORD": cluster.server.password}
    subprocess.run(["/bin/sh", "-c", move], env=secret, check=True, capture_output=True, timeout=60)
    with cluster.server.connect("postgres") as connection:
        connection.execute(f'DROP DATABASE "{database}_recovered"')
    assert operator.must("diagnose").out.splitlines()[-1] == "no damage found"


@pytest.mark.small
def test_without_a_backup_it_looks_at_the_database_alone(operator: Operator) -> None:
    """Loss prevented: no answer at all before the first backup."""
    operator.storage.mkdir()
    outcome = operator.must("diagnose")
    assert "no backup" in outcome.out
    assert outcome.out.splitlines()[-1] == "no damage found"
    assert not operator.stored()


@pytest.mark.small
def test_a_database_that_is_not_there_is_a_problem_of_the_server(operator: Operator) -> None:
    """Loss prevented: exit code 0 for a database that nobody has seen."""
    operator.storage.mkdir()
    outcome = operator.run("diagnose", "nowhere")
    assert outcome.code == 20
    assert outcome.out == ""


def test_the_page_says_what_is_printed(operator: Operator, cluster: ScratchCluster) -> None:
    """Loss prevented: a page on what to do that speaks of another program."""
    database = operator.variables["POSTGRES_DB"]
    operator.backup_id()
    with cluster.server.connect(database) as connection:
        connection.execute("DELETE FROM sale_items WHERE ctid IN (SELECT ctid FROM sale_items LIMIT 30)")
    page = read("docs/diagnose.md")
    command = block(page, "test=diagnose").replace(
        "recyclic-backups diagnose recyclic", f"diagnose {database}"
    )
    printed = operator.run(*shlex.split(command)).out.splitlines()
    shown = block(page, "prints").splitlines()
    assert len(shown) == len([line for line in printed if not line.startswith("note:")])
    assert printed[-1] == shown[-1]
    for word in ("looked at", "against", "WHERE", "public.sale_items", "to put it right:"):
        assert [line.startswith(word) for line in shown].count(True) == 1
        assert [line.startswith(word) for line in printed].count(True) == 1


def test_a_printed_command_means_what_it_says_whatever_the_table_is_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Loss prevented: a table's name that hides the rest of the command, or a command that names another table."""
    name = "it's\na\ttable\x1b[8m\u202e of \u0085 ours\udce9e"
    render.command(f"printf %s {shlex.quote(name)}")
    (line, end) = capsys.readouterr().out.split("\n")
    assert not end
    assert line.isprintable()
    assert line.isascii()
    for locale in ("C.UTF-8", "C"):
        typed = subprocess.run(
            ["bash", "-c", line], capture_output=True, check=True, env={**os.environ, "LC_ALL": locale}
        )
        assert typed.stdout == os.fsencode(name)


def test_a_drill_prints_the_command_that_it_rehearsed(capsys: pytest.CaptureFixture[str]) -> None:
    """Loss prevented: the line of last month's drill, pasted, that restores another table."""
    table = 'public."a\nb"'
    now = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    details = {"commands": [f"printf %s {shlex.quote(table)}"]}
    print_report(
        DrillReport(Scenario.PARTIAL, now, "somewhere", (ScenarioResult("an id", now, {}, details=details),))
    )
    (line,) = (each for each in capsys.readouterr().out.splitlines() if each.startswith("diagnose  "))
    typed = subprocess.run(
        ["bash", "-c", line.removeprefix("diagnose  ")], capture_output=True, check=True, text=True
    )
    assert typed.stdout == table
