"""Bring a backup's archives into an empty database: what is made when, with whose rights, and what cannot be made.

**Order.** Definitions, rows, then indexes, keys and the rest. What fails is tried again once everything else is there:
first as it is, then with the search path of the source, which code that writes names without a schema needs.

**Rights.** With loaders (:mod:`recyclic_backups.restore.loaders`) what belongs to strangers is made and filled with
their rights (:mod:`recyclic_backups.restore.whose_rights`). What a superuser makes is looked at where it reaches a
table of theirs; meanwhile none of them has a session. His search path stays empty as long as anybody else owns
something in the database, since whoever can put an object into a schema of that path decides what is run
(CVE-2018-1058).

**What cannot be made.** Without a table there is no place for its rows, and without its rows no restore: these end it.
Anything else is left out and told (:class:`Missing`): the rows are back.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile

from recyclic_backups.catalog.manifest import BackupObject, Manifest
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.names import qualified_name, split_qualified_name
from recyclic_backups.postgres.programs import Section
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.restore.archive import Archive
from recyclic_backups.restore.contents import (
    ABOUT_ANOTHER,
    Entry,
    computes_nothing,
    definition_of,
    foreign_key_in,
    making_values_of_types,
    mentioning,
    one_line,
    post_data_of,
    statistics_of_expressions,
)
from recyclic_backups.restore.entry_attempts import Aside, EntryMaker, Missing
from recyclic_backups.restore.loaders import NOBODY, TRUST_HINT, Loaders
from recyclic_backups.restore.owners import (
    Roles,
    Table,
    anything_of_others,
    definitions_run_code_of_others,
    has_foreign_casts,
    is_plain_table,
    keep_powers,
    read_roles,
    read_tables,
    relations_of_system,
)
from recyclic_backups.restore.postponed_checks import put_back, take_out_checks
from recyclic_backups.restore.selection import Selection
from recyclic_backups.restore.superuser_safety import Reach
from recyclic_backups.restore.whose_rights import (
    SUPERUSER,
    Turn,
    by_kind,
    in_order,
    in_turns,
    keeping_functions,
    kept_by_policies,
    turn_of,
)

_Part = tuple[BackupObject, Sequence[str], Sequence[int] | None, Server]
"""A stream of rows: what is read, options of pg_restore, entries (None: all), and as whom it is loaded."""

_HOLDS_ROWS = frozenset({"TABLE", "SEQUENCE"})
_CODE = frozenset({"FUNCTION", "PROCEDURE", "DOMAIN"})
# Of an extension that lives in one database of a server only, or whose library the server loads when it starts.
_NOT_HERE = re.compile(
    r"can only create extension in database|shared_preload_libraries|must be preloaded", re.I
)


@dataclass(slots=True)
class Rebuild:
    """One backup's way into one database. Raises DatabaseError, DamagedData, NoUsableKey, Refused.

    ``loaded_by`` counts the tables whose rows were loaded with whose rights.
    """

    maker: EntryMaker
    loaded_by: dict[str, int]
    _reach: Reach = field(init=False)
    kept_back: Sequence[str] = ()
    """Functions with powers that everybody could call, as no grants are restored, and now nobody may."""
    _unchecked: list[Missing] = field(default_factory=list)
    _after_policies: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reach = Reach(self.maker, guards=self.loaders is not None and not self.archive.no_owner)

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
            with self.archive.connect() as connection:
                facts = self._manifest.server
                roles = self._reach.roles = read_roles(connection, facts.encoding, facts.owner)
            entries = self.maker.entries("pre-data")
            if self.archive.no_owner:
                self._require_no_foreign_code(entries, roles)
                self.maker.make("pre-data", None)
            else:
                self._in_turns(entries, roles)
        if self.archive.no_owner:
            with self.archive.connect() as connection:
                self.kept_back = keep_powers(connection)
        self._try_again()
        for each in self.maker.aside:
            if each.entry.kind in _HOLDS_ROWS and (selection is None or _is_among(each.entry, selection)):
                raise self.maker.stopped_at(each)
        with self.archive.connect() as connection:
            facts = self._manifest.server
            stands_for_owner = self.loaders.of_database_owner if self.loaders else ""
            self._reach.tables = read_tables(connection, facts.encoding, facts.owner, stands_for_owner)
        if self.loaders is not None:
            if any(table.loader is not None for table in self._reach.tables.tables) or self.archive.no_owner:
                self.loaders.require_login()
            self._grant(self.loaders)

    def _definitions(self) -> tuple[list[Entry], str]:
        """All definitions, before and after the rows, and their SQL."""
        sections: tuple[Section, ...] = ("pre-data", "post-data")
        entries = [entry for section in sections for entry in self.maker.entries(section)]
        return entries, "\n".join(map(self.maker.text_of, sections))

    def _require_no_foreign_code(self, entries: Sequence[Entry], roles: Roles) -> None:
        """A superuser may not become the owner of code of others: each of its calls would be his.

        A materialized view is filled in the name of its owner, and so is what an index or ANALYZE computes, a domain's
        checks too. A view or a rule reads and writes in it.
        """
        count = Counter(each.kind for each in entries if roles.is_foreign(each))
        definitions, script = self._definitions()
        theirs = [each for each in definitions if roles.is_foreign(each)]
        with self.archive.connect() as connection:
            of_system = mentioning(definitions, script, relations_of_system(connection))
        found = [
            f"{number} {name}"
            for number, name in (
                (count["FUNCTION"] + count["PROCEDURE"], "functions"),
                (count["MATERIALIZED VIEW"], "materialized views"),
                (
                    count["DOMAIN"] if count["DOMAIN"] and making_values_of_types(definitions, script) else 0,
                    "domains",
                ),
                (
                    sum(each in theirs for each in statistics_of_expressions(definitions, script)),
                    "statistics of expressions",
                ),
                (
                    sum(each.number in of_system for each in theirs if each.kind in ("VIEW", "RULE")),
                    "views or rules on PostgreSQL's own tables",
                ),
            )
            if number
        ]
        if found:
            raise Refused(
                f"with --no-owner the superuser {self._server.user!r} would become the owner of {', '.join(found)}"
                " of others, and run them as a superuser",
                f"leave --no-owner out, or restore as a role that is no superuser; {TRUST_HINT}",
            )

    def _in_turns(self, entries: Sequence[Entry], roles: Roles) -> None:
        """The definitions in their order, by turns as the superuser and as their owners."""
        self._after_policies = kept_by_policies(entries, self.maker.entries("post-data"))
        ordered = in_order(entry for entry in entries if entry not in self._after_policies)
        first = list(takewhile(lambda entry: turn_of(entry, roles) == SUPERUSER, ordered))
        rest = ordered[len(first) :]
        (_, first), *runs = keeping_functions([(SUPERUSER, first), *in_turns(rest, roles)])
        self._make("pre-data", SUPERUSER, first)
        if rest and self.loaders is not None:
            self.loaders.require_login()
        for turn, run in runs:
            self._make("pre-data", turn, run)

    def _make(self, section: Section, turn: Turn, entries: Sequence[Entry], jobs: int = 1) -> None:
        """Entries of one turn, ``jobs`` sessions at once. Raises Refused for what may run code of somebody else."""
        if not entries:
            return
        if turn.owner is not None:
            with self._alone():  # whoever else was there is out until his code runs again
                self._reach.require_meant(section, entries, turn.owner)
            make = partial(self.maker.make_as, section, owner=turn.owner, as_owner=turn.as_owner)
            self._share(make, entries, jobs)
            return
        with self._alone():
            self._reach.require_own(section, entries)
            own = self._reach.without_filled_by_others(entries)
            self._share(partial(self.maker.make, section), own, jobs)

    def _share(self, make: Callable[[Sequence[int]], None], entries: Sequence[Entry], jobs: int) -> None:
        numbers = [entry.number for entry in entries]
        if jobs == 1:
            make(numbers)
        else:
            shares = [numbers[start::jobs] for start in range(min(jobs, len(numbers)))]
            self.archive.together(jobs, [partial(make, share) for share in shares])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within the block nobody else has a session, and nobody has left anything behind that was not his before."""
        with nullcontext() if self.loaders is None else self.loaders.absent():
            if self.loaders is not None:
                self._reach.require_known(self.loaders.of_database_owner)
            yield

    def _grant(self, loaders: Loaders) -> None:
        """What loaders need and their owners do not have."""
        everything = [each.names for each in self._reach.tables.tables]
        if self.archive.no_owner:
            loaders.let_in(NOBODY, {schema for schema, _ in everything})
            loaders.grant(NOBODY, "INSERT, SELECT", everything)
            return
        for loader in {each.loader for each in self._reach.tables.tables if each.loader is not None}:
            loaders.let_in(
                loader, {each.names[0] for each in self._reach.tables.tables if each.loader == loader}
            )
        by_loader: dict[str, list[tuple[str, str]]] = {}
        for each in self._reach.tables.tables:
            if each.loader is not None and not (each.loader and each.may_insert):
                by_loader.setdefault(each.loader, []).append(each.names)
        for loader, names in by_loader.items():
            loaders.grant(loader, "INSERT", names)

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

        def streams(*, own: bool) -> list[Callable[[], None]]:
            return [
                partial(self.maker.make, "data", entries, item, only, server=server, on_bytes=count)
                for item, only, entries, server in parts
                if (server is self._server) is own
            ]

        with self._alone():
            self._reach.require_no_triggers()
            self.archive.together(jobs, streams(own=True))
        self.archive.together(jobs, streams(own=False))
        self._try_again()
        without_rows = self._tables_without_rows()
        with self._alone() if without_rows else nullcontext():
            taken_out = [
                check
                for table in without_rows
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
            self._reach.tables.of(each.entry)
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
            table = self._reach.tables.of(entry)
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
        table = next(
            (each for each in self._reach.tables.tables if qualified_name(*each.names) == relation), None
        )
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

    def post_data(self, jobs: int, *, fill_views: bool = True) -> list[Missing]:
        """Indexes and unique keys in ``jobs`` sessions at once, then foreign keys, triggers and the rest in order.

        Materialized views are computed when everything but event triggers is there, which would be set off by that; not
        without ``fill_views``: what they call may change definitions.
        Returns what could not be made, of the definitions before the rows too.
        """
        entries = post_data_of(self.maker.entries("post-data"))
        self._independent(entries.independent, jobs)
        self._take_turns(entries.rest)
        self._make("pre-data", SUPERUSER, self._after_policies)
        if fill_views:
            self._take_turns(entries.refreshes)
        self._try_again()
        if self.loaders is not None:
            with self._alone():
                pass  # what the last of them did
            self.loaders.drop()
        self._take_turns(entries.event_triggers)
        elsewhere = self._elsewhere()
        return [
            *self._unchecked,
            *self._reach.not_filled,
            *(
                self.maker.missing(
                    each.section,
                    each.entry,
                    "; ".join(filter(None, [each.failed.complaint, each.failed.hint])),
                )
                for each in self.maker.aside
                if each not in elsewhere
            ),
        ]

    def _independent(self, entries: Sequence[Entry], jobs: int) -> None:
        """Indexes and keys, of one owner after the other, each owner's in ``jobs`` sessions at once.

        The superuser's come last: by then the others' indexes show of which tables others' code is part.
        """
        by_turn: dict[Turn, list[Entry]] = {}
        for entry in entries:
            by_turn.setdefault(self._turn_of(entry), []).append(entry)
        for turn, run in sorted(by_turn.items(), key=lambda each: each[0] == SUPERUSER):
            self._make("post-data", turn, run, jobs)

    def _take_turns(self, entries: Sequence[Entry]) -> None:
        """These entries after the rows, kind by kind: each with the rights of its owner."""
        if not self._reach.guards:
            self._make("post-data", SUPERUSER, entries)
            return
        for _, turns in by_kind(entries, self._reach.roles):
            for turn, run in turns:
                self._make("post-data", turn, run)

    def _turn_of(self, entry: Entry) -> Turn:
        return turn_of(entry, self._reach.roles) if self._reach.guards else SUPERUSER

    def may_have_run_code(self) -> bool:
        """Whether code of others ran, with their rights, while definitions were made: it may have changed theirs."""
        if self.loaders is None:
            return False
        with self.archive.connect() as connection:
            return definitions_run_code_of_others(connection)

    # -- trying again

    def _try_again(self) -> None:
        """What failed, for as long as that helps: as it is, then with the search path of the source."""
        maker = self.maker
        paths = maker.paths_of_source() if maker.aside else []
        before = len(maker.aside) + 1
        maker.lends_schemas = True
        while maker.aside and len(maker.aside) < before:
            before = len(maker.aside)
            # Once as it is: there is more now than when it failed. So for what comes after the rows, whose rights it
            # takes is asked again: an index that was not there may be a stranger's code by now.
            # The superuser's come first, with grants: what is taken from everybody is so before owners' code runs.
            waiting, maker.aside = sorted(maker.aside, key=lambda each: each.own_rights), []
            for each in waiting:
                if each.section == "post-data":
                    known = len(maker.aside)
                    try:
                        self._take_turns([each.entry])
                    except Refused:
                        maker.aside.append(each)
                    if each.own_rights and len(maker.aside) > known:
                        maker.aside += filter(None, [self._by_superuser(maker.aside.pop())])
                else:
                    maker.aside += filter(None, [self._again(each)])
            for path in paths:
                others = self._other_owners()
                maker.aside = [
                    each
                    for each in maker.aside
                    if not each.lacks_a_name
                    or (others and not each.own_rights)
                    or maker.still_aside(each, path)
                ]
        maker.lends_schemas = False

    def _again(self, each: Aside) -> Aside | None:
        """Try an entry before the rows, or rows, once more: None if it can be made by now."""
        # An extension's script runs as the superuser, and would find what others put into its schema meanwhile.
        if each.entry.kind == "EXTENSION" and self._other_owners():
            return each
        if not each.own_rights:
            with self._alone():
                # Their owners' code may have run since it was judged.
                if not self._reach.is_own(each.section, each.entry):
                    return each
                if each.section == "data":
                    self._reach.require_no_triggers()
                return self.maker.still_aside(each)
        with self._alone():
            try:
                owner = self._reach.roles.owner_of(each.entry) or NOBODY
                self._reach.require_meant(each.section, [each.entry], owner)
            except Refused:
                return each
        still = self.maker.still_aside(each)
        return still and self._by_superuser(still)

    def _by_superuser(self, each: Aside) -> Aside | None:
        """Make what only a superuser can: a partition or an heir of another owner's table, a function in C.

        And a foreign key to another owner's table. No loader is ever given REFERENCES: rows that refer to a table are
        looked up with the rights of whoever owns that table, and his casts would be called with them (RI_FKey_check).

        Only where that runs nobody's code: its owner may have had it fail on purpose.
        """
        maker = self.maker
        if each.section == "data":
            return each
        if each.entry.kind not in ("TABLE ATTACH", "FK CONSTRAINT", "COMMENT") and not computes_nothing(
            each.entry, maker.entries(each.section), maker.text_of(each.section)
        ):
            return each
        with self._alone():
            if self._reach.is_own(each.section, each.entry):
                made = partial(self.archive.run, each.section, each.item)
                return maker.still_aside(replace(each, make=made)) and each
        return self._referring(each)

    def _referring(self, each: Aside) -> Aside | None:
        """Make a foreign key to another owner's table where a query on both would run their code.

        The superuser makes it without a look at the rows, which computes nothing; the owner looks at them.
        """
        facts, owner = self._manifest.server, self._reach.roles.owner_of(each.entry)
        _, text = definition_of(self.maker.text_of(each.section), each.entry.number)
        names = foreign_key_in(text)
        readable = facts.encoding == "UTF8" or text.isascii()
        if each.entry.kind != "FK CONSTRAINT" or owner is None or names is None or not readable:
            return each
        subject = f"{each.entry.kind} {each.entry.rest}"
        try:
            with (
                self._alone(),
                self.archive.connect() as connection,
                translated(subject),
            ):
                if has_foreign_casts(connection) or not is_plain_table(connection, names.referenced):
                    return each
                connection.execute(f"{text.removesuffix(';')} NOT VALID".encode())
            with self._as(owner).connect(self.archive.database) as connection, translated(subject):
                connection.execute(
                    f"ALTER TABLE {names.table} VALIDATE CONSTRAINT {names.constraint}".encode()
                )
        except DatabaseError as refused:
            if refused.retryable:
                raise
            return each
        return None

    def _other_owners(self) -> bool:
        """Whether anybody but superusers owns something in the database, and might decide what a name means."""
        with self.archive.connect() as connection:
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
            or each.entry.kind in ABOUT_ANOTHER
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
        self.maker.archive = replace(self.maker.archive, database=database, sessions=None)
        others = self._other_owners()
        self.maker.aside = [
            each
            for each in waiting
            # The script of an extension would find what others put into its schema.
            if (others and each.entry.kind == "EXTENSION" and not self._goes_into_catalog(each))
            or self.maker.still_aside(each)
        ]
        return [extension for extension in before if extension not in self.extensions_elsewhere]

    def _goes_into_catalog(self, each: Aside) -> bool:
        _, text = definition_of(self.maker.text_of("pre-data"), each.entry.number)
        return " WITH SCHEMA pg_catalog;" in text


def _is_among(table: Entry, selection: Selection) -> bool:
    """Whether it may be one of these tables, whoever owns it."""
    names = (split_qualified_name(relation) for relation in selection.tables)
    return any(table.rest.startswith(f"{one_line(schema)} {one_line(name)} ") for schema, name in names)


def _named(relation: str) -> list[str]:
    schema, name = split_qualified_name(relation)
    return [f"--schema={schema}", f"--table={name}"]
