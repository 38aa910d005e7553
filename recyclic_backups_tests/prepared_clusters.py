"""Throwaway servers without initdb: each data directory is a copy of one that initdb made once in this process.

initdb takes a second of a processor, the copy a twentieth. Copies differ in their system identifiers, as what initdb
makes does; the superuser's password is the same for all, and its hash is one of few iterations: the usual 4096 would
be a third of what a connection costs, and there are tens of thousands. What initdb itself does is tested by
``postgres/test_scratch.py``, which takes no copies.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from recyclic_backups.postgres.scratch import SUPERUSER, ScratchCluster

initialize_with_initdb = ScratchCluster._initialize


class SmallSegments(ScratchCluster):
    """A server with segments of 1 MB, so that a few rows fill some."""


@contextmanager
def prepared(directory: Path) -> Iterator[None]:
    """Within the block new clusters are copies; what they are copied from lies below ``directory``, and stays there."""
    password = secrets.token_urlsafe(24)
    made: dict[tuple[object, ...], Path] = {}

    def copied(self: ScratchCluster, locale: str, settings: Mapping[str, str]) -> None:
        small = isinstance(self, SmallSegments)
        programs = self.installation.directory
        if programs.is_relative_to(self.home):  # a copy, of programs that the server's user cannot reach
            programs = Path(self.installation.version)
        kind = (programs, self._account, locale, small)
        if kind not in made:
            home = self._account.private_directory(directory)
            original = ScratchCluster(self.installation, home, home, self._account, password)
            initialize_with_initdb(original, locale, {})
            _hash_quickly(original, password)
            if small:
                _as_its_user(original, "pg_resetwal", ["--wal-segsize=1"])
            made[kind] = original.data_directory
        subprocess.run(["cp", "-a", "--", made[kind], self.data_directory], check=True)
        _give_identifier(self.data_directory, secrets.randbits(63))
        self._password = password
        sockets = {"unix_socket_directories": str(self.socket_directory)}
        small_log = {"min_wal_size": "2MB", "max_wal_size": "4MB"} if small else {}
        self.configure({**sockets, **settings, **small_log})

    ScratchCluster._initialize = copied  # type: ignore[method-assign]
    try:
        yield
    finally:
        ScratchCluster._initialize = initialize_with_initdb  # type: ignore[method-assign]


def _as_its_user(
    cluster: ScratchCluster, program: str, first: Sequence[str], last: Sequence[str] = (), asks: str = ""
) -> None:
    owner = cluster.data_directory.stat()
    subprocess.run(
        [cluster.installation.directory / program, *first, "-D", cluster.data_directory, *last],
        check=True,
        capture_output=True,
        input=asks,
        text=True,
        user=owner.st_uid,
        group=owner.st_gid,
        umask=0o077,
    )


def _hash_quickly(cluster: ScratchCluster, password: str) -> None:
    """Have the superuser's password kept as a hash of one iteration: how it is made is that of RFC 5802."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = [
        base64.b64encode(each).decode() for each in (salt, key, hmac.digest(salted, b"Server Key", "sha256"))
    ]
    kept = "SCRAM-SHA-256$1:{}${}:{}".format(*parts)
    _as_its_user(cluster, "postgres", ["--single"], ["postgres"], f"ALTER ROLE {SUPERUSER} PASSWORD '{kept}'")


def _give_identifier(data_directory: Path, identifier: int) -> None:
    """Where a server has its identifier: first in pg_control (pg_control.h), and in each segment's first page."""
    control = data_directory / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    # The sum is the last field, and nothing tells where that is: versions differ.
    end = next(
        at for at in range(200, 500) if _crc32c(content[:at]) == struct.unpack_from("=I", content, at)[0]
    )
    struct.pack_into("=Q", content, 0, identifier)
    struct.pack_into("=I", content, end, _crc32c(content[:end]))
    control.write_bytes(content)
    for segment in (data_directory / "pg_wal").glob("0*"):
        with segment.open("r+b") as file:
            file.seek(24)  # xlp_sysid, behind the short header (xlog_internal.h)
            file.write(struct.pack("=Q", identifier))


def _crc32c(content: bytes | bytearray) -> int:
    value = 0xFFFFFFFF
    for byte in content:
        value = (value >> 8) ^ _CRC32C[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _crc_of_byte(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC32C = [_crc_of_byte(each) for each in range(256)]
