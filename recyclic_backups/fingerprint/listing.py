"""The catalog as a listing that means the same on every major version.

The text of a schema dump changes with the program that writes it; this listing does not, as far as that can
be had. It is what a backup of PostgreSQL 15 is compared by after it was restored into 18.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recyclic_backups.fingerprint.listing_queries import QUERIES, TEXTS_OF_VIEWS
from recyclic_backups.fingerprint.schema_text import canonical_expression, entry_value
from recyclic_backups.fingerprint.session import without_waiting
from recyclic_backups.postgres.connection import Connection
from recyclic_backups.postgres.names import qualified_name


def read_listing(connection: Connection) -> dict[str, str]:
    """Entries such as ``INDEX public.sales_pkey`` to hash and owner; grants as ``ACL TABLE public.sales``.

    Needs no right beyond connecting: the catalog is readable by everyone. The search path is empty, so that
    every name in an expression is written with its schema. The connection is inside a transaction. Texts of
    views are information, and left out if one of them is locked.
    """
    entries: dict[str, str] = {}
    for kind, query in QUERIES.items():
        _add(entries, kind, connection.execute(query).fetchall())
    with without_waiting(connection):
        _add(entries, "TEXT OF VIEW", connection.execute(TEXTS_OF_VIEWS).fetchall())
    return entries


def _add(entries: dict[str, str], kind: str, rows: Iterable[tuple[Any, ...]]) -> None:
    for identity, owner, grants, parts in rows:
        name = f"{kind} {_name(identity)}"
        if parts is not None:
            # NUL occurs in no text of PostgreSQL: what is not there never equals something that is.
            texts = (canonical_expression("\x00" if part is None else part) for part in parts)
            entries[name] = entry_value(texts, owner)
        if grants is not None:
            entries[f"ACL {name}"] = entry_value([grants])


def _name(identity: list[str]) -> str:
    if len(identity) == 1:
        return identity[0]
    # As pg_dump writes them: the name of a constraint or trigger stands after its table's.
    return " ".join([qualified_name(identity[0], identity[1]), *identity[2:]])
