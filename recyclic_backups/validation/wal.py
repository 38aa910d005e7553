"""Whether the server's WAL can be archived, and what its settings would do: with the line to type for each thing."""

from __future__ import annotations

import locale
from collections.abc import Iterator, Sequence

from psycopg import sql

from recyclic_backups import wiring
from recyclic_backups.archive.proof import opened_with_proof
from recyclic_backups.config.settings import Settings
from recyclic_backups.errors import ArchiveError, BackupError
from recyclic_backups.postgres.opening import NEUTRAL_DATABASE
from recyclic_backups.postgres.replication import APPLICATION_NAME
from recyclic_backups.postgres.server import Server
from recyclic_backups.postgres.slots import look_at
from recyclic_backups.quantities import human_bytes
from recyclic_backups.validation.finding import Finding

_FIRST_WITH_SLOT_QUESTION = 15
"""READ_REPLICATION_SLOT came with PostgreSQL 15."""

_FACTS = """
SELECT pg_catalog.current_setting('wal_level'),
       pg_catalog.current_setting('max_wal_senders')::pg_catalog.int4,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender'),
       pg_catalog.current_setting('max_replication_slots')::pg_catalog.int4,
       (SELECT count(*) FROM pg_catalog.pg_replication_slots),
       (SELECT rolreplication OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user),
       (SELECT setting::pg_catalog.int8 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'),
       pg_catalog.current_setting('synchronous_standby_names'),
       session_user::text
"""


def check_wal(settings: Settings) -> Iterator[Finding]:
    """Nothing where WAL is not archived: then data loss is told by health."""
    if not settings.wal_archive:
        return
    server = settings.server
    with server.connect(NEUTRAL_DATABASE) as connection:
        row = connection.execute(_FACTS).fetchone()
        major = connection.info.server_version // 10000
        collations = connection.execute(
            "SELECT DISTINCT datcollate FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1"
        ).fetchall()
    assert row is not None
    level, senders, sending, slots, taken, may_replicate, keep_mb, synchronous, user = row
    seen = look_at(server, settings.wal_slot)
    problems = list(_missing(major, level, senders - sending, slots - taken, seen.slot is not None))
    if not may_replicate:
        statement = sql.SQL("ALTER ROLE {} REPLICATION").format(sql.Identifier(user)).as_string(None)
        problems.append((f"the role {user!r} may not replicate", f"as a superuser: {statement};"))
    if _names_us(synchronous):
        problems.append(
            (
                f"synchronous_standby_names is {synchronous!r}: every commit would wait for our storage",
                "name the standbys that are meant: ALTER SYSTEM SET synchronous_standby_names = '…'; "
                "SELECT pg_reload_conf();",
            )
        )
    for message, hint in problems:
        yield Finding("wal", "error", message, hint, ArchiveError.exit_code)
    if not problems:
        try:
            yield from _connects(server)
        except BackupError as error:
            yield Finding.of_error("wal", error)
    if keep_mb < 0:
        yield Finding(
            "wal",
            "warning",
            "max_slot_wal_keep_size has no limit: a receiver that is down lets WAL pile up until the server's disk is "
            + (
                "full"
                if seen.slot is None
                else f"full; {human_bytes(seen.slot.held_bytes)} are kept for it now"
            ),
            "take less than is free there: ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf();",
        )
    if seen.slot is None:
        yield Finding(
            "wal",
            "warning",
            f"nobody receives WAL: there is no slot {settings.wal_slot}",
            "start it: recyclic-backups wal receive",
        )
    elif not seen.slot.active:
        yield Finding(
            "wal",
            "warning",
            f"nobody is at the slot {settings.wal_slot}; the server keeps {human_bytes(seen.slot.held_bytes)} for it",
            "start it: recyclic-backups wal receive",
        )
    yield from _recoverable(settings, major, [each for (each,) in collations])


def _missing(
    major: int, level: str, free_senders: int, free_slots: int, has_slot: bool
) -> Iterator[tuple[str, str]]:
    restart = "and restart the server"
    if major < _FIRST_WITH_SLOT_QUESTION:
        yield f"PostgreSQL {major} is too old for it", f"it takes {_FIRST_WITH_SLOT_QUESTION} or newer"
    if level == "minimal":
        yield "wal_level is minimal", f"ALTER SYSTEM SET wal_level = replica; {restart}"
    if free_senders < 2:  # the receiver, and a base backup beside it
        yield (
            f"{max(free_senders, 0)} of max_wal_senders are free, and the receiver and a base backup need 2",
            f"ALTER SYSTEM SET max_wal_senders = 10; {restart}",
        )
    if free_slots < 1 and not has_slot:
        yield "no replication slot is free", f"ALTER SYSTEM SET max_replication_slots = 10; {restart}"


def _names_us(synchronous: str) -> bool:
    """Whether ``synchronous_standby_names`` would take the receiver for a standby (runtime-config-replication.html)."""
    names = [each.strip().strip('"') for each in synchronous.replace("(", ",").replace(")", ",").split(",")]
    return "*" in names or any(each.lower() == APPLICATION_NAME for each in names)


def _connects(server: Server) -> Iterator[Finding]:
    with opened_with_proof(server) as (replication, proof):
        found = replication.identify()
        way = "for replication" if replication.mode == "true" else "to the database postgres"
        yield Finding(
            "wal",
            "ok",
            f"system {found.system_identifier}, timeline {found.timeline}, segments of "
            f"{human_bytes(replication.segment_bytes())}; pg_hba.conf lets us in {way}",
        )
    if not proof:
        yield Finding(
            "wal",
            "warning",
            "the server does not prove who it is: whoever listens on its port while it is down is believed, and may "
            "write into the archive",
            "let the receiver in by scram-sha-256 (pg_hba.conf), or set POSTGRES_SSLMODE=verify-full",
        )


def _recoverable(settings: Settings, major: int, collations: Sequence[str]) -> Iterator[Finding]:
    """A recovery needs a server of the same major version and its locales, here or wherever it is done."""
    lacks = []
    if not any(each.major == major and each.has_server for each in wiring.installations(settings)):
        lacks.append((f"PostgreSQL {major} server", f"install postgresql-{major}, the server package"))
    if missing := [each for each in collations if not _has_locale(each)]:
        lacks.append((f"locale {', '.join(missing)}", "make it: localedef, or dpkg-reconfigure locales"))
    for what, hint in lacks:
        yield Finding(
            "wal",
            "warning",
            f"there is no {what} on this machine: nothing can be recovered or drilled here",
            hint,
        )


def _has_locale(name: str) -> bool:
    before = locale.setlocale(locale.LC_COLLATE)
    try:
        locale.setlocale(locale.LC_COLLATE, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_COLLATE, before)
    return True
