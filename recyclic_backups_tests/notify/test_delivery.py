"""From what was seen to what was delivered: nothing lost to a crash, at most one message twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.notify import delivery
from recyclic_backups.notify.channels import Channel, Email, MailServer, Telegram
from recyclic_backups.notify.delivery import deliver, update_state
from recyclic_backups.notify.incidents import Observation
from recyclic_backups.notify.message import Frame, Message
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState, to_cursor
from recyclic_backups.notify.stored_state import LookedMeanwhile, StoredAlertState, look_up, name_in_storage
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.notify.problems import NOW, problem

FRAME = Frame("recyclic", "production", "en", ZoneInfo("Europe/Paris"))
MAIL, PHONE = (
    Email("a@example.org", "a@example.org", MailServer("mail")),
    Telegram("1:a", "9", Severity.CRITICAL),
)
CHANNELS: tuple[Channel, ...] = (MAIL, PHONE)


class Killed(BaseException):
    """What SIGKILL is to a test."""


def with_a_key(store_of: MemoryStore) -> Keyring:
    """A storage of which the first backup has made the key."""
    Keyring(store_of, KEY).for_writing(NOW)
    return Keyring(store_of, KEY)


@dataclass
class World:
    """A storage, a cursor, a clock, and channels that take what they are told to."""

    repository: Repository = field(
        default_factory=lambda: Repository(
            (store_of := MemoryStore()), "recyclic", with_a_key(store_of), encrypt=True
        )
    )
    cursor: str = ""
    now: datetime = NOW
    sent: list[tuple[str, str]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    letters: list[tuple[str, str]] = field(default_factory=list)
    disliked: str = "\0"
    dislikes: set[str] = field(default_factory=lambda: {MAIL.name, PHONE.name})
    killed_in: Callable[[int], bool] = lambda _number: False
    said: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    attempts: int = 0

    def send(self, channel: Channel, message: Message) -> str | None:
        """In the place of sending."""
        if channel.name in self.broken or (
            channel.name in self.dislikes and self.disliked in message.subject
        ):
            return "no answer"
        self.sent.append((channel.name, message.subject))
        self.letters.append((channel.name, message.message_id))
        self.attempts += 1
        if self.killed_in(self.attempts):
            raise Killed
        return None

    def look(self, *kinds: str, minutes: int = 1) -> None:
        """One look that finds problems of those kinds."""
        self.now += timedelta(minutes=minutes)
        seen = Observation(tuple(problem(kind, kind=kind) for kind in kinds))
        stored = StoredAlertState(self.repository, None, self.cursor, self.said.append)
        after, _, lost = update_state(stored.state, seen, RecoveryPoint(), CHANNELS, self.now)
        self.lost += [(each.channel, letter.letter_id) for letter, each in lost]
        stored.begin(after)
        deliver(stored, CHANNELS, FRAME, clock=lambda: self.now, say=self.said.append)
        self.cursor = to_cursor(stored.state)

    @property
    def memory(self) -> AlertState:
        """What is remembered."""
        found = look_up(self.repository).state
        assert found is not None
        return found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A new one."""
    found = World()
    monkeypatch.setattr(delivery, "send", found.send)
    return found


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_killed_in_the_middle_of_delivering_loses_nothing(world: World, number: int) -> None:
    """Loss prevented: the message that was being sent when the machine went down, or all those after it."""
    world.killed_in = lambda attempt: attempt == number
    for kinds in (("storage",), ("storage", "too old")):
        try:
            world.look(*kinds)
        except Killed:
            world.cursor = "" if number % 2 else world.cursor
    for _ in range(3):
        world.look("storage", "too old")
    subjects = {subject for _, subject in world.sent}
    assert len(subjects) == 2
    # Two messages by two channels, and at most one of the four twice.
    assert {(channel.name, subject) for channel in CHANNELS for subject in subjects} == set(world.sent)
    assert len(world.sent) == 5
    assert world.memory.outbox == ()


def test_a_channel_that_fails_does_not_keep_the_others_waiting(world: World) -> None:
    """Loss prevented: no message by telephone because the mail server is what is broken."""
    world.broken = {PHONE.name}
    world.look("storage")
    assert [name for name, _ in world.sent] == [MAIL.name]
    assert world.said == ["telegram: no answer (attempt 1, tried again later)"]
    for _ in range(4):
        world.look("storage")
    assert world.memory.outbox[0].deliveries[0].attempts == 3
    world.look("storage", minutes=2)
    # The others tell of it.
    assert any("Messages by telegram are not delivered: no answer" in subject for _, subject in world.sent)
    world.broken = set()
    for _ in range(20):
        world.look("storage", minutes=10)
    assert [name for name, _ in world.sent].count(PHONE.name) == 1
    assert any("resolved: Messages by telegram" in subject for _, subject in world.sent)


