"""What an archive contains, as ``pg_restore --list`` tells it. Pure.

A line is ``id; catalog-oid oid DESCRIPTION schema name owner``
(https://www.postgresql.org/docs/15/app-pgrestore.html, --list). Names may hold spaces, so a line alone does not say
where one ends; it can only be compared with names that are known. Where several would do, the answer is always the
one that gives less rights.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from recyclic_backups.fingerprint.schema_text import entry_name

# Whatever begins with another one stands before it. Names of schemas follow without a mark, so that an OPERATOR in a
# schema called CLASS looks like an operator class: the number of the system catalog tells them apart (0: in none).
_KINDS = {
    "MATERIALIZED VIEW DATA": 0, "MATERIALIZED VIEW": 1259, "SEQUENCE OWNED BY": 0, "SEQUENCE SET": 0, "SEQUENCE": 1259,
    "TABLE ATTACH": 0, "TABLE DATA": 0, "TABLE": 1259, "INDEX ATTACH": 0, "INDEX": 1259, "DEFAULT ACL": 826,
    "DEFAULT": 2604,
    "OPERATOR CLASS": 2616, "OPERATOR FAMILY": 2753, "OPERATOR": 2617, "PUBLICATION TABLES IN SCHEMA": 6237,
    "PUBLICATION TABLE": 6106, "PUBLICATION": 6104, "SUBSCRIPTION TABLE": 6102, "SUBSCRIPTION": 6100,
    "CHECK CONSTRAINT": 2606, "FK CONSTRAINT": 2606, "CONSTRAINT": 2606, "EVENT TRIGGER": 3466, "TRIGGER": 2620,
    "FOREIGN DATA WRAPPER": 2328, "FOREIGN TABLE": 1259, "SERVER": 1417, "USER MAPPING": 0, "STATISTICS": 3381,
    "EXTENSION": 3079, "SCHEMA": 2615, "SHELL TYPE": 0, "TYPE": 1247, "DOMAIN": 1247, "CAST": 2605, "TRANSFORM": 3576,
    "ACCESS METHOD": 2601, "PROCEDURAL LANGUAGE": 2612, "TEXT SEARCH PARSER": 3601, "TEXT SEARCH TEMPLATE": 3764,
    "TEXT SEARCH DICTIONARY": 3600, "TEXT SEARCH CONFIGURATION": 3602, "COLLATION": 3456, "CONVERSION": 2607,
    "ROW SECURITY": 0,
    "AGGREGATE": 1255, "PROCEDURE": 1255, "FUNCTION": 1255, "POLICY": 3256, "RULE": 2618, "VIEW": 1259,
    "BLOB METADATA": 2613, "BLOB": 2613, "COMMENT": 0, "ACL": 0, "SECURITY LABEL": 0,
}  # fmt: skip
ABOUT_ANOTHER = frozenset({"COMMENT", "ACL", "SECURITY LABEL"})
_LINE = re.compile(r"(\d+); (\d+) \d+ (.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing. ``kind`` is empty for those that nobody asks for; ``rest`` is schema, name and owner."""

    number: int
    kind: str
    rest: str

    @property
    def is_grant(self) -> bool:
        """Whether it gives or takes rights."""
        return self.kind in ("ACL", "DEFAULT ACL")

    def belongs_to(self, roles: Iterable[str]) -> list[str]:
        """Which of these roles the owner may be, the longest name first."""
        return sorted((role for role in roles if self.rest.endswith(f" {one_line(role)}")), key=len)[::-1]

    def is_about(self, *kinds: str) -> bool:
        """Whether it is a comment, a grant or a label of something of these kinds that lies in no schema."""
        return self.kind in ABOUT_ANOTHER and self.rest.startswith(tuple(f"- {kind} " for kind in kinds))

    def is_in(self, schema: str, name: str, owner: str) -> bool:
        """Whether it may be the table of these names, or a constraint of it."""
        begins, ends = f"{one_line(schema)} {one_line(name)}", f" {one_line(owner)}"
        if self.kind.endswith("CONSTRAINT"):
            return self.rest.startswith(f"{begins} ") and self.rest.endswith(ends)
        return self.rest == begins + ends


