"""A production site in small: a database, a storage on disk, and the command line as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recyclic_backups_tests
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.postgres.server import Server
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.faults.proxy import Proxy
from recyclic_backups_tests.operator import Operator, Outcome

DRIVER = ("-m", "recyclic_backups_tests.faults.driver")
_PATIENCE_SECONDS = 60

MIDWAY_BYTES = 4_500_000
"""Of the 5 MB of the bulky site: some of so much is in the storage, and the rest is still to come."""


@dataclass
class Site:
    """``operator`` runs what follows in this process; :meth:`run` and :meth:`start` are processes of their own."""

    operator: Operator
    server: Server
    database: str
    before: tuple[str, ...] = ()
    """What to put before the command: a tracer, a limit."""

    @property
    def storage(self) -> Path:
        """The directory with the backups."""
        return self.operator.storage

    @property
    def catalog(self) -> Catalog:
        """What the storage holds."""
        if not self.storage.is_dir():
            return Catalog((), {})
        store = LocalStore(self.storage)
        return load_catalog(Repository(store, self.database, Keyring(store, ""), encrypt=False))

    def environment(self, overrides: Mapping[str, str | None]) -> dict[str, str]:
        """What a process of the site knows: the operator's variables and nothing of the tests'."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "PG_BIN") if name in os.environ}
        root = str(Path(recyclic_backups_tests.__file__).parent.parent)
        mixed = {**kept, "PYTHONPATH": root, **self.operator.variables, **overrides}
        return {name: value for name, value in mixed.items() if value is not None}

    @contextmanager
    def start(self, *arguments: str, **overrides: str | None) -> Iterator[subprocess.Popen[str]]:
        """The command as a process; killed at the end of the block if it is still there."""
        argv = [*self.before, sys.executable, *DRIVER, *arguments]
        with subprocess.Popen(
            argv,
            cwd=self.operator.directory,
            env=self.environment(overrides),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *arguments: str, **overrides: str | None) -> Outcome:
        """The command as a process, to its end."""
        with self.start(*arguments, **overrides) as process:
            return ended(process)

    def dumping(self, process: subprocess.Popen[str]) -> Path:
        """Wait until the process has bytes of a dump in the storage; where they are."""
        folder = self.storage / Layout(self.database).backups
        found: list[Path] = []

        def written() -> bool:
            assert process.poll() is None, process.communicate()
            with suppress(OSError):
                found[:] = [path for path in folder.glob("*/.partial-*") if path.stat().st_size > 0]
            return bool(found)

        wait_until(written)
        return found[0]

    @contextmanager
    def held_midway(self, **overrides: str | None) -> Iterator[tuple[subprocess.Popen[str], Proxy]]:
        """A backup of the 5 MB in the middle of its dump, where it stays until the line is let go."""
        with (
            Proxy.to(self.server.port, hold_after_bytes=MIDWAY_BYTES) as proxy,
            self.start("backup", POSTGRES_PORT=str(proxy.port), **overrides) as process,
        ):
            self.dumping(process)
            yield process, proxy

    def sessions(self, database: str | None = None) -> list[tuple[Any, ...]]:
        """Who of ours is connected to the database, or to those whose names are like this."""
        with self.server.connect("postgres", application_name="looking") as connection:
            return connection.execute(
                "SELECT application_name, state FROM pg_stat_activity WHERE datname LIKE %s"
                " AND (application_name LIKE 'recyclic_backups%%' OR application_name LIKE 'pg_%%')",
                (database or self.database,),
            ).fetchall()

    def databases(self) -> set[str]:
        """Every database of the server."""
        with self.server.connect("postgres") as connection:
            return {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database").fetchall()}

    def drop(self, *names: str) -> None:
        """Remove databases of the test."""
        with self.server.connect("postgres") as connection:
            for name in names:
                connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def require_nobody_at_work(self) -> None:
        """No process and no session of a command that has ended stays behind."""
        wait_until(lambda: not _processes_about(self.database), lambda: f"{_processes_about(self.database)}")
        wait_until(lambda: not self.sessions(), lambda: f"{self.sessions()}")

    def require_sound(self) -> None:
        """Whatever is listed is a backup: each verifies to the last byte."""
        listed = self.operator.must("list", "--json").json
        assert not self.catalog.damage
        verdict = self.operator.run("verify", "--all", "--json")
        assert verdict.code == (0 if listed else 60), verdict.err
        if listed:
            assert len(verdict.json) == len(listed)

    def require_next_backup(self) -> None:
        """The next backup succeeds, and nothing is in the storage but what backups consist of."""
        self.require_nobody_at_work()
        before = {backup.backup_id for backup in self.catalog}
        new = self.operator.backup_id()
        assert {backup.backup_id for backup in self.catalog} == before | {new}
        assert self.operator.stored() == self.expected_files()
        assert self.catalog.labels

    def expected_files(self) -> set[str]:
        """What the storage consists of if every object belongs to a backup."""
        layout, catalog = Layout(self.database), self.catalog
        names = {"recover.py", "RECOVERY.md"}
        names |= {path.name for path in self.storage.glob("storage.json")}
        names |= {f"keys/{path.name}" for path in (self.storage / "keys").glob("????????????????.json")}
        for backup in catalog:
            names.add(layout.manifest(backup.backup_id))
            names |= {layout.object(backup.backup_id, item.name) for item in backup.manifest.objects}
            names |= {layout.check(backup.backup_id, check.checked_at) for check in backup.checks}
        return names | {layout.label(tier, partition) for tier, partition in catalog.labels}


def ended(process: subprocess.Popen[str], timeout_seconds: float = 120) -> Outcome:
    """Wait for a process and what it printed; never a traceback, never "this is a bug"."""
    out, err = process.communicate(timeout=timeout_seconds)
    assert "Traceback" not in err, err
    assert process.returncode != 1, err
    return Outcome(process.returncode, out, err)


def refused(outcome: Outcome, code: int, *words: str) -> None:
    """A command ended with its documented exit code and one sentence that has these words."""
    assert outcome.code == code, (outcome.code, outcome.err)
    sentences = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1, outcome.err
    for word in words:
        assert word in sentences[0], outcome.err


def wait_until(condition: Callable[[], bool], say: Callable[[], str] = lambda: "it did not happen") -> None:
    """Wait for what another process is about to do."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, say()
        time.sleep(0.01)


def killed(outcome: Outcome) -> bool:
    """Whether the process was killed, rather than done before the fault came."""
    assert outcome.code in (0, -signal.SIGKILL), outcome.err
    return outcome.code != 0


def processes_of(parent: int, name: str, option: str) -> list[int]:
    """Children of a process that run a program of that name with that option."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = stat.read_text(errors="replace")
            words = (stat.parent / "cmdline").read_bytes().split(b"\0")
            is_child = int(text.rpartition(")")[2].split()[1]) == parent
            if f"({name})" in text and is_child and option.encode() in words:
                found.append(int(stat.parent.name))
    return found


def _processes_about(database: str) -> list[str]:
    """Command lines of PostgreSQL's client programs that work on a database."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0].rpartition(b"/")[2] in (b"pg_dump", b"pg_restore") and any(
                f"'{database}'".encode() in word or word == database.encode() for word in words
            ):
                found.append(b" ".join(words).decode(errors="replace"))
    return found
