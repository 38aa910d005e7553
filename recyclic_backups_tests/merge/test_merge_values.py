"""Values that moved between rows, keys that are written otherwise, tables that are unlike others: put back, or told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from recyclic_backups.errors import DatabaseError
from recyclic_backups.merge.merge import merge_backup
from recyclic_backups.merge.transaction import MergedTables, TableMerge
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.attempt import RestoreOptions
from recyclic_backups.restore.selection import Request
from recyclic_backups_tests.house import House
from recyclic_backups_tests.memory_store import MemoryStore

OWNER = "zq_shopkeeper"


@dataclass
class Shop:
    """A database of one test; ``owner`` is None for tables of the superuser who merges."""

    house: House
    owner: str | None

    def do(self, statements: str, database: str = "") -> list[tuple[object, ...]]:
        """As whoever owns the tables; as a superuser in another database."""
        server = self.house.server
        if self.owner and not database:
            server = Server(server.host, server.port, self.owner, self.owner)
        with server.connect(database or self.house.database) as connection:
            cursor = connection.execute(statements.encode())
            return cursor.fetchall() if cursor.description else []

    def back_up(self, statements: str) -> None:
        """Make tables, and take a backup of them."""
        self.do(statements)
        self.house.back_up()

    def put_back(self, *tables: str) -> MergedTables:
        """``restore latest --table … --merge-into … --yes``."""
        put = merge_backup(
            self.house.repository,
            self.house.catalog.find("latest"),
            self.house.server,
            self.house.database,
            Request(tables),
            RestoreOptions(self.house.plan.options.installations, timeout_seconds=60, lock_timeout_seconds=5),
            clock=self.house.clock,
        )
        assert put.merged is not None, put.restored.comparison.differences
        if put.merged.clean:
            assert put.merged.written_by == (self.owner or "postgres")
        return put.merged

    def brings_back(self, wrong: str, *tables: str) -> dict[str, TableMerge]:
        """Do something wrong to tables, put them back, and find them as they were."""
        before = {table: self.rows(table) for table in tables}
        self.do(wrong)
        assert before != {table: self.rows(table) for table in tables}
        merged = self.put_back(*tables)
        assert merged.broken == ()
        assert before == {table: self.rows(table) for table in tables}
        return {each.table: each for each in merged.tables}

    def rows(self, table: str) -> list[tuple[object, ...]]:
        """As texts, so that equal and the same are told apart."""
        return self.do(f"SELECT r::text FROM {table} r ORDER BY 1")


@contextmanager
def _shop(cluster: ScratchCluster, database: str, owner: str | None) -> Iterator[Shop]:
    with cluster.server.connect(database) as connection:
        if owner:
            connection.execute(f"DROP ROLE IF EXISTS {owner}; CREATE ROLE {owner} LOGIN PASSWORD '{owner}'")
            connection.execute(f"ALTER DATABASE {database} OWNER TO {owner}")
            connection.execute(f"ALTER SCHEMA public OWNER TO {owner}")
        connection.execute("CREATE EXTENSION citext; CREATE EXTENSION btree_gist")
    try:
        yield Shop(House(cluster.server, database, MemoryStore()), owner)
    finally:
        with cluster.server.connect("postgres") as connection:
            query = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
            for (name,) in connection.execute(query, (database,)).fetchall():
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            connection.execute(f"DROP ROLE IF EXISTS {OWNER}")


@pytest.fixture(params=["of its owner", pytest.param("of a superuser", marks=pytest.mark.slow)])
def shop(request: pytest.FixtureRequest, cluster: ScratchCluster, database: str) -> Iterator[Shop]:
    """Tables that are written with their owner's rights, and those that a superuser writes."""
    with _shop(cluster, database, OWNER if request.param == "of its owner" else None) as made:
        yield made


@pytest.fixture
def own(cluster: ScratchCluster, database: str) -> Iterator[Shop]:
    """Tables of an owner."""
    with _shop(cluster, database, OWNER) as made:
        yield made