def of_phone(world: World) -> list[str]:
    """What the telephone took."""
    return [subject for name, subject in world.sent if name == PHONE.name]


STORAGE, TOO_OLD = "The storage cannot be read", "The newest verified backup is of"


def test_after_an_outage_letters_come_in_the_order_in_which_they_were_written(world: World) -> None:
    """Loss prevented: "resolved", and an hour later the alarm itself, read as what is so now."""
    world.broken = {PHONE.name}
    world.look("storage")
    for _ in range(30):
        world.look("storage", minutes=7)
    for _ in range(30):
        world.look(minutes=7)
    world.look("too old")
    world.look("too old", minutes=2)
    world.broken = set()
    for _ in range(20):
        world.look("too old", minutes=10)
    taken = of_phone(world)
    assert [subject.split(": ", 1)[0] for subject in taken] == ["[recyclic] delayed message"] * 3
    assert [(STORAGE in each, TOO_OLD in each, "resolved" in each) for each in taken] == [
        (True, False, False),
        (True, False, True),
        (False, True, False),
    ]


@given(st.lists(st.tuples(st.integers(1, 90), st.booleans(), st.booleans(), st.booleans()), max_size=25))
def test_no_letter_overtakes_another_whatever_a_channel_is_able_to_do(
    steps: list[tuple[int, bool, bool, bool]],
) -> None:
    """Loss prevented: the same, by an outage that comes and goes."""
    world = World()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(delivery, "send", world.send)
        for minutes, works, storage, too_old in [*steps, *[(61, True, False, False)] * 4]:
            world.broken = set() if works else {PHONE.name}
            world.look(*["storage"] * storage, *["too old"] * too_old, minutes=minutes)
    of_phone, of_mail = (
        [each for name, each in world.letters if name == channel.name] for channel in (PHONE, MAIL)
    )
    # Mails come at once, and some of them are not for the telephone.
    assert of_phone == [each for each in of_mail if each in of_phone]
    assert len(set(of_phone)) == len(of_phone)
    assert world.memory.outbox == ()


def test_a_critical_letter_makes_a_waiting_channel_be_tried_at_once(world: World) -> None:
    """Loss prevented: an hour of sleep after the channel was mended, with a storage that is gone."""
    world.broken = {PHONE.name}
    for _ in range(30):
        world.look("too old", minutes=7)
    world.look("too old", minutes=60)
    world.broken = set()
    world.look("too old")
    assert of_phone(world) == []
    world.look("too old", "storage")
    assert [STORAGE in each for each in of_phone(world)] == [False, True]


def test_a_letter_that_a_channel_never_takes_does_not_keep_the_others(world: World) -> None:
    """Loss prevented: a week without alarms, because a filter dislikes one of them."""
    world.disliked = TOO_OLD
    world.look("too old")
    world.look("too old", "storage")
    assert of_phone(world) == []
    for _ in range(5):
        world.look("too old", "storage")
    assert [STORAGE in each for each in of_phone(world)] == [True]
    for _ in range(15):
        world.look("too old")
    assert ["resolved" in each for each in of_phone(world)] == [False, True]
    world.disliked = "\0"
    world.look("too old", minutes=61)
    assert TOO_OLD in of_phone(world)[-1]
    assert world.memory.outbox == ()


def test_a_channel_that_works_is_not_called_dead_for_one_letter(world: World) -> None:
    """Loss prevented: "messages by telegram are not delivered", a week long, of a telephone that rings."""
    world.disliked, world.dislikes = f"CRITICAL: {TOO_OLD}", {PHONE.name}
    world.look("too old")
    world.look("too old", "storage")
    for _ in range(24 * 9):
        world.look("storage", minutes=60)
    assert not any("Messages by telegram" in subject for _, subject in world.sent)
    # It was lost after a week all the same, and that is said.
    (lost,) = world.lost
    assert lost[0] == PHONE.name
    assert world.memory.outbox == ()


def test_every_letter_that_a_channel_never_took_is_named(world: World) -> None:
    """Loss prevented: alarms that were written, reached nobody, and left no trace."""
    world.broken, written = {PHONE.name}, set()
    for number in range(24 * 9):
        world.look(*["storage"] * (number % 2), minutes=60)
        written |= {
            (each.channel, letter.letter_id)
            for letter in world.memory.outbox
            for each in letter.deliveries
            if each.channel == PHONE.name
        }
    waiting = {
        (each.channel, letter.letter_id) for letter in world.memory.outbox for each in letter.deliveries
    }
    assert world.lost
    assert len(set(world.lost)) == len(world.lost)
    assert set(world.lost) == written - waiting


