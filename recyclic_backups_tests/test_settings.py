"""Settings: all of them checked, every wrong one named, no secret shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import SECRETS
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.quantities import human_bytes, human_seconds, parse_bytes, parse_seconds

PROJECT = Path(__file__).parent.parent
SECRET = "a-secret-of-thirty-two-characters"


def test_defaults_are_the_documented_ones() -> None:
    """Loss prevented: a default that differs from what an operator read."""
    settings = load_settings({})
    assert (settings.calendar.hour, settings.calendar.minute) == (2, 0)
    assert str(settings.calendar.timezone) == "Europe/Paris"
    assert settings.storage_url == "file://./backups"
    assert settings.encryption is False
    assert settings.age_warning_seconds == 6 * 3600
    assert settings.age_critical_seconds == 25 * 3600
    assert settings.disk_warning_bytes == 5 * 10**9
    assert (settings.retention.daily, settings.retention.weekly, settings.retention.monthly) == (7, 4, 12)
    assert settings.lock_wait_seconds == 600
    assert settings.timeout_seconds == 3600


def test_an_empty_variable_counts_as_not_set() -> None:
    """Loss prevented: Compose passes unset variables as empty ones."""
    assert load_settings({"BACKUP_TIME": "", "POSTGRES_PORT": ""}) == load_settings({})


def test_a_secret_never_shows_in_the_settings_text() -> None:
    """Loss prevented: a password in a log because somebody logged the settings."""
    settings = load_settings(
        {"POSTGRES_PASSWORD": SECRET, "BACKUP_ENCRYPTION_KEY": SECRET, "BACKUP_ENCRYPTION": "true"}
    )
    assert SECRET not in repr(settings)
    assert SECRET not in repr(settings.server)


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_no_secret_in_the_error_about_it(name: str, tmp_path: Path) -> None:
    """Loss prevented: a key in the mail that cron sends about a typing error."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with pytest.raises(ConfigurationError) as both:
        load_settings({name: SECRET, f"{name}_FILE": str(file)})
    assert name in both.value.message
    assert SECRET not in both.value.message


def test_a_variable_and_its_file_together_are_an_error(tmp_path: Path) -> None:
    """Loss prevented: two different keys configured, and the wrong one used."""
    file = tmp_path / "key"
    file.write_text(SECRET)
    with pytest.raises(ConfigurationError, match="both set"):
        load_settings({"BACKUP_ENCRYPTION_KEY": SECRET, "BACKUP_ENCRYPTION_KEY_FILE": str(file)})


def test_a_key_without_encryption_is_an_error() -> None:
    """Loss prevented: backups readable by everybody, by an operator who set a key and misspelt the switch."""
    given = {"BACKUP_ENCRYPTION_KEY": SECRET, "BACKUP_ENCRYPTON": "true"}
    with pytest.raises(ConfigurationError) as refused:
        load_settings(given)
    assert "BACKUP_ENCRYPTION=true" in refused.value.message
    assert "BACKUP_ENCRYPTON is no setting" in refused.value.message
    assert SECRET not in refused.value.message
    assert load_settings({"BACKUP_ENCRYPTION_OLD_KEYS": SECRET}).encryption_old_keys == (SECRET,)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("RETENTION_DAYLY", "RETENTION_DAILY"),
        ("BACKUP_ENCRYPTON", "BACKUP_ENCRYPTION"),
        ("POSTGRES_PASWORD", "POSTGRES_PASSWORD"),
        ("BACKUP_ENCRYPTION_KEYFILE", "BACKUP_ENCRYPTION_KEY_FILE"),
        ("SMTP_STARTLS", "SMTP_STARTTLS"),
    ],
)
def test_a_misspelt_setting_is_told_with_the_one_that_was_meant(misspelt: str, meant: str) -> None:
    """Loss prevented: 30 days of retention that somebody wrote down and nobody read."""
    (sentence,) = load_settings({misspelt: "x"}).misspelt
    assert sentence.startswith(f"{misspelt} is no setting")
    assert f"{meant} was probably meant" in sentence


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [("RETENTION_KEEP", "RETENTION_WEEKLY"), ("BACKUP_FORMAT", "BACKUP_"), ("WAL_LEVEL", "WAL_")],
)
def test_any_unknown_name_with_a_prefix_of_ours_is_told(unknown: str, nearest: str) -> None:
    """Loss prevented: a setting of a newer release, or of another software, that somebody relies upon."""
    (sentence,) = load_settings({unknown: "x", "SOMETHING_ELSE": "x", "PGDATA": "x"}).misspelt
    assert sentence.startswith(f"{unknown} is no setting and does nothing; the nearest setting is {nearest}")


