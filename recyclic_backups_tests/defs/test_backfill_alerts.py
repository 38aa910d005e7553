"""A backfill that fails is one message, whatever becomes of its partitions, until all of them are made up for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.defs import facts as dagster_facts
from recyclic_backups.notify import runs
from recyclic_backups.notify import state as remembered
from recyclic_backups.notify.facts import RunFact
from recyclic_backups.notify.runs import LAPSES_AFTER
from recyclic_backups.notify.state import AlertState
from recyclic_backups.texts.language import Untranslated
from recyclic_backups_tests.defs.conftest import BEGINNING, elsewhere
from recyclic_backups_tests.defs.test_alerts import Looks, by_page, failed_run, looks
from recyclic_backups_tests.notify.receivers import Web, bot

__all__ = ["bot", "looks"]

KEY = "run/backfill/abcdefgh/daily_backup_job"
OCTOBER = [f"2026-10-{day:02}" for day in range(1, 31)]


def storm(looks: Looks, partitions: list[str]) -> None:
    """The partitions of a backfill fail, each in a minute of its own, as the pool lets them run."""
    for partition in partitions:
        by_page(looks.house, partition, backfill="abcdefgh")
        looks.look()


def about(bot: Web, words: str = "in the backfill abcdefgh") -> list[str]:
    """The first lines of messages that speak of it, without the database."""
    return [text.splitlines()[0].partition("] ")[2] for text in bot.texts if words in text]


def test_a_backfill_that_keeps_failing_is_one_message(
    looks: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a message a minute with the same reason, all night, until the telephone is switched off."""
    asked = []

    def reason_of(_instance: object, run_id: str) -> Untranslated:
        asked.append(run_id)
        return Untranslated("the password is not accepted")

    monkeypatch.setattr(dagster_facts, "reason_of", reason_of)
    looks.house.clock.at = datetime.now(BEGINNING.tzinfo) - timedelta(hours=1)  # runs have the machine's time
    for partition in OCTOBER[:7]:
        by_page(looks.house, partition, "SUCCESS", backfill="abcdefgh")
    looks.look()
    storm(looks, OCTOBER[7:])
    looks.look()
    (head,) = about(bot)
    assert head.startswith(
        "CRITICAL: Failures of the daily backup in the backfill abcdefgh: 1, still missing: 1 "
    )
    assert "see: https://dagster.example.org/runs/b/abcdefgh" in "".join(bot.texts)
    assert looks.facts[KEY]["count"] == looks.facts[KEY]["total"] == "23"
    assert len(asked) == len(set(asked)) == 23
    # A day later, what it has come to.
    bot.texts.clear()
    looks.look(after=timedelta(hours=24))
    (reminder,) = [text for text in bot.texts if "] still CRITICAL: " in text]
    named = "2026-10-08, 2026-10-09, 2026-10-10 …"
    assert (
        f"Failures of the daily backup in the backfill abcdefgh: 23, still missing: 23 ({named}); the newest: "
        "the password is not accepted" in reminder
    )
    # Once another day succeeded, what is left are gaps.
    failed_run(looks.house, "daily_backup_job", "2026-11-01", "SUCCESS")
    bot.texts.clear()
    looks.look(after=timedelta(hours=25))
    assert about(bot) == []
    assert looks.facts[KEY]["count"] == "23"


def test_what_failed_after_the_first_message_is_told_once_although_another_day_succeeded(
    looks: Looks, bot: Web
) -> None:
    """Loss prevented: '1, still missing: 1' as the last word on twenty-five days, because tonight's backup was well."""
    looks.house.clock.at = datetime.now(BEGINNING.tzinfo) - timedelta(hours=1)  # runs have the machine's time
    storm(looks, OCTOBER[:25])
    failed_run(looks.house, "daily_backup_job", "2026-11-01", "SUCCESS")
    looks.look()
    (opened,) = about(bot)
    assert ": 1, still missing: 1 " in opened
    for _ in range(8):
        looks.look(after=timedelta(hours=12))
    reminders = [text for text in bot.texts if "in the backfill abcdefgh" in text and "] still " in text]
    assert [": 25, still missing: 25 " in text for text in reminders] == [True]


