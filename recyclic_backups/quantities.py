"""Durations and sizes as people write and read them: ``25h``, ``5GB``. Pure."""

from __future__ import annotations

import re
from typing import Literal

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
# SI prefixes are decimal, IEC ones binary (https://physics.nist.gov/cuu/Units/binary.html).
_BYTES = {
    **{"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40},
}


def parse_seconds(text: str, *, unit: Literal["s", "h", "d"]) -> float:
    """Seconds of ``25h``, ``90 s`` or a bare number in ``unit``. Raises ValueError with a sentence's end."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text.strip())
    if not match or (match[2] or unit).lower() not in _SECONDS:
        raise ValueError(f"is not a duration such as 90s, 15m or 25h: {text!r}")
    return float(match[1]) * _SECONDS[(match[2] or unit).lower()]


def parse_bytes(text: str) -> int:
    """Bytes of ``5GB``, ``512MiB`` or a bare number. Raises ValueError with a sentence's end."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text.strip())
    if not match or (match[2] or "b").lower() not in _BYTES:
        raise ValueError(f"is not a size such as 500MB or 5GB: {text!r}")
    return int(float(match[1]) * _BYTES[(match[2] or "b").lower()])


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2 rows``: in English, of nouns with a regular plural."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def human_bytes(size_bytes: int | float) -> str:
    """``48.2 MB``: decimal units, as disks are sold and as ``df -H`` counts."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_seconds(seconds: float) -> str:
    """``0.8 s``, ``4 min 10 s``, ``25 h 0 min``, ``3 days 2 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"
