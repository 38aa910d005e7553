"""The vectors of docs/format, read by the code that reads backups."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.sealing import unseal, unseal_check
from recyclic_backups.envelope import key_file
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.document import canonical, check_signature, decode
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.vectors import make_vectors

FOLDER = Path(make_vectors.__file__).parent
OUTCOMES: dict[str, type[BackupError]] = {"damaged": DamagedData, "no usable key": NoUsableKey}


def load(name: str) -> dict[str, Any]:
    """One of the committed files."""
    content: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return content


ENVELOPE, KEY_FILES, DOCUMENTS = load("envelope.json"), load("key_files.json"), load("documents.json")
MANIFESTS = load("manifests.json")
CHECKS = load("checks.json")
WAL = load("wal.json")


def named(case: dict[str, Any]) -> str:
    """How pytest calls a case."""
    return str(case["name"])


def opener(data_keys: dict[str, str]) -> Any:
    """What opens exactly these keys."""

    def open_key(key_id: str) -> DataKey:
        if key_id not in data_keys:
            raise NoUsableKey(f"no key {key_id}")
        return DataKey(key_id, bytes.fromhex(data_keys[key_id]))

    return open_key


def read_all(reader: UnsealedReader, size_bytes: int = 7) -> bytes:
    """The whole plaintext, in pieces."""
    pieces = []
    while piece := reader.read(size_bytes):
        pieces.append(piece)
    return b"".join(pieces)


def test_the_committed_vectors_are_the_ones_the_specification_gives() -> None:
    """A change of format, or of a vector, that nobody meant would make old backups unreadable."""
    for name, text in make_vectors.vectors().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text


def test_the_vectors_are_many_and_their_names_unique() -> None:
    """An empty or shadowed vector file would prove nothing."""
    for content, least in ((ENVELOPE, 150), (KEY_FILES, 50), (DOCUMENTS, 30), (MANIFESTS, 20)):
        names = [named(case) for case in content["cases"]]
        assert len(names) == len(set(names)) >= least


@pytest.mark.parametrize("case", ENVELOPE["cases"], ids=named)
def test_an_object_reads_as_its_vector_says(case: dict[str, Any]) -> None:
    """A truncated, swapped, repeated or altered object that reads would be restored as if it were whole."""
    reader = UnsealedReader(
        io.BytesIO(base64.b64decode(case["sealed"])),
        opener(ENVELOPE["data_keys"]),
        case.get("backup_id", ENVELOPE["backup_id"]),
        case.get("object_name", ENVELOPE["object_name"]),
    )
    if case["outcome"] == "good":
        assert read_all(reader) == base64.b64decode(case["plain"])
        return
    with pytest.raises(BackupError) as caught:
        read_all(reader)
    assert type(caught.value) is OUTCOMES[case["outcome"]]


@pytest.mark.parametrize("case", KEY_FILES["cases"], ids=named)
def test_a_key_file_opens_as_its_vector_says(case: dict[str, Any]) -> None:
    """A key file that no longer opens loses every backup; one that opens wrongly writes lost ones."""
    store = MemoryStore()
    store.create(key_file.storage_name(case["key_id"]), case["content"].encode())
    first, *others = case["passphrases"]
    keyring = Keyring(store, first, others)
    if case["outcome"] == "good":
        assert keyring.for_reading(case["key_id"]).secret.hex() == KEY_FILES["data_key"]
        return
    with pytest.raises(BackupError) as caught:
        keyring.for_reading(case["key_id"])
    assert type(caught.value) is OUTCOMES[case["outcome"]]
    for passphrase in case["passphrases"]:
        assert passphrase not in f"{caught.value.message} {caught.value.hint}"
    if case["outcome"] == "damaged":
        assert key_file.storage_name(case["key_id"]) in caught.value.message


@pytest.mark.parametrize("case", DOCUMENTS["cases"], ids=named)
def test_a_document_is_trusted_as_its_vector_says(case: dict[str, Any]) -> None:
    """An edited or moved manifest, label or tombstone would restore or expire the wrong backup."""

    def read() -> None:
        document = decode(base64.b64decode(case["content"]), case["storage_name"])
        check_signature(document, case["storage_name"], opener(DOCUMENTS["data_keys"]))

    if case["outcome"] == "good":
        read()
        return
    with pytest.raises(BackupError) as caught:
        read()
    assert type(caught.value) is OUTCOMES[case["outcome"]]
    if case["outcome"] == "damaged":
        assert case["storage_name"] in caught.value.message


@pytest.mark.parametrize("case", DOCUMENTS["canonical"], ids=str)
def test_canonical_json_is_spelled_as_its_vector_says(case: dict[str, Any]) -> None:
    """Another spelling would make every MAC written before it wrong."""
    assert canonical(case["document"]).decode() == case["canonical"]


@pytest.mark.parametrize("case", MANIFESTS["cases"], ids=named)
def test_a_manifest_opens_as_its_vector_says(case: dict[str, Any]) -> None:
    """A sealed manifest that opens to another backup's text would be restored with its owner, settings and grants."""
    storage_name, open_key = MANIFESTS["storage_name"], opener(MANIFESTS["data_keys"])

    def read() -> tuple[Manifest, dict[str, Any]]:
        document = decode(base64.b64decode(case["content"]), storage_name)
        check_signature(document, storage_name, open_key)
        manifest = Manifest.from_json(document, lambda: unseal(document, open_key))
        manifest.to_json()  # looks at every field
        return manifest, document if document["format"] == 1 else unseal(document, open_key)

    if case["outcome"] != "good":
        with pytest.raises(BackupError) as caught:
            read()
        assert type(caught.value) is OUTCOMES[case["outcome"]]
        return
    manifest, whole = read()
    assert {name: value for name, value in whole.items() if name != "mac"} == case["whole"]
    assert manifest.to_json() == case["whole"] | {"format": 1}


@pytest.mark.parametrize("case", CHECKS["cases"], ids=named)
def test_a_check_opens_as_its_vector_says(case: dict[str, Any]) -> None:
    """A sealed check that opens to another's text would tell of a failure, or of tables, that was not its backup's."""
    storage_name, open_key = CHECKS["storage_name"], opener(CHECKS["data_keys"])

    def read() -> tuple[Check, dict[str, Any]]:
        document = decode(base64.b64decode(case["content"]), storage_name)
        check_signature(document, storage_name, open_key)
        check = Check.from_json(document, lambda: unseal_check(document, storage_name, open_key))
        check.to_json()  # looks at every field
        return check, document if document["format"] == 1 else unseal_check(document, storage_name, open_key)

    if case["outcome"] != "good":
        with pytest.raises(BackupError) as caught:
            read()
        assert type(caught.value) is OUTCOMES[case["outcome"]]
        return
    check, whole = read()
    assert {name: value for name, value in whole.items() if name != "mac"} == case["whole"]
    assert check.to_json() == case["whole"] | {"format": 1}
