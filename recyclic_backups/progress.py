"""How long work tells how far it is. The command line draws it, Dagster logs it, tests ignore it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told of stages and of bytes done in them; never asked anything."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """A new stage begins; ``total_bytes`` is an estimate where there is one."""

    def advance(self, done_bytes: int) -> None:
        """So many more bytes of the stage are done. Called from one thread."""


class Silent:
    """Progress that nobody watches."""

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        """Ignored."""

    def advance(self, done_bytes: int) -> None:
        """Ignored."""


SILENT = Silent()


@contextmanager
def timed(phases: dict[str, float], name: str) -> Iterator[None]:
    """Add the time of the block to a phase."""
    started = time.monotonic()
    try:
        yield
    finally:
        phases[name] = phases.get(name, 0.0) + time.monotonic() - started
