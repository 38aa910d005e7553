"""``recyclic-backups alerts``: who uses cron hears of what fails and of its end, without Dagster, and once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups import wiring
from recyclic_backups.archive import stream
from recyclic_backups.archive.documents import read_position, store_position
from recyclic_backups.config.load import load_settings
from recyclic_backups.notify import incidents
from recyclic_backups.notify.stored_state import LocalCopy
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.base_backup.conftest import forgotten_slot
from recyclic_backups_tests.defs.missed_day import archive_of, receiving
from recyclic_backups_tests.docs.pages import read
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.notify.receivers import MAIL_PASSWORD, USER, Mailbox, Web
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

WITHOUT_DAGSTER = (
    "import sys; sys.modules['dagster'] = None; from recyclic_backups.cli.main import main; "
    "sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture
def volunteer(operator: Operator, mailbox: Mailbox, web: Web, tmp_path: Path) -> Operator:
    """Somebody with a crontab, a mailbox and a webhook; no encryption, no Dagster."""
    operator.variables |= {
        "NOTIFICATION_EMAIL": "ops@example.org",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mailbox.port),
        "SMTP_USER": USER,
        "SMTP_PASSWORD": MAIL_PASSWORD,
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "NOTIFICATION_URLS": f"critical={web.url.replace('http', 'json')}/hook",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    return operator


def subjects(mailbox: Mailbox) -> list[str]:
    """What was mailed."""
    return [str(each["Subject"]) for each in mailbox.mails]


@pytest.mark.parametrize("encryption", some(["true", "false"], {"true"}))
def test_a_failed_backup_of_cron_is_told_once_and_resolved_once(
    volunteer: Operator, mailbox: Mailbox, web: Web, encryption: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a volunteer's backups that fail for a month, as only Dagster would have said so."""
    monkeypatch.setattr(incidents, "SETTLE", incidents.SETTLE * 0)
    volunteer.variables["BACKUP_ENCRYPTION"] = encryption
    volunteer.must("backup")
    volunteer.must("alerts", "--once")
    mailbox.mails.clear()
    web.bodies.clear()
    assert volunteer.run("backup", POSTGRES_PORT="1").code == 20
    for _ in range(2):
        volunteer.must("alerts", "--once")
    (subject,) = subjects(mailbox)
    assert "CRITICAL: The daily backup of " in subject
    assert "Connection refused" in mailbox.mails[0].get_content()
    (hook,) = [json.loads(each) for each in web.bodies]
    assert "CRITICAL: The daily backup of " in hook["title"]
    opened = volunteer.must("alerts", "--once", "--json").document
    assert opened["format"] == 1
    assert opened["sent"] == []
    (incident,) = [each for each in opened["incidents"] if each["kind"] == "backup failed"]
    assert (incident["severity"], incident["next"]) == ("critical", "recyclic-backups validate")
    mailbox.mails.clear()
    volunteer.must("backup")
    volunteer.must("alerts", "--once")  # gone; over once it stayed away
    sent = volunteer.must("alerts", "--once", "--json").document["sent"]
    assert {(each["channel"], each["change"]) for each in sent} == {
        ("email ops@example.org", "resolved"),
        ("json 1", "resolved"),
    }
    (subject,) = subjects(mailbox)
    assert "resolved: The daily backup of " in subject


