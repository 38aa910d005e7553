"""Feed a stored archive to pg_restore, section by section, with nothing decrypted on disk.

Each section is a run of its own, so that its time is known. pg_restore reads a pipe to the end only when it
needs the data; for the definitions before and after them the table of contents at the beginning is enough.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from recyclic_backups.catalog.manifest import BackupObject, Manifest
from recyclic_backups.catalog.objects import READ_BYTES, PlainReader, read_object
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.errors import ProgramFailed, Refused
from recyclic_backups.fingerprint.names import qualified_name, split_qualified_name
from recyclic_backups.postgres.process import PipedProcess, StoppedReading
from recyclic_backups.postgres.programs import Installation, Section, psql_argv, restore_argv
from recyclic_backups.postgres.server import Server
from recyclic_backups.recovery.contents import Entry, computing, entries_of, mentioning, post_data_of
from recyclic_backups.recovery.list_file import list_file_of
from recyclic_backups.recovery.loaders import NOBODY, TRUST_HINT, Loaders
from recyclic_backups.recovery.older_server import needs_psql, play
from recyclic_backups.recovery.owners import (
    Roles,
    Tables,
    planned_with_code_of_others,
    read_roles,
    read_tables,
)
from recyclic_backups.recovery.selection import Selection

_SETTINGS = {"synchronous_commit": "off"}

_Part = tuple[BackupObject, Sequence[str], Sequence[int] | None, Server]
"""A stream of rows: what is read, options of pg_restore, entries (None: all), and as whom it is loaded."""


@dataclass(frozen=True, slots=True)
class _ForeignCode:
    """Entries at which code of others may run, with what it is, and who is on the server."""

    computed: Mapping[int, str]
    roles: Roles


@dataclass(frozen=True, slots=True)
class Archive:
    """One backup's main archive on its way into one database. Raises DatabaseError, DamagedData, NoUsableKey.

    With ``loaders`` what strangers wrote is computed with their rights (:mod:`recyclic_backups.recovery.loaders`);
    without, everything is done by the role of ``server``.
    """

    repository: Repository
    manifest: Manifest
    installation: Installation
    server: Server
    database: str
    no_owner: bool
    timeout_seconds: float
    scratch: Path | None = None
    server_major: int | None = None
    loaders: Loaders | None = None
    loaded_by: dict[str, int] = field(default_factory=dict)
    """How many tables' rows were loaded with whose rights; the role of ``server`` under its own name."""
    maintenance_work_mem: str = "128MB"
    """What each session may take to build an index."""
    _running: list[PipedProcess] = field(default_factory=list, repr=False)
    _ending: threading.Event = field(default_factory=threading.Event, repr=False)
    _reading_seconds: list[float] = field(default_factory=list, repr=False)
    _read_tables: list[Tables] = field(default_factory=list, repr=False)
    _foreign_code: list[_ForeignCode] = field(default_factory=list, repr=False)

    @property
    def reading_seconds(self) -> float:
        """How long the streams of rows were fetched, decrypted and decompressed, all of them together."""
        return sum(self._reading_seconds)

    def restore_data(self, selection: Selection | None, jobs: int, on_bytes: Callable[[int], None]) -> None:
        """The rows of all tables, or of the selected ones, ``jobs`` streams at once, the largest first.

        A table that has a stream of its own is fetched without reading the others.
        """
        split = {
            item.relation: item for item in self.manifest.objects if item.role == "table" and item.relation
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

        self._together(
            jobs,
            [
                partial(self._restore, "data", item, only, entries=entries, server=server, on_bytes=count)
                for item, only, entries, server in parts
            ],
        )

    def _parts_of_main(self, selection: Selection | None, split: Mapping[str, BackupObject]) -> list[_Part]:
        """The streams of the main archive: one for each role that loads rows of it."""
        main = self.manifest.main
        choices: dict[str | None, Sequence[str]] = {None: []}
        if selection is not None:
            choices = {
                schema: [f"--schema={schema}", *(f"--table={name}" for name in names)]
                for schema, names in selection.names_by_schema(without=split.keys()).items()
            }
        if self.loaders is None:
            return [(main, only, None, self.server) for only in choices.values()]
        rows: dict[str | None, list[tuple[int, str | None]]] = {None: []}
        for entry in self._entries("data"):
            # Values of sequences and large objects are no code of anybody's.
            if entry.kind != "TABLE DATA":
                rows[None].append((entry.number, None))
                continue
            table = self._tables.of(entry)
            if table is None and not self.no_owner:
                raise Refused(f"whose rows these are is not known: {entry.rest}", TRUST_HINT)
            loader = NOBODY if self.no_owner or table is None else table.loader
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
            return self.server
        table = next((each for each in self._tables.tables if qualified_name(*each.names) == relation), None)
        if table is None:
            raise Refused(f"the table {relation} is not among the definitions", TRUST_HINT)
        loader = NOBODY if self.no_owner else table.loader
        self._count(loader)
        return self._as(loader)

    def _as(self, loader: str | None) -> Server:
        return self.server if loader is None or self.loaders is None else self.loaders.of(loader)

    def _count(self, loader: str | None) -> None:
        who = {None: self.server.user, NOBODY: "a role without rights"}.get(loader, loader) or ""
        self.loaded_by[who] = self.loaded_by.get(who, 0) + 1

    def restore_definitions(self) -> None:
        """Everything that comes before the rows: schemas, types, functions, empty tables."""
        restore = partial(self._restore, "pre-data", self.manifest.main)
        if self.loaders is None:
            restore()
            return
        with self.server.connect(self.database) as connection:
            roles = read_roles(connection, self.manifest.server.encoding)
        entries = self._entries("pre-data")
        if self.no_owner:
            self._require_no_foreign_code(entries, roles)
            restore()
        elif any(each.kind in ("FUNCTION", "PROCEDURE") and roles.is_foreign(each) for each in entries):
            every = [*entries, *self._entries("post-data")]
            computed = computing(every, self.definitions(), roles.is_foreign)
            self._foreign_code.append(_ForeignCode(computed, roles))
            self._in_order(restore, entries, computed, roles, self.loaders)
        else:
            restore()
        with self.server.connect(self.database) as connection:
            tables = read_tables(connection, self.manifest.server.encoding)
        self._read_tables.append(tables)
        if any(table.loader is not None for table in tables.tables) or self.no_owner:
            self.loaders.require_login()
        self._grant(tables, self.loaders)

    def _require_no_foreign_code(self, entries: Sequence[Entry], roles: Roles) -> None:
        """A superuser may not become the owner of functions of others: each of their calls would be his."""
        found = [
            each for each in entries if each.kind in ("FUNCTION", "PROCEDURE") and roles.is_foreign(each)
        ]
        if found:
            raise Refused(
                f"with --no-owner the superuser {self.server.user!r} would become the owner of {len(found)} "
                "functions of others, and run them as a superuser",
                f"leave --no-owner out, or restore as a role that is no superuser; {TRUST_HINT}",
            )

    def _in_order(
        self,
        restore: Callable[..., None],
        entries: Sequence[Entry],
        computed: Mapping[int, str],
        roles: Roles,
        loaders: Loaders,
    ) -> None:
        """The definitions in the archive's order, by turns as the superuser and, where code may run, as its owner."""
        if not any(entry.number in computed for entry in entries):
            restore()
            return
        turns: list[tuple[tuple[str, str] | None, list[int]]] = []
        for entry in entries:
            turn = None
            if entry.number in computed:
                _require_foreign(entry, computed, roles)
                # A partition is attached by a member of its owner, everything else made by the owner himself.
                turn = (roles.owner_of(entry) or "", "" if entry.kind == "TABLE ATTACH" else "--role=")
            if not turns or turns[-1][0] != turn:
                turns.append((turn, []))
            turns[-1][1].append(entry.number)
        for turn, numbers in turns:
            if turn is None:
                restore(entries=numbers)
                continue
            owner, option = turn
            self._as_owner(restore, numbers, owner, computed[numbers[0]], loaders, role=bool(option))

    def _as_owner(
        self,
        restore: Callable[..., None],
        numbers: Sequence[int],
        owner: str,
        what: str,
        loaders: Loaders,
        *,
        role: bool = True,
    ) -> None:
        """Entries at which code of ``owner`` may run, by a session that logged in with his rights."""
        try:
            with loaders.creating(owner):
                extra = [f"--role={owner}"] if role else []
                restore(extra, entries=numbers, server=loaders.of(owner))
        except ProgramFailed as failed:
            if failed.retryable:
                raise
            raise ProgramFailed(
                f"{what} calls a function of {owner!r}, and cannot be made with his rights alone: {failed.message}",
                TRUST_HINT,
            ) from None

    def _grant(self, tables: Tables, loaders: Loaders) -> None:
        """What loaders need and their owners do not have."""
        everything = [each.names for each in tables.tables]
        if self.no_owner:
            loaders.grant(NOBODY, "INSERT, SELECT", everything)
            return
        by_loader: dict[str, list[tuple[str, str]]] = {}
        for each in tables.tables:
            if each.loader is not None and not (each.loader and each.may_insert):
                by_loader.setdefault(each.loader, []).append(each.names)
        for loader, names in by_loader.items():
            loaders.grant(loader, "INSERT", names)
        if tables.foreign_casts or self._foreign_code:
            for owner in {each.loader for each in tables.tables if each.loader}:
                loaders.grant(owner, "REFERENCES", everything)

    @property
    def _tables(self) -> Tables:
        return self._read_tables[-1]

    def restore_post_data(self, jobs: int) -> list[str]:
        """Indexes and unique keys in ``jobs`` sessions at once, then foreign keys, triggers and the rest in order.

        Materialized views are computed last. One that cannot be is no reason to give up everything else: it stays
        without rows, and the sentence that says why is returned.
        """
        main = self.manifest.main
        entries = post_data_of(self._listing("post-data"))
        computed = self._foreign_code[-1].computed if self._foreign_code else {}
        plain = [number for number in entries.independent if number not in computed]
        shares = [plain[start::jobs] for start in range(jobs)]
        restore = partial(self._restore, "post-data", main)
        self._together(jobs, [partial(restore, entries=share) for share in shares if share])
        theirs = [number for number in entries.independent if number in computed]
        for loader, what, numbers in self._turns([*theirs, *entries.rest]):
            if what and self.loaders is not None:
                self._as_owner(restore, numbers, loader or NOBODY, what, self.loaders)
            else:
                restore(entries=numbers, server=self._as(loader))
        return self._refresh(restore, entries.refreshes)

    def _turns(self, rest: Sequence[int]) -> list[tuple[str | None, str, list[int]]]:
        """The rest in its order, by turns: whose rights, what is made in its owner's own name, and the entries.

        Checks of rows that are there by now are done with their owner's rights, and so is whatever else may call a
        function of his.
        """
        if self.loaders is None or self.no_owner:
            return [(None, "", list(rest))] if rest else []
        foreign = self._foreign_code[-1] if self._foreign_code else None
        wanted, turns = set(rest), list[tuple[str | None, str, list[int]]]()
        entries = self._entries("post-data")
        planned = self._keys_planned_with_code(entries, self.loaders)
        for entry in entries:
            if entry.number not in wanted:
                continue
            loader, what = None, ""
            if foreign and entry.number in foreign.computed:
                _require_foreign(entry, foreign.computed, foreign.roles)
                loader, what = foreign.roles.owner_of(entry) or NOBODY, foreign.computed[entry.number]
            # Of a foreign key, only a cast can be somebody's code: operators are those of a superuser's classes. But
            # its rows are found by a query, and planning that computes the constants in indexes of both tables.
            elif entry.kind == "CHECK CONSTRAINT" or (
                entry.kind == "FK CONSTRAINT"
                and (self._tables.foreign_casts or foreign or entry.number in planned)
            ):
                table = self._tables.of(entry)
                by_planning = entry.kind == "FK CONSTRAINT" and not self._tables.foreign_casts
                refused = table is not None and table.superuser and entry.number in planned
                if table is None or refused or (table.loader == NOBODY and not by_planning):
                    raise Refused(
                        f"a constraint of a superuser's table may call a function of another owner: {entry.rest}",
                        TRUST_HINT,
                    )
                loader = table.loader or None
            if not turns or turns[-1][:2] != (loader, what):
                turns.append((loader, what, []))
            turns[-1][2].append(entry.number)
        return turns

    def _keys_planned_with_code(self, entries: Sequence[Entry], loaders: Loaders) -> frozenset[int]:
        """Foreign keys, by id, whose validation may plan a query on a table with an index that is somebody's code."""
        keys = [entry.number for entry in entries if entry.kind == "FK CONSTRAINT"]
        if not keys:
            return frozenset()
        with self.server.connect(self.database) as connection:
            planned = planned_with_code_of_others(connection, self.manifest.server.encoding)
        if not planned:
            return frozenset()
        for owner in {each.loader for each in self._tables.tables if each.loader}:
            loaders.grant(owner, "REFERENCES", [each.names for each in self._tables.tables])
        return mentioning(entries, self._text_of("post-data"), planned).intersection(keys)

    def _refresh(self, restore: Callable[..., None], entries: Sequence[int]) -> list[str]:
        """All at once, as they nearly always go well; else one by one, in the order in which they need each other."""
        if not entries:
            return []
        try:
            restore(entries=entries)
        except ProgramFailed as failed:
            if failed.retryable:
                raise
        else:
            return []
        notes = []
        for entry in entries:
            try:
                restore(entries=[entry])
            except ProgramFailed as failed:
                if failed.retryable:
                    raise
                notes.append(f"a materialized view stays without rows: {failed.message}")
        return notes

    def _together(self, jobs: int, parts: Sequence[Callable[[], None]]) -> None:
        """Run ``jobs`` parts at once; when one fails, or we are to end, the others are ended, not waited for."""
        with ThreadPoolExecutor(jobs, "restore") as pool:
            parts_done = [pool.submit(part) for part in parts]
            try:
                for done in as_completed(parts_done):
                    done.result()
            except BaseException:
                self._ending.set()
                for done in parts_done:
                    done.cancel()
                for process in list(self._running):
                    process.end()
                raise

    def definitions(self) -> str:
        """The SQL of everything but the rows."""
        return "\n".join(self._text_of(section) for section in ("pre-data", "post-data"))

    def _entries(self, section: Section) -> list[Entry]:
        return entries_of(self._listing(section))

    def _listing(self, section: Section) -> str:
        return self._told(restore_argv(self.installation, database=None, section=section, extra=("--list",)))

    def _text_of(self, section: Section) -> str:
        argv = restore_argv(self.installation, database=None, section=section, extra=("--verbose",))
        return self._told(argv)

    def _told(self, argv: list[str]) -> str:
        """What pg_restore writes about the archive; bytes that are no UTF-8 as they are (PEP 383)."""
        with (
            read_object(self.repository, self.manifest, self.manifest.main) as reader,
            PipedProcess(argv, {}, stdin=True, timeout_seconds=self.timeout_seconds) as process,
            ThreadPoolExecutor(1, "listing") as beside,
        ):
            listing = beside.submit(_read_all, process)
            try:
                _pour(reader, process)
            finally:
                process.close_stdin()  # or the other thread waits for a pg_restore that waits for us
            text = listing.result()
            process.wait_ok()
        return text.decode(errors="surrogateescape")

    def _restore(
        self,
        section: Section,
        item: BackupObject,
        only: Sequence[str] = (),
        *,
        entries: Sequence[int] | None = None,
        server: Server | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Run one section; ``only`` are further options of pg_restore, ``entries`` ids of the table of contents.

        ``server`` tells as whom, if not as ourselves.
        """
        by_psql = needs_psql(self.installation, self.server_major)
        with list_file_of(entries, self.scratch) as (list_file, descriptors):
            argv = restore_argv(
                self.installation,
                database=None if by_psql else self.database,
                section=section,
                list_file=list_file,
                encoding=self.manifest.server.encoding,
                no_owner=self.no_owner,
                extra=("--no-tablespaces", *only),
            )
            environment = (server or self.server).environment(
                self.database, {**_SETTINGS, "maintenance_work_mem": self.maintenance_work_mem}
            )
            with (
                read_object(self.repository, self.manifest, item, on_bytes) as reader,
                PipedProcess(
                    argv,
                    environment,
                    stdin=True,
                    stdout=by_psql,
                    timeout_seconds=self.timeout_seconds,
                    pass_fds=descriptors,
                ) as process,
                self._ended_with_the_others(process),
            ):
                if by_psql:
                    psql = psql_argv(self.installation, self.database)
                    play(process, psql, environment, lambda: _pour(reader, process), self.timeout_seconds)
                else:
                    _pour(reader, process)
                process.wait_ok()
                if section == "data":
                    self._reading_seconds.append(reader.reading_seconds)

    @contextmanager
    def _ended_with_the_others(self, process: PipedProcess) -> Iterator[None]:
        self._running.append(process)
        if self._ending.is_set():
            process.end()
        try:
            yield
        finally:
            self._running.remove(process)


def _require_foreign(entry: Entry, computed: Mapping[int, str], roles: Roles) -> None:
    """Raises Refused for what a superuser made that calls functions of others: nobody else could make it."""
    if not roles.is_foreign(entry):
        raise Refused(f"{computed[entry.number]} calls a function of that owner: {entry.rest}", TRUST_HINT)


def _named(relation: str) -> list[str]:
    schema, name = split_qualified_name(relation)
    return [f"--schema={schema}", f"--table={name}"]


def _pour(reader: PlainReader, process: PipedProcess) -> None:
    """All of the archive, or as much of it as pg_restore wants: it hangs up once it has seen enough."""
    with suppress(StoppedReading):
        while data := reader.read(READ_BYTES):
            process.write(data)


def _read_all(process: PipedProcess) -> bytes:
    pieces = []
    while piece := process.read(READ_BYTES):
        pieces.append(piece)
    return b"".join(pieces)
