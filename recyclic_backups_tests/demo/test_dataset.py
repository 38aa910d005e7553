"""The demonstration's data: the same at every run, and rich enough to prove a restore."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pytest

from recyclic_backups.demo.dataset import APP_PASSWORD, fill
from recyclic_backups.errors import DatabaseError, UsageError
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server

TODAY = date(2026, 11, 22)
TINY = 0.02
# The same for every PostgreSQL version and machine; changes only together with the SQL files.
CONTENT_AT_TINY_SCALE = "206eb0e66a1783213da89c647ef52b1f8d96d9b546dd6c2b439bca353e73a893"


def content_hash(server: Server, database: str) -> str:
    """SHA-256 over every row in its stored order, every sequence and every large object."""
    digest = hashlib.sha256()
    with server.connect(database, settings={"TimeZone": "UTC"}) as connection:
        relations = connection.execute(
            "SELECT oid::regclass::text, relkind FROM pg_class WHERE relkind IN ('r', 'm', 'S')"
            " AND relnamespace IN ('public'::regnamespace,"
            " 'association'::regnamespace, 'audit'::regnamespace) ORDER BY oid::regclass::text"
        ).fetchall()
        for name, kind in relations:
            digest.update(name.encode())
            order = "" if kind == "S" else " ORDER BY ctid"
            text = "s.last_value::text" if kind == "S" else "s::text"
            for (row,) in connection.execute(f"SELECT {text} FROM {name} AS s{order}".encode()):
                digest.update(row.encode() + b"\n")
        for row in connection.execute(
            "SELECT oid::text || sha256(lo_get(oid))::text FROM pg_largeobject_metadata ORDER BY oid"
        ):
            digest.update(row[0].encode())
    return digest.hexdigest()


@pytest.mark.parametrize("major", [15, 16, 18])
def test_the_content_is_the_same_on_every_major_version(
    major: int, installations_by_major: dict[int, Installation], scratch_directory: Path
) -> None:
    """A demonstration that compares two databases proves nothing if they differ by chance."""
    if major not in installations_by_major:
        pytest.skip(f"versions: PostgreSQL {major} is not installed here")
    with ScratchCluster.start(installations_by_major[major], scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE DATABASE filled TEMPLATE template0")
        fill(cluster.server, "filled", scale=TINY, today=TODAY)
        assert content_hash(cluster.server, "filled") == CONTENT_AT_TINY_SCALE


def test_a_second_fill_gives_the_same_content(cluster: ScratchCluster, database: str) -> None:
    """Whatever the server did before (numbers given, roles made) must not show in the data."""
    fill(cluster.server, database, scale=TINY, today=TODAY)
    assert content_hash(cluster.server, database) == CONTENT_AT_TINY_SCALE


def test_every_kind_of_object_is_there(cluster: ScratchCluster, recyclic_database: str) -> None:
    """A restore is only proven for the kinds of objects that the drill's database has."""
    with cluster.server.connect(recyclic_database) as connection:
        kinds = dict(
            connection.execute(
                "SELECT relkind::text, count(*) FROM pg_class WHERE relnamespace IN ('public'::regnamespace,"
                " 'association'::regnamespace, 'audit'::regnamespace) GROUP BY relkind"
            ).fetchall()
        )
        empty = [
            name
            for (name,) in connection.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p', 'm')"
                " AND relnamespace IN ('public'::regnamespace,"
                " 'association'::regnamespace, 'audit'::regnamespace)"
            ).fetchall()
            if connection.execute(f"SELECT FROM {name} LIMIT 1".encode()).fetchone() is None
        ]
        objects = connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
        constraints = {
            row[0] for row in connection.execute("SELECT DISTINCT contype::text FROM pg_constraint")
        }
    assert kinds["r"] >= 33
    assert set(kinds) >= {"r", "p", "v", "m", "S", "i", "I"}
    assert sorted(empty) == ["association.messages", "audit.events_autres"]
    assert objects == (3,)
    assert constraints >= {"p", "f", "u", "c", "x"}


def test_the_books_balance(cluster: ScratchCluster, recyclic_database: str) -> None:
    """The drill's probes ask exactly this of a restored database."""
    with cluster.server.connect(recyclic_database) as connection:
        row = connection.execute(
            "SELECT (SELECT sum(total_sales::numeric) FROM cash_sessions),"
            " (SELECT sum(total_amount::numeric + coalesce(donation, 0)::numeric) FROM sales),"
            " (SELECT sum(total_amount::numeric) FROM sales), (SELECT sum(total_price::numeric) FROM sale_items),"
            " (SELECT max(created_at) FROM sales)"
        ).fetchone()
    assert row is not None
    taken, paid, sold, listed, newest = row
    assert taken == paid > 0
    assert sold == listed
    assert newest.date() == date(2026, 11, 21)


def test_roles_grants_and_settings_are_there(cluster: ScratchCluster, recyclic_database: str) -> None:
    """Roles and grants are what restores elsewhere lose: the demonstration has to have them."""
    application = Server(
        host=cluster.server.host, port=cluster.server.port, user="recyclic_app", password=APP_PASSWORD
    )
    with application.connect(recyclic_database) as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("Europe/Paris",)
        # Connections of ours have none, from their first moment on.
        (settings,) = connection.execute(
            "SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'recyclic_app'::regrole AND setdatabase ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone() or ((),)
        assert settings == ["statement_timeout=30s"]
        connection.execute("UPDATE users SET phone_number = NULL")
        connection.execute("SET ROLE recyclic_readonly")
        assert connection.execute("SELECT count(id) FROM users").fetchone() is not None
    reader = application.connect(recyclic_database, settings={"role": "recyclic_readonly"})
    with pytest.raises(DatabaseError, match="permission denied"), reader as connection:
        connection.execute("SELECT email FROM users")


def test_a_database_that_is_not_empty_is_left_as_it_was(
    cluster: ScratchCluster, recyclic_database: str
) -> None:
    """Filling twice must not mix the demonstration with somebody's data."""
    before = content_hash(cluster.server, recyclic_database)
    with pytest.raises(DatabaseError, match="already exists"):
        fill(cluster.server, recyclic_database, scale=TINY, today=TODAY)
    assert content_hash(cluster.server, recyclic_database) == before


def test_the_size_follows_the_scale(cluster: ScratchCluster, database: str) -> None:
    """`demo --scale` promises about 50 MB per unit: disks are small on small servers."""
    sizes = []
    with cluster.server.connect(database) as connection:
        sizes.append(connection.execute("SELECT pg_database_size(current_database())").fetchone())
        fill(cluster.server, database, scale=0.2, today=TODAY)
        sizes.append(connection.execute("SELECT pg_database_size(current_database())").fetchone())
    empty, filled = (size[0] for size in sizes if size is not None)
    assert 8_000_000 < filled - empty < 13_000_000


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_makes_no_data_is_refused(cluster: ScratchCluster, scale: float) -> None:
    """An empty demonstration would prove an empty restore."""
    with pytest.raises(UsageError):
        fill(cluster.server, "postgres", scale=scale, today=TODAY)
