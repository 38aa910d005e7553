"""What makes a backup proven: its last restore or drill compared it with its fingerprint and found it equal. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from recyclic_backups.catalog.catalog import Backup, Catalog, is_of_the_future
from recyclic_backups.catalog.documents import Check


def newest_proven(catalog: Catalog, now: datetime) -> Backup | None:
    """The newest backup that was restored and found equal, and did not fail since."""
    return next((each for each in catalog.until(now) if proven_at(each, now) is not None), None)


def proven_at(backup: Backup, now: datetime) -> datetime | None:
    """When a backup was last restored and found equal; None if never, or if a later restore or drill failed.

    An attempt that passed without a comparison proves nothing and takes nothing away.
    """
    last = last_attempt((check for check in backup.checks if check.proves or not check.passed), now)
    return last.checked_at if last is not None and last.passed else None


def last_proof(catalog: Catalog, now: datetime) -> datetime | None:
    """When a restore of any backup was last proven. A backup of the future counts, if it was restored by now."""
    proofs = (proven_at(each, now) for each in catalog)
    return max((each for each in proofs if each is not None), default=None)


def unproven_since(catalog: Catalog, now: datetime) -> datetime:
    """Since when nothing was proven: the last proof, or the moment when the first backup was taken or adopted."""
    taken = [each.manifest.taken_at for each in catalog]
    expired = [each.as_of for each in catalog.expired if each.as_of is not None]
    return last_proof(catalog, now) or min([*taken, *expired], default=now)


def last_attempt(checks: Iterable[Check], now: datetime) -> Check | None:
    """The newest restore or drill; one of the future only if it failed, as it must hide no failure of today."""
    attempts = (
        each
        for each in checks
        if each.kind != "verify" and (not each.passed or not is_of_the_future(each.checked_at, now))
    )
    return max(attempts, key=lambda check: check.checked_at, default=None)
