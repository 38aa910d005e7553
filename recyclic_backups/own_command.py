"""How our own commands are written where somebody is told to type one: as this program was called. Pure.

Texts name them ``recyclic-backups list``. Somebody who has only ``.venv/bin/recyclic-backups``, or a container, could
not type that. Both front doors say at their start how the program is called (:func:`name_program`); errors, sentences
and messages are then written so (:func:`as_called`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

NAME = "recyclic-backups"

VARIABLE = "RECYCLIC_BACKUPS_COMMAND"
"""The variable of the environment that says how people call the program, where it cannot see that: in a container."""

_COMMAND = re.compile(rf"(?<![\w/.-]){NAME}(?= [a-z])")


class _Called:
    program = NAME


def name_program(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Say how this process was called: ``argv`` as the system got it (:data:`sys.orig_argv`), with the interpreter."""
    _Called.program = environment.get(VARIABLE) or _typed(argv, environment.get("PATH", ""))


def _typed(argv: Sequence[str], path: str) -> str:
    for number, word in enumerate(argv):
        folder, _, name = word.rpartition("/")
        if name == NAME:
            # A shell that found it by PATH hands over the whole name.
            return NAME if not folder or folder in path.split(":") else shlex.quote(word)
        if word == "recyclic_backups" and argv[number - 1] == "-m":
            return shlex.join(argv[: number + 1])
    return NAME


def own_command(*words: str) -> str:
    """A command of ours to paste into a shell: ``own_command("list", "--tier", "daily")``."""
    return f"{_Called.program} {shlex.join(words)}"


def as_called(text: str) -> str:
    """The text, with the commands of ours that stand in it as they are typed here; those that are so already stay."""
    program = _Called.program
    return program.join(_COMMAND.sub(lambda _: program, part) for part in text.split(program))
