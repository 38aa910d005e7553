"""Large tables put back: work that grows with the rows alone, and memory that does not."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recyclic_backups.fingerprint.session import SETTINGS
from recyclic_backups.merge import row_writing
from recyclic_backups.merge import transaction as merging
from recyclic_backups.merge.live_table import describe
from recyclic_backups.merge.transaction import TableMerge, merge_tables
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server

OWNER = "zq_warehouse"


@pytest.fixture
def beside(cluster: ScratchCluster, database: str) -> Iterator[str]:
    """A second database, both of them of one owner: the restored one beside the live one."""
    name = f"{database}_beside"
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"DROP ROLE IF EXISTS {OWNER}; CREATE ROLE {OWNER} LOGIN PASSWORD '{OWNER}'")
        connection.execute(f"ALTER DATABASE {database} OWNER TO {OWNER}")
        connection.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0")
    for each in (database, name):
        with cluster.server.connect(each) as connection:
            connection.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")
    yield name
    with cluster.server.connect("postgres") as connection:
        for each in (name, database):
            connection.execute(f"DROP DATABASE {each} WITH (FORCE)")
        connection.execute(f"DROP ROLE {OWNER}")


def _do(cluster: ScratchCluster, database: str, statements: str) -> list[tuple[object, ...]]:
    server = Server(cluster.server.host, cluster.server.port, OWNER, OWNER)
    with server.connect(database) as connection:
        cursor = connection.execute(statements.encode())
        return cursor.fetchall() if cursor.description else []


def _put_back(cluster: ScratchCluster, beside: str, live: str) -> TableMerge:
    report = merge_tables(cluster.server, beside, live, ["public.t"], seconds=60, lock_seconds=5)
    assert report.broken == ()
    rows = "SELECT t::text FROM t ORDER BY 1"
    assert _do(cluster, live, rows) == _do(cluster, beside, rows)
    return report.tables[0]


_MADE = """
    CREATE TABLE t (id int PRIMARY KEY, pos int {unique});
    CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE) WITH (fillfactor = 10);
    INSERT INTO t SELECT n, n FROM generate_series(1, {rows}) n;
    INSERT INTO child SELECT n FROM generate_series(1, {rows}, 2) n;
"""


def test_children_are_not_searched_once_for_each_row_whose_values_moved(
    cluster: ScratchCluster, database: str, beside: str
) -> None:
    """Loss prevented: a merge that never ends. 40,000 rows took half a minute, and ten times as many an hour."""
    rows = 5000
    for each in (beside, database):
        _do(cluster, each, _MADE.format(unique="NOT NULL UNIQUE", rows=rows))
    _do(cluster, database, f"UPDATE t SET pos = -pos; UPDATE t SET pos = {rows} + 1 + pos")
    searches = "SELECT seq_scan FROM pg_stat_all_tables WHERE relname = 'child'"
    with cluster.server.connect(database) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        before = connection.execute(searches).fetchall()[0][0]
    assert _put_back(cluster, beside, database).updated == rows
    assert _do(cluster, database, "SELECT count(*) FROM child") == [(rows // 2,)]
    # A session's figures are there once it has ended.
    written = f"SELECT n_tup_upd > {2 * rows} FROM pg_stat_all_tables WHERE relname = 't'"
    with cluster.server.connect(database) as connection:
        for _ in range(1000):
            if connection.execute(written).fetchall() == [(True,)]:
                break
            connection.execute("SELECT pg_sleep(0.01)")
        else:
            raise AssertionError("the server never told what the merge had written")
        assert connection.execute(searches).fetchall()[0][0] - before < 20


def test_where_rows_must_have_a_value_children_are_searched_all_the_same(
    cluster: ScratchCluster, database: str, beside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: values that only rows taken out can exchange, and that stay wrong because it would take long."""
    monkeypatch.setattr(row_writing, "_MOST_PAGES", 0)
    for each in (beside, database):
        _do(cluster, each, _MADE.format(unique="UNIQUE NULLS NOT DISTINCT", rows=9))
    _do(
        cluster,
        database,
        "UPDATE t SET pos = -pos WHERE id % 2 = 0; UPDATE t SET pos = 10 + pos WHERE pos < 0",
    )
    assert _put_back(cluster, beside, database).updated == 4
    assert _do(cluster, database, "SELECT count(*) FROM child") == [(5,)]


@pytest.mark.skipif(sys.platform != "linux", reason="linux: /proc says what a server takes")
def test_the_proof_takes_no_more_memory_for_more_rows(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: production's memory, taken by a question: 200,000 rows of a kilobyte took 439 MiB."""
    made = "(a int, b int, v text)"
    rows = "SELECT n / 100, n % 100, repeat(md5((n / 10)::text), 150) FROM generate_series(1, 10000) n"
    with cluster.server.connect(database, settings=SETTINGS) as connection:
        connection.execute(f"CREATE TABLE public.t {made}; CREATE TEMP TABLE recyclic_staged_0 {made}")
        connection.execute(f"INSERT INTO public.t {rows}; INSERT INTO pg_temp.recyclic_staged_0 {rows}")
        connection.execute("ANALYZE public.t; ANALYZE pg_temp.recyclic_staged_0")
        status = Path(f"/proc/{connection.info.backend_pid}/status")

        def most_kib() -> int:
            return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0])

        before = most_kib()
        merging._require_equal(connection, describe(connection, connection, "public.t", 0))
        # The texts of either side are 47 MiB.
        assert most_kib() - before < 24 << 10
