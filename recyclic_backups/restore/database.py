"""Databases as wholes: create one as the source was, give it its properties, swap names, drop."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from psycopg import Error, errors, sql

from recyclic_backups.catalog.manifest import ServerFacts
from recyclic_backups.dump.globals import CREATED_ROLES
from recyclic_backups.dump.setting_lists import repaired, setting_value
from recyclic_backups.errors import DatabaseError, Refused, UsageError
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore import subscriptions

MAINTENANCE_DATABASES = ("postgres", "template1")
# Names of databases and roles are the whole server's: the same bytes also from a maintenance database in SQL_ASCII.
_NAMES_AS_UTF8 = {"client_encoding": "UTF8"}
MAX_NAME_BYTES = 63
"""NAMEDATALEN - 1 (https://www.postgresql.org/docs/15/limits.html); the server would cut longer names silently."""

_SWAP_PATIENCE_SECONDS = 20


@contextmanager
def maintenance(server: Server, *, apart_from: str = "") -> Iterator[Connection]:
    """A connection from which databases can be created, renamed and dropped; not one to ``apart_from``.

    Raises DatabaseError when none of the usual maintenance databases is there or lets us in.
    """
    first, *others = (name for name in MAINTENANCE_DATABASES if name != apart_from)
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(server.connect(first, settings=_NAMES_AS_UTF8))
        except DatabaseError as error:
            if not others or "does not exist" not in error.message:
                raise
            connection = stack.enter_context(server.connect(others[0], settings=_NAMES_AS_UTF8))
        yield connection


def require_name(name: str) -> None:
    """Raises UsageError for what cannot be the name of a database."""
    if not name or "\0" in name or len(name.encode()) > MAX_NAME_BYTES:
        raise UsageError(f"{name!r} cannot be the name of a database", f"1 to {MAX_NAME_BYTES} bytes, no NUL")


def name_beside(name: str, what: str) -> str:
    """A name of our own for a database beside ``name``: ``recyclic_restoring_3f9a1c``."""
    suffix = f"_{what}_{secrets.token_hex(3)}"
    return name.encode()[: MAX_NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix


def exists(connection: Connection, name: str) -> bool:
    """Whether the server has a database of that name."""
    found = connection.execute("SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s", (name,)).fetchone()
    return found is not None


def require_role(connection: Connection, name: str) -> None:
    """Refused when the server has no role of that name, for backups that cannot bring it."""
    found = connection.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (name,)).fetchone()
    if found is None:
        raise Refused(
            f"the database belonged to the role {name!r}: this server does not have it, nor does the backup bring it",
            "create the roles first, or restore with --no-owner",
        )


def create_database(connection: Connection, name: str, facts: ServerFacts) -> None:
    """An empty database with the source's encoding and locale; what is not known of them is the server's default.

    Nobody but its owner and superusers may enter until :func:`give_ownership` or :func:`let_everybody_in`.
    Raises DatabaseError if the server lacks the locale.
    """
    locale = facts.locale
    options: list[sql.Composable] = [sql.SQL("TEMPLATE template0")]
    given = (
        ("ENCODING", facts.encoding),
        ("LC_COLLATE", locale.get("collate")),
        ("LC_CTYPE", locale.get("ctype")),
    )
    options += [sql.SQL(f"{name} {{}}").format(sql.Literal(value)) for name, value in given if value]
    provider, name_of_locale = locale.get("provider", "libc"), locale.get("locale")
    if provider in ("icu", "builtin"):
        parameter = sql.SQL("ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE")
        options.append(
            sql.SQL("LOCALE_PROVIDER {} {} {}").format(
                sql.SQL(str(provider)), parameter, sql.Literal(name_of_locale)
            )
        )
    if locale.get("rules"):  # of ICU, since 16
        options.append(sql.SQL("ICU_RULES {}").format(sql.Literal(str(locale["rules"]))))
    statement = sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(options))
    try:
        connection.execute(statement)
        # A new database lets everybody in (ddl-priv.html), also whom the source kept out.
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
    except Error as error:
        text = str(error).splitlines()[0] if str(error) else "no message"
        raise DatabaseError(
            f"the database {name!r} cannot be created: {text}",
            f"the server needs the locale {locale.get('collate', '')} ({provider}), and the role CREATEDB",
        ) from None