MOVED = {
    "a permutation": ("pos int NOT NULL UNIQUE", "n", "UPDATE t SET pos = 6 - pos"),
    "passed on along a chain": ("pos int NOT NULL UNIQUE", "n", "UPDATE t SET pos = pos + 1"),
    "of a column that may be empty": ("pos int UNIQUE", "nullif(n, 3)", "UPDATE t SET pos = 6 - pos"),
    "where empty ones are equal": (
        "pos int UNIQUE NULLS NOT DISTINCT",
        "nullif(n, 2)",
        "UPDATE t SET pos = 4 WHERE id = 2; UPDATE t SET pos = NULL WHERE id = 4",
    ),
    "checked at the end of a statement": (
        "pos int NOT NULL UNIQUE DEFERRABLE",
        "n",
        "UPDATE t SET pos = 6 - pos",
    ),
    "checked at the commit": (
        "pos int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED",
        "n",
        "UPDATE t SET pos = 6 - pos",
    ),
    "of an exclusion constraint": (
        "pos int NOT NULL, EXCLUDE USING gist (int4range(pos * 10, pos * 10 + 9) WITH &&)",
        "n",
        "UPDATE t SET pos = 6 - pos",
    ),
    "of bookings": (
        "room int NOT NULL DEFAULT 1, pos int NOT NULL, EXCLUDE USING gist"
        " (room WITH =, int4range(pos * 10, pos * 10 + 9) WITH &&)",
        "n",
        "UPDATE t SET pos = 6 - pos",
    ),
    "of an exclusion constraint that can wait": (
        "pos int NOT NULL, EXCLUDE USING gist (pos WITH =) DEFERRABLE",
        "n",
        "UPDATE t SET pos = 6 - pos",
    ),
    "passed on to a row that went": (
        "pos int NOT NULL UNIQUE",
        "n",
        "DELETE FROM t WHERE id = 3; UPDATE t SET pos = 3 WHERE id = 1",
    ),
    "passed on to a row that is new": (
        "pos int NOT NULL UNIQUE",
        "n",
        "UPDATE t SET pos = 9 WHERE id = 3; INSERT INTO t SELECT 7, 3",
    ),
    "generated": (
        "pos int NOT NULL, twice int GENERATED ALWAYS AS (pos * 2) STORED UNIQUE",
        "n",
        "UPDATE t SET pos = 6 - pos",
    ),
}
_NEED_A_VALUE = ("where empty ones are equal", "of an exclusion constraint")
"""Constraints that take rows without value for equal: these cannot wait for theirs."""
_LIFT = """
    DO $$ DECLARE each record; BEGIN
        FOR each IN SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint
            WHERE conrelid = 't'::regclass AND contype IN ('u', 'x')
        LOOP
            INSERT INTO lifted VALUES (format('ALTER TABLE t ADD CONSTRAINT %I %s', each.conname, each.definition));
            EXECUTE format('ALTER TABLE t DROP CONSTRAINT %I', each.conname);
        END LOOP;
    END $$;
"""
_GIVE_BACK = """
    DO $$ DECLARE each text; BEGIN
        FOR each IN DELETE FROM lifted RETURNING statement LOOP EXECUTE each; END LOOP;
    END $$;
"""
_REQUIRED = (
    "SELECT attrelid::regclass::text FROM pg_attribute WHERE attname = 'pos' AND attnotnull ORDER BY 1"
)


