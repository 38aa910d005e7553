"""What ``restore`` offers where the backup that was asked for is damaged: the next whole one, and its command."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from recyclic_backups import wiring
from recyclic_backups.cli import render

if TYPE_CHECKING:
    from recyclic_backups.catalog.catalog import Backup, Catalog
    from recyclic_backups.config.settings import Settings


@contextmanager
def offer_another(options: argparse.Namespace, settings: Settings, found: Catalog) -> Iterator[None]:
    """Let damage end the block with the command that restores the next backup whose bytes were just read and are whole.

    Those that are found damaged on the way are recorded as such. Raises what the block raises.
    """
    from recyclic_backups.catalog.catalog import LATEST
    from recyclic_backups.errors import DamagedData

    try:
        yield
    except DamagedData as damage:
        if not found.is_checked:  # a key's file is damaged, or missing: no other backup would do
            raise
        asked: str = options.backup
        beginning = asked.upper()
        named = (
            found.sound[:1] if asked == LATEST else [b for b in found if b.backup_id.startswith(beginning)]
        )
        whole = _whole_instead_of(named[0].backup_id if named else beginning, settings, found)
        if whole is not None:
            moment = render.local_time(whole.as_of, settings.calendar.timezone)
            damage.hint = f"{whole.backup_id}, of {moment}, is whole: {command_for(options, whole.backup_id)}"
        raise


def _whole_instead_of(damaged_id: str, settings: Settings, found: Catalog) -> Backup | None:
    from recyclic_backups.dump.verify import verify

    repository = wiring.open_repository(settings, create=False)
    for candidate in found.instead_of(damaged_id):
        with render.progress() as progress:
            verdict = verify(
                repository,
                candidate,
                "stored",  # sizes and hashes: as fast as the disk, by no program, and whatever the key
                (),
                clock=render.now,
                timeout_seconds=settings.timeout_seconds,
                progress=progress,
            )
        if verdict.error is None:
            return candidate
        render.say(f"{candidate.backup_id}: {verdict.error.message}")
    return None


def command_for(options: argparse.Namespace, backup_id: str) -> str:
    """The command that was typed, of another backup. No password is in it: POSTGRES_PASSWORD is asked for one."""
    argv = ["recyclic-backups", "restore", backup_id]
    for name in ("into", "table", "schema", "jobs", "merge_into", "to_server"):
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given] if given is not None else []:
            argv += [
                f"--{name.replace('_', '-')}",
                _without_password(value) if name == "to_server" else str(value),
            ]
    flags = ("replace", "no_owner", "trust_owners", "yes", "json")
    argv += [f"--{name.replace('_', '-')}" for name in flags if getattr(options, name)]
    return shlex.join(argv)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    query = "&".join(each for each in parts.query.split("&") if each.startswith("ssl"))
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=query))
