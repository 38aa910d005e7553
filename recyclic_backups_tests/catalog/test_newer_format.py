"""What a newer release wrote is refused in a sentence, and kept: nobody loses a backup by rolling back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recyclic_backups.dump.sweep import sweep
from recyclic_backups.envelope.document import canonical, encode
from recyclic_backups_tests.house import House
from recyclic_backups_tests.operator import PASSPHRASE, Operator

pytestmark = pytest.mark.small

NEWER = 3
"""One more than the newest format of a manifest; labels, checks, holds and keys are still at 1."""


def _as_a_newer_release_writes(path: Path, **changes: object) -> None:
    """Change a document's format, and what else that release may have changed."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "format": NEWER, **changes}))


@pytest.fixture
def newer(operator: Operator) -> str:
    """A backup whose manifest is of format 2, with objects named as nobody here would name them."""
    backup_id = operator.backup_id()
    (manifest,) = operator.storage.rglob(f"{backup_id}/manifest.json")
    _as_a_newer_release_writes(manifest, objects="described otherwise", server=None)
    return backup_id


def test_a_newer_manifest_is_refused_in_a_sentence(operator: Operator, newer: str) -> None:
    """Loss prevented: half of a backup restored as if it were all, by a program that guessed the rest."""
    listed = operator.must("list", "--json")
    assert listed.json == []
    assert f"format {NEWER}, this version reads up to 2" in listed.err
    for command in (("show", newer), ("verify", newer), ("restore", newer, "--into", "recyclic_beside")):
        outcome = operator.run(*command)
        assert outcome.code in (40, 60), (command, outcome)
        assert f"format {NEWER}, this version reads up to 2" in outcome.err, (command, outcome.err)
    everything = operator.run("verify", "--all")
    assert everything.code == 40
    assert f"format {NEWER}" in everything.out + everything.err


def test_a_newer_manifest_is_neither_swept_nor_expired(operator: Operator, newer: str) -> None:
    """Loss prevented: every backup since the upgrade, tidied up in the night after rolling it back."""
    old = time.time() - 500 * 86400
    for path in operator.storage.rglob("*"):
        if newer in str(path) and path.is_file():
            os.utime(path, (old, old))
    before = {name for name in operator.stored() if newer in name}
    assert len(before) >= 3
    operator.backup_id()
    plan = operator.must("expire", "--json").json
    assert not [each for each in plan if each["backup_id"] == newer and each["action"] == "expire"], plan
    operator.must("expire", "--yes")
    assert {name for name in operator.stored() if newer in name} == before


def test_a_newer_label_does_not_free_what_it_points_at(house: House) -> None:
    """Loss prevented: objects of an attempt whose label, which an older release cannot read, vouches for them."""
    backup_id = house.back_up().backup.backup_id
    layout, store = house.repository.layout, house.store
    for item in [item.name for item in store.list(layout.root)]:
        if "/tiers/" in item:
            label = json.loads(store.get(item))
            store.delete(item)
            store.create(item, json.dumps({**label, "format": 2}).encode())
    assert sweep(house.repository, "another server", datetime(2028, 1, 1, tzinfo=UTC)) == []
    assert [backup.backup_id for backup in house.catalog] == [backup_id]
    assert any("has format 2" in damage.problem for damage in house.catalog.damage)


def test_the_rescue_program_refuses_it_too(operator: Operator, newer: str) -> None:
    """Loss prevented: the last resort, guessing."""
    finished = subprocess.run(
        [sys.executable, str(operator.storage / "recover.py"), "extract", newer, "--output", "recovered"],
        cwd=operator.directory,
        env={"PATH": os.defpath, "BACKUP_ENCRYPTION_KEY": PASSPHRASE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode not in (0, 1), finished.stderr
    assert "format" in finished.stderr
    assert not list((operator.directory / "recovered").glob("*.dump"))


def test_a_newer_key_file_is_refused_in_a_sentence(operator: Operator) -> None:
    """Loss prevented: a second data key made beside one that is only too new, and neither opened by one release."""
    operator.backup_id()
    (key,) = (operator.storage / "keys").glob("*.json")
    document = {**json.loads(key.read_text()), "format": 2, "derivation": "of a newer kind"}
    document.pop("sha256")
    key.write_bytes(encode({**document, "sha256": hashlib.sha256(canonical(document)).hexdigest()}))
    outcome = operator.run("backup")
    assert outcome.code in (40, 41), outcome
    assert "has format 2, this version reads up to 1: a newer release wrote it" in outcome.err
    assert list((operator.storage / "keys").glob("*.json")) == [key]
