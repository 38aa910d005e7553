"""Are ``recover.py`` and ``RECOVERY.md`` in the storage the ones that were put there? What else lies beside them?

People run that script with the key at hand, on the day on which this software is gone. Whoever can write into the
storage can change it, or lay a module beside it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from recyclic_backups import rescue
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import check_authentic
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, StorageError

_log = logging.getLogger(__name__)

_OUR_FILES = frozenset({*rescue.NAMES, "storage.json"})
_OUR_FOLDERS = frozenset(
    {"backups", "tiers", "attempts", "holds", "tombstones", "audit", "flags", "alerts", "report.html"}
)
_MOST_NAMED = 5
"""Strange files that one sentence names: somebody may have put a million there."""


@dataclass(frozen=True, slots=True)
class RescueFinding:
    """Something about the files of the rescue; ``damage`` if nothing but an edit explains it."""

    name: str
    problem: str
    damage: bool


def inspect_rescue(
    repository: Repository, backups: Callable[[], Iterable[Backup]]
) -> tuple[RescueFinding, ...]:
    """What is to be told about the files of the rescue, and about strange files beside them.

    ``backups`` are asked for only when a file differs from this release's: their manifests say which releases wrote
    into the storage. Raises StorageError.
    """
    findings = []
    for name in rescue.NAMES:
        problem, damage = _judge(repository, name, backups)
        if problem:
            findings.append(RescueFinding(name, problem, damage))
    if strange := tuple(islice(_strange(repository), _MOST_NAMED + 1)):
        named = ", ".join(ascii(each) for each in strange[:_MOST_NAMED])
        more = " and more" if len(strange) > _MOST_NAMED else ""
        findings.append(
            RescueFinding(
                "",
                f"what is not of this software lies in the storage: {named}{more}; a Python module among it would be "
                "run by `python3 recover.py` without -I: look at it, and delete what you do not know",
                damage=False,
            )
        )
    return tuple(findings)


def renew_rescue(
    repository: Repository, backups: Callable[[], Iterable[Backup]]
) -> tuple[RescueFinding, ...]:
    """Put this release's files of the rescue into the storage; returns, and logs, what was found in their places.

    Where something else was in their places, and cannot be replaced, that is told and stops no backup. Raises
    StorageError where nothing was.
    """
    findings = inspect_rescue(repository, backups)
    for finding in findings:
        _log.warning("%s", f"{finding.name}: {finding.problem}" if finding.name else finding.problem)
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


def _strange(repository: Repository) -> Iterable[str]:
    """What lies at the top of the storage and is neither ours nor a database's."""
    folders: dict[str, bool] = {}
    for item in repository.store.list():
        first, *inside = PurePosixPath(item.name).parts
        if not inside:
            if first not in _OUR_FILES:
                yield first
        elif first != "keys":
            folders[first] = folders.get(first, False) or inside[0] in _OUR_FOLDERS
    yield from (f"{folder}/" for folder, ours in folders.items() if not ours)
