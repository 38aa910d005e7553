"""With whose rights each definition of an archive is made. Pure.

While PostgreSQL makes a definition it computes what looks constant, reads the texts of types, fills and plans: at more
places than a list could name. So what belongs to somebody who is no superuser is made by a session that logged in with
his rights (:mod:`recyclic_backups.restore.loaders`), and by nobody else, whether that works or not. A superuser makes
what belongs to superusers, and of others what only he may make, or what calls nothing of anybody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from recyclic_backups.restore.contents import Entry
from recyclic_backups.restore.loaders import NOBODY
from recyclic_backups.restore.owners import Roles

# In these nothing is written that the server would compute. Publications may hold expressions, but PostgreSQL keeps
# types and functions of people out of them (https://www.postgresql.org/docs/15/logical-replication-row-filter.html).
_CALLS_NOTHING = frozenset({
    "SCHEMA", "EXTENSION", "ACCESS METHOD", "PROCEDURAL LANGUAGE", "FOREIGN DATA WRAPPER", "SERVER", "USER MAPPING",
    "TYPE", "SHELL TYPE", "CAST", "TRANSFORM", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "SUBSCRIPTION",
    "SUBSCRIPTION TABLE", "EVENT TRIGGER", "BLOB", "BLOB METADATA", "ACL", "DEFAULT ACL", "SECURITY LABEL",
})  # fmt: skip
# These change a table and make nothing of its owner's. A member of the owner does that, who was lent rights on others'.
_CHANGES = frozenset({"TABLE ATTACH", "FK CONSTRAINT", "CHECK CONSTRAINT"})
_RELATIONS = frozenset({"TABLE", "SEQUENCE", "SEQUENCE OWNED BY", "DEFAULT", "VIEW", "COMMENT"})
_FUNCTIONS = frozenset({"FUNCTION", "PROCEDURE", "AGGREGATE"})
# Without the right to use these, an owner cannot write his tables down as he once did.
_NEEDED_FIRST = ("SCHEMA", "FOREIGN SERVER", "LANGUAGE")


@dataclass(frozen=True, slots=True)
class Turn:
    """Who makes some entries: the superuser (``owner`` None), or a session of that owner's rights.

    ``as_owner`` tells whether it acts as the owner himself or as a member of him.
    """

    owner: str | None
    as_owner: bool = False


SUPERUSER = Turn(None)


def turn_of(entry: Entry, roles: Roles) -> Turn:
    """Who makes an entry."""
    if entry.kind in _CALLS_NOTHING or not roles.is_foreign(entry):
        return SUPERUSER
    owner = roles.owner_of(entry)
    if owner is None and entry.kind == "COMMENT":
        return SUPERUSER
    return Turn(owner or NOBODY, as_owner=bool(owner) and entry.kind not in _CHANGES)


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Definitions before the rows: grants at the end, as pg_restore gives them, but for those that others need."""
    entries = list(entries)
    made = [entry for entry in entries if not entry.is_grant]
    first, last = list[Entry](), list[Entry]()
    for entry in entries:
        if entry.is_grant:
            (first if entry.kind == "ACL" and entry.is_about(*_NEEDED_FIRST) else last).append(entry)
    place = next((n for n, entry in enumerate(made) if entry.kind not in _CALLS_NOTHING), len(made))
    return [*made[:place], *first, *made[place:], *last]


def in_turns(entries: Iterable[Entry], roles: Roles) -> list[tuple[Turn, list[Entry]]]:
    """Entries as runs that share a turn, in their order but for relations next to each other: an owner's come together.

    What needs another owner's relation that comes later is tried again. A comment is written by whoever's turn it is.
    """
    found: list[tuple[Turn, list[Entry]]] = []
    for entry in _by_owner(entries, roles):
        turn = turn_of(entry, roles)
        if found and (
            found[-1][0] == turn or (entry.kind == "COMMENT" and found[-1][0].owner in (None, turn.owner))
        ):
            found[-1][1].append(entry)
        else:
            found.append((turn, [entry]))
    return found


def _by_owner(entries: Iterable[Entry], roles: Roles) -> Iterator[Entry]:
    """Where tables of owners alternate, all of one before all of the next; views after the tables, as they were."""
    for are_relations, run in groupby(entries, lambda entry: entry.kind in _RELATIONS):
        if not are_relations:
            yield from run
            continue
        groups: dict[Turn, list[Entry]] = {}
        before, views = list[Entry](), list[Entry]()
        into = before
        for entry in run:
            if entry.kind != "COMMENT":  # it follows what it is about
                turn = turn_of(entry, roles)
                into = views if entry.kind == "VIEW" else groups.setdefault(turn, [])
            into.append(entry)
        for group in (before, *groups.values(), views):
            yield from group


