"""A database with nearly everything PostgreSQL has, from version to version and back."""

from __future__ import annotations

import pytest

from recyclic_backups_tests.strange.conftest import SQL, Servers, create, round_trip, run_sql

QUICK = [(15, 15)]
OTHERS = [
    pytest.param(*pair, marks=pytest.mark.slow) for pair in [(15, 18), (16, 16), (18, 18), (15, 16), (16, 18)]
]


@pytest.mark.parametrize(("old", "new"), [*QUICK, *OTHERS])
def test_the_zoo_comes_back(servers: Servers, old: int, new: int) -> None:
    """Loss prevented: whatever kind of object nobody thought of, missing or changed after a restore."""
    round_trip(servers[old], servers.zoo(old), servers[new], f"zoo_from_{old}")


def test_extensions_foreign_tables_xml_and_icu_come_back(servers: Servers) -> None:
    """Loss prevented: a restore that fails because a foreign server cannot be reached from where it runs."""
    servers.zoo(15)  # for its roles
    database = create(servers[15], "contrib")
    run_sql(servers[15], database, (SQL / "contrib.sql").read_text())
    round_trip(servers[15], database, servers[15], "contrib_again")
