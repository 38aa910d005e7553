"""The demonstration's data: the database of a made-up re-use centre, the same at every run.

All of it is SQL that the server executes. The content depends on ``scale`` and ``today`` alone, so that two
databases filled alike can be compared byte for byte.
"""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path

from recyclic_backups.errors import UsageError
from recyclic_backups.postgres.server import Server

APP_PASSWORD = "recyclic-demo"  # noqa: S105 - of the role recyclic_app in 3_constraints.sql: made-up data only

# Rows at scale 1, and how many there are at least: every table but association.messages has some at any scale.
_AMOUNTS = {
    "users": (1500, 12),
    "requests": (400, 6),
    "sessions": (2190, 6),
    "sales": (22_000, 20),
    "postes": (1400, 4),
    "tickets": (20_000, 20),
    "deposits": (3000, 8),
    "logins": (20_000, 20),
    "logs": (3000, 10),
    "shipments": (800, 8),
    "loans": (600, 6),
    "events": (22_000, 20),
}


def fill(server: Server, database: str, *, scale: float = 1.0, today: date) -> None:
    """Fill an empty database with two years of work that end the day before ``today``.

    ``scale`` 1 gives about 50 MB. Needs a superuser, and creates the roles recyclic_app and recyclic_readonly
    if the cluster has none yet. All or nothing: on error the database stays empty. Raises UsageError for
    a scale that is not a positive number, DatabaseError if the server refuses.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"a scale of {scale} makes no data", "give a number above 0; 1 is about 50 MB")
    settings = {
        "demo.today": today.isoformat(),
        **{f"demo.{name}": str(max(least, round(many * scale))) for name, (many, least) in _AMOUNTS.items()},
        # Whatever the server's defaults, the same text becomes the same value.
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "lc_messages": "C",
        "standard_conforming_strings": "on",
        "search_path": "public",
        # For sorts and index builds, which otherwise spill to disk.
        "work_mem": "64MB",
        "maintenance_work_mem": "128MB",
    }
    with server.connect(database, autocommit=False, settings=settings) as connection:
        for script in ("1_tables.sql", "2_rows.sql", "3_constraints.sql", "4_database.sql"):
            connection.execute(_script(script))
        connection.execute("ANALYZE")


def set_database_properties(server: Server, database: str) -> None:
    """Give a copy of a filled database what ``CREATE DATABASE … TEMPLATE`` leaves behind: settings and grants."""
    with server.connect(database, settings={"search_path": "public"}) as connection:
        connection.execute(_script("4_database.sql"))


def _script(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
