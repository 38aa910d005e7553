"""Which cases of a long list ``make test`` takes; ``make test-all`` takes all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

slow = pytest.mark.slow
"""A fault that ``make test`` leaves out."""


def some(values: Iterable[Any], quick: Callable[[Any], bool] | Iterable[Any]) -> list[Any]:
    """Every value as a parameter of a test (a tuple as several), slow unless it is among the quick ones."""
    chosen = quick if callable(quick) else set(quick).__contains__
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=() if chosen(value) else slow)
        for value in values
    ]
