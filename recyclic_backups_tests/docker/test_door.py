"""The door: nginx with its real configuration, in front of a witness."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recyclic_backups_tests.docker.door import Door, door, nginx, parsed, received

pytestmark = pytest.mark.skipif(
    nginx() is None, reason="nginx: none on this machine (apt-get install nginx-light)"
)

PAGES = {"index.html": "<!DOCTYPE html><title>report</title>", "metrics.prom": "recyclic_backups_up 1.0\n"}


class Witness:
    """An upstream that notes what reaches it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def _note(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                witness.seen.append((self.command, self.path, dict(self.headers)))
                self.send_response(200)
                self.send_header("Set-Cookie", "upstream=1")
                self.send_header("Referrer-Policy", "unsafe-url")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _note  # noqa: N815 - the names of the base class

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])


@pytest.fixture(scope="module")
def witnesses() -> Iterator[dict[str, Witness]]:
    """What stands for the operator's pages, and for everybody else's."""
    found = {"backup-ui": Witness(), "backup-ui-readonly": Witness()}
    yield found
    for each in found.values():
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture
def opened(tmp_path: Path, witnesses: dict[str, Witness]) -> Iterator[Door]:
    """A fresh door, which has counted nobody yet."""
    for each in witnesses.values():
        each.seen.clear()
    upstreams = {name: each.port for name, each in witnesses.items()}
    with door(tmp_path, upstreams, pages=PAGES) as found:
        yield found


def test_each_user_reaches_his_own_pages_and_nobody_else_any(
    opened: Door, witnesses: dict[str, Witness]
) -> None:
    """Attack prevented: the pages that do things, shown to who may look, or to anybody."""
    assert opened.ask("/runs", user="operator").status == 200
    assert [path for _, path, _ in witnesses["backup-ui"].seen] == ["/runs"]
    assert opened.ask("/runs", user="viewer").status == 200
    assert [path for _, path, _ in witnesses["backup-ui-readonly"].seen] == ["/runs"]
    for path in ("/", "/report", "/metrics", "/graphql", "/server_info"):
        assert opened.ask(path).status == 401
        assert opened.ask(path, user="operator", password=opened.users["viewer"]).status == 401
    assert len(witnesses["backup-ui"].seen) == 1


@pytest.mark.parametrize("path", ["/runs", "/report", "/metrics"])
def test_every_answer_tells_the_browser_what_it_may_not_do(opened: Door, path: str) -> None:
    """Attack prevented: pages framed by another site, guessed to be of another kind, or leaking their address."""
    for answer in (opened.ask(path, user="operator"), opened.ask(path)):
        assert answer.header("X-Content-Type-Options") == "nosniff"
        assert answer.header("X-Frame-Options") == "DENY"
        assert answer.header("Referrer-Policy") == "same-origin"
        assert answer.header("Cross-Origin-Opener-Policy") == "same-origin"
        assert answer.header("Cross-Origin-Resource-Policy") == "same-origin"
        assert "camera=()" in (answer.header("Permissions-Policy") or "")
        policies = answer.all("Content-Security-Policy")
        assert any("frame-ancestors 'none'" in each for each in policies)
        assert not any("unsafe-inline" in each for each in policies)
        assert "/" not in (answer.header("Server") or ""), "no version"
    (policy,) = opened.ask("/report", user="viewer").all("Content-Security-Policy")
    assert "connect-src 'none'" in policy


def test_hsts_is_said_where_the_door_is_the_hosts_own(opened: Door) -> None:
    """Loss prevented: a door at another port that closes the application's doors on the same host for a year."""
    assert (
        opened.ask("/report", host="backups.example.org").header("Strict-Transport-Security")
        == "max-age=31536000"
    )
    assert opened.ask("/report", host="backups.example.org:4433").header("Strict-Transport-Security") is None


def test_the_cookie_is_for_this_door_alone_and_never_in_a_refusal(opened: Door) -> None:
    """Attack prevented: a cookie that scripts read, that travels in clear, or that another site makes use of."""
    cookie = opened.ask("/report", user="viewer").header("Set-Cookie")
    assert cookie is not None
    name, *flags = cookie.split("; ")
    assert len(name) > len("door=") + 40
    assert set(flags) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}
    refused = opened.ask("/report", user="viewer", password="guessed")
    assert (refused.status, refused.header("Set-Cookie")) == (401, None)
    assert (
        opened.ask("/runs", user="operator").header(
            "Set-Cookie",
        )
        != "upstream=1"
    )


def test_neither_password_nor_cookie_reaches_dagster(opened: Door, witnesses: dict[str, Witness]) -> None:
    """Attack prevented: a page of Dagster's, or its log, that has the operator's password."""
    opened.ask("/runs", user="viewer")
    opened.ask("/runs", user="viewer")
    for _, _, headers in witnesses["backup-ui-readonly"].seen:
        assert not {"authorization", "cookie"} & {each.lower() for each in headers}


def test_a_cookie_replaces_no_password(opened: Door) -> None:
    """Attack prevented: a stolen cookie that is as good as a password."""
    opened.ask("/report", user="operator")
    assert opened.ask("/report", headers={"Cookie": opened.cookies["operator"]}).status == 401