def let_everybody_in(connection: Connection, name: str) -> None:
    """Give a database the rights of a new one, which :func:`create_database` has taken from everybody."""
    connection.execute(
        sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC").format(sql.Identifier(name))
    )


def drop_plpgsql(server: Server, name: str) -> None:
    """Take the procedural language out of a database that was just made; whoever wants it creates it again."""
    with server.connect(name) as connection:
        connection.execute("DROP EXTENSION IF EXISTS plpgsql")


def drop_database(server: Server, name: str, *, force: bool = True) -> None:
    """Drop a database of ours, with its subscriptions (not their slots); one that is gone is no error.

    With ``force`` also if somebody is still connected to it. Raises DatabaseError.
    """
    with maintenance(server) as connection:
        template = connection.execute(
            "SELECT datistemplate FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) %s",
            (name,),
        ).fetchone()
        if template is not None and template[0]:  # as its source was; the server drops no template
            connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
        if subscriptions.names_in(connection, name):
            subscriptions.remove(server, name)
        how = sql.SQL(" WITH (FORCE)" if force else "")
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}{}").format(sql.Identifier(name), how))


def give_ownership(connection: Connection, name: str, facts: ServerFacts) -> None:
    """Owner and grants, as the source had them where that is known. Needs the roles to exist."""
    if facts.acl is None or not facts.owner:
        let_everybody_in(connection, name)
    if not facts.owner:
        return
    database = sql.Identifier(name)
    connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(facts.owner)))
    if facts.acl is None:
        return
    # From the defaults of a new database to exactly what was recorded, the owner's own rights included.
    for grantee in (sql.SQL("PUBLIC"), sql.Identifier(facts.owner)):
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, grantee))
    for grant in facts.acl:
        statement = sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
            sql.SQL(_privilege(str(grant["privilege"]))),
            database,
            sql.SQL("PUBLIC") if grant["grantee"] is None else sql.Identifier(str(grant["grantee"])),
            sql.SQL(" WITH GRANT OPTION" if grant.get("grantable") else ""),
        )
        connection.execute(statement)


def give_limits(connection: Connection, name: str, facts: ServerFacts) -> None:
    """The limit of connections and whether it is a template, as the source had them: last, when it is complete."""
    database = sql.Identifier(name)
    if facts.connection_limit != -1:
        connection.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
                database, sql.Literal(facts.connection_limit)
            )
        )
    if facts.is_template:
        connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(database))


def give_settings(connection: Connection, name: str, facts: ServerFacts, *, roles: bool) -> list[str]:
    """Settings, as the source had them; those of single roles only with ``roles``.

    Returns notes about settings that this role may not make, or that the server does not know.
    """
    database = sql.Identifier(name)
    notes = []
    for setting in facts.settings:
        target = sql.SQL("DATABASE {}").format(database)
        if "role" in setting:
            if not roles:
                continue
            target = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(setting["role"]), database)
        value = sql.SQL(setting_value(setting["name"], setting["value"]))
        try:
            connection.execute(
                sql.SQL("ALTER {} SET {} TO {}").format(target, sql.Identifier(setting["name"]), value)
            )
        except (errors.InsufficientPrivilege, errors.UndefinedObject, errors.InvalidParameterValue):
            notes.append(f"the setting {setting['name']} of the database could not be given")
    return notes


# Tables of which foreign tables are partitions or children, over as many steps as it takes.
_ABOVE_FOREIGN_TABLES = """
WITH RECURSIVE above(oid) AS (
    SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    WHERE c.relkind = 'f'
    UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN above a ON a.oid = i.inhrelid)
"""
_OTHER_TABLES = f"""{_ABOVE_FOREIGN_TABLES}
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM above a WHERE a.oid = c.oid) ORDER BY 1, 2
"""