def test_runs_that_really_fail_give_their_newest_reason(looks: Looks, bot: Web) -> None:
    """Loss prevented: the reason of the first failure, told for days while another one is what is left to mend."""
    house, tags = looks.house, {"dagster/backfill": "abcdefgh"}
    port = house.variables["POSTGRES_PORT"]
    for number, day in enumerate(OCTOBER[27:29], 1):
        house.variables["POSTGRES_PORT"] = str(number)
        assert not house.run("daily", day, tags).success
        looks.look()
        assert looks.facts[KEY]["count"] == str(number)
        assert f"127.0.0.1:{number}: connection failed" in looks.facts[KEY]["reason"]
    assert len(about(bot)) == 1
    house.variables["POSTGRES_PORT"] = port
    for day in OCTOBER[27:29]:
        assert house.run("daily", day, tags).success
    looks.look()
    assert "backups failed" not in looks.kinds


def test_it_is_over_once_all_of_it_was_made_up_for_whoever_did_it(looks: Looks, bot: Web) -> None:
    """Loss prevented: 'resolved' said of twenty missing days because one was filled; or never said."""
    house = looks.house
    # Runs have the machine's time, which here is not that of the house.
    house.clock.at = datetime.now(BEGINNING.tzinfo) - timedelta(hours=1)
    storm(looks, OCTOBER[:5])
    house.clock.at = datetime.now(BEGINNING.tzinfo) + timedelta(minutes=1)
    bot.texts.clear()
    failed_run(house, "daily_backup_job", OCTOBER[0], "SUCCESS")
    by_page(house, OCTOBER[1], "SUCCESS", backfill="another")
    elsewhere(house, Tier.DAILY, OCTOBER[2])
    for _ in range(15):
        looks.look()
    assert looks.facts[KEY]["partitions"].split() == OCTOBER[3:5]
    assert (looks.facts[KEY]["count"], looks.facts[KEY]["total"]) == ("2", "5")
    assert about(bot) == []
    by_page(house, OCTOBER[3], "SUCCESS")
    failed_run(house, "daily_backup_job", OCTOBER[4])  # tried again by its own job: still the same
    looks.look()
    assert [key for key in looks.facts if key.startswith("run/")] == [KEY]
    failed_run(house, "daily_backup_job", OCTOBER[4], "SUCCESS")
    for _ in range(15):
        looks.look()
    (head,) = about(bot)
    assert head.startswith("resolved: Failures of the daily backup in the backfill abcdefgh: 5, ")


def test_what_fails_outside_of_it_is_told_by_itself(looks: Looks, bot: Web) -> None:
    """Loss prevented: tonight's backup, failed without a word, because a backfill of last month had failed too."""
    house = looks.house
    storm(looks, OCTOBER[:3])
    failed_run(house, "daily_backup_job", "2026-11-01")
    by_page(house, "2026-10-26", backfill="abcdefgh", asset="weekly_backup")
    looks.look()
    assert {key for key in looks.facts if key.startswith("run/")} == {
        KEY,
        "run/backfill/abcdefgh/weekly_backup_job",
        "run/daily_backup_job/2026-11-01",
    }
    (text,) = [text for text in bot.texts if "] CRITICAL: 2 problems: " in text]
    assert "The daily backup of 2026-11-01 failed" in text
    assert "Failures of the weekly backup in the backfill abcdefgh" in text


def test_what_was_told_by_itself_stays_so_when_a_backfill_fails_at_it_too(looks: Looks, bot: Web) -> None:
    """Loss prevented: 'resolved' said of a day because another attempt at it failed; or told again by a new version."""
    house = looks.house
    failed_run(house, "daily_backup_job", "2026-10-30")
    looks.look()
    storm(looks, ["2026-10-30"])
    for _ in range(15):
        looks.look()
    assert [key for key in looks.facts if key.startswith("run/")] == ["run/daily_backup_job/2026-10-30"]
    assert not any("] resolved" in text for text in bot.texts)
    assert about(bot) == []


