"""The passphrase is changed while the power goes: the old one or the new one opens every backup."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from recyclic_backups.envelope import key_file
from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.envelope.passphrase import new_derivation
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.faults.site import Site, killed
from recyclic_backups_tests.house import KEY

NEW_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
STEPS = 24
"""More system calls than changing the passphrase of two data keys takes."""


def _opened_by(site: Site, key: str) -> set[str]:
    return {entry.key_id for entry in Keyring(LocalStore(site.storage), key).inventory() if entry.opens}


def _two_backups_with_keys_of_their_own(site: Site) -> None:
    site.operator.backup_id()
    store = LocalStore(site.storage)
    keyring = Keyring(store, KEY)
    secret = os.urandom(32)
    second, now = DataKey(key_id_of(secret), secret), datetime.now(UTC)
    content = key_file.wrap(second, KEY, new_derivation(KEY), now, now, keyring.storage_id())
    store.create(key_file.storage_name(second.key_id), content)
    keyring.rotate(KEY, now, adopt=[second.key_id])
    site.operator.backup_id()


@pytest.mark.parametrize("step", some(range(STEPS), {10}))
def test_a_rotation_killed_at_any_step(site: Site, step: int) -> None:
    """Loss prevented: every backup of the last year, encrypted with a key that nothing opens any more."""
    _two_backups_with_keys_of_their_own(site)
    everything = _opened_by(site, KEY)
    assert len(everything) == 2
    both = {"BACKUP_ENCRYPTION_KEY": NEW_KEY, "BACKUP_ENCRYPTION_OLD_KEYS": KEY}
    outcome = site.run("keys", "rotate", FAULT="kill", FAULT_STEP=str(step), **both)
    was_killed = killed(outcome)
    assert _opened_by(site, KEY) | _opened_by(site, NEW_KEY) == everything
    assert was_killed or _opened_by(site, NEW_KEY) == everything
    site.operator.variables |= both
    site.require_sound()
    assert site.operator.must("keys", "rotate").code == 0
    assert _opened_by(site, KEY) == set()
    site.operator.variables.pop("BACKUP_ENCRYPTION_OLD_KEYS")
    site.require_next_backup()
    site.require_sound()


@pytest.mark.parametrize("fault", some(["EIO", "ENOSPC"], {"ENOSPC"}))
@pytest.mark.parametrize("step", some([1, 2, 3, 9], {1}))
def test_a_rotation_on_a_failing_disk(site: Site, fault: str, step: int) -> None:
    """Loss prevented: the same, by a full disk."""
    _two_backups_with_keys_of_their_own(site)
    everything = _opened_by(site, KEY)
    both = {"BACKUP_ENCRYPTION_KEY": NEW_KEY, "BACKUP_ENCRYPTION_OLD_KEYS": KEY}
    outcome = site.run("keys", "rotate", FAULT=fault, FAULT_STEP=str(step), **both)
    assert outcome.code == 30, outcome.err
    assert _opened_by(site, KEY) | _opened_by(site, NEW_KEY) == everything
    site.operator.variables |= both
    site.require_sound()
