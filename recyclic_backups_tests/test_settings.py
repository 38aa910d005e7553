"""Settings: all of them checked, every wrong one named, no secret shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.configuration import SECRETS, load_settings
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
    assert settings.alerts.age_warning_seconds == 6 * 3600
    assert settings.alerts.age_critical_seconds == 25 * 3600
    assert settings.alerts.disk_warning_bytes == 5 * 10**9
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


def test_names_of_other_programs_are_no_misspelt_settings() -> None:
    """Loss prevented: warnings every night about what Compose and PostgreSQL's image read, until nobody reads any."""
    compose = re.findall(r"\$\{([A-Z][A-Z0-9_]*)", (PROJECT / "docker" / "compose.yaml").read_text())
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