def entries_of(listing: str) -> list[Entry]:
    """All entries, in the archive's order."""
    # Nothing but "\n" ends a line: str.splitlines also cuts at characters that a name may hold (U+2028), and what
    # follows them in a name would be an entry of its owner's making.
    found = (_LINE.fullmatch(line) for line in listing.split("\n"))
    return [_entry(int(match[1]), int(match[2]), match[3]) for match in found if match]


def _entry(number: int, catalog: int, text: str) -> Entry:
    for kind, its_catalog in _KINDS.items():
        if catalog == its_catalog and text.startswith(f"{kind} "):
            return Entry(number, kind, text.removeprefix(f"{kind} "))
    return Entry(number, "", text)


def one_line(name: str) -> str:
    """A name as pg_restore lists it: on one line."""
    return name.replace("\n", " ").replace("\r", " ")


@dataclass(frozen=True, slots=True)
class PostData:
    """The entries of the last section, each group in the archive's own order."""

    independent: list[Entry]
    rest: list[Entry]
    refreshes: list[Entry]
    event_triggers: list[Entry]


def post_data_of(entries: Iterable[Entry]) -> PostData:
    """Those that depend on no other one (indexes, primary and unique keys), materialized views' rows, and the rest.

    Event triggers, with what is said about them, are apart: once they are there, what is made may set them off.
    """
    found = PostData([], [], [], [])
    for entry in entries:
        if entry.kind in ("INDEX", "CONSTRAINT"):
            group = found.independent
        elif entry.kind == "MATERIALIZED VIEW DATA":
            group = found.refreshes
        elif entry.kind == "EVENT TRIGGER" or entry.is_about("EVENT TRIGGER"):
            group = found.event_triggers
        else:
            group = found.rest
        group.append(entry)
    return found


# -- the SQL of entries

# What a name is made of in the SQL of pg_dump, always with its schema.
_NAME = r'(?:"(?:[^"]|"")*"|[^\s".(),]+)'
# A constant of a type of the database: reading its text runs the checks of domains that are part of it.
_CONSTANT = re.compile(rf"'::{_NAME}\.{_NAME}")
# A cast to a type of the database, a value of it that JSON is read as, or a call of one of its functions.
_OF_DATABASE = re.compile(rf"(?:::|RETURNING ){_NAME}\.{_NAME}|{_NAME}\.{_NAME}\(|OPERATOR\(")
_NAMED = re.compile(r"^-- Name: (.*); Type: ([A-Z ]+); Schema: (.*); Owner: .*$", re.MULTILINE)
# What is no part of the entry before it: the end of the script (https://www.postgresql.org/docs/15/app-psql.html,
# \\restrict), and what is set for the entry that comes next.
_END_OF_SCRIPT = re.compile(r"(?:\n\s*(?:\\unrestrict \w+|SET default_\w+ = [^\n]*;))+\s*\Z")
_HEADER = re.compile(r"^-- TOC entry (\d+) \(class \d+ OID \d+\)$", re.MULTILINE)


def text_by_entry(entries: Sequence[Entry], script: str) -> Mapping[int, str] | None:
    """What ``pg_restore --verbose`` wrote for each of the ``entries``; None where it does not tell what is whose.

    A text inside a definition may look like the header of another one.
    """
    pieces = _HEADER.split(script)
    numbers, texts = [int(number) for number in pieces[1::2]], pieces[2::2]
    text_of = dict(zip(numbers, texts, strict=True))
    readable = len(text_of) == len(numbers) and set(numbers) <= {entry.number for entry in entries}
    return text_of if readable else None


def computes_nothing(entry: Entry, entries: Sequence[Entry], script: str) -> bool:
    """Whether the SQL of an entry shows that the server computes nothing while it is made, whoever wrote it.

    Generated columns and keys of partitions are computed when they are made; defaults, checks, views, triggers, rules,
    policies, statistics and bodies of functions when they are used. But any constant of a type of the database is read
    at once, by that type.
    """
    text = (text_by_entry(entries, script) or {}).get(entry.number)
    if text is None or _CONSTANT.search(text):
        return False
    if entry.kind == "TABLE":
        return not re.search("GENERATED|PARTITION", text)
    return entry.kind in ("FUNCTION", "PROCEDURE", "VIEW", "TRIGGER", "RULE", "POLICY", "STATISTICS")


