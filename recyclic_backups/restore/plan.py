"""What a restore would do, as a value: shown before it touches something that exists. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.catalog.why import why_text
from recyclic_backups.dump.facts import read_system_identifier
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.code_warning import owned_code
from recyclic_backups.restore.last_duration import Measured, last_failure, last_measured

Action = Literal["beside", "replace", "merge"]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What goes where, from when it is, what is lost by it, and what is known of the backup.

    ``beside`` makes the new ``database``; ``replace`` swaps with it; ``merge`` puts rows of ``tables`` back into it.
    ``exists`` is whether there is such a database now; nobody has looked where nothing that exists is touched.
    ``newer`` is the newest backup, if it is newer and not known to be damaged. ``failure`` is the newest restore or
    drill of this backup, if that failed; ``measured`` how long one took the last time. ``code`` are sentences on whose
    code the backup brings; ``compared`` is the level of its fingerprint, ``off`` without one.
    """

    action: Action
    backup: Backup
    database: str
    server: Server
    exists: bool | None
    tables: tuple[str, ...]
    trust_owners: bool
    lost_seconds: float
    newer: Backup | None
    proven_at: datetime | None
    failure: Measured | None
    measured: Measured | None
    code: tuple[str, ...]
    compared: Literal["content", "counts", "off"]

    @property
    def touches_what_exists(self) -> bool:
        """Whether somebody has to say yes to it."""
        return self.action != "beside"

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        failed, measured = self.failure, self.measured
        return {
            "action": self.action,
            "backup_id": self.backup.backup_id,
            "as_of": to_text(self.backup.as_of),
            "labels": [f"{label.tier.value}/{label.partition}" for label in self.backup.labels],
            "stored_bytes": self.backup.manifest.stored_bytes,
            "database": self.database,
            "server": self.server.label,
            "exists": self.exists,
            "tables": list(self.tables),
            "lost_seconds": round(self.lost_seconds, 3),
            "newer": None if self.newer is None else self.newer.backup_id,
            "proven_at": None if self.proven_at is None else to_text(self.proven_at),
            "compared": self.compared,
            "last_failure": None
            if failed is None
            else {
                "what": failed.what,
                "checked_at": to_text(failed.check.checked_at),
                "reason": why_text(failed.check),
            },
            "last_time": None
            if measured is None
            else {
                "what": measured.what,
                "checked_at": to_text(measured.check.checked_at),
                "backup_id": measured.check.backup_id,
                "seconds": measured.check.duration_seconds,
            },
            "trust_owners": self.trust_owners,
            "code": list(self.code),
        }


def plan_restore(
    catalog: Catalog,
    backup: Backup,
    server: Server,
    database: str,
    *,
    action: Action,
    tables: Sequence[str] = (),
    trust_owners: bool = False,
    now: datetime,
) -> RestorePlan:
    """What would be done. Asks the server whether the database is there. Raises DatabaseError."""
    exists = None
    if action != "beside":
        with databases.maintenance(server) as connection:
            exists = databases.exists(connection, database)
    written = backup.manifest.fingerprint
    fingerprint = None if written is None else Fingerprint.from_json(written)
    newer = (each for each in catalog if each.as_of > backup.as_of and not each.known_damaged)
    return RestorePlan(
        action=action,
        backup=backup,
        database=database,
        server=server,
        exists=exists,
        tables=tuple(tables),
        trust_owners=trust_owners,
        lost_seconds=max(0.0, (now - backup.as_of).total_seconds()),
        newer=next(newer, None),
        proven_at=proven_at(backup, now),
        failure=last_failure(backup),
        measured=last_measured(backup, catalog, partial=action == "merge"),
        code=tuple(owned_code(fingerprint, trusted=trust_owners)),
        compared="off" if fingerprint is None else fingerprint.level,
    )


def require_its_server(found: Catalog, backup: Backup, server: Server) -> None:
    """Raises Refused for a backup of another server, where older ones are of this: who stood in its place wrote it.

    While a server is down, any user of its machine can listen on its port.
    """
    here, of = "", backup.manifest.server.system_identifier
    with suppress(DatabaseError), databases.maintenance(server) as connection:
        here = read_system_identifier(connection)
    older = [
        each for each in found if each.as_of < backup.as_of
    ]  # newer ones: this server came after that one
    ours = [each for each in older if each.manifest.server.system_identifier == here]
    if here and ours and of not in ("", here):
        raise Refused(
            f"{backup.backup_id} is of another server than {server.label} and {len(ours)} older backups: whoever "
            "answered in its place when it was taken wrote all that is in it, superusers too",
            f"restore one of those ({ours[0].backup_id} is the newest), or name this server by --to-server if you know "
            "that it was yours too",
        )
