"""Fingerprints of tables made up of rows, hashed as a server would: for what depends on how many rows changed."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.fingerprint.sketch import BUCKET_BITS, KEPT_BITS, KEPT_SHIFT, sketch_of


def table_of(rows: Collection[str], *columns: str, sketched: bool = True) -> TableFingerprint:
    """The fingerprint of a table with these rows, all different, and no null."""
    hashes = [
        int.from_bytes(blake2b(row.encode(), digest_size=8).digest(), "big", signed=True) for row in rows
    ]
    smallest: dict[int, int] = {}
    for each in hashes:
        bucket = each & BUCKET_BITS
        smallest[bucket] = min(each, smallest.get(bucket, each))
    sketch = sketch_of((bucket, each >> KEPT_SHIFT & KEPT_BITS) for bucket, each in smallest.items())
    return TableFingerprint(
        rows=len(rows),
        non_null=dict.fromkeys(columns or ("id", "text"), len(rows)),
        content=str(sum(hashes)),
        sketch=sketch if sketched else None,
    )
