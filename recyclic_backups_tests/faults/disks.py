"""Real disks that fill up or turn read-only: a file system in memory, mounted where the tests run as root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(frozen=True)
class Disk:
    """A mounted file system."""

    directory: Path

    def remount(self, options: str) -> None:
        """Change its options: ``size=64m``, ``ro``."""
        _mount(["-o", f"remount,{options}", str(self.directory)])


@contextmanager
def mounted(directory: Path, size_bytes: int) -> Iterator[Disk]:
    """A disk of that size at ``directory``, which is made."""
    directory.mkdir()
    _mount(["-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "recyclic-tests", str(directory)])
    try:
        yield Disk(directory)
    finally:
        subprocess.run(["umount", str(directory)], check=True, capture_output=True)


def can_mount() -> bool:
    """Whether this user, here, may mount a file system."""
    with TemporaryDirectory() as name:
        try:
            with mounted(Path(name) / "disk", 1 << 16):
                return True
        except (subprocess.CalledProcessError, FileNotFoundError):
            return False


def _mount(arguments: list[str]) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
