"""What tests of the rescue script share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from recyclic_backups import rescue


@pytest.fixture(scope="session")
def recover() -> ModuleType:
    """The script as a module."""
    path = Path(rescue.__file__).with_name("recover.py")
    spec = importlib.util.spec_from_file_location("recover_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
