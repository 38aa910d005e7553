"""Commands, options and exit codes that are written about exist, and those that exist are written about."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator

import pytest

from recyclic_backups import errors
from recyclic_backups.cli.commands import WrongUsage, parser
from recyclic_backups_tests.docs.pages import code, pages, read, rows

PAGE = read("docs/commands.md")
SAID_ABOVE_THE_TABLE = {"--help", "--env-file", "--verbose", "--quiet", "--at"}
"""What every command takes, or every command that takes an ID."""


def _commands(
    found: argparse.ArgumentParser, prefix: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in found._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                inner = list(_commands(command, f"{prefix}{name} "))
                yield from inner or [(f"{prefix}{name}", command)]


def _usage(name: str, command: argparse.ArgumentParser) -> str:
    """The command and its arguments, as the table writes them."""
    arguments = [action for action in command._actions if not action.option_strings]
    written = [
        # An ID may be left out for --at as well.
        f"[{each.metavar}]" if each.nargs == "?" and "default" in str(each.help) else f"{each.metavar}"
        for each in arguments
    ]
    return " ".join([name, *written])


def _options(command: argparse.ArgumentParser) -> list[str]:
    found = []
    for action in command._actions:
        if not action.option_strings or action.option_strings[-1] in SAID_ABOVE_THE_TABLE:
            continue
        metavar = "|".join(map(str, action.choices)) if action.choices else action.metavar
        takes_value = action.nargs != 0
        found.append(
            f"{action.option_strings[0]} {metavar or action.dest.upper()}"
            if takes_value
            else action.option_strings[0]
        )
    return found


def test_the_table_of_commands_is_that_of_the_program() -> None:
    """Loss prevented: an option that a person needs at night and does not know of."""
    table = {cells[0].strip("`"): re.findall(r"`([^`]+)`", cells[2]) for cells in rows(PAGE, "Command")}
    actual = {_usage(name, command): _options(command) for name, command in _commands(parser(whole=True))}
    # A key is a date, and the page says of which form.
    written = {
        usage: [option.replace("--partition YYYY-MM-DD", "--partition KEY") for option in options]
        for usage, options in table.items()
    }
    assert {usage: set(options) for usage, options in written.items()} == {
        usage: set(options) for usage, options in actual.items()
    }


@pytest.mark.parametrize("page", [page.name for page in pages()])
def test_every_command_on_a_page_is_understood(page: str) -> None:
    """Loss prevented: a command copied from a page that ends with a usage message."""
    for path in (path for path in pages() if path.name == page):
        text = code(path.read_text(encoding="utf-8"))
        for command in re.findall(r"recyclic-backups +([a-z][^`\n|&>)\"]*)", text):
            try:
                parser().parse_args(shlex.split(command))
            except WrongUsage as end:
                raise AssertionError(f"{page}: recyclic-backups {command}") from end


def test_the_table_of_exit_codes_is_that_of_the_error_tree() -> None:
    """Loss prevented: a script that takes a failure for a success."""
    classes = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.BackupError)
    ]
    table = [cells[0] for cells in rows(PAGE, "Exit code")]
    assert table == sorted(table, key=int)
    assert {int(code) for code in table} == {0, *(each.exit_code for each in classes)}
