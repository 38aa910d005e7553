"""``validate`` with WAL_ARCHIVE=true: each thing that is in the way, with the line to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.operator import Operator, variables_of


@pytest.fixture
def operator_with_wal(
    server_of_its_own: ScratchCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Operator:
    """The command line, WAL on."""
    variables = variables_of(server_of_its_own.server, "postgres")
    return Operator(tmp_path, capsys, {**variables, "WAL_ARCHIVE": "true"})


def _said(operator: Operator, status: str, **settings: str) -> list[str]:
    found = operator.run("validate", "--json", **settings).document["checks"]
    return [
        f"{each['message']}: {each['hint']}"
        for each in found
        if (each["check"], each["status"]) == ("wal", status)
    ]


def test_a_ready_server_is_fine_and_an_unlimited_slot_is_a_warning(operator_with_wal: Operator) -> None:
    """Loss prevented: production stops, since a receiver that was down filled its disk with WAL."""
    (fine,) = _said(operator_with_wal, "ok")
    assert "lets us in for replication" in fine
    warnings = _said(operator_with_wal, "warning")
    assert any("ALTER SYSTEM SET max_slot_wal_keep_size" in each for each in warnings)
    assert not any("does not prove" in each for each in warnings)
    assert any("nobody receives WAL" in each for each in warnings)
    assert _said(operator_with_wal, "error") == []


def test_whatever_is_in_the_way_is_named_with_the_line_that_mends_it(
    operator_with_wal: Operator, server_of_its_own: ScratchCluster
) -> None:
    """Loss prevented: an evening of reading PostgreSQL's manual, or an archive that never begins."""
    server_of_its_own.configure(
        {"wal_level": "minimal", "max_wal_senders": "0", "max_replication_slots": "0"}
    )
    server_of_its_own.restart()
    with server_of_its_own.server.connect("postgres") as connection:
        connection.execute("CREATE ROLE \"d'Arc\" LOGIN PASSWORD 'geheim-geheim'")
    errors = _said(operator_with_wal, "error", POSTGRES_USER="d'Arc", POSTGRES_PASSWORD="geheim-geheim")
    for line in (
        "ALTER SYSTEM SET wal_level = replica;",
        "ALTER SYSTEM SET max_wal_senders = 10;",
        "ALTER SYSTEM SET max_replication_slots = 10;",
        'ALTER ROLE "d\'Arc" REPLICATION;',
    ):
        assert any(line in each for each in errors), line


@pytest.mark.parametrize("names", ["*", "ANY 1 (s1, *)", "FIRST 1 (recyclic_backups_wal, s2)"])
def test_a_server_that_would_wait_for_our_storage_with_every_commit_is_refused(
    operator_with_wal: Operator, server_of_its_own: ScratchCluster, names: str
) -> None:
    """Loss prevented: a till that takes a second for each sale."""
    server_of_its_own.configure({"synchronous_standby_names": names})
    server_of_its_own.restart()
    with server_of_its_own.server.connect("postgres") as connection:
        connection.execute("SET synchronous_commit TO off")
    assert any("synchronous_standby_names" in each for each in _said(operator_with_wal, "error"))


def test_a_pg_hba_conf_that_refuses_replication_is_got_around_and_told(
    operator_with_wal: Operator, server_of_its_own: ScratchCluster
) -> None:
    """Loss prevented: nothing is archived at a server whose owner would have to change pg_hba.conf first."""
    hba = server_of_its_own.data_directory / "pg_hba.conf"
    hba.write_text("host replication all all reject\nhost all all all scram-sha-256\n")
    server_of_its_own.restart()
    (fine,) = _said(operator_with_wal, "ok")
    assert "to the database postgres" in fine


def test_a_server_that_proves_nothing_to_the_receiver_is_a_warning(
    operator_with_wal: Operator, server_of_its_own: ScratchCluster
) -> None:
    """Attack: another user listens on its port while it is down, and writes into the archive as if he were it."""
    hba = server_of_its_own.data_directory / "pg_hba.conf"
    hba.write_text("host replication all all trust\nhost all all all scram-sha-256\nlocal all all trust\n")
    server_of_its_own.restart()
    assert any("does not prove who it is" in each for each in _said(operator_with_wal, "warning"))


def test_without_wal_archive_nothing_is_asked(operator_with_wal: Operator) -> None:
    """Loss prevented: warnings about something that nobody wants."""
    found = operator_with_wal.run("validate", "--json", WAL_ARCHIVE="false").document["checks"]
    assert not any(each["check"] == "wal" for each in found)
