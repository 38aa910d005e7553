"""The rescue script, run as it would be run on the worst day: alone."""

from __future__ import annotations

import ast
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from recyclic_backups import rescue
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.errors import DamagedData
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.rescue.storages import (
    DUMP,
    GLOBALS,
    NOW,
    OTHER_PASSPHRASE,
    PASSPHRASE,
    Storage,
)

ZSTD_MODULES = ("zstandard", "compression.zstd", "backports.zstd", "backports")
NOWHERE = "/nonexistent"
BACKUP_ID = "20261122T010003Z-K3X7QA"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An encrypted storage with one backup, and room beside it."""
    storage = Storage(tmp_path / "storage")
    storage.backup()
    return storage


def listing(folder: Path) -> set[str]:
    """Names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}


def test_everything_comes_back(storage: Storage, tmp_path: Path) -> None:
    """The promise of the whole project: storage and key are enough."""
    out = tmp_path / "out"
    result = storage.recover("extract", BACKUP_ID, "--output", out)
    assert result.returncode == 0, result.stderr
    assert (out / "main.dump").read_bytes() == DUMP
    assert (out / "globals.sql").read_bytes() == GLOBALS
    assert listing(out) == {"main.dump", "globals.sql", "database.sql"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert listing(tmp_path) == {"storage", "out"}


def test_the_instructions_are_in_order_and_quoted(storage: Storage, tmp_path: Path) -> None:
    """On the worst day people paste what they read: order and quoting must be right."""
    storage.backup(
        "20261123T010003Z-AAAAAA",
        database="d%C3%A9p%C3%B4t%20%27x%27",
        database_name="dépôt 'x'",
        contents={"main.dump": DUMP, "table-0001.dump.zst": b"PGDMP", "globals.sql": GLOBALS},
    )
    result = storage.recover("extract", "latest", "--database", "dépôt 'x'", "--output", tmp_path / "o u t")
    assert result.returncode == 0, result.stderr
    lines = [line.strip() for line in result.stdout.decode().splitlines() if line.startswith("  ")]
    name = """'dbname='"'"'dépôt \\'"'"'x\\'"'"''"'"''"""
    assert lines == [
        f"cd '{tmp_path / 'o u t'}'",
        "export PGOPTIONS='-c lc_monetary=C'",
        "psql -X -d postgres -f globals.sql",
        "createdb --template=template0 --encoding=UTF8 --lc-collate=fr_FR.UTF-8 --lc-ctype=fr_FR.UTF-8"
        " -- 'dépôt '\"'\"'x'\"'\"''",
        f"pg_restore --exit-on-error --no-tablespaces -d {name} --section=pre-data --section=data main.dump",
        f"pg_restore --exit-on-error --no-tablespaces -d {name} --section=data table-0001.dump",
        f"pg_restore --exit-on-error --no-tablespaces -d {name} --section=post-data main.dump",
        f"psql -X -v ON_ERROR_STOP=1 -d {name} -f database.sql",
        f"vacuumdb --analyze-only -d {name}",
        "# these files are data in the clear, for whoever finds them: this deletes them",
        f"cd / && rm -r '{tmp_path / 'o u t'}'",
    ]
    sql = (tmp_path / "o u t" / "database.sql").read_text(encoding="utf-8").splitlines()
    assert sql[1:] == [
        "SET client_encoding TO 'UTF8';",
        'SELECT pg_catalog.current_database() AS "DBNAME" \\gset',
        'ALTER DATABASE :"DBNAME" OWNER TO "app owner";',
        "COMMENT ON DATABASE :\"DBNAME\" IS E'l''été \\\\ 2026';",
        "ALTER DATABASE :\"DBNAME\" SET \"search_path\" TO E'$user', E'public';",
        'ALTER ROLE "app owner" IN DATABASE :"DBNAME" SET "work_mem" TO E\'64MB\';',
        'ALTER DATABASE :"DBNAME" SET "search_path" TO E\'public; \\\\! touch harmed\';',
        'REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;',
        'REVOKE ALL ON DATABASE :"DBNAME" FROM "app owner";',
        'GRANT CONNECT ON DATABASE :"DBNAME" TO PUBLIC;',
    ]


def test_another_name_is_used_by_every_command(storage: Storage, tmp_path: Path) -> None:
    """The old name is often taken, by what is broken: half of the commands would go there."""
    result = storage.recover("extract", "latest", "--as", "new name", "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.decode().splitlines() if line.startswith("  ")]
    assert not [line for line in lines if "shop" in line]
    assert len([line for line in lines if "new name" in line]) == 4
    for nonsense in (("--output", "other", "--as", ""), ("--output", "other", "--as", "x" * 64)):
        assert storage.recover("extract", "latest", *nonsense).returncode == 2
    assert storage.recover("extract", "latest", "--stdout", "--as", "x").returncode == 2


def test_an_icu_database_is_created_as_one(storage: Storage, tmp_path: Path) -> None:
    """Another collation reorders indexes and breaks unique ones."""
    server = {
        "encoding": "UTF8",
        "locale": {"provider": "icu", "collate": "C", "ctype": "C", "locale": "fr-FR"},
    }
    storage.backup("20261123T010003Z-AAAAAA", server=server)
    result = storage.recover("extract", "latest", "--output", tmp_path / "out")
    expected = "--lc-collate=C --lc-ctype=C --locale-provider=icu --icu-locale=fr-FR -- shop"
    assert expected in result.stdout.decode()


def test_one_object_streams_to_a_pipe(storage: Storage) -> None:
    """A database larger than any free disk must be restorable too."""
    result = storage.recover("extract", "latest", "--stdout")
    assert (result.returncode, result.stdout) == (0, DUMP)
    for name in ("globals.sql", "globals.sql.zst.sealed"):
        result = storage.recover("extract", "latest", "--stdout", "--object", name)
        assert (result.returncode, result.stdout) == (0, GLOBALS)
    assert storage.recover("extract", "latest", "--stdout", "--object", "other.dump").returncode == 60


def test_the_zstd_program_does_where_no_module_is(storage: Storage, tmp_path: Path) -> None:
    """A bare rescue system has the program more often than the Python package."""
    if shutil.which("zstd") is None:
        pytest.skip("zstd: there is no zstd program here")
    result = storage.recover("extract", "latest", "--output", tmp_path / "out", blocked=ZSTD_MODULES)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "main.dump").read_bytes() == DUMP


def test_without_any_zstd_the_compressed_files_and_the_command_are_given(
    storage: Storage, tmp_path: Path
) -> None:
    """Having decrypted is most of the way: what is left can be done on another machine."""
    out = tmp_path / "out"
    result = storage.recover("extract", "latest", "--output", out, blocked=ZSTD_MODULES, path=NOWHERE)
    assert result.returncode == 0, result.stderr
    assert listing(out) == {"main.dump.zst", "globals.sql.zst", "database.sql"}
    assert zstandard.decompress((out / "main.dump.zst").read_bytes()) == DUMP
    assert b"zstd -d --rm main.dump.zst" in result.stdout
    piped = storage.recover("extract", "latest", "--stdout", blocked=ZSTD_MODULES, path=NOWHERE)
    assert (piped.returncode, piped.stdout) == (10, b"")


def test_a_missing_package_is_named(storage: Storage, tmp_path: Path) -> None:
    """An ImportError traceback helps nobody at three in the morning."""
    result = storage.recover("extract", "latest", "--output", tmp_path / "out", blocked=("cryptography",))
    assert result.returncode == 10
    assert b"pip install cryptography" in result.stderr
    assert storage.recover("list", blocked=("cryptography", *ZSTD_MODULES)).returncode == 0


@pytest.mark.parametrize("how", ["argument", "file", "old", "old file"])
def test_the_key_is_taken_from_wherever_it_is(storage: Storage, tmp_path: Path, how: str) -> None:
    """Operators keep keys in variables or in secret files, and the right one may be a former one."""
    (tmp_path / "key").write_text(PASSPHRASE + "\n")
    (tmp_path / "keys").write_text(f"{OTHER_PASSPHRASE}\n{PASSPHRASE}\n")
    environments: dict[str, dict[str, str]] = {
        "argument": {"BACKUP_ENCRYPTION_KEY": PASSPHRASE},
        "file": {"BACKUP_ENCRYPTION_KEY_FILE": str(tmp_path / "key")},
        "old": {
            "BACKUP_ENCRYPTION_KEY": OTHER_PASSPHRASE,
            "BACKUP_ENCRYPTION_OLD_KEYS": f"a former sentence, {PASSPHRASE}",
        },
        "old file": {"BACKUP_ENCRYPTION_OLD_KEYS_FILE": str(tmp_path / "keys")},
    }
    result = storage.recover("extract", "latest", "--stdout", environment=environments[how])
    assert (result.returncode, result.stdout) == (0, DUMP), result.stderr


def test_a_sentence_works_as_a_key(tmp_path: Path) -> None:
    """Text goes through scrypt: the second implementation must derive the same."""
    storage = Storage(tmp_path / "storage", "une phrase de passe très longue")
    storage.backup()
    decomposed = "une phrase de passe tre\u0300s longue\n"
    result = storage.recover(
        "extract", "latest", "--stdout", environment={"BACKUP_ENCRYPTION_KEY": decomposed}
    )
    assert (result.returncode, result.stdout) == (0, DUMP), result.stderr


def test_after_a_rotation_the_new_key_opens_old_backups(storage: Storage) -> None:
    """A rotated storage must be as recoverable as a fresh one."""
    assert storage.keyring is not None
    storage.keyring.rotate(OTHER_PASSPHRASE, NOW)
    assert storage.recover("extract", "latest", "--stdout").returncode == 41
    storage.passphrase = OTHER_PASSPHRASE
    result = storage.recover("extract", "latest", "--stdout")
    assert (result.returncode, result.stdout) == (0, DUMP)


@pytest.mark.parametrize("environment", [{"BACKUP_ENCRYPTION_KEY": OTHER_PASSPHRASE}, {}])
def test_a_wrong_or_missing_key_leaves_nothing(
    storage: Storage, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Exit 41 sends people to look for the key, not to give the backup up for damaged."""
    result = storage.recover("extract", "latest", "--output", tmp_path / "out", environment=environment)
    assert result.returncode == 41
    assert OTHER_PASSPHRASE.encode() not in result.stderr
    assert listing(tmp_path) == {"storage"}


def test_the_name_of_a_key_file_given_as_the_key_is_recognized(storage: Storage, tmp_path: Path) -> None:
    """The right key is there, and is taken for the wrong one."""
    path = tmp_path / "key"
    path.write_text(PASSPHRASE)
    for given, hinted in ((str(path), True), (f"{path}-that-is-not-there", False)):
        result = storage.recover(
            "extract", "latest", "--stdout", environment={"BACKUP_ENCRYPTION_KEY": given}
        )
        assert result.returncode == 41
        assert (b"BACKUP_ENCRYPTION_KEY_FILE" in result.stderr) is hinted
        assert given.encode() not in result.stderr


def test_a_lost_key_file_is_said_to_be_lost(storage: Storage, tmp_path: Path) -> None:
    """The person must look for a copy of ``keys/``, not for another passphrase."""
    shutil.rmtree(storage.root / "keys")
    result = storage.recover("extract", "latest", "--output", tmp_path / "out")
    assert result.returncode == 41
    assert b"missing" in result.stderr


@pytest.mark.parametrize("harm", ["flip", "cut", "grow", "remove"])
@pytest.mark.parametrize("encrypted", [True, False])
def test_a_damaged_object_leaves_nothing(tmp_path: Path, harm: str, encrypted: bool) -> None:
    """A damaged dump restored without a word is worse than none."""
    storage = Storage(tmp_path / "storage", PASSPHRASE if encrypted else None)
    folder = storage.backup()
    (path,) = folder.glob("globals.sql*")  # the second object: the first was written already
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[:-1] if harm == "cut" else data + b"x" if harm == "grow" else data)
    if harm == "remove":
        path.unlink()
    for target in (("--output", str(tmp_path / "out")), ("--stdout", "--object", "globals.sql")):
        result = storage.recover("extract", "latest", *target)
        assert (result.returncode, result.stdout) == (40, b"")
    assert listing(tmp_path) == {"storage"}


def test_a_dump_that_was_never_finished_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """Should a bug ever record half a dump as a backup, its missing final chunk is the last defence."""
    storage = Storage(tmp_path / "storage")
    storage.backup(contents={"main.dump": DUMP}, finish=False)
    result = storage.recover("extract", "latest", "--output", tmp_path / "out")
    assert result.returncode == 40
    assert listing(tmp_path) == {"storage"}
    piped = storage.recover("extract", "latest", "--stdout")
    assert piped.returncode == 40
    assert DUMP.startswith(piped.stdout)
    assert 0 < len(piped.stdout) < len(DUMP)
    assert b"INCOMPLETE" in piped.stderr


@pytest.mark.parametrize("blocked", [(), ZSTD_MODULES])
def test_a_truncated_compressed_stream_is_noticed(tmp_path: Path, blocked: tuple[str, ...]) -> None:
    """Some decompressors end quietly in the middle of a frame."""
    if blocked and shutil.which("zstd") is None:
        pytest.skip("zstd: this machine has no zstd program, the decompressor of last resort")
    storage = Storage(tmp_path / "storage", None)
    folder = storage.backup(contents={"main.dump": zstandard.compress(DUMP)[:-20]})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["objects"][0] |= {"name": "main.dump.zst", "plain_bytes": len(DUMP)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "main.dump").rename(folder / "main.dump.zst")
    result = storage.recover("extract", "latest", "--output", tmp_path / "out", blocked=blocked)
    assert result.returncode == 40, result.stderr
    assert listing(tmp_path) == {"storage"}


def test_an_edited_manifest_is_refused(storage: Storage, tmp_path: Path) -> None:
    """Who can edit the manifest could otherwise pass one object off as another."""
    path = storage.root / "shop" / "backups" / BACKUP_ID / "manifest.json"
    manifest = json.loads(path.read_text())
    for change in ({"as_of": "2026-11-23T01:00:03.000000Z"}, {"mac": None}):
        path.write_text(json.dumps(manifest | change))
        result = storage.recover("extract", "latest", "--output", tmp_path / "out")
        assert result.returncode == 40
        assert b"MAC" in result.stderr
    path.write_text(json.dumps(manifest, indent=7))  # only its spelling changed
    assert storage.recover("extract", "latest", "--output", tmp_path / "out").returncode == 0


OBJECT_NAMES_REFUSED = [
    "../../escape",
    "/etc/passwd",
    "",
    ".",
    "..",
    "a/b",
    "-rf",
    ".hidden",
    "manifest.json",
    "checks",
    "database.sql",
    "database.sql.zst.sealed",
    "Globals.SQL",
    "main dump",
    "a\nb",
    "é",
    "x" * 201,
]


@pytest.mark.parametrize("name", OBJECT_NAMES_REFUSED)
def test_an_object_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    """A hostile manifest must not read or write elsewhere."""
    storage = Storage(tmp_path / "storage", None)
    folder = storage.backup()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["objects"][0]["name"] = name
    storage.edit(f"shop/backups/{BACKUP_ID}/manifest.json", objects=manifest["objects"])
    result = storage.recover("extract", BACKUP_ID, "--output", tmp_path / "out")
    assert result.returncode == 40
    assert b"malformed" in result.stderr or b"the same name" in result.stderr
    assert listing(tmp_path) == {"storage"}


@pytest.mark.small
def test_the_product_refuses_the_same_names(operator: Operator) -> None:
    """Two readers that differ on what a backup consists of: one of them restores what the other never saw."""
    backup_id = operator.backup_id()
    (path,) = operator.storage.glob(f"*/backups/{backup_id}/manifest.json")
    document = json.loads(path.read_text())
    Manifest.from_json(document)
    for name in OBJECT_NAMES_REFUSED:
        document["objects"][0]["name"] = name
        with pytest.raises(DamagedData):
            Manifest.from_json(document)


def test_an_id_in_lower_case_and_a_moment_without_fraction_are_understood(storage: Storage) -> None:
    """Loss prevented: an id read out over the telephone is not found; the wrong one of two is called the latest."""
    later = "20261122T010003Z-LLLLLL"
    storage.backup(later, as_of="2026-11-22T01:00:03.5Z")
    storage.edit(f"shop/backups/{BACKUP_ID}/manifest.json", as_of="2026-11-22T01:00:03Z")
    assert storage.recover("extract", later.lower(), "--stdout").returncode == 0
    assert later.encode() in storage.recover("extract", "latest", "--stdout").stderr
    storage.edit(f"shop/backups/{later}/manifest.json", as_of="tomorrow")
    assert BACKUP_ID.encode() in storage.recover("extract", "latest", "--stdout").stderr


def test_a_deleted_backup_is_not_offered(storage: Storage, tmp_path: Path) -> None:
    """Its objects may be half gone: a tombstone means not usable, whatever is still there."""
    storage.backup("20261121T010003Z-BBBBBB")
    storage.document(f"shop/tombstones/{BACKUP_ID}.json", {"format": 1, "backup_id": BACKUP_ID})
    result = storage.recover("extract", BACKUP_ID, "--output", tmp_path / "out")
    assert result.returncode == 60
    assert b"deleted" in result.stderr
    result = storage.recover("extract", "latest", "--output", tmp_path / "out")
    assert (result.returncode, b"20261121T010003Z-BBBBBB" in result.stderr) == (0, True)
    assert BACKUP_ID.encode() not in storage.recover("list").stdout


def test_a_plain_backup_needs_no_key_and_no_package(tmp_path: Path) -> None:
    """Without encryption nothing but Python stands between the person and the dump."""
    storage = Storage(tmp_path / "storage", None)
    storage.backup(contents={"main.dump": DUMP})
    result = storage.recover("extract", "latest", "--output", tmp_path / "out", blocked=("cryptography",))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "main.dump").read_bytes() == DUMP


def test_what_is_there_already_is_never_touched(storage: Storage, tmp_path: Path) -> None:
    """A second run must not mix two backups in one directory."""
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("out", "link", "missing/out"):
        assert storage.recover("extract", "latest", "--output", tmp_path / name).returncode == 70
    assert listing(tmp_path / "out") == set()


def test_list_shows_what_is_usable_newest_first(storage: Storage) -> None:
    """The first question is always: what do we still have?"""
    storage.backup("20261121T010003Z-BBBBBB", database="a%2Eb", database_name="a.b")
    storage.document("shop/tiers/daily/2026-11-22.json", {"backup_id": BACKUP_ID})
    storage.document("shop/tiers/weekly/2026-11-16.json", {"backup_id": BACKUP_ID})
    result = storage.recover("list", environment={})
    lines = [line.split("  ") for line in result.stdout.decode().splitlines()]
    assert [line[:4] for line in lines] == [
        [BACKUP_ID, "shop", "2026-11-22 01:00:03 UTC", "daily,weekly"],
        ["20261121T010003Z-BBBBBB", "a.b", "2026-11-21 01:00:03 UTC", "-"],
    ]
    only = storage.recover("list", "--database", "a.b").stdout.decode()
    assert BACKUP_ID not in only
    assert "BBBBBB" in only


def test_list_shows_the_others_when_a_manifest_is_damaged(storage: Storage) -> None:
    """One rotten manifest must not hide the good backups."""
    folder = storage.backup("20261123T010003Z-CCCCCC")
    (folder / "manifest.json").write_text("{")
    result = storage.recover("list")
    assert (result.returncode, BACKUP_ID.encode() in result.stdout) == (40, True)
    assert storage.recover("extract", "20261123T010003Z-CCCCCC", "--stdout").returncode == 40
    latest = storage.recover("extract", "latest", "--stdout")
    assert (latest.returncode, b"CCCCCC" in latest.stderr) == (0, True)


def test_several_databases_need_a_choice(storage: Storage, tmp_path: Path) -> None:
    """The newest backup of the wrong database would be restored in its place."""
    storage.backup(database="other")
    for wanted in ("latest", BACKUP_ID):
        assert storage.recover("extract", wanted, "--output", tmp_path / "out").returncode == 2
        assert storage.recover("extract", wanted, "--stdout", "--database", "shop").returncode == 0


def test_nothing_there_is_said(tmp_path: Path) -> None:
    """An empty or wrong directory must not look like success."""
    storage = Storage(tmp_path / "storage")
    assert storage.recover("list").returncode == 0
    assert storage.recover("extract", "latest", "--output", tmp_path / "out").returncode == 60
    assert storage.recover("extract", "../..", "--output", tmp_path / "out").returncode == 60
    assert storage.recover("--storage", tmp_path / "absent", "list").returncode == 30
    assert storage.recover("extract", "latest").returncode == 2


def test_it_runs_by_itself_as_the_instructions_say(storage: Storage, tmp_path: Path) -> None:
    """``python3 recover.py list``, with nothing of ours around it."""
    result = subprocess.run(
        [sys.executable, "-I", "recover.py", "list"], cwd=storage.root, capture_output=True, check=False
    )
    assert (result.returncode, BACKUP_ID.encode() in result.stdout) == (0, True)
    assert not list(storage.root.rglob("__pycache__"))


def test_the_script_imports_nothing_of_ours_and_nothing_newer_than_python_3_9() -> None:
    """It must run where this package, and a recent Python, are not."""
    source = Path(rescue.__file__).with_name("recover.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {
        (node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_install_writes_what_is_missing_or_old_and_nothing_else(tmp_path: Path) -> None:
    """The script beside the backups must be the one that reads them; rewriting it for nothing costs a request."""
    store = MemoryStore()
    rescue.install(store)
    assert [entry.name for entry in store.list()] == ["RECOVERY.md", "recover.py"]
    written: list[str] = []

    def note(verb: str, name: str) -> None:
        if verb in ("replace", "create", "writer"):
            written.append(name)

    store.before = note
    rescue.install(store)
    assert written == []
    store.replace("recover.py", b"an older one")
    written.clear()
    rescue.install(store)
    assert written == ["recover.py"]
    text = store.get("RECOVERY.md").decode()
    assert "Getting your databases back" in text
    assert "Récupérer vos bases de données" in text


def test_the_keyring_and_the_script_agree_on_every_kind_of_passphrase(tmp_path: Path) -> None:
    """Both readers must call the same text full-entropy, or one of them opens nothing."""
    for number, passphrase in enumerate((PASSPHRASE, "-" * 42 + "8=", "-" + "/" * 41 + "w=")):
        storage = Storage(tmp_path / str(number), passphrase)
        storage.backup(contents={"main.dump": b"PGDMP"})
        result = storage.recover("extract", "latest", "--stdout")
        assert (result.returncode, result.stdout) == (0, b"PGDMP"), result.stderr
