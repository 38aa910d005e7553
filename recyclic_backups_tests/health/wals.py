"""Made-up WAL: facts about it, and an archive of it in a storage, as if a receiver had been at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recyclic_backups.archive.archive import WalArchive, packed
from recyclic_backups.archive.continuity import Hole
from recyclic_backups.archive.documents import (
    Gap,
    KeptFrom,
    Position,
    store_gap,
    store_kept_from,
    store_position,
)
from recyclic_backups.archive.status import WalStatus
from recyclic_backups.archive.wal import Stretch, segment_name
from recyclic_backups.base_backup.catalog import BaseBackup, manifest_name
from recyclic_backups.base_backup.manifest import BaseManifest, BaseObject
from recyclic_backups.base_backup.verify import record_base_check
from recyclic_backups.catalog.documents import Check
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.health.wal import WalFacts
from recyclic_backups.postgres.slots import ServerWal, SlotState
from recyclic_backups.recovery.windows import Line, Part, Window

MIB = 1 << 20


def base(as_of: datetime, *, start: int = MIB, passed: bool | None = True) -> BaseBackup:
    """A base backup, verified or found damaged or (None) never read again."""
    manifest = BaseManifest(
        base_id=f"{as_of:%Y%m%dT%H%M%SZ}-ABCDEF",
        system_identifier="7",
        parent=None,
        server_version=150018,
        segment_bytes=16 * MIB,
        timeline=1,
        start_lsn=start,
        stop_lsn=start + 100,
        as_of=as_of,
        taken_at=as_of + timedelta(minutes=1),
        duration_seconds=60,
        superuser="postgres",
        data_checksums=True,
        objects=(),
        key_id=None,
    )
    reasons = () if passed else ("base/1/2 differs",)
    checks = () if passed is None else (Check("verify", manifest.base_id, as_of, passed, reasons),)
    return BaseBackup(manifest, checks)


def wal(
    server_time: datetime | None,
    *bases: BaseBackup,
    hole: tuple[int, int] | None = None,
    slot: SlotState | None = None,
    damage: str = "",
) -> WalFacts:
    """What is known of WAL that reaches until ``server_time``; without one no receiver was ever at work."""
    position = None
    if server_time is not None:
        position = Position(1, 100 * MIB, server_time, server_time, 16 * MIB, 150018, "7")
    status = WalStatus(
        "7",
        position,
        (Stretch(1, 0, 100 * MIB),),
        () if hole is None else (Hole(1, *hole),),
        server=None if slot is None else ServerWal("7", False, 100 * MIB, slot),
        damage=damage,
        lineage=(1,),
    )
    line = Line((Part(1, 0, None),))
    reached = tuple(
        each.manifest for each in reversed(bases) if hole is None or each.manifest.start_lsn >= hole[1]
    )
    windows = (Window(line, reached, 100 * MIB, server_time, "position", 16 * MIB),) if reached else ()
    return WalFacts(status, bases, windows)


SEGMENT_BYTES = 16 * MIB
_FIRST_LSN = 1 << 32


@dataclass
class MadeUpWal:
    """An archive of WAL, filled as a receiver and base backups would fill it. Its end is at ``lsn``."""

    archive: WalArchive
    key: DataKey | None
    lsn: int = _FIRST_LSN

    @classmethod
    def of_days(
        cls, archive: WalArchive, now: datetime, *, days: int, bases: Sequence[int], segments_a_day: int
    ) -> MadeUpWal:
        """So many days of WAL up to ``now``, and base backups of so many days ago."""
        made = cls(archive, archive.repository.key_for_backups(now))
        for ago in range(days, 0, -1):
            if ago in bases:
                made.base_backup(now - timedelta(days=ago), verified_until=now)
            made.segments(segments_a_day)
        archive.store_tail(segment_name(1, made.lsn, SEGMENT_BYTES), 0, bytes(MIB), made.key)
        store_gap(archive, Gap(1, _FIRST_LSN - SEGMENT_BYTES, _FIRST_LSN, now, "the slot was gone"), made.key)
        store_kept_from(archive, KeptFrom(1, _FIRST_LSN), made.key)
        made.receive(now)
        return made

    def segments(self, count: int, content: bytes = b"x") -> None:
        """So many more of them. Nobody looks into these."""
        for _ in range(count):
            self.archive.store_segment(segment_name(1, self.lsn, SEGMENT_BYTES), packed(content), self.key)
            self.lsn += SEGMENT_BYTES

    def base_backup(self, as_of: datetime, *, verified_until: datetime, stored_bytes: int = 1) -> None:
        """A base backup that begins where the WAL ends, verified every day since."""
        manifest = replace(
            base(as_of).manifest,
            system_identifier=self.archive.system_identifier,
            start_lsn=self.lsn,
            stop_lsn=self.lsn + MIB,
            key_id=None if self.key is None else self.key.key_id,
            objects=(BaseObject("base.tar.zst", "data", stored_bytes, stored_bytes, "0" * 64),),
        )
        name = manifest_name(self.archive, manifest.base_id)
        document = self.archive.encode_document(name, manifest.to_json(), self.key)
        self.archive.repository.store.create(name, document)
        for number in range((verified_until - as_of).days):
            at = as_of + timedelta(days=number)
            check = Check("verify", manifest.base_id, at, True, details={"level": "files"})
            record_base_check(self.archive, check, manifest)

    def receive(self, now: datetime, *, timeline: int = 1) -> None:
        """What a receiver does every few seconds: it says how far it has come, and so that it lives."""
        position = Position(
            timeline, self.lsn, now, now, SEGMENT_BYTES, 150018, self.archive.system_identifier
        )
        store_position(self.archive, position, self.key)
