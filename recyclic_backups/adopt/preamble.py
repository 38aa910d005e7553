"""What an archive says of its database, from the SQL that ``pg_restore --create`` begins with. Pure.

pg_dump puts the statements that make the database itself into every archive. They are read, not run: a restore
makes its own database under another name first. Grants on the database are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from recyclic_backups.adopt.header import ArchiveHeader
from recyclic_backups.catalog.manifest import ServerFacts

PREAMBLE_BYTES = 256 << 10

_LITERAL = r"E?'(?:[^']|'')*+'"
_NAME = r'(?:"(?:[^"]|"")*+"|[A-Za-z_][\w$]*)'
_ENCODING = re.compile(rf"^SET client_encoding = ({_LITERAL});", re.MULTILINE)
_CREATE = re.compile(rf"^CREATE DATABASE {_NAME} WITH ((?:{_LITERAL}|[^';])*);", re.MULTILINE)
_OPTION = re.compile(rf"(\w+) = ({_LITERAL}|\w+)")
_OWNER = re.compile(rf"^ALTER DATABASE {_NAME} OWNER TO ({_NAME});", re.MULTILINE)
_SETTING = re.compile(
    rf"^ALTER (?:ROLE ({_NAME}) IN )?DATABASE {_NAME} SET ({_NAME}(?:\.{_NAME})?) TO ({_LITERAL}(?:, {_LITERAL})*);",
    re.MULTILINE,
)
_COMMENT = re.compile(rf"^COMMENT ON DATABASE {_NAME} IS ({_LITERAL});", re.MULTILINE)
_LISTS = frozenset(
    {"local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"}
)


def facts_of(header: ArchiveHeader, sql: str) -> ServerFacts:
    """What is known of the server and the database; empty is what is not.

    The encoding is the database's unless pg_dump was told another one.
    """
    create = _CREATE.search(sql)
    options = {} if create is None else {name: _unquoted(value) for name, value in _OPTION.findall(create[1])}
    encoding = _ENCODING.search(sql)
    owner, comment = _OWNER.search(sql), _COMMENT.search(sql)
    return ServerFacts(
        system_identifier="",
        version=header.server_version,
        lsn="",
        encoding=options.get("ENCODING", "" if encoding is None else _unquoted(encoding[1])),
        locale=_locale(options),
        owner="" if owner is None else _unquoted(owner[1]),
        settings=tuple(_setting(*found) for found in _SETTING.findall(sql)),
        acl=None,
        comment=None if comment is None else _unquoted(comment[1]),
    )


def _locale(options: Mapping[str, str]) -> Mapping[str, Any]:
    """As the manifest has it; nothing at all where the statement does not tell."""
    both = options.get("LOCALE")
    collate, ctype = options.get("LC_COLLATE", both), options.get("LC_CTYPE", both)
    if collate is None or ctype is None:
        return {}
    provider = options.get("LOCALE_PROVIDER", "libc")
    return {
        "provider": provider,
        "collate": collate,
        "ctype": ctype,
        "locale": options.get("ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"),
    }


def _setting(role: str, name: str, value: str) -> Mapping[str, str]:
    name = ".".join(_unquoted(part) for part in re.findall(_NAME, name))
    if name.lower() in _LISTS:
        # Kept as the server keeps lists: names between double quotes.
        names = (_unquoted(each).replace('"', '""') for each in re.findall(_LITERAL, value))
        setting = {"name": name, "value": ", ".join(f'"{each}"' for each in names)}
    else:
        setting = {"name": name, "value": _unquoted(value)}
    return setting | ({"role": _unquoted(role)} if role else {})


def _unquoted(text: str) -> str:
    """The text that a literal or a name stands for."""
    if text.startswith('"'):
        return text[1:-1].replace('""', '"')
    if text.startswith("E'"):
        return text[2:-1].replace("''", "'").replace("\\\\", "\\")
    return text[1:-1].replace("''", "'") if text.startswith("'") else text
