"""Plan and carry out the expiry of base backups and WAL, which belong to a server and not to one of its databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.archive.documents import Gap, gap_name, read_gaps, read_kept_from, store_kept_from
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import parse_history
from recyclic_backups.audit.log import append
from recyclic_backups.base_backup.catalog import (
    BaseBackup,
    folder_of_base,
    hold_name,
    load_base_backups,
    manifest_name,
)
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectExists, ObjectMissing
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.retention.deletion import require_gone
from recyclic_backups.retention.policy import Action
from recyclic_backups.retention.wal_policy import WalPlan, plan_wal
from recyclic_backups.texts.text import Text, say


@dataclass(frozen=True, slots=True)
class ServerExpiry:
    """What leaves of one server's base backups and WAL, or has left; ``spared`` were held while it ran."""

    system_identifier: str
    plan: WalPlan
    freed_bytes: int
    spared: tuple[str, ...] = ()

    @property
    def what_left(self) -> Text | None:
        """What left, as a sentence; None where nothing did."""
        bases, objects = len(self.gone), len(self.plan.wal)
        return say("expire.wal gone", bases=bases, objects=objects) if bases or objects else None

    @property
    def gone(self) -> list[str]:
        """Ids of the base backups that leave, or have left."""
        return [each.base_id for each in self.plan.leaving if each.base_id not in self.spared]

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        kept = self.plan.kept_from
        return {
            "system_identifier": self.system_identifier,
            "base_backups": [
                {
                    "base_id": each.base.base_id,
                    "action": "keep" if each.base.base_id in self.spared else each.action.value,
                    "reasons": [reason.text() for reason in each.reasons],
                }
                for each in self.plan.decisions
            ],
            "keeps_from": None if kept is None else {"timeline": kept.timeline, "lsn": lsn_text(kept.lsn)},
            "wal_objects": len(self.plan.wal),
            "freed_bytes": self.freed_bytes,
        }


def servers_of(repository: Repository, catalog: Catalog, system_identifier: str | None) -> list[str]:
    """The servers with a folder in the storage that are this database's: those that its backups name, and the one
    that answers now. Others' are for their databases to expire. Raises StorageError.
    """
    named = {backup.manifest.server.system_identifier for backup in catalog}
    return [each for each in servers_in(repository) if each in named or each == system_identifier]


def plan_servers(
    repository: Repository, servers: Iterable[str], keep: int, now: datetime
) -> list[ServerExpiry]:
    """What :func:`expire_servers` would do now. Changes nothing. Raises DamagedData, NoUsableKey, StorageError."""
    found = []
    for server in servers:
        archive = WalArchive(repository, server)
        decided = _planned(archive, keep, now)
        found.append(ServerExpiry(server, decided, _freed_by(archive, decided)))
    return found


def expire_servers(
    repository: Repository,
    servers: Iterable[str],
    keep: int,
    *,
    now: datetime,
    check_lock: Callable[[], None] = lambda: None,
    progress: Progress = SILENT,
) -> list[ServerExpiry]:
    """Delete what the plan of this moment lets go: base backups first, then WAL, the oldest first.

    Whatever stops it, what is left is whole: a base backup leaves before those that it builds on, and WAL from its
    beginning. Raises DamagedData, NoUsableKey before anything is deleted; StorageError.
    """
    found = []
    for server in servers:
        archive = WalArchive(repository, server)
        decided = _planned(archive, keep, now)
        progress.stage(f"deleting base backups and WAL of server {server}")
        found.append(_Deletion(archive, decided, now, check_lock).done())
    return found


def _planned(archive: WalArchive, keep: int, now: datetime) -> WalPlan:
    bases = load_base_backups(archive)
    if not bases.is_checked:
        raise NoUsableKey(
            "no base backup and no WAL expires while nothing can be checked: no key of the storage is at hand",
            "set BACKUP_ENCRYPTION_KEY to the passphrase the backups were made with",
        )
    listing = archive.listing()
    return plan_wal(bases.bases, listing, _histories(archive, listing), _gaps(archive), keep, now)


def _histories(archive: WalArchive, listing: Listing) -> dict[int, Sequence[tuple[int, int]]]:
    """The histories that can be read; what is of a timeline without one stays."""
    found: dict[int, Sequence[tuple[int, int]]] = {1: ()}
    for timeline in listing.histories:
        try:
            found[timeline] = parse_history(archive.read_history(listing, timeline), timeline)
        except (DamagedData, NoUsableKey):
            continue
    return found


def _gaps(archive: WalArchive) -> list[Gap]:
    """What was noted of lost WAL; nothing where that cannot be believed, and then it stays."""
    try:
        return read_gaps(archive)
    except (DamagedData, NoUsableKey):
        return []


