"""What whoever holds the disk can read of an encrypted storage: the list of docs/format/threat-model.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.catalog.older import as_an_older_release_wrote_it
from recyclic_backups_tests.operator import PASSPHRASE, Operator, variables_of

# A word for every place in which a database, its server or an operator can put a text; none is part of another.
PLACES = (
    "schema",
    "table",
    "column",
    "view",
    "matview",
    "sequence",
    "index",
    "constraint",
    "trigger",
    "function",
    "body",
    "type",
    "enumlabel",
    "domain",
    "policy",
    "publication",
    "statistics",
    "collation",
    "rule",
    "default",
    "row",
    "largeobject",
    "owner",
    "grantee",
    "member",
    "tablecomment",
    "columncomment",
    "databasecomment",
    "rolecomment",
    "databasesetting",
    "settingname",
    "rolesetting",
    "roleindatabase",
    "password",
    "version",
    "revision",
    "holdreason",
)


def word(place: str) -> str:
    """The word for a place: lower case, so that it is a name of PostgreSQL's as it stands."""
    return f"zq{place}qz"


_SQL = """
CREATE ROLE {owner}; CREATE ROLE {grantee} LOGIN PASSWORD '{password}'; CREATE ROLE {member} IN ROLE {grantee};
COMMENT ON ROLE {grantee} IS '{rolecomment}'; ALTER ROLE {grantee} SET app.x = '{rolesetting}';
ALTER ROLE {grantee} IN DATABASE {database} SET app.y = '{roleindatabase}';
ALTER DATABASE {database} SET app.{settingname} = '{databasesetting}';
COMMENT ON DATABASE {database} IS '{databasecomment}'; ALTER DATABASE {database} OWNER TO {owner};
GRANT CONNECT ON DATABASE {database} TO {grantee};
CREATE SCHEMA {schema};
CREATE TYPE {schema}.{type} AS ENUM ('{enumlabel}'); CREATE DOMAIN {schema}.{domain} AS text;
CREATE SEQUENCE {schema}.{sequence}; CREATE COLLATION {schema}.{collation} FROM "C";
CREATE TABLE {schema}.{table} (
    {column} text DEFAULT '{default}' CONSTRAINT {constraint} CHECK ({column} > ''), id int PRIMARY KEY);
INSERT INTO {schema}.{table} VALUES ('{row}', 1);
CREATE INDEX {index} ON {schema}.{table} (id);
CREATE STATISTICS {schema}.{statistics} ON id, {column} FROM {schema}.{table};
CREATE VIEW {schema}.{view} AS SELECT 1 AS one; CREATE MATERIALIZED VIEW {schema}.{matview} AS SELECT 1 AS one;
CREATE RULE {rule} AS ON INSERT TO {schema}.{view} DO INSTEAD NOTHING;
CREATE FUNCTION {schema}.{function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN /* {body} */ RETURN NULL; END $$;
CREATE TRIGGER {trigger} AFTER INSERT ON {schema}.{table} FOR EACH ROW EXECUTE FUNCTION {schema}.{function}();
CREATE POLICY {policy} ON {schema}.{table}; CREATE PUBLICATION {publication} FOR TABLE {schema}.{table};
COMMENT ON TABLE {schema}.{table} IS '{tablecomment}'; COMMENT ON COLUMN {schema}.{table}.{column} IS '{columncomment}';
SELECT lo_from_bytea(0, '{largeobject}');
GRANT SELECT ON {schema}.{table} TO {grantee}; ALTER TABLE {schema}.{table} OWNER TO {owner};
"""


@contextmanager
def _marked(cluster: ScratchCluster, database: str) -> Iterator[None]:
    words = {place: word(place) for place in PLACES}
    with cluster.server.connect(database) as connection:
        connection.execute(_SQL.format(database=database, **words).encode())
    try:
        yield
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())
            for place in ("member", "grantee", "owner"):
                connection.execute(f"DROP ROLE {word(place)}".encode())


@pytest.fixture
def marked(
    cluster: ScratchCluster, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Operator]:
    """The command line beside a database with a word in every place, encryption on."""
    variables = {
        **variables_of(cluster.server, database),
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": PASSPHRASE,
    }
    with _marked(cluster, database):
        yield Operator(tmp_path, capsys, variables)


def _readable(operator: Operator) -> dict[str, set[str]]:
    """The places whose words stand in the storage, and in which kinds of documents."""
    found: dict[str, set[str]] = {}
    for path in sorted(operator.storage.rglob("*")):
        if path.is_file():
            content, inside = path.read_bytes(), path.relative_to(operator.storage).parts
            for place in PLACES:
                if word(place).encode() in content or word(place) in "/".join(inside):
                    found.setdefault(place, set()).add(inside[-2])
    return found


