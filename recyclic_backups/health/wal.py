"""The questions about the archive of WAL: is it received, is it whole, can a recovery begin, what does the server bear.

Pure. Asked where WAL_ARCHIVE is on; the checks of the asset ``wal_archive`` and health as a whole show the answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from recyclic_backups.catalog.catalog import is_of_the_future, newest_good
from recyclic_backups.catalog.proof import last_attempt
from recyclic_backups.catalog.recovery_point import seconds_between
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.health.finding import Finding, Level, alarm, critical, fine, note, warning
from recyclic_backups.health.thresholds import (
    BASE_AGE_SECONDS,
    PROOF_SECONDS,
    WAL_HELD_CRITICAL_BYTES,
    WAL_HELD_WARNING_BYTES,
    WAL_LEFT_CRITICAL_SHARE,
    WAL_LEFT_WARNING_SHARE,
    WAL_SILENT_CRITICAL_SECONDS,
    WAL_SILENT_WARNING_SECONDS,
)
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.texts.language import Bytes, Moment, Seconds, Untranslated

if TYPE_CHECKING:
    from recyclic_backups.archive.continuity import Hole
    from recyclic_backups.archive.status import WalStatus
    from recyclic_backups.base_backup.catalog import BaseBackup
    from recyclic_backups.postgres.slots import SlotState
    from recyclic_backups.recovery.windows import Window
    from recyclic_backups.retention.space_forecast import StoredWal


@dataclass(frozen=True, slots=True)
class WalFacts:
    """What is known of the server's WAL: ``status`` is None where none was ever received.

    ``bases`` are the base backups, newest first, and ``windows`` what they and the WAL reach on the server's own line.
    """

    status: WalStatus | None = None
    bases: tuple[BaseBackup, ...] = ()
    windows: tuple[Window, ...] = ()
    hidden_hole: Hole | None = None
    """WAL that is missing where names show no hole, so that no verified base backup leads to the end."""
    stored: StoredWal | None = None
    """What of it lies there, to tell how it grows; None where nobody knows how far it reaches."""
    is_checked: bool = True
    """False where no key was at hand to check what the archive says of itself."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether something is wrong that another look at the archive may show to be mended."""
        return self.newest_base is None or any(each.level is Level.CRITICAL for each in continuous(self))

    @property
    def newest_base(self) -> BaseBackup | None:
        """The newest whose last check passed."""
        return next((each for each in self.bases if each.good), None)

    def newest_base_by(self, now: datetime) -> BaseBackup | None:
        """The same, for who asks how old it is: one that a wrong clock dated in the future only where it is alone."""
        return newest_good(self.bases, now) or self.newest_base

    @property
    def reaches_until(self) -> datetime | None:
        """The newest moment to which a recovery comes, from a verified base backup on; None where there is none."""
        ends = [window.ends_at for window in self._good_windows if window.ends_at is not None]
        return max(ends, default=None)

    def reaches(self, moment: datetime) -> bool:
        """Whether a recovery from a verified base backup comes to that moment (aware)."""
        return any(
            window.ends_at is not None and window.starts_at <= moment <= window.ends_at
            for window in self._good_windows
        )

    @property
    def _good_windows(self) -> list[Window]:
        good = {each.base_id for each in self.bases if each.good}
        return [window for window in self.windows if any(each.base_id in good for each in window.bases)]

    @property
    def reaches_since(self) -> datetime | None:
        """The first moment of the window that ends at :attr:`reaches_until`."""
        until = self.reaches_until
        return next(
            (each.starts_at for each in self.windows if until is not None and each.ends_at == until), None
        )

    @property
    def stored_bytes(self) -> int:
        """What WAL and base backups take in the storage."""
        wal_bytes = 0 if self.status is None else self.status.stored_bytes
        return wal_bytes + sum(each.manifest.stored_bytes for each in self.bases)

    def to_json(self, now: datetime) -> dict[str, Any]:
        """For reports."""
        newest, status = self.newest_base_by(now), self.status
        until, since, slot = (
            self.reaches_until,
            self.reaches_since,
            None if status is None or status.server is None else status.server.slot,
        )
        return {
            "reaches_until": None if until is None else to_text(until),
            "age_seconds": None if status is None else status.age_seconds(now),
            "gaps": 0 if status is None else len(status.live_holes),
            "window_seconds": None if until is None or since is None else seconds_between(since, until),
            "newest_base": None if newest is None else newest.base_id,
            "newest_base_as_of": None if newest is None else to_text(newest.as_of),
            "stored_bytes": self.stored_bytes,
            "held_bytes": None if slot is None else slot.held_bytes,
        }


def wal_findings(facts: WalFacts, now: datetime) -> Iterator[Finding]:
    """Everything about WAL at ``now`` (aware)."""
    yield from recent(facts, now)
    yield from continuous(facts)
    yield from held(facts)
    yield from bases(facts, now)
    yield from proven(facts, now)


