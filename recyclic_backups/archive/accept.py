"""A person's word that a server is production, where its receiver has reason to doubt it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import Followed, believed_position, store_followed, store_position
from recyclic_backups.audit.log import audited
from recyclic_backups.errors import Refused
from recyclic_backups.postgres.lsn import lsn_text


def accept_without_proof(archive: WalArchive, now: datetime) -> None:
    """From now on the server need not prove itself as it did; the next proof that it gives is remembered again.

    Raises Refused where the archive remembers none, NoUsableKey, StorageError.
    """
    position = believed_position(archive)
    if position is None or not position.proof:
        raise Refused(
            f"the archive of server {archive.system_identifier} asks its server for no proof: nothing was done"
        )
    key = archive.repository.key_for_backups(now)
    details = {"server": archive.system_identifier, "reason": f"without proof by {position.proof}"}
    with audited(archive.repository, "accept server", lambda: now, details=details):
        store_position(archive, replace(position, proof=""), key)


def accept_timeline(
    archive: WalArchive, timeline: int, left_timeline: int, left_lsn: int, now: datetime
) -> None:
    """The archive goes on along ``timeline``, though it gives up what is stored of another one from ``left_lsn`` on.

    It stays stored. Raises Refused where nothing of that kind is in question, NoUsableKey, StorageError.
    """
    if left_timeline not in archive.listing().timelines or left_timeline >= timeline:
        raise Refused(
            f"timeline {timeline} cannot follow timeline {left_timeline} in the archive of server "
            f"{archive.system_identifier}: nothing was done",
            "type what the receiver says when it refuses the server",
        )
    key = archive.repository.key_for_backups(now)
    position = believed_position(archive)
    archive_id = "" if position is None else position.archive_id
    left = f"{left_timeline}@{lsn_text(left_lsn)}"
    details = {"server": archive.system_identifier, "reason": f"timeline {timeline}, which left {left}"}
    with audited(archive.repository, "accept server", lambda: now, details=details):
        store_followed(archive, Followed(timeline, left_timeline, left_lsn, now, archive_id), key)
