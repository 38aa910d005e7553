"""The database's container and its volume are gone while people work; the storage brings all of it back."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from datetime import UTC, datetime

from recyclic_backups.postgres.lsn import lsn_of
from recyclic_backups_tests.docker.receiver import container_of, reached, status
from recyclic_backups_tests.docker.seeing import expect, until
from recyclic_backups_tests.docker.stack import PASSWORD, Stack, say

PROMISED_SECONDS = 30
WORKED_SECONDS = 60
RECOVERED = "recyclic_recovered"
"""The volume of the page's command."""


class _Journal(threading.Thread):
    """A client that commits one sale after the other; ``committed`` says by the sale's id when it was told so."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        login = (
            "-e",
            f"PGPASSWORD={PASSWORD}",
            "postgres",
            "psql",
            "-U",
            "recyclic",
            "-d",
            "recyclic",
            "-qAt",
        )
        self._client = subprocess.Popen(
            ["docker", "compose", "exec", "-T", *login],
            cwd=stack.docker,
            env=stack.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.committed: dict[int, datetime] = {}

    def run(self) -> None:
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(
            "INSERT INTO sales (deposit_id, price_cents) VALUES (1, 7) RETURNING id \\watch 0.02\n"
        )
        self._client.stdin.flush()
        for line in self._client.stdout:  # each round has its time above it
            if line.strip().isdigit():
                self.committed[int(line)] = datetime.now(UTC)

    def end(self) -> None:
        """The server is gone, or this is enough."""
        self._client.kill()
        self._client.wait()
        self.join()


def _has_base_backup(stack: Stack) -> bool:
    listed = json.loads(stack.rescue("base-backup", "--list", "--json"))["base_backups"]
    return any(each["verified_at"] for each in listed)


def the_machine_is_lost(stack: Stack) -> None:
    """Server and receiver killed under load, the volume removed; then the page's command, with a new volume."""
    stack.settings(WAL_TAIL_SECONDS="")  # as it is shipped
    stack.compose("up", "--detach", "--wait", "backup-wal")
    until("the receiver has taken the first base backup by itself", lambda: _has_base_backup(stack))
    settings = (
        "SELECT string_agg(name || '=' || setting, ' ') FROM pg_settings WHERE source = 'configuration file'"
    )
    configured = stack.psql("postgres", settings)
    journal = _Journal(stack)
    journal.start()
    try:
        until("people work", lambda: len(journal.committed) > 100)
        time.sleep(WORKED_SECONDS)
        server, receiver = container_of(stack, "postgres"), container_of(stack, "backup-wal")
        (volume,) = (
            each["Name"]
            for each in json.loads(stack.run("docker", "inspect", server))[0]["Mounts"]
            if each["Type"] == "volume"
        )
        stack.run("docker", "kill", server, receiver)
        died_at = datetime.now(UTC)
    finally:
        journal.end()
    stack.run("docker", "rm", "--force", "--volumes", server)
    stack.run("docker", "volume", "rm", volume)
    expect(
        "the server's files are gone", volume not in stack.run("docker", "volume", "ls", "--quiet").split()
    )

    began = time.monotonic()
    said = stack.types("recover", stack.docker)
    took = time.monotonic() - began
    found = re.search(r"^state +of (.+)$", said, re.MULTILINE)
    expect("it says of which moment everything is back, and what is lost", found and "\nlost " in said, said)
    assert found is not None
    whole_until = datetime.fromisoformat(found[1])
    override = stack.docker / "test/compose.recovered.yaml"
    override.write_text(
        f"volumes: {{application: {{name: {RECOVERED}, external: true}}}}\n", encoding="utf-8"
    )
    stack.environment["COMPOSE_FILE"] += f":{override}"
    stack.compose("up", "--detach", "--wait", "postgres")
    back = {int(each) for each in stack.psql("recyclic", "SELECT id FROM sales").split()}
    lost = sorted(at for sale, at in journal.committed.items() if sale not in back)
    really = (died_at - lost[0]).total_seconds() if lost else 0.0
    told = (died_at - whole_until).total_seconds()
    say(
        f"{len(journal.committed)} sales in {WORKED_SECONDS} s, {len(lost)} lost, those of the last {really:.1f} s; "
        f"it said {told:.1f} s; back in {took:.1f} s, with the start of the container"
    )
    expect(
        f"what was committed {PROMISED_SECONDS} seconds earlier is back", really < PROMISED_SECONDS, really
    )
    expect(
        "no more is lost than it says", not [at for at in lost if at <= whole_until], (whole_until, lost[:3])
    )
    expect("and it does not say much more than is true", told - really < 5, (told, really))
    expect("its configuration is as it was", stack.psql("postgres", settings) == configured)

    stack.compose("up", "--detach", "--wait", "backup-wal")
    end = lsn_of(stack.psql("postgres", "SELECT pg_current_wal_flush_lsn()"))
    until("the receiver goes on, on the new timeline", lambda: reached(stack) >= end)
    position = status(stack)["position"]
    expect("which the archive knows", position["timeline"] == 2, position)
