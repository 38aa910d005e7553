"""How the archive of WAL is: up to when it reaches, where it has holes, what the server keeps for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from recyclic_backups.archive.archive import WalArchive, servers_in
from recyclic_backups.archive.archive_id import is_same_archive
from recyclic_backups.archive.continuity import Hole, holes, stretches
from recyclic_backups.archive.documents import (
    Gap,
    Position,
    believed_position,
    gaps_and_problem,
    read_kept_from,
    read_position,
)
from recyclic_backups.archive.listing import Listing
from recyclic_backups.archive.wal import Stretch, parse_history
from recyclic_backups.catalog.fields import fields_of
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import DamagedData, NoUsableKey, RecoveryError, UsageError
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.slots import ServerWal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WalStatus:
    """What there is of a server's WAL. ``server`` is None where it was not asked or does not answer."""

    system_identifier: str
    position: Position | None = None
    stretches: tuple[Stretch, ...] = ()
    holes: tuple[Hole, ...] = ()
    gaps: tuple[Gap, ...] = ()
    stored_bytes: int = 0
    server: ServerWal | None = None
    damage: str = ""
    """Why something of it cannot be believed, as a sentence; empty where nothing is wrong."""
    lineage: tuple[int, ...] = ()
    """The timelines that lead to the newest one, oldest first."""

    @property
    def live_holes(self) -> tuple[Hole, ...]:
        """Holes on the line that leads to the newest timeline: those of abandoned branches hurt nobody."""
        return tuple(each for each in self.holes if each.timeline in self.lineage)

    def age_seconds(self, now: datetime) -> float | None:
        """How much of the server's work is not stored for good; None where nobody knows."""
        if self.position is None:
            return None
        return max(0.0, (now - self.position.server_time).total_seconds())

    def to_json(self, now: datetime) -> dict[str, Any]:
        """``wal status --json``."""
        slot = None if self.server is None else self.server.slot
        return {
            "system_identifier": self.system_identifier,
            "position": None
            if self.position is None
            else {
                "timeline": self.position.timeline,
                "lsn": lsn_text(self.position.lsn),
                "server_time": to_text(self.position.server_time),
            },
            "age_seconds": self.age_seconds(now),
            "gaps": [_span(each.timeline, each.from_lsn, each.to_lsn) for each in self.live_holes],
            "noticed_gaps": [fields_of(each) for each in self.gaps],
            "stretches": [_span(each.timeline, each.start_lsn, each.end_lsn) for each in self.stretches],
            "stored_bytes": self.stored_bytes,
            "slot": None
            if slot is None
            else {
                "active": slot.active,
                "wal_status": slot.wal_status,
                "held_bytes": slot.held_bytes,
                "left_bytes": slot.left_bytes,
            },
            "damage": self.damage or None,
        }


def _span(timeline: int, from_lsn: int, to_lsn: int) -> dict[str, Any]:
    return {"timeline": timeline, "from_lsn": lsn_text(from_lsn), "to_lsn": lsn_text(to_lsn)}


def wal_status(archive: WalArchive, server: ServerWal | None, listing: Listing | None = None) -> WalStatus:
    """Look at the archive, whose ``listing`` may be known already.

    What cannot be believed is told, and believed nothing of. Raises StorageError, and NoUsableKey where the archive
    needs one.
    """
    listing = archive.listing() if listing is None else listing
    damage: list[str] = []

    def note(problem: DamagedData | NoUsableKey) -> None:
        if isinstance(problem, NoUsableKey):
            if archive.needs_key:
                raise problem
            if not archive.is_checked:
                return
        damage.append(problem.message)

    def read(reading: Callable[[], T], otherwise: T) -> T:
        try:
            return reading()
        except (DamagedData, NoUsableKey) as error:
            note(error)
        return otherwise

    position = read(lambda: read_position(archive), None)
    kept_from = read(lambda: read_kept_from(archive), None)
    known_id = "" if position is None else position.archive_id
    if kept_from is not None and not is_same_archive(kept_from.archive_id, known_id):
        # It would hide holes: of WAL that is missing there nothing was taken by retention.
        damage.append("kept_from.json is of another archive of this server: it is passed over")
        kept_from = None
    gaps, problem = gaps_and_problem(archive)
    if problem is not None:
        note(problem)
    lineage = read(lambda: _lineage(archive, listing), tuple(listing.timelines))
    found = [] if position is None else stretches(listing, position.segment_bytes)
    return WalStatus(
        archive.system_identifier,
        position,
        tuple(found),
        tuple(
            hole
            for hole in holes(found)
            # Around the WAL that a hold keeps.
            if kept_from is None or not kept_from.covers(hole.timeline, hole.to_lsn)
        ),
        tuple(gaps),
        listing.stored_bytes,
        server,
        "; ".join(damage),
        lineage,
    )


def _lineage(archive: WalArchive, listing: Listing) -> tuple[int, ...]:
    newest = max(listing.timelines, default=1)
    line = parse_history(archive.read_history(listing, newest), newest)
    return (*(timeline for timeline, _ in line), newest)


def _has_a_position(archive: WalArchive) -> bool:
    return believed_position(archive) is not None


def which_server(
    repository: Repository,
    asked: str | None,
    server: ServerWal | None,
    is_real: Callable[[WalArchive], bool] = _has_a_position,
) -> str:
    """The system identifier of the server whose archive is meant: the one named, the one that answers, or the only one.

    Of several only those count that have something for which ``is_real`` says so, by default a position that can be
    believed: anybody can make a folder. Raises RecoveryError where the storage has none of it, UsageError where
    somebody has to choose, StorageError.
    """
    found = servers_in(repository)
    if asked is None and server is not None:
        asked = server.system_identifier
    if asked is None:
        real = found
        if len(found) > 1:
            real = [each for each in found if is_real(WalArchive(repository, each))] or found
        if len(real) > 1:
            raise UsageError(
                f"the storage has WAL of {len(real)} servers: {', '.join(real)}", "give --server ID"
            )
        asked = real[0] if real else None
    if asked is None or asked not in found:
        raise RecoveryError(
            "there is no WAL in the storage" + (f" of server {asked}" if asked else ""),
            "start the receiver: recyclic-backups wal receive",
        )
    return asked
