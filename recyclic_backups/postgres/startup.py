"""How every session of ours begins, those of psycopg and of PostgreSQL's programs alike. Pure.

What a session is like must not depend on what the owner of a database, or of a role, has set for it: with
``ALTER DATABASE … SET search_path`` he would have his operators called by us, with our rights (CVE-2018-1058,
https://wiki.postgresql.org/wiki/A_Guide_to_CVE-2018-1058). Settings of the startup packet win over those of roles
and databases, and hold before the first statement (https://www.postgresql.org/docs/15/runtime-config-custom.html,
GucSource in the server's source, src/include/utils/guc.h).

The variables of libpq in our own environment (``PGHOSTADDR``, ``PGSERVICE``, ``PGOPTIONS``, …) are read by nothing:
``POSTGRES_*`` alone say where to connect, and as whom (:func:`is_of_libpq`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

SEARCH_PATH = "pg_catalog"

_EVERYWHERE: Mapping[str, str] = {
    "search_path": SEARCH_PATH,
    "role": "none",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # A dump and a restore take as long as they take.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # Rows that a policy hides are an error, not missing.
    "row_security": "off",
    "client_min_messages": "warning",
    # How values and definitions are read and written. Amounts of type money depend on lc_monetary, which pg_dump does
    # not fix: 1.234,56 of a German database is 123456 elsewhere (datatype-money.html). Every server has the locale C.
    "lc_monetary": "C",
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "default_tablespace": "",
    "temp_tablespaces": "",
    # Of the libraries that are loaded when a session begins, those that everybody may set.
    "local_preload_libraries": "",
    # Planning would compute the CHECK constraints of whoever owns the table, or a part of it: a materialized view is
    # filled by a query.
    "constraint_exclusion": "off",
}
_OF_PSYCOPG: Mapping[str, str] = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "transform_null_equals": "off",
}
_SINCE: tuple[tuple[int, Mapping[str, str]], ...] = (
    (120000, {"default_table_access_method": "heap"}),
    (140000, {"idle_session_timeout": "0"}),
    (170000, {"transaction_timeout": "0"}),
)
# Only a superuser may set them; nobody else is let in with them.
_OF_SUPERUSERS: tuple[tuple[int, Mapping[str, str]], ...] = (
    (0, {"session_replication_role": "origin"}),
    # Login event triggers fire before the first statement (event-trigger-definition.html of 17).
    (170000, {"event_triggers": "off"}),
)
_NOT_EVERYWHERE = frozenset(
    name for _, settings in (*_SINCE, *_OF_SUPERUSERS) for name in settings
)  # fmt: skip

TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})
"""Values of ``sslmode`` with which libpq gives up rather than speak plaintext."""

VERIFIED_MODES = frozenset({"verify-ca", "verify-full"})
"""Values of ``sslmode`` with which the server has shown who it is before anything is told to it."""

NO_READABLE_PASSWORD = "!password"  # noqa: S105 - the name of a method
"""``require_auth`` of libpq 16 and newer: whoever asks for the password itself does not get it.

A server that keeps SCRAM or MD5 hashes never asks for it; one that hands it on (LDAP, PAM, RADIUS, ``password`` in
pg_hba.conf) does, and so does whoever has taken the server's place
(https://www.postgresql.org/docs/16/libpq-connect.html#LIBPQ-CONNECT-REQUIRE-AUTH).
"""


PROOF_OF_PASSWORD = "scram-sha-256"  # noqa: S105 - the name of a method
"""``require_auth`` where the server has to prove that it knows the password: nobody else gets to hear anything."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What is known of a server before a session begins: its version (``170005``), and whether we are superuser."""

    version: int
    superuser: bool


UNKNOWN = Peer(0, superuser=False)
NEWEST_AS_SUPERUSER = Peer(170000, superuser=True)
"""What to begin with where nothing is known: a server that is older, or takes us for less, turns us away."""


def settings_for(peer: Peer, *, program: bool) -> dict[str, str]:
    """The settings of a session, of one of PostgreSQL's programs or of psycopg, at a server that knows them all."""
    settings = {**_EVERYWHERE, **({} if program else _OF_PSYCOPG)}
    for since, more in (*_SINCE, *(_OF_SUPERUSERS if peer.superuser else ())):
        if peer.version >= since:
            settings |= more
    return settings


def as_options(settings: Mapping[str, str]) -> str:
    r"""Settings as libpq's ``options`` (and PGOPTIONS): ``-c name=value``, blanks and backslashes behind a ``\``.

    https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNECT-OPTIONS
    """
    escaped = {name: re.sub(r"[\s\\]", r"\\\g<0>", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def refused_setting(message: str) -> bool:
    """Whether a server let nobody in because of a setting that it does not know, or wants a superuser for."""
    return any(f"{quote}{name}" in message for name in _NOT_EVERYWHERE for quote in ('"', "« ", "„", "'"))


def wants_proof(host: str, sslmode: str) -> bool:
    """Whether the password may not be sent as it is: nobody has proved to be the server.

    A Unix socket proves it where only its owner can have put it there; in a directory that everybody may write to
    (``/tmp``) anybody can be behind it.
    """
    if not host.startswith("/"):
        return sslmode not in VERIFIED_MODES
    try:  # no TLS there, whatever sslmode says (libpq-connect.html)
        return bool(os.stat(host).st_mode & stat.S_IWOTH)
    except OSError:
        return True


_LIBPQ = re.compile(r"PG[A-Z]+(?:_TIMEOUT)?")


def is_of_libpq(variable: str) -> bool:
    """Whether libpq may read an environment variable of that name; ``PG_BIN`` is ours.

    https://www.postgresql.org/docs/current/libpq-envars.html
    """
    return _LIBPQ.fullmatch(variable) is not None


@dataclass
class _Hiding:
    """The variables of libpq that are hidden at this moment, and by how many threads."""

    lock: Lock = field(default_factory=Lock)
    threads: int = 0
    variables: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        with self.lock:
            for name in [each for each in os.environ if is_of_libpq(each)]:
                self.variables[name] = os.environ.pop(name)
            self.threads += 1

    def end(self) -> None:
        with self.lock:
            self.threads -= 1
            if not self.threads:
                os.environ.update(self.variables)
                self.variables.clear()


_hiding = _Hiding()


@contextmanager
def without_libpq_variables() -> Iterator[None]:
    """Within the block, libpq in this process finds none of its variables: they would fill in what we leave out.

    There is no other way to have it pass over PGSERVICE. Blocks of several threads may overlap.
    """
    _hiding.begin()
    try:
        yield
    finally:
        _hiding.end()


def own_environment() -> dict[str, str]:
    """Our environment, whole, whoever connects at this moment."""
    with _hiding.lock:
        return {**os.environ, **_hiding.variables}
