"""The project's pages and what is written on them: fenced blocks, tables, links, code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]

_NOT_OURS = {"__pycache__", "node_modules"}
_HIDDEN_BUT_OURS = {".ci", ".env.example", ".gitignore"}
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\((?P<target>[^)\s]+)\)|<img[^>]*\ssrc=\"(?P<image>[^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A fenced block: ``sh test=backup`` is of language ``sh`` and marked ``test=backup``.

    ``sh test=diagnose ends=80`` is one whose last command ends with that exit code.
    """

    language: str
    mark: str
    text: str

    @property
    def name(self) -> str:
        """What follows ``test=``."""
        return self.mark.removeprefix("test=").split()[0] if self.mark.startswith("test=") else ""

    @property
    def ends(self) -> int:
        """The exit code of its last command."""
        _, found, code = self.mark.partition(" ends=")
        return int(code) if found else 0


def files() -> list[Path]:
    """Every file of the project, whatever made them; nothing that a build, a run or an editor left."""

    def ours(name: str) -> bool:
        hidden = name.startswith(".") and name not in _HIDDEN_BUT_OURS
        return not hidden and name not in _NOT_OURS and not name.endswith(".egg-info")

    found = []
    for directory, folders, names in os.walk(PROJECT):
        # The storage of a checkout; deeper down a folder of that name is ours.
        storages = {"backups"} if Path(directory) == PROJECT else set()
        folders[:] = [name for name in folders if ours(name) and name not in storages]
        found += [Path(directory, name) for name in names if ours(name)]
    return sorted(found)


def pages() -> list[Path]:
    """Every Markdown page."""
    return [path for path in files() if path.suffix == ".md"]


def read(name: str) -> str:
    """One page, by its path in the project."""
    return (PROJECT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        language, _, mark = match["info"].strip().partition(" ")
        found.append(Block(language, mark, match["text"]))
    return found


def block(text: str, mark: str) -> str:
    """The text of the only block with that mark."""
    (only,) = [each.text for each in blocks(text) if each.mark == mark]
    return only


def links(text: str) -> list[str]:
    """Where a page's links and images point, code aside."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    return [match["target"] or match["image"] for match in _LINK.finditer(prose)]


def anchors(text: str) -> set[str]:
    """What a page's headings are called in links (GitHub's rule: lower case, punctuation gone, hyphens)."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(text: str, first_header: str) -> Iterator[list[str]]:
    """The rows of every table whose first column is headed so; ``\\|`` is a bar inside a cell."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == first_header:
            inside = True
        elif inside and set(cells[0]) - set("-: "):
            yield cells


def code(text: str) -> str:
    """All that is written as code on a page, one piece a line."""
    inline = re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    return "\n".join([*inline, *(each.text for each in blocks(text))])
