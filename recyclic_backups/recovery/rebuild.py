"""Bring a backup's archives into an empty database: what is made when, with whose rights, and what cannot be made.

**Order.** Definitions, rows, then indexes, keys and the rest. What fails is tried again once everything else is there:
first as it is, then with the search path of the source, which code that writes names without a schema needs.

**Rights.** With loaders (:mod:`recyclic_backups.recovery.loaders`) what strangers wrote is computed with their rights;
the superuser's own search path stays empty as long as anybody else owns something in the database, since whoever can
put an object into a schema of that path decides what is run (CVE-2018-1058).

**What cannot be made.** Without a table there is no place for its rows, and without its rows no restore: these end it.
Anything else is left out and told (:class:`Missing`): the rows are back.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

from recyclic_backups.catalog.manifest import BackupObject, Manifest
from recyclic_backups.errors import Refused
from recyclic_backups.fingerprint.names import qualified_name, split_qualified_name
from recyclic_backups.postgres.programs import Section
from recyclic_backups.postgres.server import Server
from recyclic_backups.recovery.archive import Archive
from recyclic_backups.recovery.contents import (
    Entry,
    computing,
    definition_of,
    indexing_types,
    mentioning,
    one_line,
    post_data_of,
)
from recyclic_backups.recovery.entry_maker import Aside, EntryMaker, Missing
from recyclic_backups.recovery.loaders import NOBODY, TRUST_HINT, Loaders
from recyclic_backups.recovery.owners import (
    Roles,
    Table,
    Tables,
    anything_of_others,
    computed_with_code_of_others,
    planned_with_code_of_others,
    read_roles,
    read_tables,
)
from recyclic_backups.recovery.selection import Selection
from recyclic_backups.recovery.unchecked import put_back, take_out_checks

T = TypeVar("T")

_Part = tuple[BackupObject, Sequence[str], Sequence[int] | None, Server]
"""A stream of rows: what is read, options of pg_restore, entries (None: all), and as whom it is loaded."""

_HOLDS_ROWS = frozenset({"TABLE", "SEQUENCE"})
# Without any of these nothing of anybody's is computed while definitions are made.
_CODE = frozenset({"FUNCTION", "PROCEDURE", "DOMAIN"})
_FILLED = "MATERIALIZED VIEW DATA"
# Of an extension that lives in one database of a server only, or whose library the server loads when it starts.
_NOT_HERE = re.compile(
    r"can only create extension in database|shared_preload_libraries|must be preloaded", re.I
)
_ABOUT_ANOTHER = ("COMMENT ", "ACL ", "SECURITY LABEL ")


@dataclass(slots=True)
class Rebuild:
    """One backup's way into one database. Raises DatabaseError, DamagedData, NoUsableKey, Refused.

    ``loaded_by`` counts the tables whose rows were loaded with whose rights.
    """

    maker: EntryMaker
    loaded_by: dict[str, int]
    _tables: Tables = field(default_factory=lambda: Tables([], foreign_casts=False))
    _roles: Roles = field(default_factory=lambda: Roles(frozenset(), frozenset()))
    _computed: Mapping[int, str] | None = None
    """Entries at which code of others may run, with what it is; None where there is no such code."""
    _unchecked: list[Missing] = field(default_factory=list)

    @property
    def archive(self) -> Archive:
        """What is restored, and into which database."""
        return self.maker.archive

    @property
    def loaders(self) -> Loaders | None:
        """Roles for loading; None where everything is done by the role of the archive's server."""
        return self.maker.loaders

    @property
    def _manifest(self) -> Manifest:
        return self.archive.manifest

    @property
    def _server(self) -> Server:
        return self.archive.server

    # -- definitions

    def definitions(self, selection: Selection | None = None) -> None:
        """Everything that comes before the rows: schemas, types, functions, empty tables.

        Those that hold rows must all be there, or of a ``selection`` its tables.
        """
        if self.loaders is None:
            self.maker.make("pre-data", None)
        else:
            with self._server.connect(self.archive.database) as connection:
                facts = self._manifest.server
                roles = self._roles = read_roles(connection, facts.encoding, facts.owner)
            entries = self.maker.entries("pre-data")
            if self.archive.no_owner:
                self._require_no_foreign_code(entries, roles)
                self.maker.make("pre-data", None)
            elif any(each.kind in _CODE and roles.is_foreign(each) for each in entries):
                every, script = self._definitions()
                self._computed = computing(every, script, roles.is_foreign)
                self._in_order(entries, self._computed, roles)
            else:
                self.maker.make("pre-data", None)
        self._try_again()
        for each in self.maker.aside:
            if each.entry.kind in _HOLDS_ROWS and (selection is None or _is_among(each.entry, selection)):
                raise self.maker.stopped_at(each)
        with self._server.connect(self.archive.database) as connection:
            facts = self._manifest.server
            self._tables = read_tables(connection, facts.encoding, facts.owner)
        if self.loaders is not None:
            if any(table.loader is not None for table in self._tables.tables) or self.archive.no_owner:
                self.loaders.require_login()
            self._grant(self.loaders)

    def _definitions(self) -> tuple[list[Entry], str]:
        """All definitions, before and after the rows, and their SQL."""
        sections: tuple[Section, ...] = ("pre-data", "post-data")
        entries = [entry for section in sections for entry in self.maker.entries(section)]
        return entries, "\n".join(map(self.maker.text_of, sections))

    def _require_no_foreign_code(self, entries: Sequence[Entry], roles: Roles) -> None:
        """A superuser may not become the owner of code of others: each of its calls would be his.

        A materialized view is filled in the name of its owner, and so is what an index computes, a domain's checks too.
        """
        count = Counter(each.kind for each in entries if roles.is_foreign(each))
        found = [
            f"{number} {name}"
            for number, name in (
                (count["FUNCTION"] + count["PROCEDURE"], "functions"),
                (count["MATERIALIZED VIEW"], "materialized views"),
                (count["DOMAIN"] if self._computes_domains(entries, roles) else 0, "domains"),
            )
            if number
        ]
        if found:
            raise Refused(
                f"with --no-owner the superuser {self._server.user!r} would become the owner of {', '.join(found)}"
                " of others, and run them as a superuser",
                f"leave --no-owner out, or restore as a role that is no superuser; {TRUST_HINT}",
            )

    def _computes_domains(self, entries: Sequence[Entry], roles: Roles) -> bool:
        """Whether definitions or indexes may make a value of a domain of others."""
        if not any(each.kind == "DOMAIN" and roles.is_foreign(each) for each in entries):
            return False
        every, script = self._definitions()
        return bool(computing(every, script, roles.is_foreign)) or indexing_types(every, script)

    def _in_order(self, entries: Sequence[Entry], computed: Mapping[int, str], roles: Roles) -> None:
        """The definitions in the archive's order, by turns as the superuser and, where code may run, as its owner."""

        def turn_of(entry: Entry) -> tuple[str, bool] | None:
            if entry.number not in computed:
                return None
            _require_foreign(entry, computed, roles)
            # A partition is attached by a member of its owner, everything else made by the owner himself.
            return roles.owner_of(entry) or "", entry.kind != "TABLE ATTACH"

        for turn, numbers in _turns(entries, turn_of):
            if turn is None:
                self.maker.make("pre-data", numbers)
            else:
                owner, role = turn
                self.maker.make_as("pre-data", numbers, owner, computed[numbers[0]], role=role)

    def _grant(self, loaders: Loaders) -> None:
        """What loaders need and their owners do not have."""
        everything = [each.names for each in self._tables.tables]
        if self.archive.no_owner:
            loaders.let_in(NOBODY, {schema for schema, _ in everything})
            loaders.grant(NOBODY, "INSERT, SELECT", everything)
            return
        for loader in {each.loader for each in self._tables.tables if each.loader is not None}:
            loaders.let_in(loader, {each.names[0] for each in self._tables.tables if each.loader == loader})
        by_loader: dict[str, list[tuple[str, str]]] = {}
        for each in self._tables.tables:
            if each.loader is not None and not (each.loader and each.may_insert):
                by_loader.setdefault(each.loader, []).append(each.names)
        for loader, names in by_loader.items():
            loaders.grant(loader, "INSERT", names)
        if self._calls_of_others:
            for owner in {each.loader for each in self._tables.tables if each.loader}:
                loaders.grant(owner, "REFERENCES", everything)

    # -- rows

    def rows(self, selection: Selection | None, jobs: int, on_bytes: Callable[[int], None]) -> None:
        """The rows of all tables, or of the selected ones, ``jobs`` streams at once, the largest first.

        A table that has a stream of its own is fetched without reading the others.
        """
        split = {
            item.relation: item for item in self._manifest.objects if item.role == "table" and item.relation
        }
        parts = self._parts_of_main(selection, split) + [
            # Only the table: the value of its sequence is in the main archive.
            (item, _named(relation), None, server)
            for relation, item in split.items()
            if selection is None or relation in selection.tables
            for server in [self._loader_of(relation)]
        ]
        parts.sort(key=lambda part: -part[0].plain_bytes)
        counting = threading.Lock()

        def count(size_bytes: int) -> None:
            with counting:
                on_bytes(size_bytes)

        self.archive.together(
            jobs,
            [
                partial(self.maker.make, "data", entries, item, only, server=server, on_bytes=count)
                for item, only, entries, server in parts
            ],
        )
        self._try_again()
        taken_out = [
            check
            for table in self._tables_without_rows()
            for check in take_out_checks(self._server, self.archive.database, table)
        ]
        if taken_out:
            self._try_again()
        elsewhere = self._elsewhere()
        for each in self.maker.aside:
            if each.section == "data" and each not in elsewhere:
                raise self.maker.stopped_at(each)
        for check in taken_out:
            reason = put_back(check, self._as(check.table.loader), self.archive.database)
            if reason:
                self._unchecked.append(Missing(check.name, reason, check.statement))

    def _tables_without_rows(self) -> list[Table]:
        """Tables whose rows could not be loaded; not a superuser's that others' code is part of."""
        found = [
            self._tables.of(each.entry)
            for each in self.maker.aside
            if each.section == "data" and each.entry.kind == "TABLE DATA"
        ]
        return [table for table in found if table is not None and table.loader != NOBODY]

    def _parts_of_main(self, selection: Selection | None, split: Mapping[str, BackupObject]) -> list[_Part]:
        """The streams of the main archive: one for each role that loads rows of it."""
        main = self._manifest.main
        choices: dict[str | None, Sequence[str]] = {None: []}
        if selection is not None:
            choices = {
                schema: [f"--schema={schema}", *(f"--table={name}" for name in names)]
                for schema, names in selection.names_by_schema(without=split.keys()).items()
            }
        if self.loaders is None:
            return [(main, only, None, self._server) for only in choices.values()]
        rows: dict[str | None, list[tuple[int, str | None]]] = {None: []}
        for entry in self.maker.entries("data"):
            # Values of sequences and large objects are no code of anybody's.
            if entry.kind != "TABLE DATA":
                rows[None].append((entry.number, None))
                continue
            table = self._tables.of(entry)
            if table is None and selection is not None and not _is_among(entry, selection):
                continue
            if table is None and not self.archive.no_owner:
                if not (self.extensions_elsewhere and self._is_of_an_extension(entry)):
                    raise Refused(f"whose rows these are is not known: {entry.rest}", TRUST_HINT)
                rows[None].append((entry.number, None))
                continue
            loader = NOBODY if self.archive.no_owner or table is None else table.loader
            schema = None if table is None or selection is None else table.names[0]
            if table is None or selection is None or qualified_name(*table.names) in selection.tables:
                rows.setdefault(loader, []).append((entry.number, schema))
                self._count(loader)
        return [
            (main, only, [number for number, of in numbers if of in (None, schema)], self._as(loader))
            for loader, numbers in rows.items()
            for schema, only in choices.items()
            if loader is None or any(of in (None, schema) for _, of in numbers)
        ]

    def _loader_of(self, relation: str) -> Server:
        """How to log in for the rows of a table that has a stream of its own."""
        if self.loaders is None:
            return self._server
        table = next((each for each in self._tables.tables if qualified_name(*each.names) == relation), None)
        if table is None:
            raise Refused(f"the table {relation} is not among the definitions", TRUST_HINT)
        loader = NOBODY if self.archive.no_owner else table.loader
        self._count(loader)
        return self._as(loader)

    def _as(self, loader: str | None) -> Server:
        return self._server if loader is None or self.loaders is None else self.loaders.of(loader)

    def _count(self, loader: str | None) -> None:
        who = {None: self._server.user, NOBODY: "a role without rights"}.get(loader, loader) or ""
        self.loaded_by[who] = self.loaded_by.get(who, 0) + 1

    # -- what comes after the rows

    def post_data(self, jobs: int) -> list[Missing]:
        """Indexes and unique keys in ``jobs`` sessions at once, then foreign keys, triggers and the rest in order.

        Materialized views are computed when everything but event triggers is there, which would be set off by that.
        Returns what could not be made, of the definitions before the rows too.
        """
        entries = post_data_of(self.archive.listing("post-data"))
        computed = self._computed or {}
        plain = [number for number in entries.independent if number not in computed]
        shares = [plain[start::jobs] for start in range(jobs)]
        self.archive.together(
            jobs, [partial(self.maker.make, "post-data", share) for share in shares if share]
        )
        self._take_turns([number for number in entries.independent if number in computed])
        self._take_turns(entries.rest)
        self._take_turns(entries.refreshes)
        self._try_again()
        self._take_turns(entries.event_triggers)
        elsewhere = self._elsewhere()
        return [
            *self._unchecked,
            *(
                self.maker.missing(each.section, each.entry, each.failed.complaint)
                for each in self.maker.aside
                if each not in elsewhere
            ),
        ]

    def _take_turns(self, numbers: Sequence[int]) -> None:
        """These entries in the archive's order, by turns: each with the rights of whoever's code it may run.

        Before foreign keys the catalog is asked which of them would plan a query on a table with a stranger's index:
        by then every index is there.
        """
        wanted = set(numbers)
        runs: list[tuple[bool, list[Entry]]] = []
        for entry in self.maker.entries("post-data") if wanted else ():
            if entry.number in wanted:
                is_key = entry.kind == "FK CONSTRAINT"
                # A view by itself: filling one may run what changes what the next one reads.
                if not runs or runs[-1][0] != is_key or entry.kind == _FILLED:
                    runs.append((is_key, []))
                runs[-1][1].append(entry)
        for is_key, run in runs:
            entries = self._without_filled_by_others(run)
            planned = self._keys_planned_with_code(self.loaders) if is_key and self._guards else frozenset()
            for (loader, what), turn_numbers in _turns(entries, partial(self._turn_of, planned=planned)):
                if what:
                    self.maker.make_as("post-data", turn_numbers, loader or NOBODY, what)
                else:
                    self.maker.make("post-data", turn_numbers, server=self._as(loader))

    def _without_filled_by_others(self, entries: list[Entry]) -> list[Entry]:
        """Without the rows of a superuser's materialized views that would run somebody's functions as the superuser."""
        if not self._guards or all(entry.kind != _FILLED for entry in entries):
            return entries
        with self._server.connect(self.archive.database) as connection:
            computed = computed_with_code_of_others(connection, self._manifest.server.encoding)
        for entry in entries:
            if entry.kind == _FILLED and entry.rest in computed:
                reason = "it is a superuser's, and filling it would run functions of others as the superuser"
                self._unchecked.append(self.maker.missing("post-data", entry, f"{reason}; {TRUST_HINT}"))
        return [entry for entry in entries if entry.kind != _FILLED or entry.rest not in computed]

    @property
    def _calls_of_others(self) -> bool:
        """Whether there is code of others that a constraint may call."""
        return self._tables.foreign_casts or self._computed is not None

    @property
    def _guards(self) -> bool:
        return self.loaders is not None and not self.archive.no_owner

    def _turn_of(self, entry: Entry, planned: frozenset[int]) -> tuple[str | None, str]:
        """With whose rights an entry is made (None: the superuser's), and what it is if its owner makes it himself."""
        if not self._guards:
            return None, ""
        if self._computed and entry.number in self._computed:
            _require_foreign(entry, self._computed, self._roles)
            return self._roles.owner_of(entry) or NOBODY, self._computed[entry.number]
        # Of a foreign key, only a cast can be somebody's code: operators are those of a superuser's classes. But its
        # rows are found by a query, and planning that computes the constants in indexes of both tables.
        if entry.kind == "CHECK CONSTRAINT" or (
            entry.kind == "FK CONSTRAINT" and (self._calls_of_others or entry.number in planned)
        ):
            table = self._tables.of(entry)
            if table is None and entry.kind == "CHECK CONSTRAINT":  # of a domain or a foreign table
                if self._roles.is_foreign(entry):
                    return self._roles.owner_of(entry) or NOBODY, ""
                if not self._calls_of_others or self._reads_no_row(entry):
                    return None, ""
            by_planning = entry.kind == "FK CONSTRAINT" and not self._tables.foreign_casts
            refused = table is not None and table.superuser and entry.number in planned
            if table is None or refused or (table.loader == NOBODY and not by_planning):
                raise Refused(
                    f"a constraint of a superuser's table may call a function of another owner: {entry.rest}",
                    TRUST_HINT,
                )
            return table.loader or None, ""
        return None, ""

    def _reads_no_row(self, constraint: Entry) -> bool:
        _, text = definition_of(self.maker.text_of("post-data"), constraint.number)
        return text.endswith(") NOT VALID;")  # nothing that is quoted ends so

    def _keys_planned_with_code(self, loaders: Loaders | None) -> frozenset[int]:
        """Foreign keys, by id, whose validation may plan a query on a table with an index that is somebody's code."""
        with self._server.connect(self.archive.database) as connection:
            planned = planned_with_code_of_others(connection, self._manifest.server.encoding)
        if not planned or loaders is None:
            return frozenset()
        for owner in {each.loader for each in self._tables.tables if each.loader}:
            loaders.grant(owner, "REFERENCES", [each.names for each in self._tables.tables])
        entries = self.maker.entries("post-data")
        keys = [entry.number for entry in entries if entry.kind == "FK CONSTRAINT"]
        return mentioning(entries, self.maker.text_of("post-data"), planned).intersection(keys)

    def may_have_run_code(self) -> bool:
        """Whether code of others ran, with their rights, while definitions were made: it may have changed theirs."""
        if self.loaders is None:
            return False
        with self._server.connect(self.archive.database) as connection:
            planned = planned_with_code_of_others(connection, self._manifest.server.encoding)
        return bool(planned or self._computed)

    # -- trying again

    def _try_again(self) -> None:
        """What failed, for as long as that helps: as it is, then with the search path of the source."""
        maker = self.maker
        paths = maker.paths_of_source() if maker.aside else []
        before = len(maker.aside) + 1
        while maker.aside and len(maker.aside) < before:
            before = len(maker.aside)
            # Once as it is: there is more now than when it failed. So for what comes after the rows, whose rights it
            # takes is asked again: an index that was not there may be a stranger's code by now.
            waiting, maker.aside = maker.aside, []
            for each in waiting:
                if each.section != "post-data":
                    maker.aside += [] if maker.made(each) else [each]
                    continue
                try:
                    self._take_turns([each.entry.number])
                except Refused:
                    maker.aside.append(each)
            for path in paths:
                others = self._other_owners()
                maker.aside = [
                    each
                    for each in maker.aside
                    if not each.lacks_a_name or (others and not each.own_rights) or not maker.made(each, path)
                ]

    def _other_owners(self) -> bool:
        """Whether anybody but superusers owns something in the database, and might decide what a name means."""
        with self._server.connect(self.archive.database) as connection:
            return self.loaders is not None and anything_of_others(connection)

    # -- what cannot be made

    def _elsewhere(self) -> list[Aside]:
        """Extensions that cannot be in this database, with what goes with them."""
        extensions = [
            each
            for each in self.maker.aside
            if each.entry.kind == "EXTENSION" and _NOT_HERE.search(each.failed.complaint)
        ]
        return extensions and [
            each
            for each in self.maker.aside
            if each in extensions
            or each.entry.rest.startswith(_ABOUT_ANOTHER)
            or (each.section == "data" and self._is_of_an_extension(each.entry))
        ]

    def _is_of_an_extension(self, entry: Entry) -> bool:
        """Whether rows are of a table that no entry makes: an extension does."""
        return not any(
            other.kind in _HOLDS_ROWS and other.rest == entry.rest for other in self.maker.entries("pre-data")
        )

    @property
    def extensions_elsewhere(self) -> dict[str, str]:
        """Extensions that cannot be in this database, and why."""
        return {
            each.entry.rest.split(" ")[1]: each.failed.complaint
            for each in self._elsewhere()
            if each.entry.kind == "EXTENSION"
        }

    @property
    def relations_elsewhere(self) -> frozenset[str]:
        """Tables and sequences of these extensions, as a listing names them: schema and name."""
        return frozenset(
            each.entry.rest.rpartition(" ")[0] for each in self._elsewhere() if each.section == "data"
        )

    def finish_as(self, database: str) -> list[str]:
        """Make what could only be made under the database's final name; the extensions that could be.

        Not as long as an event trigger may call somebody's code at that (since 17 our sessions have none).
        """
        waiting, before = self._elsewhere(), self.extensions_elsewhere
        if not waiting:
            return []
        with self._server.connect(database) as connection:
            armed = connection.execute("SELECT FROM pg_catalog.pg_event_trigger LIMIT 1").fetchone()
            if armed is not None and connection.info.server_version < 170000:
                return []
        self.maker.archive = replace(self.maker.archive, database=database)
        self.maker.aside = [each for each in waiting if not self.maker.made(each)]
        return [extension for extension in before if extension not in self.extensions_elsewhere]


def _turns(entries: Iterable[Entry], turn_of: Callable[[Entry], T]) -> list[tuple[T, list[int]]]:
    """Entries in their order, as runs of ids that share a turn. All are judged before the first is made."""
    return [(turn, [entry.number for entry in run]) for turn, run in groupby(entries, turn_of)]


def _require_foreign(entry: Entry, computed: Mapping[int, str], roles: Roles) -> None:
    """Raises Refused for what a superuser made that calls functions of others: nobody else could make it."""
    if not roles.is_foreign(entry):
        raise Refused(f"{computed[entry.number]} calls a function of that owner: {entry.rest}", TRUST_HINT)


def _is_among(table: Entry, selection: Selection) -> bool:
    """Whether it may be one of these tables, whoever owns it."""
    names = (split_qualified_name(relation) for relation in selection.tables)
    return any(table.rest.startswith(f"{one_line(schema)} {one_line(name)} ") for schema, name in names)


def _named(relation: str) -> list[str]:
    schema, name = split_qualified_name(relation)
    return [f"--schema={schema}", f"--table={name}"]
