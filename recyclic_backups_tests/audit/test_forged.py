"""Events that somebody wrote who can write to the storage and has no key."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.audit.event import Event, Head
from recyclic_backups.audit.examine import examine
from recyclic_backups.audit.log import (
    KEPT_FOR,
    append,
    is_there,
    note_configuration,
    prune,
    read_head,
    read_log,
)
from recyclic_backups.catalog.actor import Actor
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.data_key import DataKey, key_id_of
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import NoUsableKey
from recyclic_backups_tests.audit.test_chain import ACTOR, NOW, filled, problems, repository_of
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

OTHER_KEY = "kN7vEjRWeJq83u8SNFZ4kKvN7xI0VniavN7vEjRWeJA="


def forge(repository: Repository, how: str = "unsigned", **fields: object) -> str:
    """Put an event there, behind the newest one unless told otherwise; its name."""
    event = replace(
        Event(1000, NOW + timedelta(days=1), "restore", "done", Actor("bertrand", "till")),
        **fields,  # type: ignore[arg-type]
    )
    name = f"{repository.layout.audit}/{event.file_name}"
    secret = b"x" * 32
    document = event.to_json()
    if how == "unsigned":
        stored = summed(document, name)
    else:
        stored = signed(document, name, DataKey(key_id_of(secret), secret))
        if how == "wrong":
            (key_id,) = {
                each.document["mac"]["key_id"] for each in read_log(repository) if "mac" in each.document
            }
            stored["mac"]["key_id"] = key_id
    repository.store.replace(name, encode(stored))
    return name


@pytest.mark.parametrize("how", ["unsigned", "wrong", "strange key"])
def test_a_forged_event_is_told_and_is_neither_the_head_nor_followed(how: str) -> None:
    """Attack: the newest event of all, of the year 2999, that every later one and every manifest has to name."""
    repository = filled(3)
    head = read_head(repository)
    names = [
        forge(
            repository,
            how,
            number=10**9 + each,
            at=datetime(2999, 1, 1, tzinfo=UTC) + timedelta(seconds=each),
        )
        for each in range(20)
    ]
    assert read_head(repository) == head
    append(repository, "verify", "whole", NOW + timedelta(hours=1))
    after = read_head(repository)
    assert after is not None
    assert after.number == 4
    told, notes = examine(repository, {"a note": after})
    said = "\n".join((*told, *notes))
    assert names[-1] in said
    assert all(line.startswith(tuple(names)) for line in told)
    # Somebody takes them away again: what is left is what was written.
    for name in names:
        repository.store.delete(name)
    assert examine(repository, {"a note": after})[0] == []


def test_one_event_by_an_unknown_key_does_not_end_the_examination() -> None:
    """Attack: `audit verify` says "no usable key" from now on, whatever else was done to the log."""
    repository = filled(3)
    forge(repository, "strange key")
    repository.store.delete(read_log(repository)[0].name)
    found = problems(repository)
    assert any("the event before it is missing" in problem for problem in found)
    assert any("cannot be checked" in problem for problem in found)
    stranger = replace(repository, keyring=Keyring(repository.store, OTHER_KEY))
    with pytest.raises(NoUsableKey):
        examine(stranger, {})


def test_forged_events_make_no_other_leave_and_keep_none_here() -> None:
    """Attack: an old event behind the newest takes them all along, or one that cannot be read keeps them for ever."""
    repository = filled(6)
    kept = [stored.name for stored in read_log(repository)]
    old = NOW - 2 * KEPT_FOR
    for number in range(12):
        forge(repository, number=number + 1, at=NOW + timedelta(days=1, seconds=number), clock_at=old)
        forge(repository, number=number + 1, at=old + timedelta(seconds=number))
    repository.store.replace(f"{repository.layout.audit}/20200101T000000.000000Z-000001.json", b"{")
    prune(repository, NOW + timedelta(days=2))
    assert {stored.name for stored in read_log(repository)} >= set(kept)
    later = NOW + KEPT_FOR + timedelta(minutes=2, seconds=30)
    for number in range(12):
        forge(repository, number=number + 1, at=NOW + timedelta(minutes=2, seconds=number + 1))
    prune(repository, later)
    left = [stored.name for stored in read_log(repository)]
    assert not set(kept[:3]) & set(left)
    assert set(kept[3:]) <= set(left)
    # Nor do they crowd out the ones that the next event names.
    assert not any("is missing" in problem for problem in problems(repository))


def test_a_forged_record_of_the_settings_hides_no_change_of_them() -> None:
    """Attack: encryption is switched off, and nothing in the log says so."""
    store = MemoryStore()
    repository = replace(repository_of(store), configuration={"RETENTION_DAILY": "7"})
    note_configuration(repository, NOW)
    changed = replace(repository, configuration={"RETENTION_DAILY": "1"})
    digest_of_it = replace(repository_of(MemoryStore()), configuration=changed.configuration)
    note_configuration(digest_of_it, NOW)
    (known,) = [each.event for each in read_log(digest_of_it) if each.event]
    forge(repository, action="configuration", actor=ACTOR, details=known.details)
    note_configuration(changed, NOW + timedelta(hours=1))
    settings = [
        each.event.details["settings"]
        for each in read_log(repository)
        if each.event and "mac" in each.document
    ]
    assert settings == [{"RETENTION_DAILY": "7"}, {"RETENTION_DAILY": "1"}]


@pytest.mark.parametrize("encrypt", [True, False])
def test_an_event_of_the_end_of_time_stops_no_later_one(encrypt: bool) -> None:
    """Attack: no event can be later or have a larger number, so that no backup can be recorded, or taken."""
    repository = filled(1, encrypt=encrypt)
    for at, number in ((datetime.max.replace(tzinfo=UTC), 2), (NOW, 10**30)):
        forge(repository, at=at, number=number)
    append(repository, "backup", "done", NOW + timedelta(hours=1))
    head = read_head(repository)
    assert head is not None
    assert head.number == 2


def test_a_file_in_the_place_of_the_next_event_does_not_keep_it_out() -> None:
    """Attack: after a clock that was ahead the next name can be foretold, and somebody takes it."""
    repository = filled(1)
    append(repository, "backup", "done", NOW + timedelta(days=1500))
    ahead = NOW + timedelta(days=1500, microseconds=1)
    repository.store.create(f"{repository.layout.audit}/{ahead:%Y%m%dT%H%M%S.%fZ}-000003.json", b"x")
    append(repository, "verify", "whole", NOW + timedelta(hours=1))
    assert [each.event.number for each in read_log(repository) if each.event] == [1, 2, 3]


def test_what_was_recorded_before_encryption_was_on_stays_in_the_chain() -> None:
    """Prevents the years before from being rewritten, because their events carry no MAC."""
    repository = filled(3, encrypt=False)
    store = repository.store
    assert isinstance(store, MemoryStore)
    repository = repository_of(store)
    append(repository, "backup", "done", NOW + timedelta(hours=1))
    append(repository, "backup", "done", NOW + timedelta(hours=2))
    assert problems(repository) == []
    head = read_head(repository)
    assert head is not None
    assert head.number == 5
    store.delete(read_log(repository)[2].name)
    assert any("is missing" in problem for problem in problems(repository))


def test_that_a_wrong_key_was_tried_is_missed_once_somebody_takes_it_out() -> None:
    """Prevents the trace of whoever guessed passphrases from vanishing without a word."""
    repository = filled(2)
    stranger = replace(repository, keyring=Keyring(repository.store, OTHER_KEY))
    append(stranger, "restore", "failed", NOW + timedelta(hours=1))
    append(repository, "verify", "whole", NOW + timedelta(hours=2))
    assert problems(repository) == []
    tried = read_log(repository)[2]
    assert "mac" not in tried.document
    repository.store.delete(tried.name)
    told, notes = examine(repository, {})
    assert told == []
    assert notes == ["events without a MAC that lay there when event 3 was written are gone"]


def test_without_the_key_nothing_is_called_the_head() -> None:
    """Prevents a forger's event from being noted elsewhere, and the true log from being accused of missing it."""
    repository = filled(2)
    head = read_head(repository)
    assert head is not None
    stranger = replace(repository, keyring=Keyring(repository.store, OTHER_KEY))
    assert read_head(stranger) is None
    assert is_there(repository, head)
    assert not is_there(repository, Head(head.number, "0" * 64))
    assert read_head(replace(repository, keyring=Keyring(repository.store, KEY))) == head


