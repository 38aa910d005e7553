"""What somebody is told to type is what works where they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import recyclic_backups
from recyclic_backups.cli.commands import COMMANDS
from recyclic_backups.errors import BackupError
from recyclic_backups.own_command import as_called, name_program, own_command

PATH = {"PATH": "/usr/local/bin:/usr/bin"}


@pytest.fixture(autouse=True)
def _afterwards() -> Iterator[None]:
    yield
    name_program((), {})


@pytest.mark.parametrize(
    ("argv", "environment", "typed"),
    [
        (["/opt/rb/bin/python", "/usr/local/bin/recyclic-backups", "list"], PATH, "recyclic-backups"),
        (["/opt/rb/bin/python", ".venv/bin/recyclic-backups", "list"], PATH, ".venv/bin/recyclic-backups"),
        (
            ["python", "/srv/my backups/bin/recyclic-backups", "list"],
            PATH,
            "'/srv/my backups/bin/recyclic-backups'",
        ),
        (["python3", "-m", "recyclic_backups", "list"], PATH, "python3 -m recyclic_backups"),
        (["python", "-m", "dagster", "api", "grpc"], PATH, "recyclic-backups"),
        (
            ["python", "/usr/local/bin/recyclic-backups", "list"],
            {**PATH, "RECYCLIC_BACKUPS_COMMAND": "docker compose run --rm backup-rescue"},
            "docker compose run --rm backup-rescue",
        ),
    ],
)
def test_commands_are_printed_as_the_program_was_called(
    argv: list[str], environment: dict[str, str], typed: str
) -> None:
    """Loss prevented: at 3 a.m., a printed command that ends with "command not found"."""
    name_program(argv, environment)
    assert own_command("show", "a b") == f"{typed} show 'a b'"
    assert as_called("see: recyclic-backups list; or not") == f"see: {typed} list; or not"
    assert BackupError("no", "see: recyclic-backups list").hint == f"see: {typed} list"


@pytest.mark.parametrize(
    "text",
    [
        "a newer recyclic-backups-pages.service",
        "recyclic-backups 0.1.0",
        "/srv/recyclic-backups list",
        "recyclic-backups",
    ],
)
def test_what_is_no_command_stays_as_it_is(text: str) -> None:
    """Loss prevented: the name of a unit or of a folder, turned into something else."""
    name_program(["x", "./recyclic-backups"], {})
    assert as_called(text) == text


def test_every_command_that_the_program_names_is_one() -> None:
    """Loss prevented: a hint that leads nowhere; a sentence on the program that is taken for a command."""
    named = set()
    for path in Path(recyclic_backups.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= set(re.findall(r"(?<![\w/.-])recyclic-backups ([a-z][a-z-]*)", node.value))
    assert named
    assert named <= COMMANDS.keys()
