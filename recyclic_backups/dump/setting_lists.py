"""Settings that hold a list of names, as SQL: what ``pg_dump`` writes for them. Pure.

``search_path`` and its like are stored as one text, each name in it quoted as an identifier. As SQL such a text fails
where a name is empty (``""``) or longer than 63 bytes, and may even be run: ``ALTER ROLE … SET search_path FROM
CURRENT`` stores what somebody wrote as it stands. So the text is taken apart and each name is written as a string
(makeAlterConfigCommand and SplitGUCList in src/bin/pg_dump/dumputils.c of PostgreSQL 15 to 18).

Backups of earlier releases hold the stored text as SQL: :func:`repaired` mends those when they are restored.
"""

from __future__ import annotations

import re

LIST_SETTINGS = frozenset(
    {"local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
     "temp_tablespaces", "unix_socket_directories"}
)  # fmt: skip
"""Those with GUC_LIST_QUOTE in the server's source (variable_is_guc_list_quote in dumputils.c)."""

_BLANKS = " \t\n\r\v\f"

# A string as :func:`quoted_text` writes it.
_STRING = r"(?:'(?:[^'\\]|'')*'| E'(?:[^'\\]|''|\\\\)*')"
_STRINGS = re.compile(f"{_STRING}(?:, {_STRING})*")
# Blocks are found one after the other from the beginning: the tag of each stands nowhere inside it, so what looks like
# a block within a comment of a role is passed over with the block that it stands in.
_BLOCK = re.compile(
    r"^DO (?P<tag>\$recyclic_*\$) BEGIN (?P<body>.*?) END (?P=tag);$", re.MULTILINE | re.DOTALL
)
_SETTING = re.compile(
    rf"IF EXISTS \(SELECT FROM recyclic_created_roles WHERE rolname IN \({_STRING}\)\) "
    r'THEN ALTER ROLE "(?:[^"]|"")*" SET "(?P<name>[^"]*)" TO (?P<value>.*); END IF;',
    re.DOTALL,
)


def setting_value(name: str, value: str) -> str:
    """A parameter's stored value as SQL: one string, or of a list each name as a string."""
    if name.lower() not in LIST_SETTINGS:
        return quoted_text(value)
    names = split_list(value)
    # An empty list cannot be written before PostgreSQL 19; one empty name means the same to every such setting.
    return ", ".join(map(quoted_text, names)) if names else quoted_text(value)


def split_list(text: str) -> list[str] | None:
    """The names in a stored list, as SplitGUCList takes it apart; None where it would give up."""
    names: list[str] = []
    position = _after_blanks(text, 0)
    if position == len(text):
        return names
    while True:
        if text[position : position + 1] == '"':
            found = re.compile(r'"((?:[^"]|"")*)"', re.S).match(text, position)
            if found is None:
                return None
            names.append(found[1].replace('""', '"'))
        else:
            found = re.compile(f"[^,{_BLANKS}]+").match(text, position)
            if found is None:
                return None
            names.append(found[0])
        position = _after_blanks(text, found.end())
        if position == len(text):
            return names
        if text[position] != ",":
            return None
        position = _after_blanks(text, position + 1)


def quoted_text(text: str) -> str:
    """A string literal that means the same whatever standard_conforming_strings says."""
    doubled = text.replace("'", "''")
    if "\\" in doubled:
        escaped = doubled.replace("\\", "\\\\")
        return f" E'{escaped}'"
    return f"'{doubled}'"


def repaired(globals_sql: str) -> str:
    """The SQL of a backup's roles with each list setting written as :func:`setting_value` does.

    What was written so already stays as it is.
    """

    def mended(block: re.Match[str]) -> str:
        body = block["body"]
        found = _SETTING.fullmatch(body)
        if found is None or found["name"].lower() not in LIST_SETTINGS or _STRINGS.fullmatch(found["value"]):
            return block[0]
        start, end = found.span("value")
        value = setting_value(found["name"], found["value"])
        return f"DO {block['tag']} BEGIN {body[:start]}{value}{body[end:]} END {block['tag']};"

    return _BLOCK.sub(mended, globals_sql)


def _after_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position
