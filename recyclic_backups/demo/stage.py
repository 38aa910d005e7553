"""The stage of the demonstration: a server of its own, a storage, a key, a home for Dagster; all of it private.

Nothing here reads the settings of the machine: whatever database is configured, the demonstration cannot
reach it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups.demo.dataset import fill
from recyclic_backups.envelope.keyring import generate_passphrase
from recyclic_backups.errors import StorageError
from recyclic_backups.machine_users import lets_others_write
from recyclic_backups.postgres.account import who_else_may_rename
from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.programs import Installation, choose
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.database import maintenance

DATABASE = "recyclic"
DAYS_BEFORE_TODAY = 13
"""How many earlier days Dagster shows as missing."""

# What the project's dagster.yaml says, as far as an hour of looking around needs it; a test compares the two.
_DAGSTER_YAML = """\
telemetry: {enabled: false}
nux: {enabled: false}
concurrency:
  pools: {granularity: op, default_limit: 1}
  runs: {max_concurrent_runs: 4}
run_monitoring: {enabled: true, poll_interval_seconds: 15, free_slots_after_run_end_seconds: 60}
code_servers: {local_startup_timeout: 180, reload_timeout: 180}
"""
_WORKSPACE_YAML = """\
load_from:
  - python_module: {module_name: recyclic_backups.definitions, location_name: recyclic_backups}
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is; ``variables`` are the settings, as the environment of a process."""

    directory: Path
    server: Server
    installation: Installation
    variables: Mapping[str, str]

    @property
    def key_file(self) -> Path:
        """The file that holds the encryption key."""
        return self.directory / "encryption.key"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own files."""
        return self.directory / "dagster"

    @property
    def settings(self) -> Settings:
        """The settings as the commands read them."""
        return load_settings(self.variables)

    def fill(self, scale: float, today: date) -> None:
        """Make the database and fill it. Raises DatabaseError."""
        with maintenance(self.server) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        fill(self.server, DATABASE, scale=scale, today=today)


@contextmanager
def open_stage(today: date, keep: Path | None, since: date | None = None) -> Iterator[Stage]:
    """Start the server and lay everything out; at the end the server is gone, and the files too unless kept.

    ``keep`` is a directory that does not exist yet or is empty; ``since`` is the first day that counts, else
    :data:`DAYS_BEFORE_TODAY`. Raises StorageError when it cannot be used,
    ProgramMissing when there are no server programs.
    """
    installation = choose(
        [each for each in find_installations(None, os.defpath) if each.has_server],
        15,
        {"initdb", "postgres", "pg_dump", "pg_restore"},
    )
    with (
        _directory(keep) as directory,
        TemporaryDirectory(prefix="recyclic-demo-server-") as server_directory,
        ScratchCluster.start(installation, Path(server_directory)) as cluster,
    ):
        yield _laid_out(directory, cluster, installation, since or today - timedelta(days=DAYS_BEFORE_TODAY))


def _laid_out(directory: Path, cluster: ScratchCluster, installation: Installation, since: date) -> Stage:
    server = cluster.server
    stage = Stage(
        directory,
        server,
        installation,
        {
            "POSTGRES_HOST": server.host,
            "POSTGRES_PORT": str(server.port),
            "POSTGRES_USER": server.user,
            "POSTGRES_PASSWORD": server.password,
            "POSTGRES_DB": DATABASE,
            "BACKUP_STORAGE": f"file://{directory / 'backups'}",
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY_FILE": str(directory / "encryption.key"),
            "BACKUP_START_DATE": since.isoformat(),
            # As in production, so that its schedules are on.
            "BACKUP_ENVIRONMENT": "production",
            "WAL_ARCHIVE": "true",
            "WAL_TAIL_SECONDS": "1",  # nobody waits ten seconds for a demonstration
            "PG_BIN": str(installation.directory),
            "DAGSTER_HOME": str(directory / "dagster"),
        },
    )
    _write_private(stage.key_file, f"{generate_passphrase()}\n")
    # Commands run in this directory find the demonstration, and only they do.
    _write_private(
        directory / ".env", "".join(f"{name}='{value}'\n" for name, value in stage.variables.items())
    )
    stage.dagster_home.mkdir(mode=0o700)
    (stage.dagster_home / "dagster.yaml").write_text(_DAGSTER_YAML)
    (directory / "workspace.yaml").write_text(_WORKSPACE_YAML)
    return stage


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with TemporaryDirectory(prefix="recyclic-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name).resolve()
        return
    directory = keep.expanduser().absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = directory.resolve()
        # Dagster runs there, and imports what it finds.
        if who_else_may_rename(directory) or lets_others_write(directory.stat()):
            raise StorageError(
                f"somebody else may put programs into {directory}",
                "name a new directory of your own after --keep",
            )
        if any(directory.iterdir()):
            raise StorageError(f"{directory} is not empty", "name a new directory after --keep")
    except OSError as error:
        raise StorageError(
            f"{directory} cannot be used: {error.strerror}", "name another one after --keep"
        ) from None
    yield directory
