"""The base backups in the storage, for the commands that speak of them. Nothing here can take one."""

from __future__ import annotations

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.audit.verification import Verification
from recyclic_backups.base_backup.catalog import BaseBackup, BaseBackups, load_base_backups
from recyclic_backups.base_backup.verify import BaseVerifyLevel, verify
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.quantities import human_seconds


def stored_bases(call: Invocation) -> list[tuple[WalArchive, BaseBackups]]:
    """The base backups of every server in the storage; what is damaged among them has been said."""
    found = []
    for system_identifier in servers_in(call.repository):
        archive = WalArchive(call.repository, system_identifier)
        found.append((archive, base_backups_of(archive)))
    return found


def base_backups_of(archive: WalArchive) -> BaseBackups:
    """The base backups of a server. Says on standard error what is damaged. Raises StorageError."""
    bases = load_base_backups(archive)
    for damage in bases.damage:
        render.warn(f"{'not known' if damage.lacks_key else 'damaged'}: {damage.name}: {damage.problem}")
    return bases


def base_meant(call: Invocation) -> tuple[WalArchive, BaseBackup] | None:
    """The base backup that ``ID`` is the id of; None where a dump is meant. Raises StorageError."""
    reference = (call.options.backup or "").upper()
    if not BACKUP_ID.fullmatch(reference) or any(each.backup_id == reference for each in call.catalog):
        return None
    for archive, bases in stored_bases(call):
        for base in bases.bases:
            if base.base_id == reference:
                return archive, base
    return None


def verify_and_say(
    call: Invocation, archive: WalArchive, base: BaseBackup, level: BaseVerifyLevel = "files"
) -> Verification:
    """Read a base backup again; the verdict is said as well."""
    with render.progress() as progress:
        verdict = verify(archive, base, level, clock=render.now, progress=progress)
    if verdict.error is not None:
        render.warn_of(base.base_id, verdict.error)
    elif not call.json:
        said = "every file is whole" if level == "files" else "every object is as it was stored"
        render.line(f"{base.base_id}  base backup: {said}, read in {human_seconds(verdict.duration_seconds)}")
    return verdict
