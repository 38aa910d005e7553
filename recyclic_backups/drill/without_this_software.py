"""A recovery without this software: by ``recover.py`` and what it tells people to type.

Only the script that is shipped here is run, from a private copy. What lies in the storage under that name is compared
with it: somebody who can write there must not have his script run with the key in reach. The steps come from it as
lists of arguments. Names of databases and roles are somebody else's choice, and never become text for a shell.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recyclic_backups import rescue
from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.strangers import find_strangers
from recyclic_backups.drill.plan import StorageAccess
from recyclic_backups.dump.rescue_files import inspect_rescue
from recyclic_backups.errors import ProgramFailed
from recyclic_backups.postgres.process import run

_PROGRAMS = ("zstd", "psql", "createdb", "pg_restore", "vacuumdb", "rm")
"""What the script may ask for: anything else is a mistake in it."""


def judge_script(repository: Repository) -> tuple[list[str], list[str]]:
    """Reasons against, and notes about, what a person would find in the storage instead of the shipped script."""
    findings = inspect_rescue(repository, lambda: load_catalog(repository))
    told = [(each.damage, f"{each.name} in the storage: {each.problem}") for each in findings]
    strangers = find_strangers(repository.store)
    return [text for damage, text in told if damage], [
        text for damage, text in told if not damage
    ] + strangers


def extract(
    backup: Backup, access: StorageAccess, directory: Path, output: Path, *, timeout_seconds: float
) -> Mapping[str, Any]:
    """Let the shipped script write the backup's files into ``output``; returns its plan.

    The key reaches it by its environment alone. Raises ProgramFailed.
    """
    assert access.directory is not None
    script = directory / rescue.SCRIPT
    with open(os.open(script, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        target.write(rescue.shipped(rescue.SCRIPT))
    asked = [
        "extract",
        backup.backup_id,
        "--database",
        backup.manifest.database,
        "--output",
        str(output),
        "--json",
    ]
    # A key asks for MACs: a storage that has none, whose backups are not encrypted, is read without.
    plain = backup.manifest.encryption is None and not (access.directory / "keys").exists()
    finished = run(
        [sys.executable, "-I", str(script), "--storage", str(access.directory), *asked],
        {**({} if plain else access.environment()), "HOME": str(directory)},
        timeout_seconds=timeout_seconds,
        cwd=directory,
    )
    plan: Mapping[str, Any] = json.loads(finished.stdout)
    return plan


def follow(
    plan: Mapping[str, Any], programs: Path, environment: Mapping[str, str], *, timeout_seconds: float
) -> None:
    """Run the plan's steps in order. Raises ProgramFailed at the first that fails."""
    search_path = f"{programs}{os.pathsep}{os.defpath}"
    for step in plan["steps"]:
        name, *arguments = step["argv"]
        require_same_for_people(step["argv"], step["line"])
        program = shutil.which(name, path=search_path) if name in _PROGRAMS else None
        if program is None:
            raise ProgramFailed(f"{name!r}, which recover.py says to run, is not here")
        run(
            [program, *arguments],
            {**environment, **plan["environment"], "PATH": search_path},
            timeout_seconds=timeout_seconds,
            cwd=Path(step["directory"]),
        )


def require_same_for_people(argv: Sequence[str], line: str) -> None:
    """Raise ProgramFailed unless the line that a person is shown says what is run here, on one line that prints.

    Names that do not print are spelled for printf(1), which only a shell reads: those the tests compare.
    """
    if not line.isprintable() or ("$(printf '" not in line and shlex.split(line) != list(argv)):
        raise ProgramFailed(f"recover.py shows people another command than it context: {line!r}")
