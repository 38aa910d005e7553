"""A reader of the pages: a directory as a new checkout is, a shell, and the patience to type everything.

Only what a page tells them to fill in is filled in: where the database is, and names that commands print.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.docs.pages import PROJECT

NOT_ON_ANY_PAGE = (
    *(
        "admin_settings",
        "alembic_version",
        "audit_logs",
        "deposits",
        "email_logs",
        "group_permissions",
        "ligne_depot",
    ),
    *(
        "login_history",
        "permissions",
        "poste_reception",
        "registration_requests",
        "sync_logs",
        "ticket_depot",
    ),
    *("user_groups", "groups", "user_status_history"),
)
"""Tables of the demonstration without which the reader's database is the same to a reader."""

OF_A_CHECKOUT = (
    "Makefile",
    "scripts",
    "requirements.lock",
    "pyproject.toml",
    "dagster.yaml",
    "workspace.yaml",
)


@dataclass(frozen=True)
class Printed:
    """What a block of commands printed."""

    out: str
    err: str


@dataclass
class Reader:
    """Types blocks into ``/bin/sh`` in ``directory``, with nothing of this process's environment but the language."""

    directory: Path
    fills_in: dict[str, str] = field(default_factory=dict)
    knows: dict[str, str] = field(default_factory=dict)
    """Variables of the reader's own shell: the password that psql would ask for."""

    def check_out(self) -> None:
        """The files that commands of the pages use, and an installation that is up to date."""
        for name in OF_A_CHECKOUT:
            source, target = PROJECT / name, self.directory / name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
        (self.directory / ".venv").mkdir()
        (self.directory / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
        # Newer than the lock: installing is tried on fresh machines, not in every test run.
        (self.directory / ".venv" / ".installed").touch()

    def write(self, name: str, text: str, values: Mapping[str, str]) -> None:
        """Write a file as the page shows it, with values of our own in lines that it has."""
        lines = text.splitlines()
        for setting, value in values.items():
            (number,) = [each for each, line in enumerate(lines) if line.startswith(f"{setting}=")]
            lines[number] = f"{setting}='{value}'"
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines))

    def setting(self, name: str) -> str:
        """The value that the reader's own .env has by now."""
        value = dotenv_values(self.directory / ".env", interpolate=False).get(name)
        assert value, f"the pages did not lead to a {name} in .env"
        return value

    def types(self, text: str, *, ends: int = 0) -> Printed:
        """Run a block to its end; whatever in it fails, fails, but for a last command that ``ends`` with that code."""
        for written, meant in self.fills_in.items():
            text = text.replace(written, meant)
        # A python3 with `cryptography`, which the page asks for; a virtual environment is found by its real path.
        path = f"{Path(sys.prefix) / 'bin'}:{os.defpath}:/usr/sbin:/sbin"
        finished = self._sh(text, {"PATH": path, **self.knows}, "-eu")
        assert finished.returncode == ends, f"{text}ended with {finished.returncode}:\n{finished.stderr}"
        return Printed(finished.stdout, finished.stderr)

    def leaves_to_cron(self, command: str) -> Printed:
        """Run a command as Debian's cron does: a plain shell, in the home directory, almost no environment."""
        finished = self._sh(command, {"PATH": "/usr/bin:/bin", "LOGNAME": "reader", "SHELL": "/bin/sh"})
        assert finished.returncode == 0, f"{command} ended with {finished.returncode}:\n{finished.stderr}"
        return Printed(finished.stdout, finished.stderr)

    def _sh(self, text: str, variables: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        home = self.directory.parent
        return subprocess.run(
            ["/bin/sh", *options, "-c", text],
            cwd=self.directory if options else home,
            env={"HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def databases_of_the_reader(cluster: ScratchCluster, template: str) -> Iterator[None]:
    """A database ``recyclic`` with data; whatever restores leave beside it is dropped in the end."""

    def names() -> set[str]:
        with cluster.server.connect("postgres") as connection:
            return {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database").fetchall()}

    before = names()
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"CREATE DATABASE recyclic TEMPLATE {template}")
    with cluster.server.connect("recyclic") as connection:
        # A restore takes as long as there are tables, and the pages have a dozen.
        connection.execute(f"DROP SCHEMA audit CASCADE; DROP TABLE {', '.join(NOT_ON_ANY_PAGE)} CASCADE")
    try:
        yield
    finally:
        for name in names() - before:
            with cluster.server.connect("postgres") as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


_VARYING = (
    (r"\d{8}T\d{6}Z-[A-Z2-7]{6}", "ID"),
    (r"\b[0-9a-f]{32}\b", "STORAGE"),
    (r"\b[0-9a-f]{16}\b", "KEY"),
    (r"_\d{8}t\d{6}z_[0-9a-f]{6}", "_KEPT"),
    (r"(localhost|127\.0\.0\.1):\d+", "SERVER"),
    (r"(?<= )/\S*/", "DIRECTORY/"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.\d]*(Z| [A-Z]{3,4}\b| [+-]\d\d(\d\d)?\b)?", "MOMENT"),
    (r"\d{4}-\d\d-\d\d", "DAY"),
    (r"\d+(\.\d+)? (B|kB|MB|GB)\b", "SIZE"),
    (r"\d+(\.\d+)? s\b", "TIME"),
    (r"\d+( \d{3})*", "NUMBER"),
    (r"\b(daily|weekly|monthly)(,(daily|weekly|monthly))*\b", "TIERS"),
    (r"\s+", " "),
)


def shape(line: str) -> str:
    """A line of output without what differs from run to run and machine to machine."""
    for pattern, name in _VARYING:
        line = re.sub(pattern, name, line)
    return line.strip()


def keeps_promise(promised: str, printed: str) -> bool:
    """Whether the output has the promised lines, one after the other; a line ``…`` stands for any lines."""
    patterns = [
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(shape(line)) + r"\n"
        for line in promised.splitlines()
        if line.strip()
    ]
    text = "".join(f"{shape(line)}\n" for line in printed.splitlines() if line.strip())
    return re.fullmatch("".join(patterns), text) is not None
