"""PostgreSQL's client programs: which of those found to use, and how they are called.

Pure: decides about what :mod:`recyclic_backups.postgres.discovery` found and builds argument lists that
:mod:`recyclic_backups.postgres.process` runs. No password ever enters an argument list, which every user of
the machine can read; it travels in the environment (:meth:`Server.environment`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recyclic_backups.errors import ProgramMissing, UsageError

Section = Literal["pre-data", "data", "post-data"]

CLIENT_PROGRAMS = frozenset({"pg_dump", "pg_dumpall", "pg_restore", "psql", "pg_basebackup", "pg_receivewal"})
SERVER_PROGRAMS = frozenset({"initdb", "postgres"})


@dataclass(frozen=True, slots=True)
class Installation:
    """One directory of PostgreSQL programs, all of one version, such as ``15.18`` or ``19beta1``."""

    directory: Path
    major: int
    version: str
    programs: frozenset[str]

    def path(self, program: str) -> str:
        """Where a program of this installation is. Raises ProgramMissing if it is not among them."""
        if program not in self.programs:
            raise ProgramMissing(f"there is no {program} in {self.directory}", _install_hint(self.major))
        return str(self.directory / program)

    @property
    def has_server(self) -> bool:
        """Whether a server can be made and started from it; many machines have the clients only."""
        return self.programs >= SERVER_PROGRAMS


def parse_version(text: str) -> tuple[int, str]:
    """Major version and full version from what ``pg_dump --version`` prints.

    Since 10 the first number alone is the major version (https://www.postgresql.org/support/versioning/).
    Raises ProgramMissing where the text names no version: whatever printed it is not PostgreSQL.
    """
    found = re.search(r"\(PostgreSQL\)\s+((\d+)(?:\.\d+)*(?:(?:devel|alpha|beta|rc)\d*)?)", text)
    if found is None:
        raise ProgramMissing(f"{text.strip()[:80]!r} is not how a PostgreSQL program names its version")
    return int(found[2]), found[1]


def choose(installations: Iterable[Installation], server_major: int, needed: Collection[str]) -> Installation:
    """The installation to use with a server: its own major version, else the lowest newer one.

    pg_dump refuses servers newer than itself and reads older ones
    (https://www.postgresql.org/docs/current/app-pgdump.html#PG-DUMP-NOTES). Among equals the first given
    wins. Raises ProgramMissing, naming what was found.
    """
    found = list(installations)
    suitable = [each for each in found if each.major >= server_major and each.programs >= set(needed)]
    if suitable:
        return min(suitable, key=lambda each: each.major)
    listing = "; ".join(f"{each.version} in {each.directory}{_lacking(each, needed)}" for each in found)
    wanted = " and ".join(sorted(needed))
    raise ProgramMissing(
        f"no {wanted} of PostgreSQL {server_major} or newer; found {listing or 'none at all'}",
        _install_hint(server_major),
    )


_SCRIPTS_SAFE_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}


def scripts_may_run_commands(installation: Installation) -> bool:
    """Whether a script that its pg_dump or pg_restore writes can make psql run commands of whoever owns the dump.

    Fixed in August 2025: since then scripts begin with ``\\restrict`` (CVE-2025-8714, CVE-2025-8715,
    https://www.postgresql.org/support/security/CVE-2025-8714/).
    """
    if installation.major > max(_SCRIPTS_SAFE_SINCE):
        return re.fullmatch(r"18beta[12]", installation.version) is not None
    found = re.fullmatch(r"\d+\.(\d+)", installation.version)
    return found is None or int(found[1]) < _SCRIPTS_SAFE_SINCE.get(installation.major, 1 << 30)


def conninfo_dbname(name: str) -> str:
    """A database's name as a libpq connection string, ``dbname='…'``.

    A bare name that contains ``=`` or begins with ``postgresql://`` would be read as a connection string and
    could lead to another server (https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING).
    Raises UsageError for names no database can have: libpq would replace an empty one by the user's name.
    """
    if not name or "\0" in name:
        raise UsageError(f"{name!r} cannot be the name of a database")
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def in_encoding(argument: str, encoding: str) -> str:
    """An argument with its bytes in a database's encoding, by PostgreSQL's name for that.

    pg_dump and pg_restore compare names on their command line with those of the dump byte by byte. Names of an
    SQL_ASCII database are known to us byte by byte too (:meth:`Server.connect`).
    """
    if encoding in ("", "UTF8"):
        return argument
    named_otherwise = {"SQL_ASCII": "latin-1", "KOI8R": "koi8-r", "KOI8U": "koi8-u"}
    codec = named_otherwise.get(encoding, encoding.replace("WIN", "cp"))
    try:
        # What is not UTF-8 travels to the program as it is (PEP 383).
        return argument.encode(codec).decode("utf-8", "surrogateescape")
    except (LookupError, UnicodeEncodeError):
        return argument  # of the server's encodings, Python lacks EUC_TW and MULE_INTERNAL


def dump_argv(
    installation: Installation,
    *,
    database: str,
    snapshot: str,
    lock_wait_seconds: int,
    compress: str = "0",
    schema_only: bool = False,
    encoding: str = "",
    extra: Sequence[str] = (),
) -> list[str]:
    """pg_dump of one database in custom format to standard output, as of an exported snapshot.

    With ``schema_only`` it is the definitions alone, as plain SQL.
    An empty ``snapshot`` lets pg_dump take its own; ``lock_wait_seconds`` of 0 waits for ever.
    ``encoding`` is the one of the dump; without it, pg_dump takes what the database or role has set for its
    clients, and fails at the first character that does not have.
    ``compress`` is pg_dump's own notation: a level, or from 16 on ``method:level``.
    """
    form = (
        ["--format=plain", "--schema-only"] if schema_only else ["--format=custom", f"--compress={compress}"]
    )
    argv = [installation.path("pg_dump"), *form, "--no-password"]
    argv.append(f"--lock-wait-timeout={lock_wait_seconds * 1000}")
    if encoding:
        argv.append(f"--encoding={encoding}")
    if snapshot:
        argv.append(f"--snapshot={snapshot}")
    return [*argv, *(in_encoding(each, encoding) for each in extra), f"--dbname={conninfo_dbname(database)}"]


def restore_argv(
    installation: Installation,
    *,
    database: str | None,
    section: Section | None = None,
    list_file: Path | None = None,
    no_owner: bool = False,
    jobs: int = 1,
    archive: Path | None = None,
    extra: Sequence[str] = (),
    encoding: str = "",
) -> list[str]:
    """pg_restore of an archive into a database, stopping at the first error.

    ``encoding`` is the archive's, in which names in ``extra`` have to be written.
    Without ``archive`` it reads standard input, which excludes parallel ``jobs`` (UsageError). A
    ``database`` of None writes the SQL to standard output instead of running it: the whole archive is read.
    """
    if jobs > 1 and (archive is None or database is None):
        raise UsageError("pg_restore runs parallel jobs only from a file into a database")
    argv = [installation.path("pg_restore"), "--format=custom", "--exit-on-error", "--no-password"]
    if section is not None:
        argv.append(f"--section={section}")
    if list_file is not None:
        argv.append(f"--use-list={list_file}")
    if no_owner:
        # Without the roles of the source neither its owners nor its grants can be given.
        argv += ["--no-owner", "--no-privileges"]
    if jobs > 1:
        argv.append(f"--jobs={jobs}")
    argv += [in_encoding(each, encoding) for each in extra]
    argv.append("--file=-" if database is None else f"--dbname={conninfo_dbname(database)}")
    if archive is not None:
        argv.append(str(archive.absolute()))  # never mistaken for an option
    return argv


def psql_argv(installation: Installation, database: str) -> list[str]:
    """psql running a script from standard input in a database, stopping at the first error."""
    argv = [installation.path("psql"), "--no-psqlrc", "--quiet", "--no-password", "--output=/dev/null"]
    return [*argv, "--set=ON_ERROR_STOP=1", f"--dbname={conninfo_dbname(database)}", "--file=-"]


def _lacking(installation: Installation, needed: Collection[str]) -> str:
    missing = sorted(set(needed) - installation.programs)
    return f" (without {', '.join(missing)})" if missing else ""


def _install_hint(major: int) -> str:
    return f"install postgresql-client-{major}, or set PG_BIN to a directory that holds the programs"
