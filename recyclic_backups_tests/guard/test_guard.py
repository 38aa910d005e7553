"""``guard``: a checkpoint before the migration, probes after it, and the way back."""

from __future__ import annotations

import json
import shlex
import socket
import stat

import pytest

from recyclic_backups.guard import watch
from recyclic_backups_tests.guard.conftest import SEEN, Migrator


def _typed(err: str) -> list[str]:
    """The one command that goes back, as printed."""
    (line,) = [line for line in err.splitlines() if line.startswith("  recyclic-backups ")]
    return shlex.split(line)[1:]


def test_a_migration_that_works_has_a_checkpoint_before_it(migrator: Migrator) -> None:
    """Prevents the release whose migration turns out to be wrong a week later from having no way back."""
    outcome = migrator.guard(
        *("--version", "2.4.0", "--revision", "3f2a1c", "--report", "report.json", "--"),
        *migrator.psql("ALTER TABLE member ADD COLUMN email text"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""
    assert migrator.ask("SELECT count(email) FROM member") == 0
    report = migrator.report()
    assert report["failed"] is None
    assert [probe["probe"] for probe in report["probes"] if probe["passed"]] == ["every sale has a total"]
    shown = migrator.operator.must("show", "latest", "--json").json
    assert shown["backup_id"] == report["backup_id"]
    assert shown["checkpoint"] == {"version": "2.4.0", "revision": "3f2a1c"}
    assert [check["passed"] for check in shown["checks"]] == [True]
    assert "checkpoint  before version 2.4.0, revision 3f2a1c" in migrator.operator.must("show", "latest").out
    (listed,) = migrator.operator.must("list", "--tier", "checkpoint", "--json").json
    assert listed["tiers"] == ["checkpoint"]


def test_a_migration_that_fails_ends_with_its_code_and_the_printed_command_goes_back(
    migrator: Migrator,
) -> None:
    """Prevents a half-migrated database, and a person who has to find out at night what to type."""
    outcome = migrator.guard(
        "--", *migrator.psql("DELETE FROM sale", "ALTER TABLE nothing ADD COLUMN email text")
    )
    assert outcome.code == 1
    assert "the command failed" in outcome.err
    assert "psql ended with exit code 1" in outcome.err
    assert migrator.ask("SELECT count(*) FROM sale") == 0
    command = _typed(outcome.err)
    assert command[0] == "restore"
    assert command[2:] == ["--replace", "--yes"]
    try:
        migrator.operator.must(*command)
        assert migrator.ask("SELECT count(*) FROM sale") == 500
    finally:
        migrator.drop_kept()


def test_a_migration_that_breaks_a_probe_ends_with_80(migrator: Migrator) -> None:
    """Prevents a migration that says it went well from being believed."""
    outcome = migrator.guard(
        "--report", "report.json", "--", *migrator.psql("UPDATE sale SET total = NULL WHERE id = 7")
    )
    assert outcome.code == 80
    assert "guard: the probes failed" in outcome.err
    assert "probe 'every sale has a total': found a row that should not be: 7" in outcome.err
    assert _typed(outcome.err)[0] == "restore"
    assert migrator.report()["failed"] == "probes"
    assert migrator.report()["exit_code"] == 80


def test_a_table_that_is_gone_is_found(migrator: Migrator) -> None:
    """Prevents a probe from being passed over because the migration dropped the very table that it is about."""
    gone = migrator.guard("--", *migrator.psql("DROP TABLE sale"))
    assert gone.code == 80
    assert "the query fails" in gone.err


def test_a_grant_that_is_lost_is_found(migrator: Migrator) -> None:
    """Prevents an application that may not read its own tables any more, though every superuser may."""
    migrator.ask(
        "CREATE ROLE guarded_app LOGIN; GRANT SELECT ON member, sale TO guarded_app; SELECT 1 AS done"
    )
    try:
        lost = migrator.guard(
            "--report", "report.json", "--", *migrator.psql("REVOKE ALL ON sale FROM guarded_app")
        )
        assert migrator.report()["probed_as"] == "guarded_app"
        assert lost.code == 80
        assert "permission denied for table sale" in lost.err
    finally:
        migrator.ask("DROP OWNED BY guarded_app; DROP ROLE guarded_app; SELECT 1 AS done")


@pytest.mark.parametrize(
    ("statements", "code"),
    [
        pytest.param(("DELETE FROM sale", SEEN, "SELECT 1/0"), 1, id="command"),
        pytest.param(("UPDATE sale SET total = NULL", SEEN), 80, id="probe"),
    ],
)
def test_it_goes_back_by_itself_when_nobody_else_was_there(
    migrator: Migrator, statements: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a deployment at night from leaving the till broken until somebody wakes up."""
    monkeypatch.setattr(watch, "_SETTLE_SECONDS", 60)  # a busy server ends sessions slowly
    arguments = ("--auto-restore", "--report", "report.json", "--", *migrator.psql(*statements))
    try:
        outcome = migrator.guard(*arguments)
        assert outcome.code == code, outcome.err
        assert "nobody else was there" in outcome.err
        assert "the database is as it was before the command" in outcome.err
        assert migrator.ask("SELECT count(total) FROM sale") == 500
        returned = migrator.report()["auto_restore"]
        assert returned["done"] is True
        assert returned["restore"]["equal"] is True
        assert returned["restore"]["kept_as"] in migrator.names()
    finally:
        migrator.drop_kept()


@pytest.mark.parametrize("stays", [SEEN, "SELECT 1"], ids=["seen", "too short to be seen"])
def test_it_does_not_go_back_over_somebody_else_s_work(migrator: Migrator, stays: str) -> None:
    """Prevents the sales of a till from being undone together with the migration that failed."""
    ours = shlex.join(migrator.psql("DELETE FROM sale WHERE id < 5", SEEN))
    theirs = shlex.join(migrator.psql("INSERT INTO sale VALUES (1000, 1, 12.50)", stays))
    before = migrator.names()
    outcome = migrator.guard(
        *("--auto-restore", "--", "/bin/sh", "-c", f"{ours}; PGAPPNAME=till {theirs}; exit 9")
    )
    assert outcome.code == 9
    assert "not gone back by itself: " in outcome.err
    assert "another session was there: 'till'" in outcome.err or "that nobody saw" in outcome.err
    assert _typed(outcome.err)[0] == "restore"
    assert migrator.names() == before
    assert migrator.ask("SELECT total FROM sale WHERE id = 1000") is not None


def test_who_was_there_before_and_stayed_is_somebody_else(migrator: Migrator) -> None:
    """Prevents the work of a till that has been connected since the morning from being undone."""
    with migrator.cluster.server.connect(migrator.database, application_name="till"):
        outcome = migrator.guard("--auto-restore", "--", *migrator.psql(SEEN, "SELECT 1/0"))
    assert outcome.code == 1
    assert "another session was there: 'till'" in outcome.err


def test_it_does_not_go_back_for_what_was_wrong_before(migrator: Migrator) -> None:
    """Prevents a good migration from being undone, again and again, for a probe that it has nothing to do with."""
    migrator.ask("UPDATE sale SET total = NULL WHERE id = 7 RETURNING 1")
    outcome = migrator.guard("--auto-restore", "--", *migrator.psql(SEEN))
    assert outcome.code == 80
    assert "it failed before the command too" in outcome.err
    assert "going back would not heal it" in outcome.err
    assert "--replace" not in outcome.err

    by_hand = migrator.guard("--report", "r.json", "--", *migrator.psql("SELECT 1"))
    assert by_hand.code == 80
    assert "going back would not heal it" in by_hand.err
    assert "--replace" not in by_hand.err
    assert json.loads((migrator.operator.directory / "r.json").read_text())["go_back"] is None


def test_a_command_that_is_not_there_is_127_and_one_that_is_no_program_126(migrator: Migrator) -> None:
    """Prevents a checkpoint, and a restore, for a migration that could never begin."""
    missing = migrator.guard("--auto-restore", "--", "no-such-migration", "--now")
    assert missing.code == 127
    assert "no-such-migration was not found; nothing was run" in missing.err
    (migrator.operator.directory / "notes.txt").write_text("no program")
    assert migrator.guard("--", "./notes.txt").code == 126
    assert migrator.operator.stored() == set()


def test_without_a_checkpoint_nothing_is_run(migrator: Migrator) -> None:
    """Prevents a migration with no way back, because the disk of the backups was not mounted."""
    touched = migrator.operator.directory / "touched"
    outcome = migrator.guard("--", "touch", str(touched), BACKUP_STORAGE="file:///nowhere/at/all")
    assert outcome.code == 30
    unreachable = migrator.guard("--auto-restore", "--", "touch", str(touched), POSTGRES_PORT="1")
    assert unreachable.code == 20
    unwritable = migrator.guard("--report", "/nowhere/report.json", "--", "touch", str(touched))
    assert unwritable.code == 2
    assert migrator.guard("--report", "", "--", "touch", str(touched)).code == 2
    assert not touched.exists()


def test_a_report_that_nobody_would_get_is_found_out_before_the_command(
    migrator: Migrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a migration whose report is lost, and the socket of a service from being taken for a file."""
    directory = migrator.operator.directory
    touched = directory / "touched"
    monkeypatch.chdir(directory)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        refused = migrator.guard("--report", "socket", "--", "touch", str(touched))
    assert (refused.code, refused.out) == (2, "")
    assert "the report cannot be written: 'socket': it is a socket" in refused.err
    assert not touched.exists()


def test_a_report_is_for_nobody_else_and_one_that_comes_to_nothing_is_said_once(migrator: Migrator) -> None:
    """Prevents members' data that a probe quoted from being read by everybody, and a sentence that says it twice."""
    directory = migrator.operator.directory
    (directory / "kept").mkdir()
    assert migrator.guard("--report", "report.json", "--", "rmdir", "kept").code == 0
    assert stat.S_IMODE((directory / "report.json").stat().st_mode) == 0o600
    (directory / "gone").mkdir()
    outcome = migrator.guard("--report", "gone/report.json", "--", "rmdir", "gone")
    assert outcome.code == 0
    assert "guard: no report: gone/report.json cannot be written: No such file or directory" in outcome.err
    assert outcome.err.count("cannot be written") == 1


def test_an_exit_code_above_128_is_no_signal_and_a_report_is_only_replaced_by_another(
    migrator: Migrator,
) -> None:
    """Prevents "ended by signal 127" of an ssh that could not connect, and an empty file for last week's report."""
    outcome = migrator.guard("--report", "report.json", "--", "/bin/sh", "-c", "exit 255")
    assert outcome.code == 255
    assert "sh ended with exit code 255" in outcome.err
    before = migrator.report()
    missing = migrator.operator.run(
        "guard", "--report", "report.json", "--", "true", BACKUP_STORAGE="file:///nowhere/at/all"
    )
    assert missing.code == 30
    assert migrator.report() == before


def test_no_secret_is_printed_or_reported(migrator: Migrator) -> None:
    """Prevents the password in a migration's connection string from ending up in a log."""
    url = "postgresql://admin:hunter2@localhost:1/shop"
    outcome = migrator.guard("--report", "report.json", "--", "/bin/sh", "-c", f"exit 3 # {url}")
    assert outcome.code == 3
    report = (migrator.operator.directory / "report.json").read_text()
    for text in (outcome.out, outcome.err, report):
        assert "hunter2" not in text
        assert migrator.cluster.server.password not in text
        assert migrator.operator.variables["BACKUP_ENCRYPTION_KEY"] not in text


def test_probes_cannot_change_the_live_database(migrator: Migrator) -> None:
    """Prevents a careless probe from deleting what it was to look at."""
    migrator.probe("careless", "-- expect: rows\nDELETE FROM public.sale RETURNING id;\n")
    outcome = migrator.guard("--", *migrator.psql("SELECT 1"))
    assert outcome.code == 80
    assert "read-only transaction" in outcome.err
    assert migrator.ask("SELECT count(*) FROM sale") == 500
