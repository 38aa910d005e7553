"""The only reader of the environment, and of ``.env`` in the working directory.

Every setting is checked at once, and one error names every wrong one. Secrets may be given as ``NAME_FILE``, a file
that holds the value (a Docker secret). A name that looks like a setting's and is none is told, with the nearest one.
"""

from __future__ import annotations

import difflib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from recyclic_backups.catalog.actor import Actor
from recyclic_backups.config.env_file import read_env_file, user_name
from recyclic_backups.config.settings import DECLARED, SECRETS, Setting, Settings
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.notify.channels import problems_between

_log = logging.getLogger(__name__)

_NEARLY = 0.86
"""How alike (difflib's ratio) a name has to be to a setting's to be taken for a misspelling of it."""

_PREFIXES = (
    "BACKUP_",
    "RETENTION_",
    "POSTGRES_",
    "ALERT_",
    "NOTIFICATION_",
    "SMTP_",
    "DRILL_",
    "WAL_",
    "BASE_BACKUP_",
)
"""A name that begins so is told wherever it is no setting, be it like one or not."""

_OF_OTHERS = (
    # docker/compose.yaml
    *("BACKUP_UID", "BACKUP_UI_", "BACKUP_DIRECTORY", "BACKUP_VERSION", "BACKUP_BASE_IMAGE"),
    *("BACKUP_LOCALES", "BACKUP_HISTORY_TAG", "BACKUP_NGINX_TAG", "BACKUP_DRILLS_TAG"),
    "BACKUP_TESTS_",
    *("POSTGRES_INITDB_", "POSTGRES_HOST_AUTH_METHOD"),  # PostgreSQL's image
)
"""Beginnings of names that other programs read."""


def load_settings(environment: Mapping[str, str] | None = None, *, dotenv: Path | None = None) -> Settings:
    """The settings of this process: its environment, and below it the ``.env`` of the working directory.

    Raises ConfigurationError naming every wrong setting at once, with no secret in it; and for an ``.env`` of another
    user's.
    """
    given = dict(os.environ if environment is None else environment)
    file = dotenv if dotenv is not None else Path(".env") if environment is None else None
    if file is None or not file.is_file():
        return _Reading(given, ".env").settings()
    file = file.absolute()
    return replace(_Reading({**read_env_file(file), **given}, str(file)).settings(), dotenv=file)


