"""``python -m recyclic_backups_tests.bench.sealed make|read FILE MIB``: random bytes, sealed and read again.

Random bytes cannot be compressed, so that reading shows what authenticating every chunk costs, and nothing else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.envelope.unseal import UnsealedReader

_KEY = DataKey("0" * 16, bytes(32))
_BACKUP_ID = "20260101T000000Z-AAAAAA"
_NAME = "main.dump.sealed"


def make(path: Path, size_mib: int) -> None:
    """Write the object."""
    block = os.urandom(1 << 20)
    with path.open("wb") as file, SealedWriter(file, _KEY, _BACKUP_ID, _NAME) as sealed:
        for _ in range(size_mib):
            sealed.write(block)
        sealed.finish()


def read(path: Path) -> None:
    """Authenticate every chunk of it."""
    with path.open("rb") as file:
        reader = UnsealedReader(file, lambda _key_id: _KEY, _BACKUP_ID, _NAME)
        while reader.read(1 << 20):
            pass


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        read(Path(sys.argv[2]))
