"""Ports for servers of tests that cannot be left to choose one themselves."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

_FIRST, _PORTS_EACH, _WORKERS = 20_000, 500, 24
"""Below where Linux takes the ports of outgoing connections from (32768, ip_local_port_range)."""

_numbers = count(os.getpid())  # two runs of the tests at once begin at different ones


def free_port() -> int:
    """A port of this machine that nobody has at the moment.

    Nobody takes it before its server does: each worker of pytest-xdist has ports of its own, each is given out once
    in all of them, and the system gives none of them to who lets it choose.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    for _ in range(_PORTS_EACH):
        port = _FIRST + worker * _PORTS_EACH + next(_numbers) % _PORTS_EACH
        with socket.socket() as probe:
            # As servers do: a port on which a connection has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@contextmanager
def nobody_on(port: int) -> Iterator[None]:
    """Within the block nobody listens on the port of a server that was stopped: no other test's server gets it."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        yield