def test_who_guesses_is_stopped_and_who_is_in_goes_on(opened: Door) -> None:
    """Attack prevented: a list of a million passwords, tried in an hour."""
    for user in ("operator", "viewer"):
        assert opened.ask("/report", user=user).status == 200
    found = [opened.ask("/report", user="operator", password=f"guess{number}").status for number in range(40)]
    assert set(found) == {401, 429}
    assert found.count(401) <= 22
    assert opened.ask("/report", user="operator").status == 200
    # The right password from an address that guesses is not told apart from a wrong one.
    del opened.cookies["operator"]
    assert opened.ask("/report", user="operator").status == 429
    # A viewer's cookie does not let him try the operator's password.
    viewers = {"Cookie": opened.cookies["viewer"]}
    assert opened.ask("/report", user="operator", password="x", headers=viewers).status == 429


def test_who_is_in_cannot_ask_without_end(opened: Door) -> None:
    """Attack prevented: a viewer whose script asks a thousand questions a second."""
    opened.ask("/report", user="viewer")
    with ExitStack() as stack:
        clients = [stack.enter_context(opened.connect()) for _ in range(10)]
        for client in clients:
            lines = [f"{name}: {value}\r\n" for name, value in opened.login("viewer").items()]
            request = (
                f"GET /metrics HTTP/1.1\r\nHost: localhost:{opened.port}\r\n"
                f"Cookie: {opened.cookies['viewer']}\r\n{''.join(lines)}\r\n"
            )
            client.sendall(request.encode() * 60)
            client.settimeout(0.3)
        answers = b"".join(_until_silent(client) for client in clients)
    assert b"HTTP/1.1 429" in answers


def _until_silent(client: socket.socket) -> bytes:
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except OSError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://localhost.evil.example"},
        {"Origin": "http://localhost"},
        {"Origin": "https://evil.example", "Upgrade": "websocket", "Connection": "Upgrade"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_another_sites_page_does_nothing_with_the_operators_password(
    opened: Door, witnesses: dict[str, Witness], headers: dict[str, str]
) -> None:
    """Attack prevented: a page that the operator looks at launches or listens, in a browser that is logged in."""
    body = b'{"query": "mutation { reloadWorkspace { __typename } }"}'
    assert opened.ask("/graphql", user="operator", body=body, headers=headers).status == 403
    assert opened.ask("/graphql", user="operator", headers=headers).status == 403
    assert witnesses["backup-ui"].seen == []


def test_the_doors_own_pages_ask_and_links_from_outside_lead_in(opened: Door) -> None:
    """Loss prevented: a door that refuses its own pages."""
    own = {
        "Origin": f"https://localhost:{opened.port}",
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "cors",
    }
    assert opened.ask("/graphql?op=RunQuery", user="operator", body=b"{}", headers=own).status == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert opened.ask("/runs", user="operator", headers=link).status == 200


@pytest.mark.parametrize(
    ("user", "method", "path"),
    [
        *(
            (user, "GET", f"/graphql?{query}")
            for user in ("operator", "viewer")
            for query in (
                "query=mutation{reloadWorkspace{__typename}}",
                "%71uery=%7B__typename%7D",
                "a=b&query={__typename}",
            )
        ),
        *((user, "POST", "/graphql?query={__typename}") for user in ("operator", "viewer")),
        *(
            (user, method, "/runs")
            for user in ("operator", "viewer")
            for method in ("POST", "PUT", "DELETE", "PATCH")
        ),
        ("viewer", "POST", "/report_asset_materialization/recyclic/daily_backup"),
        ("viewer", "POST", "/report_asset_check/recyclic/daily_backup"),
        ("viewer", "POST", "/report_asset_observation/recyclic/daily_backup"),
    ],
)
def test_what_no_page_asks_is_refused(
    opened: Door, witnesses: dict[str, Witness], user: str, method: str, path: str
) -> None:
    """Attack prevented: a mutation in a link that somebody is sent; ways into Dagster that no page of it uses."""
    body = None if method == "GET" else b"{}"
    assert opened.ask(path, user=user, method=method, body=body).status == 403
    assert witnesses["backup-ui"].seen == witnesses["backup-ui-readonly"].seen == []


@pytest.mark.parametrize(
    "path", ["/report/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/report/index.html", "//evil.example/"]
)
def test_no_path_leads_to_a_file_of_the_door(opened: Door, path: str) -> None:
    """Attack prevented: the door's own secrets, read through a path with dots."""
    answer = opened.ask(path, user="viewer")
    assert b"root:" not in answer.body
    assert answer.header("Location") is None


def test_a_request_that_is_two_is_refused(opened: Door, witnesses: dict[str, Witness]) -> None:
    """Attack prevented: a second request smuggled past the door's rules inside the first one."""
    login = opened.login("viewer")["Authorization"]
    head = f"POST /graphql HTTP/1.1\r\nHost: localhost:{opened.port}\r\nAuthorization: {login}\r\n"
    for framing in (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 50\r\n\r\n",
    ):
        with opened.connect() as client:
            client.sendall((head + framing).encode())
            client.settimeout(5)
            assert parsed(received(client)).status == 400
    assert not [path for _, path, _ in witnesses["backup-ui-readonly"].seen if "smuggled" in path]


def test_slow_clients_do_not_keep_the_door_shut(opened: Door) -> None:
    """Attack prevented: connections that say nothing until nobody else gets in."""
    with ExitStack() as stack:
        for _ in range(150):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", opened.port), timeout=10))
            client.sendall(b"\x16\x03\x01")
        began = time.monotonic()
        assert opened.ask("/report", user="viewer").status == 200
        assert time.monotonic() - began < 5


def test_old_tls_is_not_spoken(opened: Door) -> None:
    """Attack prevented: a neighbour in the network who talks both sides into what can be broken."""
    import ssl
    import warnings

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", opened.port), timeout=10) as client,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(client)
