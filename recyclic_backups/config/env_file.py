"""The file ``.env``: who may write the one that is read, and what it holds."""

from __future__ import annotations

import os
import pwd
import stat
from io import StringIO
from pathlib import Path

from recyclic_backups.config.settings import SECRETS
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.machine_users import trusted_users


def read_env_file(file: Path) -> dict[str, str]:
    """The variables in a file. Raises ConfigurationError for one that is not ours alone to write, or cannot be read."""
    from dotenv import dotenv_values  # noqa: PLC0415 - only where there is a file

    try:
        # Values are taken as they are written: a password with ${…} in it must not become another one.
        values = dotenv_values(stream=StringIO(_text_of_ours(file)), interpolate=False)
        return {name: value for name, value in values.items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error.__class__.__name__}") from None


def _text_of_ours(file: Path) -> str:
    """A file of settings, read. Raises ConfigurationError for one that somebody else wrote, or may change; OSError.

    A command runs wherever somebody stands: in ``/tmp``, or in a storage to which others may write. Settings say which
    programs are run and where passwords go.
    """
    trusted = trusted_users(behind_sudo=True)
    link = file.lstat()
    with file.open(encoding="utf-8") as opened:
        found = os.fstat(opened.fileno())
        if strangers := {link.st_uid, found.st_uid} - trusted:
            raise ConfigurationError(
                f"{file.absolute()} belongs to another user ({user_name(strangers.pop())}): such settings are not read",
                "run the command in a directory of your own; if the file is yours: chown it",
            )
        if found.st_mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"every user of this machine may change {file.absolute()}: it is not read",
                f"chmod o-w {file}",
            )
        return opened.read()


def user_name(uid: int) -> str:
    """The name of a user, or its number where it has none, as in a container."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def secrets_for_everybody(file: Path = Path(".env")) -> tuple[str, ...]:
    """The secrets in a file of settings that every user of the machine may read; none where the file is closed."""
    if not file.is_file() or not file.stat().st_mode & stat.S_IROTH:
        return ()
    return tuple(sorted(name for name, value in read_env_file(file).items() if value and name in SECRETS))
