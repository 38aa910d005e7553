"""Where a drill may happen: on a throwaway server of its own, or on a staging server. Never on production."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import errors, sql

from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.drill.memory import memory_of_machine, settings_for
from recyclic_backups.drill.plan import DrillPlacement
from recyclic_backups.drill.preload import preload
from recyclic_backups.dump.facts import read_system_identifier
from recyclic_backups.errors import DatabaseError, ProgramMissing, Refused, StorageError
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.postgres.programs import SERVER_PROGRAMS, choose
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.quantities import human_bytes
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.left_behind import drop_left_behind, under_way

RESERVED_PREFIX = "recyclic_drill_"
"""Databases of a staging server whose names begin so belong to drills."""

_SPACE_FACTOR = 3.0
"""Data, its indexes and the server's log, against the bytes of a plain dump: generous, refused beforehand."""


@dataclass(frozen=True, slots=True)
class DrillServer:
    """A server to restore into; ``label`` tells people which.

    ``home`` is the private directory of a throwaway server, None for staging. Whatever lies in it goes away with the
    server, even if this process is killed.
    """

    server: Server
    label: str
    home: Path | None
    lacking: str = ""
    """What could not be done to shut a throwaway server in, as a sentence; empty if nothing is missing."""
    unloaded: str = ""
    """What a throwaway server could not load although extensions of the backup need it; empty if nothing is missing."""
    only_database: str = ""
    """The name that every database of a drill has here, one after the other; empty: a new one each time."""
    created_roles: list[str] = field(default_factory=list)

    @property
    def throwaway(self) -> bool:
        """Whether the server is the drill's own."""
        return self.home is not None

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty private directory."""
        with tempfile.TemporaryDirectory(prefix="drill-", dir=self.home, ignore_cleanup_errors=True) as name:
            yield Path(name)

    @contextmanager
    def database(self, meaning: str) -> Iterator[str]:
        """A reserved name for a database that the caller makes; whatever has it at the end is dropped."""
        name = self.only_database or _reserved(meaning)
        with under_way(self.server, name):
            try:
                yield name
            finally:
                databases.drop_database(self.server, name)


def _reserved(meaning: str) -> str:
    return f"{RESERVED_PREFIX}{meaning}_{secrets.token_hex(3)}"


@contextmanager
def drill_server(
    placement: DrillPlacement, manifests: Sequence[Manifest], *, database: str = ""
) -> Iterator[DrillServer]:
    """A place where all of these backups can be restored, gone without a trace at the end.

    ``database`` is the name under which they will be restored on a server of the drill's own, where that is known.

    Raises ProgramMissing without server programs of the right version, Refused without space, or where the staging
    server is the one the backups are of, DatabaseError and StorageError.
    """
    major = max(manifest.archive_major for manifest in manifests)
    with ExitStack() as stack:
        if placement.staging is not None:
            made = stack.enter_context(_staging(placement, placement.staging, manifests))
        else:
            made = stack.enter_context(_throwaway(placement, major, manifests, database))
        require_extensions(made.server, manifests)
        yield made


@contextmanager
def _throwaway(
    placement: DrillPlacement, major: int, manifests: Sequence[Manifest], database: str
) -> Iterator[DrillServer]:
    with_server = [each for each in placement.installations if each.has_server]
    needed = SERVER_PROGRAMS | {"pg_restore", "pg_dump"}
    try:
        installation = choose(with_server, major, needed)
    except ProgramMissing as missing:
        raise ProgramMissing(
            f"a drill starts a server of its own: {missing.message}",
            f"install postgresql-{major} (the server) on this machine, or set DRILL_SERVER_URL to a staging server",
        ) from None
    directory = placement.scratch or Path(tempfile.gettempdir())
    _require_space(directory, sum(manifest.plain_bytes for manifest in manifests))
    with ScratchCluster.start(installation, directory, settings=_for_restoring(placement.jobs)) as cluster:
        label = f"a throwaway PostgreSQL {installation.version}"
        only = database or _reserved("copy")
        loaded = preload(cluster, {name for each in manifests for name in extensions_of(each)}, only)
        yield DrillServer(
            cluster.server,
            label,
            cluster.home,
            lacking=cluster.lacking,
            unloaded=loaded.lacking,
            only_database=only if loaded.libraries else "",
        )


@contextmanager
def _staging(
    placement: DrillPlacement, staging: Server, manifests: Sequence[Manifest]
) -> Iterator[DrillServer]:
    require_not_production(staging, placement.production, manifests)
    drop_left_behind(staging)
    _drop_of_killed_drills(staging)
    made = DrillServer(staging, f"the staging server {staging.label}", home=None)
    try:
        yield made
    finally:
        _drop_roles(staging, made.created_roles)


def _drop_roles(server: Server, names: Sequence[str]) -> None:
    """Roles that drills had to create: without their databases nothing refers to them, unless somebody else's does."""
    with databases.maintenance(server) as connection:
        for name in dict.fromkeys(names):
            with suppress(errors.DependentObjectsStillExist):
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def _drop_of_killed_drills(server: Server) -> None:
    """Databases with a reserved name that no living drill works on (see :meth:`DrillServer.database`)."""
    with databases.maintenance(server) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname, %s)",
            (RESERVED_PREFIX,),
        ).fetchall()
        for (name,) in rows:
            try:
                with under_way(server, name):
                    databases.drop_database(server, name)
            except Refused:
                continue  # that drill is alive


