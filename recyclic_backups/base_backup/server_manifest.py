"""The server's own manifest of a base backup: every file with its size and SHA-256. Pure.

https://www.postgresql.org/docs/15/backup-manifest-format.html; version 2 (PostgreSQL 17) adds the system identifier.
pg_verifybackup of an older release does not know a newer version, so we compare ourselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from recyclic_backups.base_backup.tar_files import FileDigest
from recyclic_backups.postgres.lsn import lsn_of

MOST_BYTES = 256 << 20
"""A manifest of more is not read: about 200 bytes of it are one file."""

_VERSIONS = (1, 2)
_TOLD = 5


@dataclass(frozen=True, slots=True)
class ServerManifest:
    """What the server says that it sent. ``system_identifier`` is None before PostgreSQL 17."""

    files: Mapping[bytes, FileDigest]
    timeline: int
    start_lsn: int
    stop_lsn: int
    system_identifier: str | None


def parse_server_manifest(content: bytes) -> ServerManifest:
    """Read it, and compare it with its own checksum. Raises ValueError with the end of a sentence."""
    last_line = content.rfind(b"\n", 0, -1) + 1
    try:
        document = json.loads(content, parse_int=_whole)
        version = document["PostgreSQL-Backup-Manifest-Version"]
        said = bytes.fromhex(document["Manifest-Checksum"])
        if hashlib.sha256(content[:last_line]).digest() != said:
            raise ValueError("is not what its own checksum says")
        if version not in _VERSIONS:
            raise ValueError(f"has version {version!r}, and versions 1 and 2 are known")
        files: dict[bytes, FileDigest] = {}
        for each in document["Files"]:
            path = _path(each)
            if path in files:
                raise ValueError(f"names {path!r} twice")
            if each["Checksum-Algorithm"] != "SHA256":
                raise ValueError(f"has no SHA-256 for {path!r}")
            files[path] = FileDigest(int(each["Size"]), bytes.fromhex(each["Checksum"]))
        ranges = document["WAL-Ranges"]
        # The newest timeline comes first; each range begins where the one before was left.
        timeline = int(ranges[0]["Timeline"])
        start_lsn, stop_lsn = lsn_of(ranges[-1]["Start-LSN"]), lsn_of(ranges[0]["End-LSN"])
        identifier = document.get("System-Identifier")
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"cannot be understood: {type(error).__name__} {error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError("is no JSON") from None
    return ServerManifest(
        files, timeline, start_lsn, stop_lsn, None if identifier is None else str(identifier)
    )


def differences(said: Mapping[bytes, FileDigest], found: Mapping[bytes, FileDigest]) -> str:
    """How files differ from what the manifest says of them, as the end of a sentence; empty if they do not."""
    told = list(islice(_differences(said, found), _TOLD + 1))
    if len(told) > _TOLD:
        told[_TOLD] = "and others"
    return "; ".join(told)


def _differences(said: Mapping[bytes, FileDigest], found: Mapping[bytes, FileDigest]) -> Iterator[str]:
    for path, expected in said.items():
        there = found.get(path)
        if there is None:
            yield f"{_readable(path)} is missing"
        elif there.size_bytes != expected.size_bytes:
            yield f"{_readable(path)} has {there.size_bytes} bytes instead of {expected.size_bytes}"
        elif there.sha256 != expected.sha256:
            yield f"{_readable(path)} has another SHA-256"
    for path in found:
        if path not in said:
            yield f"{_readable(path)} is there and not named"


def _path(entry: Mapping[str, Any]) -> bytes:
    encoded = entry.get("Encoded-Path")  # of a name that is no UTF-8
    return bytes.fromhex(encoded) if encoded is not None else str(entry["Path"]).encode()


def _readable(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def _whole(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("holds a number that is too long")
    return int(digits)
