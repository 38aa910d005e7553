"""Who may ask the process that serves these definitions.

Dagster's code server (``dagster api grpc``) knows no login. Whoever reaches it can list, stop it, and name any class of
any module for it to load (docs/adr/0014): it holds the database's password and the encryption key. So it is served on a
Unix socket, which the file system guards, and on a TCP port only where somebody said that the network is closed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from recyclic_backups.config.settings import Settings
from recyclic_backups.defs.facts import port_of_code_server
from recyclic_backups.defs.runs import sentence
from recyclic_backups.errors import BackupError, Refused

_SERVER = "grpc"
"""The command ``dagster api grpc``: Dagster's own programs start it too, always on a Unix socket."""

_PROXY = ("code-server", "start")
"""``dagster code-server start`` listens itself, and loads definitions in a child that is served on a Unix socket."""

_PROCESSES = Path("/proc")


def guard_the_server(load_settings: Callable[[], Settings]) -> None:
    """End a code server that would answer on a TCP port, unless ``BACKUP_CODE_SERVER_TCP`` allows that.

    To be called first when definitions are loaded: a server loads them before it listens. It ends the process with one
    sentence and the exit code of Refused (or ConfigurationError), because Dagster serves an ordinary error to clients
    and goes on. In every other process (a run, the daemon, the command line of Dagster) nothing happens.

    The loopback counts as open: every user of the machine reaches it. A Unix socket gets no permission for others.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.command.name != _SERVER:
        return
    port = _port(context)
    if port is None:
        # gRPC makes the socket after this. What the runs of this server write is for its user as well.
        os.umask(0o077)
        return
    try:
        if load_settings().code_server_tcp:
            return
        raise Refused(
            f"these definitions are not served on port {port}: who reaches it needs no password there, and can "
            "stop the server or have it run code",
            "serve them on a Unix socket (dagster api grpc --socket PATH); where only Dagster's webserver and daemon "
            "can reach the port, say so with BACKUP_CODE_SERVER_TCP=true",
        )
    except BackupError as error:
        sys.stderr.write(f"error: {sentence(error)}\n")
        raise SystemExit(error.exit_code) from None


def _port(server: click.Context) -> int | None:
    """The port that this code server will listen on; None for a Unix socket."""
    return server.params.get("port") or _port_of_proxy(_command_line(os.getppid()))


def _port_of_proxy(command_line: Sequence[str]) -> int | None:
    """The port that ``dagster code-server start`` was given; None for any other program, and for a Unix socket."""
    for begin in range(len(command_line)):
        end = begin + len(_PROXY)
        if tuple(command_line[begin:end]) == _PROXY:
            # The variables are this process's too: Dagster hands its environment down.
            variable = os.environ.get("DAGSTER_CODE_SERVER_PORT", "")
            return port_of_code_server(command_line[end:]) or (int(variable) if variable.isdigit() else None)
    return None


def _command_line(process: int) -> list[str]:
    """The arguments of a process; none where that cannot be seen (proc(5))."""
    try:
        text = (_PROCESSES / str(process) / "cmdline").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    return text.split("\0")[:-1]