def test_a_channel_that_is_dead_for_weeks_is_never_called_mended(world: World) -> None:
    """Loss prevented: "this is no longer so", said of the only way to whoever is on duty, while it is dead."""
    world.broken = {PHONE.name}
    world.look("storage")
    for _ in range(24 * 16):
        world.look(minutes=60)
    about_it = [subject for _, subject in world.sent if "Messages by telegram" in subject]
    assert not any("resolved" in each for each in about_it)
    assert sum("still warning" in each for each in about_it) == 15
    world.broken = set()
    for _ in range(15):
        world.look(minutes=10)
    assert "resolved: Messages by telegram" in world.sent[-1][1]
    assert world.memory.outbox == ()


def test_a_look_that_finds_nothing_new_writes_nothing(world: World) -> None:
    """Loss prevented: a write a minute to a bucket that is paid for by the write."""
    world.look("storage")
    for _ in range(15):
        world.look("storage")
    before = world.memory.serial
    world.look("storage")
    assert world.memory.serial == before


def test_delivering_ends_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a sensor that is ended by Dagster in every tick because a server answers slowly."""

    def slow(channel: Channel, message: Message) -> str | None:
        world.now += timedelta(seconds=30)
        return world.send(channel, message)

    monkeypatch.setattr(delivery, "send", slow)
    world.look("storage")
    assert len(world.sent) == 1
    world.look("storage")
    assert len(world.sent) == 2


def test_channels_that_are_dead_starve_none_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: no alarm by telephone all night, because two mailboxes are tried first and take all the time."""
    dead = [Email(f"{name}@example.org", f"{name}@example.org", MailServer("mail")) for name in "ab"]
    channels: tuple[Channel, ...] = (*dead, PHONE)
    at, taken = [NOW], []

    def send(channel: Channel, message: Message) -> str | None:
        if channel in dead:
            at[0] += timedelta(seconds=15)
            return "mail was not done within 15 s"
        taken.append(message.subject)
        return None

    monkeypatch.setattr(delivery, "send", send)
    stored, late = StoredAlertState(None, None, None, lambda _line: None), []
    for count in range(1, 31):
        at[0] = max(at[0], NOW + timedelta(minutes=count))
        seen = Observation(tuple(problem(f"run/{number}") for number in range(count)))
        after, *_ = update_state(stored.state, seen, RecoveryPoint(), channels, at[0])
        stored.begin(after)
        deliver(stored, channels, FRAME, clock=lambda: at[0], say=lambda _line: None)
        late += [count] if len(taken) < count else []
    # At the first look nobody knows yet who is dead.
    assert late == [1]
    assert len(taken) == 30


def test_without_channels_incidents_are_kept_and_nothing_piles_up() -> None:
    """Loss prevented: a year of messages to whoever is configured at last."""
    memory, news, _ = update_state(AlertState(), Observation((problem(),)), RecoveryPoint(), (), NOW)
    assert (len(news), memory.outbox, len(memory.open.incidents)) == (1, (), 1)


def test_what_lies_in_the_storage_can_be_read_by_people(world: World) -> None:
    """Loss prevented: an operator who cannot see what alerts believe."""
    world.look("storage")
    content = world.repository.store.get(name_in_storage("recyclic")).decode()
    assert '"kind": "storage"' in content
    world.repository.store.replace(name_in_storage("recyclic"), b"\xff\xfe{")
    assert look_up(world.repository).state is None


def test_of_two_machines_that_look_at_once_one_tells(world: World) -> None:
    """Loss prevented: each message twice, from the line of cron here and from the sensor there."""
    lookers = [StoredAlertState(world.repository, None, None, world.said.append) for _ in range(2)]
    seen = Observation((problem("storage", kind="storage"),))
    after = [update_state(each.state, seen, RecoveryPoint(), CHANNELS, NOW)[0] for each in lookers]
    lookers[0].begin(after[0])
    with pytest.raises(LookedMeanwhile):
        lookers[1].begin(after[1])
    # Nor is a letter sent by two that both have it.
    late = StoredAlertState(world.repository, None, None, world.said.append)
    deliver(lookers[0], CHANNELS, FRAME, clock=lambda: NOW, say=world.said.append)
    before = len(world.sent)
    assert before == len(CHANNELS)
    deliver(late, CHANNELS, FRAME, clock=lambda: NOW, say=world.said.append)
    assert len(world.sent) == before
