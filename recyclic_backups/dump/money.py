"""Amounts of type money, whose text depends on the one setting that pg_dump does not fix.

``lc_monetary`` decides how an amount is written and read: ``1.234,56`` of a German database is 123456 on a
server without that locale (https://www.postgresql.org/docs/15/datatype-money.html). Hence dumps are written and
read in the locale C, which every server has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

MONEY_OPTION = "-c lc_monetary=C"
MONEY_ENVIRONMENT: Mapping[str, str] = {"PGOPTIONS": MONEY_OPTION}

# 790 and 791 are money and money[] (pg_type.dat). Only where there is any: connection poolers refuse PGOPTIONS.
_NEEDED = """
SELECT (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'lc_monetary') NOT IN ('C', 'POSIX') AND (
    EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE atttypid IN (790, 791) AND NOT attisdropped)
    OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typbasetype IN (790, 791))
    OR EXISTS (SELECT FROM pg_catalog.pg_range WHERE rngsubtype = 790))
"""


def money_environment(connection: psycopg.Connection[tuple[Any, ...]]) -> Mapping[str, str]:
    """What pg_dump needs in its environment to write the connected database's amounts in the locale C.

    ``reset_val`` is what a new session would have, whatever this one has set for itself.
    """
    row = connection.execute(_NEEDED).fetchone()
    return MONEY_ENVIRONMENT if row and row[0] else {}
