"""Lines: a conversation is over in time, and nothing is said after its end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from recyclic_backups.notify import line as lines
from recyclic_backups.notify.line import CutOff, Line, talk_for


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who takes connections and says nothing."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen()
        yield found


def test_what_is_said_and_raised_in_time_comes_back() -> None:
    """Loss prevented: a reason that is lost in a thread."""
    assert talk_for(5, lambda _line: "taken") == "taken"

    def refused(_line: Line) -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(ConnectionRefusedError, match="nobody there"):
        talk_for(5, refused)


def test_a_talk_that_waits_is_ended_and_leaves_no_connection(listener: socket.socket) -> None:
    """Loss prevented: a thread and a socket more for every attempt of a week."""
    ended = threading.Event()

    def wait(line: Line) -> None:
        with line.connect(listener.getsockname()) as connection:
            connection.recv(1)
        ended.set()
        raise ConnectionResetError

    with pytest.raises(CutOff):
        talk_for(0.1, wait)
    assert ended.is_set()
    taken, _ = listener.accept()
    with taken:
        taken.settimeout(10)
        assert taken.recv(1) == b""


def test_a_last_word_that_was_heard_counts_although_the_time_was_over(listener: socket.socket) -> None:
    """Loss prevented: a mail that the server took, sent once more."""

    def taken_already(line: Line) -> str:
        with line.connect(listener.getsockname()) as connection:
            connection.recv(1)
        return "taken"

    assert talk_for(0.1, taken_already) == "taken"


def test_who_is_held_before_there_is_a_connection_makes_none_afterwards(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a message delivered by a thread that everybody had given up, after it was sent again."""
    monkeypatch.setattr(lines, "GRACE_SECONDS", 0.1)
    resolver, raised = threading.Event(), threading.Event()

    def slow_name(line: Line) -> None:
        resolver.wait()
        try:
            line.connect(listener.getsockname())
        except CutOff:
            raised.set()
            raise

    with pytest.raises(CutOff):
        talk_for(0.1, slow_name)
    resolver.set()
    assert raised.wait(10)
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
