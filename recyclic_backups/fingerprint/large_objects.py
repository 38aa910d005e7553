"""Large objects, read piece by piece on the server: none of them is ever whole in anyone's memory."""

from __future__ import annotations

from recyclic_backups.fingerprint.model import LargeObjectsFingerprint, Level
from recyclic_backups.fingerprint.session import reading
from recyclic_backups.postgres.connection import Connection

OBJECTS_PER_QUERY = 1000
PIECE_BYTES = 1024 * 1024

_OWNERSHIP = """
SELECT count(*), coalesce(sum(pg_catalog.hashtextextended(
    (m.oid::text || ' ' || pg_catalog.pg_get_userbyid(m.lomowner) || ' ' || coalesce((
        SELECT pg_catalog.string_agg(entry, ' ' ORDER BY entry COLLATE "C") FROM (
            SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END
                   || ' ' || a.privilege_type || ' ' || a.is_grantable AS entry
            FROM pg_catalog.aclexplode(coalesce(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) a
        ) entries), '')) COLLATE "C", 0)), 0)::text
FROM pg_catalog.pg_largeobject_metadata m
"""

_PAGE = """
SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE oid > %s::oid ORDER BY oid LIMIT %s
"""

# 262144 is INV_READ, 2 is SEEK_END (https://www.postgresql.org/docs/15/lo-interfaces.html). OFFSET 0 keeps
# each step a step of its own, so that a descriptor is opened, measured and closed in this order.
_SIZES = """
SELECT oid, size_bytes FROM (
    SELECT oid, size_bytes, pg_catalog.lo_close(descriptor) AS closed FROM (
        SELECT oid, descriptor, pg_catalog.lo_lseek64(descriptor, 0, 2) AS size_bytes FROM (
            SELECT oid, pg_catalog.lo_open(oid, 262144) AS descriptor
            FROM pg_catalog.unnest(%(oids)s::oid[]) AS oid OFFSET 0) opened
            OFFSET 0) measured OFFSET 0) finished
"""

_CONTENT = """
SELECT coalesce(sum(pg_catalog.hashtextextended(
    (o.oid::text || ' ' || o.size_bytes || ' ' || place || ' ' || pg_catalog.encode(pg_catalog.sha256(
        pg_catalog.lo_get(o.oid, place, %(piece)s::integer)), 'hex')) COLLATE "C", 0)), 0)::text
FROM unnest(%(oids)s::oid[], %(sizes)s::bigint[]) AS o(oid, size_bytes)
CROSS JOIN LATERAL pg_catalog.generate_series(
    0::bigint, greatest(o.size_bytes - 1, 0), %(piece)s::bigint) AS place
"""


def read_large_objects(connection: Connection, level: Level) -> LargeObjectsFingerprint:
    """All large objects of the database, in the transaction under way. Raises DatabaseError.

    Each needs SELECT on it, which pg_read_all_data does not give, or ``lo_compat_privileges``.
    """
    count, ownership = connection.execute(_OWNERSHIP).fetchone() or (0, "0")
    if not count:
        return LargeObjectsFingerprint()
    total_bytes, content, last = 0, 0, 0
    with reading("a large object"):
        while oids := [row[0] for row in connection.execute(_PAGE, (last, OBJECTS_PER_QUERY))]:
            measured = connection.execute(_SIZES, {"oids": oids}).fetchall()
            sizes = [size_bytes for _, size_bytes in measured]
            total_bytes += sum(sizes)
            if level == "content":
                pieces = {"oids": [oid for oid, _ in measured], "sizes": sizes, "piece": PIECE_BYTES}
                (part,) = connection.execute(_CONTENT, pieces).fetchone() or ("0",)
                content += int(part)
            last = oids[-1]
    return LargeObjectsFingerprint(
        count=count,
        total_bytes=total_bytes,
        content=str(content) if level == "content" else None,
        ownership=ownership,
    )
