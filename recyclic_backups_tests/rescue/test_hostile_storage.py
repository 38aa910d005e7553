"""The rescue script in a storage where somebody else wrote: nothing of his runs, hangs, hides or is believed."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zstandard

from recyclic_backups import rescue
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.rescue.storages import DUMP, NOW, OTHER_PASSPHRASE, PASSPHRASE, Storage
from recyclic_backups_tests.rescue.test_recover import BACKUP_ID, ZSTD_MODULES

NEWER = "20261123T010003Z-EVILEV"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An encrypted storage with one backup, and room beside it."""
    storage = Storage(tmp_path / "storage")
    storage.backup()
    return storage


def forge(storage: Storage, backup_id: str = NEWER, **changes: Any) -> None:
    """A newer backup that is whole in itself, put there by somebody without a key."""
    keyring, storage.keyring = storage.keyring, None
    try:
        storage.backup(backup_id, contents={"main.dump": b"PGDMP forged"}, **changes)
    finally:
        storage.keyring = keyring


@pytest.mark.parametrize("folder", [".", "/"])
def test_a_module_laid_beside_the_script_is_not_run(storage: Storage, tmp_path: Path, folder: str) -> None:
    """Attack: `argparse.py` beside an authentic recover.py runs with the key, whatever `python3` was typed with."""
    source = Path(rescue.__file__).with_name("recover.py").read_text(encoding="utf-8")
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        "__future__",
        "collections",
        "typing",
        "cryptography",
        "zstandard",
        "getpass",
        "encodings",
        "site",
        "_io",
    }
    for name in imported:
        (storage.root / f"{name}.py").write_text(f"open({str(tmp_path / 'loot')!r}, 'a').write('{name} ')\n")
    (storage.root / "compression").mkdir()
    (storage.root / "compression" / "__init__.py").write_text(f"open({str(tmp_path / 'loot')!r}, 'a')\n")
    environment = {"PATH": os.environ["PATH"], "BACKUP_ENCRYPTION_KEY": PASSPHRASE}
    for command in (["list"], ["extract", "latest", "--stdout"]):
        done = subprocess.run(
            [sys.executable, str(storage.root / "recover.py"), *command],
            cwd=storage.root if folder == "." else folder,
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "loot").exists()


def test_a_program_laid_beside_the_script_is_not_run(storage: Storage, tmp_path: Path) -> None:
    """Attack: a `zstd` in the storage, for whoever stands there with `.` in PATH; and the key is not the real one's."""
    (storage.root / "zstd").write_text(f"#!/bin/sh\ntouch {tmp_path / 'loot'}\n")
    (storage.root / "zstd").chmod(0o755)
    done = storage.recover(
        "extract", "latest", "--stdout", blocked=ZSTD_MODULES, path=f".:{os.pathsep}relative"
    )
    assert done.returncode == 10
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "zstd").write_text(f"#!/bin/sh\nenv > {tmp_path / 'seen'}\n")
    (programs / "zstd").chmod(0o755)
    storage.recover("extract", "latest", "--stdout", blocked=ZSTD_MODULES, path=f"{programs}:{os.defpath}")
    assert PASSPHRASE not in (tmp_path / "seen").read_text()


@pytest.mark.parametrize("what", ["link", "folder link", "FIFO", "device", "directory", "huge"])
@pytest.mark.parametrize(
    "where", ["shop/backups/{id}/manifest.json", "shop/backups/{id}/main.dump.zst.sealed", "keys/{key}.json"]
)
def test_what_is_no_plain_file_is_neither_followed_nor_waited_for(
    storage: Storage, tmp_path: Path, where: str, what: str
) -> None:
    """Attack: a link out of the storage, or a FIFO or an endless device, in the place of what is read."""
    (key_file,) = (storage.root / "keys").glob("*.json")
    path = storage.root / where.format(id=BACKUP_ID, key=key_file.stem)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if what == "folder link":
        path.parent.rename(elsewhere / "moved")
        path.parent.symlink_to(elsewhere / "moved")
    else:
        path.rename(elsewhere / path.name)
    if what == "link":
        path.symlink_to(elsewhere / path.name)
    elif what == "FIFO":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "directory":
        path.mkdir()
    elif what == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    done = storage.recover("extract", BACKUP_ID, "--output", tmp_path / "out")
    assert done.returncode in (40, 41), (done.returncode, done.stderr)
    assert not (tmp_path / "out").exists()
    assert b"Traceback" not in done.stderr
    if not where.startswith(
        "keys"
    ):  # without a key, whatever happened to its file, list is what it always is
        listed = storage.recover("list")
        assert b"Traceback" not in listed.stderr


