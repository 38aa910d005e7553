"""Whether a base backup has to be taken before its time: WAL is of no use without one that is older. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from recyclic_backups.archive.documents import Gap
from recyclic_backups.base_backup.catalog import BaseBackup
from recyclic_backups.catalog.catalog import newest_good
from recyclic_backups.postgres.lsn import lsn_text


def why_due(bases: Sequence[BaseBackup], gaps: Iterable[Gap], now: datetime) -> str:
    """Why one is needed now, as a sentence; empty where none is. ``bases`` are newest first."""
    found = newest_good(bases, now)
    if found is None:
        return "there is no verified base backup, and WAL is of no use without one"
    newest = found.manifest
    for gap in gaps:
        if (gap.timeline, gap.to_lsn) > (newest.timeline, newest.start_lsn):
            return (
                f"WAL up to {lsn_text(gap.to_lsn)} of timeline {gap.timeline} is lost ({gap.reason}), and no recovery "
                "comes past it before the next base backup"
            )
    return ""
