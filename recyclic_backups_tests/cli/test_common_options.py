"""What every command takes: settings from another file, more said or less, and the ways to name a backup."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from recyclic_backups.cli.arguments import moment_of
from recyclic_backups.errors import UsageError
from recyclic_backups_tests.operator import Operator

PARIS = ZoneInfo("Europe/Paris")


def test_a_backup_is_named_by_its_label_or_by_a_time(small_operator: Operator) -> None:
    """Loss prevented: at 3 a.m. an id copied from a list, of the wrong night."""
    backup_id = small_operator.backup_id()
    entry = small_operator.must("list", "--json").json[0]
    partition = small_operator.must("show", "latest", "--json").document["partition"]
    as_of = datetime.fromisoformat(entry["as_of"])

    def shown(*words: str) -> object:
        return small_operator.must("show", *words, "--json").document["backup_id"]

    assert shown(f"daily/{partition}") == backup_id
    assert shown("--at", entry["as_of"]) == backup_id
    assert shown("--at", as_of.astimezone(PARIS).date().isoformat()) == backup_id
    assert small_operator.must("verify", f"daily/{partition}", "--level", "stored").code == 0

    before = small_operator.run("show", "--at", (as_of - timedelta(seconds=1)).isoformat(), "--json")
    assert before.code == 60
    assert before.document["error"]["hint"].startswith(f"the oldest is {backup_id}")
    for wrong, code in (
        (["daily/2020-01-01"], 60),
        (["hourly/2020-01-01"], 60),
        (["--at", "noon"], 2),
        (["latest", "--at", "2026-11-22"], 2),
        ([], 2),
    ):
        assert small_operator.run("show", *wrong).code == code, wrong


def test_a_backup_found_damaged_is_passed_over_and_that_is_said(small_operator: Operator) -> None:
    """Loss prevented: a night that is hidden from whoever asks for a time."""
    older, newer = small_operator.backup_id(), small_operator.backup_id()
    (stored,) = small_operator.storage.glob(f"*/backups/{newer}/main.dump*")
    stored.write_bytes(stored.read_bytes()[:-1])
    assert small_operator.run("verify", newer).code == 40
    found = small_operator.must("show", "--at", "2999-01-01", "--json")
    assert found.document["backup_id"] == older
    assert f"found damaged by their last check: {newer}" in found.err


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-20", "2026-11-20T22:59:59.999999+00:00"),
        ("2026-11-20 14:30", "2026-11-20T13:30:00+00:00"),
        ("2026-11-20T14:30:00Z", "2026-11-20T14:30:00+00:00"),
        ("2026-07-01 14:30+01:00", "2026-07-01T13:30:00+00:00"),
    ],
)
def test_a_day_is_meant_with_its_end_and_a_time_on_the_clock_of_the_backups(text: str, meant: str) -> None:
    """Loss prevented: the backup of the evening before, for somebody who asked for that of a day."""
    assert moment_of(text, PARIS) == datetime.fromisoformat(meant)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "20:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Loss prevented: an empty variable of a shell that means some backup."""
    with pytest.raises(UsageError):
        moment_of(text, PARIS)


def test_settings_are_read_from_the_file_that_is_named(small_operator: Operator) -> None:
    """Loss prevented: cron, which stands in another directory, and a backup of another database."""
    small_operator.backup_id()
    file = small_operator.directory / "production.env"
    file.write_text("".join(f"{name}='{value}'\n" for name, value in small_operator.variables.items()))
    file.chmod(0o600)
    elsewhere = Operator(small_operator.directory / "elsewhere", small_operator.capture)
    elsewhere.directory.mkdir()
    storage = f"file://{small_operator.storage}"
    for words in (("--env-file", str(file), "list"), ("list", "--env-file", str(file))):
        listed = elsewhere.must(*words, "-v", BACKUP_STORAGE=storage)
        assert date.today().strftime("%Y") in listed.out  # noqa: DTZ011 - whichever zone it is
        assert f"settings: read from the environment and {file}" in listed.err
    missing = elsewhere.run("list", "--env-file", "production.env")
    assert (missing.code, "there is no file 'production.env'" in missing.err) == (10, True)


def test_quiet_leaves_errors_and_warnings_and_verbose_says_each_step(small_operator: Operator) -> None:
    """Loss prevented: a mail of cron every night, which nobody reads any more on the night that matters."""
    assert "error: there is no storage" in small_operator.run("list", "-q").err
    plain = {"BACKUP_ENCRYPTION": "false"}
    quiet = small_operator.must("backup", "-q", **plain)
    assert quiet.err.startswith("warning: BACKUP_ENCRYPTION is off")
    assert len(quiet.err.splitlines()) == 1
    assert quiet.out
    loud = small_operator.must("backup", "--verbose", **plain).err
    assert "settings: read from the environment" in loud
    assert loud.count(" s  ") > 2
