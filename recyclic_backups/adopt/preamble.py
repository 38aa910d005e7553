"""What an archive says of its database, from the SQL that ``pg_restore --create`` begins with. Pure.

pg_dump puts the statements that make the database itself into every archive, before anything that is in it. They are
read, not run: a restore makes its own database under another name first. Grants on the database are not read.

Reading ends at the first statement that is not about the database. What comes after it was written by whoever may write
into the database: a row of a table, or a line of a function, can look like ``ALTER DATABASE … SET …``, and what is read
here is set by a superuser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recyclic_backups.adopt.header import ArchiveHeader
from recyclic_backups.catalog.manifest import ServerFacts

PREAMBLE_BYTES = 256 << 10

_LITERAL = r"E?'(?:[^']|'')*+'"
_NAME = r'(?:"(?:[^"]|"")*+"|[A-Za-z_][\w$]*+)'
_ENCODING = re.compile(rf"SET client_encoding = ({_LITERAL});")
_CREATE = re.compile(rf"CREATE DATABASE {_NAME} WITH ((?:{_LITERAL}|[^';])*);")
_OPTION = re.compile(rf"(\w+) = ({_LITERAL}|\w+)")
_OWNER = re.compile(rf"ALTER DATABASE {_NAME} OWNER TO ({_NAME});")
_SETTING = re.compile(
    rf"ALTER (?:ROLE ({_NAME}) IN )?DATABASE {_NAME} SET ({_NAME}(?:\.{_NAME})?) TO ({_LITERAL}(?:, {_LITERAL})*);"
)
_COMMENT = re.compile(rf"COMMENT ON DATABASE {_NAME} IS ({_LITERAL});")
_OF_NO_INTEREST = (
    re.compile(rf"SET \w+ = (?:{_LITERAL}|\w+);"),
    re.compile(r"SELECT pg_catalog\.set_config\('search_path', '', false\);"),
    re.compile(rf"ALTER DATABASE {_NAME} (?:CONNECTION LIMIT|IS_TEMPLATE|ALLOW_CONNECTIONS) = -?\w+;"),
    re.compile(rf"(?:GRANT|REVOKE) [\w ,]+ ON DATABASE {_NAME} (?:TO|FROM) {_NAME}(?: WITH GRANT OPTION)?;"),
    re.compile(rf"SECURITY LABEL FOR {_NAME} ON DATABASE {_NAME} IS {_LITERAL};"),
)
_STATEMENTS = (_ENCODING, _CREATE, _OWNER, _SETTING, _COMMENT, *_OF_NO_INTEREST)
# Blanks, comments, and commands of psql.
_BETWEEN = re.compile(r"(?:\s+|--[^\n]*+|\\(?:un)?restrict [^\n]*+|\\(?:connect|encoding) [^\n]*+)*+")
_LISTS = frozenset(
    {"local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"}
)


def facts_of(header: ArchiveHeader, sql: str) -> ServerFacts:
    """What is known of the server and the database; empty is what is not.

    The encoding is the database's unless pg_dump was told another one.
    """
    found: dict[re.Pattern[str], list[re.Match[str]]] = {pattern: [] for pattern in _STATEMENTS}
    for statement in _of_the_database(sql):
        found[statement.re].append(statement)
    create = _first(found[_CREATE])
    options = {} if create is None else {name: _unquoted(value) for name, value in _OPTION.findall(create[1])}
    encoding = _first(found[_ENCODING])
    owner, comment = _first(found[_OWNER]), _first(found[_COMMENT])
    return ServerFacts(
        system_identifier="",
        version=header.server_version,
        lsn="",
        encoding=options.get("ENCODING", "" if encoding is None else _unquoted(encoding[1])),
        locale=_locale(options),
        owner="" if owner is None else _unquoted(owner[1]),
        settings=tuple(_setting(*(part or "" for part in each.groups())) for each in found[_SETTING]),
        acl=None,
        comment=None if comment is None else _unquoted(comment[1]),
    )


def _of_the_database(sql: str) -> Iterator[re.Match[str]]:
    """The statements at the beginning, one after the other, up to the first that is about something else."""
    position = 0
    while True:
        between = _BETWEEN.match(sql, position)
        position = position if between is None else between.end()
        statement = next(filter(None, (each.match(sql, position) for each in _STATEMENTS)), None)
        if statement is None:
            return
        yield statement
        position = statement.end()


def _first(found: list[re.Match[str]]) -> re.Match[str] | None:
    return found[0] if found else None


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
