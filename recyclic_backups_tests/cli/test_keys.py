"""Keys at the command line: rotation rewraps and rewrites nothing."""

from __future__ import annotations

import hashlib

import pytest

from recyclic_backups_tests.operator import PASSPHRASE, Operator

pytestmark = pytest.mark.small

NEW = "a new passphrase that nobody has seen"


def _hashes(operator: Operator) -> dict[str, str]:
    return {
        name: hashlib.sha256((operator.storage / name).read_bytes()).hexdigest()
        for name in operator.stored()
        if not name.startswith("keys/") and "/checks/" not in name
    }


def test_after_a_rotation_the_former_passphrase_opens_nothing_and_no_backup_was_rewritten(
    operator: Operator,
) -> None:
    """Loss prevented: a leaked passphrase that still opens everything, or terabytes uploaded again."""
    operator.backup_id()
    before = _hashes(operator)
    both = {"BACKUP_ENCRYPTION_KEY": NEW, "BACKUP_ENCRYPTION_OLD_KEYS": PASSPHRASE}
    assert len(operator.must("keys", "rotate", "--json", **both).json["rotated"]) == 1
    assert _hashes(operator) == before
    assert operator.run("verify", BACKUP_ENCRYPTION_KEY=PASSPHRASE).code == 41
    operator.must("verify", BACKUP_ENCRYPTION_KEY=NEW)
    (key,) = operator.must("keys", "list", "--json", BACKUP_ENCRYPTION_KEY=NEW).json
    assert key["opens"] is True
    assert operator.must("keys", "list", "--json", BACKUP_ENCRYPTION_KEY=PASSPHRASE).json[0]["opens"] is False


def test_a_rotation_without_the_former_passphrase_is_refused(operator: Operator) -> None:
    """Loss prevented: keys replaced by somebody who could not open them."""
    operator.backup_id()
    before = operator.stored()
    outcome = operator.run("keys", "rotate", BACKUP_ENCRYPTION_KEY=NEW)
    assert outcome.code == 41
    assert "BACKUP_ENCRYPTION_OLD_KEYS" in outcome.err
    assert operator.stored() == before
    operator.must("verify")


def test_a_changed_passphrase_without_rotation_stops_the_backup(operator: Operator) -> None:
    """Loss prevented: a second data key made in silence, and old backups that nobody can open any more."""
    operator.backup_id()
    outcome = operator.run("backup", BACKUP_ENCRYPTION_KEY=NEW)
    assert outcome.code == 41
    assert len(operator.must("list", "--json").json) == 1


def test_generated_keys_differ_and_are_accepted(operator: Operator) -> None:
    """Loss prevented: a generator that gives everybody the same key."""
    first, second = (operator.must("keys", "generate").out.strip() for _ in range(2))
    assert first != second
    operator.must("validate", BACKUP_ENCRYPTION_KEY=first)


def test_listing_keys_of_an_empty_storage_is_no_error(operator: Operator) -> None:
    """Loss prevented: a newcomer's first look ends in an error."""
    operator.storage.mkdir()
    assert operator.must("keys", "list", "--json").json == []
