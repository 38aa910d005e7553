"""How long work tells how far it is. The command line draws it, Dagster logs it, tests ignore it."""

from __future__ import annotations

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
