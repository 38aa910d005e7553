"""A server older than every program there is: the client of a distribution beside a server of the year before."""

from __future__ import annotations

import pytest

from recyclic_backups.errors import ProgramFailed
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.strange.conftest import Servers, create, dump_lines, put, run_sql
from recyclic_backups_tests.strange.test_partial import LONG, SHAPES


def _with_programs_of_18_only(servers: Servers, house: House) -> House:
    house.options(installations=[servers[18].installation])
    return house


def test_programs_newer_than_the_server_restore_what_they_dumped(servers: Servers) -> None:
    """Loss prevented: backups verified every night, none of which pg_restore 17 can put back into a server of 15."""
    database = create(servers[15], "served by newer programs")
    run_sql(servers[15], database, SHAPES.replace("{LONG}", LONG))
    house = _with_programs_of_18_only(servers, House(servers[15].server, database, MemoryStore()))
    house.back_up()
    report = put(house, servers[15], "again by newer programs", jobs=2)
    assert report.comparison.differences == ()
    assert dump_lines(servers[15], "again by newer programs") == dump_lines(servers[15], database)


@pytest.mark.slow
def test_programs_newer_than_the_server_restore_the_zoo(servers: Servers) -> None:
    """Loss prevented: the same with whatever nobody thought of, in one session."""
    zoo = servers.zoo(15)
    house = _with_programs_of_18_only(servers, House(servers[15].server, zoo, MemoryStore()))
    house.back_up()
    assert put(house, servers[15], "zoo by newer programs").comparison.differences == ()
    assert dump_lines(servers[15], "zoo by newer programs") == dump_lines(servers[15], zoo)


def test_a_row_that_the_server_refuses_ends_it(servers: Servers) -> None:
    """Loss prevented: a script of which a part failed, called a restore."""
    database = create(servers[15], "refusing")
    run_sql(
        servers[15],
        database,
        "CREATE TABLE rows (n int); INSERT INTO rows VALUES (1);"
        "CREATE FUNCTION small(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RETURN $1 < (SELECT count(*) FROM rows) + 9; END $$;"
        "ALTER TABLE rows ADD CHECK (small(n))",
    )
    house = _with_programs_of_18_only(servers, House(servers[15].server, database, MemoryStore()))
    house.back_up()
    with pytest.raises(ProgramFailed, match="psql"):
        put(house, servers[15], "refusing again")
    with servers[15].server.connect("postgres") as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'refusing %'")
        assert left.fetchall() == []