@pytest.mark.parametrize(
    "children",
    [
        pytest.param("", id="alone"),
        pytest.param("ON DELETE CASCADE", id="cascade", marks=pytest.mark.slow),
        pytest.param("ON DELETE RESTRICT", id="restrict", marks=pytest.mark.slow),
    ],
)
def test_unique_values_that_moved_between_rows_come_back(own: Shop, children: str) -> None:
    """Loss prevented: yesterday's order of a list that cannot be put back, or whose items take their children along."""
    names = {kind: f"t_{number}" for number, kind in enumerate(MOVED)}

    def of(kind: str, statements: str) -> str:
        return re.sub(r"(?<=[ '])t(?=[ '(])", names[kind], statements)

    tables = "CREATE TABLE lifted (statement text);"
    for kind, (columns, value, _) in MOVED.items():
        tables += of(kind, f"CREATE TABLE t (id int PRIMARY KEY, {columns});")
        tables += of(kind, f"INSERT INTO t (id, pos) SELECT n, {value} FROM generate_series(1, 5) n;")
        if children:
            tables += of(kind, f"CREATE TABLE child_of_{names[kind]} (t int REFERENCES t {children});")
            tables += of(kind, f"INSERT INTO child_of_{names[kind]} SELECT id FROM t WHERE id <> 3;")
    own.back_up(tables)
    required = own.do(_REQUIRED)
    back = [kind for kind in MOVED if not (children and kind in _NEED_A_VALUE)]
    left = {kind: own.rows(f"child_of_{names[kind]}") for kind in MOVED if children}
    # Done as an application does it that moves values by way of others: here without the constraints.
    wrong = "".join(of(kind, f"{_LIFT}{MOVED[kind][2]};{_GIVE_BACK}") for kind in MOVED)
    before = {kind: own.rows(names[kind]) for kind in MOVED}
    own.do(wrong)
    for kind in set(MOVED) - set(back):
        now = own.rows(names[kind])
        with pytest.raises(DatabaseError, match="do not go in"):
            own.put_back(names[kind])
        assert own.rows(names[kind]) == now
    assert own.put_back(*(names[kind] for kind in back)).broken == ()
    for kind in back:
        assert own.rows(names[kind]) == before[kind]
        assert not children or own.rows(f"child_of_{names[kind]}") == left[kind]
    assert own.do(_REQUIRED) == required


def test_several_keys_at_once_partial_ones_and_expressions_too(shop: Shop) -> None:
    """Loss prevented: one of the unique keys is heeded, and the next one stops everything."""
    shop.back_up(
        "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL UNIQUE, b text, c int, live bool);"
        "CREATE UNIQUE INDEX ON t (lower(b)); CREATE UNIQUE INDEX ON t (c) WHERE live;"
        "CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE);"
        "INSERT INTO t SELECT n, n, 'n' || n, n, n % 2 = 0 FROM generate_series(1, 6) n;"
        "INSERT INTO child SELECT id FROM t WHERE id < 4"
    )
    # By way of values that no row has.
    shop.brings_back(
        "UPDATE t SET a = -a, b = 'x' || b, c = -c; UPDATE t SET a = 7 + a, b = 'N' || 7 - id, c = 7 + c",
        "t",
    )
    assert shop.do("SELECT count(*) FROM child") == [(3,)]


def test_a_value_that_others_refer_to_and_that_moved_changes_none_of_them(shop: Shop) -> None:
    """Loss prevented: ON UPDATE CASCADE rewrites rows of a table that nobody asked to put back."""
    shop.back_up(
        "CREATE TABLE t (id int PRIMARY KEY, code text UNIQUE);"
        "CREATE TABLE child (n int, code text REFERENCES t (code) ON UPDATE CASCADE);"
        "CREATE TABLE other (n int, code text REFERENCES t (code) ON UPDATE CASCADE ON DELETE CASCADE);"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO child VALUES (1, 'a'), (2, 'b')"
    )
    swap = (
        "ALTER TABLE child DROP CONSTRAINT child_code_fkey; ALTER TABLE other DROP CONSTRAINT other_code_fkey;"
        "UPDATE t SET code = NULL WHERE id = 1; UPDATE t SET code = 'a' WHERE id = 2; UPDATE t SET code = 'b'"
        " WHERE id = 1; ALTER TABLE child ADD FOREIGN KEY (code) REFERENCES t (code) ON UPDATE CASCADE;"
        "ALTER TABLE other ADD FOREIGN KEY (code) REFERENCES t (code) ON UPDATE CASCADE ON DELETE CASCADE"
    )
    shop.brings_back(swap, "t")
    assert shop.rows("child") == [("(1,a)",), ("(2,b)",)]
    # Where taking the row out would take rows along as well, nothing is done, and it is said.
    shop.do(swap + "; INSERT INTO other VALUES (1, 'a')")
    before = shop.rows("t")
    (sentence,) = shop.put_back("t").broken
    assert "public.other" in sentence
    assert shop.rows("t") == before
    assert shop.rows("other") == [("(1,a)",)]