def keeping_functions(
    runs: Sequence[tuple[Turn, Sequence[Entry]]],
) -> list[tuple[Turn, list[Entry]]]:
    """The same, with grants on functions as soon as these are there: before anybody but their owner has a turn.

    Everybody may call a new function, until it is taken from PUBLIC: at the end of a dump, when code of others has run.
    Grants on functions that no entry makes, which are extensions', come with the first run.
    """
    made_by: dict[tuple[str, str], list[int]] = {}
    for _, run in runs:
        for entry in run:
            if entry.kind in _FUNCTIONS:
                made_by.setdefault(_signed(entry.rest), []).append(entry.number)
    grants: dict[int | None, list[Entry]] = {}
    for _, run in runs:
        for entry in run:
            named = _without_word(entry, "FUNCTION|PROCEDURE|AGGREGATE")
            if named:
                # A listing does not tell which one of several: after each, until it can be given.
                numbers: list[int | None] = [
                    number for rest in named for number in made_by.get(_signed(rest), [])
                ]
                for number in numbers or [None]:
                    grants.setdefault(number, []).append(entry)
    moved = {entry.number for each in grants.values() for entry in each}
    found: list[tuple[Turn, list[Entry]]] = []
    waiting: list[tuple[str | None, Entry]] = [(None, entry) for entry in grants.get(None, [])]
    for place, (turn, run) in enumerate(runs):
        rest = [entry for entry in run if entry.number not in moved]
        made = list(dict.fromkeys(grant for entry in rest for grant in grants.get(entry.number, [])))
        due = dict.fromkeys(grant for owner, grant in waiting if turn == SUPERUSER or owner != turn.owner)
        waiting = [each for each in waiting if each[1] not in due]
        if turn == SUPERUSER:
            rest += dict.fromkeys([*due, *made])
        else:
            waiting += [(turn.owner, grant) for grant in made]
            if due:
                found.append((SUPERUSER, list(due)))
        if rest or not place:
            found.append((turn, rest))
    if waiting:
        found.append((SUPERUSER, list(dict.fromkeys(grant for _, grant in waiting))))
    return found


def kept_by_policies(entries: Sequence[Entry], later: Iterable[Entry]) -> list[Entry]:
    """Grants on tables whose policies are made ``later``, and on views: until then they would give all rows."""
    tables = [_unquoted(entry.rest) for entry in later if entry.kind == "ROW SECURITY"]
    tables += [_unquoted(entry.rest) for entry in (entries if tables else ()) if entry.kind == "VIEW"]
    known = frozenset(tables)
    return [
        entry
        for entry in (entries if tables else ())
        if not known.isdisjoint(map(_unquoted, _without_word(entry, "TABLE")))
        or any(
            _is_column(_unquoted(rest), table) for rest in _without_word(entry, "COLUMN") for table in tables
        )
    ]


def _is_column(column: str, table: str) -> bool:
    """Whether schema, table, column and owner may be of schema, table and owner."""
    ends = (match.start() for match in re.finditer(" ", table))
    return any(column.startswith(f"{table[:end]}.") and column.endswith(table[end:]) for end in ends)


def _without_word(grant: Entry, words: str) -> list[str]:
    """What the entry of an object of that kind may be of which this is a grant; empty if it is none of such."""
    found = re.finditer(f" (?:{words}) ", grant.rest) if grant.kind == "ACL" else ()
    return [f"{grant.rest[: match.start()]} {grant.rest[match.end() :]}" for match in found]


def _signed(rest: str) -> tuple[str, str]:
    """Schema and name of a function, and its owner. Its own entry quotes nothing and names no arguments."""
    return _unquoted(rest.partition("(")[0]), rest.rpartition(")")[2]


def _unquoted(text: str) -> str:
    return text.replace('"', "")


def by_kind(entries: Sequence[Entry], roles: Roles) -> list[tuple[str, list[tuple[Turn, list[Entry]]]]]:
    """Entries after the rows: runs of one kind in their order, in which each owner has one turn.

    Each materialized view is a run of its own: filling one may run what changes what the next one reads.
    """

    def alike(entry: Entry) -> tuple[str, int]:
        return entry.kind, entry.number if entry.kind == "MATERIALIZED VIEW DATA" else 0

    found = []
    for (kind, _), run in groupby(entries, alike):
        turns: dict[Turn, list[Entry]] = {}
        for entry in run:
            turns.setdefault(turn_of(entry, roles), []).append(entry)
        found.append((kind, list(turns.items())))
    return found
