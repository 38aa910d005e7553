"""What an archive contains, as ``pg_restore --list`` tells it. Pure.

A line is ``id; catalog-oid oid DESCRIPTION schema name owner``
(https://www.postgresql.org/docs/15/app-pgrestore.html, --list). Names may hold spaces, so a line alone does not say
where one ends; it can only be compared with names that are known. Where several would do, the answer is always the
one that gives less rights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from recyclic_backups.fingerprint.schema_text import entry_name

# The longest first: TABLE is the beginning of others.
_KINDS = (
    "MATERIALIZED VIEW DATA", "MATERIALIZED VIEW", "SEQUENCE OWNED BY", "CHECK CONSTRAINT", "FK CONSTRAINT",
    "EVENT TRIGGER", "FOREIGN TABLE", "INDEX ATTACH", "SEQUENCE SET", "TABLE ATTACH", "CONSTRAINT", "STATISTICS",
    "TABLE DATA", "AGGREGATE", "EXTENSION", "PROCEDURE", "FUNCTION", "SEQUENCE", "DEFAULT(?! ACL)", "TRIGGER", "DOMAIN",
    "POLICY", "INDEX", "TABLE", "CAST", "RULE", "VIEW",
)  # fmt: skip
_LINE = re.compile(rf"(\d+); \d+ \d+ (?:({'|'.join(_KINDS)}) )?(.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing. ``kind`` is empty for those that nobody asks for; ``rest`` is schema, name and owner."""

    number: int
    kind: str
    rest: str

    @property
    def is_grant(self) -> bool:
        """Whether it gives or takes rights."""
        return self.kind == "" and self.rest.startswith(("ACL ", "DEFAULT ACL "))

    def belongs_to(self, roles: Iterable[str]) -> list[str]:
        """Which of these roles the owner may be, the longest name first."""
        return sorted((role for role in roles if self.rest.endswith(f" {one_line(role)}")), key=len)[::-1]

    def is_in(self, schema: str, name: str, owner: str) -> bool:
        """Whether it may be the table of these names, or a constraint of it."""
        begins, ends = f"{one_line(schema)} {one_line(name)}", f" {one_line(owner)}"
        if self.kind.endswith("CONSTRAINT"):
            return self.rest.startswith(f"{begins} ") and self.rest.endswith(ends)
        return self.rest == begins + ends


def entries_of(listing: str) -> list[Entry]:
    """All entries, in the archive's order."""
    found = (_LINE.fullmatch(line) for line in listing.split("\n"))
    return [Entry(int(match[1]), match[2] or "", match[3]) for match in found if match]


def one_line(name: str) -> str:
    """A name as pg_restore lists it: on one line."""
    return name.replace("\n", " ").replace("\r", " ")


@dataclass(frozen=True, slots=True)
class PostData:
    """Ids of the entries of the last section, each group in the archive's own order."""

    independent: list[int]
    rest: list[int]
    refreshes: list[int]
    event_triggers: list[int]


def post_data_of(listing: str) -> PostData:
    """Those that depend on no other one (indexes, primary and unique keys), materialized views' rows, and the rest.

    Event triggers, with what is said about them, are apart: once they are there, what is made may set them off.
    """
    found = PostData([], [], [], [])
    # Nothing but "\n" ends a line: str.splitlines also cuts at characters that a name may hold (U+2028), and what
    # follows them in a name would be an entry of its owner's making.
    for line in listing.split("\n"):
        match = re.match(
            r"(\d+); \d+ \d+ (?:((?:INDEX|CONSTRAINT) (?!ATTACH))|(MATERIALIZED VIEW DATA )"
            r"|((?:(?:COMMENT|SECURITY LABEL) - )?EVENT TRIGGER ))?",
            line,
        )
        if match:
            group = (
                found.independent
                if match[2]
                else found.refreshes
                if match[3]
                else found.event_triggers
                if match[4]
                else found.rest
            )
            group.append(int(match[1]))
    return found


# -- definitions that make the server compute something