def test_names_of_other_programs_are_no_misspelt_settings() -> None:
    """Loss prevented: warnings every night about what Compose and PostgreSQL's image read, until nobody reads any."""
    compose = re.findall(
        r"\$\{([A-Z][A-Z0-9_]*)",
        "".join(each.read_text() for each in (PROJECT / "docker").glob("compose*.yaml")),
    )
    image = ("POSTGRES_INITDB_ARGS", "POSTGRES_HOST_AUTH_METHOD", "POSTGRES_INITDB_WALDIR", "BACKUP_UID")
    known = load_settings({}).public
    assert load_settings({name: "" for name in (*compose, *image) if name not in known}).misspelt == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"BACKUP_TIME": "02:00"}, (2, 0)),
        ({"BACKUP_TIME": "23:45"}, (23, 45)),
        ({"BACKUP_TIME": "3", "BACKUP_MINUTE": "15"}, (3, 15)),
        ({"BACKUP_TIME": "3:15", "BACKUP_MINUTE": "15"}, (3, 15)),
    ],
)
def test_the_time_of_the_backup_may_have_a_minute(given: dict[str, str], expected: tuple[int, int]) -> None:
    """Loss prevented: an evening spent on what a clock shows."""
    calendar = load_settings(given).calendar
    assert (calendar.hour, calendar.minute) == expected


