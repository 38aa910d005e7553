"""``completion``: a script that has a shell complete commands, options and their values.

The scripts lie beside this file; what stands between two ``@`` in them is filled in from the parser.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recyclic_backups.cli import render
from recyclic_backups.cli.commands import parser
from recyclic_backups.cli.invocation import Invocation


@dataclass
class _Tables:
    """What can be typed. A place is the words of a command, and what comes before the word that is completed."""

    paths: list[str] = field(default_factory=list)
    """`` keys``, ``keys list``: a command or verb, after those that it is one of."""
    words: dict[str, list[str]] = field(default_factory=dict)
    """By command: its verbs, options and named values."""
    values: dict[str, list[str]] = field(default_factory=dict)
    """By command and option: the values that the option can have."""
    files: list[str] = field(default_factory=list)
    nothing: list[str] = field(default_factory=list)
    """Commands and options whose value is a file, or something that nobody can guess."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = "Prints the script; its first line says where it goes."
    command.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"))


def run(call: Invocation) -> int:
    """Run the command."""
    shell, tables = call.options.shell, _Tables()
    _read(parser(whole=True), "", tables)
    text = (Path(__file__).parent / f"completion.{shell}").read_text(encoding="utf-8")
    if shell == "fish":
        rows = {
            "VALUES": _lines(_fish_rows(tables.values), 8),
            "WORDS": _lines(_fish_rows(tables.words), 12),
        }
        quoted = " "
    else:
        name = "words" if shell == "bash" else "list"  # zsh has its own `words`
        rows = {
            "VALUES": _lines(_sh_rows(tables.values, name), 8),
            "WORDS": _lines(_sh_rows(tables.words, name), 16),
        }
        quoted = " | "
    for place, found in (("PATHS", tables.paths), ("FILES", tables.files), ("NOTHING", tables.nothing)):
        rows[place] = quoted.join(f"'{each}'" for each in found)
    for place, lines in rows.items():
        text = text.replace(f"@{place}@", lines)
    render.print_text(text)
    return 0


def _read(found: argparse.ArgumentParser, path: str, tables: _Tables) -> None:
    """Note a command, and those below it."""
    words = tables.words.setdefault(path, [])
    for action in found._actions:  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):
            words += action.choices
            for name, command in action.choices.items():
                tables.paths.append(f"{path} {name}")
                _read(command, f"{path} {name}".strip(), tables)
        elif not action.option_strings:
            words += [*map(str, action.choices or ()), *(["latest"] if action.metavar == "ID" else [])]
        else:
            words.append(action.option_strings[-1])
            if action.nargs == 0:
                continue
            places = [f"{path} {option}" for option in action.option_strings]
            if action.choices or action.metavar == "ID":
                choices = [str(each) for each in action.choices or ("latest",)]
                tables.values |= dict.fromkeys(places, choices)
            elif action.metavar in ("FILE", "DIR"):
                tables.files += places
            else:
                tables.nothing += places


def _sh_rows(table: dict[str, list[str]], name: str) -> Iterator[str]:
    return (f"'{place}') {name}='{' '.join(words)}' ;;" for place, words in table.items())


def _fish_rows(table: dict[str, list[str]]) -> Iterator[str]:
    for place, words in table.items():
        yield f"case '{place}'"
        yield f"    printf '%s\\n' {' '.join(words)}"


def _lines(rows: Iterator[str], indent: int) -> str:
    return "\n".join(f"{'':{indent}}{row}" for row in rows)
