"""Both doors: the heartbeat of backups from the command line and from Dagster, and ``notify-test``."""

from __future__ import annotations

from pathlib import Path

import pytest

from recyclic_backups_tests.defs.conftest import House, quick_house
from recyclic_backups_tests.notify.receivers import MAIL_PASSWORD, USER, Mailbox, Web
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

__all__ = ["quick_house"]

SECRET = "a-uuid-that-nobody-may-see"
TOKEN = "424242:a-token-that-must-never-show"


def test_the_command_line_beats(operator: Operator, web: Web) -> None:
    """Loss prevented: backups by cron, watched by nobody."""
    url = f"{web.url}/{SECRET}"
    operator.must("backup", HEARTBEAT_URL=url)
    assert web.paths == [f"/{SECRET}/start", f"/{SECRET}"]
    failed = operator.run("backup", HEARTBEAT_URL=url, POSTGRES_PORT="1")
    assert failed.code == 20
    assert web.paths[2:] == [f"/{SECRET}/start", f"/{SECRET}/fail"]
    operator.must("backup", "--tier", "weekly", HEARTBEAT_URL=url)
    assert len(web.paths) == 4
    web.status = 500
    said = operator.must("backup", HEARTBEAT_URL=url)
    assert "the heartbeat (success) did not reach 127.0.0.1: it answered 500" in said.err
    assert SECRET not in said.err + said.out


def test_dagster_beats(quick_house: House, web: Web) -> None:
    """Loss prevented: a service that raises the alarm every night, or never, because only one door was wired."""
    house = quick_house
    house.variables["HEARTBEAT_URL"] = f"{web.url}/{SECRET}"
    assert house.run("daily", "2026-11-01").success
    assert house.run("monthly", "2026-11-01").success
    assert house.run("daily", "2026-10-30").success
    assert web.paths == [f"/{SECRET}/start", f"/{SECRET}"]
    house.variables["POSTGRES_PORT"] = "1"
    assert not house.run("daily", "2026-11-01").success
    # Each attempt began; only the last one failed.
    assert web.paths[2:] == [*[f"/{SECRET}/start"] * 4, f"/{SECRET}/fail"]


def test_notify_test_tries_every_channel(
    operator: Operator, bot: Web, mailbox: Mailbox, tmp_path: Path
) -> None:
    """Loss prevented: the first real alarm, and nobody whom it reaches."""
    operator.variables |= {
        "NOTIFICATION_EMAIL": "ops@example.org,gone@example.org",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mailbox.port),
        "SMTP_USER": USER,
        "SMTP_PASSWORD": MAIL_PASSWORD,
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "NOTIFICATION_TELEGRAM_TOKEN": TOKEN,
        "NOTIFICATION_TELEGRAM_CHAT_ID": "99",
    }
    done = operator.must("notify-test")
    assert done.out == "ok      email ops@example.org\nok      email gone@example.org\nok      telegram\n"
    assert sorted(mailbox.recipients) == ["gone@example.org", "ops@example.org"]
    assert "This is a test" in bot.texts[0]
    mailbox.refused.add("gone@example.org")
    bot.status = 401
    failed = operator.run("notify-test", "--json", BACKUP_LOCALE="fr")
    assert failed.code == 80
    assert [(each["channel"], each["delivered"]) for each in failed.json] == [
        ("email ops@example.org", True),
        ("email gone@example.org", False),
        ("telegram", False),
    ]
    assert failed.json[2]["reason"] == "Telegram answered 401: not today"
    assert "Ceci est un essai" in mailbox.mails[-1].get_content()
    text = operator.run("notify-test")
    assert text.code == 80
    assert "FAILED  telegram: Telegram answered 401" in text.out
    for secret in (TOKEN, MAIL_PASSWORD):
        assert secret not in failed.out + failed.err + text.out + text.err


def test_notify_test_without_channels_is_a_question_of_configuration(operator: Operator) -> None:
    """Loss prevented: 'all tests passed' where there was none."""
    outcome = operator.run("notify-test")
    assert outcome.code == 10
    assert "no channel is configured" in outcome.err


@pytest.mark.parametrize("name", ["NOTIFICATION_EMAIL", "NOTIFICATION_URLS"])
def test_a_wrong_setting_is_named(operator: Operator, name: str) -> None:
    """Loss prevented: a command that fails for a reason it keeps to itself."""
    outcome = operator.run("notify-test", **{name: "nonsense"})
    assert outcome.code == 10
    assert name in outcome.err


def test_validate_says_who_would_be_told(operator: Operator) -> None:
    """Loss prevented: an installation that is perfect but for nobody being told when it no longer is."""
    findings = {each["check"]: each for each in operator.must("validate", "--json").json}
    assert findings["alerts"]["status"] == findings["heartbeat"]["status"] == "warning"
    told = {
        "NOTIFICATION_URLS": "ntfy://a-topic-that-nobody-may-see",
        "HEARTBEAT_URL": f"https://hc.example.org/{SECRET}",
    }
    outcome = operator.must("validate", "--json", **told)
    findings = {each["check"]: each for each in outcome.json}
    assert findings["alerts"]["message"] == "told: ntfy 1"
    assert findings["heartbeat"]["status"] == "ok"
    assert SECRET not in outcome.out
    assert "a-topic-that-nobody-may-see" not in outcome.out
