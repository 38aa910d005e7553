"""Logical subscriptions in databases that a restore makes: a copy must not touch the slot that the original reads.

``pg_restore`` makes a subscription as the source had it, disabled and with the name of its slot. Whoever enables it in
a copy reads the original's slot empty, ``DROP SUBSCRIPTION`` drops that slot at the publisher, and ``DROP DATABASE``
is refused as long as the subscription is there (https://www.postgresql.org/docs/15/sql-dropsubscription.html).
"""

from __future__ import annotations

from collections.abc import Sequence

from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.quoting import name as quoted
from recyclic_backups.postgres.quoting import statement
from recyclic_backups.postgres.server import Server

_OF = """
    SELECT s.subname, s.subslotname FROM pg_catalog.pg_subscription s
    JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) s.subdbid
    WHERE d.datname OPERATOR(pg_catalog.=) {} ORDER BY 1
"""
_HERE = _OF.format("pg_catalog.current_database()")
_EVENT_TRIGGERS = (
    "SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtenabled OPERATOR(pg_catalog.<>) 'D'"
)


def names_in(connection: Connection, database: str) -> list[str]:
    """The subscriptions of a database, asked from any other one of its server."""
    return [str(row[0]) for row in connection.execute(_OF.format("%s").encode(), (database,))]


def detach(server: Server, maintenance: Connection, database: str, *, replaced: str | None) -> list[str]:
    """Take the slots' names off the subscriptions of a database that was restored; returns what to say about it.

    One keeps its slot: that of a database which takes the place of ``replaced``, if that one has the same slot.
    ``maintenance`` is a session in another database of the server. Raises DatabaseError.
    """
    inherited = {row[1] for row in maintenance.execute(_OF.format("%s").encode(), (replaced,))}
    notes: list[str] = []
    if not names_in(maintenance, database):
        return notes
    with server.connect(database) as connection:
        for subscription, slot in connection.execute(_HERE.encode()).fetchall():
            if slot is None:
                continue
            if slot in inherited:
                notes.append(
                    f"the subscription {subscription!r} is disabled in the restored database and has its slot "
                    f"{slot!r}; it goes on in the one that was replaced, which has it too. What the publisher has sent "
                    "since the backup does not come again: make the subscription anew with copy_data, or ENABLE it "
                    "here once it is DISABLEd and has slot_name = NONE there"
                )
                continue
            _let_go_of_slot(connection, subscription)
            notes.append(
                f"the subscription {subscription!r} is disabled in the restored database and no longer has its slot "
                f"{slot!r}: a copy must not read the original's. To go on with it here: ALTER SUBSCRIPTION … SET "
                f"(slot_name = {slot}), then ENABLE"
            )
    return notes


def remove(server: Server, database: str) -> None:
    """Drop the subscriptions of a database of ours, and nothing at their publishers. Raises DatabaseError."""
    with server.connect(database) as connection:
        found = connection.execute(_HERE.encode()).fetchall()
        # Before 17 there is no setting that keeps them from firing, and one may forbid what follows.
        for (trigger,) in connection.execute(_EVENT_TRIGGERS).fetchall() if found else ():
            connection.execute(statement("ALTER EVENT TRIGGER {} DISABLE", quoted(trigger)))
        for subscription, _ in found:
            _let_go_of_slot(connection, subscription)
            connection.execute(statement("DROP SUBSCRIPTION {}", quoted(subscription)))


def statements_to_remove(subscriptions: Sequence[str]) -> list[str]:
    """What a person types in a database, one statement after the other, before it can be dropped."""
    return [
        text.format('"' + each.replace('"', '""') + '"')
        for each in subscriptions
        for text in (
            "ALTER SUBSCRIPTION {} DISABLE",
            "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
            "DROP SUBSCRIPTION {}",
        )
    ]


def _let_go_of_slot(connection: Connection, subscription: str) -> None:
    connection.execute(statement("ALTER SUBSCRIPTION {} DISABLE", quoted(subscription)))
    connection.execute(statement("ALTER SUBSCRIPTION {} SET (slot_name = NONE)", quoted(subscription)))
