"""Whose upload is this? A process holds a lock on the file it is writing, which ends with it however it ends.

flock(2) locks belong to the open file and are let go by the kernel. Only processes of the same running kernel are
judged by them, told by the file's name: over a network file system the locks of others may not reach us, and after
a restart of the machine nothing is known. There, age has to decide.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from recyclic_backups.storage.descent import open_file
from recyclic_backups.storage.names import PARTIAL_PREFIX


def new_partial_name() -> str:
    """A name for the temporary file of an upload by this process."""
    return f"{PARTIAL_PREFIX}{_kernel()}-{secrets.token_hex(8)}"


def claim(descriptor: int) -> bool:
    """Say that a new file is being written; False if it was taken for an abandoned one just before, and removed."""
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return os.fstat(descriptor).st_nlink > 0


def is_unclaimed(directory: int, last_part: str, name: str) -> bool:
    """Whether the process that wrote this temporary file is known to be gone.

    ``directory`` is the descriptor of its directory, ``name`` its whole name in the storage. Raises OSError and
    DamagedData if it cannot be read.
    """
    if not _kernel() or not last_part.startswith(f"{PARTIAL_PREFIX}{_kernel()}-"):
        return False
    try:
        descriptor = open_file(directory, last_part, name)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # in use, or no locks here
    finally:
        os.close(descriptor)
    return True


@lru_cache(maxsize=1)
def _kernel() -> str:
    """Some characters that stand for this run of this machine's kernel; empty where it does not tell."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(boot_id).hexdigest()[:8]
