"""The text of ``pg_dump --schema-only`` as entries that can be compared one by one. Pure.

Two dumps of the same schema by the same pg_dump are the same text but for a few things, which are taken
out here: the ``\\restrict`` key, versions in comments, ``SET`` lines that move from one entry to the next,
the order of grants, of roles in policies and of the columns of inheriting tables, and one expression that
PostgreSQL writes in another way once it has been restored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

# What pg_dump needs in its environment for the text to be comparable. It fixes the other settings, but writes
# constants of type timestamptz (bounds of partitions, defaults) in the database's own time zone, and a restored
# database may not have that yet. Not for pg_restore: it refreshes materialized views, in the database's zone.
SCHEMA_DUMP_ENVIRONMENT = {"PGTZ": "UTC"}

_HEADER = re.compile(
    r"^--\n(?:-- TOC entry .*\n)?(?:-- Dependencies: .*\n)?"
    r"-- (?:Data for )?Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*); "
    r"Owner: (?P<owner>.*?)(?:; Tablespace: .*)?\n--\n",
    re.MULTILINE,
)
_MOVING_LINE = re.compile(
    r"^(?:SET default_(?:tablespace|table_access_method) = .*;|"
    r"\\(?:un)?restrict .*|"
    r"-- Dumped (?:from|by) .*|"
    r"-- (?:Started|Completed) on .*|"
    r"--|-- PostgreSQL database dump complete)$"
)
# Names may hold newlines: a statement ends where its quotes are closed.
_OWNER_LINE = re.compile(
    r"""^ALTER [A-Z ]+ (?:"(?:[^"]|"")*+"|[^"\n])* OWNER TO (?:"(?:[^"]|"")*+"|\w+);(?:\n|\Z)""", re.MULTILINE
)
_NAME = r'(?:"(?:[^"]|"")*+"|\w+)'
_POLICY = re.compile(
    rf"^(?P<policy>CREATE POLICY {_NAME} ON {_NAME}\.{_NAME}(?: AS RESTRICTIVE)?(?: FOR \w+)? TO )"
    rf"(?P<roles>{_NAME}(?:, {_NAME})*)",
    re.MULTILINE,
)
_ABOUT_ANOTHER = frozenset({"ACL", "COMMENT", "SECURITY LABEL"})
_SORTED = frozenset({"ACL", "DEFAULT ACL"})

# Inside an array: a quoted string, or anything that neither opens nor closes one.
_ELEMENTS = r"(?:'(?:[^']|'')*+'|[^'\[\]])*"
_CAST_OF_ARRAY = re.compile(
    rf"\(ARRAY\[(?P<elements>{_ELEMENTS})\]\)::(?P<type>[\w. \"]+(?:\([\d,]+\))?)\[\]"
)
_ELEMENT = re.compile(r"(?:'(?:[^']|'')*+'|\([^()']*\)|[^',])+")


def schema_entries(text: str) -> dict[str, str]:
    """Each entry of a schema dump, such as ``INDEX public.sales_pkey``, to its hash and owner.

    Grants and comments are named for what they are about: ``ACL TABLE public.sales``. A second entry of the
    same name gets ``#2``, in an order that does not depend on pg_dump's. Everything before the first entry is
    settings of the session and left out.
    """
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    found: dict[str, list[str]] = {}
    for header, end in zip(headers, ends, strict=False):
        kind = header["type"]
        name = entry_name(kind, header["schema"], header["name"])
        statements = _OWNER_LINE.sub("", text[header.end() : end])
        lines = [line for line in statements.split("\n") if not _MOVING_LINE.match(line)]
        if kind == "POLICY":
            lines = canonical_policies("\n".join(lines)).split("\n")
        if kind == "TABLE" and any(line.startswith("INHERITS (") for line in lines):
            # Columns that a parent has too come first after a restore, whatever place they had before.
            lines = sorted(line.removesuffix(",") for line in lines)
        body = "\n".join(sorted(lines) if kind in _SORTED else lines).strip()
        # An entry about another object has that one's owner, which is compared there already.
        owner = "" if kind in _ABOUT_ANOTHER or header["owner"] == "-" else header["owner"]
        found.setdefault(name, []).append(entry_value([canonical_expression(body)], owner))
    return {
        f"{name} #{number}" if number > 1 else name: value
        for name, values in found.items()
        for number, value in enumerate(sorted(values), 1)
    }


def canonical_expression(text: str) -> str:
    """``(ARRAY['a'::varchar])::text[]`` as ``ARRAY[('a'::varchar)::text]``, which is how it comes back.

    PostgreSQL writes ``status IN ('a')`` on a varchar column in the first form; reading that, it moves the
    cast to the elements and from then on writes the second. Every restore would otherwise look like a change.
    """

    def moved(match: re.Match[str]) -> str:
        elements = (element.strip() for element in _ELEMENT.findall(match["elements"]))
        return "ARRAY[" + ", ".join(f"({element})::{match['type']}" for element in elements) + "]"

    return _CAST_OF_ARRAY.sub(moved, text)


def canonical_policies(text: str) -> str:
    """Policies with the roles they are for in order of name: pg_dump writes them as they were created on the server."""

    def ordered(match: re.Match[str]) -> str:
        return match["policy"] + ", ".join(sorted(re.findall(_NAME, match["roles"])))

    return _POLICY.sub(ordered, text)


def entry_value(parts: Iterable[str], owner: str = "") -> str:
    """An entry's value: 16 hexadecimal digits of SHA-256 over its parts, then its owner if it has one."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"{digest} {owner}" if owner else digest


def entry_name(kind: str, schema: str, name: str) -> str:
    """What an entry is called here, from the three fields of its header in a dump."""
    if kind in _ABOUT_ANOTHER:
        about, _, rest = name.partition(" ")
        # Kinds of two words ("MATERIALIZED VIEW", "EVENT TRIGGER"): take upper-case words while
        # a name is left.
        while (word := rest.partition(" "))[2] and word[0].isupper() and word[0].isalpha():
            about, rest = f"{about} {word[0]}", word[2]
        kind, name = f"{kind} {about}", rest
    return f"{kind} {name}" if schema == "-" else f"{kind} {schema}.{name}"
