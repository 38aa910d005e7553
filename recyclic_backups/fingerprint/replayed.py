"""What a recovery by WAL may have of a fingerprint: sequences a little ahead, unlogged tables without rows. Pure.

https://www.postgresql.org/docs/15/sql-createtable.html (UNLOGGED); SEQ_LOG_VALS in the server's sequence.c.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from recyclic_backups.fingerprint.model import Fingerprint, SequenceFingerprint

LOGGED_AHEAD = 32
"""How many values of a sequence are logged, and so replayed, before they are given."""


def as_replayed(expected: Fingerprint, unlogged: Collection[str]) -> Fingerprint:
    """What has to be there after a recovery to the fingerprint's own moment.

    ``unlogged`` are tables by qualified name.
    """
    return replace(
        expected,
        tables={name: each for name, each in expected.tables.items() if name not in unlogged},
        sequences={name: _ahead(each) for name, each in expected.sequences.items()},
    )


def without(found: Fingerprint, unlogged: Collection[str]) -> Fingerprint:
    """The same without the tables that WAL does not have."""
    return replace(found, tables={name: each for name, each in found.tables.items() if name not in unlogged})


def _ahead(sequence: SequenceFingerprint) -> SequenceFingerprint:
    after = sequence.after
    if after is None or after.cycles:
        return sequence
    return replace(
        sequence,
        after=replace(after, last_value=after.last_value + LOGGED_AHEAD * after.increment, is_called=True),
    )
