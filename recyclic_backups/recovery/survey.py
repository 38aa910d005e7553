"""What a recovery can begin with: read from the storage, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.archive_id import is_same_archive
from recyclic_backups.archive.continuity import Hole
from recyclic_backups.archive.documents import Gap, Position, gaps_and_problem, read_position
from recyclic_backups.archive.listing import Listing
from recyclic_backups.base_backup.catalog import BaseBackups, load_base_backups
from recyclic_backups.base_backup.chain import chain_of
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.errors import DamagedData, NoUsableKey, RecoveryError
from recyclic_backups.recovery.feed import Source
from recyclic_backups.recovery.windows import Line, Window, hole_after, line_of, timelines_of, windows_of


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
        return chain_of(self._manifests, base.base_id)

    @cached_property
    def _manifests(self) -> Mapping[str, BaseManifest]:
        return self.bases.by_id

    def line(self, timeline: int) -> Line:
        """A timeline with its ancestors. Raises DamagedData where its history is missing or damaged."""
        return line_of(timeline, lambda each: self.archive.read_history(self.listing, each))

    @cached_property
    def timelines(self) -> list[int]:
        """Every timeline that the archive has WAL of; the server was on the last of them last."""
        return timelines_of(self.listing)

    def windows(self, timeline: int | None = None) -> list[Window]:
        """What can be reached along a timeline, by default the one that the server was on last; oldest first.

        Raises RecoveryError where the archive has no WAL of it, DamagedData where nobody can tell where it came from.
        """
        if not self.timelines and timeline is None:
            return []
        wanted = self.timelines[-1] if timeline is None else timeline
        if wanted not in self.timelines:
            known = ", ".join(map(str, self.timelines))
            raise RecoveryError(
                f"there is no WAL of timeline {wanted} in the archive", f"there is some of {known}"
            )
        try:
            line = self.line(wanted)
        except DamagedData as error:
            others = [str(each) for each in self.timelines if each != wanted]
            if others:
                error.hint = f"--timeline follows another one; there is WAL of {', '.join(others)}"
            raise
        return windows_of(line, self.usable, self.listing, self.position, self.gaps, self.segment_bytes)

    def hidden_hole(self, windows: Sequence[Window]) -> Hole | None:
        """WAL that is missing after the newest verified base backup, where none leads to the end along ``windows``."""
        known = {each.base_id: each.good for each in self.bases.bases}
        newest = next((each.manifest for each in self.bases.bases if each.good), None)
        if newest is None or self.position is None or (newest.parent or newest.base_id) not in known:
            return None
        if any(
            window.ending in ("position", "archive") and any(known.get(each.base_id) for each in window.bases)
            for window in windows
        ):
            return None
        return hole_after(newest, windows, self.position)

    def branches(self) -> list[Window]:
        """The last window of each line that has WAL which the main one left behind: another --timeline reaches it."""
        found = []
        for timeline in self.timelines[:-1]:
            with suppress(DamagedData, NoUsableKey):
                windows = self.windows(timeline)
                if windows and windows[-1].end_lsn > self._left.get(timeline, 0):
                    found.append(windows[-1])
        return found

    @cached_property
    def _left(self) -> Mapping[int, int]:
        """Where the line that the server was on last left each timeline before."""
        parts = self.line(self.timelines[-1]).parts
        return {part.timeline: part.left_lsn for part in parts if part.left_lsn is not None}


def survey(
    repository: Repository, system_identifier: str, *, now: datetime, needs_key: bool = True
) -> Survey:
    """Read what there is; ``needs_key`` is that of the archive. Raises StorageError; what is damaged is noted, and not
    used.
    """
    archive = WalArchive(repository, system_identifier, needs_key=needs_key)
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
    if position is None and not damage:
        damage.append(
            "there is no position.json, which says up to where the server's WAL went: whether the end of it is "
            "missing cannot be told"
        )
    gaps, problem = gaps_and_problem(archive)
    if problem is not None:
        damage.append(f"gaps: {problem.message}")
    bases = load_base_backups(archive)
    archive = archive.of(next((each.manifest.archive_id for each in bases.bases), ""))
    if isinstance(position, Position) and not is_same_archive(position.archive_id, archive.archive_id):
        damage.append("position.json is of another archive of this server than the newest base backup")
        position = None
    damage += [f"{each.name}: {each.problem}" for each in bases.damage]
    return Survey(
        archive,
        archive.listing(),
        bases,
        position if isinstance(position, Position) else None,
        gaps,
        damage,
    )
