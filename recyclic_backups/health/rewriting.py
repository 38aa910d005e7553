"""Tables whose rows became others in one night: encrypted by somebody, or updated without a WHERE. Pure.

Neither moves the number of rows, and in a small table nor the compression. What tells it is how many of a table's rows
the night before had them too (:func:`~recyclic_backups.fingerprint.sketch.overlap`): most tables keep most of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.fingerprint.sketch import MOST_SHARE, REWRITTEN_SHARE, overlap
from recyclic_backups.health.finding import Finding, alarm
from recyclic_backups.health.history import Night
from recyclic_backups.health.thresholds import (
    HISTORY_MINIMUM,
    NEWS_COUNT,
    REWRITTEN_ROWS,
    REWRITTEN_TABLES,
    SMALL_TABLE_ROWS,
)
from recyclic_backups.texts.language import Share

_NAMED = 5


def rewritten(names: Sequence[str], nights: Sequence[Night]) -> Iterator[Finding]:
    """Tables that kept their rows from night to night, until one in which most became others; nights newest first.

    One finding if most of such tables did in the same night, otherwise one for each; a warning where a migration gave
    their columns other types. A table that did so before within these nights is left alone: something rewrites it now
    and then. So is one that has its rows back.
    """
    steps = list(pairwise(nights))
    kept = {name: [_kept(name, before, after) for after, before in steps] for name in names}
    said: set[str] = set()
    for number, (after, before) in enumerate(steps[:NEWS_COUNT]):
        steady = [name for name in names if _is_steady(kept[name][number + 1 :])]
        changed = [
            name
            for name in steady
            if _is_rewritten(name, kept[name][number], after, before)
            and not _is_back(_kept(name, before, nights[0]))
        ]
        converted = [name for name in changed if _is_converted(name, before, after)]
        if _together(changed, steady):
            yield alarm(
                _together([name for name in changed if name not in converted], steady),
                "tables_rewritten",
                "",
                after.backup.as_of,
                changed=len(changed),
                steady=len(steady),
                day=after.day,
                tables=listed(changed),
            )
            return
        for name in changed:
            share, rows = kept[name][number], (after.tables or {})[name].rows
            if share is None or rows < REWRITTEN_ROWS or name in said:
                continue
            said.add(name)
            yield alarm(
                rows >= SMALL_TABLE_ROWS and name not in converted,
                "table_converted" if name in converted else "table_rewritten",
                name,
                after.backup.as_of,
                table=name,
                now=Share(1 - share),
                usual=Share(1 - min(each for each in kept[name][number + 1 :] if each is not None)),
                day=after.day,
            )


def changed_lately(nights: Sequence[Night]) -> list[str]:
    """Tables many of whose rows are others than the night before, the largest first.

    Where that is not known, those whose content is another though they have as many rows.
    """
    if len(nights) < 2 or nights[0].tables is None:
        return []
    after, before = nights[:2]
    now = nights[0].tables
    shares = {name: _kept(name, before, after) for name in now}
    changed = [
        name
        for name, share in shares.items()
        if (_is_changed(name, after, before) if share is None else share < MOST_SHARE)
    ]
    return sorted(changed, key=lambda name: (-now[name].rows, name))


def listed(names: Sequence[str]) -> str:
    """The first few names."""
    if not names:
        return "-"
    more = f" … (+{len(names) - _NAMED})" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _together(changed: Sequence[str], steady: Sequence[str]) -> bool:
    return len(changed) >= REWRITTEN_TABLES and 2 * len(changed) > len(steady)


def _kept(name: str, before: Night, after: Night) -> float | None:
    then, now = _both(name, before, after)
    return None if then is None or now is None else overlap(then, now)


def _is_steady(shares: Sequence[float | None]) -> bool:
    """Whether most rows were kept from each night to the next, as far as it is known and over nights enough."""
    known = [share for share in shares if share is not None]
    return len(known) >= HISTORY_MINIMUM - 1 and min(known) >= MOST_SHARE


def _is_rewritten(name: str, share: float | None, after: Night, before: Night) -> bool:
    # Without sketches (backups of older versions) it is not known how many rows changed, only that some did.
    return _is_changed(name, after, before) if share is None else share < REWRITTEN_SHARE


def _is_converted(name: str, before: Night, after: Night) -> bool:
    """Whether its columns got other types as well: a migration does that, and writes the same values otherwise."""
    then, now = _both(name, before, after)
    return then is not None and now is not None and not then.is_alike(now)


def _is_back(share: float | None) -> bool:
    return share is not None and share >= MOST_SHARE


def _is_changed(name: str, after: Night, before: Night) -> bool:
    then, now = _both(name, before, after)
    return (
        then is not None
        and now is not None
        and now.rows == then.rows > 0
        and now.content is not None
        and then.content is not None
        and now.content != then.content
    )


def _both(name: str, before: Night, after: Night) -> tuple[TableFingerprint | None, TableFingerprint | None]:
    return (before.tables or {}).get(name), (after.tables or {}).get(name)
