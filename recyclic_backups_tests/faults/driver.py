"""The command line as a real process, with a fault at one chosen step of its work on the storage.

``python -m recyclic_backups_tests.faults.driver COMMAND …`` runs the command as ``recyclic-backups`` does. Every
system call by which the storage changes something, or commits it, is counted; at the step given in ``FAULT_STEP``
(from 0) what ``FAULT`` says happens instead: ``kill`` or ``term`` (a signal to this process before the call),
``kill-after`` (the call is made first), or the name of an error number such as ``EIO``. The steps taken are written
into the file ``FAULT_LOG``, one line each.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from recyclic_backups.storage import exclusive, local

CHANGING = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir")


class FaultyCalls(ModuleType):
    """Stands for the module ``os`` within the storage: the same, but for the fault."""

    def __init__(self) -> None:
        super().__init__("os")
        self._fault, self._only = os.environ.get("FAULT", ""), os.environ.get("FAULT_CALL", "")
        self._step = int(os.environ.get("FAULT_STEP", "-1"))
        self._log = os.environ.get("FAULT_LOG")
        self._taken = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._counted(name, real) if name in CHANGING else real

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **options)
            if self._only and name != self._only:
                return real(*arguments, **options)
            with self._lock:
                step, self._taken = self._taken, self._taken + 1
            if self._log:
                with open(self._log, "a", encoding="utf-8") as log:
                    log.write(f"{name} {arguments[0]}\n")
            if step != self._step:
                return real(*arguments, **options)
            if self._fault == "kill-after":
                real(*arguments, **options)
            if self._fault in ("kill", "kill-after"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self._fault == "term":
                os.kill(os.getpid(), signal.SIGTERM)
                return real(*arguments, **options)
            number = getattr(errno, self._fault)
            raise OSError(number, os.strerror(number))

        return call


def install() -> None:
    """Put the fault in place."""
    calls = FaultyCalls()
    for module in (local, exclusive):
        module.os = calls  # type: ignore[attr-defined]


if __name__ == "__main__":
    from recyclic_backups.cli.main import main

    install()
    Path(os.environ.get("FAULT_PID", os.devnull)).write_text(str(os.getpid()), encoding="utf-8")
    sys.exit(main(sys.argv[1:]))
