"""The receiver of WAL beside the application's server as it comes: no line of its configuration was changed."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups_tests.docker.seeing import expect, until
from recyclic_backups_tests.docker.stack import Stack, say

WRITE = (
    "INSERT INTO sales (deposit_id, price_cents) SELECT 1, n FROM generate_series(1, 400) n"
    " RETURNING pg_current_wal_insert_lsn()"
)


def status(stack: Stack) -> dict[str, Any]:
    """What ``wal status --json`` says; empty while there is nothing, or a gap, which is an exit code of its own."""
    try:
        found: dict[str, Any] = json.loads(stack.rescue("wal", "status", "--json"))
    except AssertionError:
        return {}
    return found


def reached(stack: Stack) -> int:
    """Up to where the archive has everything; 0 while it does not say."""
    position = status(stack).get("position")
    return lsn_of(position["lsn"]) if position else 0


def container_of(stack: Stack, service: str) -> str:
    """The id of a service's container."""
    return stack.compose("ps", "--all", "--quiet", service).strip()


class _Writing(threading.Thread):
    """A client of the application, which goes on through whatever happens; what it was told is committed."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._stack, self._over = stack, threading.Event()
        self.rows = 0

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.rows += self._stack.psql("recyclic", WRITE).count("/")
            except AssertionError:
                self._over.wait(0.5)

    def stop(self) -> None:
        self._over.set()
        self.join()


def the_receiver(stack: Stack) -> None:
    """Turned on by two lines; the server stopped, then both killed, under load; nothing is missing."""
    before = stack.psql(
        "postgres", "SELECT string_agg(line::text, ' ' ORDER BY line_number) FROM pg_hba_file_rules line"
    )
    stack.settings(WAL_ARCHIVE="true", COMPOSE_PROFILES="wal", WAL_TAIL_SECONDS="5")
    stack.compose("up", "--detach", "--wait")
    expect("backup-wal is healthy: it has stored something", reached(stack) > 0)
    log = stack.compose("logs", "backup-wal")
    expect("the server's own pg_hba.conf lets it in", "replication=database" in log, log)
    mounted = json.loads(stack.run("docker", "inspect", container_of(stack, "backup-wal")))[0]["Mounts"]
    secrets = {each["Destination"] for each in mounted if each["Destination"].startswith("/run/secrets/")}
    expect("it knows three secrets", len(secrets) == 3, secrets)

    counted = int(stack.psql("recyclic", "SELECT count(*) FROM sales"))
    writing = _Writing(stack)
    writing.start()
    try:
        until("it follows under load", lambda: writing.rows > 2000)
        used = stack.run(
            "docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", container_of(stack, "backup-wal")
        )
        say(f"memory of backup-wal under load: {used.strip()}")
        server, began = container_of(stack, "postgres"), time.monotonic()
        stack.run("docker", "stop", server)
        took = time.monotonic() - began
        code = stack.run("docker", "inspect", "--format", "{{.State.ExitCode}}", server).strip()
        expect(f"docker stop of the server took {took:.1f} s, and nobody killed it", code == "0", code)
        stack.run("docker", "start", server)
        written = writing.rows
        until("the application writes again", lambda: writing.rows > written + 400)
        stack.run("docker", "kill", server, container_of(stack, "backup-wal"))
        stack.run("docker", "start", server)
        # One after the other: to Docker a container that starts again, as the receiver does meanwhile, is unhealthy.
        stack.compose("up", "--detach", "--wait", "postgres")
        stack.compose("up", "--detach", "--wait", "backup-wal")
        written = writing.rows
        until("and again, after both were killed", lambda: writing.rows > written + 400)
    finally:
        writing.stop()
    now = int(stack.psql("recyclic", "SELECT count(*) FROM sales"))
    expect(
        "the server has every row that it said it has",
        now - counted >= writing.rows,
        (now, counted, writing.rows),
    )
    end = lsn_of(stack.psql("postgres", "SELECT pg_current_wal_flush_lsn()"))
    until("all of that is in the archive", lambda: reached(stack) >= end)
    expect("without a gap", status(stack)["gaps"] == [])
    _as_on_the_server(stack)
    after = stack.psql(
        "postgres", "SELECT string_agg(line::text, ' ' ORDER BY line_number) FROM pg_hba_file_rules line"
    )
    expect("nothing of the server's configuration was changed", before == after)


def the_receiver_ends(stack: Stack) -> None:
    """Told to stop, then off again for good."""
    _told_to_stop(stack)
    stack.settings(WAL_ARCHIVE="", COMPOSE_PROFILES="", WAL_TAIL_SECONDS="")
    stack.compose("--profile", "wal", "rm", "--stop", "--force", "backup-wal")
    stack.psql("postgres", "SELECT pg_drop_replication_slot('recyclic_backups')")
    stack.compose("up", "--detach", "--wait")


def _as_on_the_server(stack: Stack) -> None:
    """Loss prevented: an archive of WAL that PostgreSQL would not read."""
    ends_at = (
        "SELECT pg_walfile_name(lsn), (pg_walfile_name_offset(lsn)).file_offset"
        " FROM pg_current_wal_flush_lsn() AS lsn"
    )
    segment, length = stack.psql("postgres", ends_at).split("|")
    expect("there is WAL to compare", int(length) > 8192, length)
    theirs = f"head -c {length} /var/lib/postgresql/data/pg_wal/{segment} | sha256sum"
    wanted = stack.compose("exec", "-T", "postgres", "sh", "-c", theirs)
    ours = f"recyclic-backups wal fetch {segment} | head -c {length} | sha256sum"
    run = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "backup-rescue", "-c", ours)
    until(
        f"the end of the WAL is there as on the server, byte for byte: {length} bytes of {segment}",
        lambda: stack.compose(*run) == wanted,
    )


def _told_to_stop(stack: Stack) -> None:
    began = time.monotonic()
    stack.compose("stop", "backup-wal")
    code = stack.run(
        "docker", "inspect", "--format", "{{.State.ExitCode}}", container_of(stack, "backup-wal")
    )
    expect(f"told to stop, it ended well within {time.monotonic() - began:.1f} s", code.strip() == "0", code)