class _Reading:
    """One pass over the environment that collects problems instead of stopping at the first."""

    def __init__(self, given: Mapping[str, str], file: str) -> None:
        self.given = given
        self.file = file
        self.said: dict[str, str] = {}
        self.wrong: dict[str, str] = {}

    def settings(self) -> Settings:
        """The settings. Raises ConfigurationError."""
        misspelt = tuple(self.misspelt())
        settings = Settings(
            **{field: self.read(each) for field, each in DECLARED.items()},
            path=self.given.get("PATH", ""),
            actor=_actor(self.given),
            misspelt=misspelt,
            public=self.said,
        )
        settings = replace(
            settings,
            cache=settings.scratch or self.directory(("DAGSTER_HOME", "")),
            state=self.directory(("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", ""), ("HOME", ".local/state")),
        )
        if problems := [*self.wrong.values(), *self.contradictions(settings)]:
            raise ConfigurationError(
                "; ".join((*problems, *misspelt)),
                f"correct them in the environment or in {self.file}; docs/settings.md lists every setting",
            )
        return settings

    def read(self, setting: Setting) -> Any:
        """The parsed value, or None after noting the problem. An empty variable counts as not set (Compose)."""
        try:
            text = self.text(setting) or setting.default
        except ValueError as error:
            self.wrong[setting.name] = str(error)
            return None
        self.said[setting.name] = text if not setting.secret else "given" if text else ""
        try:
            return setting.parse(text)
        except ConfigurationError as error:
            sentence = f"{setting.name}: {error.message}"
        except ValueError as error:
            sentence = f"{setting.name} {error}"
            if setting.secret and text and text in sentence:
                sentence = f"{setting.name} is not valid"
        self.wrong[setting.name] = f"{sentence}; write for example {setting.name}={setting.example}"
        return None

    def text(self, setting: Setting) -> str:
        """What is written, in the variable or in its file. Raises ValueError with a sentence about the file."""
        text, variable = self.given.get(setting.name, ""), f"{setting.name}_FILE"
        file = self.given.get(variable, "") if setting.secret else ""
        if not file:
            return text
        if text:
            raise ValueError(f"{setting.name} and {variable} are both set: keep one")
        try:
            return Path(file).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else None
            reason = os.strerror(number) if number else "not a text file"
            raise ValueError(f"{variable} cannot be read: {file!r}: {reason}") from None

    def directory(self, *variables: tuple[str, str]) -> Path | None:
        """The first of these variables that names a directory, and what is below it; none of them is a setting."""
        for name, below in variables:
            found = self.given.get(name, "").strip()
            if os.path.isabs(found):
                return Path(found) / below
        return None

    def contradictions(self, settings: Settings) -> Iterator[str]:
        """What is wrong between settings that are right by themselves."""
        if settings.encryption and not settings.encryption_key and "BACKUP_ENCRYPTION_KEY" not in self.wrong:
            yield (
                "BACKUP_ENCRYPTION is true but BACKUP_ENCRYPTION_KEY (or BACKUP_ENCRYPTION_KEY_FILE) is not set: "
                "`recyclic-backups keys generate` prints one"
            )
        if settings.encryption_key and settings.encryption is False:
            yield (
                "BACKUP_ENCRYPTION_KEY is given but BACKUP_ENCRYPTION is not true, so backups would be readable by "
                "everybody: set BACKUP_ENCRYPTION=true, or, only to read older backups, put the key into "
                "BACKUP_ENCRYPTION_OLD_KEYS"
            )
        if not self.wrong.keys() & {"BACKUP_TIME", "BACKUP_MINUTE"}:
            minute = settings.backup_time[1]
            if self.given.get("BACKUP_MINUTE") and minute not in (None, settings.backup_minute):
                yield "BACKUP_TIME has a minute and BACKUP_MINUTE says another: keep one"
        if not any(name.startswith(("NOTIFICATION_", "SMTP_")) for name in self.wrong):
            yield from problems_between(
                settings.mail_recipients,
                settings.mail_senders,
                settings.mail_server,
                settings.telegram_token,
                settings.telegram_chat,
            )

    def misspelt(self) -> Iterator[str]:
        """A sentence for each variable that looks like a setting and is none; what is nearly one is logged as well."""
        known = sorted({*(each.name for each in DECLARED.values()), *(f"{name}_FILE" for name in SECRETS)})
        prefixes = (*_PREFIXES, *(f"{name.partition('_')[0]}_" for name in known))
        for name in sorted(set(self.given) - set(known)):
            if not name.startswith(prefixes) or name.startswith(_OF_OTHERS):
                continue
            (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0)
            if difflib.SequenceMatcher(None, nearest, name).ratio() >= _NEARLY:
                sentence = f"{name} is no setting and does nothing: {nearest} was probably meant"
                _log_once(sentence)
                yield sentence
            elif name.startswith(_PREFIXES):
                yield f"{name} is no setting and does nothing; the nearest setting is {nearest}"


@cache
def _log_once(sentence: str) -> None:
    """Settings are read again and again by a server: what is odd about them is said once."""
    _log.warning("%s", sentence)


def _actor(given: Mapping[str, str]) -> Actor:
    """Who runs this process. sudo and sshd tell in variables who came and from where (sudo(8), ssh(1))."""
    user = user_name(os.getuid())
    behind = given.get("SUDO_USER", "")
    address = (given.get("SSH_CONNECTION", "").split() or [""])[0]
    return Actor(f"{behind} as {user}" if behind else user, socket.gethostname(), address=address)
