"""The process that delivers: it is over in time, says nothing after its end, and tells nobody what it should not."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from recyclic_backups.notify.channels import Service
from recyclic_backups.notify.delivery_process import DeadlineExceeded, run_with_deadline
from recyclic_backups.notify.heartbeat import heartbeat
from recyclic_backups.notify.send import send
from recyclic_backups_tests.notify.receivers import Web, patient, web_server
from recyclic_backups_tests.notify.test_send import MESSAGE


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def ping(url: str, *, deadline_seconds: float = 60) -> str:
    """Why a ping failed; empty if it did not."""
    request = {"way": "ping", "name": "it", "url": url, "attempts": 1, "timeout_seconds": 60}
    return run_with_deadline(request, deadline_seconds)


def url_of(listener: socket.socket) -> str:
    """Where it listens."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_a_delivery_that_waits_is_ended_and_leaves_no_connection(listener: socket.socket) -> None:
    """Loss prevented: a message delivered by somebody whom everybody had given up, after it was sent again."""
    listener.settimeout(0)
    for seconds in (1, 2, 4, 8, 16, 32):
        with pytest.raises(DeadlineExceeded):
            ping(url_of(listener), deadline_seconds=seconds)
        with suppress(BlockingIOError):  # this machine is busy: the process had not come that far
            taken, _ = listener.accept()
            with taken:
                taken.settimeout(60)
                while taken.recv(1000):
                    pass
            return
    raise AssertionError("nobody ever came")


def test_who_is_interrupted_leaves_nobody_talking(listener: socket.socket) -> None:
    """Loss prevented: a message sent by a process that nobody hears of, and sent again by the next look."""

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    taken: list[socket.socket] = []

    def interrupt_once_connected() -> None:
        taken.append(listener.accept()[0])
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    thread = threading.Thread(target=interrupt_once_connected)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ping(url_of(listener))
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, before)
    with taken[0] as connection:
        connection.settimeout(60)
        while connection.recv(1000):
            pass


def test_over_https_only_a_valid_certificate_is_told_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a token or a ping's address given to whoever stands in between."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with web_server(tls) as web:
        assert "its certificate is not valid" in ping(f"{web.url}/a")
        assert web.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert ping(f"{web.url}/a") == ""
    assert web.asked == [("POST", "/a")]


def test_a_proxy_of_the_environment_is_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: no message from a network whose only way out is a proxy."""
    monkeypatch.setenv("http_proxy", web.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ping("http://hc.example.org/a") == ""
    assert web.asked == [("POST", "http://hc.example.org/a")]


@pytest.mark.parametrize(
    "status", [302, 307, *(pytest.param(status, marks=pytest.mark.slow) for status in (301, 303, 308))]
)
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
    web.location, web.status = "/new", 302
    assert ping(f"{web.url}/old") == "it answered 302"
    assert web.asked == [("POST", "/old"), ("GET", "/new")]
