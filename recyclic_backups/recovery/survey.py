"""What a recovery can begin with: read from the storage, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from recyclic_backups.archive.archive import Listing, WalArchive
from recyclic_backups.archive.documents import Gap, Position, read_gaps, read_position
from recyclic_backups.base_backup.catalog import BaseBackups, load_base_backups
from recyclic_backups.base_backup.chain import chain_of
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.errors import DamagedData, NoUsableKey, RecoveryError
from recyclic_backups.recovery.feed import Source
from recyclic_backups.recovery.windows import Line, Window, lines_of, main_timeline, windows_of


@dataclass(frozen=True)
class Survey:
    """The WAL and the base backups of one server. ``damage`` are sentences about what could not be read."""

    archive: WalArchive
    listing: Listing
    bases: BaseBackups
    position: Position | None
    gaps: Sequence[Gap]
    damage: Sequence[str] = ()

    @property
    def source(self) -> Source:
        """What a recovery reads."""
        return Source(self.archive, self.listing)

    @property
    def segment_bytes(self) -> int:
        """How large the WAL segments are."""
        if self.position is not None:
            return self.position.segment_bytes
        if self.bases.bases:
            return self.bases.bases[0].manifest.segment_bytes
        raise RecoveryError("there is no base backup", "take one now: recyclic-backups base-backup")

    @cached_property
    def usable(self) -> list[BaseManifest]:
        """The base backups that can be recovered from: those that are not known to be damaged, with whole chains."""
        known = {each.base_id: each for each in self.bases.bases}
        found = []
        for each in self.bases.bases:
            try:
                chain = self.chain_of(each.manifest)
            except DamagedData:
                continue
            if not any(known[link.base_id].known_damaged for link in chain):
                found.append(each.manifest)
        return found

    def chain_of(self, base: BaseManifest) -> list[BaseManifest]:
        """The base backup and all that it builds on, in the order of pg_combinebackup. Raises DamagedData."""
        return chain_of((each.manifest for each in self.bases.bases), base.base_id)

    @cached_property
    def lines(self) -> list[Line]:
        """Every line that the archive has WAL of. Raises DamagedData."""
        return lines_of(self.listing, lambda timeline: self.archive.read_history(self.listing, timeline))

    def windows(self, timeline: int | None = None) -> list[Window]:
        """What can be reached along a timeline, by default the one that the server was on last; oldest first.

        Raises RecoveryError where the archive has no WAL of it.
        """
        wanted = main_timeline(self.listing, self.position) if timeline is None else timeline
        if wanted is None:
            return []
        line = next((each for each in self.lines if each.timeline == wanted), None)
        if line is None:
            known = ", ".join(str(each.timeline) for each in self.lines)
            raise RecoveryError(
                f"there is no WAL of timeline {wanted} in the archive", f"there is some of {known}"
            )
        return windows_of(line, self.usable, self.listing, self.position, self.gaps, self.segment_bytes)

    def branches(self) -> list[Window]:
        """The last window of each line that has WAL which the main one left behind: another --timeline reaches it."""
        main = main_timeline(self.listing, self.position)
        found = []
        for line in self.lines:
            windows = self.windows(line.timeline) if line.timeline != main else []
            if windows and windows[-1].end_lsn > self._left_at(line.timeline, main):
                found.append(windows[-1])
        return found

    def _left_at(self, timeline: int, main: int | None) -> int:
        line = next((each for each in self.lines if each.timeline == main), None)
        for part in line.parts if line is not None else ():
            if part.timeline == timeline and part.left_lsn is not None:
                return part.left_lsn
        return 0


def survey(repository: Repository, system_identifier: str, *, now: datetime) -> Survey:
    """Read what there is. Raises StorageError; what is damaged is noted, and not used."""
    archive = WalArchive(repository, system_identifier)
    damage: list[str] = []

    def read(what: str, reading: Callable[[], object]) -> object:
        try:
            return reading()
        except (DamagedData, NoUsableKey) as error:
            damage.append(f"{what}: {error.message}")
            return None

    position = read("how far the archive reaches", lambda: read_position(archive))
    if isinstance(position, Position) and position.server_time > now and position.written_at > now:
        damage.append("the archive's position is of the future: a clock is or was wrong")
    gaps = read("gaps", lambda: read_gaps(archive))
    bases = load_base_backups(archive)
    damage += [f"{each.name}: {each.problem}" for each in bases.damage]
    return Survey(
        archive,
        archive.listing(),
        bases,
        position if isinstance(position, Position) else None,
        gaps if isinstance(gaps, list) else [],
        damage,
    )
