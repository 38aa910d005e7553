"""One table as it was at a moment, back in the live database by one command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.recovery.conftest import History


@pytest.fixture
def live(history: History) -> Iterator[History]:
    """Production goes on after the accident: the table was made again, and has other rows."""
    site = history.site
    site.sql(
        "CREATE TABLE public.member (id int PRIMARY KEY, name text);"
        "INSERT INTO public.member VALUES (7, 'somebody else'), (1000, 'new')"
    )
    try:
        yield history
    finally:
        site.sql("DROP TABLE public.member")


def test_a_table_as_it_was_at_a_moment_goes_back_into_the_live_database(
    recovering: Operator, live: History
) -> None:
    """Loss: 100 members deleted at noon, long after the nightly backup, which never saw half of them."""
    server = live.site.cluster.server
    words = (
        "restore",
        "--table",
        "public.member",
        "--at-time",
        to_text(live.before),
        "--merge-into",
        "postgres",
    )
    where = {"POSTGRES_HOST": server.host, "POSTGRES_PORT": str(server.port)}
    refused = recovering.run(*words, **where)
    assert refused.code == 70
    assert "--yes" in refused.err
    assert live.site.sql("SELECT count(*) FROM public.member") == 2
    done = recovering.must(*words, "--yes", "--json", **where).document
    assert live.site.sql("SELECT count(*) FROM public.member") == 300
    assert live.site.sql("SELECT left(name, 8) FROM public.member WHERE id = 7") == "Amélie 7"
    assert done["recovery"]["reached"]["at"] == "target"
    assert done["merge"]["committed"]
    live.site.sql(f"DROP DATABASE {done['merge']['kept_in']}")


def test_a_whole_database_as_it_was_comes_back_beside(recovering: Operator, live: History) -> None:
    """Loss: a look at how things were, which would otherwise cost a server of its own."""
    server = live.site.cluster.server
    where = {"POSTGRES_HOST": server.host, "POSTGRES_PORT": str(server.port)}
    done = recovering.must(
        "restore", "--at-time", to_text(live.deleted), "--into", "as_it_was", "--json", **where
    ).document
    try:
        assert done["equal"]
        assert done["as_of"] == to_text(live.deleted)
        assert live.site.sql("SELECT count(*) FROM public.member", "as_it_was") == 200
    finally:
        live.site.sql("DROP DATABASE as_it_was")


def test_an_unlogged_table_is_refused_since_wal_has_no_rows_of_it(
    recovering: Operator, live: History
) -> None:
    """Loss: the rows of a live unlogged table, made equal to the nothing that a recovery has of it."""
    server = live.site.cluster.server
    where = {"POSTGRES_HOST": server.host, "POSTGRES_PORT": str(server.port)}
    refused = recovering.run(
        "restore", "--table", "public.scratch", "--at-time", to_text(live.deleted), "--merge-into", "postgres",
        "--yes", **where,
    )  # fmt: skip
    assert refused.code == 70
    assert "public.scratch: unlogged" in refused.err
