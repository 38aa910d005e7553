"""Where a storage is: one setting, one URL, read strictly so that no backup lands where nobody looks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from recyclic_backups.errors import ConfigurationError

_HINT = "write file:///absolute/path, or file://./path for one below the working directory"

# RFC 3986, section 3.1.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class StorageLocation:
    """A storage URL, understood. ``path`` may be relative to the working directory."""

    scheme: Literal["file"]
    path: Path


def parse_storage_url(url: str) -> StorageLocation:
    """What a storage URL means. Pure.

    ``file:///absolute/path`` or ``file://./relative`` (RFC 8089, and the relative form that it lacks);
    percent-encoding is undone.
    Raises ConfigurationError; the URL, which may hold a password, is never part of the message.
    """
    match = _SCHEME.fullmatch(url.strip())
    if match is None:
        raise ConfigurationError("the storage is not a URL" if url.strip() else "the storage is empty", _HINT)
    scheme, rest = match[1].lower(), match[2]
    if scheme != "file":
        raise ConfigurationError(
            f"this version keeps backups in file:// storages only, and {scheme}: was asked for", _HINT
        )
    return StorageLocation("file", _path_of(rest))


def _path_of(rest: str) -> Path:
    """The path after ``file:``."""
    if not rest.startswith("//") or rest == "//":
        raise ConfigurationError("the file:// storage names no directory", _HINT)
    path = rest[2:]
    if "?" in path or "#" in path:
        raise ConfigurationError(
            "the path of the storage contains a bare ? or #", "write %3F or %23 for them"
        )
    if _BAD_ESCAPE.search(path):
        raise ConfigurationError(
            "the path of the storage contains a % that is not an escape", "write %25 for a percent sign"
        )
    if path.partition("/")[0] not in ("", ".", ".."):
        raise ConfigurationError("the file:// storage names a host, and files are local", _HINT)
    # Bytes that are no UTF-8 keep their value, as Python does for paths (PEP 383).
    decoded = unquote(path, errors="surrogateescape")
    if _CONTROL.search(decoded):
        raise ConfigurationError("the path of the storage contains a control character", _HINT)
    if not decoded.strip("/"):
        raise ConfigurationError("the file system's top directory cannot be a storage", _HINT)
    return Path("/" + decoded.lstrip("/")) if decoded.startswith("/") else Path(decoded)
