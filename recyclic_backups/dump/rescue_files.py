"""Are ``recover.py`` and ``RECOVERY.md`` in the storage the ones that were put there?

People run that script with the key at hand, on the day on which this software is gone. Whoever can write into the
storage can change it. (What lies beside it is told by :mod:`recyclic_backups.catalog.strangers`.)
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from recyclic_backups import rescue
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import check_authentic
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, StorageError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RescueFinding:
    """Something about the files of the rescue; ``damage`` if nothing but an edit explains it."""

    name: str
    problem: str
    damage: bool


def inspect_rescue(
    repository: Repository, backups: Callable[[], Iterable[Backup]]
) -> tuple[RescueFinding, ...]:
    """What is to be told about the files of the rescue.

    ``backups`` are asked for only when a file differs from this release's: their manifests say which releases wrote
    into the storage. Raises StorageError.
    """
    findings = []
    for name in rescue.NAMES:
        problem, damage = _judge(repository, name, backups)
        if problem:
            findings.append(RescueFinding(name, problem, damage))
    return tuple(findings)


def changed_rescue_files(repository: Repository, backups: Callable[[], Iterable[Backup]]) -> tuple[str, ...]:
    """The files of the rescue that somebody changed, by name: for whoever looks often and tells people.

    One that cannot be read while the storage can is among them: what it would do is not known.
    """
    changed = []
    for name in rescue.NAMES:
        try:
            _, damage = _judge(repository, name, backups)
        except StorageError:
            damage = True
        if damage:
            changed.append(name)
    return tuple(changed)


def renew_rescue(
    repository: Repository, backups: Callable[[], Iterable[Backup]]
) -> tuple[RescueFinding, ...]:
    """Put this release's files of the rescue into the storage; returns, and logs, what was found in their places.

    Where something else was in their places, and cannot be replaced, that is told and stops no backup. Raises
    StorageError where nothing was.
    """
    findings = inspect_rescue(repository, backups)
    for finding in findings:
        _log.warning("%s: %s", finding.name, finding.problem)
    try:
        rescue.install(repository.store)
    except StorageError as unwritten:
        if not findings:
            raise
        _log.warning("the storage's files of the rescue could not be written: %s", unwritten.message)
    return findings


def _judge(repository: Repository, name: str, backups: Callable[[], Iterable[Backup]]) -> tuple[str, bool]:
    """What is wrong with a file, "" if nothing is, and whether it is damage."""
    try:
        present = rescue.stored(repository.store, name)
    except DamagedData as odd:
        return f"it is not what was put there ({odd.message}); the next backup replaces it", True
    if present is None:
        # A storage that has no backup yet has no such file either.
        return (
            ("it is missing; the next backup puts it there", False)
            if any(True for _ in backups())
            else ("", False)
        )
    if present == rescue.shipped(name):
        return "", False
    known, unknown = _hashes_in_manifests(repository, name, backups())
    if hashlib.sha256(present).hexdigest() in known:
        return "it is that of an older release; the next backup replaces it", False
    if known and not unknown:
        return (
            "it was changed: no release that wrote backups here put it there. Do not trust it; "
            "the next backup replaces it",
            True,
        )
    return (
        "it differs from this release's, and no backup that can be checked says whether it is an older release's "
        "or was changed. Do not trust it; the next backup replaces it"
    ), False


def _hashes_in_manifests(
    repository: Repository, name: str, backups: Iterable[Backup]
) -> tuple[set[str], bool]:
    """The hashes of the file in authentic manifests; and whether there are some that no key at hand can check."""
    known: set[str] = set()
    unknown = False
    for backup in backups:
        found = recorded_sha256(backup.manifest, name)
        if not found or found in known:
            continue
        manifest_name = repository.layout.manifest(backup.backup_id)
        try:
            check_authentic(
                backup.manifest.document,
                manifest_name,
                repository.keyring.for_reading,
                signed=backup.manifest.encryption is not None or repository.encrypt,
            )
            known.add(found)
        except NoUsableKey:
            unknown = True
        except BackupError:
            continue  # it was edited itself, and is told elsewhere
    return known, unknown


def recorded_sha256(manifest: Manifest, name: str) -> str:
    """What a manifest says of the file that was put beside its backup; "" in older ones."""
    return manifest.recover_sha256 if name == rescue.SCRIPT else manifest.instructions_sha256
