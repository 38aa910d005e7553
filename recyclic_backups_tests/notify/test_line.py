"""Lines: a conversation is over in time, and nothing is said after its end."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
import trustme

from recyclic_backups.notify import line as lines
from recyclic_backups.notify.channels import Service
from recyclic_backups.notify.heartbeat import heartbeat
from recyclic_backups.notify.line import CutOff, Line, post, talk_for
from recyclic_backups.notify.send import send
from recyclic_backups_tests.notify.receivers import Web, patient, web_server
from recyclic_backups_tests.notify.test_send import MESSAGE


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who takes connections and says nothing."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen()
        yield found


def test_what_is_said_and_raised_in_time_comes_back() -> None:
    """Loss prevented: a reason that is lost in a thread."""
    assert talk_for(60, lambda _line: "taken") == "taken"

    def refused(_line: Line) -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(ConnectionRefusedError, match="nobody there"):
        talk_for(60, refused)


def test_a_talk_that_waits_is_ended_and_leaves_no_connection(
    listener: socket.socket, begun: threading.Event
) -> None:
    """Loss prevented: a thread and a socket more for every attempt of a week."""
    ended = threading.Event()

    def wait(line: Line) -> None:
        with line.connect(listener.getsockname()) as connection:
            begun.set()
            connection.recv(1)
        ended.set()
        raise ConnectionResetError

    with pytest.raises(CutOff):
        talk_for(0.1, wait)
    assert ended.is_set()
    taken, _ = listener.accept()
    with taken:
        taken.settimeout(60)
        assert taken.recv(1) == b""


def test_a_last_word_that_was_heard_counts_although_the_time_was_over(
    listener: socket.socket, begun: threading.Event
) -> None:
    """Loss prevented: a mail that the server took, sent once more."""

    def taken_already(line: Line) -> str:
        with line.connect(listener.getsockname()) as connection:
            begun.set()
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
    assert raised.wait(60)
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


def asked(url: str) -> tuple[int, bytes]:
    """The answer to a request."""
    return talk_for(60, lambda line: post(line, Request(url, data=b"{}"), timeout_seconds=60))


def test_over_https_only_a_valid_certificate_is_told_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a token or a ping's address given to whoever stands in between."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with web_server(tls) as web:
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            asked(f"{web.url}/a")
        assert web.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert asked(f"{web.url}/a")[0] == 200
    assert web.asked == [("POST", "/a")]


def test_a_proxy_of_the_environment_is_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: no message from a network whose only way out is a proxy."""
    monkeypatch.setenv("http_proxy", web.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert asked("http://hc.example.org/a")[0] == 200
    assert web.asked == [("POST", "http://hc.example.org/a")]


def test_an_error_is_an_answer(web: Web) -> None:
    """Loss prevented: what the other side says about why it refuses."""
    web.status = 403
    status, answer = asked(f"{web.url}/a")
    assert (status, b"not today" in answer) == (403, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_whom_we_tell_does_not_send_us_to_what_listens_on_this_machine(
    web: Web, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a hostile receiver, or who took its place, answers with the address of the pages at 127.0.0.1, which
    start runs for whoever asks; and a message that nobody took counts as taken.
    """
    patient(monkeypatch)
    with web_server() as inside:
        web.status, web.location = status, f"{inside.url}/graphql?query=mutation"
        said: list[str] = []
        with heartbeat(f"{web.url}/uuid", said.append):
            pass
        assert len(said) == 2
        assert str(status) in said[0]
        for url in (web.url.replace("http", "json"), web.url.replace("http", "form")):
            assert send(Service(url, 1), MESSAGE) is not None
        assert inside.asked == []


def test_a_server_sends_us_to_another_of_its_own_addresses(web: Web) -> None:
    """Loss prevented: heartbeats that end because a service moves its addresses."""
    asked = Request(f"{web.url}/old", data=b"", method="POST")
    web.location, web.status = "/new", 302
    assert talk_for(60, lambda line: post(line, asked, timeout_seconds=60))[0] == 302
    assert web.asked == [("POST", "/old"), ("GET", "/new")]