def test_rows_that_refer_to_each_other_come_back_in_any_order(shop: Shop) -> None:
    """Loss prevented: two tables whose keys form a circle, or a tree, which come back in no order."""
    shop.back_up(
        "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
        "CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree ON DELETE CASCADE, pos int UNIQUE);"
        "INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (1, 2), (2, 1);"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b;"
        "INSERT INTO tree VALUES (1, NULL, 1), (2, 1, 2), (3, 2, 3), (4, 3, 4)"
    )
    shop.brings_back(
        "UPDATE a SET b = NULL; DELETE FROM b; DELETE FROM a WHERE id = 2; INSERT INTO b VALUES (3, 1);"
        "UPDATE tree SET above = 1; DELETE FROM tree WHERE id = 2; INSERT INTO tree VALUES (9, 4, 2);"
        "UPDATE tree SET above = 9, pos = 7 WHERE id = 3; UPDATE tree SET pos = 3 WHERE id = 4",
        *("a", "b", "tree"),
    )


def test_a_table_without_key_takes_no_children_along(shop: Shop) -> None:
    """Loss prevented: a table without key is written anew, and ON DELETE CASCADE takes what refers to it."""
    shop.back_up(
        "CREATE TABLE t (code text UNIQUE, n int); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3), (NULL, 4);"
        "INSERT INTO t VALUES (NULL, 4), (NULL, 5);"
        "CREATE TABLE child (code text REFERENCES t (code) ON DELETE CASCADE); INSERT INTO child VALUES ('a'), ('b')"
    )
    done = shop.brings_back("DELETE FROM t WHERE n > 3; UPDATE t SET n = 7 WHERE code = 'c'", "t")["public.t"]
    assert (done.inserted, done.updated, done.deleted) == (4, 0, 1)
    assert shop.rows("child") == [("(a)",), ("(b)",)]
    shop.do("UPDATE t SET n = 7 WHERE code = 'a'")
    (sentence,) = shop.put_back("t").broken
    assert "public.child" in sentence
    assert shop.rows("child") == [("(a)",), ("(b)",)]


_SPELT = {
    "citext": ("Bonjour", "BONJOUR"),
    "numeric": ("1.00", "1.0"),
    "text COLLATE blind": ("Été", "ETE"),
    "interval": ("24:00:00", "1 day"),
}


def test_keys_that_are_equal_and_written_otherwise_are_told_as_such(shop: Shop) -> None:
    """Loss prevented: a trigger is blamed for what is the same key in another spelling, and nothing comes back."""
    made = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);"
    for number, (kind, (was, _)) in enumerate(_SPELT.items()):
        made += f"CREATE TABLE t{number} (k {kind} PRIMARY KEY, n int); INSERT INTO t{number} VALUES ('{was}', 1);"
        made += (
            f"CREATE TABLE c{number} (k {kind} REFERENCES t{number}); INSERT INTO c{number} VALUES ('{was}');"
        )
    shop.back_up(made)
    children = [shop.rows(f"c{number}") for number in range(len(_SPELT))]
    wrong = [
        f"UPDATE t{number} SET k = '{other}', n = 7" for number, (_, other) in enumerate(_SPELT.values())
    ]
    done = shop.brings_back(";".join(wrong), *(f"t{number}" for number in range(len(_SPELT))))
    for each in done.values():
        assert (each.inserted, each.updated, each.deleted) == (0, 1, 0)
        assert each.to_json()["keys_written_otherwise"] == {"k": 1}
    assert [shop.rows(f"c{number}") for number in range(len(_SPELT))] == children