def test_a_silent_receiver_is_told_once_and_over_once_and_the_heartbeat_hears_of_it(
    volunteer: Operator, mailbox: Mailbox, web: Web, cluster: ScratchCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a day of sales, as the receiver died and nobody heard of it; mail may be down as well."""
    monkeypatch.setattr(incidents, "SETTLE", incidents.SETTLE * 0)
    monkeypatch.setattr(stream, "_IDLE_POSITION_SECONDS", 0.2)
    volunteer.variables |= {"WAL_ARCHIVE": "true", "HEARTBEAT_URL": f"{web.url}/ping"}
    volunteer.variables["BACKUP_STORAGE"] = f"file://{volunteer.storage}"
    settings = load_settings(volunteer.variables)

    def beats() -> list[str]:
        found = [path for path in web.paths if path.startswith("/ping")]
        web.asked.clear()
        return found

    with forgotten_slot(cluster):
        with receiving(settings):
            volunteer.must("backup")
            assert beats() == ["/ping/start", "/ping"]
            volunteer.must("base-backup")
        volunteer.must("alerts", "--once")
        mailbox.mails.clear()
        archive = archive_of(settings)
        position = read_position(archive)
        assert position is not None
        silent = replace(position, server_time=position.server_time - timedelta(minutes=20))
        store_position(archive, silent, archive.repository.key_for_backups(position.server_time))
        for _ in range(2):
            volunteer.must("alerts", "--once")
        (subject,) = subjects(mailbox)
        assert "CRITICAL: The archive of WAL has a problem: " in subject
        assert beats() == ["/ping/fail"]
        # The backup is good; it is not what the heartbeat is asked about alone.
        assert "the heartbeat tells of a failure" in volunteer.must("backup").err
        assert beats() == ["/ping/start", "/ping/fail"]
        mailbox.mails.clear()
        with receiving(settings):
            while read_position(archive) == silent:
                time.sleep(0.1)
            for _ in range(2):
                volunteer.must("alerts", "--once")
        (subject,) = subjects(mailbox)
        assert "resolved: The archive of WAL has a problem" in subject
        assert beats() == []


def test_it_needs_no_dagster(volunteer: Operator, mailbox: Mailbox) -> None:
    """Loss prevented: alerts that end with Dagster, on a machine that has none."""
    volunteer.must("backup")
    assert volunteer.run("backup", POSTGRES_PORT="1").code == 20
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DAGSTER, "alerts", "--once"],
        cwd=volunteer.directory,
        env={**volunteer.variables, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "critical: The daily backup of" in done.stdout
    assert any("The daily backup of" in each for each in subjects(mailbox))


def test_the_line_of_cron_on_the_page_tells_people_and_is_silent_itself(
    volunteer: Operator, mailbox: Mailbox
) -> None:
    """Loss prevented: a line that fails under cron, or that has cron mail the same once more."""
    volunteer.must("backup")
    assert volunteer.run("backup", POSTGRES_PORT="1").code == 20
    (line,) = [each for each in read("docs/cron.md").splitlines() if " alerts " in each]
    *when, rest = line.split(" ", 5)
    assert when == ["*/5", "*", "*", "*", "*"]
    command = rest.replace("/opt/recyclic_backups", str(volunteer.directory)).replace(
        ".venv/bin/recyclic-backups", f"{sys.executable} -m recyclic_backups"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=volunteer.variables, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert any("The daily backup of" in each for each in subjects(mailbox))


def test_a_storage_that_is_gone_is_told_and_remembered_on_this_machine(
    volunteer: Operator, mailbox: Mailbox
) -> None:
    """Loss prevented: an alarm each minute, or none, because what was told lay on the disk that is gone."""
    volunteer.must("backup")
    volunteer.must("alerts", "--once")
    mailbox.mails.clear()
    volunteer.storage.rename(volunteer.storage.with_name("away"))
    for _ in range(3):
        volunteer.must("alerts", "--once")
    assert ["The storage cannot be read" in each for each in subjects(mailbox)] == [True]


def test_without_channels_it_is_a_question_of_configuration(operator: Operator) -> None:
    """Loss prevented: a line of cron that ends well and tells nobody, or everybody everything each time."""
    assert operator.run("alerts", "--once").code == 10
    nowhere = operator.run("alerts", "--once", NOTIFICATION_URLS="json://127.0.0.1:9/", HOME="")
    assert (nowhere.code, "no directory to remember" in nowhere.err) == (10, True)
    assert operator.run("alerts", "--json").code == 2


def test_two_lookers_on_one_machine_do_not_look_at_once(volunteer: Operator, mailbox: Mailbox) -> None:
    """Loss prevented: each message twice, from the line of cron and from the sensor."""
    volunteer.must("backup")
    assert volunteer.run("backup", POSTGRES_PORT="1").code == 20
    settings = load_settings({**volunteer.variables, "BACKUP_STORAGE": f"file://{volunteer.storage}"})
    settings_of_cron = load_settings(volunteer.variables)
    local = wiring.local_alert_state(settings)
    assert local is not None
    assert settings_of_cron.state == settings.state
    command = [sys.executable, "-m", "recyclic_backups", "alerts", "--once"]
    variables = {**volunteer.variables, "PATH": os.environ["PATH"]}
    variables["BACKUP_STORAGE"] = settings.storage_url
    with local.locked() as is_alone:
        assert is_alone
        two = [
            subprocess.Popen(command, cwd=volunteer.directory, env=variables, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        assert mailbox.mails == []
    for each in two:
        each.communicate()
        assert each.returncode == 0
    assert (
        len([each for each in subjects(mailbox) if "The daily backup of" in each or "problems" in each]) == 1
    )


def test_what_somebody_else_put_on_this_machine_is_not_believed(tmp_path: Path) -> None:
    """Attack: another account writes a state in which everything was told already."""
    local = LocalCopy(tmp_path, "file:///srv/backups", "recyclic")
    (folder := tmp_path / "recyclic-backups").mkdir()
    with local.locked():
        pass
    (lock,) = folder.iterdir()
    (state := lock.with_suffix(".json")).write_text("{}")
    state.chmod(0o666)
    assert local.read() is None
    state.unlink()
    state.symlink_to("/etc/passwd")
    assert local.read() is None
