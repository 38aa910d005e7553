r"""Text that somebody else wrote, made harmless for the place where it is shown. Pure.

Names of databases, tables and roles, reasons of holds, names of files and messages of programs come from whoever could
write them. One function for each medium; HTML has :func:`recyclic_backups.report.markup.plain`.
"""

from __future__ import annotations

import re

from recyclic_backups.errors import printable

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves a cursor, ends a line or turns the direction of writing: C0, C1, Unicode's line ends and bidirectional
marks (Unicode Standard Annex #9). French no-break spaces and the joiners of scripts stay what they are."""

_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LINE_ENDS = re.compile("[\t\n\r\x0b\x0c\x85\u2028\u2029]+ *")
_MARKUP = re.compile(r"[\\`*_\[\]<>|&~]")
"""Markdown's own characters (CommonMark 0.31, tables and strikethrough of GitHub). A parenthesis means nothing once no
bracket comes before it."""

_BLOCK = re.compile(r"^(?=[-+=#].)")
_NUMBER = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))")


def visible(text: str) -> str:
    r"""Text on one line that does nothing to a terminal or a log: a line end becomes ``\n``, an escape ``\x1b``."""
    return CONTROL.sub(lambda found: escape_sequence(found[0]), printable(text))


def in_a_sentence(text: str) -> str:
    """Text as part of a sentence: line ends become spaces, everything else is as in :func:`visible`."""
    return visible(_LINE_ENDS.sub(" ", text))


def markdown(text: str) -> str:
    """Text on one line as Markdown that shows it: no markup, no link, no HTML, and it ends no cell of a table.

    An address stays readable as what it is; a viewer that makes links of addresses shows where they lead.
    """
    escaped = _MARKUP.sub(r"\\\g<0>", in_a_sentence(text).strip(" "))
    # What begins a list, a heading or a line under one, at the start alone.
    return _NUMBER.sub(r"\1\\", escaped) if escaped[:1].isdigit() else _BLOCK.sub(r"\\", escaped)


def markdown_code(text: str) -> str:
    """Text on one line as a code span of Markdown, in which nothing is markup, whatever backticks it has.

    The fence is longer than any run of backticks in it (CommonMark 0.31, section 6.1).
    """
    shown = visible(text)
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest or not shown.strip() or shown != shown.strip() else ""
    return f"{fence}{space}{shown}{space}{fence}"


def escape_sequence(character: str) -> str:
    r"""How a control character is written: ``\n``, ``\x1b``, ``\u202e``."""
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")
