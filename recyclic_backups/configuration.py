"""The only reader of the environment, and of ``.env`` in the working directory.

Every setting is checked at once, and one error names every wrong one. Secrets may be given as
``NAME_FILE``, a file that holds the value (a Docker secret). A name that is nearly a setting's is told.
"""

from __future__ import annotations

import difflib
import logging
import os
import pwd
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from recyclic_backups import setting_values as read_as
from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.actor import Actor
from recyclic_backups.compression import Compression
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.machine_users import trusted_users
from recyclic_backups.notify.channels import (
    Channel,
    Email,
    MailServer,
    Service,
    Telegram,
    parse_recipients,
    parse_services,
    problems_between,
)
from recyclic_backups.notify.severity import Severity
from recyclic_backups.postgres.server import Server
from recyclic_backups.quantities import parse_bytes
from recyclic_backups.retention.policy import Retention
from recyclic_backups.settings import Alerts, Settings

T = TypeVar("T")

_log = logging.getLogger(__name__)

_NEARLY = 0.86
"""How alike (difflib's ratio) a name has to be to a setting's to be taken for a misspelling of it."""

SECRETS = frozenset(
    {
        "POSTGRES_PASSWORD",
        "BACKUP_ENCRYPTION_KEY",
        "BACKUP_ENCRYPTION_OLD_KEYS",
        "SMTP_PASSWORD",
        "NOTIFICATION_TELEGRAM_TOKEN",
        "NOTIFICATION_URLS",
        "HEARTBEAT_URL",
        "DRILL_SERVER_URL",
    }
)
"""Settings whose value is never shown; each may also be given as ``NAME_FILE``."""


EXAMPLES: Mapping[str, str] = {
    "POSTGRES_SSLMODE": "verify-full",
    "POSTGRES_SSLROOTCERT": "system",
    "BACKUP_STORAGE": "file:///srv/backups",
    "BACKUP_SCRATCH": "/srv/scratch",
    "BACKUP_TIME": "02:30",
    "BACKUP_COMPRESSION": "zstd:3",
    "BACKUP_RATE_LIMIT": "20MB/s",
    "BACKUP_ENCRYPTION": "true",
    "BACKUP_ENCRYPTION_KEY": "(what `recyclic-backups keys generate` prints)",
    "NOTIFICATION_EMAIL": "somebody@example.org,another@example.org",
    "NOTIFICATION_EMAIL_SEVERITY": "critical",
    "NOTIFICATION_TELEGRAM_TOKEN": "123456:ABC-DEF",
    "NOTIFICATION_TELEGRAM_CHAT_ID": "-1001234567890",
    "NOTIFICATION_URLS": "critical=slack://token/channel",
    "SMTP_HOST": "mail.example.org",
    "SMTP_FROM": "backups@example.org",
    "HEARTBEAT_URL": "https://hc-ping.com/your-uuid",
    "DAGSTER_URL": "https://backups.example.org",
    "DRILL_SERVER_URL": "postgresql://user:password@staging.example.org:5432/",
    "DRILL_PROBES": "/etc/recyclic_backups/probes",
}
"""What a right value looks like, for settings whose default says too little of that."""


def load_settings(environment: Mapping[str, str] | None = None, *, dotenv: Path | None = None) -> Settings:
    """The settings of this process: its environment, and below it the ``.env`` of the working directory.

    Raises ConfigurationError naming every wrong setting at once, with no secret in it; and for an ``.env`` of another
    user's.
    """
    given = dict(os.environ if environment is None else environment)
    file = dotenv if dotenv is not None else Path(".env") if environment is None else None
    if file is None or not file.is_file():
        return _Reading(given).settings()
    reading = _Reading({**_read_dotenv(file), **given})
    reading.file = str(file.absolute())
    return replace(reading.settings(), dotenv=file.absolute())


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
                f"{file.absolute()} belongs to another user ({_user(strangers.pop())}): such settings are not read",
                "run the command in a directory of your own; if the file is yours: chown it",
            )
        if found.st_mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"every user of this machine may change {file.absolute()}: it is not read",
                f"chmod o-w {file}",
            )
        return opened.read()


