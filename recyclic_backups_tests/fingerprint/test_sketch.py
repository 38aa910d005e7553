"""A sketch tells how many rows two nights have in common, whatever was done to the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.contents import table_query
from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.fingerprint.relations import list_tables
from recyclic_backups.fingerprint.session import reading_session
from recyclic_backups.fingerprint.sketch import BUCKETS, a_sketch, overlap, sketch_of
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.fingerprint.rows import table_of


def rows_of(count: int, since: int = 0) -> set[str]:
    """So many rows, no two of which have the same text."""
    return {f"({number},somebody)" for number in range(since, since + count)}


@given(
    count=st.integers(200, 3000),
    changed=st.floats(0, 1),
    added=st.floats(0, 0.9),
    salt=st.integers(0, 10**9),
)
def test_the_estimate_is_near_the_truth(count: int, changed: float, added: float, salt: int) -> None:
    """Loss prevented: an encrypted table taken for one with a few edits, or the other way round."""
    before = {f"{salt} {row}" for row in rows_of(count)}
    gone = set(sorted(before)[: round(changed * count)])
    after = (
        (before - gone) | {f"encrypted {row}" for row in gone} | rows_of(round(added * count), since=count)
    )
    truth = len(before & after) / min(len(before), len(after))
    estimate = overlap(table_of(before), table_of(after))
    assert estimate is not None
    assert abs(estimate - truth) <= 0.45  # nearly five deviations of 32 draws
    if truth == 0:
        assert estimate <= 0.25


@given(st.integers(1, 500), st.integers(0, 100), st.integers(0, 100))
def test_it_does_not_matter_which_night_was_first(count: int, gone: int, added: int) -> None:
    """Loss prevented: an estimate that holds in one direction only."""
    one = table_of(rows_of(count))
    other = table_of(rows_of(max(1, count - gone), since=gone) | rows_of(added, since=10_000))
    assert overlap(one, other) == overlap(other, one)


def test_what_cannot_be_told_is_not_guessed() -> None:
    """Loss prevented: an alarm after every upgrade, migration or import."""
    usual = table_of(rows_of(100))
    other = table_of(rows_of(100, since=1000))
    assert overlap(usual, replace(other, sketch=None)) is None
    assert overlap(usual, table_of(rows_of(100, since=1000), "id", "text", "added")) is None
    assert overlap(usual, table_of(rows_of(201))) is None
    assert overlap(usual, table_of([])) is None
    assert overlap(usual, replace(usual, sketch=None)) == 1.0
    assert overlap(usual, other) is not None


@given(st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(0, 255)))
def test_a_sketch_is_read_as_it_was_written(buckets: dict[int, int]) -> None:
    """Loss prevented: a fingerprint of ours that we refuse to read."""
    assert a_sketch(sketch_of(buckets.items())) == sketch_of(buckets.items())


@pytest.mark.parametrize("text", ["", "00", ".." * 31, ".." * 33, ".0" * 32, "zz" * 32, "AB" * 32, 7, None])
def test_what_is_no_sketch_is_damage(text: object) -> None:
    """Loss prevented: a traceback from health over a manifest that somebody edited."""
    with pytest.raises(DamagedData):
        a_sketch(text)


def fingerprint_of(cluster: ScratchCluster, database: str, table: str) -> TableFingerprint:
    """A table's fingerprint as a backup takes it."""
    return read_fingerprint(cluster.server, database, level="content").tables[table]


def test_the_server_makes_the_same_sketch_of_the_same_rows_in_any_order(
    cluster: ScratchCluster, database: str
) -> None:
    """Loss prevented: tables that look rewritten because they were vacuumed, clustered or restored."""
    with cluster.server.connect(database) as connection:
        connection.execute(
            "CREATE TABLE one AS SELECT n, md5(n::text) AS m FROM generate_series(1, 50000) n;"
            "CREATE TABLE other (m text, gone int, n int); ALTER TABLE other DROP COLUMN gone;"
            "INSERT INTO other SELECT m, n FROM one ORDER BY m;"
            "CREATE TABLE empty (id int); CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES"
        )
    one = fingerprint_of(cluster, database, "public.one")
    assert one == fingerprint_of(cluster, database, "public.other")
    assert one.rows == one.non_null["m"] == 50_000
    assert one.sketch is not None
    assert "." not in one.sketch
    empty = fingerprint_of(cluster, database, "public.empty")
    assert (empty.rows, empty.non_null, empty.content, empty.sketch) == (0, {"id": 0}, "0", "." * 64)
    nothing = fingerprint_of(cluster, database, "public.nothing")
    assert (nothing.rows, nothing.non_null) == (1, {})


def test_parallel_workers_make_the_same_fingerprint(cluster: ScratchCluster, database: str) -> None:
    """Loss prevented: a restore on a larger machine that seems to differ from its backup."""
    with cluster.server.connect(database) as connection:
        connection.execute("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 20000) n")
    alone = fingerprint_of(cluster, database, "public.t")
    with cluster.server.connect("postgres") as connection:
        for setting in (
            "min_parallel_table_scan_size = 0",
            "parallel_setup_cost = 0",
            "parallel_tuple_cost = 0",
        ):
            connection.execute(f"ALTER DATABASE {database} SET {setting}")
    with reading_session(cluster.server, database) as session:
        (table,) = list_tables(session)
        plan = session.execute(sql.SQL("EXPLAIN ") + table_query(table, ["n", "m"], "content")).fetchall()
    assert any("Parallel Seq Scan" in line for (line,) in plan)
    assert fingerprint_of(cluster, database, "public.t") == alone


@pytest.mark.parametrize(
    ("statement", "share"),
    [
        ("UPDATE t SET m = 'edited' WHERE n = 7", 1.0),
        ("UPDATE t SET m = 'edited' WHERE n % 10 = 0", 0.9),
        ("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1001, 1100) n", 1.0),
        ("DELETE FROM t WHERE n <= 300", 1.0),
        ("UPDATE t SET m = encode(sha256((m || 'key')::bytea), 'base64')", 0.0),
        ("UPDATE t SET n = n + 100000", 0.0),
    ],
)
def test_the_share_of_rows_that_a_statement_left_alone_is_estimated(
    cluster: ScratchCluster, database: str, statement: str, share: float
) -> None:
    """Loss prevented: an estimate that holds for made-up hashes and not for the server's."""
    with cluster.server.connect(database) as connection:
        connection.execute("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 1000) n")
    before = fingerprint_of(cluster, database, "public.t")
    with cluster.server.connect(database) as connection:
        connection.execute(statement)
    found = overlap(before, fingerprint_of(cluster, database, "public.t"))
    assert found is not None
    assert abs(found - share) < 0.15
