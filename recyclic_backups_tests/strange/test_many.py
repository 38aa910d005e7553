"""Many of everything: tables, large objects."""

from __future__ import annotations

import pytest

from recyclic_backups_tests.strange.conftest import Servers, create, round_trip, run_sql


@pytest.mark.slow
def test_large_objects_come_back(servers: Servers) -> None:
    """Loss prevented: scanned receipts, kept as large objects: of several pieces, empty, of others, with holes."""
    servers.zoo(15)  # for its roles
    database = create(servers[15], "receipts")
    run_sql(
        servers[15],
        database,
        """
        SELECT lo_from_bytea(0, decode(repeat(md5(n::text), n * 4), 'hex')) FROM generate_series(1, 1200, 12) n;
        SELECT lo_from_bytea(4294967295, '\\x00');
        SELECT lo_from_bytea(16000, decode(repeat('5a', 3 * 1024 * 1024 + 1), 'hex'));
        SELECT lo_create(16001);
        ALTER LARGE OBJECT 16001 OWNER TO zoo_owner;
        GRANT SELECT ON LARGE OBJECT 16000 TO zoo_keepers WITH GRANT OPTION;
        COMMENT ON LARGE OBJECT 16000 IS 'the first receipt';
        """,
    )
    round_trip(servers[15], database, servers[15], "receipts again")


@pytest.mark.slow
def test_a_thousand_tables_and_ten_thousand_large_objects_come_back(servers: Servers) -> None:
    """Loss prevented: a database that needs more locks or time than anybody tried, on the night it matters."""
    database = create(servers[15], "many")
    run_sql(
        servers[15],
        database,
        """
        SELECT format('CREATE TABLE t%s (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text UNIQUE)', n)
        FROM generate_series(1, 1000) n \\gexec
        SELECT format('INSERT INTO t%s (t) VALUES (''a''), (''b'')', n) FROM generate_series(1, 1000) n \\gexec
        SELECT lo_from_bytea(0, decode(md5(n::text), 'hex')) FROM generate_series(1, 10000) n;
        """,
    )
    report = round_trip(servers[15], database, servers[15], "many again")
    assert len(report.comparison.tables) == 1000
