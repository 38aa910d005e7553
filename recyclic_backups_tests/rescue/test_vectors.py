"""The vectors of docs/format, read by the rescue script: two readers, one format."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups_tests.envelope.test_vectors import DOCUMENTS, ENVELOPE, KEY_FILES, MANIFESTS, WAL, named
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.rescue.storages import PASSPHRASE

EXIT_CODES = {"damaged": 40, "no usable key": 41}


def keys_with(recover: ModuleType, data_keys: dict[str, str], storage: Path) -> Any:
    """The script's keys, with exactly these opened."""
    keys = recover.Keys(recover.Storage(storage))
    keys.opened.update({key_id: bytes.fromhex(secret) for key_id, secret in data_keys.items()})
    return keys


def outcome_of(recover: ModuleType, read: Any) -> int:
    """The exit code that reading would end with."""
    try:
        read()
    except recover.Problem as problem:
        return int(problem.exit_code)
    return 0


@pytest.mark.parametrize("case", ENVELOPE["cases"], ids=named)
def test_the_script_reads_an_object_as_its_vector_says(
    recover: ModuleType, tmp_path: Path, case: dict[str, Any]
) -> None:
    """If the two readers differ, one of them fails on the day it is the only one left."""
    read: list[bytes] = []

    def unseal() -> None:
        sealed = io.BytesIO(base64.b64decode(case["sealed"]))
        backup_id = case.get("backup_id", ENVELOPE["backup_id"])
        name = case.get("object_name", ENVELOPE["object_name"])
        read.extend(
            recover.unsealed(sealed, keys_with(recover, ENVELOPE["data_keys"], tmp_path), backup_id, name)
        )

    assert outcome_of(recover, unseal) == EXIT_CODES.get(case["outcome"], 0)
    if case["outcome"] == "good":
        assert b"".join(read) == base64.b64decode(case["plain"])