def require_not_production(staging: Server, production: Server, manifests: Sequence[Manifest]) -> None:
    """Refuse a server that is, or may be, one the backups were taken of. Only ever reads from it.

    The system identifier is made by initdb and stays with a cluster for life, physical copies of it included
    (https://www.postgresql.org/docs/15/functions-info.html, pg_control_system).
    """
    hint = "set DRILL_SERVER_URL to another server, or leave it empty: drills then start one of their own"
    if (staging.host, staging.port) == (production.host, production.port):
        raise Refused("DRILL_SERVER_URL is the production server: a drill never runs there", hint)
    with databases.maintenance(staging) as connection:
        try:
            identifier = read_system_identifier(connection)
        except DatabaseError as unreadable:
            raise Refused(
                f"cannot tell whether {staging.label} is production: {unreadable.message}", hint
            ) from None
    known = {manifest.server.system_identifier for manifest in manifests} - {""}
    if not identifier or not known:
        raise Refused(
            f"cannot tell whether {staging.label} is production: the backup does not say where it is from",
            hint,
        )
    if identifier in known:
        raise Refused(
            f"{staging.label} is the server that the backups are of, or a physical copy of it: no drill runs there",
            hint,
        )


def require_extensions(server: Server, manifests: Sequence[Manifest]) -> None:
    """Refuse a server that lacks an extension: that would say nothing about the backup. Raises ProgramMissing."""
    with databases.maintenance(server) as connection:
        available = {
            str(row[0]) for row in connection.execute("SELECT name FROM pg_catalog.pg_available_extensions")
        }
    for manifest in manifests:
        if missing := sorted(extensions_of(manifest) - available):
            raise ProgramMissing(
                f"the drill's server lacks the extension {', '.join(missing)}, which {manifest.database!r} needs",
                "install it (Debian: postgresql-contrib, or the extension's own package), or set DRILL_SERVER_URL",
            )


def extensions_of(manifest: Manifest) -> set[str]:
    """The extensions that a backup says it needs. Raises DamagedData, NoUsableKey."""
    if manifest.fingerprint is None:
        return set()
    return set(Fingerprint.from_json(manifest.fingerprint).extensions)


def _for_restoring(jobs: int) -> dict[str, str]:
    """Settings of a server that has nothing to do but be filled (populate.html of PostgreSQL's documentation)."""
    return {
        **settings_for(memory_of_machine(), jobs, os.cpu_count() or 1),
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "4GB",
        # A restored subscription never connects.
        "max_logical_replication_workers": "0",
    }


def _require_space(directory: Path, plain_bytes: int) -> None:
    needed_bytes = int(plain_bytes * _SPACE_FACTOR)
    try:
        free_bytes = shutil.disk_usage(directory).free
    except OSError as error:
        raise StorageError(
            f"{directory} cannot be used for drills: {error.strerror}", "set BACKUP_SCRATCH"
        ) from None
    if free_bytes < needed_bytes:
        raise Refused(
            f"{directory} has {human_bytes(free_bytes)} free, and the drill may need {human_bytes(needed_bytes)}",
            "set BACKUP_SCRATCH to a larger disk, or DRILL_SERVER_URL to a staging server",
        )
