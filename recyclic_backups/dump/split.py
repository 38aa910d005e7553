"""Which tables' data go into streams of their own, so that a dump and its restore can run in parallel. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recyclic_backups.postgres.names import qualified_name

SPLIT_BYTES = 64 << 20
"""Smaller tables stay in the main archive: starting another pg_dump costs as much as reading them."""

STREAMS_PER_JOB = 8
"""More streams than this balance nothing any better, and each is a session on the server."""


@dataclass(frozen=True, slots=True)
class TableSize:
    """An ordinary table and the bytes it takes on disk, indexes apart."""

    schema: str
    name: str
    size_bytes: int

    @property
    def qualified(self) -> str:
        """Its name in manifests and fingerprints."""
        return qualified_name(self.schema, self.name)

    @property
    def pattern(self) -> str:
        """Its name as a pattern of pg_dump that matches nothing else.

        Inside double quotes no character is special but the quote itself, which is doubled
        (https://www.postgresql.org/docs/15/app-psql.html#APP-PSQL-PATTERNS).
        """
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.schema, self.name))


def tables_to_split(sizes: Iterable[TableSize], jobs: int, split_bytes: int = SPLIT_BYTES) -> list[TableSize]:
    """The tables worth a stream of their own, largest first; none when there is one job only."""
    if jobs == 1:
        return []
    large = sorted(
        (table for table in sizes if table.size_bytes >= split_bytes),
        key=lambda table: (-table.size_bytes, table.qualified),
    )
    return large[: jobs * STREAMS_PER_JOB]
