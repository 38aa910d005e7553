"""An operator at the command line: an environment, a command, and what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups.cli.main import main
from recyclic_backups.postgres.server import Server

# 256 bits in base64, as `keys generate` prints. Scrypt takes half a second for each new storage: that is for the tests
# of keys, of the envelope and of the rescue script, which bring passphrases of their own.
PASSPHRASE = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSwgMzI="


ENTRIES = {
    ("validate",): "checks",
    ("list",): "backups",
    ("verify",): "verifications",
    ("expire",): "plan",
    ("adopt",): "files",
    ("keys", "list"): "keys",
    ("audit", "show"): "events",
    ("flags", "list"): "flags",
    ("notify-test",): "channels",
}
"""Under which name a command's report has the things that it lists."""


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str
    entries: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """The whole report."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def json(self) -> Any:
        """The report; of a command that lists things, those."""
        return self.document.get(self.entries, self.document)


@dataclass
class Operator:
    """Runs commands in this process, in a working directory of its own, with exactly these variables."""

    directory: Path
    capture: pytest.CaptureFixture[str]
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **overrides: str | None) -> Outcome:
        """Run one command; ``overrides`` set or (None) remove variables for it."""
        variables = {
            **self.variables,
            **{name: value for name, value in overrides.items() if value is not None},
        }
        for name, value in overrides.items():
            if value is None:
                variables.pop(name, None)
        if variables.get("BACKUP_ENCRYPTION") == "false":
            variables.pop("BACKUP_ENCRYPTION_KEY", None)  # a key without encryption is refused
        self.capture.readouterr()
        with _environment(variables), _working_directory(self.directory):
            try:
                code = main(arguments)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
        printed = self.capture.readouterr()
        entries = next((name for words, name in ENTRIES.items() if arguments[: len(words)] == words), "")
        return Outcome(code, printed.out, printed.err, entries)

    def must(self, *arguments: str, **overrides: str | None) -> Outcome:
        """Run a command that has to succeed."""
        outcome = self.run(*arguments, **overrides)
        assert outcome.code == 0, f"exit code {outcome.code}: {outcome.err or outcome.out[-2000:]}"
        return outcome

    def backup_id(self, *arguments: str, **overrides: str | None) -> str:
        """Take a backup; its id."""
        return str(self.must("backup", "--json", *arguments, **overrides).json["backup_id"])

    @property
    def storage(self) -> Path:
        """Where the backups are."""
        return self.directory / "backups"

    def stored(self) -> set[str]:
        """Every file of the storage but for the events of the audit log, which whatever happens adds to."""
        if not self.storage.is_dir():
            return set()
        names = {str(path.relative_to(self.storage)) for path in self.storage.rglob("*") if path.is_file()}
        return {name for name in names if "/audit/" not in name or "/.partial-" in name}


def variables_of(server: Server, database: str) -> dict[str, str]:
    """The settings that lead to a database."""
    return {
        "POSTGRES_HOST": server.host,
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_USER": server.user,
        "POSTGRES_PASSWORD": server.password,
        "POSTGRES_DB": database,
        "BACKUP_START_DATE": "2026-01-01",
        "BACKUP_LOCK_WAIT": "20",
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before: dict[str, str] = dict(os.environ)
    kept: dict[str, str] = {
        name: before[name] for name in ("PATH", "HOME", "TMPDIR", "LANG", "PG_BIN") if name in before
    }
    os.environ.clear()
    os.environ.update({**kept, **variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _working_directory(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
