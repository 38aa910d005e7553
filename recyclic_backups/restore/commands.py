"""How to undo a swap, and to look at what a restore left beside: commands to paste into a shell. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from recyclic_backups.catalog.fields import Document
from recyclic_backups.postgres.names import split_qualified_name
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.database import MAINTENANCE_DATABASES
from recyclic_backups.restore.subscriptions import statements_to_remove


@dataclass(frozen=True, slots=True)
class GoBack(Document):
    """Two lines for a shell, and the name that the restored database gets by the first of them.

    ``command`` puts the replaced database back in its place, ``drop_command`` removes it for good.
    """

    command: str
    drop_command: str
    restored_as: str


def go_back(
    server: Server, database: str, kept_as: str, *, subscriptions: Sequence[str] = (), psql: str = "psql"
) -> GoBack:
    """The way back from a ``database`` that was replaced, and what it replaced is kept as ``kept_as``.

    One string for psql is one transaction: both names change or neither does. No session may be in a database that
    is renamed (https://www.postgresql.org/docs/15/sql-alterdatabase.html), so those there are ended in the same
    breath: the renaming follows before an application has connected again, and then keeps it waiting. Should one be
    faster, nothing has changed, and the same line works again. The password is in no command line: psql asks, or
    finds PGPASSWORD or ``~/.pgpass``. ``subscriptions`` are those of the replaced one.
    """
    # Of the same length as the name it is made of: it fits where that one does.
    start, _, end = kept_as.rpartition("_before_")
    restored_as = f"{start}_undone_{end}" if start else f"{kept_as[:-7]}_undone"
    swap = (
        # Without an operator that could be somebody's in the maintenance database.
        f"SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
        f"WHERE datname OPERATOR(pg_catalog.=) ANY (ARRAY[{_text(database)}, {_text(kept_as)}]::pg_catalog.name[]); "
        f"ALTER DATABASE {_name(database)} RENAME TO {_name(restored_as)}; "
        f"ALTER DATABASE {_name(kept_as)} RENAME TO {_name(database)}"
    )
    return GoBack(
        command=f"{_psql(server, _maintenance(database), psql)} -c {shlex.quote(swap)}",
        drop_command=drop_command(
            server, kept_as, apart_from=database, subscriptions=subscriptions, psql=psql
        ),
        restored_as=restored_as,
    )


def drop_command(
    server: Server,
    database: str,
    *,
    apart_from: str = "",
    subscriptions: Sequence[str] = (),
    psql: str = "psql",
) -> str:
    """The line that removes a database for good, typed into one that is neither it nor ``apart_from``.

    Its ``subscriptions`` go first, and leave the slots at their publishers alone.
    """
    drop = shlex.quote(f"DROP DATABASE {_name(database)}")
    line = f"{_psql(server, _maintenance(database, apart_from), psql)} -c {drop}"
    if not subscriptions:
        return line
    before = " ".join(f"-c {shlex.quote(each)}" for each in statements_to_remove(subscriptions))
    return f"{_psql(server, database, psql)} {before} && {line}"


def look_command(server: Server, database: str, *, kept_as: str = "", psql: str = "psql") -> str:
    """The line that opens a database beside, or shows the rows that a merge kept there as ``kept_as``."""
    opened = _psql(server, database, psql)
    return f"{opened} -c {shlex.quote(f'SELECT * FROM replaced.{_name(kept_as)}')}" if kept_as else opened


def move_command(server: Server, source: str, tables: Sequence[str], target: str) -> str:
    """The line that makes tables (qualified names) of one database in another, which does not have them."""
    patterns = [
        f"--table={'.'.join(_name(part) for part in split_qualified_name(table))}" for table in tables
    ]
    # An archive, since psql would run commands that an old pg_dump lets through in names (CVE-2025-8714).
    dump = f"{_client(server, source, ['pg_dump', '-Fc'])} {shlex.join(patterns)}"
    return f"{dump} | {_client(server, target, ['pg_restore', '--exit-on-error', '--single-transaction'])}"


def _maintenance(*apart_from: str) -> str:
    """The database to be in while another is renamed or dropped."""
    return next((name for name in MAINTENANCE_DATABASES if name not in apart_from), MAINTENANCE_DATABASES[0])


def _psql(server: Server, database: str, program: str) -> str:
    """psql, connected to a database."""
    return _client(server, database, [program, "-X", "-v", "ON_ERROR_STOP=1"])


def _client(server: Server, database: str, begun: Sequence[str]) -> str:
    """A program of PostgreSQL's, connected to a database."""
    words = [*begun, "-h", server.host, "-p", str(server.port), "-U", server.user]
    words += ["-d", connection_option(database)]
    given = {"PGSSLMODE": server.sslmode, "PGSSLROOTCERT": server.sslrootcert}
    usual = {"PGSSLMODE": "prefer", "PGSSLROOTCERT": ""}
    settings = [f"{name}={shlex.quote(value)}" for name, value in given.items() if value != usual[name]]
    return " ".join([*settings, shlex.join(words)])


def connection_option(database: str) -> str:
    """A database's name for ``-d``, where one with ``=`` in it would be taken for a connection string.

    https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING
    """
    if "=" not in database and not database.startswith(("postgresql://", "postgres://")):
        return database
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def _name(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    """An SQL string; in dollar quotes if it may be, which a shell's own quotes leave readable."""
    return f"$${text}$$" if "$" not in text else "'" + text.replace("'", "''") + "'"
