"""How large the small documents of a storage may be: more is damage, and is not read to its end. Pure.

One table, by the kind of document that a name stands for (docs/format/documents.md). The limits are far above what
is ever written: a manifest of 10,000 tables with 50 columns each has about 35 MiB.
"""

from __future__ import annotations

from recyclic_backups.errors import DamagedData, StorageError

_KIB, _MIB = 1 << 10, 1 << 20

LIMITS = {
    "key file": 64 * _KIB,
    "storage.json": 64 * _KIB,
    "rescue": 4 * _MIB,  # recover.py and RECOVERY.md
    "manifest": 128 * _MIB,
    "check": 16 * _MIB,
    "label": 64 * _KIB,
    "hold": 256 * _KIB,
    "tombstone": 4 * _MIB,
    "attempt": 64 * _KIB,
    "audit event": 4 * _MIB,
    "flag": 256 * _KIB,
    "alert state": 16 * _MIB,
    "other": 64 * _MIB,
}
"""The most bytes of each kind of document."""

_BY_FOLDER = {
    "tiers": "label",
    "holds": "hold",
    "tombstones": "tombstone",
    "attempts": "attempt",
    "audit": "audit event",
    "flags": "flag",
    "alerts": "alert state",
}


def kind_of_document(name: str) -> str:
    """Which row of :data:`LIMITS` a storage name belongs to."""
    match name.split("/"):
        case ["keys", _]:
            return "key file"
        case ["storage.json"]:
            return "storage.json"
        case ["recover.py" | "RECOVERY.md"]:
            return "rescue"
        case [_, "backups" | "base", _, "manifest.json"]:
            return "manifest"
        case [_, "backups" | "base", _, "checks", _]:
            return "check"
        case [_, folder, *_] if folder in _BY_FOLDER:
            return _BY_FOLDER[folder]
        case _:
            return "other"


def most_bytes(name: str) -> int:
    """The size limit of the document of that name."""
    return LIMITS[kind_of_document(name)]


def too_large(name: str) -> DamagedData:
    """What is said of a document over its limit."""
    return DamagedData(
        f"{name} is damaged: it has more than the {most_bytes(name)} bytes that a document of its kind may have"
    )


def require_readable(name: str, size_bytes: int) -> None:
    """Refuse to write what no reader would take. Raises StorageError."""
    if size_bytes > most_bytes(name):
        raise StorageError(
            f"cannot store {name}: it would have {size_bytes} bytes, and readers take {most_bytes(name)} at most",
            "this is a bug, or a database with an absurd number of tables: please report it",
        )
