"""Who loads what: rows, and what is computed from rows, by sessions that could do no harm as somebody else.

A CHECK constraint, a domain, a cast are code of whoever owns them, and run as whoever loads the rows. Neither
``SET ROLE`` nor ``SET SESSION AUTHORIZATION`` helps: that code can take both back and be the superuser who logged in.
So it is a role without any rights of its own that logs in, one for each owner and member of that owner alone, made for
this restore and dropped at its end. (docs/adr/0013-foreign-code-runs-as-its-owner.md)
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

from recyclic_backups.errors import BackupError, DatabaseError, Refused
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.quoting import joined, name, statement
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.postgres.temporary_roles import (
    LOADS,
    drop_role,
    end_sessions,
    let_log_in,
    make_role,
    marked_roles,
)
from recyclic_backups.restore.kept_sessions import KeptSessions

TRUST_HINT = (
    "if you trust whoever owns objects in this database as you trust a superuser: --trust-owners, which lets their "
    "code run as the role that restores"
)
NOBODY = ""
"""The owner of a loader that is member of nobody."""
DATABASE_OWNER = "pg_database_owner"
"""Whoever owns the database. Nobody else can be made a member (https://www.postgresql.org/docs/15/predefined-roles.html)."""

_OWN_NAME = re.compile(r"recyclic_loads_[0-9a-f]{12}")
# Of what its restore is called by its lock, and of the database in which it has rights, if that is another one.
_MARK = re.compile(
    r"recyclic_backups: loads rows for the restore of ((?:[0-9a-f]{2})+)(?: into ((?:[0-9a-f]{2})+))?\."
    r" Dropped at its end\."
)
_log = logging.getLogger(__name__)

# A session that begins holds its database's lock from before it is asked whether it may enter until it is listed
# (InitPostgres in src/backend/utils/init/postinit.c).
_STARTING = """
    SELECT l.pid FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.objid
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
      AND d.datname = pg_catalog.current_database() AND l.pid <> pg_catalog.pg_backend_pid() AND a.usesysid IS NULL
      AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
"""
_STRANGERS = """
    SELECT a.pid FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = pg_catalog.current_database() AND a.usesysid IS NOT NULL AND NOT coalesce(r.rolsuper, false)
"""

_MAY_USE = "pg_catalog.has_schema_privilege(%s::name, pg_catalog.quote_ident(s)::pg_catalog.regnamespace, %s)"
# Whatever else he finds in these he calls as himself.
_WITHOUT_POWERS = """
    SELECT n.nspname FROM pg_catalog.pg_namespace n
    WHERE n.oid >= 16384 AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
        WHERE p.pronamespace = n.oid AND r.rolname <> %s AND (p.prosecdef OR NOT l.lanpltrusted))
"""


@dataclass
class Loaders:
    """The roles of one restore into ``database``; made by :func:`loaders`, each when it is first asked for.

    ``on_behalf_of`` names the restored database that is merged into this one, which then is a live one: there the roles
    get no rights but those of their owners. ``database_owner`` owned the source, and what is of pg_database_owner.
    """

    server: Server
    database: str
    seconds: float
    on_behalf_of: str = ""
    database_owner: str = ""
    _by_owner: dict[str, Server] = field(default_factory=dict)
    _passwords: dict[str, str] = field(default_factory=dict, repr=False)
    # Streams work side by side, and two grants on one schema at once are an error.
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    sessions: KeptSessions = field(init=False, repr=False)
    """Of the role that restores, in that database."""

    def __post_init__(self) -> None:
        self.sessions = KeptSessions(self.server, self.database)

    def of(self, owner: str) -> Server:
        """How to log in with the rights of an owner and no others; :data:`NOBODY` for none at all.

        Raises Refused where the server does not let such a role in.
        """
        with self._lock:
            if owner not in self._by_owner:
                self._by_owner[owner] = self._made(owner)
            return self._by_owner[owner]

    def grant(self, owner: str, privileges: str, tables: list[tuple[str, str]]) -> None:
        """Rights on tables, for as long as the restore lasts; what the owner himself has needs no grant."""
        if tables:
            role = self.of(owner).user
            with self.sessions.session() as connection:
                relations = joined(", ", [statement("{}.{}", name(a), name(b)) for a, b in tables])
                connection.execute(statement(f"GRANT {privileges} ON {{}} TO {{}}", relations, name(role)))

    def let_in(self, owner: str, schemas: Collection[str]) -> None:
        """Let a loader find what lies in these schemas, and in no others that its owner may not use.

        Often it is the schema alone that keeps people from functions which everybody may call.
        """
        role = self.of(owner).user
        with self.sessions.session() as connection:
            _on_schemas(connection, "GRANT USAGE", schemas, "TO", role)

    @contextmanager
    def creating(
        self, owner: str, schemas: Collection[str], *, as_owner: bool, lending: bool = False
    ) -> Iterator[None]:
        """Within the block the owner may make objects in these schemas, as he once could.

        In no others: what he made there others' code would find, whose path that schema is in. The right is his
        loader's unless that acts ``as_owner``. With ``lending`` he also finds what lies in schemas whose functions
        give nobody a power of others: who was given a table may not use the schema of a type that it names.
        """
        loader = self.of(owner).user
        with self._lock, self.sessions.session() as connection:
            lent = self._role(NOBODY, login=False)
            borrower = owner if as_owner else loader
            rights: dict[str, Collection[str]] = {"USAGE, CREATE": schemas}
            if lending:
                rows = connection.execute(_WITHOUT_POWERS, (owner,)).fetchall()
                rights["USAGE"] = [row[0] for row in rows]
            for privileges, where in rights.items():
                _on_schemas(connection, f"GRANT {privileges}", where, "TO", lent)
            self._make_member(connection, lent, borrower)
            lacking = _lacking(connection, borrower, rights)
            for privilege, where in lacking.items():
                _on_schemas(connection, f"GRANT {privilege}", where, "TO", borrower)
        try:
            yield
        finally:
            with self._lock, self.sessions.session() as connection:
                for privilege, where in lacking.items():
                    _on_schemas(connection, f"REVOKE {privilege}", where, "FROM", borrower)
                self._drop(lent)

    @contextmanager
    def absent(self) -> Iterator[None]:
        """Within the block nobody acts beside the superuser: loaders have no session and cannot log in.

        Code of an owner may give his loader another password and enter by it, to make an index at the moment at which
        the superuser plans a query on that table. Before 15 it may also make others members of his loader, who enter
        as themselves.
        """
        with self._lock:
            with self.sessions.session() as connection:
                self._keep_out(connection)
            try:
                yield
            finally:
                logins = self._logins
                with self.sessions.session() as connection, connection.transaction():
                    self._may_enter("GRANT", logins, connection)
                    for role in logins:
                        let_log_in(connection, role, self._passwords[role])

    @property
    def _logins(self) -> Sequence[str]:
        return [server.user for server in self._by_owner.values()]

    def _keep_out(self, connection: Connection) -> None:
        for role in self._logins:
            end_sessions(connection, role)
        self._may_enter("REVOKE", self._logins, connection)
        self._end_strangers(connection)

    def _may_enter(self, what: str, roles: Sequence[str], connection: Connection) -> None:
        """``GRANT`` or ``REVOKE`` what lets loaders into a database that nobody else may enter."""
        direction = {"GRANT": "TO", "REVOKE": "FROM"}[what]
        for role in () if self.on_behalf_of else roles:
            connection.execute(
                statement(
                    f"{what} CONNECT, TEMPORARY ON DATABASE {{}} {direction} {{}}",
                    name(self.database),
                    name(role),
                )
            )

    def _end_strangers(self, connection: Connection) -> None:
        """End whatever session is in a database that nobody may enter any more, by whoever and in whatever state.

        Who logged in and has himself kept waiting (``post_auth_delay``) is in no list of sessions yet.
        """
        if not self.on_behalf_of:
            for query in (
                _STARTING,
                _STRANGERS,
            ):  # in this order: who is no longer in the first is in the second
                connection.execute(
                    f"SELECT pg_catalog.pg_terminate_backend(pid, 10000) FROM ({query}) s".encode()
                )
            left = [row for query in (_STARTING, _STRANGERS) for row in connection.execute(query.encode())]
            if left:
                raise Refused(
                    f"sessions in the database {self.database!r} do not end: {left}",
                    "end them (pg_terminate_backend), or restart the server",
                )

    def _made(self, owner: str) -> Server:
        role = self._role(owner, login=True)
        with self.sessions.session() as connection:
            self._may_enter("GRANT", [role], connection)
        return replace(self.server, user=role, password=self._passwords[role])

    def _role(self, owner: str, *, login: bool) -> str:
        """A new role that is a member of the owner."""
        whose = self.database.encode().hex()
        if self.on_behalf_of:
            whose = f"{self.on_behalf_of.encode().hex()} into {whose}"
        mark = f"recyclic_backups: loads rows for the restore of {whose}. Dropped at its end."
        with self.sessions.session() as connection, connection.transaction():
            role, password = make_role(connection, LOADS, mark, "NOBYPASSRLS", seconds=self.seconds)
            if login:
                let_log_in(connection, role, password)
            if owner:
                self._make_member(connection, self._login_of(owner), role)
        self._passwords[role] = password
        return role

    def _login_of(self, owner: str) -> str:
        """Whose rights an owner's are: those of pg_database_owner are the database's owner's."""
        if owner != DATABASE_OWNER:
            return owner
        if self.on_behalf_of or not self.database_owner:
            raise Refused(
                f"{DATABASE_OWNER} owns something in this database, and nobody can log in with its rights",
                f"give it to the role that owns the database (ALTER … OWNER TO …); {TRUST_HINT}",
            )
        return self.database_owner

    def _make_member(self, connection: Connection, of: str, role: str) -> None:
        connection.execute(statement(f"GRANT {{}} TO {{}}{_as_member(connection)}", name(of), name(role)))

    def require_login(self, owner: str = NOBODY) -> None:
        """Before anything is loaded. Raises Refused where the server does not let a role in that it has just got."""
        try:
            with self.of(owner).connect(self.database):
                pass
        except DatabaseError as refused:
            if refused.retryable:
                raise
            raise Refused(
                f"rows are loaded by roles without rights, and the server lets none in: {refused.message}",
                f"let roles with a password in from this machine (pg_hba.conf: scram-sha-256); {TRUST_HINT}",
            ) from None

    @property
    def of_database_owner(self) -> str:
        """The role that owns, as long as the restore lasts, what is pg_database_owner's; empty if there is none."""
        found = self._by_owner.get(DATABASE_OWNER)
        return found.user if found else ""

    def drop(self) -> None:
        """All of them, with whatever they own or hold. One that stays is noted for the next restore."""
        if self._by_owner and not self.on_behalf_of:
            with self.sessions.session() as connection:
                self._keep_out(connection)
                if self.of_database_owner:
                    connection.execute(
                        statement(
                            "REASSIGN OWNED BY {} TO {}", name(self.of_database_owner), name(DATABASE_OWNER)
                        )
                    )
        self._by_owner.clear()
        for role in list(self._passwords):
            self._drop(role)

    def _drop(self, role: str) -> None:
        self._passwords.pop(role, None)
        with self.sessions.session() as connection:
            drop_role(connection, role)


def _lacking(
    connection: Connection, role: str, rights: Mapping[str, Collection[str]]
) -> Mapping[str, Sequence[str]]:
    """Which of these rights a role has not; before 16 it may be NOINHERIT, and have nothing of what it is member of."""
    lacking: dict[str, list[str]] = {}
    for privileges, schemas in rights.items():
        for privilege in privileges.split(", "):
            query = f"SELECT s FROM pg_catalog.unnest(%s::text[]) s WHERE NOT {_MAY_USE}"
            found = connection.execute(query.encode(), (list(schemas), role, privilege)).fetchall()
            lacking[privilege] = [*lacking.get(privilege, []), *(row[0] for row in found)]
    return lacking


def _on_schemas(
    connection: Connection, what: str, schemas: Collection[str], direction: str, role: str
) -> None:
    if schemas:
        listed = joined(", ", [name(schema) for schema in sorted(schemas)])
        connection.execute(statement(f"{what} ON SCHEMA {{}} {direction} {{}}", listed, name(role)))


def _as_member(connection: Connection) -> str:
    # Since 16 a membership has options of its own (https://www.postgresql.org/docs/16/sql-grant.html).
    return " WITH INHERIT TRUE, SET TRUE" if connection.info.server_version >= 160000 else ""


@contextmanager
def loaders(
    server: Server,
    database: str,
    *,
    seconds: float,
    on_behalf_of: str = "",
    of_merge: bool = False,
    database_owner: str = "",
) -> Iterator[Loaders]:
    """Roles for loading into a database; gone at the end of the block. They are of no use after ``seconds``.

    One that cannot be dropped is an error, but not at the end of a merge (``of_merge``), which has been committed.
    """
    made = Loaders(server, database, seconds, on_behalf_of, database_owner)
    with closing(made.sessions):
        try:
            yield made
        except BaseException as error:
            try:
                made.drop()
            except BackupError as second:
                error.add_note(f"the next restore drops the roles recyclic_loads_…, which remain: {second}")
            raise
        try:
            made.drop()
        except BackupError as error:
            if not of_merge:
                raise
            _log.warning("the next restore drops the roles recyclic_loads_…, which remain: %s", error)


def drop_left_behind(server: Server, connection: Connection, is_alive: Callable[[str], bool]) -> list[str]:
    """Drop the roles of restores that were killed; ``is_alive`` tells of a database whether one still works on it.

    To be called when databases left behind are gone; ``connection`` is to another one. Returns notes on what was
    dropped, or could not be.
    """
    there = {row[0] for row in connection.execute("SELECT datname FROM pg_catalog.pg_database")}
    notes = []
    for role, comment in marked_roles(connection, LOADS):
        found = _MARK.fullmatch(comment)
        if found is None or not _OWN_NAME.fullmatch(role):
            continue
        restored, database = (
            bytes.fromhex(text).decode(errors="replace") for text in (found[1], found[2] or found[1])
        )
        if is_alive(restored):
            continue
        try:
            with translated(f"role {role!r}"):
                if database in there:
                    with server.connect(database) as inside:
                        drop_role(inside, role)
                else:
                    drop_role(connection, role)
            notes.append(f"dropped the role {role!r}: it was left by a restore that was killed")
        except DatabaseError as error:
            notes.append(f"the role {role!r}, left by a restore that was killed, stays: {error.message}")
    return notes
