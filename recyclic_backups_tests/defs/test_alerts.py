"""The sensor that tells people: what it sees in Dagster and in the storage, and that it says each thing once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.record import record_check
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.config.load import load_settings
from recyclic_backups.defs import facts as dagster_facts
from recyclic_backups.defs.database import Database, Environment
from recyclic_backups.errors import StorageError
from recyclic_backups.flags.flags import PARALLEL_STREAMS
from recyclic_backups.flags.store import switch
from recyclic_backups.notify import delivery, stored_state
from recyclic_backups.notify import send as sending
from recyclic_backups.notify import state as remembered
from recyclic_backups.notify.automation import failing_ticks
from recyclic_backups.notify.channels import Channel, Email
from recyclic_backups.notify.message import Message
from recyclic_backups.notify.state import AlertState
from recyclic_backups.notify.stored_state import name_in_storage
from recyclic_backups_tests.defs.conftest import BEGINNING, PASSPHRASE, House, elsewhere, spoil
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.flags.test_flags import switched_off_by_an_older_release
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.notify.receivers import Web, bot, scripted_mail_server
from recyclic_backups_tests.operator import Operator

__all__ = ["bot"]

TOKEN = "424242:a-token-that-must-never-show"


@dataclass
class Looks:
    """The sensor over time: each evaluation gets the cursor of the one before."""

    house: House
    cursor: str | None = None

    def look(self, *, after: timedelta = timedelta(minutes=1)) -> str:
        """One more evaluation; what the sensor says of itself."""
        self.house.clock.at += after
        data = self.house.evaluate("alerts", self.cursor)
        self.cursor = data.cursor
        assert data.run_requests in (None, [])
        return str(data.skip_message)

    @property
    def kinds(self) -> set[str]:
        """What is wrong, as the sensor sees it."""
        memory = remembered.read(self.cursor)
        assert memory is not None
        return {each.problem.kind for each in memory.open.incidents.values() if each.gone_since is None}

    @property
    def facts(self) -> dict[str, dict[str, str]]:
        """The facts of each open incident."""
        memory = remembered.read(self.cursor)
        assert memory is not None
        return {key: dict(each.problem.facts) for key, each in memory.open.incidents.items()}


@pytest.fixture
def looks(quick_house: House, bot: Web) -> Looks:
    """A sensor with one channel, in an installation with nothing in it yet."""
    quick_house.variables["NOTIFICATION_TELEGRAM_TOKEN"] = TOKEN
    quick_house.variables["NOTIFICATION_TELEGRAM_CHAT_ID"] = "99"
    quick_house.variables["DAGSTER_URL"] = "https://dagster.example.org/"
    return Looks(quick_house)


@pytest.fixture
def signed_looks(looks: Looks) -> Looks:
    """The same where documents carry MACs: what alerts remember is believed in such a storage only."""
    looks.house.variables |= {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": KEY}
    return looks


def failed_run(
    house: House, job: str, partition: str | None = None, status: str = "FAILURE", **tags: str
) -> dg.DagsterRun:
    """A run that is over, or not, without having been one."""
    given = dict(tags) | ({"dagster/partition": partition} if partition else {})
    run = dg.DagsterRun(job_name=job, status=dg.DagsterRunStatus[status], tags=given)
    house.instance.add_run(run)
    return run


def by_page(
    house: House, partition: str, status: str = "FAILURE", backfill: str = "", asset: str = "daily_backup"
) -> None:
    """A run started from an asset's page, of one partition or of a backfill."""
    tags = {"dagster/partition": partition} | ({"dagster/backfill": backfill} if backfill else {})
    run = dg.DagsterRun(
        job_name="__ASSET_JOB",
        status=dg.DagsterRunStatus[status],
        tags=tags,
        asset_selection=frozenset({dg.AssetKey([house.variables["POSTGRES_DB"], asset])}),
    )
    house.instance.add_run(run)