@pytest.mark.parametrize("case", KEY_FILES["cases"], ids=named)
def test_the_script_opens_a_key_file_as_its_vector_says(
    recover: ModuleType, tmp_path: Path, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that only the running system can open is lost with the running system."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / f"{case['key_id']}.json").write_text(case["content"], encoding="utf-8")
    first, *others = case["passphrases"]
    monkeypatch.setenv("BACKUP_ENCRYPTION_KEY", first)
    monkeypatch.setenv("BACKUP_ENCRYPTION_OLD_KEYS", "\n".join(others))
    keys = recover.Keys(recover.Storage(tmp_path))
    assert outcome_of(recover, lambda: keys.open(case["key_id"])) == EXIT_CODES.get(case["outcome"], 0)
    if case["outcome"] == "good":
        assert keys.open(case["key_id"]).hex() == KEY_FILES["data_key"]


@pytest.mark.parametrize("case", DOCUMENTS["cases"], ids=named)
def test_the_script_trusts_a_document_as_its_vector_says(
    recover: ModuleType, tmp_path: Path, case: dict[str, Any]
) -> None:
    """The script must refuse the manifests that the running system refuses."""
    path = tmp_path / "document.json"
    path.write_bytes(base64.b64decode(case["content"]))
    keys = keys_with(recover, DOCUMENTS["data_keys"], tmp_path)

    def check() -> None:
        recover.check_mac(recover.document_of(path.read_bytes(), path.name), case["storage_name"], keys)

    assert outcome_of(recover, check) == EXIT_CODES.get(case["outcome"], 0)


@pytest.mark.parametrize("case", MANIFESTS["cases"], ids=named)
def test_the_script_opens_a_manifest_as_its_vector_says(
    recover: ModuleType, tmp_path: Path, case: dict[str, Any]
) -> None:
    """Owner, locale, settings and grants of an encrypted backup are sealed: the script must bring them back too."""
    path = tmp_path / MANIFESTS["storage_name"]
    path.parent.mkdir(parents=True)
    path.write_bytes(base64.b64decode(case["content"]))
    found: list[Any] = []

    def read() -> None:
        keys = keys_with(recover, MANIFESTS["data_keys"], tmp_path)
        storage_name = path.parent.relative_to(tmp_path).as_posix()
        backup = recover.Backup(recover.Storage(tmp_path), storage_name)
        backup.authenticate(keys)
        backup.open_manifest(keys)
        found.append(recover.without(backup.manifest, "mac"))

    assert outcome_of(recover, read) == EXIT_CODES.get(case["outcome"], 0)
    if case["outcome"] == "good":
        assert found == [case["whole"]]


def wal_of(recover: ModuleType, case: dict[str, Any], storage: Path) -> Any:
    """The script's view of a storage that has keys, and the WAL of a case."""
    (storage / "keys").mkdir()
    for key_id in WAL["data_keys"]:
        (storage / "keys" / f"{key_id}.json").touch()
    for name, content in case.get("objects", {}).items():
        path = storage / f"server.{WAL['system_identifier']}" / "wal" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
    keys = keys_with(recover, WAL["data_keys"], storage)
    wal = recover.Wal(recover.Storage(storage), WAL["system_identifier"], keys)
    wal.archive_id = case.get("archive_id", "")
    return wal


@pytest.mark.parametrize("case", WAL["segments"], ids=named)
def test_the_script_puts_a_segment_together_as_its_vector_says(
    recover: ModuleType, tmp_path: Path, case: dict[str, Any]
) -> None:
    """What was committed last lies in tails: bytes too many, or too few, are another history."""
    wal, segment, size = wal_of(recover, case, tmp_path), WAL["segment"], WAL["segment_bytes"]
    assert wal.filled(segment, size) == case["filled"]
    found: list[bytes] = []
    code = outcome_of(recover, lambda: found.append(wal.segment(segment, size)))
    assert code == EXIT_CODES.get(case["outcome"], 0)
    if case["outcome"] == "good":
        assert found == [base64.b64decode(case["content"])]


@pytest.mark.parametrize("case", WAL["histories"], ids=named)
def test_the_script_reads_a_history_as_its_vector_says(
    recover: ModuleType, tmp_path: Path, case: dict[str, Any]
) -> None:
    """A wrong line of timelines leads to a branch that was given up."""
    wal = wal_of(recover, case, tmp_path)
    found: list[Any] = []
    assert outcome_of(recover, lambda: found.extend(wal.line(2))) == EXIT_CODES.get(case["outcome"], 0)
    if case["outcome"] == "good":
        ((timeline, left),) = case["line"]
        assert found == [(timeline, 0, recover.lsn_of(left)), (2, recover.lsn_of(left), recover.NEVER)]


@pytest.mark.parametrize("case", WAL["documents"], ids=named)
def test_the_script_believes_a_document_of_a_server_as_its_vector_says(
    recover: ModuleType, tmp_path: Path, case: dict[str, Any]
) -> None:
    """A base backup or a position of somebody else's decides what is brought back."""
    path = tmp_path / case["storage_name"]
    path.parent.mkdir(parents=True)
    path.write_bytes(base64.b64decode(case["content"]))
    wal = wal_of(recover, case, tmp_path)
    folder, _, base_id, _ = f"{case['storage_name']}/".split("/", 3)
    server = folder.removeprefix("server.")
    if case["kind"] == "position":
        wal = recover.Wal(wal.storage, server, wal.keys)
        assert bool(wal.position()) is (case["outcome"] == "good")
        return

    def read() -> None:
        recover.Base(wal.storage, server, base_id).authenticate(wal.keys)

    assert outcome_of(recover, read) == EXIT_CODES.get(case["outcome"], 0)


class Names:
    """A storage of names alone, in which nothing can be read."""

    def __init__(self, server: str, files: list[str]) -> None:
        self._folders = {
            "": [f"server.{server}"],
            f"server.{server}/wal": sorted({each[:8] for each in files}),
            **{f"server.{server}/wal/{each[:8]}": sorted(files) for each in files},
        }

    def names(self, folder: str) -> list[str]:
        """What is in a folder."""
        return self._folders.get(folder, [])


parts = st.tuples(st.integers(0, 70), st.integers(0, 70), st.sampled_from(["", ".sealed"]))


@given(st.lists(parts, max_size=8), st.booleans())
def test_both_readers_make_the_same_of_any_names(
    recover: ModuleType, tails: list[tuple[int, int, str]], whole: bool
) -> None:
    """If the two readers differ, the product plans a recovery that the script cannot do, or the other way round."""
    files = [f"{WAL['segment']}.{start:08x}-{end:08x}.zst{seal}" for start, end, seal in tails]
    files += [f"{WAL['segment']}.zst.sealed"] if whole else []
    store = MemoryStore()
    for file in set(files):
        store.create(f"server.73/wal/{file[:8]}/{file}", b"")
    ours = WalArchive(Repository(store, "postgres", Keyring(store, PASSPHRASE), encrypt=True), "73")
    keys = SimpleNamespace(asked_for=lambda: True)
    theirs = recover.Wal(Names("73", files), "73", keys)
    assert theirs.filled(WAL["segment"], 64) == ours.listing().end_in(WAL["segment"], 64)
