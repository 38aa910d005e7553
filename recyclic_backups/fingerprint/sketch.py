"""How many rows two fingerprints of a table have in common, from 32 bytes of each. Pure.

A sum of hashes tells that rows changed, not how many: an address corrected and every address encrypted look alike. A
sketch tells them apart. Rows are dealt into 32 buckets by their hash, and each bucket keeps eight bits of its smallest
one. A bucket of two nights agrees when the smallest of both nights' rows is a row of both, which is as likely as the
share of rows that both have of all that either has. That is the resemblance of Broder ("On the resemblance and
containment of documents", 1997), by one permutation (Li, Owen, Zhang, 2012) and few bits (Li, König, "b-Bit minwise
hashing", 2010).

Eight bits of 32 rows, of which nobody is told which rows they are, do not let a guess at a row be confirmed as its
whole hash would: manifests can be read without the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from recyclic_backups.fingerprint.document import a_text, nonsense

if TYPE_CHECKING:
    from recyclic_backups.fingerprint.model import TableFingerprint

BUCKETS = 32

# The lowest bits of a hash choose its bucket, so other ones are kept.
BUCKET_BITS = BUCKETS - 1
KEPT_SHIFT = 5
KEPT_BITS = 255

_EMPTY = ".."
_SKETCH = re.compile(rf"(?:[0-9a-f]{{2}}|{re.escape(_EMPTY)}){{{BUCKETS}}}")

MOST_SHARE = 2 / 3
"""Of a table's rows: so many common ones make it the same table still, whatever the estimate is off."""

REWRITTEN_SHARE = 1 / 3
"""Fewer common ones make its rows others: far enough from most that no estimate takes one for the other."""

_COMPARABLE_SIZES = 2  # times as many rows: with more, too few buckets agree to tell anything


def sketch_of(buckets: Iterable[tuple[int, int]]) -> str:
    """The sketch of buckets that have rows, as (number, kept bits): two hex digits for each, ``..`` for one without."""
    kept = dict(buckets)
    return "".join(f"{kept[number]:02x}" if number in kept else _EMPTY for number in range(BUCKETS))


def a_sketch(value: object) -> str:
    """A sketch as :func:`sketch_of` writes it. Raises DamagedData."""
    text = a_text(value)
    if not _SKETCH.fullmatch(text):
        raise nonsense("a sketch", value)
    return text


def overlap(before: TableFingerprint, after: TableFingerprint) -> float | None:
    """The share of the smaller one's rows that both have, 0 to 1; None where that cannot be told.

    It cannot where other columns make other rows of all of them, where one has more than twice as many rows, or without
    sketches (those of older versions have none) unless the contents are equal. An estimate: within a few hundredths if
    most rows are common, and a fifth at worst.
    """
    fewer, more = sorted((before.rows, after.rows))
    if not fewer or more > _COMPARABLE_SIZES * fewer or before.non_null.keys() != after.non_null.keys():
        return None
    if before.content is not None and before.content == after.content:
        return 1.0
    if before.sketch is None or after.sketch is None:
        return None
    # Of a rows and b rows s are common: the resemblance r is s / (a + b - s).
    resembling = _resemblance(before.sketch, after.sketch)
    common = resembling * (fewer + more) / (1 + resembling)
    return min(1.0, common / fewer)


def new_name(
    name: str, before: Mapping[str, TableFingerprint], after: Mapping[str, TableFingerprint]
) -> str | None:
    """The table that was not there before and has most of the rows of one that is gone: it was renamed.

    Most of the rows that are gone, not of those that are there: a copy of half a table is not the table.
    """
    then = before.get(name)
    if then is None:
        return None
    shares = {other: _kept(then, table) for other, table in after.items() if other not in before}
    likely = max(shares, key=lambda other: shares[other], default=None)
    return likely if likely is not None and shares[likely] >= MOST_SHARE else None


def _kept(then: TableFingerprint, table: TableFingerprint) -> float:
    """The share of the rows of ``then`` that the table has: :func:`overlap` is one of the smaller table's."""
    return (overlap(then, table) or 0.0) * min(1.0, table.rows / then.rows) if then.rows else 0.0


def _resemblance(one: str, other: str) -> float:
    """The share of buckets that agree, of those in which either has rows."""
    pairs = [pair for pair in zip(_pairs(one), _pairs(other), strict=True) if pair != (_EMPTY, _EMPTY)]
    return sum(mine == yours for mine, yours in pairs) / len(pairs) if pairs else 1.0


def _pairs(text: str) -> list[str]:
    return [text[place : place + 2] for place in range(0, len(text), 2)]