def test_odd_folders_do_not_keep_the_others_from_being_read(storage: Storage, tmp_path: Path) -> None:
    """Attack: one link in a circle, or one absurd name, stops every reading."""
    (storage.root / "circle").symlink_to(".")
    (storage.root / "shop" / "tiers").symlink_to(tmp_path)
    (storage.root / "other").mkdir()
    (storage.root / "other" / "backups").symlink_to("../shop/backups")
    (storage.root / "shop" / "backups" / "20261129T010003Z-LINKED").symlink_to(BACKUP_ID)
    os.mkdir(os.fsencode(storage.root) + b"/\xff\xfe\x1b[2J")
    (storage.root / "stray").write_text("x")
    done = storage.recover("extract", "latest", "--stdout")
    assert (done.returncode, done.stdout) == (0, DUMP), done.stderr
    assert b"\x1b" not in storage.recover("list").stderr


@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        '{"format": ' + "9" * 1_000_000 + "}",
        '{"a":' * 65 + "1" + "}" * 65,
        '{"format": 1e999}',
    ],
    ids=["deep", "digits", "65 levels", "not finite"],
)
def test_a_document_that_costs_much_to_read_is_damage(storage: Storage, content: str) -> None:
    """Attack: a manifest that eats time, memory or the stack of its reader."""
    path = storage.root / "shop" / "backups" / BACKUP_ID / "manifest.json"
    path.write_text(content)
    done = storage.recover("extract", BACKUP_ID, "--stdout")
    assert done.returncode == 40
    assert b"Traceback" not in done.stderr