def _freed_by(archive: WalArchive, decided: WalPlan) -> int:
    store, leaving = archive.repository.store, frozenset(decided.wal)
    folders = (folder_of_base(archive, each.base_id).path for each in decided.leaving)
    of_bases = sum(item.size_bytes for folder in folders for item in store.list(f"{folder}/"))
    return of_bases + sum(item.size_bytes for item in store.list(f"{archive.wal}/") if item.name in leaving)


class _Deletion:
    """The deletions of one server."""

    def __init__(
        self, archive: WalArchive, decided: WalPlan, now: datetime, check_lock: Callable[[], None]
    ) -> None:
        self._archive, self._store = archive, archive.repository.store
        self._decided, self._now, self._check_lock = decided, now, check_lock
        self._freed_bytes = 0
        self._spared: list[str] = []

    def done(self) -> ServerExpiry:
        """Carry it out."""
        decided = self._decided
        for base in decided.leaving:
            self._check_lock()
            # Somebody may have held it, or what builds on it, since.
            if self._is_held(base) or any(self._builds_on(each, base) for each in self._spared):
                self._spared.append(base.base_id)
            else:
                self._remove(base)
        # A hold that came meanwhile keeps WAL too: the next run knows it.
        if not self._spared:
            self._remove_wal()
        return ServerExpiry(self._archive.system_identifier, decided, self._freed_bytes, tuple(self._spared))

    def _builds_on(self, base_id: str, parent: BaseBackup) -> bool:
        found = next(each.base for each in self._decided.decisions if each.base.base_id == base_id)
        return found.manifest.parent == parent.base_id

    def _is_held(self, base: BaseBackup) -> bool:
        """Whether there is a hold now that the plan did not know; whatever it says: the next run reads it."""
        if base.hold is not None:
            return False  # it is over, as the plan has judged
        name = hold_name(self._archive, base.base_id)
        return any(True for _ in self._store.list(name)) or any(True for _ in self._store.strange(name))

    def _remove(self, base: BaseBackup) -> None:
        """Checks, then the manifest, from when on it does not exist, then the objects, which are orphans by then."""
        folder = f"{folder_of_base(self._archive, base.base_id).path}/"
        manifest = manifest_name(self._archive, base.base_id)
        decision = next(each for each in self._decided.decisions if each.base is base)
        append(
            self._archive.repository,
            "expire",
            "begun",
            self._now,
            backup_id=base.base_id,
            details={"reasons": [each.text() for each in decision.reasons], "kind": "base backup"},
        )
        listed = list(self._store.list(folder))
        for item in listed:
            if "/checks/" in item.name:
                self._store.delete(item.name)
        try:
            content = self._store.get(manifest)
        except ObjectMissing:
            return  # another run is at it
        self._store.delete(manifest)
        if self._is_held(base):
            # Held in this very moment: whoever did has seen the manifest, and must find it again.
            with suppress(ObjectExists):
                self._store.create(manifest, content)
            self._spared.append(base.base_id)
            return
        for item in listed:
            self._store.delete(item.name)
        self._store.delete(hold_name(self._archive, base.base_id))
        require_gone(self._store, folder)
        freed_bytes = sum(item.size_bytes for item in listed)
        self._freed_bytes += freed_bytes
        append(
            self._archive.repository,
            "expire",
            "done",
            self._now,
            backup_id=base.base_id,
            details={"freed_bytes": freed_bytes, "kind": "base backup"},
        )

    def _remove_wal(self) -> None:
        decided = self._decided
        if not decided.wal:
            return
        self._check_lock()
        kept_from = decided.kept_from
        if kept_from is not None and kept_from != self._known_kept_from():
            # First: WAL that is missing because of this is no hole.
            key = self._archive.repository.key_for_backups(self._now)
            store_kept_from(self._archive, kept_from, key)
        sizes = {item.name: item.size_bytes for item in self._store.list(f"{self._archive.wal}/")}
        for name in decided.wal:
            self._store.delete(name)
            self._freed_bytes += sizes.get(name, 0)
        for gap in decided.gaps:
            self._store.delete(gap_name(self._archive, gap))

    def _known_kept_from(self) -> object:
        try:
            return read_kept_from(self._archive)
        except (DamagedData, NoUsableKey):
            return None


def expires_nothing(found: Sequence[ServerExpiry]) -> bool:
    """Whether no server loses anything."""
    return not any(
        each.plan.wal or any(decision.action is Action.EXPIRE for decision in each.plan.decisions)
        for each in found
    )
