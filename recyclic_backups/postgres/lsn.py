"""Positions in the WAL (LSN): 64-bit numbers of bytes, written as two hexadecimal halves. Pure.

https://www.postgresql.org/docs/15/datatype-pg-lsn.html
"""

from __future__ import annotations

import re

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def lsn_of(text: str) -> int:
    """The position that ``16/B374D848`` means. Raises ValueError with the end of a sentence."""
    match = _LSN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"is not a position in the WAL such as 16/B374D848: {text!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


def lsn_text(lsn: int) -> str:
    """``16/B374D848``, as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