def test_rows_that_are_new_are_named_and_what_is_kept_says_why(shop: Shop) -> None:
    """Loss prevented: a day's work taken out of a table without a word of which rows those were."""
    shop.back_up(
        "CREATE TABLE t (a int, b text, kept_because text, PRIMARY KEY (a, b));"
        "INSERT INTO t SELECT n, 'x', 'y' FROM generate_series(1, 9) n; CREATE TABLE bare (n int)"
    )
    shop.do(
        "INSERT INTO t SELECT n, E'new\\n', 'z' FROM generate_series(100, 120) n; UPDATE t SET kept_because = 'w'"
        " WHERE a = 3; DELETE FROM t WHERE a = 4; INSERT INTO bare VALUES (1), (1)"
    )
    merged = shop.put_back("t", "bare")
    tables = {each.table: each for each in merged.tables}
    done = tables["public.t"]
    assert (done.inserted, done.updated, done.deleted) == (1, 1, 21)
    assert done.newer_keys == tuple({"a": f"{n}", "b": "new\n"} for n in range(100, 105))
    assert tables["public.bare"].newer_keys == ()
    kept = shop.do(
        f'SELECT a, kept_because, {done.told_by} FROM replaced."{done.kept_as}" ORDER BY a LIMIT 2',
        merged.kept_in,
    )
    assert kept == [(3, "w", "overwritten"), (100, "z", "taken out")]
    bare = shop.do(f'SELECT n, {tables["public.bare"].told_by} FROM replaced."public.bare"', merged.kept_in)
    assert bare == [(1, "taken out"), (1, "taken out")]


def test_a_published_table_without_key_says_what_it_lacks(shop: Shop, cluster: ScratchCluster) -> None:
    """Loss prevented: a merge that ends with a sentence about replicas, and no word of what to do."""
    shop.back_up(
        "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2);"
        "CREATE TABLE p (n int, at int) PARTITION BY RANGE (at); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0)"
        " TO (9); INSERT INTO p VALUES (1, 1), (2, 2)"
    )
    with cluster.server.connect(shop.house.database) as connection:
        connection.execute("CREATE PUBLICATION news FOR TABLE t, p WITH (publish_via_partition_root)")
    shop.do("INSERT INTO t VALUES (3); INSERT INTO p VALUES (3, 3)")
    for table, named in (("t", "public.t"), ("p", "public.p1")):
        with pytest.raises(DatabaseError, match=f"{named} is in the publication 'news'") as refused:
            shop.put_back(table)
        way_out = 'ALTER TABLE "public"."{}" REPLICA IDENTITY FULL'.format(named.partition(".")[2])
        assert refused.value.hint.startswith(way_out)
        shop.do(way_out)
        shop.put_back(table)
        assert shop.do(f"SELECT n FROM {table} ORDER BY 1") == [(1,), (2,)]


