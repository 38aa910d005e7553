"""Receivers for the tests of notifications, which are given all the time they need."""

import pytest

from recyclic_backups_tests.notify.receivers import bot, mailbox, patient, web

__all__ = ["bot", "mailbox", "web"]


@pytest.fixture(autouse=True)
def nobody_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test says of time it says itself."""
    patient(monkeypatch)
