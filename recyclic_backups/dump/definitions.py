"""The definitions of a database as the text that pg_dump writes: what fingerprints of one version compare."""

from __future__ import annotations

from recyclic_backups.fingerprint.schema_text import SCHEMA_DUMP_ENVIRONMENT
from recyclic_backups.postgres.process import run
from recyclic_backups.postgres.programs import Installation, dump_argv
from recyclic_backups.postgres.server import SQL_ASCII, Server


def read_definitions(
    server: Server,
    database: str,
    installation: Installation,
    *,
    encoding: str,
    snapshot: str,
    lock_wait_seconds: int,
    timeout_seconds: float,
) -> str:
    """The output of ``pg_dump --schema-only``, of an exported snapshot unless ``snapshot`` is empty.

    ``encoding`` is the database's; the text is as :meth:`Server.connect` would give it. Raises ProgramFailed.
    """
    argv = dump_argv(
        installation,
        database=database,
        snapshot=snapshot,
        lock_wait_seconds=lock_wait_seconds,
        schema_only=True,
        encoding=SQL_ASCII if encoding == SQL_ASCII else "UTF8",
    )
    environment = {**server.environment(database), **SCHEMA_DUMP_ENVIRONMENT}
    finished = run(argv, environment, timeout_seconds=timeout_seconds, nice=True)
    return finished.stdout.decode("latin-1" if encoding == SQL_ASCII else "utf-8")