def test_nothing_is_said_of_an_installation_that_is_well(looks: Looks, bot: Web) -> None:
    """Loss prevented: alarms that nobody reads any more."""
    looks.look()
    assert looks.house.run("daily", "2026-11-01").success
    for _ in range(3):
        looks.look()
    assert [text for text in bot.texts if "CRITICAL" in text] == []
    # Said once, of the backup that is neither encrypted nor, so small, well compressed.
    assert looks.kinds <= {"check failed"}
    assert len(bot.texts) <= 1


def test_a_failed_backup_is_told_once_with_what_to_do_and_resolved_once(looks: Looks, bot: Web) -> None:
    """Loss prevented: a failure that nobody hears of, or a hundred messages about one."""
    house = looks.house
    assert house.run("daily", "2026-11-01").success
    looks.look()
    bot.texts.clear()
    house.clock.at += timedelta(days=1)
    password, house.variables["POSTGRES_PORT"] = house.variables["POSTGRES_PORT"], "1"
    assert not house.run("daily", "2026-11-02").success
    looks.look()
    looks.look()
    (text,) = [each for each in bot.texts if "2026-11-02" in each]
    assert "CRITICAL: The daily backup of 2026-11-02 failed: " in text
    assert "do next: recyclic-backups validate" in text
    assert "see: https://dagster.example.org/runs/" in text
    assert "Newest proven recovery point: none" in text
    assert "Newest verified backup: 2026-11-01 02:00 (Europe/Paris)" in text
    # Another attempt fails: the same incident.
    assert not house.run("daily", "2026-11-02").success
    looks.look()
    house.variables["POSTGRES_PORT"] = password
    assert house.run("daily", "2026-11-02").success
    bot.texts.clear()
    for _ in range(30):
        looks.look()
    assert len([each for each in bot.texts if "] resolved: The daily backup of 2026-11-02" in each]) == 1


def test_the_command_line_resolves_what_dagster_failed_at(looks: Looks, bot: Web) -> None:
    """Loss prevented: reminders of a failure that was made good by hand."""
    house = looks.house
    failed_run(house, "daily_backup_job", "2026-11-01")
    looks.look()
    assert "backup failed" in looks.kinds
    # Runs have the machine's time, which here is not that of the house.
    house.clock.at = datetime.now(BEGINNING.tzinfo) + timedelta(minutes=1)
    elsewhere(house, Tier.DAILY, "2026-11-01")
    looks.look()
    assert "backup failed" not in looks.kinds


def test_runs_from_the_asset_page_are_the_same_incident(looks: Looks, bot: Web) -> None:
    """Loss prevented: a run from the page whose failure nobody hears of."""
    house = looks.house
    by_page(house, "2026-10-30")
    looks.look()
    assert "run/daily_backup_job/2026-10-30" in looks.facts
    failed_run(house, "daily_backup_job", "2026-10-30", "SUCCESS")
    looks.look()
    assert "backup failed" not in looks.kinds


@pytest.mark.parametrize(
    "way", some(["job", "page", "command line", "page of the weeks", None], {"page", "command line"})
)
def test_a_failure_is_a_gap_once_another_day_succeeded_whoever_did_it(
    looks: Looks, bot: Web, way: str | None
) -> None:
    """Loss prevented: reminders of what nobody can change any more, until nobody reads reminders."""
    house = looks.house
    elsewhere(house, Tier.DAILY, "2026-10-30")  # before it failed
    failed_run(house, "daily_backup_job", "2026-11-01")
    looks.look()
    # Runs have the machine's time, which here is not that of the house.
    house.clock.at = datetime.now(BEGINNING.tzinfo) + timedelta(minutes=1)
    if way == "job":
        failed_run(house, "daily_backup_job", "2026-11-02", "SUCCESS")
    elif way == "page":
        by_page(house, "2026-11-02", "SUCCESS")
        by_page(house, "2026-10-26", "SUCCESS", asset="weekly_backup")
    elif way == "page of the weeks":
        by_page(house, "2026-10-26", "SUCCESS", asset="weekly_backup")
    elif way == "command line":
        elsewhere(house, Tier.DAILY, "2026-11-02")
    looks.look()
    bot.texts.clear()
    looks.look(after=timedelta(hours=24, minutes=1))
    (failure,) = [facts for key, facts in looks.facts.items() if key == "run/daily_backup_job/2026-11-01"]
    assert failure["partition"] == "2026-11-01"
    reminded = "".join(text for text in bot.texts if "] still CRITICAL: " in text)
    assert ("The daily backup of 2026-11-01 failed" in reminded) is (way in (None, "page of the weeks"))


