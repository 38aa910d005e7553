"""What the asset's page shows of a backup. Numbers have their unit in the key, so that the plots read well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from recyclic_backups.catalog.layout import Layout
from recyclic_backups.config.settings import Settings
from recyclic_backups.dump.back_up import BackedUp
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.foreign_text import markdown, markdown_code
from recyclic_backups.health.finding import Level
from recyclic_backups.own_command import own_command

ANSWERED_AT = "answered_at"
"""Metadata of every answer to a check: ISO 8601 in UTC, not before any verdict in the storage that it knows of."""

SEVERITIES = {
    Level.FINE: dg.AssetCheckSeverity.WARN,  # Dagster asks for one of a check that passed, and shows it nowhere
    Level.NOTE: dg.AssetCheckSeverity.WARN,
    Level.WARNING: dg.AssetCheckSeverity.WARN,
    Level.CRITICAL: dg.AssetCheckSeverity.ERROR,
}
"""How Dagster calls the level of a finding."""

_SHOWN_TABLES = 200
"""A database with thousands of tables would fill Dagster's event log: the manifest has them all."""


def metadata_of(done: BackedUp, settings: Settings) -> dict[str, Any]:
    """Everything a person asks about the backup that a partition holds now."""
    manifest, label = done.backup.manifest, done.label
    metadata: dict[str, Any] = {
        "backup_id": manifest.backup_id,
        "late": label.late,
        "source": manifest.source,
        **({"reason": label.reason} if label.reason else {}),
        "restore": dg.MetadataValue.md(restore_note(done, settings)),
        "stored_mb": round(manifest.stored_bytes / 1e6, 3),
        "dumped_mb": round(manifest.plain_bytes / 1e6, 3),
        "compression_pct": manifest.compression_percent,
        "duration_s": round(manifest.duration_seconds, 2),
        "as_of": dg.MetadataValue.timestamp(manifest.as_of),
        "taken_at": dg.MetadataValue.timestamp(manifest.taken_at),
        "new_dump": done.fresh,
        "encrypted": manifest.encryption is not None,
        "pg_dump": manifest.programs.get("pg_dump", "unknown"),
        "server": manifest.server.version,
        "storage": f"{settings.storage_url.rstrip('/')}/{Layout(settings.database).backup(manifest.backup_id)}",
        "environment": settings.environment,
    }
    if label.promoted_from:
        metadata["promoted_from"] = label.promoted_from
    if manifest.is_closed:
        return metadata | {"contents": "sealed: no key at hand opens them (BACKUP_ENCRYPTION_KEY)"}
    if manifest.notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(f"- {markdown(note)}" for note in manifest.notes))
    return metadata | _contents(manifest.fingerprint)


def restore_note(done: BackedUp, settings: Settings) -> str:
    """Markdown: the exact commands that bring this backup back."""
    backup_id, database = done.backup.backup_id, markdown_code(settings.database)
    beside = own_command("restore", backup_id, "--into", f"restored_{done.backup.as_of:%Y%m%d}")
    instead = own_command("restore", backup_id, "--replace", "--yes")
    return f"""Beside the live database, which is not touched; compared with the fingerprint when it is done:

```
{beside}
```

In place of the live database {database}, which is kept under another name:

```
{instead}
```

One table only: add `--table schema.name` to the first. Without this software: `RECOVERY.md` in the storage."""


def _contents(document: Mapping[str, Any] | None) -> dict[str, Any]:
    if document is None:
        return {}
    fingerprint = Fingerprint.from_json(document)
    largest = sorted(fingerprint.tables.items(), key=lambda entry: (-entry[1].rows, entry[0]))
    return {
        "rows": fingerprint.rows,
        "dagster/row_count": fingerprint.rows,
        "tables": len(fingerprint.tables),
        "fingerprint": table(
            [
                dg.TableColumn("table", "string"),
                dg.TableColumn("rows", "int"),
                dg.TableColumn("content", "string", description="sum of the hashes of all rows"),
            ],
            [(name, each.rows, each.content or "not read") for name, each in largest[:_SHOWN_TABLES]],
        ),
    }


def table(columns: Sequence[dg.TableColumn], rows: Iterable[Sequence[Any]]) -> dg.TableMetadataValue:
    """Metadata that Dagster shows as a table."""
    names = [column.name for column in columns]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(names, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=columns),
    )