READABLE: dict[str, set[str]] = {
    "holdreason": {"audit", "holds"},
}
"""What can be read all the same, and in which folders; everything else of the database stands nowhere in clear."""


def test_no_other_word_of_the_database_stands_anywhere_in_clear(
    marked: Operator, cluster: ScratchCluster
) -> None:
    """Attack prevented: names, comments, settings or secrets read by whoever copies, steals or hosts the storage."""
    beside = "zz_readable_storage"
    backup_id = marked.backup_id()
    marked.must("verify")
    try:
        marked.must("restore", "latest", "--into", beside)
    finally:
        with cluster.server.connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {beside} WITH (FORCE)".encode())
    said = ("--version", word("version"), "--revision", word("revision"))
    marked.must("guard", *said, "--", "true")
    for command in (("validate",), ("diagnose",), ("show", backup_id), ("metrics",), ("expire", "--yes")):
        marked.must(*command)
    assert _readable(marked) == {}
    marked.must("hold", backup_id, "--reason", word("holdreason"), "--until", "2126-01-01")
    marked.must("drill", "simple")
    assert _readable(marked) == READABLE
    # Wounds, findings, commands and probes in its check; the audit log names the tables that it put back.
    assert marked.run("drill", "partial").code in (0, 80)
    assert _readable(marked) == READABLE | {"schema": {"audit"}, "table": {"audit"}}


def test_show_tells_what_is_sealed_with_the_key_and_that_it_is_without(marked: Operator) -> None:
    """Loss prevented: an operator without the key who reads that a backup has no comment, settings or tables."""
    backup_id = marked.backup_id()
    with_key = marked.must("show", backup_id, "--json").json
    assert with_key["server"]["comment"] == word("databasecomment")
    assert with_key["server"]["owner"] == word("owner")
    assert f"{word('schema')}.{word('table')}" in with_key["fingerprint"]["tables"]
    assert "sealed" not in with_key
    assert word("table") in marked.must("show", backup_id).out
    none: dict[str, str | None] = {"BACKUP_ENCRYPTION": None, "BACKUP_ENCRYPTION_KEY": None}
    without = marked.must("show", backup_id, "--json", **none).json
    assert "no key" in without["sealed"]
    assert not {"fingerprint", "notes", "checkpoint", "adopted"} & without.keys()
    said = marked.must("show", backup_id, **none).out
    assert "sealed: no key" in said
    assert [each["backup_id"] for each in marked.must("list", "--json", **none).json] == [backup_id]


def test_show_tells_a_drill_with_the_key_and_that_it_is_sealed_without(marked: Operator) -> None:
    """Loss prevented: an operator without the key who reads that a drill compared nothing, or failed without reason."""
    marked.must("backup")
    marked.must("drill", "simple")
    drill = marked.must("show", "latest", "--json").json["checks"][-1]
    assert word("table") in json.dumps(drill["details"]["tables"])
    none: dict[str, str | None] = {"BACKUP_ENCRYPTION": None, "BACKUP_ENCRYPTION_KEY": None}
    sealed = marked.must("show", "latest", "--json", **none).json["checks"][-1]
    assert sealed["passed"]
    assert sealed["details"]["scenario"] == "simple"
    assert "reasons" not in sealed
    assert "no key" in sealed["sealed"]


def test_older_readable_manifests_are_named_and_sealed(marked: Operator) -> None:
    """Loss prevented: secrets in the manifests of earlier releases, of which nobody knows."""
    backup_id = marked.backup_id()
    store = LocalStore(marked.storage)
    database = marked.variables["POSTGRES_DB"]
    repository = Repository(store, database, Keyring(store, PASSPHRASE), encrypt=True)
    as_an_older_release_wrote_it(repository, backup_id)
    assert (
        word("databasesetting").encode()
        in (marked.storage / repository.layout.manifest(backup_id)).read_bytes()
    )
    findings = {each["check"]: each for each in marked.run("validate", "--json").json}
    assert findings["manifests"]["status"] == "warning"
    assert backup_id in findings["manifests"]["message"]
    assert "keys seal-manifests" in findings["manifests"]["hint"]
    (verdict,) = marked.must("verify", "--json").json
    assert verdict["passed"]
    assert verdict["notes"]
    assert "keys seal-manifests" in marked.must("verify").err
    sealed = marked.must("keys", "seal-manifests", "--json").json
    assert (sealed["sealed"], sealed["refused"]) == ([backup_id], [])
    assert _readable(marked) == {}
    assert "manifests" not in {each["check"] for each in marked.run("validate", "--json").json}
    assert marked.must("verify", "--json").json[0]["notes"] == []
    assert "every manifest" in marked.must("keys", "seal-manifests").err