def recent(facts: WalFacts, now: datetime) -> Iterator[Finding]:
    """Whether the end of the WAL comes in."""
    position = None if facts.status is None else facts.status.position
    if facts.status is None or (position is None and not facts.status.damage):
        yield critical("wal_absent")
        return
    if position is None:
        return  # it is damaged, which is told
    age = max(0.0, seconds_between(position.heard_at, now))
    if age <= WAL_SILENT_WARNING_SECONDS:
        yield fine("recoverable", as_of=Moment(position.server_time), age=Seconds(age))
        return
    since = position.heard_at + timedelta(seconds=WAL_SILENT_WARNING_SECONDS)
    values = {"as_of": Moment(position.server_time), "age": Seconds(age)}
    yield alarm(age > WAL_SILENT_CRITICAL_SECONDS, "wal_silent", "", since, **values)


def unheard(facts: WalFacts, now: datetime) -> Finding | None:
    """Why nobody hears of the receiver, or can believe what it says; None while it is heard."""
    found = (*recent(facts, now), *(each for each in continuous(facts) if each.code == "wal_damaged"))
    return next((each for each in found if each.level is Level.CRITICAL), None)


def continuous(facts: WalFacts) -> Iterator[Finding]:
    """Whether it is whole, and is what was stored."""
    status = facts.status
    if status is None:
        return
    if status.damage:
        yield critical("wal_damaged", problem=Untranslated(status.damage))
    base, is_told = facts.newest_base, bool(status.damage)
    for hole in status.live_holes:
        is_behind_us = base is not None and base.manifest.start_lsn >= hole.to_lsn
        values = _values(hole)
        noticed = next((gap.noticed_at for gap in status.gaps if gap.from_lsn == hole.from_lsn), None)
        subject = f"{hole.timeline}/{values['from_lsn']}"
        if is_behind_us:
            yield note("wal_old_gap", subject, noticed, **values)
        else:
            is_told = True
            yield critical("wal_gap", subject, noticed, **values)
    hidden = facts.hidden_hole
    if hidden is not None and not is_told:
        values = _values(hidden)
        yield critical("wal_gap", f"{hidden.timeline}/{values['from_lsn']}", **values)
        return
    if not status.damage and not status.live_holes and status.stretches:
        first, last = status.stretches[0], status.stretches[-1]
        yield fine("wal_whole", from_lsn=lsn_text(first.start_lsn), to_lsn=lsn_text(last.end_lsn))


def held(facts: WalFacts) -> Iterator[Finding]:
    """What production's own disk bears for the receiver, where the server was asked."""
    server = None if facts.status is None else facts.status.server
    slot: SlotState | None = None if server is None else server.slot
    if slot is None:
        return
    if slot.wal_status == "lost":
        yield critical("wal_slot_lost")
        return
    kept = Bytes(slot.held_bytes)
    if slot.left_bytes is None:
        if slot.held_bytes > WAL_HELD_WARNING_BYTES:
            yield alarm(slot.held_bytes > WAL_HELD_CRITICAL_BYTES, "wal_held_without_limit", held=kept)
        else:
            yield fine("wal_held_little", held=kept)
        return
    share = slot.left_bytes / max(1, slot.left_bytes + slot.held_bytes)
    if share < WAL_LEFT_WARNING_SHARE:
        left = Bytes(max(0, slot.left_bytes))
        yield alarm(share < WAL_LEFT_CRITICAL_SHARE, "wal_held", held=kept, left=left)
    else:
        yield fine("wal_held_little", held=kept)


def bases(facts: WalFacts, now: datetime) -> Iterator[Finding]:
    """Whether there is a base backup to begin with, and how much WAL a recovery would replay."""
    newest = facts.newest_base_by(now)
    for each in facts.bases:
        last = next((check for check in reversed(each.checks) if check.kind == "verify"), None)
        if last is not None and not last.passed:
            why = Untranslated("; ".join(last.reasons))
            yield warning("base_damaged", each.base_id, last.checked_at, base_id=each.base_id, why=why)
    if facts.status is None:
        return
    if newest is None:
        yield critical("base_absent")
        return
    age = seconds_between(newest.as_of, now)
    if age > BASE_AGE_SECONDS:
        due = newest.as_of + timedelta(seconds=BASE_AGE_SECONDS)
        yield warning("base_old", "", due, base_id=newest.base_id, age=Seconds(age))
    else:
        yield fine("base_there", base_id=newest.base_id, age=Seconds(max(0.0, age)))


def proven(facts: WalFacts, now: datetime) -> Iterator[Finding]:
    """Whether a recovery from WAL was tried, and held what a dump of that moment holds."""
    drills = [check for each in facts.bases for check in each.checks if check.kind == "drill"]
    last = last_attempt(drills, now)
    if last is not None and not last.passed:
        why = Untranslated("; ".join(last.reasons))
        yield critical("pitr_failed", "", last.checked_at, base_id=last.backup_id, why=why)
        return
    proofs = [
        check.checked_at for check in drills if check.proves and not is_of_the_future(check.checked_at, now)
    ]
    first = min((each.as_of for each in facts.bases), default=now)
    since = max(proofs, default=first)
    waited = seconds_between(since, now)
    if waited > PROOF_SECONDS:
        due = since + timedelta(seconds=PROOF_SECONDS)
        yield warning("pitr_unproven" if proofs else "pitr_never_proven", "", due, unproven=Seconds(waited))


def _values(hole: Hole) -> dict[str, object]:
    return {
        "timeline": hole.timeline,
        "from_lsn": lsn_text(hole.from_lsn),
        "to_lsn": lsn_text(hole.to_lsn),
    }
