"""All backups of one database, and the questions one asks of them. Pure: what was loaded, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.errors import RecoveryError
from recyclic_backups.tiers import Tier

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Damage:
    """A stored document that is not what was written: where it lies and what is wrong with it."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup with what was said of it since: labels, checks, hold."""

    manifest: Manifest
    labels: tuple[Label, ...] = ()
    checks: tuple[Check, ...] = ()
    held: bool = False

    @property
    def backup_id(self) -> str:
        """Its id."""
        return self.manifest.backup_id

    @property
    def as_of(self) -> datetime:
        """The moment its content is of."""
        return self.manifest.as_of

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers it is labelled with, daily first."""
        return tuple(tier for tier in Tier if any(label.tier is tier for label in self.labels))

    @property
    def verified_at(self) -> datetime | None:
        """When it was last found whole; None when never, or when a later check found it damaged."""
        return _standing(self.checks)

    @property
    def proven_at(self) -> datetime | None:
        """When it was last restored and found equal; None when never, or when a later proof failed."""
        return _standing(
            tuple(check for check in self.checks if check.proves or check.kind != "verify"), proof=True
        )

    @property
    def good(self) -> bool:
        """Whether the last check of its bytes passed: what labels, promotion and retention may build on."""
        return self.verified_at is not None


def _standing(checks: tuple[Check, ...], *, proof: bool = False) -> datetime | None:
    if not checks:
        return None
    newest = max(checks, key=lambda check: check.checked_at)
    if not newest.passed:
        return None
    passed = [check.checked_at for check in checks if check.passed and (check.proves or not proof)]
    return max(passed, default=None)


@dataclass(frozen=True)
class Catalog:
    """What the storage holds of one database: usable backups newest first, and the damage found while loading."""

    backups: tuple[Backup, ...]
    labels: Mapping[tuple[Tier, str], Label]
    damage: tuple[Damage, ...] = ()
    tombstones: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Backup]:
        return iter(self.backups)

    def __len__(self) -> int:
        return len(self.backups)

    def find(self, reference: str) -> Backup:
        """A backup by id, by a beginning of it that only one has, or ``latest``. Raises RecoveryError (60).

        ``latest`` is the newest one that is not known to be damaged.
        """
        if not self.backups:
            raise RecoveryError("there is no backup yet", "take one with: recyclic-backups backup")
        if reference == LATEST:
            sound = [backup for backup in self.backups if not self.known_damaged(backup)]
            if not sound:
                raise RecoveryError("every backup failed its last check", "see: recyclic-backups list")
            return sound[0]
        wanted = reference.upper()
        if wanted in self.tombstones:
            raise RecoveryError(f"backup {reference} has expired", "see: recyclic-backups list")
        found = [backup for backup in self.backups if backup.backup_id.startswith(wanted)]
        if wanted and len(found) == 1:
            return found[0]
        if wanted and len(found) > 1:
            raise RecoveryError(f"{len(found)} backups begin with {reference}", "write more of the id")
        raise RecoveryError(f"there is no backup {reference}", "see: recyclic-backups list")

    @staticmethod
    def known_damaged(backup: Backup) -> bool:
        """Whether the newest check of its bytes failed. A backup never checked is unknown, not damaged."""
        return bool(backup.checks) and not max(backup.checks, key=lambda check: check.checked_at).passed

    def labelled(self, tier: Tier, partition: str) -> Backup | None:
        """The backup that a tier's partition points at, if it is there."""
        label = self.labels.get((tier, partition))
        if label is None:
            return None
        return next((backup for backup in self.backups if backup.backup_id == label.backup_id), None)

    def newest_good(self) -> Backup | None:
        """The newest backup whose last check passed."""
        return next((backup for backup in self.backups if backup.good), None)

    def in_tier(self, tier: Tier) -> Catalog:
        """Only the backups labelled with one tier."""
        kept = tuple(backup for backup in self.backups if tier in backup.tiers)
        return Catalog(kept, self.labels, self.damage, self.tombstones)
