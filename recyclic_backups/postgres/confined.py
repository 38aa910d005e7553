"""Started as a program of its own: takes rights away from itself, and becomes a throwaway server.

``python -I -S confined.py '<json>'`` with the fields of :class:`recyclic_backups.postgres.confinement.Confinement` and
``argv``. It imports nothing of ours, so that it starts in 20 ms, and runs no code between fork and exec of a process
with threads. The rules are those of Landlock (https://docs.kernel.org/userspace-api/landlock.html), which any process
may lay upon itself and nobody takes off again: children inherit them. Exit code 126 says that it could not.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import stat
import sys
from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on all architectures
VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
PATH_BENEATH, NET_PORT = 1, 2
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
ABSTRACT_UNIX_SOCKET, SIGNAL = 1 << 0, 1 << 1
_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Which version of Landlock the kernel has; 0 where it has none, or it is switched off."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc.syscall(CREATE_RULESET, None, 0, VERSION)))


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Port(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _ruleset(rules: dict[str, Any], version: int) -> int:
    """A descriptor of the rules. Rights that the kernel does not know yet cannot be handled, hence not taken."""
    rights_of_fs = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = _Ruleset(
        rights_of_fs,
        BIND_TCP | CONNECT_TCP if version >= 4 else 0,
        ABSTRACT_UNIX_SOCKET | SIGNAL if version >= 6 else 0,
    )
    size_bytes = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_libc.syscall(CREATE_RULESET, ctypes.byref(attributes), size_bytes, 0))
    reading = READ_FILE | READ_DIR
    for paths, rights in (
        (rules["read"], reading),
        (rules["write"], rights_of_fs & ~EXECUTE),
        (rules["execute"], EXECUTE | READ_FILE),
    ):
        for path in paths:
            try:
                opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue  # what is not there needs no right
            allowed = rights & rights_of_fs
            if not stat.S_ISDIR(os.fstat(opened).st_mode):
                allowed &= _OF_FILES
            beneath = _Beneath(allowed, opened)
            _checked(_libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(beneath), 0))
            os.close(opened)
    if version >= 4:
        port = _Port(BIND_TCP, rules["port"])
        _checked(_libc.syscall(ADD_RULE, ruleset, NET_PORT, ctypes.byref(port), 0))
    return ruleset


def main(text: str) -> None:
    """Become the server. Raises OSError where something could not be taken away."""
    rules = json.loads(text)
    version = abi() if rules["landlock"] else 0
    # While we still are who we were: the rules may name what the server's user cannot look into.
    ruleset = _ruleset(rules, version) if version else -1
    for name, limit in rules["limits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(number, (lowest, lowest))
    if rules["uid"] is not None:
        os.setgroups([])
        os.setresgid(rules["gid"], rules["gid"], rules["gid"])
        os.setresuid(rules["uid"], rules["uid"], rules["uid"])
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    if version:
        _checked(_libc.syscall(RESTRICT_SELF, ruleset, 0))
        os.close(ruleset)
    os.execvpe(rules["argv"][0], rules["argv"], dict(os.environ))  # noqa: S606 - a shell is the last thing it needs


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except OSError as error:
        sys.stderr.write(f"FATAL:  the server cannot be confined: {error}\n")
        sys.exit(126)
