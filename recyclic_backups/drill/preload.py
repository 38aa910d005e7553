"""Libraries that a drill's own server loads when it starts, because extensions of the backup work only then.

Only names of the list below are loaded, and only from where the installation has its libraries: neither a backup nor
the owner of a database names a file. Backups do not record ``shared_preload_libraries``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recyclic_backups.errors import ProgramFailed
from recyclic_backups.postgres.names import some
from recyclic_backups.postgres.scratch import ScratchCluster

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "citus": ("citus",),
    "timescaledb": ("timescaledb",),
    "pg_stat_statements": ("pg_stat_statements",),
    "pg_stat_kcache": ("pg_stat_statements", "pg_stat_kcache"),
    "pg_qualstats": ("pg_qualstats",),
    "pg_stat_monitor": ("pg_stat_monitor",),
    "pg_wait_sampling": ("pg_wait_sampling",),
    "powa": ("pg_stat_statements", "powa"),
    "pgaudit": ("pgaudit",),
    "pgauditlogtofile": ("pgaudit", "pgauditlogtofile"),
    "set_user": ("set_user",),
    "credcheck": ("credcheck",),
    "pg_cron": ("pg_cron",),
    "pg_net": ("pg_net",),
    "pg_squeeze": ("pg_squeeze",),
    "pg_tle": ("pg_tle",),
    "pglogical": ("pglogical",),
    "pg_search": ("pg_search",),
    "pg_duckdb": ("pg_duckdb",),
    "vchord": ("vchord",),
    "vectors": ("vectors",),
}
"""By extension the libraries it needs, in the order in which they have to be loaded: so do the extensions stand."""

_CRON = "pg_cron"


@dataclass(frozen=True, slots=True)
class Preloaded:
    """What a server loaded when it started, and a sentence on what it could not; empty if nothing was wanted."""

    libraries: tuple[str, ...] = ()
    lacking: str = ""


def wants_preloading(reason: str) -> bool:
    """Whether an object could not be made because a library was not loaded when the server started. Pure."""
    return "shared_preload_libraries" in reason or "must be preloaded" in reason


def settings_for(libraries: Sequence[str], extensions: Collection[str], database: str) -> dict[str, str]:
    """What a server is told that loads these. Pure.

    None of the libraries may start a process of its own: jobs of the source must not run on a copy. A server that
    allows no background workers starts none; so it has no parallel queries either (runtime-config-resource.html).
    pg_cron can be made in one database only, which has to be known by then.
    """
    settings = {}
    if libraries:
        settings["shared_preload_libraries"] = ", ".join(f"$libdir/{name}" for name in libraries)
        settings["max_worker_processes"] = "0"
    if _CRON in extensions:
        # Set although the library is not there: without, the extension's script would fail at another place.
        settings |= {"cron.database_name": database, "cron.launch_active_jobs": "off"}
    return settings


def wanted_by(extensions: Collection[str]) -> list[str]:
    """The libraries that these extensions need, each once. Pure."""
    named = [library for name, needed in LIBRARIES.items() if name in extensions for library in needed]
    return list(dict.fromkeys(named))


def preload(cluster: ScratchCluster, extensions: Collection[str], database: str) -> Preloaded:
    """Start the server anew with what the backup's extensions need, as far as its installation has it.

    ``database`` is the one that holds pg_cron. A server that does not start with the libraries starts without.
    Raises ProgramFailed, DatabaseError.
    """
    wanted = wanted_by(extensions)
    if not wanted:
        return Preloaded()
    with cluster.server.connect("postgres") as connection:
        row = connection.execute(
            "SELECT setting FROM pg_catalog.pg_config() WHERE name = 'PKGLIBDIR'"
        ).fetchone()
    directory = Path(row[0]) if row else None
    found = [name for name in wanted if directory is not None and (directory / f"{name}.so").is_file()]
    missing = [name for name in wanted if name not in found]
    lacking = ""
    if missing:
        lacking = (
            f"its installation does not have {some(missing)}, which extensions need loaded when it starts"
        )
    cluster.configure(settings_for(found, extensions, database))
    try:
        cluster.restart()
    except ProgramFailed as failed:
        cluster.configure({"shared_preload_libraries": ""})
        cluster.restart()
        return Preloaded(lacking=f"it does not start with {some(found)}: {failed.message}")
    return Preloaded(tuple(found), lacking)