_ODD: dict[str, tuple[str, str]] = {
    "a generated key": (
        "CREATE TABLE t (x int, y int GENERATED ALWAYS AS (x * 2) STORED PRIMARY KEY);"
        "CREATE TABLE child (y int REFERENCES t); INSERT INTO t SELECT generate_series(1, 50);"
        "INSERT INTO child VALUES (2), (100)",
        "DELETE FROM t WHERE x BETWEEN 2 AND 19; INSERT INTO t VALUES (77); UPDATE t SET x = 60 WHERE x = 40",
    ),
    "a generated reference": (
        "CREATE TABLE parent (y int PRIMARY KEY); INSERT INTO parent VALUES (2), (4), (6);"
        "CREATE TABLE t (id int PRIMARY KEY, x int, y int GENERATED ALWAYS AS (x * 2) STORED REFERENCES parent);"
        "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)",
        "UPDATE t SET x = 3; DELETE FROM t WHERE id = 2",
    ),
    "a key with INCLUDE": (
        "CREATE TABLE t (c1 int, c4 box, PRIMARY KEY (c1) INCLUDE (c4));"
        "INSERT INTO t SELECT g, box(point(g, g), point(1, 1)) FROM generate_series(1, 50) g",
        "UPDATE t SET c4 = box '((0,0),(1,1))' WHERE c1 < 9; DELETE FROM t WHERE c1 > 40",
    ),
    "an identity beside the key": (
        "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY UNIQUE); INSERT INTO t VALUES (1), (2)",
        "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1), (3)",
    ),
    "a trigger that forbids it": (
        "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g;"
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''append only''; END';"
        "CREATE TRIGGER no BEFORE UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION no();"
        "ALTER TABLE t ENABLE ALWAYS TRIGGER no",
        "ALTER TABLE t DISABLE TRIGGER no; UPDATE t SET v = v + 100; DELETE FROM t WHERE id = 3; UPDATE t SET v = 3"
        " WHERE id = 5; ALTER TABLE t ENABLE ALWAYS TRIGGER no",
    ),
    "a rule that leads elsewhere": (
        "CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g;"
        "CREATE TABLE other (id int, v int);"
        "CREATE RULE i AS ON INSERT TO t DO INSTEAD INSERT INTO other VALUES (NEW.*);"
        "CREATE RULE u AS ON UPDATE TO t WHERE NEW.v > 100 DO INSTEAD NOTHING;"
        "CREATE RULE d AS ON DELETE TO t DO ALSO INSERT INTO other VALUES (OLD.*)",
        "DELETE FROM t WHERE id > 5; UPDATE t SET v = 7 WHERE id = 3; DELETE FROM other",
    ),
    "partitions with keys of their own": (
        "CREATE TABLE t (id int, at int, code int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t2 PARTITION OF t DEFAULT;"
        "ALTER TABLE t1 ADD UNIQUE (code); ALTER TABLE t2 ADD UNIQUE (code);"
        "INSERT INTO t SELECT n, n, n FROM generate_series(1, 20) n",
        "UPDATE t SET code = -code; UPDATE t SET code = 21 + code; DELETE FROM t WHERE id = 15; UPDATE t SET at = 1"
        " WHERE id = 14",
    ),
}


def test_legitimate_tables_that_are_unlike_others_come_back(shop: Shop) -> None:
    """Loss prevented: a table that its owner had good reasons to make so, and that alone stays damaged."""

    def of(number: int, statements: str) -> str:
        return re.sub(r"\b(t|t1|t2|child|parent|other|no)\b(?! TO t)", rf"\g<1>_{number}", statements)

    numbered = list(enumerate(_ODD.values()))
    shop.back_up(";".join(of(number, made) for number, (made, _) in numbered))
    wrong = ";".join(of(number, wrong) for number, (_, wrong) in numbered)
    shop.brings_back(wrong, *(f"t_{number}" for number, _ in numbered))


def test_partitions_come_back_together_with_a_table_that_refers_to_their_root(shop: Shop) -> None:
    """Loss prevented: the very command that `diagnose` prints for two damaged partitions and their child, refused."""
    shop.back_up(
        "CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE t2 (v int, id int NOT NULL);"
        "ALTER TABLE t ATTACH PARTITION t2 DEFAULT; CREATE TABLE child (id int REFERENCES t);"
        "INSERT INTO t SELECT n, n FROM generate_series(1, 20) n; INSERT INTO child SELECT generate_series(1, 20)"
    )
    shop.brings_back("TRUNCATE child; DELETE FROM t WHERE id > 5", "t1", "t2", "child")
    shop.do("INSERT INTO t VALUES (30, 30); INSERT INTO child VALUES (30)")
    (broken,) = shop.put_back("t2").broken
    assert broken.startswith("1 row of public.child would refer to rows that public.t would not have")
