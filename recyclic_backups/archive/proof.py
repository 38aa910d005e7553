"""How a server shows that it is the one whose WAL is archived, and what the archive remembers of that.

Its identifier is no secret, and where nothing that is stored can be compared, bytes tell nothing. So the signed
position keeps that the server proved itself once, and from then on nobody is believed who does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from psycopg import pq

from recyclic_backups.archive.documents import Position
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.opening import FIRST_WITH_REQUIRE_AUTH
from recyclic_backups.postgres.replication import APPLICATION_NAME, Replication
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.startup import wants_proof

PASSWORD = "password"  # noqa: S105 - the kind of a proof
"""It showed by SCRAM that it knows the password (RFC 5802)."""
CERTIFICATE = "certificate"
"""TLS with a certificate that was verified."""
SOCKET = "socket"
"""A Unix socket in a directory that not everybody may write to."""

ACCEPT_COMMAND = "recyclic-backups wal accept --without-proof --yes"

_NO_PROOF = "authentication method requirement"
"""In libpq's words for a server that asks for no proof, and so gives none."""


def proof_of_line(server: Server) -> str:
    """What the way to the server proves by itself, before anything is told to whoever answers; empty if nothing."""
    if wants_proof(server.host, server.sslmode):
        return ""
    return SOCKET if server.host.startswith("/") else CERTIFICATE


def asking_for(server: Server, proof: str) -> Server:
    """The server, of which later sessions ask for the proof that it gave in an earlier one."""
    return replace(server, proves_itself=True) if proof == PASSWORD else server


class NoProof(DatabaseError):
    """Who answers does not show that it knows the password."""


@contextmanager
def opened_with_proof(
    server: Server, application_name: str = APPLICATION_NAME, *, required: bool = False
) -> Iterator[tuple[Replication, str]]:
    """A replication session, and how the server proved in it who it is; empty where it did not.

    Where it asks for no proof, and none is ``required``, it is spoken with all the same. Raises DatabaseError, NoProof.
    """
    proof = proof_of_line(server)
    with ExitStack() as stack:
        replication: Replication | None = None
        if not proof and server.password and pq.version() >= FIRST_WITH_REQUIRE_AUTH:
            try:
                asked = replace(server, proves_itself=True)
                replication = stack.enter_context(Replication.open(asked, application_name))
                proof = PASSWORD
            except DatabaseError as error:
                if _NO_PROOF not in error.message:
                    raise
        if required and not proof:
            raise NoProof(
                f"who answers as {server.label} does not show that it knows the password", retryable=True
            )
        if replication is None:
            replication = stack.enter_context(Replication.open(server, application_name))
        yield replication, proof


def require_proof(position: Position | None, proof: str, server: Server) -> None:
    """Raises Refused where the archive remembers that its server proved itself, and who answers does not."""
    if position is None or not position.proof or proof:
        return
    raise Refused(
        f"who answers as {server.label} does not show any more that it is the server {position.system_identifier}: "
        f"that proved itself by {_SAID.get(position.proof, position.proof)} before; nothing was written",
        "somebody else may listen there; if pg_hba.conf, POSTGRES_HOST or POSTGRES_SSLMODE was changed on purpose: "
        f"{ACCEPT_COMMAND} --server {position.system_identifier}"
        f"{_TOO_OLD if pq.version() < FIRST_WITH_REQUIRE_AUTH else ''}",
    )


_TOO_OLD = "; the libpq here is older than 16 and cannot ask for a proof of the password"
_SAID = {
    PASSWORD: "its password (scram-sha-256)",
    CERTIFICATE: "its certificate (verified TLS)",
    SOCKET: "its Unix socket",
}
