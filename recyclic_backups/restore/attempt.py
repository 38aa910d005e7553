"""One restore under way: what it makes on the server, and how what it has made compares with the backup."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.objects import KEPT_BYTES, READ_BYTES, read_object, require_stored
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import compact
from recyclic_backups.dump.definitions import read_definitions
from recyclic_backups.errors import BackupError, Refused
from recyclic_backups.fingerprint.compare import Comparison, compare
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.fingerprint.schema_text import schema_entries
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.server import Server, encoding_of, translated
from recyclic_backups.progress import Progress, timed
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.archive import Archive
from recyclic_backups.restore.entry_attempts import EntryMaker, Missing
from recyclic_backups.restore.left_behind import under_way
from recyclic_backups.restore.loaders import loaders
from recyclic_backups.restore.rebuild import Rebuild
from recyclic_backups.restore.selection import Selection


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How a restore is done. ``disarm_roles`` creates missing roles without login and password (staging).

    ``trust_owners`` lets code of whoever owns objects in the database run as the role that restores.
    ``accept_missing`` names objects that may be missing (:class:`~recyclic_backups.restore.rebuild.Missing`).
    ``lock_timeout_seconds`` is how long a merge waits for others.
    """

    installations: Sequence[Installation]
    timeout_seconds: float
    jobs: int = 1
    no_owner: bool = False
    disarm_roles: bool = False
    trust_owners: bool = False
    accept_missing: Collection[str] = ()
    lock_timeout_seconds: float = 60
    scratch: Path | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One restore under way."""

    repository: Repository
    manifest: Manifest
    server: Server
    into: str
    options: RestoreOptions
    selection: Selection | None
    expected: Fingerprint | None
    progress: Progress
    mark_of: Callable[[str], str]
    """The comment of a database that this restore works on, by its name."""
    phases: dict[str, float] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    loaded_by: dict[str, int] = field(default_factory=dict)
    beginnings: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The first bytes of stored objects, kept while they were hashed."""

    @property
    def brings_roles(self) -> bool:
        """Whether the backup has the roles of its server."""
        return any(item.role == "globals" for item in self.manifest.objects)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Tell and time what is done within the block; the same name again adds to it."""
        self.progress.stage(name, self.manifest.plain_bytes if name == "data" else None)
        with timed(self.phases, name):
            yield

    @property
    def lacks_plpgsql(self) -> bool:
        """Whether somebody had dropped the one extension that every new database has: no dump says so."""
        if self.expected is None or self.expected.level == "off":
            return not self.manifest.server.has_plpgsql
        return "plpgsql" not in self.expected.extensions

    def require_possible(self, *, replace: bool) -> None:
        """Every reason to refuse that can be known before anything is written."""
        with databases.maintenance(self.server) as connection:
            row = connection.execute(
                "SELECT pg_catalog.current_setting('server_version_num')::int / 10000, rolsuper, rolcreatedb"
                " FROM pg_catalog.pg_roles WHERE rolname = current_user"
            ).fetchone()
            if row is None:
                raise Refused("the role of this connection is not known to the server")
            major, superuser, may_create = row
            if major < self.manifest.server.major:
                raise Refused(
                    f"the backup is of PostgreSQL {self.manifest.server.major}, the server is {major}: "
                    "a dump is never restored into an older version",
                    "restore into a server of the same version or a newer one (--to-server)",
                )
            if not superuser and not self.options.no_owner:
                raise Refused(
                    f"the role {self.server.user!r} is no superuser and cannot give objects back to their owners",
                    "use a superuser, or --no-owner to make the role the owner of everything",
                )
            if not superuser and not may_create:
                raise Refused(
                    f"the role {self.server.user!r} may not create databases", "ALTER ROLE … CREATEDB"
                )
            owner = self.manifest.server.owner
            if owner and not (self.options.no_owner or self.brings_roles):
                databases.require_role(connection, owner)
            if databases.exists(connection, self.into) and not replace:
                raise Refused(
                    f"the database {self.into!r} exists already",
                    "choose another name, or --replace --yes to put the restored one in its place",
                )

    def create_roles(self) -> list[str]:
        """The roles that are missing. Without owners and grants none is needed; an adopted backup brings none."""
        if self.options.no_owner or not self.brings_roles:
            return []
        item = self.manifest.only("globals")
        pieces = []
        beginning = self.beginnings.get(item.name, b"")
        with read_object(self.repository, self.manifest, item, beginning=beginning) as reader:
            while piece := reader.read(READ_BYTES):
                pieces.append(piece)
        with databases.maintenance(self.server) as connection:
            text = b"".join(pieces).decode()
            return databases.create_missing_roles(connection, text, disarmed=self.options.disarm_roles)

    def require_whole(self) -> None:
        """Compare everything that will be read with its hash, before anything is made. Raises DamagedData.

        The beginnings are kept: a small object, and the table of contents of a large one, is not fetched again.
        """
        for item in self.manifest.objects:
            if item.role == "table" and self.selection and item.relation not in self.selection.tables:
                continue
            kept_bytes = 0 if item.role == "table" else KEPT_BYTES
            self.beginnings[item.name] = require_stored(
                self.repository, self.manifest, item, kept_bytes=kept_bytes
            )

    @contextmanager
    def database_beside(self, name: str, comment: str) -> Iterator[None]:
        """A database to restore into, dropped again if the block fails."""
        try:
            with databases.maintenance(self.server) as connection:
                databases.create_database(connection, name, self.manifest.server)
                databases.comment_on(connection, name, comment)
            if self.lacks_plpgsql:
                databases.drop_plpgsql(self.server, name)
            yield
        except BaseException as error:
            try:
                databases.drop_database(self.server, name)
            except BackupError as second:
                error.add_note(f"the next restore drops the database {name}, which remains: {second}")
            raise

    def keep_beside(self, name: str) -> None:
        """Take the mark off a database that is there for a person to look at."""
        with databases.maintenance(self.server) as connection:
            databases.comment_on(connection, name, self.manifest.server.comment)

    def fill(self, name: str, installation: Installation) -> Rebuild:
        """Definitions, data, indexes and keys, and what belongs to the database itself."""
        with self.rebuild(name, installation) as rebuild:
            with self.phase("schema"):
                rebuild.definitions(self.selection)
            with self.phase("data"):
                rebuild.rows(self.selection, self.options.jobs, self.progress.advance)
            # Of the time the rows took, what went into decrypting and decompressing them; streams share it.
            unseal_seconds = min(rebuild.archive.reading_seconds / self.options.jobs, self.phases["data"])
            self.phases["data"] -= unseal_seconds
            self.phases["unseal"] = unseal_seconds
            with self.phase("indexes"):
                self.missing.extend(rebuild.post_data(self.options.jobs))
        if rebuild.kept_back:
            self.notes.append(
                "with --no-owner nobody is given rights, and functions that act as their owner, now you, may be called "
                f"by nobody else: {', '.join(rebuild.kept_back)}"
            )
        with self.phase("properties"), databases.maintenance(self.server) as connection:
            facts = self.manifest.server
            if self.options.no_owner:
                databases.let_everybody_in(connection, name)
            else:
                databases.give_ownership(connection, name, facts)
            self.notes.extend(
                databases.give_settings(connection, name, facts, roles=not self.options.no_owner)
            )
        return rebuild

    @contextmanager
    def rebuild(self, name: str, installation: Installation) -> Iterator[Rebuild]:
        """The backup's way into the database of that name, with roles for whoever wrote code in it."""
        with self.server.connect(name) as connection:
            server_major = connection.info.server_version // 10000
            row = connection.execute(
                "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
            ).fetchone()
            memory = databases.memory_for_indexes(connection)
        archive = Archive(
            repository=self.repository,
            manifest=self.manifest,
            installation=installation,
            server=self.server,
            database=name,
            no_owner=self.options.no_owner,
            timeout_seconds=self.options.timeout_seconds,
            scratch=self.options.scratch,
            server_major=server_major,
            beginnings=self.beginnings,
            maintenance_work_mem=memory,
        )
        guarded = row is not None and row[0] and not self.options.trust_owners
        with ExitStack() as stack:
            roles = (
                stack.enter_context(
                    loaders(
                        self.server,
                        name,
                        seconds=self.options.timeout_seconds + 3600,
                        database_owner=self.manifest.server.owner,
                    )
                )
                if guarded
                else None
            )
            if roles is not None:
                archive = dataclasses.replace(archive, sessions=roles.sessions)
            yield Rebuild(EntryMaker(archive, roles), self.loaded_by)

    @contextmanager
    def analyzing(self, name: str) -> Iterator[None]:
        """Collect planner statistics beside the block: a dump holds none, and without them the first morning is slow.

        The phase is what the wait for them adds to the block.
        """

        def analyze() -> None:
            with self.server.connect(name) as connection:
                databases.analyze(connection)

        with ThreadPoolExecutor(1, "statistics") as beside:
            analyzed = beside.submit(analyze)
            yield
            with self.phase("statistics"):
                analyzed.result()

    def compare_with(self, name: str, installation: Installation, rebuild: Rebuild) -> Comparison:
        """The restored database against the fingerprint of the backup's own snapshot."""
        if self.expected is None:
            return compare(None, None, same_major=True)
        same_major = rebuild.archive.server_major == self.manifest.server.major
        # Texts of two versions of pg_dump differ for reasons of their own; the catalog listing is compared then.
        same_program = installation.major == self.manifest.archive_major
        schema_text = None
        if same_major and same_program and self.selection is None:
            schema_text = self.read_definitions(name, installation)
        actual = read_fingerprint(self.server, name, level=self.expected.level, schema_text=schema_text)
        expected = self._without_what_cannot_be_here(self.expected, rebuild)
        if schema_text is not None:
            expected = self._as_written_anew(expected, actual, installation, rebuild)
        comparison = compare(
            expected,
            actual,
            same_major=same_major and same_program,
            only_tables=None if self.selection is None else self.selection.tables,
            owners=not self.options.no_owner,
        )
        return self._with_missing(comparison)

    def _without_what_cannot_be_here(self, expected: Fingerprint, rebuild: Rebuild) -> Fingerprint:
        """What the database must contain, but for extensions of other places and objects accepted as missing."""
        accepted = [each.name for each in self.missing if each.name in self.options.accept_missing]
        return expected.without(
            extensions=rebuild.extensions_elsewhere.keys(),
            relations=rebuild.relations_elsewhere,
            definitions=accepted,
        )

    def _as_written_anew(
        self, expected: Fingerprint, actual: Fingerprint, installation: Installation, rebuild: Rebuild
    ) -> Fingerprint:
        """The expected definitions as PostgreSQL writes them once they have been read back.

        It writes a view, a policy or the body of a function from what it has parsed, and after a reload sometimes in
        other words that mean the same. So where texts differ, the stored definitions are loaded into a database
        without rows: what comes out of that is what must come out of the restored one.

        Not where code of others ran at that: it may have changed a definition in both alike.
        """
        if expected.schema is None or actual.schema is None:
            return expected
        found = actual.schema
        differing = [entry for entry, value in expected.schema.items() if found.get(entry, value) != value]
        if not differing:
            return expected
        if rebuild.may_have_run_code():
            self.notes.append(
                "code of others ran while definitions were made: their texts are compared word by word, and some that "
                "PostgreSQL writes otherwise after a reload may seem to differ"
            )
            return expected
        beside = databases.name_beside(self.into, "restoring")
        with under_way(self.server, beside), self.database_beside(beside, self.mark_of(beside)):
            with self.rebuild(beside, installation) as second:
                second.definitions()
                second.post_data(self.options.jobs, fill_views=False)
            anew = schema_entries(self.read_definitions(beside, installation))
            databases.drop_database(self.server, beside)
        return expected.written_anew(
            {entry: anew[entry] for entry in differing if anew.get(entry) == found[entry]}
        )

    def _with_missing(self, comparison: Comparison) -> Comparison:
        """What could not be made is a difference, whatever was compared; of some tables' rows it says nothing."""
        told = {f"{each.name} is missing" for each in self.missing}
        for each in self.missing:
            view = each.name.removeprefix("MATERIALIZED VIEW DATA ")
            told.add(f"materialized view {view} is not populated; REFRESH MATERIALIZED VIEW fills it")
        sentences = [
            f"{each.name} cannot be made: {each.reason}"
            for each in self.missing
            if each.name not in self.options.accept_missing
        ]
        if self.selection is not None:
            self.notes.extend(sentences)
            return comparison
        self.notes.extend(
            f"{each.name} is missing, as accepted: {each.reason}"
            for each in self.missing
            if each.name in self.options.accept_missing
        )
        rest = [sentence for sentence in comparison.differences if sentence not in told]
        return dataclasses.replace(comparison, differences=(*sentences, *rest))

    def read_definitions(self, name: str, installation: Installation) -> str:
        """The text of the definitions of a database, as the fingerprint of the same version has it."""
        with self.server.connect(name) as connection:
            encoding = encoding_of(connection)
        return read_definitions(
            self.server,
            name,
            installation,
            encoding=encoding,
            snapshot="",
            lock_wait_seconds=60,
            timeout_seconds=self.options.timeout_seconds,
        )

    def put_in_place(
        self, beside: str, comment: str | None, *, replace: bool, limits: bool, now: datetime
    ) -> str | None:
        """Give the restored database its name; returns the name under which a replaced one is kept."""

        def finish(connection: Connection) -> None:
            databases.comment_on(connection, self.into, comment)
            if limits and not self.options.no_owner:
                databases.give_limits(connection, self.into, self.manifest.server)

        with databases.maintenance(self.server) as connection, translated(f"database {self.into!r}"):
            if not databases.exists(connection, self.into):
                with connection.transaction():
                    databases.rename(connection, beside, self.into)
                    finish(connection)
                return None
        if not replace:
            raise Refused(f"a database {self.into!r} has appeared meanwhile", "choose another name")
        kept_as = databases.name_beside(self.into, f"before_{compact(now).lower()}")
        databases.swap_names(self.server, self.into, beside, kept_as, also=finish)
        return kept_as
