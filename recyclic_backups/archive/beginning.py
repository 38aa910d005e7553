"""Where a receiver goes on: after what the archive has, on the server's own line of timelines, or not at all.

What is asked first is a segment that the archive knows, whole or in part: its bytes are compared before anything is
written. A clone and a copy of an older state share the system identifier and the timeline with production, and often
its slot; their WAL differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.archive_id import is_archive_id, new_archive_id
from recyclic_backups.archive.documents import Position, read_followed
from recyclic_backups.archive.listing import Listing, Tail
from recyclic_backups.archive.wal import parse_history, segment_name, segment_start, start_of, timeline_of
from recyclic_backups.errors import DamagedData, DatabaseError, NoUsableKey, Refused
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.replication import Identity, Replication

OTHER_HINT = (
    "a clone, or a copy of an older state, shares the system identifier: let it use another BACKUP_STORAGE; "
    "if it is production from now on, move the archive's folder away first"
)

_LEAST_KNOWN_BYTES = 256
"""Of less than this, mostly the header of a page, anybody knows what it is."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """A place to begin at. Everything before ``stored_lsn`` is stored; ``known`` is what the first segment must be.

    ``whose`` says where ``known`` comes from. ``gap_from`` is where the archive ended, if WAL between is lost.
    ``is_last`` is True of the last one that there is to try.
    """

    timeline: int
    start_lsn: int
    stored_lsn: int
    known: bytes = b""
    whose: str = ""
    tails: tuple[Tail, ...] = ()
    stored_bytes: int = 0
    gap_from: int | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class ArchiveEnd:
    """The last segment of the newest timeline of which there is WAL, and how much of it there is."""

    timeline: int
    segment: str
    start_lsn: int
    filled: int

    @property
    def lsn(self) -> int:
        """The position behind the last byte."""
        return self.start_lsn + self.filled


def archive_end(listing: Listing, segment_bytes: int) -> ArchiveEnd | None:
    """Where the archive ends; None for an empty one."""
    timelines = sorted(map(timeline_of, {*listing.segments, *listing.tails}))
    if not timelines:
        return None
    segment = listing.segments_of(timelines[-1])[-1]
    return ArchiveEnd(
        timelines[-1], segment, start_of(segment, segment_bytes), listing.end_in(segment, segment_bytes)
    )


def without_damage_at_its_end(
    archive: WalArchive, listing: Listing, segment_bytes: int, tell: Callable[[str], None]
) -> Listing:
    """The listing, but for objects at its end that cannot be believed: so it ends with something that we stored.

    Bytes of somebody else's under the name of a segment, be it the running one or one far ahead, would otherwise end
    the receiver. ``tell`` is told each of them, as a sentence. Raises StorageError.
    """
    nothing: list[str] = []
    for segment in sorted({*listing.segments, *listing.tails}, reverse=True):
        found = archive.authentic_part(listing, segment, segment_bytes)
        for error in found.damage.values():
            tell(f"damaged, and counts for nothing: {error.message}")
        nothing += found.damage
        if found.content:
            break
        # What is behind a beginning that is not there can be compared with nothing.
        nothing += (each.name for each in listing.tails.get(segment, ()))
    return listing.without(nothing)


def archive_id_for(
    archive: WalArchive, listing: Listing, position: Position | None, segment_bytes: int
) -> str:
    """Which archive goes on here: what most of its position, its end and its newest base backup say; or a new id.

    Each of them may be of an archive that was moved away, and laid back by somebody. Raises Refused where it cannot be
    told, StorageError.
    """
    end = archive_end(listing, segment_bytes)
    said = [
        "" if position is None else position.archive_id,
        "" if end is None else archive.id_in(listing, end.segment),
        _id_in_base_backups(archive),
    ]
    votes = Counter(each for each in said if is_archive_id(each)).most_common()
    if len(votes) > 1 and votes[0][1] == votes[1][1]:
        raise Refused(
            f"parts of two archives of server {archive.system_identifier} lie in the storage, and which one goes on "
            "cannot be told; nothing was written",
            "move the folder of the server in the storage away: the receiver begins a new archive",
        )
    return votes[0][0] if votes else new_archive_id()


def _id_in_base_backups(archive: WalArchive) -> str:
    listed = archive.repository.store.list(f"{archive.root}/base/")
    for name in sorted((each.name for each in listed if each.name.endswith("/manifest.json")), reverse=True):
        with suppress(DamagedData, NoUsableKey):
            found = (archive.read_document(name) or {}).get("archive_id")
            if is_archive_id(found):
                return str(found)
    return ""


def beginnings(
    archive: WalArchive,
    listing: Listing,
    replication: Replication,
    identity: Identity,
    segment_bytes: int,
    slot: str,
    *,
    is_proven: bool,
    position: Position | None,
) -> Iterator[Beginning]:
    """Where to begin, and where else if the server has removed that. ``is_proven``: the server has shown who it is.

    What the ``listing`` ends with is authentic. Raises Refused where this server's WAL cannot be what follows in the
    archive, or gives up too much of it (:func:`_require_failover`).
    """
    kept = replication.slot(slot)
    reserved_lsn = (
        kept.restart_lsn if kept is not None and kept.restart_lsn is not None else identity.flushed_lsn
    )
    reserved = Beginning(
        min((kept.timeline if kept is not None else None) or identity.timeline, identity.timeline),
        segment_start(reserved_lsn, segment_bytes),
        segment_start(reserved_lsn, segment_bytes),
        is_last=True,
    )
    end = archive_end(listing, segment_bytes)
    if end is None:
        yield reserved
        return
    timeline, left_at = _on_the_servers_line(replication, identity, end)

    def known_of(segment: str) -> bytes:
        return archive.authentic_part(listing, segment, segment_bytes).content

    if left_at is not None:
        # The server left that timeline before the archive's end, in a recovery: up to there both are the same.
        _require_failover(archive, end, timeline, left_at, position, segment_bytes)
        fork = segment_start(left_at, segment_bytes)
        before = segment_name(end.timeline, fork, segment_bytes)
        known = known_of(before)[: left_at - fork]
        if len(known) < _LEAST_KNOWN_BYTES:
            # Next to nothing to compare: the segment in front of it tells, and the timeline that ends with it.
            yield from _in_front_of(archive, listing, end.timeline, fork, segment_bytes)
            if not is_proven:
                raise Refused(
                    f"whether timeline {timeline} of this server follows timeline {end.timeline} of the archive "
                    f"cannot be told: it was begun at {lsn_text(left_at)}, where a segment begins, and the server "
                    "does not have the one in front of that any more; nothing was written",
                    OTHER_HINT,
                )
        target = segment_name(timeline, fork, segment_bytes)
        filled = listing.end_in(target, segment_bytes)
        yield Beginning(
            timeline,
            fork,
            fork + filled,
            known,
            f"timeline {end.timeline} up to {lsn_text(left_at)}",
            tuple(listing.tails.get(target, ())),
            filled,
        )
        end_lsn = left_at
    else:
        yield Beginning(
            end.timeline,
            end.start_lsn,
            end.lsn,
            known_of(end.segment),
            end.segment,
            tuple(listing.tails.get(end.segment, ())),
            end.filled,
        )
        end_lsn = end.lsn
        if end.filled == segment_bytes:
            yield Beginning(timeline, end.lsn, end.lsn)
    if reserved.start_lsn <= end_lsn:
        # What the archive has there is of the server's line, up to where that was left.
        before = segment_name(end.timeline, reserved.start_lsn, segment_bytes)
        content = known_of(before)
        if left_at is not None:
            content = content[: max(0, left_at - reserved.start_lsn)]
        yield replace(reserved, known=content, whose=before)
        return
    yield Beginning(reserved.timeline, reserved.start_lsn, reserved.start_lsn, gap_from=end_lsn, is_last=True)


def told_history(content: bytes, timeline: int) -> list[tuple[int, int]]:
    """:func:`parse_history` of what a server answers: whoever took its place may say anything. Raises DatabaseError."""
    try:
        return parse_history(content, timeline)
    except DamagedData as error:
        raise DatabaseError(f"what the server tells cannot be: {error.message}", retryable=True) from None


def _in_front_of(
    archive: WalArchive, listing: Listing, timeline: int, lsn: int, segment_bytes: int
) -> Iterator[Beginning]:
    """The segment that ends at a position, as a beginning; nothing where the archive does not have it."""
    start_lsn = lsn - segment_bytes
    name = segment_name(timeline, start_lsn, segment_bytes)
    if start_lsn >= 0 and name in listing.segments:
        known = archive.authentic_part(listing, name, segment_bytes).content
        if len(known) == segment_bytes:
            yield Beginning(timeline, start_lsn, lsn, known, name, stored_bytes=segment_bytes)


def _require_failover(
    archive: WalArchive,
    end: ArchiveEnd,
    timeline: int,
    left_lsn: int,
    position: Position | None,
    segment_bytes: int,
) -> None:
    """Raises Refused for a server that gives up more of what is stored than a failover does, unless somebody said so.

    A copy of production that was promoted where it stood an hour ago looks like production after a failover, byte for
    byte. But a standby that takes over lacks seconds: what was stored five minutes ago it has. Where the position does
    not tell when something was stored, a whole segment is too much.
    """
    if position is not None and position.timeline == end.timeline and position.settled_lsn:
        gives_up = left_lsn < position.settled_lsn
    else:
        gives_up = left_lsn + segment_bytes < end.lsn
    if not gives_up:
        return
    try:
        followed = read_followed(archive, timeline)
    except (DamagedData, NoUsableKey):
        followed = None
    known_id = archive.archive_id or ("" if position is None else position.archive_id)
    if (
        followed is not None
        and (followed.left_timeline, followed.left_lsn) == (end.timeline, left_lsn)
        and followed.archive_id in ("", known_id)  # older releases wrote none
    ):
        return
    raise Refused(
        f"this server left timeline {end.timeline} at {lsn_text(left_lsn)} for timeline {timeline}, and gives up what "
        f"is stored from there to {lsn_text(end.lsn)}: that is no failover, but a copy of production, or production "
        "brought back to an earlier moment; nothing was written",
        f"in the second case: recyclic-backups wal accept --server {archive.system_identifier} --timeline {timeline} "
        f"--left {end.timeline}@{lsn_text(left_lsn)} --yes; a copy needs another BACKUP_STORAGE",
    )


def _on_the_servers_line(
    replication: Replication, identity: Identity, end: ArchiveEnd
) -> tuple[int, int | None]:
    """The timeline to go on with; and where the server left the archive's one, if that was before the archive's end.

    Raises Refused where the server's WAL does not follow the archive's.
    """
    if identity.timeline == end.timeline:
        if identity.flushed_lsn < end.lsn:
            raise Refused(
                f"the WAL of this server ends at {lsn_text(identity.flushed_lsn)} of timeline {end.timeline}, and "
                f"the archive has it up to {lsn_text(end.lsn)}: that is another server's; nothing was written",
                OTHER_HINT,
            )
        return end.timeline, None
    if identity.timeline < end.timeline:
        raise Refused(
            f"this server is on timeline {identity.timeline}, and the archive has WAL of timeline {end.timeline}: "
            "it is not the server whose WAL that is; nothing was written",
            OTHER_HINT,
        )
    line = told_history(replication.history(identity.timeline), identity.timeline)
    later = [*(timeline for timeline, _ in line[1:]), identity.timeline]
    for (ancestor, left_at), following in zip(line, later, strict=True):
        if ancestor == end.timeline:
            return (following, left_at) if left_at < end.lsn else (end.timeline, None)
    raise Refused(
        f"timeline {end.timeline} of the archive is not in this server's history: another branch of it; "
        "nothing was written",
        OTHER_HINT,
    )