def making_values_of_types(entries: Sequence[Entry], script: str) -> bool:
    """Whether making these, or what an index of them computes later, may make a value of a type of the database."""
    text_of = text_by_entry(entries, script)
    return text_of is None or any(
        _CONSTANT.search(text_of.get(entry.number, ""))
        or entry.kind == "TABLE ATTACH"
        or (entry.kind in ("INDEX", "CONSTRAINT") and _OF_DATABASE.search(text_of.get(entry.number, "")))
        for entry in entries
    )


def statistics_of_expressions(entries: Sequence[Entry], script: str) -> Sequence[Entry]:
    """Extended statistics of more than columns: whoever analyzes the table computes these as its owner."""
    text_of = text_by_entry(entries, script) or {}
    columns = re.compile(
        rf"CREATE STATISTICS {_NAME}\.{_NAME}(?: \([^()]*\))? ON {_NAME}(?:, {_NAME})* FROM "
    )
    found = []
    for each in entries:
        text = text_of.get(each.number, "")
        # Where the statement begins: a constant in an expression may read like another one.
        if each.kind == "STATISTICS" and not columns.match(text, text.find("\nCREATE STATISTICS ") + 1):
            found.append(each)
    return found


def definition_of(script: str, number: int) -> tuple[str, str]:
    """What fingerprints call an entry of a script as for :func:`computing`, and its SQL; both empty without it."""
    pieces = _HEADER.split(script)
    for found, text in zip(pieces[1::2], pieces[2::2], strict=True):
        named = _NAMED.search(text)
        if int(found) == number and named:
            lines = [line for line in text[named.end() :].split("\n") if not line.startswith("--")]
            definition = _END_OF_SCRIPT.sub("", "\n".join(lines))
            return entry_name(named[2], named[3], named[1]), definition.strip()
    return "", ""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Names of a foreign key in the SQL of pg_dump, as SQL."""

    table: str
    constraint: str
    referenced: str


_FOREIGN_KEY = re.compile(
    rf"ALTER TABLE ONLY ({_NAME}\.{_NAME})\s+ADD CONSTRAINT ({_NAME}) FOREIGN KEY "
    rf"\({_NAME}(?:, {_NAME})*\) REFERENCES ({_NAME}\.{_NAME})\([^;]*;"
)


def foreign_key_in(text: str) -> ForeignKey | None:
    """The names in the SQL of a foreign key; None where it is of a partitioned table, or not valid as it is."""
    found = _FOREIGN_KEY.fullmatch(text)
    return None if found is None or text.endswith(" NOT VALID;") else ForeignKey(*found.groups())


# Between a function's own name and the string of its body, or its end: what of it is looked up when it is made.
_FUNCTION = re.compile(
    rf"^CREATE (?:FUNCTION|PROCEDURE) {_NAME}\.{_NAME}(\(.*?)"
    rf"(?:^    AS ['$]|^ALTER (?:FUNCTION|PROCEDURE) {_NAME}\.{_NAME}\(|\Z)",
    re.MULTILINE | re.DOTALL,
)


def mentioning(
    entries: Sequence[Entry], script: str, names: Collection[str], types: Collection[str] = ()
) -> frozenset[int]:
    """Entries in whose definition one of these names may occur, or something is cast to one of these types (as SQL).

    All of them where the script does not tell. What the body of a function says counts only where it is parsed at once.
    """
    text_of = text_by_entry(entries, script)
    written = "|".join(re.escape(name.replace('"', '""')) for name in names)
    cast = "|".join(map(re.escape, types))
    patterns = [rf"(?<![\w$])(?:{written})(?![\w$])"] if names else []
    patterns += [rf"(?<!')::(?:{cast})(?![\w$])"] if types else []
    mention = re.compile("|".join(patterns))

    def looked_up(entry: Entry, text: str) -> str:
        found = _FUNCTION.search(text) if entry.kind in ("FUNCTION", "PROCEDURE") else None
        return found[1] if found else text

    return frozenset(
        entry.number
        for entry in entries
        if text_of is None
        or entry.number not in text_of
        or (patterns and mention.search(looked_up(entry, text_of[entry.number])))
    )
