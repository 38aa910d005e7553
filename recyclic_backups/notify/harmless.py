"""What others have written, in the middle of our own sentences: it must not look like one of them, nor do anything.

Names of tables, of files in the storage and what programs said stand in messages. Whoever chooses them could end a
line and begin another, turn the direction of writing, or lay a link. Pure.
"""

from __future__ import annotations

import re
import shlex
import unicodedata

LONGEST = 600
"""Of a value that comes from the storage no more is told."""

_JOINERS = "\u200c\u200d"  # of scripts that need them
# Mail programs and messengers make links of these by themselves. A file:// names a storage, and nobody's server.
_LINK = re.compile(r"(?i)\b(?!file:)([a-z][a-z0-9+.-]{1,15})://|\b(www)\.(?=\w)")
_MARKUP = str.maketrans({"<": "‹", ">": "›", "`": "ˋ", "*": "∗", "~": "∼", "|": "¦"})
_MENTION = re.compile(r"(?<![\w.+-])@(?=\w)")


def harmless(value: str) -> str:
    r"""The value on one line: control and formatting characters are spelled (``\u202e``), links are no links.

    Line ends become spaces: what a program said has several lines.
    """
    shown = "".join(_shown(character) for character in value)
    return _LINK.sub(lambda found: f"{found[1]}[:]//" if found[1] else f"{found[2]}[.]", shown)


def in_a_command(value: str) -> str:
    """The value as one argument of a command line that somebody pastes into a shell."""
    return shlex.quote(harmless(value)) if value else ""


def shortened(value: str) -> str:
    """The beginning of a value that nobody knows the length of."""
    if len(value) <= LONGEST:
        return value
    kept = value[: LONGEST - 3]
    # Whoever was quoted must not seem to have said what follows.
    return f"{kept}…\u00a0»" if kept.count("«") > kept.count("»") else f"{value[: LONGEST - 1]}…"


def unmarked(text: str) -> str:
    """A text for services that may read Markdown, HTML or mentions: the same to people, and nothing to them."""
    return _MENTION.sub("＠", text.translate(_MARKUP).replace("](", "] ("))


def _shown(character: str) -> str:
    if character in "\n\r\t\v\f\x85\u2028\u2029":
        return " "
    # Cc and Cf: controls and formatting, the marks of direction among them (Unicode Standard Annex #9); Co, Cn and
    # Cs: nobody knows what a screen makes of them.
    if unicodedata.category(character)[0] != "C" or character in _JOINERS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
