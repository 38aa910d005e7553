"""Databases that a restore is still working on: marked, so that what a killed one leaves is known and dropped.

The mark is the database's comment, set right after its creation and taken off in the transaction that gives the
database its final name. As long as the restore lives it holds a lock named in the mark. A marked database whose lock
is free belongs to nobody.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import DatabaseError, Refused
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.server import Server, translated
from recyclic_backups.restore import database as databases
from recyclic_backups.restore import loaders

_MARK = re.compile(r'recyclic_backups: restore \S+ under way as ("(?:[^"\\]|\\.)*"),')
_OWN_NAME = re.compile(r"_restoring_[0-9a-f]{6}$")
_COMMENTS = """
    SELECT datname, pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database
    WHERE NOT datistemplate ORDER BY datname
"""
_HOLDS_ANYTHING = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid >= 16384)
        OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384)
        OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE oid >= 16384)
"""  # oids from 16384 on are of objects made after initdb (FirstNormalObjectId)


def mark(backup_id: str, token: str, now: datetime) -> str:
    """The comment of a database that a restore works on; ``token`` is what its lock is called after."""
    owner = f"{socket.gethostname()} process {os.getpid()}"
    return (
        f"recyclic_backups: restore {backup_id} under way as {json.dumps(token)}, since {to_text(now)}, by {owner}; "
        "the next restore drops this database if that process is gone"
    )


def token_of(comment: str | None) -> str | None:
    """What the lock of a marked database is called after; None for a comment that is no mark."""
    found = _MARK.match(comment or "")
    return None if found is None else str(json.loads(found[1]))


@contextmanager
def under_way(server: Server, token: str) -> Iterator[None]:
    """Hold the lock that says: whoever works on databases marked with this token is alive."""
    with databases.maintenance(server) as connection:
        maintenance_database = connection.info.dbname
    with exclusive(server, maintenance_database, f"restore {token}", wait_seconds=0):
        yield


def drop_left_behind(server: Server) -> list[str]:
    """Drop the databases and roles of restores that were killed. Returns notes on what was dropped, or could not be.

    Never touched: a database without our mark (but for one that is empty and has a name of ours: its restore was
    killed before it could mark it), one whose restore is alive, one that somebody is connected to.
    """
    with databases.maintenance(server) as connection:
        rows = connection.execute(_COMMENTS).fetchall()
    notes = []
    for name, comment in rows:
        token = token_of(comment)
        if token is None and (comment is not None or not _OWN_NAME.search(name)):
            continue
        try:
            with under_way(server, token or name):
                if _belongs_to_nobody(server, name, token):
                    with translated(f"database {name!r}"):
                        databases.drop_database(
                            server, name, force=False
                        )  # whoever looks at it may have a reason
                    notes.append(f"dropped the database {name!r}: it was left by a restore that was killed")
        except Refused:
            continue  # that restore is alive
        except DatabaseError as error:
            notes.append(f"the database {name!r}, left by a restore that was killed, stays: {error.message}")
    with databases.maintenance(server) as connection:
        notes.extend(loaders.drop_left_behind(server, connection, partial(_is_alive, server)))
    return notes


def _is_alive(server: Server, token: str) -> bool:
    try:
        with under_way(server, token):
            return False
    except Refused:
        return True


def _belongs_to_nobody(server: Server, name: str, token: str | None) -> bool:
    """Asked again under the lock: the restore may have ended well between the two questions."""
    with databases.maintenance(server) as connection:
        comments = dict(connection.execute(_COMMENTS).fetchall())
    if token is not None or comments.get(name, "") is not None:
        return token is not None and token_of(comments.get(name)) == token
    with server.connect(name) as connection:
        row = connection.execute(_HOLDS_ANYTHING).fetchone()
    return row is not None and not row[0]