def test_a_storage_that_is_gone_neither_solves_it_nor_opens_it_again(looks: Looks, bot: Web) -> None:
    """Loss prevented: 'resolved', or another alarm, where nobody can know."""
    house = looks.house
    storm(looks, OCTOBER[:2])
    house.clock.at = datetime.now(BEGINNING.tzinfo) + timedelta(minutes=1)
    for partition in OCTOBER[:2]:
        elsewhere(house, Tier.DAILY, partition)
    storm(looks, OCTOBER[2:4])
    storage = Path(house.settings().storage_url.removeprefix("file://"))
    storage.rename(f"{storage}.away")
    storm(looks, OCTOBER[4:5])
    by_page(house, "2026-10-30", backfill="another")
    bot.texts.clear()
    for _ in range(15):
        looks.look()
    assert looks.facts[KEY]["partitions"].split() == OCTOBER[2:4]
    assert "run/backfill/another/daily_backup_job" not in looks.facts
    Path(f"{storage}.away").rename(storage)
    looks.look()
    assert looks.facts[KEY]["partitions"].split() == OCTOBER[2:5]
    assert "run/backfill/another/daily_backup_job" in looks.facts
    assert about(bot) == []


def test_members_are_asked_for_when_newer_failures_hide_them_and_lapse_without_a_word(
    looks: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: 'resolved' said of days that nobody filled, because others failed since or time went by."""
    house = looks.house
    storm(looks, OCTOBER[:3])
    monkeypatch.setattr(dagster_facts, "FAILED_LISTED", 2)
    for _ in range(3):
        failed_run(house, "health_job")
    for _ in range(15):
        looks.look()
    assert looks.facts[KEY]["count"] == "3"
    monkeypatch.setattr(runs, "LAPSES_AFTER", -LAPSES_AFTER)  # as if all that were long ago
    bot.texts.clear()
    for _ in range(15):
        looks.look()
    assert KEY not in looks.facts
    assert about(bot) == []


def test_a_member_that_lapses_or_is_deleted_is_missing_until_the_end_and_never_resolved(
    looks: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: 'resolved' said of a backfill because two of its days were forgotten and one was filled."""
    house, real = looks.house, runs.is_history
    house.clock.at = datetime.now(BEGINNING.tzinfo)  # runs have the machine's time
    storm(looks, OCTOBER[:3])
    (deleted,) = [run for run in house.instance.get_runs() if run.tags["dagster/partition"] == OCTOBER[1]]
    house.instance.delete_run(deleted.run_id)

    def is_history(run: RunFact, newest_at: datetime) -> bool:
        return any(each.partition == OCTOBER[0] for each in run.targets) or real(run, newest_at)

    monkeypatch.setattr(runs, "is_history", is_history)
    bot.texts.clear()
    looks.look()
    assert (looks.facts[KEY]["count"], looks.facts[KEY]["total"]) == ("3", "3")
    by_page(house, OCTOBER[2], "SUCCESS")
    for _ in range(15):
        looks.look()
    assert KEY not in looks.facts
    assert about(bot) == []


@pytest.mark.parametrize("facts", [{}, {"job": "daily_backup_job", "partitions": "2026-10-01", "total": "²"}])
def test_a_memory_that_lacks_something_keeps_nothing_from_being_told(
    looks: Looks, bot: Web, facts: dict[str, str]
) -> None:
    """Loss prevented: no alarm about runs any more, because a document of another version was read."""
    storm(looks, OCTOBER[:1])
    memory = remembered.read(looks.cursor)
    assert memory is not None
    incident = memory.open.incidents[KEY]
    short = replace(incident, problem=replace(incident.problem, facts=facts))
    state = replace(memory.open, incidents={KEY: short})
    looks.cursor = remembered.to_cursor(AlertState(memory.serial + 9, memory.began_at, open=state))
    storm(looks, OCTOBER[1:2])
    assert looks.facts[KEY]["count"] == "2"
    assert "other" not in looks.kinds
    assert "backups failed" in looks.kinds


def test_it_is_told_in_french(looks: Looks, bot: Web) -> None:
    """Loss prevented: half a sentence, at night, in another language."""
    looks.house.variables["BACKUP_LOCALE"] = "fr"
    storm(looks, OCTOBER[:2])
    (text,) = bot.texts
    assert (
        "Échecs de la sauvegarde quotidienne dans le rattrapage abcdefgh : 1, encore à refaire : 1 (2026-10-01) ; "
        "le dernier : son journal n’en dit pas plus" in text.replace("\u202f", " ").replace("\xa0", " ")
    )
