"""A PostgreSQL server we may connect to: one way in, with errors translated and secrets kept out of sight."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from recyclic_backups.errors import ConfigurationError, DatabaseError
from recyclic_backups.postgres import startup
from recyclic_backups.postgres.standby import CONFLICT_HINT, is_conflict

if TYPE_CHECKING:
    import psycopg

APPLICATION_NAME = "recyclic_backups"

SQL_ASCII = "SQL_ASCII"

CLEARTEXT_HINT = (
    "whoever answers wants the password itself and has not proved to be the server: set POSTGRES_SSLMODE=verify-full "
    "and POSTGRES_SSLROOTCERT for a server that hands it on (LDAP, PAM, RADIUS); else find out who answers there"
)
CONNECTION_LIMIT_HINT = (
    "raise the CONNECTION LIMIT of the role or database: a backup needs BACKUP_JOBS + 4 sessions at once"
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and as whom we speak to it. ``host`` may be a directory: a Unix socket.

    ``connect_timeout_seconds`` bounds each attempt, ``answer_timeout_seconds`` (None: for ever) each answer to one
    question of ours; the password never shows in ``repr``.
    """

    host: str
    port: int = 5432
    user: str = "postgres"
    password: str = field(default="", repr=False)
    sslmode: str = "prefer"
    sslrootcert: str = ""
    connect_timeout_seconds: int = 10
    answer_timeout_seconds: float | None = None
    proves_itself: bool = False
    """Whether it is let nothing know before it has shown that it knows the password too, as SCRAM does (RFC 5802)."""

    @classmethod
    def from_url(cls, url: str) -> tuple[Server, str]:
        """Server and database name of a ``postgresql://`` URL. Raises ConfigurationError, without the URL in it.

        Also for a parameter that is none of ours: who asks for ``channel_binding`` is not to go without it unawares.
        """
        hint = "write postgresql://user:password@host:5432/dbname"
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
        except ValueError:
            raise ConfigurationError("the server URL cannot be understood", hint) from None
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
            raise ConfigurationError("the server URL is not a postgresql:// URL with a host", hint)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        proof = query.pop("require_auth", "")
        if proof not in ("", startup.PROOF_OF_PASSWORD) or query.keys() - {"sslmode", "sslrootcert"}:
            raise ConfigurationError(
                "the server URL has parameters that are not read",
                f"it may have sslmode, sslrootcert and require_auth={startup.PROOF_OF_PASSWORD}",
            )
        server = cls(
            host=unquote(parts.hostname),
            port=port,
            user=unquote(parts.username or "postgres"),
            password=unquote(parts.password or ""),
            sslmode=query.get("sslmode", "prefer"),
            sslrootcert=query.get("sslrootcert", ""),
            proves_itself=bool(proof),
        )
        return server, unquote(parts.path.lstrip("/")) or "postgres"

    @property
    def url(self) -> str:
        """What :meth:`from_url` makes the same server of, but for its password."""
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        asked = {"sslmode": self.sslmode, "sslrootcert": self.sslrootcert}
        asked["require_auth"] = startup.PROOF_OF_PASSWORD if self.proves_itself else ""
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"postgresql://{quote(self.user, safe='')}@{host}:{self.port}/?{query}"

    @property
    def label(self) -> str:
        """How messages name this server: never with the password."""
        return f"{self.host}:{self.port}"

    def answering_within(self, seconds: float) -> Server:
        """The same server, given up when an answer takes longer."""
        return replace(self, answer_timeout_seconds=seconds)

    def environment(self, database: str, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """The libpq variables for a program of PostgreSQL: the only place where the password travels.

        Its session begins as ours do (:mod:`recyclic_backups.postgres.startup`), and with ``settings``. What the server
        knows is taken from our sessions there: one comes before every program.

        The environment of a process is readable by its own user alone, an argument list by everybody
        (https://www.postgresql.org/docs/15/libpq-envars.html).
        """
        from recyclic_backups.postgres.opening import known_peer  # noqa: PLC0415 - see connect

        begun = startup.settings_for(known_peer(self), program=True)
        variables = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": database,
            "PGSSLMODE": self.sslmode,
            "PGCONNECT_TIMEOUT": str(self.connect_timeout_seconds),
            "PGAPPNAME": APPLICATION_NAME,
            "PGOPTIONS": startup.as_options({**begun, **(settings or {})}),
        }
        if self.password:
            variables["PGPASSWORD"] = self.password
        if self.sslrootcert:
            variables["PGSSLROOTCERT"] = self.sslrootcert
        # Programs older than 16 pass over what they do not know.
        named = {"gssencmode": "PGGSSENCMODE", "require_auth": "PGREQUIREAUTH"}
        protection = self.protection(knows_require_auth=True)
        return variables | {named[name]: value for name, value in protection.items()}

    def protection(self, *, knows_require_auth: bool) -> dict[str, str]:
        """What keeps the password from whoever has taken the server's place, as parameters of libpq."""
        protection = {}
        if self.sslmode in startup.TLS_MODES:
            # Encryption by Kerberos comes first by default, and then TLS, with its checks, does not come at all.
            protection["gssencmode"] = "disable"
        if knows_require_auth and self.proves_itself:
            protection["require_auth"] = startup.PROOF_OF_PASSWORD
        elif knows_require_auth and startup.wants_proof(self.host, self.sslmode):
            protection["require_auth"] = startup.NO_READABLE_PASSWORD
        return protection

    def session_began(self, database: str) -> None:
        """Called for each session that a server has let begin in ``database``; for whoever counts them."""

    @contextmanager
    def connect(
        self,
        database: str,
        *,
        autocommit: bool = True,
        settings: Mapping[str, str] | None = None,
        application_name: str = APPLICATION_NAME,
    ) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection, closed at the end; ``settings`` are session parameters set at its start.

        It begins as every session of ours does (:mod:`recyclic_backups.postgres.startup`): with ``pg_catalog`` alone as
        its search path, no timeout, our own role, whatever the database or role has set. ``settings`` come after that;
        ``answer_timeout_seconds`` bounds the server's silence.

        Without ``autocommit`` the transaction is committed at the end of the block, and undone when it fails.
        Texts come as UTF-8 whatever the database or role has set. Only SQL_ASCII, which is any bytes at all, cannot
        be converted: there each byte is one character of Latin-1, which loses none and takes each back.
        Errors of psycopg raised inside the block leave it as DatabaseError.
        """
        # 60 ms that `--help` and `list` need not pay
        from recyclic_backups.postgres.opening import open_session  # noqa: PLC0415

        subject = f"database {database!r} on {self.label}"
        with translated(subject):
            connection = open_session(self, database, application_name, autocommit=autocommit)
        try:
            with translated(subject), connection.watched(self.answer_timeout_seconds):
                if encoding_of(connection) == SQL_ASCII:
                    connection.execute("SET client_encoding TO LATIN1")
                for name, value in (settings or {}).items():
                    connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
                if not autocommit:
                    connection.commit()
                yield connection
                if not autocommit:
                    connection.commit()
        except DatabaseError:
            if not connection.gave_up:
                raise
            if connection.gave_up == "endless":
                raise DatabaseError(
                    f"{subject} answered without end", "see whether it is your server that answers there"
                ) from None
            raise DatabaseError(
                f"{subject} did not answer within {self.answer_timeout_seconds:g} s",
                "see what keeps the server busy, or raise BACKUP_TIMEOUT if it needs longer",
                retryable=True,
            ) from None
        finally:
            # Closing ends whatever is under way without waiting for a server that may never answer.
            connection.close()


def encoding_of(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """The encoding of the connected database, by PostgreSQL's name for it: ``UTF8``, ``LATIN1``, ``SQL_ASCII``."""
    return connection.info.parameter_status("server_encoding") or "UTF8"


