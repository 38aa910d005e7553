"""``metrics --serve`` among clients that mean harm: each is refused, and none keeps the others from an answer."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from recyclic_backups.cli import metrics_server

FIGURES = b"recyclic_backups_up 1.0\n"


class Served:
    """A server in a thread of this process, and a client of it."""

    def __init__(self) -> None:
        self.port = 0
        self.measured = 0
        self.hold = threading.Event()
        self.hold.set()
        self._ready = threading.Event()

    def measure(self) -> bytes:
        """What the server is told to answer with; waits while held."""
        self.measured += 1
        assert self.hold.wait(30)
        return FIGURES

    def ready(self, port: int) -> None:
        """The server listens."""
        self.port = port
        self._ready.set()

    def start(self, host: str = "127.0.0.1") -> None:
        """Listen. The thread ends with the process: nothing else ends this server."""
        threading.Thread(
            target=lambda: metrics_server.serve(self.measure, host, 0, ready=self.ready), daemon=True
        ).start()
        assert self._ready.wait(10)

    def connect(self, address: str = "127.0.0.1") -> socket.socket:
        """A connection, from an address of the loopback."""
        client = socket.socket()
        client.settimeout(15)
        client.bind((address, 0))
        client.connect(("127.0.0.1", self.port))
        return client

    def ask(
        self, request: bytes = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", address: str = "127.0.0.1"
    ) -> bytes:
        """The whole answer; nothing where the server hung up."""
        with self.connect(address) as client:
            client.sendall(request)
            return _all_of(client)


def _all_of(client: socket.socket) -> bytes:
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """A server on the loopback that is quick to lose patience."""
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(metrics_server, "ANSWER_SECONDS", 1.0)
    found = Served()
    found.start()
    return found


@contextmanager
def _many(served: Served, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(served.connect())
            client.sendall(sent)
            clients.append(client)
        yield clients


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nX: "],
    ids=["nothing", "half a line", "half a header"],
)
def test_slow_clients_keep_nobody_from_an_answer(served: Served, sent: bytes) -> None:
    """Attack prevented: a few hundred connections that say nothing, and no figures for Prometheus."""
    with _many(served, 300, sent):
        assert served.ask().endswith(FIGURES)


def test_a_request_that_drips_ends_at_its_deadline(served: Served) -> None:
    """Attack prevented: a byte a second, each of which puts off a deadline that is counted from the last one."""
    with served.connect() as client:
        began = time.monotonic()
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
        try:
            while time.monotonic() - began < 10:
                client.sendall(b"X-a: b\r\n")
                time.sleep(0.1)
        except ConnectionError:
            pass
        assert time.monotonic() - began < 5


def test_a_client_that_takes_no_answer_is_left(served: Served) -> None:
    """Attack prevented: connections that ask and never read, each with an answer kept in memory."""
    large = Served()
    large.measure = lambda: b"x" * 50_000_000  # type: ignore[method-assign]
    large.start()
    with large.connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        time.sleep(2.5)
        received = _all_of(client)
    assert 0 < len(received) < 50_000_000


def test_thousands_of_connections_cost_no_thread_and_no_file(served: Served) -> None:
    """Attack prevented: a thread for each connection until the machine has none left."""
    before = threading.active_count()
    files = len(list(Path("/proc/self/fd").iterdir()))
    most = 0
    for _ in range(5):
        with _many(served, 100, b"GET / HTTP/1.1\r\n"):
            most = max(most, threading.active_count())
    assert most - before <= 2
    assert served.ask().endswith(FIGURES)
    assert len(list(Path("/proc/self/fd").iterdir())) <= files + metrics_server.MAXIMUM_CONNECTIONS + 2


def test_requests_at_the_same_time_share_a_measurement(served: Served) -> None:
    """Attack prevented: whoever reaches the port has the storage read a hundred times at once."""
    served.hold.clear()
    with _many(served, 50, b"GET /metrics HTTP/1.1\r\n\r\n") as clients:
        deadline = time.monotonic() + 30
        while served.measured == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)
        assert served.measured == 1
        served.hold.set()
        assert all(_all_of(client).endswith(FIGURES) for client in clients)
    assert served.measured <= 3


def test_a_greedy_client_takes_nothing_from_another_one(served: Served) -> None:
    """Attack prevented: one address that asks without end while a measurement takes long."""
    served.hold.clear()
    with served.connect("127.0.0.2") as quiet:
        quiet.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        with _many(served, 200, b"GET /metrics HTTP/1.1\r\n\r\n"):
            served.hold.set()
            assert _all_of(quiet).endswith(FIGURES)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\n\r\n", 405),
        (b"CONNECT 10.0.0.1:22 HTTP/1.1\r\n\r\n", 405),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/x HTTP/1.1\r\n\r\n", 404),
        (b"GET http://169.254.169.254/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", 431),
    ],
)
def test_whatever_else_is_asked_gets_no_figures(served: Served, request_: bytes, status: int) -> None:
    """Attack prevented: addresses, methods and headers that a larger server would do something with."""
    with served.connect() as client:
        with suppress(ConnectionError):
            client.sendall(request_)
        answer = _all_of(client)
    # Bytes that are sent after a refusal may make the system forget it.
    assert FIGURES not in answer
    assert (not answer and status == 431) or _status(answer) == status
    assert served.measured == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9187", "10.0.0.1", "localhost.evil.example", "[fe80::1]"]
)
def test_a_page_whose_name_leads_to_this_machine_reads_nothing(served: Served, host: str) -> None:
    """Attack prevented: DNS rebinding, by which a web page that an administrator looks at reads from his loopback."""
    answer = served.ask(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert _status(answer) == 421
    assert FIGURES not in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9187", "[::1]:9187", "LOCALHOST:1"])
def test_the_machines_own_names_are_answered(served: Served, host: str) -> None:
    """Loss prevented: Prometheus on the same machine, refused."""
    assert served.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).endswith(FIGURES)


def test_on_a_network_any_name_of_the_machine_is_answered() -> None:
    """Loss prevented: a machine that does not know by which name Prometheus finds it."""
    found = Served()
    found.start("0.0.0.0")
    assert found.ask(b"GET /metrics HTTP/1.1\r\nHost: db1.example.org:9187\r\n\r\n").endswith(FIGURES)


def test_an_answer_lets_no_browser_do_anything_with_it(served: Served) -> None:
    """Attack prevented: figures taken for a page, framed, or kept."""
    answer = served.ask(b"HEAD /metrics HTTP/1.1\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b""
    for line in (
        b"Content-Type: text/plain; version=0.0.4; charset=utf-8",
        b"X-Content-Type-Options: nosniff",
        b"Cache-Control: no-store",
        b"Cross-Origin-Resource-Policy: same-origin",
    ):
        assert line in head
    assert b"Server:" not in head


def test_a_bug_while_measuring_answers_one_client_and_goes_on() -> None:
    """Loss prevented: a server that stands, and never answers again."""
    broken = Served()
    problems = [ZeroDivisionError("a bug")]

    def measure() -> bytes:
        if problems:
            raise problems.pop()
        return FIGURES

    broken.measure = measure  # type: ignore[method-assign]
    broken.start()
    assert _status(broken.ask()) == 500
    assert broken.ask().endswith(FIGURES)


def test_the_limits_fit_into_what_a_process_may_open() -> None:
    """Loss prevented: a limit of connections that the usual limit of files (1024) never lets come into force."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert min(soft, 1024) / 4 > metrics_server.MAXIMUM_CONNECTIONS
