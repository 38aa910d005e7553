"""How ``make compose-test`` looks at things: until they are so, or not any longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from recyclic_backups_tests.docker.stack import say


def zone_of_noon(now: datetime) -> tuple[str, datetime]:
    """A time zone where it is about noon, so that no midnight comes between; and the time there."""
    hours = 12 - now.hour
    # POSIX counts the other way round (tz database, file etcetera).
    name = f"Etc/GMT{-hours:+d}" if hours else "Etc/GMT"
    return name, now + timedelta(hours=hours)


def until(sentence: str, look: Callable[[], Any], seconds: float = 240) -> Any:
    """What `look` finds, asked again until it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            say(f"seen: {sentence}")
            return found
        time.sleep(2)
    raise AssertionError(f"not seen within {seconds:.0f} s: {sentence}")


def expect(sentence: str, true: object, got: object = "") -> None:
    """Say what was seen, or fail."""
    if not true:
        raise AssertionError(f"not so: {sentence} {got}")
    say(f"seen: {sentence}")
