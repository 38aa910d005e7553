"""Receivers for the tests of notifications."""

from recyclic_backups_tests.notify.receivers import bot, mailbox, web

__all__ = ["bot", "mailbox", "web"]
