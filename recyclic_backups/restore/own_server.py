"""Whether a backup is of the server that it is about to be restored onto.

While a server is down, any user of its machine can listen on its port, and the backup taken then holds what he wrote.
"""

from __future__ import annotations

from contextlib import suppress

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.dump.facts import read_system_identifier
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.database import maintenance


def require_own_server(catalog: Catalog, backup: Backup, server: Server) -> None:
    """Raises Refused for a backup of another server where older backups are of this one."""
    here, origin = "", backup.manifest.server.system_identifier
    with suppress(DatabaseError), maintenance(server) as connection:
        here = read_system_identifier(connection)
    # Not the newer ones: this server came after the backup's own then, as after pg_upgrade.
    older = [each for each in catalog if each.as_of < backup.as_of]
    ours = [each for each in older if each.manifest.server.system_identifier == here]
    if here and ours and origin not in ("", here):
        raise Refused(
            f"{backup.backup_id} is of another server than {server.label} and {len(ours)} older backups: whoever "
            "answered in its place when it was taken wrote all that is in it, superusers too",
            f"restore one of those ({ours[0].backup_id} is the newest), or name this server by --to-server if you know "
            "that it was yours too",
        )