@pytest.mark.parametrize("job", ["daily_backup_job", "drill_simple_job"])
@pytest.mark.parametrize("ahead", some([timedelta(0), timedelta(days=1500)], {timedelta(days=1500)}))
def test_what_is_dated_in_the_future_makes_up_for_nothing(
    looks: Looks, bot: Web, job: str, ahead: timedelta
) -> None:
    """Loss prevented: no word of a failed backup or drill for years, because a clock was wrong for one night."""
    house = looks.house
    partition = "2026-11-01" if job == "daily_backup_job" else None
    failed_run(house, job, partition)
    # Runs have the machine's time, which here is not that of the house.
    now = datetime.now(BEGINNING.tzinfo) + timedelta(minutes=1)
    house.clock.at = now + ahead
    done = elsewhere(house, Tier.DAILY, "2026-11-01")
    if partition is None:
        details = {"scenario": "simple", "started_at": to_text(house.clock.at)}
        passed = Check("drill", done.backup.backup_id, house.clock.at, passed=True, details=details)
        record_check(wiring.open_repository(house.settings()), passed, done.backup.manifest)
    house.clock.at = now
    looks.look()
    kind = "backup failed" if partition else "drill failed"
    assert (kind in looks.kinds) is bool(ahead)


def test_another_day_that_is_dated_in_the_future_silences_no_reminder(looks: Looks, bot: Web) -> None:
    """Loss prevented: the same, of the reminders of every failure until that date."""
    house = looks.house
    now = datetime.now(BEGINNING.tzinfo)
    house.clock.at = now + timedelta(days=1500)
    elsewhere(house, Tier.DAILY, "2026-10-30")
    house.clock.at = now
    failed_run(house, "daily_backup_job", "2026-11-01")
    looks.look()
    bot.texts.clear()
    looks.look(after=timedelta(hours=25))
    looks.look(after=timedelta(hours=25))
    assert any("still CRITICAL" in text and "backup of 2026-11-01 failed" in text for text in bot.texts)


@pytest.mark.parametrize("made_up_for", [False, True])
def test_runs_that_are_deleted_are_solved_only_where_there_is_a_backup(
    looks: Looks, bot: Web, made_up_for: bool
) -> None:
    """Loss prevented: 'resolved' said of a backup that nobody made, because its failed run was cleared away."""
    house = looks.house
    keys = ["run/daily_backup_job/2026-10-30", "run/health_job", "drill/simple"]
    failed_run(house, "daily_backup_job", "2026-10-30")
    failed_run(house, "health_job")
    failed_run(house, "drill_simple_job")
    looks.look()
    assert {key for key in looks.facts if key.startswith(("run/", "drill/"))} == set(keys)
    for run in house.instance.get_runs():
        house.instance.delete_run(run.run_id)
    if made_up_for:
        elsewhere(house, Tier.DAILY, "2026-10-30")
    bot.texts.clear()
    for _ in range(15):
        looks.look()
    assert not looks.facts.keys() & set(keys)
    resolved = [text.splitlines()[0] for text in bot.texts if "] resolved: " in text]
    assert ["The daily backup of 2026-10-30 failed" in each for each in resolved] == [True] * made_up_for


def test_of_two_runs_the_one_that_was_over_later_is_the_last(looks: Looks, bot: Web) -> None:
    """Loss prevented: a failure hidden by a success of an hour before, as the run that failed was queued first."""
    house = looks.house
    queued = failed_run(house, "daily_backup_job", "2026-11-01", "STARTED")
    failed_run(house, "daily_backup_job", "2026-11-01", "SUCCESS")
    looks.look()
    assert "backup failed" not in looks.kinds
    house.instance.report_run_failed(queued)
    looks.look()
    assert "backup failed" in looks.kinds


