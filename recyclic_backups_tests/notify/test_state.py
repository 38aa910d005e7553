"""What alerts remember: read as it was written, and nothing made of what nobody wrote."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.notify.incidents import Observation, OpenIncidents, advance
from recyclic_backups.notify.outbox import write
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState, read, to_cursor, to_document, youngest
from recyclic_backups_tests.notify.problems import FACTS, NOW, observations, problem
from recyclic_backups_tests.notify.test_outbox import CHANNELS


def memory_of(observation: Observation) -> AlertState:
    """A memory after one look."""
    state, news = advance(OpenIncidents(), observation, NOW)
    recovery = RecoveryPoint("20261121T010000Z-AAAAAA", NOW, "20261120T010000Z-AAAAAA", NOW, NOW)
    return AlertState(7, NOW, True, state, tuple(write(each, recovery, CHANNELS, NOW) for each in news))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(observations)
def test_what_was_written_is_read(observation: Observation) -> None:
    """Loss prevented: an incident or a message that a restart forgets."""
    memory = memory_of(observation)
    assert read(to_cursor(memory)) == memory
    assert read(to_document(memory)) == memory


def test_a_long_one_is_packed_where_every_tick_keeps_it() -> None:
    """Loss prevented: a gigabyte in Dagster's database after a weekend of failures."""
    memory = memory_of(Observation(tuple(problem(f"run/job/{number}") for number in range(300))))
    assert len(to_cursor(memory)) < 12_000 < len(to_document(memory))
    assert read(to_cursor(memory)) == memory


@given(JSON)
def test_nonsense_is_nothing(document: object) -> None:
    """Loss prevented: alerts that raise once a minute because of one bad byte."""
    assert read(json.dumps(document)) is None


def test_a_problem_in_whatever_words_can_be_remembered_and_told() -> None:
    """Loss prevented: no alarm any more, because one reason quotes bytes that are no text."""
    odd = replace(
        problem("run/caf\udce9", Severity.CRITICAL), facts={**FACTS, "reason": "of \udcff and \ud800"}
    )
    memory = memory_of(Observation((odd,)))
    assert read(to_document(memory).encode("utf-8")) == memory
    (incident,) = memory.open.incidents.values()
    assert (incident.key, incident.problem.facts["reason"]) == (r"run/caf\xe9", r"of \udcff and \ud800")


def test_a_document_that_could_not_be_written_again_is_nothing() -> None:
    """Loss prevented: alerts that raise once a minute over what somebody wrote into their memory."""
    document = json.loads(to_document(memory_of(Observation((problem(),)))))
    document["outbox"][0]["deliveries"][0]["reason"] = "\ud800"
    assert read(json.dumps(document)) is None


@given(st.data())
def test_a_document_that_somebody_changed_is_read_or_nothing(data: st.DataObject) -> None:
    """Loss prevented: the same, by a document that is almost one."""
    document = json.loads(to_document(memory_of(Observation((problem(), problem("age"))))))
    place = data.draw(st.sampled_from(["document", "incident", "letter", "delivery"]))
    parts = {
        "document": document,
        "incident": document["incidents"][0],
        "letter": document["outbox"][0],
        "delivery": document["outbox"][0]["deliveries"][0],
    }
    name = data.draw(st.sampled_from(sorted(parts[place])))
    parts[place][name] = data.draw(JSON)
    found = read(json.dumps(document))
    assert found is None or read(to_cursor(found)) == found


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_bytes_that_are_no_document_are_nothing(content: bytes | str) -> None:
    """Loss prevented: the same, by a disk that lost a block."""
    assert read(content) is None


def test_another_version_is_nothing_and_an_unknown_kind_is_kept() -> None:
    """Loss prevented: an upgrade and the way back that wake everybody."""
    document = json.loads(to_document(memory_of(Observation((problem(),)))))
    assert read(json.dumps({**document, "version": 2})) is None
    document["incidents"][0]["kind"] = "of a later version"
    found = read(json.dumps(document))
    assert found is not None
    assert [each.problem.kind for each in found.open.incidents.values()] == ["other"]


def test_what_an_older_version_remembered_of_deliveries_is_read() -> None:
    """Loss prevented: an upgrade that wakes everybody, or forgets the alarms that are on their way."""
    memory = memory_of(Observation((problem(),)))
    (found,) = memory.outbox
    overtaken = tuple(replace(each, overtaken=True) for each in found.deliveries)
    memory = replace(memory, outbox=(replace(found, deliveries=overtaken),))
    assert read(to_document(memory)) == memory
    document = json.loads(to_document(memory))
    for each in document["outbox"][0]["deliveries"]:
        del each["overtaken"]
    assert read(json.dumps(document)) == replace(memory, outbox=(found,))


@pytest.mark.parametrize(("kind", "key"), [
    ("backups gone", "backups"), ("no backup", "backups"), ("too old", "age"),
])  # fmt: skip
def test_that_there_is_no_backup_was_known_as_an_age_to_older_versions(kind: str, key: str) -> None:
    """Loss prevented: an upgrade that wakes everybody with what they were told, and calls the same thing over."""
    memory = memory_of(Observation((problem("age", kind=kind),)))
    found = read(to_document(memory))
    assert found is not None
    (incident,) = found.open.incidents.values()
    assert found.open.incidents.keys() == {key} == {incident.key}
    _, news = advance(found.open, Observation((problem(key, kind=kind),)), NOW)
    assert news == []


def test_a_packed_bomb_is_nothing() -> None:
    """Loss prevented: a sensor that fills the memory of its machine."""
    import base64
    import zlib

    packed = base64.b85encode(zlib.compress(b" " * 50_000_000 + b"{}")).decode()
    assert read(json.dumps({"version": 1, "packed": packed})) is None


def test_the_higher_serial_is_the_youngest() -> None:
    """Loss prevented: what was sent before a crash, sent again by the copy that did not know."""
    old, new = AlertState(serial=3), AlertState(serial=4)
    assert youngest(old, new) == youngest(new, old) == new
    assert youngest(None, new) == youngest(new, None) == new
    assert youngest(None, None) is None
    assert youngest(replace(old, had_backups=True), old) == replace(old, had_backups=True)
