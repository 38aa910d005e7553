"""The real configuration of the door, for an nginx of this machine: addresses and files are the only changes."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from recyclic_backups_tests.ports import free_port

DOCKER = Path(__file__).resolve().parents[2] / "docker"


def nginx() -> str | None:
    """The program; Debian has it where an ordinary user does not look."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass(frozen=True)
class Answer:
    """What the door said."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The one header of that name; None where there is none, an error where there are several."""
        found = self.all(name)
        assert len(found) < 2, f"{name}: {found}"
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        """Every header of that name."""
        return [value for each, value in self.headers if each.lower() == name.lower()]


@dataclass
class Door:
    """An nginx with the door's configuration, and a client of it."""

    port: int
    users: Mapping[str, str]
    log: Path
    certificate: Path
    cookies: dict[str, str] = field(default_factory=dict)

    def connect(self) -> ssl.SSLSocket:
        """A connection that trusts the door's certificate alone."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        return context.wrap_socket(client, server_hostname="localhost")

    def login(self, user: str, password: str | None = None) -> dict[str, str]:
        """The header that names a user."""
        word = self.users[user] if password is None else password
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{word}'.encode()).decode()}"}

    def ask(
        self,
        path: str,
        *,
        user: str | None = None,
        password: str | None = None,
        method: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        host: str | None = None,
    ) -> Answer:
        """One request on a connection of its own. A user who was let in brings his cookie."""
        sent = {"Host": host or f"localhost:{self.port}", "Connection": "close"}
        if user is not None:
            sent |= self.login(user, password)
            if user in self.cookies and password is None:
                sent["Cookie"] = self.cookies[user]
        if body is not None:
            sent |= {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        sent |= headers or {}
        verb = method or ("GET" if body is None else "POST")
        lines = [f"{verb} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        with self.connect() as client:
            client.sendall("\r\n".join(lines).encode() + (body or b""))
            answer = parsed(received(client))
        for cookie in answer.all("Set-Cookie"):
            if user is not None:
                self.cookies[user] = cookie.partition(";")[0]
        return answer


def received(client: socket.socket) -> bytes:
    """One answer: as long as it says, else everything until the other side ends."""
    got = b""
    try:
        while part := client.recv(65536):
            got += part
            head, end, body = got.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)
            if end and length and len(body) >= int(length[1]):
                break
    except (ConnectionError, ssl.SSLError):
        pass
    return got


def parsed(answer: bytes) -> Answer:
    """Status, headers and body as they came."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return Answer(int(first.split()[1]), headers, body)


@contextmanager
def door(home: Path, upstreams: Mapping[str, int], *, pages: Mapping[str, str]) -> Iterator[Door]:
    """The door, with the secrets that first-run makes, in front of what listens on these ports of this machine."""
    program = nginx()
    assert program is not None
    (home / "pages").mkdir()
    for name, text in pages.items():
        (home / "pages" / name).write_text(text, encoding="utf-8")
    users = _secrets(home)
    port, health = free_port(), free_port()
    text = (DOCKER / "nginx/nginx.conf").read_text(encoding="utf-8")
    for service, at in upstreams.items():
        text, changed = re.subn(rf"http://{service}:3000;", f"http://127.0.0.1:{at};", text)
        assert changed == 1, service
    for old, new in (
        ("pid /tmp/nginx.pid;", f"pid {home}/nginx.pid;"),
        ("access_log /dev/stdout;", f"access_log {home}/access.log;"),
        ("error_log stderr warn;", f"error_log {home}/error.log warn;"),
        ("  resolver 127.0.0.11 valid=10s ipv6=off;\n", _scratch(home)),
        ("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{health};"),
        ("listen 8443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    text = text.replace("/run/secrets/", f"{home}/docker/secrets/").replace(
        "root /pages;", f"root {home}/pages;"
    )
    configuration = home / "nginx.conf"
    configuration.write_text(text, encoding="utf-8")
    # As root, nginx would serve as another user, who does not reach the directory of a test.
    user = ["-g", "daemon off; user root;"] if os.getuid() == 0 else ["-g", "daemon off;"]
    with subprocess.Popen(
        [program, "-e", str(home / "error.log"), "-c", str(configuration), *user]
    ) as process:
        try:
            _wait(port, process, home / "error.log")
            yield Door(port, users, home / "access.log", home / "docker/secrets/door_certificate")
        finally:
            process.terminate()


def _secrets(home: Path) -> dict[str, str]:
    """What first-run makes, and the passwords that it shows."""
    docker = home / "docker"
    docker.mkdir()
    shutil.copy(DOCKER / "first-run", docker)
    (docker / ".env").write_text(
        f"POSTGRES_PASSWORD=x\nBACKUP_UI_NAME=localhost\nBACKUP_UID={os.getuid()}\n", encoding="utf-8"
    )
    done = subprocess.run(
        [str(docker / "first-run"), "--prepare"], capture_output=True, text=True, check=True
    )
    return dict(re.findall(r"^  (operator|viewer) +(\w+)", done.stdout, re.MULTILINE))


def _scratch(home: Path) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"  {kind}_temp_path {home}/{kind};\n" for kind in kinds)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + 20
    while True:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.05)