def analyze(connection: Connection) -> None:
    """Collect planner statistics of the connected database, without reading a row from another server.

    Analyzing a table with foreign partitions samples those too (https://www.postgresql.org/docs/15/sql-analyze.html):
    it fails where the other server is out of reach, and a drill must not reach it at all.
    """
    above = connection.execute(f"{_ABOVE_FOREIGN_TABLES} SELECT count(*) FROM above").fetchone()
    if above is None or not above[0]:
        connection.execute("ANALYZE")
        return
    for schema, name in connection.execute(_OTHER_TABLES).fetchall():
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, name)))


def create_role_without_rights(connection: Connection, name: str) -> bool:
    """A role that may do nothing and not log in; False where there is one already, or the name cannot be one."""
    try:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    except (Error, UnicodeError):  # it is there, is reserved (pg_…), or is no text
        if connection.closed:
            raise
        return False
    return True


def memory_for_indexes(connection: Connection) -> str:
    """``maintenance_work_mem`` of a restore's sessions: 128 MB, or less where the server was configured for less."""
    row = connection.execute(
        "SELECT CASE WHEN source = 'default' THEN 131072 ELSE least(setting::bigint, 131072) END"
        " FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem'"
    ).fetchone()
    return f"{row[0] if row else 131072}kB"


def create_missing_roles(connection: Connection, globals_sql: str, *, disarmed: bool) -> list[str]:
    """Run the backup's globals: roles that are missing are created, those that exist stay as they are.

    ``disarmed`` (staging) leaves the new ones without login and password. Returns the names created.
    """
    with connection.transaction():
        connection.execute(repaired(globals_sql).encode())
        rows = connection.execute(f"SELECT rolname FROM {CREATED_ROLES} ORDER BY rolname").fetchall()
        created = [str(row[0]) for row in rows]
        for role in created if disarmed else ():
            connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(sql.Identifier(role)))
        connection.execute(f"DROP TABLE {CREATED_ROLES}")
    return created


def rename(connection: Connection, old: str, new: str) -> None:
    """Give a database nobody is connected to another name."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    )


def comment_on(connection: Connection, name: str, text: str | None) -> None:
    """Give a database its comment, or none."""
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(text))
    )


def swap_names(
    server: Server, live: str, restored: str, kept_as: str, *, also: Callable[[Connection], None]
) -> None:
    """Put ``restored`` in the place of ``live``, which is kept as ``kept_as``: both renamed, or neither.

    Renaming is transactional (https://www.postgresql.org/docs/15/sql-alterdatabase.html), and ``also`` is done in
    the same transaction: a process that is killed at any moment leaves both as they were, or swapped. While the
    server waits for the database to be free it lets nobody new in; sessions there are ended from beside. Raises
    Refused when sessions keep the database busy.
    """
    give_up_at = time.monotonic() + _SWAP_PATIENCE_SECONDS
    done = threading.Event()
    with maintenance(server, apart_from=live) as connection, ThreadPoolExecutor(1, "swap") as beside:
        ending = beside.submit(_end_sessions, server, live, done)
        try:
            while True:
                try:
                    with connection.transaction():
                        rename(connection, live, kept_as)
                        rename(connection, restored, live)
                        also(connection)
                    break
                except errors.ObjectInUse:
                    if ending.done():
                        ending.result()  # why sessions could not be ended is the better sentence
                    if time.monotonic() > give_up_at:
                        raise Refused(
                            f"sessions keep {live!r} busy, so it was not replaced",
                            "stop the application and try again",
                            retryable=True,
                        ) from None
        finally:
            done.set()
        ending.result()


def _end_sessions(server: Server, database: str, done: threading.Event) -> None:
    """End whoever is connected to a database, until ``done``. By its oid: the name is about to be another's."""
    with maintenance(server, apart_from=database) as connection:
        oid = connection.execute(
            "SELECT oid FROM pg_catalog.pg_database WHERE datname = %s", (database,)
        ).fetchone()
        while not done.is_set():
            connection.execute(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datid = %s",
                oid,
            )
            done.wait(0.05)


def _privilege(name: str) -> str:
    if name not in ("CONNECT", "CREATE", "TEMPORARY"):
        raise DatabaseError(f"{name!r} is no privilege on a database")
    return name
