"""What the catalog tells to somebody who remembers how it was. Pure.

A view of the storage (Dagster's history) remembers a backup id for each partition. What differs was done
elsewhere, by the command line or on another machine, or the view's own memory was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Label

SETTLED = timedelta(minutes=2)
"""How old a label is before it counts as news: whoever made it tells it first, right after making it."""

Remembered = Mapping[tuple[Tier, str], str]
"""The backup id that each partition is believed to have; whatever the view says of one without."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A partition that is believed to have a backup, and has none. ``reason`` is a sentence."""

    tier: Tier
    partition: str
    backup_id: str
    reason: str
    expired: bool


def new_labels(catalog: Catalog, remembered: Remembered, now: datetime) -> list[tuple[Label, Backup]]:
    """Labels of usable backups that the view does not know, in the order in which they were made."""
    backups = {backup.backup_id: backup for backup in catalog}
    found = [
        (label, backups[label.backup_id])
        for slot, label in catalog.labels.items()
        if label.backup_id in backups
        and label.backup_id not in catalog.tombstones
        and remembered.get(slot) != label.backup_id
        # The clock of another machine may be ahead: only what was just now is waited for.
        and abs(now - label.labelled_at) >= SETTLED
    ]
    return sorted(found, key=lambda entry: (entry[0].labelled_at, entry[0].tier, entry[0].partition))


def gone(catalog: Catalog, remembered: Remembered) -> list[Gone]:
    """Partitions whose backup is not there any more, with what became of it."""
    backups = {backup.backup_id for backup in catalog}
    damage = {each.name.rpartition("/backups/")[2].partition("/")[0]: each.problem for each in catalog.damage}
    found = []
    for (tier, partition), backup_id in sorted(remembered.items()):
        label = catalog.labels.get((tier, partition))
        if label is not None and label.backup_id in backups:
            continue
        missing_id = label.backup_id if label is not None else backup_id
        expired = missing_id in catalog.tombstones
        if expired:
            reason = f"the backup {missing_id} has expired"
        elif missing_id in damage:
            reason = f"the manifest of the backup {missing_id} is not usable: {damage[missing_id]}"
        elif label is not None:
            reason = f"the backup {missing_id} is not in the storage any more"
        else:
            reason = f"the storage has no label {tier.value}/{partition}"
        found.append(Gone(tier, partition, missing_id, reason, expired))
    return found


def last_verdict(backup: Backup, *, verifications: bool) -> datetime | None:
    """When a backup was last verified, or else when a restore or drill of it ended; None while there was none."""
    verdicts = (check.checked_at for check in backup.checks if (check.kind == "verify") is verifications)
    return max(verdicts, default=None)
