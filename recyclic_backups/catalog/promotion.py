"""Which existing backup a weekly or monthly partition takes, and why. Pure.

One dump, many tiers (invariant 9): a tier above the daily one points at a backup that is there already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Label
from recyclic_backups.catalog.proof import proven_at


@dataclass(frozen=True, slots=True)
class Promotion:
    """The backup to label, the daily label it is taken from if there is one, and why another was not taken."""

    backup: Backup
    promoted_from: str | None
    reason: str


def choose_promotion(
    catalog: Catalog, calendar: Calendar, tier: Tier, partition: str, *, proven_by: datetime | None = None
) -> Promotion | None:
    """The preferred day's backup, else the nearest good one of the same period; None when there is none.

    With ``proven_by`` (a feature flag) one that was restored and found equal by then goes before one that was not.

    Preferred is the Sunday of a week and the first of a month. A backup that did not verify is never promoted,
    nor one of another period: a label never says a time its content is not of.
    """
    preferred_day = calendar.preferred_day(tier, partition).isoformat()
    preferred = catalog.labelled(Tier.DAILY, preferred_day)
    label = catalog.labels.get((Tier.DAILY, preferred_day))
    candidates = [
        backup for backup in catalog if backup.good and calendar.contains(tier, partition, backup.as_of)
    ]
    proven = [each for each in candidates if proven_by is not None and proven_at(each, proven_by) is not None]
    fits = preferred is not None and label is not None and preferred.good and not label.late
    if (
        preferred is not None
        and fits
        and (not proven or preferred.backup_id in [each.backup_id for each in proven])
    ):
        return Promotion(preferred, f"{Tier.DAILY.value}/{preferred_day}", "")

    if fits:
        missing = f"the daily backup of {preferred_day} is not proven yet"
    elif preferred is None or label is None:
        missing = f"there is no daily backup of {preferred_day}"
    elif not preferred.good:
        missing = f"the daily backup of {preferred_day} did not verify"
    else:
        missing = f"the daily backup of {preferred_day} was taken late"
    due_at = calendar.scheduled_for(Tier.DAILY, preferred_day)
    if not candidates:
        return None
    nearest = min(proven or candidates, key=lambda backup: abs(backup.as_of - due_at))
    origin = next((each for each in nearest.labels if each.tier is Tier.DAILY and not each.late), None)
    return Promotion(
        nearest,
        f"{origin.tier.value}/{origin.partition}" if origin else None,
        f"{missing}; took the nearest good one of the same {_PERIOD[tier]}",
    )


_PERIOD = {Tier.DAILY: "day", Tier.WEEKLY: "week", Tier.MONTHLY: "month", Tier.CHECKPOINT: "checkpoint"}


def takes_over(present: Label | None, holder: Backup | None, late: bool, newcomer: Backup) -> bool:
    """Whether a newly verified backup takes a partition's label over from the one that has it.

    A partition's good backup is never lost by running it again: a late one does not replace one taken in time.
    """
    if present is None or holder is None or not holder.good:
        return True
    if late and not present.late:
        return False
    return newcomer.as_of >= holder.as_of
