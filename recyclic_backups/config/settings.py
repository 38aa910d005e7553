"""The table of settings. Each is declared once: its name, its default, how it is read, and what it means.

From this table come what :mod:`recyclic_backups.config.load` reads, the tables of docs/settings.md and ``.env.example``
(``make settings`` writes both, ``make check`` compares them), and the names that misspelt ones are compared with.
The meaning is the text below the setting. It is Markdown, and is read from this file only when the pages are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.actor import Actor
from recyclic_backups.compression import Compression
from recyclic_backups.config import values
from recyclic_backups.notify.channels import MailServer, parse_recipients, parse_services
from recyclic_backups.notify.severity import Severity
from recyclic_backups.postgres.server import Server
from recyclic_backups.quantities import parse_bytes
from recyclic_backups.retention.policy import Retention


class Setting(NamedTuple):
    """One declared setting. ``parse`` raises ValueError or ConfigurationError; ``example`` is a right value."""

    group: str
    name: str
    default: str
    parse: Callable[[str], Any]
    example: str
    secret: bool


def _declare(
    group: str,
    name: str,
    default: str,
    parse: Callable[[str], Any],
    *,
    example: str = "",
    secret: bool = False,
) -> Any:
    """A field of :class:`Settings`. A secret never shows in ``repr``, and may also be given as ``NAME_FILE``."""
    declared = Setting(group, name, default, parse, example or default, secret)
    return field(repr=not secret, metadata={"setting": declared})


_database = partial(_declare, "Database")
_storage = partial(_declare, "Storage")
_when = partial(_declare, "When")
_how = partial(_declare, "How")
_encryption = partial(_declare, "Encryption")
_retention = partial(_declare, "Retention")
_wal = partial(_declare, "WAL")
_drills = partial(_declare, "Drills")
_alerts = partial(_declare, "Alerts")
_other = partial(_declare, "Other")

_port = values.integer(1, 65535)
_seconds = values.seconds("s", 1)
_count = values.integer(0, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured, as plain values. Durations are in seconds, sizes in bytes."""

    host: str = _database("POSTGRES_HOST", "localhost", values.host)
    """host name, address, or the directory of a socket"""
    port: int = _database("POSTGRES_PORT", "5432", _port)
    """port of the server"""
    user: str = _database("POSTGRES_USER", "postgres", values.name)
    """a superuser, or a member of `pg_read_all_data` with BYPASSRLS"""
    password: str = _database("POSTGRES_PASSWORD", "", str, secret=True)
    """empty: none is sent, and libpq's own ways apply (peer, `~/.pgpass`). It is never told as it is to a server that
    has not proved who it is: see below"""
    database: str = _database("POSTGRES_DB", "recyclic", values.name)
    """the database to back up, and the one that `restore --replace` replaces"""
    sslmode: str = _database("POSTGRES_SSLMODE", "prefer", values.sslmode, example="verify-full")
    """`disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`, as libpq has them. Across a network:
    `verify-full`; plaintext to another machine is a warning of `validate` and of every backup, and a note in it. With
    the last three only programs that speak TLS are used: those installed along (16 and 18) do not"""
    sslrootcert: str = _database("POSTGRES_SSLROOTCERT", "", values.existing_file, example="system")
    """file of root certificates, or `system` (programs of PostgreSQL 16 or newer)"""
    connect_timeout_seconds: int = _database("POSTGRES_CONNECT_TIMEOUT", "10", _seconds)
    """seconds to wait for a connection"""
    lock_timeout_seconds: int = _database("BACKUP_LOCK_TIMEOUT", "60", _seconds)
    """seconds to wait for a lock on a table that somebody is altering; `--merge-into` waits so long in all for
    whoever is in the tables"""
    timeout_seconds: int = _database("BACKUP_TIMEOUT", "3600", _seconds)
    """seconds that a dump, or reading one again, may take; each step of a restore may take four times as long"""
    lock_wait_seconds: int = _database("BACKUP_LOCK_WAIT", "600", values.seconds("s", 0))
    """seconds to wait for another backup of the same database to end"""

    verify_interval_seconds: int = _database("BACKUP_VERIFY_INTERVAL", "20h", values.seconds("h", 0))
    """how long a verification answers the check `integrity`: a backup that was read whole so recently is not read
    again; `0` reads it every time"""

    storage_url: str = _storage(
        "BACKUP_STORAGE", "file://./backups", values.storage_url, example="file:///srv/backups"
    )
    """`file:///absolute/path`, or `file://./path` below the working directory. The last directory is made if missing,
    never its parents"""
    scratch: Path | None = _storage("BACKUP_SCRATCH", "", values.directory, example="/srv/scratch")
    """directory for private temporary files of a restore, and for the servers of [drills](drills.md); empty: the
    system's temporary directory"""

    backup_time: tuple[int, int | None] = _when("BACKUP_TIME", "2", values.time_of_day, example="02:30")
    """the hour of the daily backup in Dagster's schedule; `02:30` gives the minute too"""
    backup_minute: int = _when("BACKUP_MINUTE", "0", values.integer(0, 59))
    """its minute; weekly and monthly ones follow 30 and 35 minutes later"""
    timezone: ZoneInfo = _when("BACKUP_TIMEZONE", "Europe/Paris", values.time_zone)
    """whose midnight begins a day, and in which times are shown"""
    start_date: date | None = _when("BACKUP_START_DATE", "", values.day, example="2026-01-01")
    """the first day that counts: Dagster shows days since then without a backup as missing. Empty: the first of the
    month of the first backup in the storage, or of the running month while there is none ([what this
    means](#the-first-day)). Weeks and months that began before it have none; until the first of them, `backup --tier
    weekly` (or `monthly`) has nothing to do and says so, with exit code 0"""
    missed_day: Literal["late", "refuse"] = _when(
        "BACKUP_MISSED_DAY", "late", values.one_of("late", "refuse")
    )
    """what a backup asked for a day that is over does: `late` takes one now and says so, `refuse` refuses"""

    compression: Compression = _how("BACKUP_COMPRESSION", "true", Compression.parse, example="zstd:3")
    """`true` (zstd, level 2), `zstd:LEVEL` (1 to 19), `none`"""
    jobs: int = _how("BACKUP_JOBS", "1", values.integer(1, 64))
    """sessions at once, 1 to 64: tables of 64 MiB and more are then dumped and restored side by side, and a restore
    builds that many indexes at a time"""
    rate_limit_bytes: int | None = _how("BACKUP_RATE_LIMIT", "", values.rate, example="20MB/s")
    """most bytes a second that a dump reads from the server (`20MB/s`), all sessions together; empty: no limit"""
    fingerprint: Literal["content", "counts", "off"] = _how(
        "BACKUP_FINGERPRINT", "content", values.one_of("content", "counts", "off")
    )
    """`content` hashes every row, `counts` counts rows and values, `off` makes restores not comparable"""
    pg_bin: str | None = _how("PG_BIN", "", values.program_directory)
    """directory of the PostgreSQL programs to use; empty: the lowest suitable version found"""

    encryption: bool = _encryption("BACKUP_ENCRYPTION", "false", values.boolean, example="true")
    """`true` needs a key; without one nothing is stored"""
    encryption_key: str = _encryption(
        "BACKUP_ENCRYPTION_KEY",
        "",
        values.passphrase,
        example="(what `recyclic-backups keys generate` prints)",
        secret=True,
    )
    """any text of 16 characters or more; best what `recyclic-backups keys generate` prints"""
    encryption_old_keys: tuple[str, ...] = _encryption(
        "BACKUP_ENCRYPTION_OLD_KEYS", "", values.passphrases, secret=True
    )
    """former keys of any length, tried for reading only, also by `adopt`: one a line in a file, or separated by
    commas"""

    retention_daily: int = _retention("RETENTION_DAILY", "7", values.integer(1, 10_000))
    """daily backups to keep, each counted once however many days it stands for"""
    retention_weekly: int = _retention("RETENTION_WEEKLY", "4", _count)
    """weekly; 0 for none"""
    retention_monthly: int = _retention("RETENTION_MONTHLY", "12", _count)
    """monthly; 0 for none"""
    retention_checkpoint: int = _retention("RETENTION_CHECKPOINT", "5", _count)
    """checkpoints; 0 for none"""
    retention_minimum: int = _retention("RETENTION_MINIMUM", "3", values.integer(1, 10_000))
    """so many of the newest good backups stay, however old"""
    retention_max_days: int = _retention("RETENTION_MAX_DAYS", "400", values.integer(1, 100_000))
    """days after which a backup leaves whatever tier or proof it has; not those of `RETENTION_MINIMUM`, nor held
    ones"""

    wal_archive: bool = _wal("WAL_ARCHIVE", "false", values.boolean, example="true")
    """`true` where [`wal receive`](wal.md) runs beside the backups: then at most seconds are lost, health judges the
    archive of WAL, and base backups are taken"""
    wal_tail_seconds: int = _wal("WAL_TAIL_SECONDS", "10", _seconds)
    """seconds after which the beginning of the running segment is stored: what a disaster costs at most, and as many
    requests to the storage"""
    wal_slot: str = _wal("WAL_SLOT", "recyclic_backups", values.slot)
    """name of the replication slot by which the server keeps what is not stored yet"""
    wal_heartbeat_seconds: int = _wal("WAL_HEARTBEAT_SECONDS", "300", _seconds)
    """seconds after which an idle server is made to commit a few bytes, so that every moment can be recovered to"""

    retention_base: int = _wal("RETENTION_BASE", "2", values.integer(1, 1000))
    """so many of the newest verified full base backups stay, with the incremental ones that build on them, and all WAL
    since the oldest of them"""
    base_backup_cron: values.Cron | None = _wal("BASE_BACKUP_CRON", "", values.cron, example="0 3 * * 0")
    """when Dagster takes a base backup, as the five fields of cron; empty: each Sunday, one hour after the daily
    backup"""

    drill_server: Server | None = _drills(
        "DRILL_SERVER_URL",
        "",
        values.server,
        example="postgresql://user:password@staging.example.org:5432/",
        secret=True,
    )
    """`postgresql://user:password@host:5432/` of a staging server to drill on, never production;
    `?sslmode=verify-full&sslrootcert=FILE` where somebody could be in between; empty: each drill starts a server of its
    own"""
    drill_probes: Path | None = _drills(
        "DRILL_PROBES", "", values.directory, example="/etc/recyclic_backups/probes"
    )
    """directory of your own probes, for drills and for [`guard`](guard.md); those that come along are asked too"""

    mail_recipients: tuple[str, ...] = _alerts(
        "NOTIFICATION_EMAIL", "", parse_recipients, example="somebody@example.org,another@example.org"
    )
    """mail addresses, separated by commas"""
    mail_severity: Severity = _alerts(
        "NOTIFICATION_EMAIL_SEVERITY", "warning", values.severity, example="critical"
    )
    """least severity that is mailed: `warning` (everything) or `critical`"""
    smtp_host: str = _alerts("SMTP_HOST", "", values.host, example="mail.example.org")
    """the mail server; needed for `NOTIFICATION_EMAIL`"""
    smtp_port: int = _alerts("SMTP_PORT", "587", _port)
    """465 speaks TLS from the first byte on, without STARTTLS"""
    smtp_user: str = _alerts("SMTP_USER", "", str)
    """empty: no login"""
    smtp_password: str = _alerts("SMTP_PASSWORD", "", str, secret=True)
    """never sent without TLS, but to this machine itself"""
    mail_senders: tuple[str, ...] = _alerts("SMTP_FROM", "", parse_recipients, example="backups@example.org")
    """the sender; empty: `SMTP_USER` if that is an address, else the first of `NOTIFICATION_EMAIL`"""
    smtp_starttls: bool = _alerts("SMTP_STARTTLS", "true", values.boolean)
    """`false` for a server on the same machine that has no TLS"""
    telegram_token: str = _alerts(
        "NOTIFICATION_TELEGRAM_TOKEN", "", values.telegram_token, example="123456:ABC-DEF", secret=True
    )
    """of the bot, from BotFather"""
    telegram_chat: str = _alerts(
        "NOTIFICATION_TELEGRAM_CHAT_ID", "", values.telegram_chat, example="-1001234567890"
    )
    """whom it writes to"""
    telegram_severity: Severity = _alerts("NOTIFICATION_TELEGRAM_SEVERITY", "warning", values.severity)
    """least severity that is sent there"""
    services: tuple[tuple[str, Severity | None], ...] = _alerts(
        "NOTIFICATION_URLS", "", parse_services, example="critical=slack://token/channel", secret=True
    )
    """anything else, as [apprise](https://github.com/caronc/apprise/wiki) URLs, one a line or separated by commas;
    `critical=slack://…` is told of critical problems only"""
    services_severity: Severity = _alerts("NOTIFICATION_URLS_SEVERITY", "warning", values.severity)
    """least severity for URLs that do not say"""
    heartbeat_url: str = _alerts(
        "HEARTBEAT_URL", "", values.web_url, example="https://hc-ping.com/your-uuid", secret=True
    )
    """asked after every good daily backup, of a service that raises the alarm when it is not; without user name or
    password"""
    dagster_url: str = _alerts("DAGSTER_URL", "", values.web_url, example="https://backups.example.org")
    """address of Dagster's pages, for links in messages"""
    locale: Literal["en", "fr"] = _alerts("BACKUP_LOCALE", "en", values.one_of("en", "fr"))
    """language of messages and reports: `en`, `fr`"""

    age_warning_seconds: int = _other("ALERT_BACKUP_AGE_WARNING", "6h", values.seconds("h", 1))
    """age of the newest backup from which Dagster's check `age` warns"""
    age_critical_seconds: int = _other("ALERT_BACKUP_AGE_CRITICAL", "25h", values.seconds("h", 1))
    """and from which it fails, and everybody is told"""
    disk_warning_bytes: int = _other("ALERT_DISK_SPACE_WARNING", "5GB", parse_bytes)
    """free space below which [health](health.md) warns"""
    disk_critical_bytes: int = _other("ALERT_DISK_SPACE_CRITICAL", "1GB", parse_bytes)
    """free space below which health is critical, `validate` warns, and retention starts before its time"""
    environment: Literal["production", "staging", "development"] = _other(
        "BACKUP_ENVIRONMENT", "production", values.one_of("production", "staging", "development")
    )
    """`production`, `staging` or `development`. Schedules are on from the beginning in production only; on staging,
    roles that a restore creates get no login"""
    code_server_tcp: bool = _other("BACKUP_CODE_SERVER_TCP", "false", values.boolean)
    """`true` lets Dagster's code server listen on a TCP port. It knows no login, and who reaches it can [have it run
    code](adr/0014-who-may-ask-the-code-server.md): only where nothing but Dagster's webserver and daemon reaches that
    port, as the [network policies for Kubernetes](kubernetes.md) see to. Otherwise it is served on a Unix socket or
    not at all"""

    path: str
    """Where programs are looked for beside ``pg_bin``: the variable PATH."""
    actor: Actor
    """Who runs this process."""
    misspelt: tuple[str, ...]
    """A sentence for each variable that looks like a setting and is none."""
    public: Mapping[str, str]
    """Every setting as it was written, secrets only as given or not: the audit log compares them."""
    cache: Path | None = None
    """Where this machine remembers documents of the storage: below BACKUP_SCRATCH, or Dagster's home."""
    state: Path | None = None
    """Where this machine keeps what must survive a restart: STATE_DIRECTORY of systemd, or the user's own directory."""
    dotenv: Path | None = field(default=None, compare=False)
    """The ``.env`` that was read, if there was one."""

    @property
    def server(self) -> Server:
        """The production server."""
        return Server(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            sslmode=self.sslmode,
            sslrootcert=self.sslrootcert,
            connect_timeout_seconds=self.connect_timeout_seconds,
            answer_timeout_seconds=self.timeout_seconds,
        )

    @property
    def calendar(self) -> Calendar:
        """When backups are due."""
        hour, minute = self.backup_time
        return Calendar(
            timezone=self.timezone,
            start=self.start_date,
            hour=hour,
            minute=self.backup_minute if minute is None else minute,
        )

    @property
    def retention(self) -> Retention:
        """What ``expire`` keeps."""
        return Retention(
            daily=self.retention_daily,
            weekly=self.retention_weekly,
            monthly=self.retention_monthly,
            checkpoint=self.retention_checkpoint,
            minimum=self.retention_minimum,
            max_days=self.retention_max_days,
            base=self.retention_base,
        )

    @property
    def base_backup_schedule(self) -> str:
        """When base backups are due, as the five fields of cron, on the clock of ``timezone``."""
        if self.base_backup_cron is not None:
            return self.base_backup_cron
        calendar = self.calendar
        sunday, monday = 0, 1
        return f"{calendar.minute} {(calendar.hour + 1) % 24} * * {sunday if calendar.hour < 23 else monday}"

    @property
    def mail_server(self) -> MailServer:
        """Where mail is handed in."""
        return MailServer(
            host=self.smtp_host,
            port=self.smtp_port,
            user=self.smtp_user,
            password=self.smtp_password,
            starttls=self.smtp_starttls,
        )

    @property
    def read_from(self) -> str:
        """Where the settings were read: which ``.env``, or that there was none."""
        if self.dotenv is not None:
            return f"read from the environment and {self.dotenv}"
        return f"read from the environment; there is no .env in {Path.cwd()}"

    @property
    def run_limit_seconds(self) -> int:
        """After which a run is taken for hung: the wait for the lock, the dump, and reading it again."""
        return self.lock_wait_seconds + 3 * self.timeout_seconds

    def coming_through(self, door: str) -> Settings:
        """The same settings for somebody who does not come through the command line: the audit log says so."""
        return replace(self, actor=replace(self.actor, via=door))


DECLARED: Mapping[str, Setting] = {
    each.name: each.metadata["setting"] for each in fields(Settings) if "setting" in each.metadata
}
"""The table: each setting by the name of its field."""

SECRETS = frozenset(each.name for each in DECLARED.values() if each.secret)
"""Names of the settings whose value is never shown."""
