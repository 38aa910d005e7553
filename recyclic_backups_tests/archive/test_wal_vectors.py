"""The vectors of docs/format/wal.md, read by the code that recovers."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import read_position
from recyclic_backups.archive.wal import parse_history
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import BackupError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups_tests.envelope.test_vectors import OUTCOMES, WAL, named, opener
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.vectors.primitives import without


class VectorKeys:
    """The part of a keyring that reading needs: exactly the vectors' keys."""

    def has_keys(self) -> bool:
        """There are some."""
        return True

    def for_reading(self, key_id: str) -> DataKey:
        """One of them."""
        found: DataKey = opener(WAL["data_keys"])(key_id)
        return found


def archive_of_case(case: dict[str, Any], system_identifier: str = WAL["system_identifier"]) -> WalArchive:
    """A storage that holds what the case says."""
    store = MemoryStore()
    for name, content in case.get("objects", {}).items():
        store.create(f"server.{system_identifier}/wal/{name}", base64.b64decode(content))
    if "storage_name" in case:
        store.create(case["storage_name"], base64.b64decode(case["content"]))
    keyring = cast(Keyring, VectorKeys())
    return WalArchive(Repository(store, "postgres", keyring, encrypt=True), system_identifier)


def assert_ends_as(case: dict[str, Any], read: Any) -> Any:
    """What reading gives, of a good case; of another one, that it fails as the vector says."""
    if case["outcome"] == "good":
        return read()
    with pytest.raises(BackupError) as caught:
        read()
    assert type(caught.value) is OUTCOMES[case["outcome"]]
    return None


@pytest.mark.parametrize("case", WAL["segments"], ids=named)
def test_a_segment_is_put_together_as_its_vector_says(case: dict[str, Any]) -> None:
    """What was committed last lies in tails: bytes too many, or too few, are another history."""
    segment, size = WAL["segment"], WAL["segment_bytes"]
    archive = archive_of_case(case).of(case.get("archive_id", ""))
    listing = archive.listing()
    assert listing.end_in(segment, size) == case["filled"]
    content = assert_ends_as(case, lambda: archive.read_segment(listing, segment, size))
    if content is not None:
        assert content == base64.b64decode(case["content"])


@pytest.mark.parametrize("case", WAL["histories"], ids=named)
def test_a_history_reads_as_its_vector_says(case: dict[str, Any]) -> None:
    """A wrong line of timelines leads to a branch that was given up."""
    archive = archive_of_case(case)
    listing = archive.listing()
    line = assert_ends_as(case, lambda: parse_history(archive.read_history(listing, 2), 2))
    if line is not None:
        assert [[timeline, lsn_text(left)] for timeline, left in line] == case["line"]


@pytest.mark.parametrize("case", WAL["documents"], ids=named)
def test_a_document_of_a_server_is_believed_as_its_vector_says(case: dict[str, Any]) -> None:
    """A base backup or a position of somebody else's decides what is brought back."""
    name = case["storage_name"]
    archive = archive_of_case(case, name.partition("/")[0].removeprefix("server."))

    def read() -> object:
        if case["kind"] == "position":
            return read_position(archive)
        document = archive.read_document(name)
        assert document is not None
        return BaseManifest.from_json(document)

    found = assert_ends_as(case, read)
    if isinstance(found, BaseManifest):
        document = archive.read_document(name) or {}
        assert found.to_json() == without(document, "mac")
