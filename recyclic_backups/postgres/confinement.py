"""What a throwaway server may do: reach its own files, the programs of PostgreSQL, and nothing else.

A restored database brings code that strangers wrote. Whoever becomes superuser of the throwaway server by it, and that
is to be expected, finds no shell, no file of ours, no other process and no network beyond the server's own port.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from recyclic_backups.postgres import confined
from recyclic_backups.postgres.programs import Installation

# What programs of PostgreSQL read of a system: libraries, locales, time zones, extensions, names of users and hosts.
# Of /etc single files: a directory there may hold anybody's secrets.
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/share", "/usr/local/lib", "/usr/local/share",
    "/usr/local/pgsql", "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/passwd", "/etc/group",
    "/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/ssl/openssl.cnf", "/etc/locale.alias", "/dev/urandom", "/dev/random", "/dev/zero",
    "/proc/meminfo", "/proc/cpuinfo",
)  # fmt: skip
_LIMITS = {
    "RLIMIT_CORE": 0,
    # One file: a segment of a table has 1 GiB, and nothing else of a server comes near. Bounds a log that is written
    # in a circle, not the database.
    "RLIMIT_FSIZE": 4 << 30,
}


@dataclass(frozen=True, slots=True)
class Confinement:
    """What is left to a program: directories to write into, what to read besides, programs to run, a port."""

    write: tuple[Path, ...]
    read: tuple[Path, ...]
    execute: tuple[Path, ...]
    port: int

    @classmethod
    def of_server(
        cls, installation: Installation, homes: tuple[Path, ...], port: int, readable: tuple[Path, ...] = ()
    ) -> Confinement:
        """What a server of this installation needs that lives in ``homes`` and listens on ``port``."""
        return cls.of_program(installation, "postgres", homes, readable, port)

    @classmethod
    def of_program(
        cls,
        installation: Installation,
        name: str,
        writable: tuple[Path, ...],
        readable: tuple[Path, ...] = (),
        port: int = 0,
    ) -> Confinement:
        """What a program of this installation needs that writes and reads these directories and files."""
        directory = installation.directory.resolve()
        package = directory.parent.parent
        program = directory / name
        libraries = package.with_name(f"{package.name}.libs")  # of a wheel, beside its package
        # Debian's layout, wherever it lies: lib/postgresql/15/bin beside share/postgresql/15.
        share = directory.joinpath("../../../../share/postgresql", directory.parent.name).resolve()
        interpreter = _interpreter_of(program)
        return cls(
            write=(*writable, Path("/dev/null")),
            read=(directory.parent, libraries, share, *map(Path, _SYSTEM), *readable),
            execute=(program, *([interpreter] if interpreter else [])),
            port=port,
        )


def command(
    argv: list[str], confinement: Confinement | None, *, uid: int | None = None, gid: int | None = None
) -> list[str]:
    """The argument list that starts ``argv`` confined, as the user ``uid``; None confines nothing but core dumps."""
    rules = {
        "argv": argv,
        "uid": uid,
        "gid": gid,
        "limits": _LIMITS,
        "landlock": confinement is not None,
    }
    if confinement is not None:
        rules |= {
            name: [str(path) for path in getattr(confinement, name)] for name in ("write", "read", "execute")
        }
        rules["port"] = confinement.port
    return [sys.executable, "-I", "-S", confined.__file__, json.dumps(rules)]


def lacking(*, same_user: bool) -> str:
    """What keeps a throwaway server from being shut in on this machine, as a sentence; empty if nothing does.

    ``same_user``: it runs as the user of the backups, whose files and processes are then behind Landlock alone.
    """
    version = confined.abi()
    if version >= 6:
        return ""
    who = "as the user of the backups" if same_user else "as another user than the backups"
    if version == 0:
        return (
            f"this kernel has no Landlock: a throwaway server runs {who}, and whoever becomes superuser in it by "
            "code of a restored database can run programs and read what that user may read"
        )
    open_still = "signal its user's processes" if version >= 4 else "use the network"
    return (
        f"this kernel has Landlock {version}: code of a restored database can still {open_still} "
        "(Linux 6.12 shuts that too)"
    )


def _interpreter_of(program: Path) -> Path | None:
    """The dynamic loader that a program names (PT_INTERP, elf(5)): starting the program means executing both."""
    try:
        head = program.read_bytes()[: 64 << 10]
    except OSError:
        return None
    if head[:5] != b"\x7fELF\x02":  # 64 bits
        return None
    order = "<" if head[5] == 1 else ">"
    (table,) = struct.unpack_from(f"{order}Q", head, 32)
    size, count = struct.unpack_from(f"{order}HH", head, 54)
    for number in range(count):
        at = table + number * size
        (kind,) = struct.unpack_from(f"{order}I", head, at)
        if kind == 3:
            offset, _, _, length = struct.unpack_from(f"{order}QQQQ", head, at + 8)
            return Path(head[offset : offset + length].split(b"\0", 1)[0].decode()).resolve()
    return None