@pytest.mark.slow
def test_a_long_history_of_failures_keeps_no_incident_open_and_forgets_none(looks: Looks, bot: Web) -> None:
    """Loss prevented: after a bad year, an incident of last spring that is told of for ever; or a failure that only
    looks solved because three hundred others came after it.
    """
    house = looks.house
    failed_run(house, "daily_backup_job", "2026-11-01")
    failed_run(house, "daily_backup_job", "2026-11-02")
    failed_run(house, "health_job")
    failed_run(house, "retention_job")
    failed_run(house, "drill_simple_job")
    failed_run(house, "drill_full_job")
    looks.look()
    before = {key for key in looks.facts if key.startswith(("run/", "drill/"))}
    assert len(before) == 6
    for _ in range(dagster_facts.FAILED_LISTED + 1):
        failed_run(house, "weekly_backup_job", "2026-10-26")
    looks.look()
    assert before < looks.facts.keys()
    for job, partition in (
        ("daily_backup_job", "2026-11-02"),
        ("health_job", None),
        ("drill_simple_job", None),
        ("weekly_backup_job", "2026-10-26"),
    ):
        failed_run(house, job, partition, "SUCCESS")
    for _ in range(15):
        looks.look()
    assert {key for key in looks.facts if key.startswith(("run/", "drill/"))} == {
        "run/daily_backup_job/2026-11-01",
        "run/retention_job",
        "drill/full",
    }


def test_a_storm_of_failures_is_one_message(looks: Looks, bot: Web) -> None:
    """Loss prevented: the one message that matters, lost among a hundred."""
    for day in range(1, 32):
        for job in ("daily_backup_job", "weekly_backup_job", "monthly_backup_job"):
            failed_run(looks.house, job, f"2026-10-{day:02}")
    looks.look()
    looks.look()
    (text,) = bot.texts
    assert "93 problems" in text
    assert text.endswith("Newest verified backup: none")
    assert len(looks.cursor or "") < 20_000


def test_a_restart_and_a_lost_database_tell_nothing_again(signed_looks: Looks, bot: Web) -> None:
    """Loss prevented: everybody woken by week-old news because Dagster's database was made anew."""
    looks = signed_looks
    house = looks.house
    assert house.run("daily", "2026-11-01").success
    failed_run(house, "health_job")
    looks.look()
    count = len(bot.texts)
    assert count
    looks.cursor = None
    looks.look()
    assert len(bot.texts) == count
    # The other copy lost instead.
    path = Path(house.settings().storage_url.removeprefix("file://")) / name_in_storage(
        house.settings().database
    )
    path.write_text("{")
    looks.look()
    assert len(bot.texts) == count
    # Both.
    path.write_text("{")
    looks.cursor = '{"version": 99}'
    looks.look()  # nobody remembers anything now, but what is wrong is told again rather than forgotten
    assert len(bot.texts) == count + 1


@pytest.mark.parametrize("content", some([None, b"{", b"\xff"], {None, b"{"}))
def test_the_copy_in_the_storage_is_made_again_at_the_next_look(
    signed_looks: Looks, bot: Web, content: bytes | None
) -> None:
    """Loss prevented: a copy that was lost months before the day on which it is needed."""
    looks = signed_looks
    house = looks.house
    assert house.run("daily", "2026-11-01").success
    failed_run(house, "health_job")
    for _ in range(3):
        looks.look()
    settings = house.settings()
    path = Path(settings.storage_url.removeprefix("file://")) / name_in_storage(settings.database)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    looks.look()
    assert remembered.read(path.read_bytes()) == remembered.read(looks.cursor)
    written = path.stat().st_ino
    looks.look()
    assert path.stat().st_ino == written
    # Now the cursor is lost, and nobody is told again.
    count, looks.cursor = len(bot.texts), None
    looks.look()
    assert len(bot.texts) == count