def as_meant(connection: psycopg.Connection[tuple[Any, ...]], text: str) -> str:
    """A text of the server's own catalogs (roles, settings) for a database of another encoding.

    In a database with SQL_ASCII it was read byte by byte: what is UTF-8 is taken for it, the rest for Latin-1.
    """
    if encoding_of(connection) != SQL_ASCII:
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Turn psycopg's exceptions into ours; ``subject`` is what the sentence is about."""
    import psycopg  # noqa: PLC0415

    try:
        yield
    except psycopg.Error as error:
        raise database_error(subject, error) from None


def database_error(subject: str, error: psycopg.Error) -> DatabaseError:
    """What psycopg's error is called here, with a hint and whether another try may help."""
    text = first_line(str(error))
    state = error.sqlstate or ""
    lowered = text.lower()
    hint, retryable = "", False
    if "requested a cleartext password" in lowered:
        hint = CLEARTEXT_HINT
    elif "startup parameter" in lowered:
        # PgBouncer's words for settings that it does not pass on.
        from recyclic_backups.postgres.opening import pooler_between  # noqa: PLC0415

        return pooler_between(subject)
    elif "too many connections for" in lowered:
        hint, retryable = CONNECTION_LIMIT_HINT, True
    elif "pg_hba.conf" in lowered:
        hint = "allow this client in the server's pg_hba.conf"
        if lowered.endswith("no encryption"):
            hint = f"set POSTGRES_SSLMODE=verify-full if the server wants TLS, or {hint}"
    elif state.startswith("28") or "authentication failed" in lowered or "no password supplied" in lowered:
        hint = "check POSTGRES_USER and POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE); PGPASSFILE is not read"
    elif state == "3D000" or re.search(r'database ".*" does not exist', lowered):
        hint = "check POSTGRES_DB"
    elif "role" in lowered and "does not exist" in lowered:
        hint = "check POSTGRES_USER"
    elif any(words in lowered for words in ("resolve", "name or service", "nodename", "getaddrinfo")):
        hint = "check POSTGRES_HOST"
    elif "does not match host name" in lowered:
        hint = "set POSTGRES_HOST to the name in its certificate, or give the server one with this name"
    elif "certificate" in lowered and not state:
        hint = "set POSTGRES_SSLROOTCERT to the certificate of the authority that signed the server's"
    elif "ssl" in lowered and not state:
        hint = "check POSTGRES_SSLMODE and POSTGRES_SSLROOTCERT"
    elif "permission denied for database" in lowered:
        hint = "GRANT CONNECT ON DATABASE … TO the backup role"
    elif state == "42501":
        hint = "grant pg_read_all_data to the backup role, or make it the owner"
    elif is_conflict(text):
        hint, retryable = CONFLICT_HINT, True
    elif state == "55P03":
        hint, retryable = (
            "something holds the lock for longer than BACKUP_LOCK_TIMEOUT; try again later",
            True,
        )
    elif state == "40P01":
        hint, retryable = "two sessions waited for each other, and the server ended ours; try again", True
    elif state == "57014":
        hint, retryable = "a timeout of the server, or somebody, ended what was asked; try again", True
    elif "out of shared memory" in lowered:
        hint = "raise max_locks_per_transaction in postgresql.conf and restart the server: it has many tables to lock"
    elif state == "23514":
        hint = (
            "drop this constraint, do it again, then add the constraint again: NOT VALID, if rows that break it are "
            "to stay"
        )
    elif not state or state[:2] in ("08", "53", "57"):
        hint, retryable = (
            "check that the server runs and that POSTGRES_HOST and POSTGRES_PORT point at it",
            True,
        )
    return DatabaseError(f"{subject}: {text}", hint, retryable=retryable)


def first_line(text: str) -> str:
    """The part of a server message that is a sentence: its first non-empty line, without libpq's prefix."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "no message"
    sentence = next((line for line in lines if "FATAL:" in line or "ERROR:" in line), lines[0])
    return re.sub(r"^.*?(FATAL|ERROR):\s+", "", sentence)
