"""``recover --look``: the person at night finds the transaction, and the command for just before it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups.postgres.programs import Installation
from recyclic_backups.recovery.ask_wal import last_commit, wal_reader
from recyclic_backups.recovery.look import Names, look
from recyclic_backups_tests.archive.conftest import receiving, small_segments
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.recovery.conftest import History, Site


def test_what_was_deleted_and_dropped_is_told_with_its_transaction_and_its_moment(
    recovering: Operator, history: History
) -> None:
    """Loss: a moment that is guessed, a minute too late: the accident comes back with the rest."""
    found = recovering.must("recover", "--look", "--json").document["transactions"]
    deleting = next(each for each in found if each["xid"] == history.deleting_xid)
    assert deleting["deleted"][0]["rows"] == 100  # and the parts of long values, in a table of their own
    assert history.before.isoformat() < deleting["time"].replace("Z", "+00:00") < history.deleted.isoformat()
    assert deleting["command"][:4] == ["recover", "--to-xid", str(history.deleting_xid), "--exclusive"]
    dropping = found[-1]
    assert dropping["removed"]
    assert deleting["deleted"][0]["file"] in [each["file"] for each in dropping["removed"]]


def test_tables_that_are_still_there_have_their_names_and_a_truncated_one_is_told(
    recovering: Operator, history: History
) -> None:
    """Loss: numbers of files, at night, when every minute costs."""
    site = history.site
    server = site.cluster.server
    outcome = recovering.must("recover", "--look", POSTGRES_HOST=server.host, POSTGRES_PORT=str(server.port))
    assert "deleted 100 rows of" in outcome.out
    assert "truncated or rewrote public.kept in postgres" in outcome.out
    assert "changed 2 rows of public.kept in postgres" in outcome.out
    assert "--to-xid" in outcome.out


@pytest.mark.parametrize("tables", some([0, 40], {40}), ids=["within a page", "across pages"])
def test_the_name_of_a_prepared_transaction_does_not_hide_or_forge_others(
    installation: Installation, scratch_directory: Path, tmp_path: Path, tables: int
) -> None:
    """Attack: pg_waldump prints a name as it is: behind it, it seems, a commit far ahead, and the rest is hidden."""
    with small_segments(installation, scratch_directory) as cluster:
        cluster.configure({"max_prepared_transactions": "2"})
        cluster.restart()
        site = Site(cluster, tmp_path / "storage", installation, scratch_directory)
        with receiving(cluster, site.store) as receiver:
            site.sql("CREATE TABLE public.log AS SELECT n FROM generate_series(1, 10) n")
            site.take_base()
            began = site.moment()
            ahead = site.lsn() + 8000
            forged = (
                f"x\nrmgr: Transaction len (rec/tot): 1/1, tx: 7, lsn: {ahead >> 32:X}/{ahead & 0xFFFFFFFF:X}, prev 0, "
                "desc: COMMIT 2038-01-01 00:00:00 UTC"
            )
            with cluster.server.connect("postgres") as connection:
                connection.execute("BEGIN")
                for number in range(tables):  # what it locks and invalidates stands in the same record
                    connection.execute(f"CREATE TABLE public.t{number} (a int)".encode())
                connection.execute("SELECT pg_current_xact_id()")
                connection.execute(f"PREPARE TRANSACTION '{forged}'".encode())
                connection.execute(f"ROLLBACK PREPARED '{forged}'".encode())
            site.sql("DELETE FROM public.log WHERE n <= 4")
            site.sql("SELECT pg_logical_emit_message(false, '', repeat('x', 20000))")
            ended = site.moment()
            site.sql("CHECKPOINT")
            site.caught_up(receiver, ended)
        found = site.survey()
        with wal_reader(
            found.source, [installation], scratch_directory, installation.major * 10000
        ) as reader:
            [window] = found.windows()
            told = look(reader, window, began, ended + timedelta(seconds=5), Names())
            assert sum(sum(each.deleted.values()) for each in told) == 4
            assert 7 not in [each.xid for each in told]
            last = last_commit(reader, window)
            assert last is not None
            assert last < ended + timedelta(minutes=5)