def test_a_first_look_by_a_clock_that_was_ahead_silences_nothing(looks: Looks, bot: Web) -> None:
    """Loss prevented: no word about backups that do not come until 2099, because a battery was empty once."""
    house = looks.house
    right, house.clock.at = house.clock.at, house.clock.at.replace(year=2099)
    looks.look()
    house.clock.at = right
    looks.look()
    memory = remembered.read(looks.cursor)
    assert memory is not None
    assert memory.began_at is not None
    assert memory.began_at.year == right.year
    looks.look(after=timedelta(hours=26))
    assert "no backup" in looks.kinds


def test_what_is_not_delivered_is_tried_again_and_shown(looks: Looks, bot: Web) -> None:
    """Loss prevented: the only message about a failure, lost because Telegram was down for a minute."""
    failed_run(looks.house, "daily_backup_job", "2026-11-01")
    bot.status = 502
    said = looks.look()
    assert "1 message waits to be delivered" in said
    assert "telegram: Telegram answered 502: not today" in said
    for _ in range(9):
        looks.look()
    assert "delivery failed" in looks.kinds
    bot.status = 200
    for _ in range(70):
        looks.look()
    assert len([text for text in bot.texts if "The daily backup of 2026-11-01 failed" in text]) == 1
    assert "delivery failed" not in looks.kinds