@pytest.mark.parametrize("text", ["24", "02:60", "2:5", "02:00:00", "２", "-1", "02:00 PM"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """Loss prevented: a schedule at an hour that nobody meant."""
    with pytest.raises(
        ConfigurationError, match="BACKUP_TIME must be an hour from 0 to 23, or a time such as"
    ):
        load_settings({"BACKUP_TIME": text})


def test_two_different_minutes_are_refused() -> None:
    """Loss prevented: half past two in one place and a quarter past in another."""
    with pytest.raises(ConfigurationError, match="keep one"):
        load_settings({"BACKUP_TIME": "02:30", "BACKUP_MINUTE": "15"})


def test_old_keys_are_one_a_line_or_separated_by_commas() -> None:
    """Loss prevented: two old keys read as one that opens nothing."""
    expected = ("first-old-key-123456", "second-old-key-12345")
    for separator in ("\n", ",", ", "):
        assert (
            load_settings({"BACKUP_ENCRYPTION_OLD_KEYS": separator.join(expected)}).encryption_old_keys
            == expected
        )


@given(
    st.sampled_from(["BACKUP_TIME", "POSTGRES_PORT", "BACKUP_JOBS", "RETENTION_DAILY"]), st.text(max_size=12)
)
def test_nonsense_is_an_error_and_never_a_traceback(name: str, text: str) -> None:
    """Loss prevented: a setting that crashes the nightly run instead of being named in the evening."""
    text = text.replace("\0", "")
    if (text.strip().isascii() and text.strip().isdigit()) or not text:
        return
    with pytest.raises(ConfigurationError, match=name):
        load_settings({name: text})


@given(st.integers(1, 10**6), st.sampled_from(["s", "m", "h", "d"]))
def test_durations_are_read_with_their_unit(number: int, unit: str) -> None:
    """Loss prevented: hours taken for seconds, and an alarm every minute."""
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert parse_seconds(f"{number}{unit}", unit="s") == number * factor
    assert parse_seconds(f"{number}", unit="h") == number * 3600


def test_sizes_are_read_and_written_in_decimal_units() -> None:
    """Loss prevented: a threshold that is seven percent off."""
    assert parse_bytes("5GB") == 5 * 10**9
    assert parse_bytes("1 GiB") == 2**30
    assert parse_bytes("1.5 MB") == 1_500_000
    assert human_bytes(5 * 10**9) == "5.0 GB"
    assert human_bytes(999) == "999 B"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (61, "1 min 1 s"),
        (59.97, "60.0 s"),
        (25 * 3600, "25 h 0 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_durations_are_written_as_people_say_them(seconds: float, text: str) -> None:
    """Loss prevented: a report in seconds that nobody converts at 3 a.m."""
    assert human_seconds(seconds) == text


WRONG: dict[str, tuple[str, ...]] = {
    "POSTGRES_HOST": ("postgresql://db/", "two words", "me@db"),
    "POSTGRES_PORT": ("0", "65536", "5432a", "-1", "５４３２"),
    "POSTGRES_SSLMODE": ("verify", "true"),
    "POSTGRES_SSLROOTCERT": ("/no/such/file",),
    "POSTGRES_CONNECT_TIMEOUT": ("0", "soon", "-5", "200y"),
    "BACKUP_LOCK_TIMEOUT": ("0", "one minute"),
    "BACKUP_TIMEOUT": ("0", "1 hour 5", "inf"),
    "BACKUP_LOCK_WAIT": ("never", "-1"),
    "BACKUP_VERIFY_INTERVAL": ("never", "-1"),
    "BACKUP_STORAGE": (
        "/srv/backups",
        "backups",
        "s3://bucket",
        "file:///",
        "file://host/x",
        "file:///a%2",
        "file:x",
    ),
    "BACKUP_SCRATCH": ("/etc/passwd", "~/tmp"),
    "BACKUP_TIMEZONE": ("Paris", "CET+1", "../etc", "?"),
    "BACKUP_START_DATE": ("01/02/2026", "2026-13-01", "today"),
    "BACKUP_TIME": ("noon", "24", "02:60", "2h", "02:00 PM"),
    "BACKUP_MINUTE": ("60", "half", "-1"),
    "BACKUP_MISSED_DAY": ("skip", "yes"),
    "BACKUP_COMPRESSION": ("gzip", "zstd:20", "zstd:"),
    "BACKUP_JOBS": ("0", "65", "four"),
    "BACKUP_RATE_LIMIT": ("1KB/s", "fast", "10"),
    "BACKUP_FINGERPRINT": ("none", "true"),
    "BACKUP_ENCRYPTION": ("enabled", "oui", "aes"),
    "BACKUP_ENCRYPTION_KEY": ("short",),
    "RETENTION_DAILY": ("0", "seven", "-1", "1.5"),
    "RETENTION_WEEKLY": ("-1", "4w"),
    "RETENTION_MONTHLY": ("-1", "a year"),
    "RETENTION_CHECKPOINT": ("-1", "x"),
    "RETENTION_MINIMUM": ("0", "x"),
    "RETENTION_MAX_DAYS": ("0", "400d"),
    "RETENTION_BASE": ("0", "two"),
    "BASE_BACKUP_CRON": (
        "weekly",
        "0 3 * *",
        "60 3 * * 0",
        "0 3 * * 8",
        "0 5-3 * * 0",
        "*/0 3 * * 0",
        "0 3 * * sun",
    ),
    "WAL_ARCHIVE": ("archive", "2"),
    "WAL_TAIL_SECONDS": ("0", "often", "-1"),
    "WAL_SLOT": ("Slot", "our-slot", "a slot", "é", "x" * 64),
    "WAL_HEARTBEAT_SECONDS": ("0", "never"),
    "ALERT_BACKUP_AGE_WARNING": ("6x", "0"),
    "ALERT_BACKUP_AGE_CRITICAL": ("a day", "-1h"),
    "ALERT_DISK_SPACE_WARNING": ("5 percent", "5%"),
    "ALERT_DISK_SPACE_CRITICAL": ("little", "-1GB"),
    "NOTIFICATION_EMAIL": ("somebody", "a@b,c"),
    "NOTIFICATION_EMAIL_SEVERITY": ("all", "error"),
    "SMTP_HOST": ("smtp://mail", "mail server"),
    "SMTP_PORT": ("smtp", "0"),
    "SMTP_FROM": ("backups",),
    "SMTP_STARTTLS": ("maybe",),
    "NOTIFICATION_TELEGRAM_TOKEN": ("token",),
    "NOTIFICATION_TELEGRAM_CHAT_ID": ("our group", "https://t.me/x"),
    "NOTIFICATION_TELEGRAM_SEVERITY": ("high",),
    "NOTIFICATION_URLS": ("slack", "loud=slack://x"),
    "NOTIFICATION_URLS_SEVERITY": ("info",),
    "HEARTBEAT_URL": ("hc-ping.com/x", "ftp://x/", "https://me:pw@x/"),
    "DAGSTER_URL": ("localhost:3000", "https://a b/"),
    "DRILL_SERVER_URL": ("staging:5432", "mysql://x/"),
    "DRILL_PROBES": ("/etc/passwd", "~/probes"),
    "BACKUP_LOCALE": ("de", "fr_FR"),
    "BACKUP_ENVIRONMENT": ("prod", "test"),
    "BACKUP_CODE_SERVER_TCP": ("4000",),
}

FREE = {
    *("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "SMTP_USER", "SMTP_PASSWORD"),
    *("BACKUP_ENCRYPTION_OLD_KEYS", "PG_BIN"),
}
"""Settings that any text is right for."""


def test_every_setting_has_wrong_values_here() -> None:
    """Loss prevented: a new setting whose error nobody understands."""
    assert {*WRONG, *FREE} == set(load_settings({}).public)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_says_what_to_write(name: str, value: str) -> None:
    """Loss prevented: an evening spent on guessing how a setting wants to be written."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings({name: value})
    said = refused.value.message
    assert said.startswith(name)
    written = re.search(rf"; write for example {name}=(.+)$", said)
    if name != "BACKUP_ENCRYPTION_KEY":
        assert written is not None, said
        # What is recommended is right by itself, though another setting may have to go with it.
        with pytest.raises(ConfigurationError) as others:
            load_settings({name: written[1], "BACKUP_JOBS" if name != "BACKUP_JOBS" else "SMTP_PORT": "0"})
        assert f"write for example {name}=" not in others.value.message
    else:
        assert "16 characters or more" in said
        assert "keys generate" in said
    if name in SECRETS:
        assert value not in said.replace(name, "") or value in ("token", "slack", "short")


@pytest.mark.parametrize(
    ("given", "write"),
    [
        ({"NOTIFICATION_EMAIL": "a@b.c"}, "SMTP_HOST=mail.example.org"),
        ({"SMTP_FROM": "a@b.c,d@e.f"}, "SMTP_FROM=backups@example.org"),
        ({"SMTP_HOST": "m", "SMTP_PASSWORD": "x"}, "SMTP_USER=backups@example.org"),
        (
            {"SMTP_HOST": "m", "SMTP_USER": "u", "SMTP_PASSWORD": "x", "SMTP_STARTTLS": "false"},
            "SMTP_STARTTLS=true",
        ),
        ({"NOTIFICATION_TELEGRAM_TOKEN": "1:a"}, "NOTIFICATION_TELEGRAM_CHAT_ID=-1001234567890"),
        ({"NOTIFICATION_TELEGRAM_CHAT_ID": "1"}, "BotFather"),
        ({"BACKUP_TIME": "2:30", "BACKUP_MINUTE": "15"}, "keep one"),
        ({"BACKUP_ENCRYPTION": "true"}, "BACKUP_ENCRYPTION_KEY"),
        ({"BACKUP_ENCRYPTION_KEY": SECRET}, "BACKUP_ENCRYPTION=true"),
    ],
)
def test_settings_that_do_not_go_together_say_what_to_write(given: dict[str, str], write: str) -> None:
    """Loss prevented: mail that nobody gets, for want of the one setting that goes with another."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings(given)
    assert write in refused.value.message


def test_the_file_that_is_to_be_corrected_is_named(tmp_path: Path) -> None:
    """Loss prevented: the right line in the .env of another directory."""
    file = tmp_path / ".env"
    file.write_text("BACKUP_JOBS=many\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, dotenv=file)
    assert str(file) in refused.value.hint