def frame(plain: bytes, **options: int) -> bytes:
    """One zstd frame of unknown size, as a stream is."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, write_checksum=1, **options)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return bytes(compressor.compress(plain) + compressor.flush())


@pytest.mark.parametrize("blocked", [(), ZSTD_MODULES], ids=["module", "program"])
@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("checksum gone", frame(DUMP)[:-4]),
        ("checksum cut", frame(DUMP)[:-1]),
        ("second frame cut", frame(DUMP) + frame(b"")[:-1]),
        ("something after it", frame(DUMP) + b"xyz"),
        ("skippable frame cut", frame(DUMP) + b"\x50\x2a\x4d\x18\x10\x00\x00\x00half"),
        ("window of 256 MiB", frame(DUMP, window_log=28)),
        ("empty", b""),
    ],
)
def test_compressed_data_that_are_not_whole_are_damage(
    tmp_path: Path, name: str, spoilt: bytes, blocked: tuple[str, ...]
) -> None:
    """Attack, or a crash: a frame without its end whose bytes seem to be all there; or one that asks for all memory."""
    if blocked and shutil.which("zstd") is None:
        pytest.skip("zstd: this machine has no zstd program, the decompressor of last resort")
    storage = Storage(tmp_path / "storage", None)
    folder = storage.backup(contents={"main.dump": spoilt})
    manifest = json.loads((folder / "manifest.json").read_text())
    plain_bytes = 0 if name == "empty" else len(DUMP)
    objects = [manifest["objects"][0] | {"name": "main.dump.zst", "plain_bytes": plain_bytes}]
    storage.edit(f"shop/backups/{BACKUP_ID}/manifest.json", objects=objects)
    (folder / "main.dump").rename(folder / "main.dump.zst")
    done = storage.recover("extract", "latest", "--output", tmp_path / "out", blocked=blocked)
    assert done.returncode == 40, (name, done.stderr)
    assert not (tmp_path / "out").exists()


def test_several_frames_and_skippable_ones_are_read(tmp_path: Path) -> None:
    """The format allows them: a reader that stops after the first loses the rest."""
    several = frame(DUMP[:1000]) + b"\x5f\x2a\x4d\x18\x04\x00\x00\x00skip" + frame(DUMP[1000:])
    storage = Storage(tmp_path / "storage", None)
    folder = storage.backup(contents={"main.dump": several})
    manifest = json.loads((folder / "manifest.json").read_text())
    objects = [manifest["objects"][0] | {"name": "main.dump.zst", "plain_bytes": len(DUMP)}]
    storage.edit(f"shop/backups/{BACKUP_ID}/manifest.json", objects=objects)
    (folder / "main.dump").rename(folder / "main.dump.zst")
    done = storage.recover("extract", "latest", "--stdout")
    assert (done.returncode, done.stdout) == (0, DUMP), done.stderr


# --- who wrote it ---


def test_a_forged_newer_backup_is_not_the_latest_and_not_extracted_unasked(
    storage: Storage, tmp_path: Path
) -> None:
    """Attack: whoever can write there puts an unencrypted backup of his own beside the others."""
    forge(storage)
    latest = storage.recover("extract", "latest", "--stdout")
    assert (latest.returncode, latest.stdout) == (0, DUMP)
    assert NEWER.encode() in latest.stderr
    environments: tuple[dict[str, str] | None, ...] = (None, {})
    for environment in environments:
        lines = storage.recover("list", environment=environment).stdout.decode().splitlines()
        assert [("UNSIGNED" in line) for line in lines] == [True, False]
    refused = storage.recover("extract", NEWER, "--output", tmp_path / "out")
    assert refused.returncode == 70
    assert b"--unsigned" in refused.stderr
    assert not (tmp_path / "out").exists()
    asked = storage.recover("extract", NEWER, "--stdout", "--unsigned")
    assert (asked.returncode, asked.stdout) == (0, b"PGDMP forged")
    assert b"nothing vouches" in asked.stderr
    assert storage.recover("extract", "latest", "--unsigned", "--stdout").returncode == 2


def test_without_keys_in_the_storage_the_key_in_the_environment_asks_for_macs(storage: Storage) -> None:
    """Attack: the folder of the keys is deleted, so that the storage looks like one that never was encrypted."""
    forge(storage)
    shutil.rmtree(storage.root / "keys")
    assert storage.recover("extract", NEWER, "--stdout").returncode in (41, 70)


def test_a_forged_database_does_not_keep_the_real_one_from_being_the_only_one(storage: Storage) -> None:
    """Attack: a second database, so that `latest` asks for a choice, and somebody takes the wrong one."""
    forge(storage, database="shop2")
    done = storage.recover("extract", "latest", "--stdout")
    assert (done.returncode, done.stdout) == (0, DUMP)


@pytest.mark.parametrize(
    "tombstone", ["xx", '{"format": 1}', "signed for another", "signed with a key that is gone"]
)
def test_a_forged_tombstone_hides_nothing_and_is_told(storage: Storage, tombstone: str) -> None:
    """Attack: a file among the tombstones makes a whole backup unreachable."""
    other = "20261121T010003Z-BBBBBB"
    storage.backup(other)
    name = f"shop/tombstones/{other}.json"
    storage.document(name, {"format": 1, "backup_id": other})
    path = storage.root / "shop" / "tombstones" / f"{BACKUP_ID}.json"
    if tombstone == "signed for another":
        shutil.copy(storage.root / name, path)
    elif tombstone == "signed with a key that is gone":
        forged = json.loads((storage.root / name).read_text())
        forged["mac"]["key_id"] = "0123456789abcdef"
        path.write_text(json.dumps(forged))
    else:
        path.write_text(tombstone)
    done = storage.recover("extract", BACKUP_ID, "--stdout")
    assert (done.returncode, done.stdout) == (0, DUMP)
    assert b"tombstone" in done.stderr
    assert BACKUP_ID in storage.recover("list").stdout.decode()


def test_a_deleted_backup_whose_objects_are_there_is_extracted_when_asked(storage: Storage) -> None:
    """Loss prevented: an expiry by mistake, noticed in time, and a script that offers no way on."""
    storage.document(f"shop/tombstones/{BACKUP_ID}.json", {"format": 1, "backup_id": BACKUP_ID})
    refused = storage.recover("extract", BACKUP_ID, "--stdout")
    assert refused.returncode == 60
    assert b"tombstone" in refused.stderr
    assert b"--deleted" in refused.stderr
    done = storage.recover("extract", BACKUP_ID, "--stdout", "--deleted")
    assert (done.returncode, done.stdout) == (0, DUMP)


def own_keys(storage: Storage, storage_id: str = "5" * 32) -> None:
    """Write ``storage.json``: the keys that the storage has now are its own (docs/format/keys.md)."""
    assert storage.keyring is not None
    key = storage.keyring.for_writing(NOW)
    document = {
        "format": 1,
        "storage_id": storage_id,
        "created_at": "2026-11-22T01:00:03Z",
        "keys": sorted(path.stem for path in (storage.root / "keys").iterdir()),
    }
    storage.store.replace("storage.json", encode(signed(document, "storage.json", key)))


def another(tmp_path: Path, storage: Storage, passphrase: str) -> None:
    """Copy keys and a newer backup of another storage, which that passphrase opens, into this one."""
    other = Storage(tmp_path / "other", passphrase)
    other.backup(NEWER, contents={"main.dump": b"PGDMP of another storage"})
    shutil.copytree(other.root / "keys", storage.root / "keys", dirs_exist_ok=True)
    shutil.copytree(other.root / "shop", storage.root / "shop", dirs_exist_ok=True)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, OTHER_PASSPHRASE], ids=["the same", "a former one"])
def test_a_backup_of_another_storage_or_of_a_planted_key_is_not_the_latest(
    storage: Storage, tmp_path: Path, passphrase: str
) -> None:
    """Attack: one passphrase opens two storages, or somebody who knows a former one wraps a key of his own with it."""
    own_keys(storage)
    another(tmp_path, storage, passphrase)
    environment = {"BACKUP_ENCRYPTION_KEY": PASSPHRASE, "BACKUP_ENCRYPTION_OLD_KEYS": OTHER_PASSPHRASE}
    done = storage.recover("extract", "latest", "--stdout", environment=environment)
    assert (done.returncode, done.stdout) == (0, DUMP), done.stderr
    assert storage.recover("extract", NEWER, "--stdout", environment=environment).returncode == 70
    assert b"OF ANOTHER STORAGE" in storage.recover("list", environment=environment).stdout.splitlines()[0]
    asked = storage.recover("extract", NEWER, "--stdout", "--unsigned", environment=environment)
    assert (asked.returncode, asked.stdout) == (0, b"PGDMP of another storage"), asked.stderr


def test_a_planted_key_is_a_stranger_also_where_storage_json_is_gone(
    storage: Storage, tmp_path: Path
) -> None:
    """Attack: storage.json is deleted, or replaced by one that the planted key signed."""
    another(tmp_path, storage, OTHER_PASSPHRASE)
    environment = {"BACKUP_ENCRYPTION_KEY": PASSPHRASE, "BACKUP_ENCRYPTION_OLD_KEYS": OTHER_PASSPHRASE}
    for content in (None, "theirs", b"{"):
        if content == "theirs":
            theirs = Storage(tmp_path / "theirs", OTHER_PASSPHRASE)
            shutil.copytree(tmp_path / "other" / "keys", theirs.root / "keys")
            theirs.keyring = Keyring(LocalStore(theirs.root), OTHER_PASSPHRASE)
            own_keys(theirs)
            shutil.copy(theirs.root / "storage.json", storage.root / "storage.json")
        elif isinstance(content, bytes):
            (storage.root / "storage.json").write_bytes(content)
        done = storage.recover("extract", "latest", "--stdout", environment=environment)
        assert (done.returncode, done.stdout) == (0, DUMP), done.stderr


def test_a_former_passphrase_has_no_say_once_our_own_key_file_was_taken_away(
    storage: Storage, tmp_path: Path
) -> None:
    """Attack: who knows a former passphrase leaves but his own key there, and his newer backup is what is restored."""
    shutil.rmtree(storage.root / "keys")
    another(tmp_path, storage, OTHER_PASSPHRASE)
    environment = {"BACKUP_ENCRYPTION_KEY": PASSPHRASE, "BACKUP_ENCRYPTION_OLD_KEYS": OTHER_PASSPHRASE}
    done = storage.recover("extract", "latest", "--stdout", environment=environment)
    assert (done.returncode, done.stdout) != (0, b"PGDMP of another storage")
    assert b"put his own key in the place of ours" in done.stderr
    assert storage.recover("extract", NEWER, "--stdout", environment=environment).returncode == 70


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59.000000Z", "0001-01-01T00:00:00Z"])
def test_a_backup_of_the_end_of_time_is_damage_and_not_the_latest(tmp_path: Path, moment: str) -> None:
    """Attack: where nothing is encrypted a hash is all there is; dated so, his would be the latest for ever."""
    storage = Storage(tmp_path / "storage", None)
    storage.backup()
    name = f"shop/backups/{NEWER}/manifest.json"
    manifest = json.loads((storage.root / "shop" / "backups" / BACKUP_ID / "manifest.json").read_bytes())
    manifest |= {"backup_id": NEWER, "as_of": moment}
    (storage.root / name).parent.mkdir()
    (storage.root / name).write_bytes(encode(summed(manifest, name)))
    done = storage.recover("extract", "latest", "--stdout", environment={})
    assert (done.returncode, done.stdout) == (0, DUMP), done.stderr
    listed = storage.recover("list", environment={})
    assert b"does not say of when it is" in listed.stderr


# --- names ---

NASTY = "a$(id>/tmp/harmed)`id`\n  rm -rf /\r\x1b[2J\u202eedoc\u2028%s\\n'\"!!"


def test_names_reach_no_terminal_as_they_are(tmp_path: Path) -> None:
    """Attack: a database called by an escape sequence clears the screen, or a line end makes a command of its rest."""
    storage = Storage(tmp_path / "storage")
    from recyclic_backups.catalog.layout import folder_of

    server = {
        "owner": NASTY,
        "encoding": "UTF8",
        "comment": NASTY,
        "settings": [{"name": NASTY, "value": NASTY}],
    }
    storage.backup(database=folder_of(NASTY), database_name=NASTY, server=server)
    done = storage.recover("extract", "latest", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    listed = storage.recover("list")
    for text in (done.stdout, done.stderr, listed.stdout, listed.stderr):
        assert all(line.isprintable() for line in text.decode().split("\n"))
    commands = [line for line in done.stdout.decode().split("\n") if line.startswith("  ")]
    assert not [line for line in commands if line.strip().startswith("rm -rf /")]
    assert not [line for line in commands if "owner" in line], "names of roles stand in no command"


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_a_shell_reads_every_name_as_it_is(tmp_path: Path, shell: str) -> None:
    """Attack: a name that is another one, or a command, once it was pasted."""
    if shutil.which(shell) is None:
        pytest.skip(f"shells: there is no {shell} here")
    recover = Path(rescue.__file__).with_name("recover.py")
    names = [
        NASTY,
        "plain",
        "",
        "with blank",
        "-rf",
        "é\u200f",
        "%d\\",
        "\\",
        "a\nb",
        "\n\nx",
        "~",
        "*",
        "#",
        "\t",
        "\x7f",
    ]
    lines = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            "import json, runpy, sys; module = runpy.run_path(sys.argv[1]);"
            "print(json.dumps(module['shell_line'](json.loads(sys.argv[2]))))",
            str(recover),
            json.dumps(names),
        ],
        check=True,
        capture_output=True,
    ).stdout
    line = json.loads(lines)
    assert line.isprintable()
    read = subprocess.run(
        [shell, "-c", f"printf '%s\\0' {line}"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        env={"PATH": os.defpath},
    ).stdout
    assert read.decode().split("\0")[:-1] == names
    assert not Path("/tmp/harmed").exists()


def test_a_name_that_no_shell_passes_on_is_refused_and_the_way_on_is_said(tmp_path: Path) -> None:
    """A command substitution drops line ends at its end: the command would be of another database."""
    storage = Storage(tmp_path / "storage")
    storage.backup(database="shop%0A", database_name="shop\n")
    refused = storage.recover("extract", "latest", "--output", tmp_path / "out")
    assert refused.returncode == 70
    assert b"--as" in refused.stderr
    assert storage.recover("extract", "latest", "--output", tmp_path / "out", "--as", "shop").returncode == 0
    done = storage.recover("extract", "latest", "--output", tmp_path / "out2", "--json")
    plan = json.loads(done.stdout)
    assert plan["steps"][1]["argv"][0] == "createdb"
    assert plan["steps"][1]["argv"][-2:] == ["--", "shop\n"]


def test_a_list_setting_never_becomes_sql(tmp_path: Path) -> None:
    """Attack: a stored search_path that closes its quotes and goes on with a statement."""
    storage = Storage(tmp_path / "storage", None)
    values = ['"$user", public', '"a""b", c', 'x"; ALTER ROLE mallory SUPERUSER; --', "$$;$$", 'a, "b', ""]
    settings = [{"name": "search_path", "value": value} for value in values]
    storage.backup(server={"owner": "o", "settings": settings})
    assert storage.recover("extract", "latest", "--output", tmp_path / "out").returncode == 0
    sql = (tmp_path / "out" / "database.sql").read_text().splitlines()
    assert [line.partition(" TO ")[2] for line in sql if "search_path" in line] == [
        "E'$user', E'public';",
        "E'a\"b', E'c';",
        "E'x\"; ALTER ROLE mallory SUPERUSER; --';",
        "E'$$;$$';",
        "E'a, \"b';",
        "E'';",
    ]


def test_the_output_is_never_laid_over_what_somebody_made_meanwhile(storage: Storage, tmp_path: Path) -> None:
    """Attack by another user of the machine: a link where the data in the clear are about to be written."""
    for name in ("file", "link", "folder"):
        path = tmp_path / name
        if name == "file":
            path.write_text("mine")
        elif name == "link":
            path.symlink_to(tmp_path / "target")
        else:
            path.mkdir()
        assert storage.recover("extract", "latest", "--output", path).returncode == 70
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "target").exists()


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="linux: only there it is written by descriptor"
)
def test_what_comes_into_the_place_of_the_output_is_not_written_into(
    recover: ModuleType, tmp_path: Path
) -> None:
    """Attack: whoever owns the directory around it lays a link there, and root writes where it leads."""
    victim = tmp_path / "victim"
    victim.mkdir()

    def written() -> None:
        with recover.appearing(tmp_path / "output", 0) as partial:
            (made,) = tmp_path.glob(".output.partial-*")
            made.rename(tmp_path / "aside")
            made.symlink_to(victim)
            recover.write_file(partial / "main.dump", [b"rows"])

    with pytest.raises(recover.Problem, match="in the place of"):
        written()
    assert not list(victim.iterdir())
    assert not (tmp_path / "output").exists()


def test_costly_key_files_are_not_all_tried(
    recover: ModuleType, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: without storage.json, a hundred planted key files of ten seconds and 1 GiB each."""
    tried: list[str] = []
    monkeypatch.setattr(recover, "root_key", lambda passphrase, _: tried.append(passphrase))
    monkeypatch.setenv("BACKUP_ENCRYPTION_KEY", PASSPHRASE)
    keys = recover.Keys(recover.Storage(storage.root))
    (file,) = (storage.root / "keys").glob("*.json")
    document = recover.without(json.loads(file.read_bytes()), "sha256")
    document["derivation"] = {"name": "scrypt", "n": 2**20, "r": 8, "p": 4, "salt": "A" * 43 + "="}
    document["sha256"] = hashlib.sha256(recover.canonical(document)).hexdigest()
    for _ in range(9):
        with pytest.raises(recover.Problem):
            keys.unwrap(document, file.stem)
    assert len(tried) == recover.MOST_COSTLY_KEYS


def test_a_key_id_that_is_a_number_is_damage(recover: ModuleType, storage: Storage) -> None:
    """Attack: an operator who is sent to look for a key file that never was, where the product says "damaged"."""
    keys = recover.Keys(recover.Storage(storage.root))
    document = {"format": 1, "mac": {"key_id": 1234567890123456, "hmac_sha256": "0" * 64}}
    with pytest.raises(recover.Problem) as found:
        recover.check_mac(document, "shop/tiers/daily/2026-11-22.json", keys)
    assert found.value.exit_code == 40