# What a name is made of in the SQL of pg_dump, always with its schema.
_NAME = r'(?:"(?:[^"]|"")*"|[^\s".(),]+)'
_MADE = re.compile(rf"^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) ({_NAME}\.{_NAME})\(", re.MULTILINE)
_TABLE = re.compile(rf"^CREATE (?:UNLOGGED )?(?:FOREIGN )?TABLE ({_NAME}\.{_NAME})", re.MULTILINE)
# A constant of a type of the database: reading its text runs the checks of domains that are part of it.
_CONSTANT = re.compile(rf"'::{_NAME}\.{_NAME}")
# A cast to a type of the database, or a call of one of its functions.
_OF_DATABASE = re.compile(rf"::{_NAME}\.{_NAME}|{_NAME}\.{_NAME}\(|OPERATOR\(")
_NAMED = re.compile(r"^-- Name: (.*); Type: ([A-Z ]+); Schema: (.*); Owner: .*$", re.MULTILINE)
# What is no part of the entry before it: the end of the script (https://www.postgresql.org/docs/15/app-psql.html,
# \\restrict), and what is set for the entry that comes next.
_END_OF_SCRIPT = re.compile(r"(?:\n\s*(?:\\unrestrict \w+|SET default_\w+ = [^\n]*;))+\s*\Z")
_HEADER = re.compile(r"^-- TOC entry (\d+) \(class \d+ OID \d+\)$", re.MULTILINE)


_WITH_EXPRESSIONS = frozenset({
    "TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "FUNCTION", "PROCEDURE", "DOMAIN", "DEFAULT", "INDEX",
    "CONSTRAINT", "STATISTICS", "TRIGGER", "RULE", "POLICY",
})  # fmt: skip


def computing(
    entries: Sequence[Entry], script: str, is_foreign: Callable[[Entry], bool]
) -> Mapping[int, str]:
    """Entries before and after the rows at which the server may call a function of a foreign owner, and why.

    The planner computes what looks constant: in generated columns and partition keys, in the CHECK constraints of a
    partition when it is attached, in indexes when one is attached. The text of a constant is read by its type when the
    statement is parsed, and where a domain is part of the type (an array of it, a composite type), its checks are
    made; so they are for the bounds of a partition, and for an aggregate's initial value. The key of a partitioned
    table is computed whenever its partitions are looked up: to attach one, or an index of one, and for a trigger. Where
    there is a domain, whatever an extension's function makes may be a value of it. ``script`` is what
    ``pg_restore --verbose`` writes for the ``entries``. Anything that it cannot tell counts as computing.
    """
    pieces = _HEADER.split(script)
    numbers, texts = [int(number) for number in pieces[1::2]], pieces[2::2]
    text_of = dict(zip(numbers, texts, strict=True))
    foreign = [entry for entry in entries if is_foreign(entry)]
    made = [entry for entry in foreign if entry.kind in ("FUNCTION", "PROCEDURE")]
    # What a domain checks may be a function of PostgreSQL's own, such as one that runs what a text says.
    domains = any(entry.kind == "DOMAIN" for entry in foreign)
    if not (made or domains):
        return {}
    # A text inside a definition may look like a header: then what belongs to which entry is not known.
    readable = len(text_of) == len(numbers) and set(numbers) <= {entry.number for entry in entries}
    names = {match[1] for entry in made for match in [_MADE.search(text_of.get(entry.number, ""))] if match}
    readable = readable and all(_MADE.search(text_of.get(e.number, "")) for e in made)
    # A cast is nowhere to be seen in what it is applied to.
    casts = any(entry.kind == "CAST" and " FUNCTION " in text_of.get(entry.number, "") for entry in entries)
    called = [rf"{_NAME}\.{_NAME}\("] if domains else [re.escape(f"{name}(") for name in sorted(names)]
    mentioned = re.compile("|".join([r"OPERATOR\(", *called]))

    def calls(text: str) -> bool:
        return not readable or casts or mentioned.search(text) is not None

    found: dict[int, str] = {}
    checked = indexed = keyed = False
    tables = set[str]()
    for entry in foreign:
        text = text_of.get(entry.number, "")
        if domains and entry.kind in _WITH_EXPRESSIONS and (not readable or _CONSTANT.search(text)):
            found[entry.number] = "a constant of a type with a domain"
        if entry.kind in ("TABLE", "FOREIGN TABLE"):
            tables |= {match[1] for match in [_TABLE.search(text)] if match}
            checked = checked or (calls(text) and (not readable or "CHECK (" in text))
            keyed = keyed or (calls(text) and (not readable or "\nPARTITION BY " in text))
            if calls(text) and (not readable or "GENERATED ALWAYS AS (" in text or "\nPARTITION BY " in text):
                found[entry.number] = "a generated column or partition key"
        elif entry.kind == "AGGREGATE" and (not readable or "INITCOND" in text):
            found[entry.number] = "the initial value of an aggregate"
        elif entry.kind == "INDEX":
            indexed = indexed or calls(text) or domains
    for entry in foreign:
        if entry.kind == "TABLE ATTACH" and (checked or keyed or domains):
            found[entry.number] = "the CHECK constraint, key or bound of a partition"
        elif entry.kind == "INDEX ATTACH" and (indexed or keyed):
            found[entry.number] = "the index or key of a partition"
        elif entry.kind == "TRIGGER" and keyed:
            found[entry.number] = "the key of a partitioned table with a trigger"
    of_superusers = [entry for entry in entries if not is_foreign(entry)]
    attaching = _reaching(of_superusers, text_of, tables if readable else None)
    for entry in attaching:
        if checked or keyed or domains:
            found[entry.number] = "a superuser's partition of a stranger's table"
    if (indexed or keyed) and attaching:
        found |= {
            entry.number: "the index of a superuser's partition of a stranger's table"
            for entry in of_superusers
            if entry.kind == "INDEX ATTACH"
        }
    return found


