"""A directory for the tests that are about directories; the contract's classes bring their own store."""

from __future__ import annotations

from pathlib import Path

import pytest

from recyclic_backups.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A new directory."""
    return LocalStore.open(tmp_path / "backups", create=True)
