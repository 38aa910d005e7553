"""Made-up facts about WAL: how far it reaches, what is missing of it, what there is to replay it on."""

from __future__ import annotations

from datetime import datetime, timedelta

from recyclic_backups.archive.continuity import Hole
from recyclic_backups.archive.documents import Position
from recyclic_backups.archive.status import WalStatus
from recyclic_backups.archive.wal import Stretch
from recyclic_backups.base_backup.catalog import BaseBackup
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.catalog.documents import Check
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
