"""Channels out of settings: what is understood, what is refused, and who sends."""

from __future__ import annotations

import pytest

from recyclic_backups import wiring
from recyclic_backups.config.load import load_settings
from recyclic_backups.errors import ConfigurationError
from recyclic_backups.notify.channels import Email, Service, Telegram
from recyclic_backups.notify.severity import Severity

MAIL = {"NOTIFICATION_EMAIL": "a@example.org, b@example.org", "SMTP_HOST": "mail.example.org"}
TOKEN = "424242:a-token-that-must-never-show"


def test_every_channel_from_its_settings() -> None:
    """Loss prevented: somebody who is never told because of a comma."""
    settings = load_settings(
        {
            **MAIL,
            "SMTP_USER": "backups@example.org",
            "SMTP_PASSWORD": "a-password-for-mail",
            "NOTIFICATION_EMAIL_SEVERITY": "Critical",
            "NOTIFICATION_TELEGRAM_TOKEN": TOKEN,
            "NOTIFICATION_TELEGRAM_CHAT_ID": "-100123",
            "NOTIFICATION_URLS": "slack://one/two,critical=mailto://u:p@example.org?to=x@y.z,w@y.z\nntfy://topic",
        }
    )
    first, second, telegram, *services = wiring.channels(settings)
    assert isinstance(first, Email)
    assert isinstance(second, Email)
    assert [first.recipient, second.recipient] == ["a@example.org", "b@example.org"]
    assert first.sender == "backups@example.org"
    assert (first.minimum, first.server.port, first.server.starttls) == (Severity.CRITICAL, 587, True)
    assert isinstance(telegram, Telegram)
    assert telegram.minimum is Severity.WARNING
    assert [(each.name, each.minimum.value, each.url) for each in services if isinstance(each, Service)] == [
        ("slack 1", "warning", "slack://one/two"),
        ("mailto 2", "critical", "mailto://u:p@example.org?to=x@y.z,w@y.z"),
        ("ntfy 3", "warning", "ntfy://topic"),
    ]
    shown = repr(settings) + repr(wiring.channels(settings)) + repr(wiring.message_frame(settings))
    for secret in (TOKEN, "a-password-for-mail", "one/two"):
        assert secret not in shown
    assert {TOKEN, "a-password-for-mail"} <= set(wiring.message_frame(settings).secrets)


def test_secrets_are_tokens_and_not_hosts() -> None:
    """Loss prevented: a token in a message; a link in a message that leads to ``***``."""
    service = Service("mattermosts://user:a-long-password@chat.example.org/a-long-token-0123", 1)
    assert set(service.secrets) == {service.url, "a-long-password", "a-long-token-0123"}


def test_nothing_configured_is_nobody() -> None:
    """Loss prevented: a sensor that raises where nobody wants mail."""
    assert wiring.channels(load_settings({})) == ()


@pytest.mark.parametrize(
    ("given", "sender"),
    [
        ({}, "a@example.org"),
        ({"SMTP_USER": "login"}, "a@example.org"),
        ({"SMTP_USER": "login@example.org"}, "login@example.org"),
        ({"SMTP_USER": "login@example.org", "SMTP_FROM": "from@example.org"}, "from@example.org"),
    ],
)
def test_who_sends(given: dict[str, str], sender: str) -> None:
    """Loss prevented: mail that the server refuses because it is of a stranger."""
    (first, _) = wiring.channels(load_settings({**MAIL, **given}))
    assert isinstance(first, Email)
    assert first.sender == sender


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"NOTIFICATION_EMAIL": "a@example.org"}, "NOTIFICATION_EMAIL is set but SMTP_HOST is not"),
        ({**MAIL, "NOTIFICATION_EMAIL": "nobody"}, "NOTIFICATION_EMAIL is not a list of mail addresses"),
        ({**MAIL, "SMTP_PASSWORD": "hunter2hunter2"}, "SMTP_PASSWORD is set but SMTP_USER is not"),
        (
            {**MAIL, "SMTP_USER": "u", "SMTP_PASSWORD": "hunter2hunter2", "SMTP_STARTTLS": "false"},
            "SMTP_PASSWORD would cross the network",
        ),
        ({"NOTIFICATION_TELEGRAM_TOKEN": TOKEN}, "NOTIFICATION_TELEGRAM_CHAT_ID is not"),
        ({"NOTIFICATION_TELEGRAM_CHAT_ID": "1"}, "NOTIFICATION_TELEGRAM_TOKEN is not"),
        (
            {"NOTIFICATION_TELEGRAM_TOKEN": "hunter2hunter2"},
            "NOTIFICATION_TELEGRAM_TOKEN is not a bot's token",
        ),
        ({"NOTIFICATION_URLS": "hunter2hunter2"}, "NOTIFICATION_URLS number 1 is not a URL"),
        (
            {"NOTIFICATION_URLS_SEVERITY": "all"},
            "NOTIFICATION_URLS_SEVERITY must be one of warning, critical",
        ),
        (
            {"HEARTBEAT_URL": "hunter2hunter2"},
            "HEARTBEAT_URL must be a URL that begins with https:// or http://",
        ),
        ({"HEARTBEAT_URL": "http://hc/hunter2hunter2 y"}, "HEARTBEAT_URL is not a URL: it contains spaces"),
        ({"HEARTBEAT_URL": "http://hc/a\nhunter2hunter2"}, "HEARTBEAT_URL is not a URL: it contains spaces"),
        ({"HEARTBEAT_URL": "http://hc/\x07hunter2hunter2"}, "HEARTBEAT_URL is not a URL: it contains"),
        (
            {"HEARTBEAT_URL": "http://hc/hunter2hunter2é"},
            "HEARTBEAT_URL is not a URL: characters beyond ASCII",
        ),
        ({"HEARTBEAT_URL": "http://ops:hunter2hunter2@hc/a"}, "HEARTBEAT_URL holds a user name or password"),
        ({"HEARTBEAT_URL": "http://hunter2hunter2@hc/a"}, "HEARTBEAT_URL holds a user name or password"),
        (
            {"HEARTBEAT_URL": "http://hc:hunter2hunter2/a"},
            "HEARTBEAT_URL must be a URL that begins with https:// or http://",
        ),
        (
            {"HEARTBEAT_URL": "http://hc:99999/hunter2hunter2"},
            "HEARTBEAT_URL must be a URL that begins with https:// or http://",
        ),
        ({"DAGSTER_URL": "https://ops:hunter2hunter2@dagster"}, "DAGSTER_URL holds a user name or password"),
    ],
)
def test_nonsense_is_named_in_the_evening(given: dict[str, str], said: str) -> None:
    """Loss prevented: an alarm that cannot be sent, found out by the first one."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(given)
    assert said in caught.value.message
    assert "hunter2" not in caught.value.message
    assert TOKEN not in caught.value.message


def test_the_end_of_a_line_is_no_part_of_a_url() -> None:
    """Loss prevented: backups that stop over a secret that was made by echo."""
    assert (
        load_settings({"HEARTBEAT_URL": "https://hc.example.org/a\n"}).heartbeat_url
        == "https://hc.example.org/a"
    )


def test_a_server_on_this_machine_needs_no_tls() -> None:
    """Loss prevented: no mail at all where a relay listens on the machine itself."""
    relay = {
        **MAIL,
        "SMTP_HOST": "localhost",
        "SMTP_USER": "u",
        "SMTP_PASSWORD": "p",
        "SMTP_STARTTLS": "false",
    }
    assert len(wiring.channels(load_settings(relay))) == 2