def _reaching(entries: Sequence[Entry], text_of: Mapping[int, str], tables: set[str] | None) -> list[Entry]:
    """Entries that attach a partition to one of these tables (None: not known, hence any).

    Of a superuser's foreign key to one the restored catalog tells (``Archive._keys_planned_with_code``).
    """
    alternatives = "|".join(re.escape(each) for each in sorted(tables or ()))
    above = re.compile(rf"^ALTER TABLE ONLY (?:{alternatives}) ATTACH ", re.MULTILINE)
    attaching = [entry for entry in entries if entry.kind == "TABLE ATTACH"]
    return [
        entry
        for entry in attaching
        if tables is None or (tables and above.search(text_of.get(entry.number, "")))
    ]


def indexing_types(entries: Sequence[Entry], script: str) -> bool:
    """Whether an index may make a value of a type of the database; ``script`` is as for :func:`computing`."""
    indexes = {entry.number for entry in entries if entry.kind in ("INDEX", "CONSTRAINT")}
    pieces = _HEADER.split(script)
    return any(
        int(number) in indexes and _OF_DATABASE.search(text)
        for number, text in zip(pieces[1::2], pieces[2::2], strict=True)
    )


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


def mentioning(entries: Sequence[Entry], script: str, names: Collection[str]) -> frozenset[int]:
    """Entries in whose definition one of these names may occur; ``script`` is as for :func:`computing`.

    All of them where the script does not tell what belongs to which.
    """
    pieces = _HEADER.split(script)
    numbers, texts = [int(number) for number in pieces[1::2]], pieces[2::2]
    text_of = dict(zip(numbers, texts, strict=True))
    if len(text_of) != len(numbers) or not set(numbers) <= {entry.number for entry in entries}:
        return frozenset(entry.number for entry in entries)
    written = [name.replace('"', '""') for name in names]
    return frozenset(
        entry.number
        for entry in entries
        if entry.number not in text_of or any(name in text_of[entry.number] for name in written)
    )
