"""As whom a merge reads and writes: never as a superuser where that would run somebody else's code.

Where the live tables belong to one role that is no superuser, the session that writes them logs in as a temporary role
that is a member of that one alone (:mod:`recyclic_backups.restore.loaders`): their checks, domains, generated columns
and indexes run with the rights of their owner, and so does whatever that code takes back with RESET ROLE. The
superuser's session only looks into catalogs and holds locks. Where that does not do (tables of a superuser, of several
owners, keys from tables that the owner may not read), the superuser writes only if nothing of anybody else is
computed, and else refuses. (docs/adr/0013-foreign-code-runs-as-its-owner.md)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from psycopg import sql

from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.fingerprint.session import SETTINGS
from recyclic_backups.merge import live_code
from recyclic_backups.merge.live_code import Surroundings
from recyclic_backups.merge.lock_waits import Waiting, bounded
from recyclic_backups.postgres import quoting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import some, split_qualified_name
from recyclic_backups.postgres.server import Server
from recyclic_backups.restore.loaders import DATABASE_OWNER, NOBODY, TRUST_HINT, Loaders, loaders

_ONE_BY_ONE = "put the tables of each owner back with a command of their own"
_IS_SUPERUSER = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
_OF_TABLE = """
    SELECT r.rolname, r.rolsuper FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
    WHERE c.oid = pg_catalog.to_regclass(%s)
"""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether code of the tables' owners may run as the superuser who merges.

    ``always`` is what ``--trust-owners`` says. ``where_needed`` is for a throwaway server of ours, whose superuser can
    do no harm: there only what would be refused is done so.
    """

    always: bool = False
    where_needed: bool = False


NO_TRUST = Trust()
"""What holds unless somebody says otherwise."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of one merge, open until it ends.

    ``source`` is ours in the restored database, for its catalogs and for making tables; ``target``, in a transaction,
    writes into the live one with the rights of ``written_by``.
    """

    source: Connection
    target: Connection
    written_by: str
    waiting: Waiting
    """What is waited for, and for how long."""
    hold: Callable[[], None]
    """Lock the live tables: readers go on, nobody else writes."""
    reader: Callable[[str], Connection]
    """A session that reads a table, by its name, in the restored database."""
    let_fill: Callable[[str, str], None] = lambda *_: None
    """Let the reader of a table fill another one, of the schema ``replaced``."""
    finish: Callable[[], None] = lambda: None
    """Make what readers have filled last."""


@contextmanager
def sessions(
    server: Server,
    restored: str,
    live: str,
    tables: Sequence[str],
    *,
    seconds: float,
    lock_seconds: float,
    trust: Trust,
) -> Iterator[Sessions]:
    """Open them. ``seconds`` bound how long temporary roles may log in, ``lock_seconds`` how long we wait for others.

    Raises Refused, before anything is written, where the live tables would run code of others as a superuser;
    DatabaseError where somebody keeps them locked.
    """
    # Rows travel and are compared as text, which must not depend on what either database has set.
    settings = {**SETTINGS, "lock_timeout": f"{round(lock_seconds * 1000)}ms"}
    with ExitStack() as stack:
        source = stack.enter_context(server.connect(restored, settings=settings))
        waiting = stack.enter_context(bounded(server, live, lock_seconds))
        row = source.execute(_IS_SUPERUSER).fetchone()
        if trust.always or row is None or not row[0]:
            target = stack.enter_context(server.connect(live, autocommit=False, settings=settings))
            waiting.look_at(target)
            yield Sessions(
                source,
                target,
                server.user,
                waiting,
                hold=lambda: _lock(target, tables),
                reader=lambda _: source,
            )
            return
        in_restored = stack.enter_context(loaders(server, restored, seconds=seconds, of_merge=True))
        in_live = stack.enter_context(
            loaders(server, live, seconds=seconds, on_behalf_of=restored, of_merge=True)
        )
        watch = stack.enter_context(server.connect(live, autocommit=False, settings=settings))
        waiting.look_at(watch)
        with waiting.explained():
            owner, around = _writer(watch, server.user, tables, trust)
        target = watch
        if owner is not None:
            in_live.require_login(owner)
            as_owner = in_live.of(owner)
            target = stack.enter_context(as_owner.connect(live, autocommit=False, settings=settings))
            waiting.look_at(target)
        readers = _Readers(source, in_restored, tables, stack)

        def hold() -> None:
            _lock(target, tables)
            if live_code.surroundings(watch, tables) != around:
                raise DatabaseError(
                    "foreign keys or partitions of the tables have just changed; nothing was written",
                    "try again",
                    retryable=True,
                )

        yield Sessions(
            source,
            target,
            owner or server.user,
            waiting,
            hold,
            readers.of,
            readers.let_fill,
            readers.finish,
        )


def _lock(target: Connection, tables: Sequence[str]) -> None:
    for table in tables:
        # Readers go on; nobody else writes until we are done (sql-lock.html, SHARE ROW EXCLUSIVE).
        target.execute(
            quoting.statement("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", quoting.relation(table))
        )


