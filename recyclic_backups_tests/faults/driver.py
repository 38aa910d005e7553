"""The command line as a real process, with a fault at one chosen step of its work on the storage.

``python -m recyclic_backups_tests.faults.driver COMMAND …`` runs the command as ``recyclic-backups`` does. Every
system call by which the storage changes something, or commits it, is counted; with ``FAULT_AT=sql`` every statement
that we send to a server instead. At the step given in ``FAULT_STEP`` (from 0) what ``FAULT`` says happens instead:
``kill`` or ``term`` (a signal to this process before the call), ``kill-after`` (the call is made first), or the name
of an error number such as ``EIO``; ``slow`` makes every step take its time. ``FAULT_CALL`` counts calls of one name
only. The steps taken are written into the file ``FAULT_LOG``, one line each.
"""

from __future__ import annotations

import errno
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from recyclic_backups import storage
from recyclic_backups.postgres.connection import PatientConnection

CHANGING = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir")


class Fault:
    """Counts steps, and does what it was told at the one it was told of."""

    def __init__(self) -> None:
        self._kind, self._only = os.environ.get("FAULT", ""), os.environ.get("FAULT_CALL", "")
        self._step = int(os.environ.get("FAULT_STEP", "-1"))
        self._log = os.environ.get("FAULT_LOG")
        self._taken = 0
        self._lock = threading.Lock()

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, each call of it one step."""

        def call(*arguments: Any, **options: Any) -> Any:
            if (name == "open" and not arguments[1] & os.O_CREAT) or self._only not in ("", name):
                return real(*arguments, **options)
            with self._lock:
                step, self._taken = self._taken, self._taken + 1
            if self._log:
                with open(self._log, "a", encoding="utf-8") as log:
                    log.write(f"{name} {arguments[-1 if name == 'execute' else 0]!r}\n")
            if self._kind == "slow":
                time.sleep(0.05)
            if step != self._step:
                return real(*arguments, **options)
            if self._kind == "kill-after":
                real(*arguments, **options)
            if self._kind in ("kill", "kill-after"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self._kind == "term":
                os.kill(os.getpid(), signal.SIGTERM)
                return real(*arguments, **options)
            number = getattr(errno, self._kind)
            raise OSError(number, os.strerror(number))

        return call


class FaultyCalls(ModuleType):
    """Stands for the module ``os`` within the storage: the same, but for the fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__("os")
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._fault.around(name, real) if name in CHANGING else real


def install() -> None:
    """Put the fault in place."""
    fault = Fault()
    if os.environ.get("FAULT_AT") == "sql":
        execute = fault.around("execute", PatientConnection.execute)
        PatientConnection.execute = execute  # type: ignore[method-assign]
        return
    calls = FaultyCalls(fault)
    # All of them, by whatever names: a module that is left out is one in which nothing ever fails.
    for found in pkgutil.iter_modules(storage.__path__, f"{storage.__name__}."):
        module = import_module(found.name)
        if getattr(module, "os", None) is os:
            module.os = calls  # type: ignore[attr-defined]


if __name__ == "__main__":
    from recyclic_backups.cli.main import main

    install()
    sys.exit(main(sys.argv[1:]))
