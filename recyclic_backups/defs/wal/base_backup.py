"""The asset ``base_backup``: its newest materialization is the newest verified base backup of the server."""

# Without the future import of annotations: Dagster compares the context's annotation with its classes.

from datetime import timedelta
from typing import Any

import dagster as dg

from recyclic_backups import wiring
from recyclic_backups.base_backup.back_up import BasedUp, back_up_server
from recyclic_backups.catalog.strangers import tell_strangers
from recyclic_backups.defs.backups.assets import source_of
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import OWNERS, LoggedProgress, dagster_errors, door_of
from recyclic_backups.foreign_text import markdown
from recyclic_backups.own_command import own_command
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.process import lower_priority

BASE_BACKUP = "base_backup"
GROUP = "wal"

_DESCRIPTION = """The files of the whole server, all its databases, from which WAL is replayed to any moment.

**Where does it come from?** The server sends its files over the replication protocol; they are sealed as they come,
and each file is compared with the server's own list. It counts once the archive has the WAL that belongs to it, and
once it was read again. The receiver (`wal receive`) has to be at work.

**Full or incremental?** Full once a week, incremental in between where the server can (PostgreSQL 17 with
`summarize_wal`).

**How does it come back?** `recyclic-backups recover --latest --data-directory DIR`, or `--to-time` for a moment."""

_RECOVER = """The server as it was when it wrote its last WAL, in a directory of its own:

```
{recover} --latest --data-directory DIR
```

As it was at a moment: `--to-time '2026-11-20 14:31:07'` in the place of `--latest`. The second before an accident is
found by `{recover} --look`."""

_ENOUGH = timedelta(hours=1)
"""Several databases of a server ask for the same: one that is younger is not taken again by a schedule or sensor."""


def base_backup_asset(database: Database) -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        key=database.key(BASE_BACKUP),
        description=_DESCRIPTION,
        group_name=GROUP,
        kinds={"postgres"},
        owners=OWNERS,
        tags={"environment": database.settings.environment},
        # Not the pool of dumps: one of a large server takes hours, and the backup of the night has to be taken too.
        pool=f"base_{database.pool}",
    )
    def base_backup(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with dagster_errors(context, database.environment):
            now_settings = database.settings_now(door_of(context.run))
            lower_priority()
            repository = wiring.open_repository(now_settings)
            tell_strangers(repository.store, context.log.warning)
            by_itself = source_of(context.run) == "scheduled"
            done = back_up_server(
                now_settings.server,
                repository,
                None,
                wiring.base_backup_terms(now_settings),
                clock=database.now,
                progress=LoggedProgress(context.log),
                enough_since=database.now() - _ENOUGH if by_itself else None,
            )
        return dg.MaterializeResult(
            metadata=metadata_of(done), data_version=dg.DataVersion(done.base.base_id)
        )

    return base_backup


def metadata_of(done: BasedUp) -> dict[str, Any]:
    """What a person asks about it. Numbers have their unit in the key, so that the plots read well."""
    manifest = done.base.manifest
    return {
        "base_id": manifest.base_id,
        "kind": "incremental" if manifest.is_incremental else "full",
        **({} if manifest.parent is None else {"builds_on": manifest.parent}),
        "new": done.fresh,
        "stored_mb": round(manifest.stored_bytes / 1e6, 3),
        "read_mb": round(manifest.plain_bytes / 1e6, 3),
        "duration_s": round(manifest.duration_seconds, 2),
        "as_of": dg.MetadataValue.timestamp(manifest.as_of),
        "recover": dg.MetadataValue.md(_RECOVER.format(recover=own_command("recover"))),
        "needs_wal": f"{lsn_text(manifest.start_lsn)} to {lsn_text(manifest.stop_lsn)} of timeline {manifest.timeline}",
        "encrypted": manifest.key_id is not None,
        "system_identifier": manifest.system_identifier,
        **(
            {"notes": dg.MetadataValue.md("\n".join(f"- {markdown(note)}" for note in done.notes))}
            if done.notes
            else {}
        ),
    }