def test_show_marks_what_nobody_vouches_for(operator: Operator) -> None:
    """Attack: a restore of the members' data, recorded in a colleague's name, or settings that were never set."""
    operator.must("backup", BACKUP_FINGERPRINT="off")
    root = operator.storage / operator.variables["POSTGRES_DB"]
    event = Event(
        90,
        datetime(2999, 1, 1, tzinfo=UTC),
        "restore",
        "equal",
        Actor("a colleague", "till"),
        details={"into": "copy"},
    )
    name = f"{root.name}/audit/{event.file_name}"
    (operator.storage / name).write_bytes(encode(summed(event.to_json(), name)))
    shown = operator.must("audit", "show")
    assert "1 of these events carry no MAC" in shown.err
    (line,) = [line for line in shown.out.splitlines() if "a colleague" in line]
    assert "[unsigned] copy" in line
    assert sum("[" in line for line in shown.out.splitlines()) == 1
    told = {each["action"]: each["authentic"] for each in operator.must("audit", "show", "--json").json}
    assert told["restore"] is False
    assert told["backup"] is True
    without = operator.run("audit", "show", "--json", BACKUP_ENCRYPTION_KEY=OTHER_KEY)
    assert {each["authentic"] for each in without.json if each["action"] == "backup"} == {None}
    verified = operator.run("audit", "verify")
    assert verified.code == 40
    assert name in verified.out
    (head,) = [line for line in verified.out.splitlines() if "--head" in line]
    (operator.storage / name).unlink()
    assert "whole" in operator.must("audit", "verify", *head.split(": ")[1].split()).out
