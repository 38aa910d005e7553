"""What is fuzzed: readers that must answer any bytes with a value or with one of our errors, and nothing else."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recyclic_backups.adopt.header import parse_header
from recyclic_backups.audit.event import Event
from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.documents import Check, Hold, Label, Tombstone
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.catalog.sealing import unseal, unseal_check
from recyclic_backups.compression import Compression, Compressor, Decompressor
from recyclic_backups.envelope import key_file
from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.document import check_signature, decode, encode, signed
from recyclic_backups.envelope.header import parse as parse_envelope_header
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader
from recyclic_backups.errors import BackupError, DamagedData
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.fingerprint.schema_text import schema_entries
from recyclic_backups.flags.flags import Switch
from recyclic_backups.notify import state as memory
from recyclic_backups.notify.channels import Service
from recyclic_backups.notify.delivery import update_state
from recyclic_backups.notify.incidents import Observation, Problem
from recyclic_backups.notify.severity import Severity

_SECRET = bytes(range(32))
KEY = DataKey(key_id_of(_SECRET), _SECRET)
_VECTORS = Path(__file__).parents[1] / "vectors"


@dataclass(frozen=True)
class Target:
    """A reader, and bytes to begin with. ``read`` raises anything but a BackupError only when it has a bug."""

    read: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _open_key(key_id: str) -> DataKey:
    if key_id == KEY.key_id:
        return KEY
    raise DamagedData("another key")


def _sealed(plaintext: bytes, chunk_bytes: int) -> bytes:
    sink = io.BytesIO()
    with SealedWriter(sink, KEY, "backup", "object", chunk_bytes=chunk_bytes) as writer:
        writer.write(plaintext)
        writer.finish()
    return sink.getvalue()


_PLAINTEXTS = (b"", b"x", b"y" * 4096, b"z" * 4097, bytes(range(256)) * 50)
_SEALED = tuple(_sealed(plaintext, 4096) for plaintext in _PLAINTEXTS)


def _envelope(data: bytes) -> None:
    reader = UnsealedReader(io.BytesIO(data), _open_key, "backup", "object")
    pieces = []
    while piece := reader.read(1000):
        pieces.append(piece)
    # Whatever opens is something we sealed, or the fuzzer has forged it.
    assert data in _SEALED, "bytes that nobody sealed were accepted"
    assert b"".join(pieces) in _PLAINTEXTS


def _compressed(data: bytes) -> None:
    reader = Decompressor(io.BytesIO(data), compressed=True, name="object")
    total = 0
    # What unfolds without end is for whoever knows the plain bytes to stop; here it must not be held in memory.
    while total < 1 << 22 and (piece := reader.read(1 << 16)):
        assert len(piece) <= 1 << 16
        total += len(piece)


def _frame(plaintext: bytes) -> bytes:
    sink = io.BytesIO()
    compressor = Compressor(sink, Compression())
    compressor.write(plaintext)
    compressor.finish()
    return sink.getvalue()


def _envelope_header(data: bytes) -> None:
    parse_envelope_header(data, "object")


_DOCUMENT = signed({"format": 1, "tier": "daily", "deep": [1, {"a": None}], "é": 1.5}, "a/name.json", KEY)


def _signed_document(data: bytes) -> None:
    document = decode(data, "a/name.json")
    check_signature(document, "a/name.json", _open_key)
    assert document == _DOCUMENT, "a document that nobody signed was accepted"


def _document(data: bytes) -> None:
    document = decode(data, "name")
    assert decode(encode(document), "name") == document


def _catalog_document(parse: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        value = parse(decode(data, "name"))
        assert parse(value.to_json()) == value

    return read


def _good_ones(name: str) -> tuple[bytes, ...]:
    """The documents of a file of vectors that are as they should be."""
    cases = json.loads((_VECTORS / name).read_text())["cases"]
    return tuple(base64.b64decode(case["content"]) for case in cases if case["outcome"] == "good")


_CHECK: str = json.loads((_VECTORS / "checks.json").read_text())["storage_name"]
_SEALED_MANIFESTS, _SEALED_CHECKS = _good_ones("manifests.json"), _good_ones("checks.json")


def _sealed_manifest(data: bytes) -> None:
    document = decode(data, "name")
    # Every field is looked at: what is sealed is opened, or refused.
    Manifest.from_json(document, lambda: unseal(document, _open_key)).to_json()


def _sealed_check(data: bytes) -> None:
    document = decode(data, _CHECK)
    Check.from_json(document, lambda: unseal_check(document, _CHECK, _open_key)).to_json()


def _flag(data: bytes) -> None:
    found = Switch.of(decode(data, "name"))
    assert Switch.of(found.to_json("fill_gaps")) == found


def _flag_outcome(data: bytes) -> None:
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    assert Switch(True, moment).after(decode(data, "name")).set_at == moment


def _memory(data: bytes) -> None:
    found = memory.read(data)
    assert found is None or memory.read(memory.to_document(found)) == found


def _remembered(moment: datetime) -> bytes:
    problem = Problem("age", "storage", Severity.CRITICAL, moment, {"reason": "none"})
    noted, *_ = update_state(
        memory.AlertState(),
        Observation((problem,)),
        RecoveryPoint(),
        (Service("json://localhost", 1),),
        moment,
    )
    return memory.to_document(noted).encode()


def _key_file(data: bytes) -> None:
    key_file.parse(data, KEY.key_id)


def _fingerprint(data: bytes) -> None:
    fingerprint = Fingerprint.from_json(decode(data, "name"))
    assert Fingerprint.from_json(fingerprint.to_json()) == fingerprint


def _schema_text(data: bytes) -> None:
    schema_entries(data.decode("utf-8", "surrogateescape"))


def _archive_header(data: bytes) -> None:
    parse_header(data)


def _example(name: str) -> bytes:
    return (Path(__file__).parent / "seeds" / name).read_bytes()


def targets() -> dict[str, Target]:
    """Every target by name."""
    label = encode(
        {
            "format": 1,
            "tier": "daily",
            "partition": "2026-11-22",
            "backup_id": "20261122T010003Z-K3X7QA",
            "labelled_at": "2026-11-22T01:00:03.000000Z",
            "late": False,
            "promoted_from": None,
            "reason": "",
        }
    )
    backup_id, moment = "20261122T010003Z-K3X7QA", datetime(2026, 11, 22, tzinfo=UTC)
    check = Check("verify", backup_id, moment, True)
    hold = Hold(backup_id, "an audit", moment, moment)
    gone = Tombstone(backup_id, moment, moment, 5, ("over",), (Label.from_json(json.loads(label)),))
    event = Event(
        2, moment, "backup", "done", Actor("root", "till", "ssh"), backup_id, {"tier": "daily"}, ("ab",)
    )
    wish = Switch(True, moment).to_json("fill_gaps")
    outcome = {
        **wish,
        "failures": 2,
        "tripped": "2 runs in a row failed with it",
        "tripped_at": wish["set_at"],
    }
    manifest = _example("manifest.json")
    fingerprint = encode(json.loads(manifest)["fingerprint"])
    key_files = json.loads((_VECTORS / "key_files.json").read_text())
    return {
        "envelope": Target(_envelope, _SEALED),
        "compressed": Target(_compressed, tuple(_frame(each * 100) for each in _PLAINTEXTS)),
        "envelope_header": Target(_envelope_header, tuple(each[:200] for each in _SEALED)),
        "signed_document": Target(_signed_document, (encode(_DOCUMENT),)),
        "document": Target(_document, (encode(_DOCUMENT), label)),
        "manifest": Target(_catalog_document(Manifest.from_json), (manifest,)),
        "sealed_manifest": Target(_sealed_manifest, _SEALED_MANIFESTS),
        "label": Target(_catalog_document(Label.from_json), (label,)),
        "check": Target(_catalog_document(Check.from_json), (encode(check.to_json()),)),
        "sealed_check": Target(_sealed_check, _SEALED_CHECKS),
        "hold": Target(_catalog_document(Hold.from_json), (encode(hold.to_json()),)),
        "tombstone": Target(_catalog_document(Tombstone.from_json), (encode(gone.to_json()),)),
        "event": Target(_catalog_document(Event.from_json), (encode(event.to_json()),)),
        "flags": Target(_flag, (encode(wish),)),
        "flag_outcomes": Target(_flag_outcome, (encode(outcome),)),
        "memory": Target(_memory, (_remembered(moment),)),
        "key_file": Target(_key_file, (json.dumps(key_files).encode()[:2000],)),
        "fingerprint": Target(_fingerprint, (fingerprint,)),
        "schema_text": Target(_schema_text, (_example("schema.sql"),)),
        "archive_header": Target(_archive_header, (_example("archive.head"),)),
    }


def survives(target: Target, data: bytes) -> None:
    """Feed the reader; one of our errors is a fine answer."""
    try:
        target.read(data)
    except BackupError:
        return
