"""How far from the recent history is too far. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from recyclic_backups.health.thresholds import ALLOWED_SHARE, DEVIATIONS, HISTORY_MINIMUM

# 1.4826 makes the median absolute deviation comparable with a standard deviation.
_DEVIATIONS = DEVIATIONS * 1.4826
# That is meant for large samples. Of five nights the deviation is often far too small: rows between 10 and 50 at random
# would be an alarm every eighth night; with this it is one in a hundred over a week, one in a thousand over two.
_SHORT_HISTORY = 8


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual: the median of the history, and how far from it a value may be, in either direction."""

    median: float
    allowed: float

    @classmethod
    def of(cls, history: Sequence[float], *, allowed_share: float = ALLOWED_SHARE) -> Self | None:
        """What a history says; None where it is too short to say anything."""
        if len(history) < HISTORY_MINIMUM:
            return None
        middle = median(history)
        deviation = median(abs(each - middle) for each in history)
        widened = _DEVIATIONS * (1 + _SHORT_HISTORY / len(history)) * deviation
        return cls(middle, max(widened, allowed_share * abs(middle)))

    def is_far(self, value: float) -> bool:
        """Whether a value is out of this."""
        return abs(value - self.median) > self.allowed


def is_outlier(value: float, history: Sequence[float], *, allowed_share: float = ALLOWED_SHARE) -> bool:
    """Whether a value is far from the history. Without enough history nothing is."""
    usual = Usual.of(history, allowed_share=allowed_share)
    return usual is not None and usual.is_far(value)
