"""The code server: who may ask it, and what it does where anybody could."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from dagster._cli.api import grpc_command
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient

from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.defs import serving
from recyclic_backups.defs.serving import guard_the_server
from recyclic_backups.errors import ConfigurationError
from recyclic_backups_tests.ports import free_port

MODULE = ["--module-name", "recyclic_backups.definitions", "--location-name", "recyclic_backups"]


def _environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "DAGSTER_HOME": str(tmp_path),
        "BACKUP_STORAGE": f"file://{tmp_path}/backups",
        **variables,
    }


def _dagster(*arguments: str, tmp_path: Path, **variables: str) -> subprocess.Popen[str]:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return subprocess.Popen(
        [sys.executable, "-m", "dagster", *arguments],
        cwd=tmp_path,
        env=_environment(tmp_path, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _listed(
    client: DagsterGrpcClient, process: subprocess.Popen[str], *, patience_seconds: float = 60
) -> str | None:
    """What a client without any credentials is told; None when the server ended or never answered."""
    give_up_at = time.monotonic() + patience_seconds
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            return str(client.list_repositories())
        except DagsterUserCodeUnreachableError:
            time.sleep(0.2)
    return None


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def _loaded_by(parameters: Mapping[str, Any], settings: Settings | ConfigurationError | None = None) -> None:
    """Load definitions as the server does that was started with these parameters."""

    def load() -> Settings:
        if isinstance(settings, ConfigurationError):
            raise settings
        return settings or load_settings({})

    with click.Context(grpc_command, info_name="grpc") as context:
        context.params.update(parameters)
        guard_the_server(load)


@pytest.fixture
def umask() -> Iterator[None]:
    """The mask of this process, put back afterwards."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def test_a_neighbour_finds_no_code_server_on_a_port(tmp_path: Path) -> None:
    """Attack prevented: whoever reaches the port stops the server, or has it run any program with its keys."""
    port = free_port()
    with _ended(
        _dagster("api", "grpc", "--host", "127.0.0.1", "--port", str(port), *MODULE, tmp_path=tmp_path)
    ) as server:
        assert _listed(DagsterGrpcClient(host="127.0.0.1", port=port), server) is None
        output, _ = server.communicate(timeout=30)
    assert server.returncode == 70
    assert f"not served on port {port}" in output
    assert "BACKUP_CODE_SERVER_TCP=true" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_server_that_hides_errors_until_it_is_asked_ends_all_the_same(tmp_path: Path) -> None:
    """Attack prevented: Dagster serves an error of loading to clients, and goes on answering whoever asks."""
    with _ended(
        _dagster(
            "api",
            "grpc",
            *MODULE,
            tmp_path=tmp_path,
            DAGSTER_GRPC_PORT=str(free_port()),
            DAGSTER_LAZY_LOAD_USER_CODE="1",
        )
    ) as server:
        output, _ = server.communicate(timeout=60)
    assert server.returncode == 70
    assert "not served on port" in output


@pytest.mark.slow
def test_behind_a_proxy_of_dagster_that_listens_on_a_port_nothing_is_served(tmp_path: Path) -> None:
    """Attack prevented: `dagster code-server start --port` asks a child on a socket, on behalf of any neighbour."""
    port = free_port()
    with _ended(
        _dagster(
            "code-server", "start", "--host", "127.0.0.1", "--port", str(port), *MODULE, tmp_path=tmp_path
        )
    ) as server:
        answer = _listed(DagsterGrpcClient(host="127.0.0.1", port=port), server)
    assert "ListRepositoriesResponse" not in (answer or "")


def test_on_a_socket_only_the_servers_own_user_asks(tmp_path: Path) -> None:
    """Attack prevented: another user of the machine asks through a socket that the usual mask leaves open."""
    socket = tmp_path / "code.sock"
    with _ended(_dagster("api", "grpc", "--socket", str(socket), *MODULE, tmp_path=tmp_path)) as server:
        answer = _listed(DagsterGrpcClient(socket=str(socket)), server)
        assert "ListRepositoriesResponse" in (answer or "")
        assert socket.stat().st_mode & 0o077 == 0


def test_a_closed_network_is_somebodys_word(umask: None) -> None:
    """Loss prevented: a deployment on Kubernetes, whose chart knows ports alone, that never starts."""
    _loaded_by({"port": 4000, "host": "0.0.0.0"}, load_settings({"BACKUP_CODE_SERVER_TCP": "true"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1"])
def test_the_loopback_is_as_open_as_any_network(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Attack prevented: every account of the machine reaches 127.0.0.1."""
    with pytest.raises(SystemExit) as ended:
        _loaded_by({"port": 4000, "host": host})
    assert ended.value.code == 70
    assert "dagster api grpc --socket PATH" in capsys.readouterr().err


def test_wrong_settings_open_no_port(capsys: pytest.CaptureFixture[str]) -> None:
    """Attack prevented: a server that answers anybody because its settings cannot be read."""
    with pytest.raises(SystemExit) as ended:
        _loaded_by({"port": 4000}, ConfigurationError("BACKUP_TIME is not a number", "correct it"))
    assert ended.value.code == 10
    assert "BACKUP_TIME is not a number\nHint: correct it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command_line", "variable", "port"),
    [
        (["python", "/bin/dagster", "code-server", "start", "-p", "4000"], "", 4000),
        (
            [
                "python",
                "-m",
                "dagster",
                "code-server",
                "start",
                "--host",
                "0.0.0.0",
                "--port=4001",
                "-m",
                "x",
            ],
            "",
            4001,
        ),
        (["dagster", "code-server", "start", "-m", "x"], "4002", 4002),
        (["dagster", "code-server", "start", "--socket", "/run/x.sock"], "", None),
        (["dagster", "dev", "-p", "3000"], "", None),
        (["dagster-webserver", "-p", "3000"], "4003", None),
        ([], "", None),
    ],
)
def test_a_proxy_is_known_by_its_command_line(
    command_line: list[str], variable: str, port: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: `dagster dev`, whose own code server is on a socket, refused for the port of its pages."""
    monkeypatch.setenv("DAGSTER_CODE_SERVER_PORT", variable)
    monkeypatch.setattr(serving, "_command_line", lambda _process: command_line)
    if port is None:
        before = os.umask(0o022)
        try:
            _loaded_by({"socket": "/run/child.sock", "port": None})
        finally:
            os.umask(before)
        return
    with pytest.raises(SystemExit):
        _loaded_by({"socket": "/run/child.sock", "port": None})


def test_whatever_is_no_server_loads_its_definitions() -> None:
    """Loss prevented: runs, the daemon or the command line of Dagster, refused for a port that is none of theirs."""
    guard_the_server(lambda: pytest.fail("nothing is asked"))
    with click.Context(click.Command("job"), info_name="job") as context:
        context.params["port"] = 3000
        guard_the_server(lambda: pytest.fail("nothing is asked"))
