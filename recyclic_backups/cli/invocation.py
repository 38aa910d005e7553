"""One call of a command: its options, and what it works with, opened when it is first asked for."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from recyclic_backups import wiring
from recyclic_backups.catalog.catalog import LATEST, Backup, Catalog
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import moment_of
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.errors import ConfigurationError, UsageError


class Invocation:
    """What every command needs. ``document`` is its report for machines so far, printed when the command ends."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.document: dict[str, Any] = {}

    @property
    def json(self) -> bool:
        """Whether the report is JSON."""
        return bool(getattr(self.options, "json", False))

    @property
    def env_file(self) -> Path | None:
        """The file of ``--env-file``. Raises ConfigurationError where there is none."""
        given: str | None = getattr(self.options, "env_file", None)
        if given is None:
            return None
        if not Path(given).is_file():
            raise ConfigurationError(f"there is no file {given!r}", "--env-file names the file of settings")
        return Path(given)

    @cached_property
    def settings(self) -> Settings:
        """What is configured. Raises ConfigurationError."""
        settings = load_settings(dotenv=self.env_file)
        render.step(f"settings: {settings.read_from}")
        return settings

    @property
    def timezone(self) -> ZoneInfo:
        """On whose clock moments are printed."""
        return self.settings.calendar.timezone

    @cached_property
    def repository(self) -> Repository:
        """The storage that is there. Raises StorageError where there is none."""
        return wiring.open_repository(self.settings, create=False)

    @cached_property
    def new_repository(self) -> Repository:
        """The storage for what writes backups, which makes its directory where it is not there. Raises StorageError."""
        return wiring.open_repository(self.settings)

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog; what is damaged in it has been said. Raises StorageError where there is no storage."""
        return self.load_catalog(self.repository)

    def load_catalog(self, repository: Repository) -> Catalog:
        """The catalog of a repository. Says on standard error what is damaged."""
        # Thousands of documents make a million objects, none of them garbage: looking for some takes a third of the
        # time.
        gc.disable()
        try:
            catalog = load_catalog(repository)
        finally:
            gc.enable()
        for damage in catalog.damage:
            word = "not known" if damage.lacks_key else "damaged"
            render.warn(f"{word}: {damage.name}: {damage.problem}")
        if not catalog.is_checked:
            render.warn(
                "not checked: whether any of this was edited. No key is at hand (BACKUP_ENCRYPTION_KEY): that "
                "something is verified, proven or all there is, is the word of whoever can write to the storage"
            )
        return catalog

    def find(self, *, unvouched: bool = False, default: str | None = None) -> Backup:
        """The backup of ``ID`` or ``--at``: as :meth:`Catalog.find`, with ``unvouched`` as :meth:`Catalog.find_any`.

        ``default`` is the ID where none is given. Newer backups that are passed over, damaged or of the future,
        are said. Raises UsageError, RecoveryError, DamagedData, NoUsableKey.
        """
        reference, at = self.options.backup, self.options.at
        if at is not None:
            if reference is not None:
                raise UsageError("give a backup or --at TIME, not both")
            older = self.catalog.not_after(moment_of(at, self.timezone))
            backup, over = older.find(LATEST), older.passed_over
        else:
            reference = default if reference is None else reference
            if reference is None:
                raise UsageError("which backup? give an ID or --at TIME", "latest is the newest one")
            found, ahead = self.catalog, None
            if reference == LATEST:
                found, ahead = found.for_latest(render.now()), found.newest_of_the_future(render.now())
            backup = found.find_any(reference) if unvouched else found.find(reference)
            over = found.passed_over if reference == LATEST else ()
            if ahead is not None:
                render.warn(
                    f"latest is {backup.backup_id}: {ahead.backup_id} is of the future, a clock is or was wrong"
                )
        if over:
            # Nobody may hide a night.
            ids = ", ".join(each.backup_id for each in over)
            render.warn(
                f"{at or LATEST} is {backup.backup_id}: newer, and found damaged by their last check: {ids}"
            )
        return backup

    def warn_of_plaintext(self) -> None:
        """Before something is stored: say so if everybody who has the storage will be able to read it."""
        if not self.settings.encryption:
            render.warn(
                "warning: BACKUP_ENCRYPTION is off: members' data are stored readable (GDPR, article 32)"
            )

    def local_time(self, moment: datetime | None) -> str:
        """A moment on the operator's clock; a dash where there is none."""
        return render.local_time(moment, self.timezone)

    def report(self, document: Mapping[str, Any], prose: Callable[[], None]) -> None:
        """The report of the command: with ``--json`` the document, when the command ends, else the prose, now."""
        if self.json:
            self.document |= document
        else:
            prose()