def _writer(
    watch: Connection, user: str, tables: Sequence[str], trust: Trust
) -> tuple[str | None, Surroundings]:
    """The owner with whose rights the live tables are written, None for our own; what is around them is held by then.

    Raises Refused where neither does.
    """
    around = live_code.hold(watch, tables, to_write=False)
    owners = live_code.owners_of(watch, around.merged)
    hint = TRUST_HINT
    reasons: list[str] = []
    if DATABASE_OWNER in owners:
        reasons.append(f"nobody logs in with those of {DATABASE_OWNER}")
        hint = f"give them to a role that is one (ALTER … OWNER TO …); or, {TRUST_HINT}"
    elif len(owners) == 1 and not any(owners.values()):
        (owner,) = owners
        reasons += live_code.what_an_owner_lacks(watch, owner, around)
        strangers = live_code.code_of_strangers(watch, around.near, around.written, trusted=[owner])
        reasons += [f"{whose!r} has code in {table}, beyond a foreign key" for table, whose in strangers]
        if not reasons:
            return owner, around
    elif len(owners) > 1:
        reasons.append(f"they belong to several roles: {some(sorted(owners))}")
        hint = f"{_ONE_BY_ONE}; or, {TRUST_HINT}"
    watch.rollback()
    around = live_code.hold(watch, tables, to_write=True)
    found = live_code.code_of_strangers(watch, [*around.merged, *around.near], around.written)
    if not found or trust.where_needed:
        return None, around
    because = f" ({'; '.join(reasons[:3])})" if reasons else ""
    whose = sorted({name for _, name in found})
    raise Refused(
        f"putting rows back into these tables would run code of {some(whose)} as the superuser {user!r}: "
        f"it is in {some(sorted({table for table, _ in found}))}, and the rights of one owner do not do{because}",
        hint,
    )


class _Readers:
    """Sessions in the restored database, one for each owner of tables there.

    Reading plans a question, and that computes parts of the table's indexes; filling a table computes domains. A
    superuser's table is read by ourselves, in a transaction that holds it, if nothing of others is computed there, and
    else by a role without rights.
    """

    def __init__(self, source: Connection, made: Loaders, tables: Sequence[str], stack: ExitStack) -> None:
        self._source, self._made = source, made
        roles = {table: self._role_of(table) for table in tables}
        own = [table for table, role in roles.items() if role is None]
        # Made before anything is held: to make one, schemas are granted.
        self._sessions: dict[str | None, Connection] = {
            role: self._logged_in(role, [table for table in tables if roles[table] == role], stack)
            for role in sorted({role for role in roles.values() if role is not None})
        }
        for table, role in roles.items():
            self._open(table, role)
        if own:
            ours = stack.enter_context(
                made.server.connect(made.database, autocommit=False, settings=SETTINGS)
            )
            around = live_code.hold(ours, own, to_write=False)
            if live_code.code_of_strangers(ours, around.merged, ()):
                raise DatabaseError(
                    "what the restored tables compute has just changed", "try again", retryable=True
                )
            self._sessions[None] = ours
        self._roles = roles

    def _role_of(self, table: str) -> str | None:
        name = quoting.relation(table).as_string(None)
        row = self._source.execute(_OF_TABLE, (name,)).fetchone()
        if row is None:
            raise Refused(f"the backup has no table {table}", "see with show which tables it has")
        if not row[1]:
            return NOBODY if row[0] == DATABASE_OWNER else str(row[0])
        around = live_code.surroundings(self._source, [table])
        return NOBODY if live_code.code_of_strangers(self._source, around.merged, ()) else None

    def _logged_in(self, role: str, tables: Sequence[str], stack: ExitStack) -> Connection:
        server, database = self._made.of(role), self._made.database
        self._made.let_in(role, {split_qualified_name(table)[0] for table in tables})
        self._source.execute(
            quoting.statement(
                "GRANT CONNECT ON DATABASE {} TO {}", quoting.name(database), quoting.name(server.user)
            )
        )
        self._made.require_login(role)
        return stack.enter_context(server.connect(database, settings=SETTINGS))

    def _open(self, table: str, role: str | None) -> None:
        """It is all of the backup's rows that are wanted, and this database is ours."""
        relation = quoting.relation(table)
        query = "SELECT relrowsecurity FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%s)"
        row = self._source.execute(query, (relation.as_string(None),)).fetchone()
        if row is not None and row[0]:
            off = "ALTER TABLE {} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
            self._source.execute(quoting.statement(off, relation))
        if role is not None:
            self._grant("SELECT", relation, role)

    def of(self, table: str) -> Connection:
        """A session that reads the table with the rights of its owner, and writes what :meth:`let_fill` names."""
        return self._sessions[self._roles[table]]

    def let_fill(self, table: str, kept: str) -> None:
        """Let the reader of ``table`` put rows into ``replaced.kept``, which stays ours."""
        role = self._roles[table]
        if role is not None:
            login = quoting.name(self._made.of(role).user)
            self._source.execute(quoting.statement("GRANT USAGE ON SCHEMA replaced TO {}", login))
            self._grant("INSERT", quoting.statement("replaced.{}", quoting.name(kept)), role)

    def finish(self) -> None:
        """What was put into tables is there from now on."""
        if None in self._sessions:
            self._sessions[None].commit()

    def _grant(self, privilege: str, relation: sql.Composable, role: str) -> None:
        login = quoting.name(self._made.of(role).user)
        self._source.execute(quoting.statement(f"GRANT {privilege} ON TABLE {{}} TO {{}}", relation, login))
