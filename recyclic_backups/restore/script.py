"""Restore by a script that psql runs, where pg_restore itself cannot do it.

- Programs newer than the server: pg_restore from 17 on begins every session with ``SET transaction_timeout = 0``, a
  setting that older servers do not know (https://www.postgresql.org/docs/17/runtime-config-client.html). The very dump
  that it has just taken of such a server it cannot put back. This one line is left out of the script.
- Names that the database's own code writes without a schema: pg_restore empties the search path, and the script can
  have another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from recyclic_backups.catalog.objects import READ_BYTES
from recyclic_backups.errors import ProgramFailed, ProgramMissing
from recyclic_backups.postgres.process import PipedProcess
from recyclic_backups.postgres.programs import Installation, scripts_may_run_commands

FIRST_WITH_TRANSACTION_TIMEOUT = 17
_RESTRICTED = b"\n\\restrict "
_UNKNOWN_SETTING = b"\nSET transaction_timeout = 0;\n"
_EMPTY_PATH = b"\nSELECT pg_catalog.set_config('search_path', '', false);\n"
# The settings are the beginning of the script, before anything of the database.
_HEAD_BYTES = 4096
_HEADER = re.compile(rb"^-- TOC entry (\d+) \(class \d+ OID \d+\)$", re.MULTILINE)
_LINE = re.compile(r"^psql:<stdin>:(\d+): ERROR: ", re.MULTILINE)


def needs_psql(installation: Installation, server_major: int | None) -> bool:
    """Whether pg_restore of this installation sets what a server of this major version does not know.

    Raises ProgramMissing where psql could be made to run what the dump's owner has put into names.
    """
    needed = server_major is not None and server_major < FIRST_WITH_TRANSACTION_TIMEOUT <= installation.major
    if needed and scripts_may_run_commands(installation):
        raise ProgramMissing(
            f"scripts of pg_restore {installation.version} could run commands of the database's owner on this machine "
            "(CVE-2025-8714)",
            f"install postgresql-client-{server_major}, or a newer {installation.major}",
        )
    return needed


def play(
    pg_restore: PipedProcess,
    psql: Sequence[str],
    environment: Mapping[str, str],
    pour: Callable[[], None],
    timeout_seconds: float,
    *,
    search_path: str = "",
    entries: Callable[[], Sequence[int]] | None = None,
) -> None:
    """Run the script that ``pg_restore`` writes while ``pour`` gives it its archive, in another thread.

    ``search_path``, as SQL, takes the place of the empty one. Raises ProgramFailed when either program fails, or the
    script does not forbid psql all commands but SQL; with ``entries``, the ids in a verbose script of definitions alone
    in its order (it is kept in memory), the error has the entry at which psql stopped.
    """
    script = bytearray()
    try:
        with (
            ThreadPoolExecutor(1, "archive") as beside,
            PipedProcess(psql, environment, stdin=True, stdout=False, timeout_seconds=timeout_seconds) as run,
        ):
            pouring = beside.submit(_poured, pour, pg_restore)
            try:
                head = b""
                while len(head) < _HEAD_BYTES and (data := pg_restore.read(READ_BYTES)):
                    head += data
                # From here on psql takes no command that is not SQL (app-psql.html, \\restrict).
                if _RESTRICTED not in head:
                    raise ProgramFailed(
                        "pg_restore wrote a script in which psql would run any command; it was not run"
                    )
                head = head.replace(_UNKNOWN_SETTING, b"\n", 1)
                if search_path:
                    head = head.replace(_EMPTY_PATH, f"\nSET search_path TO {search_path};\n".encode(), 1)
                while head:
                    script += b"" if entries is None else head
                    run.write(head)
                    head = pg_restore.read(READ_BYTES)
                # Half a script is a script too: psql may only end well if what wrote it has.
                pouring.result()
                pg_restore.wait_ok()
                run.wait_ok()
            except BaseException:
                pg_restore.end()  # or the other thread waits for it
                raise
    except ProgramFailed as failed:
        if failed.toc_entry is None and entries is not None:
            failed.toc_entry = _entry_at(run.stderr, bytes(script), entries())
            failed.claimed_entries |= {failed.toc_entry} if failed.toc_entry is not None else set()
        raise


def _entry_at(said: str, script: bytes, entries: Sequence[int]) -> int | None:
    """The entry in whose definition psql stopped: the last header before the line that it names.

    None where the headers are not those of the first entries, one after the other: a text inside a definition may look
    like one.
    """
    found = _LINE.search(said)
    if found is None:
        return None
    before = b"\n".join(script.split(b"\n")[: int(found[1])])
    headers = [int(number) for number in _HEADER.findall(before)]
    return headers[-1] if headers and headers == list(entries[: len(headers)]) else None


def _poured(pour: Callable[[], None], pg_restore: PipedProcess) -> None:
    try:
        pour()
    finally:
        pg_restore.close_stdin()
