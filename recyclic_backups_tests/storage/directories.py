"""What the tests of the local storage look at it with."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from recyclic_backups.storage.local import LocalStore

PROJECT = Path(__file__).parents[2]


def files(store: LocalStore) -> list[str]:
    """Everything below the root, hidden or not."""
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*"))


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """The script in a process of its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    argv = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        argv, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True, env=environment
    )


def outcome(script: str, *arguments: str) -> str:
    """What the script prints."""
    process = python(script, *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()