def test_a_mail_server_that_trickles_costs_the_others_nothing_and_the_look_ends(
    looks: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a tick that Dagster ends before the telephone was tried, minute after minute."""
    house = looks.house

    def hurried(channel: Channel, message: Message) -> str | None:
        """The telephone has all the time that a busy machine needs."""
        monkeypatch.setattr(sending, "DEADLINE_SECONDS", 0.5 if isinstance(channel, Email) else 60)
        return sending.send(channel, message)

    monkeypatch.setattr(delivery, "send", hurried)
    failed_run(house, "daily_backup_job", "2026-11-01")
    with scripted_mail_server({}, pause_seconds=0.2) as server:
        house.variables |= {
            "NOTIFICATION_EMAIL": "ops@example.org",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(server.port),
            "SMTP_STARTTLS": "false",
        }
        said = looks.look()
        assert f"email ops@example.org: 127.0.0.1:{server.port} was not done within 0.5 s" in said
        looks.look()
    assert server.mails == 0
    assert len([text for text in bot.texts if "The daily backup of 2026-11-01 failed" in text]) == 1


def test_old_backups_are_told_once_and_reminded_of_daily(looks: Looks, bot: Web) -> None:
    """Loss prevented: backups that stopped without any run failing."""
    house = looks.house
    elsewhere(house, Tier.DAILY, "2026-11-01")
    looks.look()
    bot.texts.clear()
    house.clock.at = BEGINNING + timedelta(hours=24)
    looks.look()
    assert "too old" not in looks.kinds
    house.clock.at = BEGINNING + timedelta(hours=26)
    # A backup that runs may end well at any moment.
    working = dg.DagsterRun(job_name="daily_backup_job", status=dg.DagsterRunStatus.STARTED)
    house.instance.add_run(working)
    house.instance.report_run_failed(working)
    looks.look()
    assert "too old" in looks.kinds
    (text,) = [each for each in bot.texts if "The newest verified backup is of 2026-11-01 02:00" in each]
    assert "do next: recyclic-backups backup" in text
    bot.texts.clear()
    for _ in range(48):
        looks.look(after=timedelta(hours=1))
    assert len([each for each in bot.texts if "] still CRITICAL: " in each]) in (1, 2)
    assert {"too old", "missed day"} <= looks.kinds


def test_a_storage_that_is_gone_is_told_and_its_problems_are_not_taken_for_solved(
    looks: Looks, bot: Web
) -> None:
    """Loss prevented: 'resolved' said of everything because nothing can be read any more."""
    house = looks.house
    elsewhere(house, Tier.DAILY, "2026-11-01")
    house.clock.at = BEGINNING + timedelta(hours=30)
    looks.look()
    assert "too old" in looks.kinds
    storage = house.settings().storage_url.removeprefix("file://")
    hidden = f"{storage}-unmounted"
    Path(storage).rename(hidden)
    bot.texts.clear()
    for _ in range(20):
        looks.look()
    assert looks.kinds >= {"storage", "too old"}
    (text,) = [each for each in bot.texts if "The storage cannot be read" in each]
    assert "unknown, the storage cannot be read" in text
    assert not Path(storage).exists()
    Path(hidden).rename(storage)
    looks.look()
    assert "storage" not in looks.kinds


@pytest.mark.parametrize("emptied", some([False, True], {True}))
def test_what_was_made_up_for_is_not_told_again_because_the_storage_is_gone(
    looks: Looks, bot: Web, emptied: bool
) -> None:
    """Loss prevented: people sent to last week's failure while the disk with all backups is what is missing."""
    house = looks.house
    failed_run(house, "daily_backup_job", "2026-11-01")
    failed_run(house, "daily_backup_job", "2026-10-31")
    looks.look()
    # Runs have the machine's time, which here is not that of the house.
    house.clock.at = datetime.now(BEGINNING.tzinfo) + timedelta(minutes=1)
    elsewhere(house, Tier.DAILY, "2026-11-01")
    for _ in range(15):
        looks.look()
    made_up_for, still_open = (f"run/daily_backup_job/{day}" for day in ("2026-11-01", "2026-10-31"))
    assert made_up_for not in looks.facts
    assert still_open in looks.facts
    bot.texts.clear()
    storage = Path(house.settings().storage_url.removeprefix("file://"))
    storage.rename(f"{storage}.away")
    if emptied:
        storage.mkdir()
    # Told once it can be known that nobody made up for it.
    failed_run(house, "daily_backup_job", "2026-11-02")
    failed_run(house, "health_job")  # what the storage knows nothing of is told at once
    for _ in range(15):
        looks.look()
    (text,) = bot.texts
    cause = "The storage held verified backups" if emptied else "The storage cannot be read"
    assert f"] CRITICAL: 2 problems: {cause}" in text
    assert "health_job failed" in text
    assert "2026-11-0" not in text.partition("Newest proven")[0]
    assert still_open in looks.facts
    if emptied:
        storage.rmdir()
    Path(f"{storage}.away").rename(storage)
    bot.texts.clear()
    for _ in range(15):
        looks.look()
    opened, resolved = bot.texts
    assert "] CRITICAL: The daily backup of 2026-11-02 failed" in opened
    assert f"] resolved: {cause}" in resolved
    assert looks.facts.keys() >= {still_open}
    assert made_up_for not in looks.facts


def test_a_storage_that_takes_nothing_does_not_keep_messages_back(
    looks: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: no message about a full disk, because the disk is full."""

    def full(*_arguments: object) -> None:
        raise StorageError("the disk is full")

    elsewhere(looks.house, Tier.DAILY, "2026-11-01")
    failed_run(looks.house, "daily_backup_job", "2026-11-01")
    monkeypatch.setattr(stored_state, "store", full)
    looks.look()
    looks.look()
    assert len([text for text in bot.texts if "The daily backup of 2026-11-01 failed" in text]) == 1


def test_an_emptied_storage_is_told_at_once(looks: Looks) -> None:
    """Loss prevented: another disk mounted in the place of the one with the backups."""
    elsewhere(looks.house, Tier.DAILY, "2026-11-01")
    looks.look()
    storage = Path(looks.house.settings().storage_url.removeprefix("file://"))
    storage.rename(f"{storage}-unmounted")
    storage.mkdir()
    looks.look()
    assert "backups gone" in looks.kinds
    assert list(storage.iterdir()) == []


def test_what_turns_a_check_red_is_told_before_the_check_runs(looks: Looks, bot: Web) -> None:
    """Loss prevented: a backup that became unreadable, told when a check runs that nobody looks at."""
    house = looks.house
    done = elsewhere(house, Tier.DAILY, "2026-11-01")
    looks.look()
    assert "damage" not in looks.kinds
    spoil(house, done.backup)
    looks.look()
    assert "damage" in looks.kinds
    text = next(each for each in bot.texts if "is not what was stored" in each)
    assert "recyclic-backups verify --all" in text


def test_runs_that_wait_or_do_not_end_are_told(looks: Looks) -> None:
    """Loss prevented: a queue that stands still for a week with nothing red in it."""
    house = looks.house
    house.clock.at = datetime.now(BEGINNING.tzinfo)
    failed_run(house, "daily_backup_job", "2026-11-01", "STARTING")
    failed_run(house, "daily_backup_job", "2026-11-02", "STARTING", **{"dagster/backfill": "abc"})
    running = failed_run(house, "health_job", None, "STARTING", **{"dagster/max_runtime": "600"})
    began = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="health_job")
    house.instance.report_dagster_event(began, running.run_id)
    looks.look()
    assert not {"run waits", "run endless"} & looks.kinds
    looks.look(after=timedelta(minutes=75))
    stuck = {facts["job"]: facts for key, facts in looks.facts.items() if key.startswith("stuck/")}
    assert stuck["daily_backup_job"]["partition"] == "2026-11-01"
    assert stuck["health_job"]["limit"] == "10 min"
    assert len(stuck) == 2
    assert {"run waits", "run endless"} <= looks.kinds


def ticks_of(instance: dg.DagsterInstance, sensor: str, now: datetime) -> Callable[[TickStatus, int], None]:
    """A sensor that is on, and what adds ticks so many minutes after now; those that fail say: the disk is full."""
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="recyclic_backups.definitions"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), sensor)
    state = InstigatorState(
        origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData(min_interval=60)
    )
    instance.add_instigator_state(state)
    ours = SerializableErrorInfo(
        "recyclic_backups.errors.StorageError: the disk is full\nHint: make room\n", [], "StorageError"
    )
    error = SerializableErrorInfo("SensorExecutionError: Error\n", [], "SensorExecutionError", ours)

    def tick(status: TickStatus, minutes: int) -> None:
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=state.name,
                instigator_type=InstigatorType.SENSOR,
                status=status,
                timestamp=(now + timedelta(minutes=minutes)).timestamp(),
                selector_id=state.selector_id,
                error=error if status is TickStatus.FAILURE else None,
            )
        )

    return tick


def test_sensors_that_keep_raising_are_told(tmp_path: Path) -> None:
    """Loss prevented: the sensor that would start the missing backup raises every minute, and no run is red."""
    instance = dg.DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}})
    now = datetime.now(BEGINNING.tzinfo)
    database = Database(load_settings({"POSTGRES_DB": "recyclic"}), Environment())
    tick = ticks_of(instance, "missed_backups", now)

    def seen(name: str = "alerts") -> list[str]:
        facts = dagster_facts.read_dagster(instance, database, name, AlertState())
        return [each.facts["reason"] for each in failing_ticks(facts.automation or (), {}, now).problems]

    for minutes in (0, 1):
        tick(TickStatus.FAILURE, minutes)
        assert seen() == []
    tick(TickStatus.FAILURE, 2)
    assert seen() == ["the disk is full"]
    assert seen("missed_backups") == []
    tick(TickStatus.SKIPPED, 3)
    assert seen() == []
    instance.dispose()


def test_a_flag_that_switched_itself_off_is_told(signed_looks: Looks, bot: Web) -> None:
    """Loss prevented: a behaviour believed to be on that has been off for a month."""
    looks = signed_looks
    house = looks.house
    elsewhere(house, Tier.DAILY, "2026-11-01")
    repository = wiring.open_repository(house.settings())
    now = house.clock()
    switch(repository, PARALLEL_STREAMS.name, True, now)
    switched_off_by_an_older_release(repository, PARALLEL_STREAMS.name, now)
    looks.look()
    (text,) = [each for each in bot.texts if "parallel_streams" in each]
    assert "the last: out of streams" in text
    switch(repository, PARALLEL_STREAMS.name, None, house.clock())
    looks.look()
    assert "flag tripped" not in looks.kinds


def test_one_look_that_breaks_does_not_keep_the_others_from_being_told(
    looks: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: silence about everything because one question cannot be asked of a new Dagster."""

    def broken(*_arguments: object) -> None:
        raise RuntimeError(f"of course with {PASSPHRASE}")

    failed_run(looks.house, "daily_backup_job", "2026-11-01")
    monkeypatch.setattr(dagster_facts, "_automation", broken)
    looks.look()
    assert looks.kinds >= {"other", "backup failed"}
    assert any("RuntimeError" in text for text in bot.texts)
    assert all(PASSPHRASE not in text for text in bot.texts)


def test_a_file_whose_name_is_not_utf8_is_one_damage_among_others(
    looks: Looks, bot: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loss prevented: no alarm about anything any more, because somebody copied a file from an old machine."""
    house = looks.house
    assert house.run("daily", "2026-11-01").success
    looks.look()
    settings = house.settings()
    root = os.fsencode(f"{settings.storage_url.removeprefix('file://')}/{Layout(settings.database).root}")
    (backup,) = os.listdir(root + b"/backups")
    label = Path(os.fsdecode(root)) / "tiers/daily/2026-11-01.json"
    copies = {
        root + b"/tiers/daily/2026-11-01 (copi\xe9).json": label.read_bytes(),
        root + b"/backups/" + backup + b"/checks/\xff\xfe.json": b"{",
        root + b"/backups/\xe9/manifest.json": b"{",
        root + b"/tombstones/\xe9.json": b"{",
        root + b"/holds/\xe9.json": b"{",
        root + b"/attempts/\xe9.json": b"{",
        root + b"/\xe9": b"",
    }
    for name, content in copies.items():
        os.makedirs(os.path.dirname(name), exist_ok=True)
        Path(os.fsdecode(name)).write_bytes(content)
    failed_run(house, "weekly_backup_job", "2026-10-26")
    looks.look()
    looks.look()
    damaged = {key: facts for key, facts in looks.facts.items() if key.startswith("damage/")}
    assert {key.rpartition("/")[2] for key in damaged} == {
        r"2026-11-01 (copi\xe9).json",
        r"\xff\xfe.json",
        "manifest.json",
        r"\xe9.json",
        r"\xe9",
    }
    assert "backup failed" in looks.kinds
    assert any(r"2026-11-01 (copi\xe9).json" in text for text in bot.texts)
    # Nor does anything else end over it.
    job = house.definitions.resolve_job_def("health_job")
    assert job.execute_in_process(instance=house.instance, raise_on_error=False).success
    for sensor in ("catalog_sync", "missed_backups"):
        house.evaluate(sensor)
    house.clock.at += timedelta(days=1)
    assert house.run("daily", "2026-11-02").success
    # Nor the command line, whose operator looks for what the message named.
    variables = {**house.variables, "PATH": os.environ["PATH"]}
    operator = Operator(tmp_path, capsys, variables)
    codes = [operator.run(*each.split()).code for each in ("list", "metrics", "report --output page.html")]
    assert codes == [0, 80, 0]
    assert r"(copi\xe9).json" in (tmp_path / "page.html").read_text()


def test_no_secret_is_anywhere(house: House, bot: Web, caplog: pytest.LogCaptureFixture) -> None:
    """Loss prevented: a token in an event log that everybody with the page can read."""
    house.variables |= {
        "NOTIFICATION_TELEGRAM_TOKEN": TOKEN,
        "NOTIFICATION_TELEGRAM_CHAT_ID": "99",
        "NOTIFICATION_URLS": f"json://user:a-password-for-services@{bot.url.removeprefix('http://')}/nobody",
        "HEARTBEAT_URL": f"{bot.url}/a-heartbeat-that-nobody-may-see",
        "POSTGRES_PORT": "1",
    }
    looks = Looks(house)
    caplog.set_level(0)
    assert not house.run("daily", "2026-11-01").success
    for status in (502, 200):
        bot.status = status
        said = looks.look()
        for secret in (TOKEN, "a-password-for-services", "a-heartbeat-that-nobody-may-see", PASSPHRASE):
            assert secret not in said
            assert secret not in caplog.text
            assert secret not in "".join(bot.texts)
            assert secret not in str(remembered.read(looks.cursor))
            assert house.traces_of(secret) == []
