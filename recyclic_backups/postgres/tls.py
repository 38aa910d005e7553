"""Encryption in transit: what travels readable to another machine, and which programs speak TLS at all.

``prefer``, libpq's default, falls back to plaintext without a word, whether the server has no TLS or the program was
built without it (https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import psycopg

from recyclic_backups.errors import ProgramMissing
from recyclic_backups.postgres.discovery import ask
from recyclic_backups.postgres.programs import Installation, choose
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.startup import TLS_MODES

TLS_HINT = "set POSTGRES_SSLMODE=verify-full and POSTGRES_SSLROOTCERT"


def is_this_machine(address: str) -> bool:
    """Whether an address is a Unix socket (empty, a path) or the loopback interface: nobody listens there."""
    if not address or address.startswith(("/", "@")):
        return True
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback


def speaks_tls(installation: Installation) -> bool:
    """Whether its pg_dump was built with TLS; those of the PyPI wheel are not."""
    program = installation.directory / "pg_dump"
    # The time of change is part of the question: an upgraded package is asked anew.
    return _demands_are_understood(program, program.stat().st_mtime_ns) if program.is_file() else False


@lru_cache(maxsize=64)
def _demands_are_understood(program: Path, _changed_ns: int) -> bool:
    # libpq looks at sslmode before it looks for the server, of which there is none.
    variables = {"PGSSLMODE": "require", "PGHOST": "/nonexistent", "LC_ALL": "C"}
    return "SSL support is not compiled in" not in ask(program, "--no-password", variables).stderr


def choose_for(
    server: Server, installations: Sequence[Installation], server_major: int, needed: Collection[str]
) -> Installation:
    """:func:`choose`, among those that can speak to the server at all: with TLS where ``sslmode`` demands it.

    Raises ProgramMissing, saying so where TLS is all that is missing.
    """
    suitable = choose(installations, server_major, needed)
    if server.sslmode not in TLS_MODES or speaks_tls(suitable):
        return suitable
    try:
        return choose([each for each in installations if speaks_tls(each)], server_major, needed)
    except ProgramMissing:
        raise ProgramMissing(
            f"the programs in {suitable.directory} speak no TLS, which POSTGRES_SSLMODE={server.sslmode} demands",
            f"install postgresql-client-{server_major} or newer",
        ) from None


def plaintext(
    connection: psycopg.Connection[tuple[Any, ...]], server: Server, installation: Installation
) -> str:
    """What of a backup travels readable to another machine, as a sentence; empty where nothing does."""
    if is_this_machine(connection.info.hostaddr):
        return ""
    if not connection.pgconn.ssl_in_use:
        return f"the connection to {server.label} is not encrypted: whoever is on the way reads the data"
    if server.sslmode not in TLS_MODES and not speaks_tls(installation):
        return (
            f"the programs in {installation.directory} speak no TLS: whoever is on the way to {server.label} "
            "reads the dump"
        )
    return ""