def _user(uid: int) -> str:
    """The name of a user, or its number where it has none, as in a container."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def secrets_for_everybody(file: Path = Path(".env")) -> tuple[str, ...]:
    """The secrets in a file of settings that every user of the machine may read; none where the file is closed."""
    if not file.is_file() or not file.stat().st_mode & stat.S_IROTH:
        return ()
    return tuple(sorted(name for name, value in _read_dotenv(file).items() if value and name in SECRETS))


@cache
def _tell_once(sentence: str) -> None:
    """Settings are read again and again by a server: what is odd about them is said once."""
    _log.warning("%s", sentence)


def _read_dotenv(file: Path) -> dict[str, str]:
    from dotenv import dotenv_values  # noqa: PLC0415 - only where there is a file

    try:
        # Values are taken as they are written: a password with ${…} in it must not become another one.
        values = dotenv_values(stream=StringIO(_text_of_ours(file)), interpolate=False)
        return {name: value for name, value in values.items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error.__class__.__name__}") from None


def _actor(given: Mapping[str, str]) -> Actor:
    """Who runs this process. sudo and sshd tell in variables who came and from where (sudo(8), ssh(1))."""
    user = _user(os.getuid())
    behind = given.get("SUDO_USER", "")
    address = (given.get("SSH_CONNECTION", "").split() or [""])[0]
    return Actor(f"{behind} as {user}" if behind else user, socket.gethostname(), address=address)


class _Reading:
    """One pass over the environment that collects problems instead of stopping at the first."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self.given = given
        self.file = ".env"
        self.said: dict[str, str] = {}
        self.problems: list[str] = []

    def settings(self) -> Settings:
        encryption = self.read("BACKUP_ENCRYPTION", "false", read_as.boolean)
        values: dict[str, Any] = {
            "host": self.read("POSTGRES_HOST", "localhost", read_as.host),
            "port": self.read("POSTGRES_PORT", "5432", read_as.integer(1, 65535)),
            "user": self.read("POSTGRES_USER", "postgres", read_as.name),
            "password": self.read("POSTGRES_PASSWORD", "", str),
            "database": self.read("POSTGRES_DB", "recyclic", read_as.name),
            "sslmode": self.read(
                "POSTGRES_SSLMODE",
                "prefer",
                read_as.one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
            ),
            "sslrootcert": self.read("POSTGRES_SSLROOTCERT", "", read_as.existing_file),
            "connect_timeout_seconds": self.read("POSTGRES_CONNECT_TIMEOUT", "10", read_as.seconds("s", 1)),
            "lock_timeout_seconds": self.read("BACKUP_LOCK_TIMEOUT", "60", read_as.seconds("s", 1)),
            "timeout_seconds": self.read("BACKUP_TIMEOUT", "3600", read_as.seconds("s", 1)),
            "lock_wait_seconds": self.read("BACKUP_LOCK_WAIT", "600", read_as.seconds("s", 0)),
            "verify_interval_seconds": self.read("BACKUP_VERIFY_INTERVAL", "20h", read_as.seconds("h", 0)),
            "storage_url": self.read("BACKUP_STORAGE", "file://./backups", read_as.storage_url),
            "scratch": self.read("BACKUP_SCRATCH", "", read_as.directory),
            "calendar": self.calendar(),
            "missed_day": self.read("BACKUP_MISSED_DAY", "late", read_as.one_of("late", "refuse")),
            "compression": self.read("BACKUP_COMPRESSION", "true", Compression.parse),
            "jobs": self.read("BACKUP_JOBS", "1", read_as.integer(1, 64)),
            "rate_limit_bytes": self.read(
                "BACKUP_RATE_LIMIT", "", lambda text: read_as.rate(text) if text else None
            ),
            "fingerprint": self.read(
                "BACKUP_FINGERPRINT", "content", read_as.one_of("content", "counts", "off")
            ),
            "pg_bin": self.given.get("PG_BIN", "").strip() or None,
            "path": self.given.get("PATH", ""),
            "encryption": encryption,
            "encryption_key": self.read("BACKUP_ENCRYPTION_KEY", "", read_as.passphrase),
            "encryption_old_keys": self.read("BACKUP_ENCRYPTION_OLD_KEYS", "", read_as.passphrases),
            "retention": Retention(
                daily=self.read("RETENTION_DAILY", "7", read_as.integer(1, 10_000)),
                weekly=self.read("RETENTION_WEEKLY", "4", read_as.integer(0, 10_000)),
                monthly=self.read("RETENTION_MONTHLY", "12", read_as.integer(0, 10_000)),
                checkpoint=self.read("RETENTION_CHECKPOINT", "5", read_as.integer(0, 10_000)),
                minimum=self.read("RETENTION_MINIMUM", "3", read_as.integer(1, 10_000)),
                max_days=self.read("RETENTION_MAX_DAYS", "400", read_as.integer(1, 100_000)),
            ),
            "alerts": Alerts(
                age_warning_seconds=self.read("ALERT_BACKUP_AGE_WARNING", "6h", read_as.seconds("h", 1)),
                age_critical_seconds=self.read("ALERT_BACKUP_AGE_CRITICAL", "25h", read_as.seconds("h", 1)),
                disk_warning_bytes=self.read("ALERT_DISK_SPACE_WARNING", "5GB", parse_bytes),
                disk_critical_bytes=self.read("ALERT_DISK_SPACE_CRITICAL", "1GB", parse_bytes),
            ),
            "channels": self.channels(),
            "heartbeat_url": self.read("HEARTBEAT_URL", "", read_as.web_url),
            "dagster_url": self.read("DAGSTER_URL", "", read_as.web_url),
            "drill_server": self.read(
                "DRILL_SERVER_URL", "", lambda text: Server.from_url(text)[0] if text else None
            ),
            "drill_probes": self.read("DRILL_PROBES", "", read_as.directory),
            "locale": self.read("BACKUP_LOCALE", "en", read_as.one_of("en", "fr")),
            "environment": self.read(
                "BACKUP_ENVIRONMENT", "production", read_as.one_of("production", "staging", "development")
            ),
            "code_server_tcp": self.read("BACKUP_CODE_SERVER_TCP", "false", read_as.boolean),
        }
        if encryption and not values["encryption_key"] and not self.names_wrong("BACKUP_ENCRYPTION_KEY"):
            self.problems.append(
                "BACKUP_ENCRYPTION is true but BACKUP_ENCRYPTION_KEY (or BACKUP_ENCRYPTION_KEY_FILE) is not set: "
                "`recyclic-backups keys generate` prints one"
            )
        if values["encryption_key"] and encryption is False:
            self.problems.append(
                "BACKUP_ENCRYPTION_KEY is given but BACKUP_ENCRYPTION is not true, so backups would be readable by "
                "everybody: set BACKUP_ENCRYPTION=true, or, only to read older backups, put the key into "
                "BACKUP_ENCRYPTION_OLD_KEYS"
            )
        values["cache"] = values["scratch"] or self.home_of_dagster()
        values["state"] = self.state_directory()
        misspelt = self.misspelt()
        for sentence in misspelt:
            _tell_once(sentence)
        if self.problems:
            raise ConfigurationError(
                "; ".join((*self.problems, *misspelt)),
                f"correct them in the environment or in {self.file}; docs/settings.md lists every setting",
            )
        return Settings(**values, misspelt=misspelt, actor=_actor(self.given), public=self.said)

    def misspelt(self) -> tuple[str, ...]:
        """A sentence for each variable whose name is nearly, but not quite, that of a setting."""
        known = {*self.said, *(f"{name}_FILE" for name in SECRETS)}
        prefixes = {name.partition("_")[0] for name in known}
        strangers = {name for name in self.given if name.partition("_")[0] in prefixes} - known
        sentences = []
        for name in sorted(strangers):
            for nearest in difflib.get_close_matches(name, sorted(known), n=1, cutoff=_NEARLY):
                sentences.append(f"{name} is no setting and does nothing: {nearest} was probably meant")
        return tuple(sentences)

    def calendar(self) -> Calendar:
        timezone = self.read("BACKUP_TIMEZONE", "Europe/Paris", read_as.time_zone) or ZoneInfo("UTC")
        start = self.read("BACKUP_START_DATE", "2026-01-01", read_as.day) or date(2026, 1, 1)
        hour, minute_of_time = self.read("BACKUP_TIME", "2", read_as.time_of_day) or (0, None)
        minute = self.read("BACKUP_MINUTE", "0", read_as.integer(0, 59)) or 0
        if minute_of_time is not None:
            if self.given.get("BACKUP_MINUTE") and minute != minute_of_time:
                self.problems.append("BACKUP_TIME has a minute and BACKUP_MINUTE says another: keep one")
            minute = minute_of_time
        return Calendar(timezone=timezone, start=start, hour=hour, minute=minute)

    def home_of_dagster(self) -> Path | None:
        """Where Dagster keeps what is its own, if it is configured in this environment."""
        home = self.given.get("DAGSTER_HOME", "").strip()
        return Path(home) if os.path.isabs(home) else None

    def state_directory(self) -> Path | None:
        """Where this unit of systemd keeps what it remembers, or this user (XDG Base Directory Specification)."""
        for name, below in (("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
            found = self.given.get(name, "").strip()
            if os.path.isabs(found):
                return Path(found) / below
        return None

    def channels(self) -> tuple[Channel, ...]:
        """Everybody who is told of problems; none after noting what is wrong."""
        before = len(self.problems)
        severity = read_as.one_of(*Severity)
        recipients = self.read("NOTIFICATION_EMAIL", "", parse_recipients)
        for_mail = self.read("NOTIFICATION_EMAIL_SEVERITY", "warning", severity)
        server = MailServer(
            host=self.read("SMTP_HOST", "", read_as.host),
            port=self.read("SMTP_PORT", "587", read_as.integer(1, 65535)),
            user=self.read("SMTP_USER", "", str),
            password=self.read("SMTP_PASSWORD", "", str),
            starttls=self.read("SMTP_STARTTLS", "true", read_as.boolean),
        )
        senders = self.read("SMTP_FROM", "", parse_recipients)
        token = self.read("NOTIFICATION_TELEGRAM_TOKEN", "", read_as.telegram_token)
        chat_id = self.read("NOTIFICATION_TELEGRAM_CHAT_ID", "", read_as.telegram_chat)
        for_telegram = self.read("NOTIFICATION_TELEGRAM_SEVERITY", "warning", severity)
        services = self.read("NOTIFICATION_URLS", "", parse_services)
        for_services = self.read("NOTIFICATION_URLS_SEVERITY", "warning", severity)
        if len(self.problems) > before:
            return ()
        self.problems += problems_between(recipients, senders, server, token, chat_id)
        # Mail servers rarely let anybody send for others: who logs in by a mail address sends from it.
        sender = (*senders, *((server.user,) if "@" in server.user else ()), *recipients, "")[0]
        found: list[Channel] = [Email(each, sender, server, Severity(for_mail)) for each in recipients]
        if token and chat_id:
            found.append(Telegram(token, chat_id, Severity(for_telegram)))
        for number, (url, minimum) in enumerate(services, start=1):
            found.append(Service(url, number, minimum or Severity(for_services)))
        return tuple(found)

    def names_wrong(self, name: str) -> bool:
        return any(problem.startswith(name) for problem in self.problems)

    def read(self, name: str, default: str, parse: Callable[[str], T]) -> Any:
        """The parsed value, or None after noting the problem. An empty variable counts as not set (Compose)."""
        text = self.text(name)
        if text is None:
            return None
        self.said[name] = ("given" if text else "") if name in SECRETS else text or default
        try:
            return parse(text or default)
        except ConfigurationError as error:
            sentence = f"{name}: {error.message}"
        except ValueError as error:
            sentence = f"{name} {error}"
            if name in SECRETS and text and text in sentence:
                sentence = f"{name} is not valid"
        self.problems.append(f"{sentence}; write for example {name}={EXAMPLES.get(name, default)}")
        return None

    def text(self, name: str) -> str | None:
        """The raw value, from the variable or from its file; None after noting a problem with the file."""
        text = self.given.get(name, "")
        file = self.given.get(f"{name}_FILE", "") if name in SECRETS else ""
        if not file:
            return text
        if text:
            self.problems.append(f"{name} and {name}_FILE are both set: keep one")
            return None
        try:
            return Path(file).read_text(encoding="utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = (
                os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not a text file"
            )
            self.problems.append(f"{name}_FILE cannot be read: {file!r}: {reason}")
            return None
