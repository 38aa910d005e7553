"""Base backups as the storage gives them back: damage is named, what is forged does not exist."""

from __future__ import annotations

import json

import pytest

from recyclic_backups.base_backup.catalog import manifest_name
from recyclic_backups.envelope.document import encode, summed
from recyclic_backups.errors import DamagedData
from recyclic_backups_tests.base_backup.conftest import Premises


def _flip(premises: Premises, name: str) -> None:
    """Change one byte in the middle of an object."""
    with premises.store.reader(name) as reader:
        content = bytearray(reader.read(1 << 30))
    content[len(content) // 2] ^= 1
    with premises.store.writer(name) as upload:
        upload.write(content)
        upload.commit()


@pytest.mark.parametrize("object_name", ["base.tar", "backup_manifest", ""])
def test_one_byte_that_differs_is_found_and_named(based: Premises, object_name: str) -> None:
    """Loss prevented: the disk that rots, noticed on the day of the recovery."""
    assert based.verify().passed
    [name] = [
        each
        for each in based.base_objects
        if each.endswith(".sealed") and (f"/{object_name}" in each if object_name else each[-20].isdigit())
    ]
    _flip(based, name)
    error = based.verify().error
    assert isinstance(error, DamagedData)
    assert name.rpartition("/")[2] in error.message
    [base] = based.bases.bases
    assert not base.good
    assert base.checks[-1].reasons == (error.message,)


def test_an_object_that_is_missing_is_found(based: Premises) -> None:
    """Loss prevented: a tablespace that somebody deleted."""
    name = next(each for each in based.base_objects if "/base.tar" in each)
    based.store.delete(name)
    error = based.verify().error
    assert isinstance(error, DamagedData)
    assert "is missing from the storage" in error.message


def test_the_archives_of_two_tablespaces_cannot_be_exchanged(based: Premises) -> None:
    """Attack: another object of ours, sealed with the right key, in the place of the one that is asked for."""
    [space] = [
        each for each in based.base_objects if each.endswith(".tar.zst.sealed") and "/base.tar" not in each
    ]
    main = next(each for each in based.base_objects if "/base.tar" in each)
    with based.store.reader(main) as reader, based.store.writer(space) as upload:
        upload.write(reader.read(1 << 30))
        upload.commit()
    assert isinstance(based.verify().error, DamagedData)


def test_what_nobody_signed_is_no_base_backup(based: Premises) -> None:
    """Attack: a manifest that is written by whoever can write to the storage, or edited by him."""
    [base] = based.bases.bases
    name = manifest_name(based.archive, base.base_id)
    document = json.loads(based.store.get(name))
    edited = {**document, "start_lsn": "0/1000028"}
    based.store.replace(name, encode(edited))
    assert based.bases.bases == ()
    assert [each.name for each in based.bases.damage] == [name]
    del edited["mac"]
    based.store.replace(name, encode(summed(edited, name)))
    assert based.bases.bases == ()
    assert [each.name for each in based.bases.damage] == [name]


def test_a_base_backup_put_under_another_id_or_server_is_none(based: Premises) -> None:
    """Attack: an older one shown as the newest."""
    [base] = based.bases.bases
    content = based.store.get(manifest_name(based.archive, base.base_id))
    name = manifest_name(based.archive, "20991231T000000Z-AAAAAA")
    based.store.create(name, content)
    assert [each.base_id for each in based.bases.bases] == [base.base_id]
    assert [each.name for each in based.bases.damage] == [name]


def test_a_verdict_that_nobody_signed_proves_nothing(based: Premises) -> None:
    """Attack: a damaged base backup that is called whole, so that retention lets the good one go."""
    [base] = based.bases.bases
    checks = [each for each in based.base_objects if "/checks/" in each]
    document = json.loads(based.store.get(checks[0]))
    for each in checks:
        based.store.delete(each)
    del document["mac"]
    based.store.create(checks[0], encode(summed(document, checks[0])))
    [base] = based.bases.bases
    assert not base.good
    assert [each.name for each in based.bases.damage] == checks


def test_a_base_backup_whose_manifest_is_gone_is_told(based: Premises) -> None:
    """Attack, and accident: a base backup that silently was never there."""
    [base] = based.bases.bases
    name = manifest_name(based.archive, base.base_id)
    based.store.delete(name)
    assert [each.name for each in based.bases.damage] == [name]
