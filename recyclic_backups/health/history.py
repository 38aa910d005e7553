"""The nights with which the newest backup is compared, and how far from them is too far. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.errors import DamagedData
from recyclic_backups.fingerprint.document import a_map
from recyclic_backups.fingerprint.model import TableFingerprint
from recyclic_backups.health.issues import Issue, Level, name_of
from recyclic_backups.health.wording import Code, Statement

HISTORY_COUNT = 14
"""With how many earlier backups the newest is compared: a change is news for about half as many nights."""

HISTORY_MINIMUM = 5
"""With fewer there is no history to compare with."""

NEWS_COUNT = 7
"""For so many backups a table that was emptied or rewritten is news; then it is how it is."""

SMALL_TABLE_ROWS = 100
"""Below, rows come and go by hand: worth a warning, no alarm."""

ALLOWED_SHARE = 0.1
"""So much of the median is never far: nights that are all alike have no deviation at all."""

# The modified z-score of Iglewicz and Hoaglin ("How to Detect and Handle Outliers", ASQC, 1993): 1.4826 makes
# the median absolute deviation comparable with a standard deviation, and 3.5 of those mark an outlier.
_OUTLIER_DEVIATIONS = 3.5 * 1.4826
# That is meant for large samples. Of five nights the deviation is often far too small: rows between 10 and 50 at random
# would be an alarm every eighth night; with this it is one in a hundred over a week, one in a thousand over two.
_SHORT_HISTORY = 8


@dataclass(frozen=True, slots=True)
class Night:
    """One backup's figures. ``tables`` is None where it has no fingerprint that can be read."""

    backup: Backup
    tables: Mapping[str, TableFingerprint] | None

    @classmethod
    def of(cls, backup: Backup) -> Night:
        """The night of a backup."""
        document = backup.manifest.fingerprint
        if document is None or document.get("level") == "off":
            return cls(backup, None)
        try:
            return cls(backup, a_map(document.get("tables"), TableFingerprint.from_json))
        except DamagedData:
            return cls(backup, None)  # said by the caller, once for the backup

    @property
    def day(self) -> str:
        """The day of its content, as its backup id says it (UTC)."""
        return self.backup.as_of.date().isoformat()


def is_outlier(value: float, history: Sequence[float], *, allowed_share: float = ALLOWED_SHARE) -> bool:
    """Whether a value is far from the history, in either direction. Without enough history nothing is."""
    if len(history) < HISTORY_MINIMUM:
        return False
    middle = median(history)
    deviation = median(abs(each - middle) for each in history)
    allowed = _OUTLIER_DEVIATIONS * (1 + _SHORT_HISTORY / len(history)) * deviation
    return abs(value - middle) > max(allowed, allowed_share * abs(middle))


def anomaly(code: Code, level: Level, subject: str = "", **values: object) -> Issue:
    """An issue of this kind."""
    return Issue(name_of(code), level, Statement(code, values), subject, anomaly=True)
