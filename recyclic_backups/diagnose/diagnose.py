"""What is damaged in a live database, what it has lost since its backup, and the commands that put it right.

Nothing is written: not to the database (the session is read-only), nor to the storage. One table that cannot be
read does not hide the others; what could not be looked at is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import sql

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.diagnose import constraints
from recyclic_backups.diagnose.constraints import Violation
from recyclic_backups.diagnose.indexes import look_at_indexes
from recyclic_backups.diagnose.inspection import Inspection, inspection
from recyclic_backups.diagnose.live_counts import LiveReading, read_live
from recyclic_backups.diagnose.losses import Dated, Loss, find_losses
from recyclic_backups.diagnose.report import Diagnosis, Finding, Remedy, family
from recyclic_backups.errors import DamagedData, NoUsableKey
from recyclic_backups.fingerprint.listing import read_listing
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.postgres.names import qualified_name, some, split_qualified_name
from recyclic_backups.postgres.server import Server, first_line, translated
from recyclic_backups.progress import SILENT, Progress

HISTORY_MAX_BACKUPS = 60
"""How many earlier backups tell what is usual: two months of nights."""

_OWNING_COLUMN = """
SELECT t.oid::regclass::text, pg_catalog.quote_ident(a.attname)
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.objid = %s::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
"""
# A merge refuses tables that others inherit from: their rows would be mixed.
_INHERITED_FROM = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
"""
_BLINDING = {
    "zero_damaged_pages": "damaged pages are read as empty ones",
    "ignore_checksum_failure": "damaged pages are read as if they were whole",
}


@dataclass(frozen=True, slots=True)
class _Base:
    """The backup to compare with."""

    backup: Backup
    fingerprint: Fingerprint


def diagnose(
    catalog: Catalog,
    server: Server,
    database: str,
    *,
    timeout_seconds: float,
    lock_timeout_seconds: float,
    now: datetime,
    backup: Backup | None = None,
    progress: Progress = SILENT,
) -> Diagnosis:
    """Examine a live database and compare it with ``backup``, by default the newest good one that can be compared.

    No single question to the server takes longer than ``timeout_seconds``, no lock is waited for longer than
    ``lock_timeout_seconds``; what takes longer is said to be incomplete. Raises DatabaseError (the server cannot be
    reached, or is lost), and for a ``backup`` that was given DamagedData when its fingerprint cannot be read.
    """
    notes: list[str] = []
    limits: list[str] = []  # of the looking itself: they come after what is said of the data
    uncompared: list[str] = []
    base = _base(catalog, backup, notes, uncompared)
    with inspection(
        server, database, timeout_seconds=timeout_seconds, lock_timeout_seconds=lock_timeout_seconds
    ) as session:
        limits += _blinded(session)
        live = read_live(session, progress)
        findings = list(live.findings)
        known = {finding.name for finding in findings}
        indexes = look_at_indexes(session.of_indexes, live.unreadable, limits, progress)
        findings += [each for each in indexes if each.name not in known]
        violations = list(_violations(session, live, progress))
        listing = _listing(session)
        losses: Sequence[Loss] = ()
        beside_only: frozenset[str] = frozenset()
        if base is not None:
            progress.stage("comparing")
            history = _history(catalog, base.backup)
            # One standby is no further ahead of itself, or of what it has become.
            ahead = base.backup.manifest.server.is_standby and not _is_standby(session)
            dated = Dated(base.backup.as_of, base.fingerprint, sequences_ahead=ahead)
            judgement = find_losses(dated, live.figures, history, now)
            losses = judgement.losses
            notes += judgement.notes
            notes += _vanished(base.fingerprint, listing, live)
            findings += [_of_loss(session, base.fingerprint, live, loss) for loss in losses]
            beside_only = _beside_only(session, base.fingerprint, live)
        findings += _of_violations(violations, base, listing, live, losses, notes)
        notes += [*limits, *session.not_looked_at]
        incomplete = tuple(dict.fromkeys([*uncompared, *session.incomplete]))
    return _report(database, base, findings, live, beside_only, notes, incomplete)


def _report(
    database: str,
    base: _Base | None,
    findings: Sequence[Finding],
    live: LiveReading,
    beside_only: frozenset[str],
    notes: list[str],
    incomplete: tuple[str, ...],
) -> Diagnosis:
    remedy = Remedy(
        backup_id=base.backup.backup_id if base else "",
        database=database,
        fingerprint=base.fingerprint if base else Fingerprint(level="off"),
        references=live.references,
        beside_only=beside_only,
    )
    if base is not None:
        wanted = {name for finding in findings for name in finding.restore}
        if strangers := sorted(wanted - base.fingerprint.tables.keys()):
            notes.append(
                f"the backup does not have {some(strangers)}: nothing of it can come back from there"
            )
    named = {each.table for each in findings if each.kind != "index" and each.table is not None}
    named |= {name for each in findings for name in each.restore}
    return Diagnosis(
        database=database,
        backup_id=base.backup.backup_id if base else None,
        as_of=base.backup.as_of if base else None,
        findings=remedy.with_others(findings),
        damaged_tables=remedy.tables_to_bring_back(findings) if base else remedy.parents_first(named),
        commands=remedy.commands(findings),
        notes=tuple(dict.fromkeys(notes)),
        incomplete=incomplete,
        tables=len(live.figures.tables),
        rows=sum(table.rows for table in live.figures.tables.values()),
    )


# -- what to compare with


def _base(catalog: Catalog, given: Backup | None, notes: list[str], uncompared: list[str]) -> _Base | None:
    """The backup to compare with. Of one that could not be checked that is said: a forged one proposes a restore."""
    sealed: list[str] = []
    for backup in [given] if given else [each for each in catalog if each.good]:
        try:
            backup.require_vouched()
            fingerprint = _fingerprint(backup)
        except DamagedData as error:
            if given:
                raise
            notes.append(f"backup {backup.backup_id} was passed over: {error.message}")
            continue
        except NoUsableKey as error:
            if backup.manifest.is_closed:
                if given:
                    raise
                sealed.append(backup.backup_id)
                continue
            notes.append(
                f"whether the manifest of {backup.backup_id} was edited is not known: {error.message}"
            )
            fingerprint = _fingerprint(backup)
        if fingerprint is not None:
            return _Base(backup, fingerprint)
        if given:
            uncompared.append(
                f"nothing was compared: {backup.backup_id} does not say what the database contained "
                "(it was adopted, or taken with BACKUP_FINGERPRINT=off)"
            )
            return None
        notes.append(f"backup {backup.backup_id} has no fingerprint to compare with")
    if sealed:
        notes.append(
            f"what {some(sealed)} contained is sealed, and no key at hand opens it (BACKUP_ENCRYPTION_KEY): "
            "losses of rows and values cannot be told"
        )
    else:
        notes.append("there is no good backup to compare with: losses of rows and values cannot be told")
    return None


def _fingerprint(backup: Backup) -> Fingerprint | None:
    if backup.manifest.fingerprint is None:
        return None
    fingerprint = Fingerprint.from_json(backup.manifest.fingerprint)
    return None if fingerprint.level == "off" else fingerprint


def _history(catalog: Catalog, base: Backup) -> list[Dated]:
    """Earlier backups. One whose bytes are damaged still tells how many rows there were."""
    history: list[Dated] = []
    for backup in catalog:
        if backup.as_of < base.as_of and len(history) < HISTORY_MAX_BACKUPS:
            try:
                fingerprint = _fingerprint(backup)
            except (DamagedData, NoUsableKey):
                continue  # `verify --all` names it; here it would only have told what is usual
            if fingerprint is not None:
                history.append(Dated(backup.as_of, fingerprint))
    return history


# -- what is asked of the server beside tables and constraints


def _blinded(session: Inspection) -> Iterator[str]:
    """Settings under which damage is not seen."""
    for name, effect in _BLINDING.items():
        if session.rows("SELECT pg_catalog.current_setting(%s, true)", (name,)) == [("on",)]:
            yield f"{name} is on: {effect}, so that damage is not seen"
    if session.rows("SELECT pg_catalog.current_setting('data_checksums')") == [("off",)]:
        yield "the server keeps no checksums of pages: a value that was changed on disk may not be noticed"


def _is_standby(session: Inspection) -> bool:
    return session.rows("SELECT pg_catalog.pg_is_in_recovery()") == [(True,)]


def _violations(session: Inspection, live: LiveReading, progress: Progress) -> Iterator[Violation]:
    yield from constraints.foreign_keys(session, live.skipped, progress)
    yield from constraints.checks(session, live.skipped, progress)
    yield from constraints.domains(session, live.skipped, progress)
    yield from constraints.nulls(session, live.figures.tables)
    yield from constraints.duplicates(session, live.skipped, progress)


def _listing(session: Inspection) -> Mapping[str, str] | None:
    """The definitions as a fingerprint lists them; None, and a note, where the catalog itself cannot be read.

    With the catalog's indexes: without them it is read from end to end for each column of each table.
    """
    connection = session.beside
    try:
        with connection.transaction():
            return read_listing(connection)
    except psycopg.Error as error:
        with translated(session.label):
            if connection.closed:
                raise
        session.incomplete.append(f"definitions were not compared: {first_line(str(error))}")
        return None


def _vanished(then: Fingerprint, now: Mapping[str, str] | None, live: LiveReading) -> Iterator[str]:
    """Constraints of the backup that tables do not have any more: a migration, or somebody's haste."""
    tables = live.figures.tables.keys() | live.skipped
    for entry in sorted(then.listing.keys() - (then.listing if now is None else now).keys()):
        name = entry.removeprefix("CONSTRAINT ")
        if name != entry and any(name.startswith(f"{table} ") for table in tables):
            yield f"a constraint was there when the backup was taken and is not now: {name}"


def _beside_only(session: Inspection, then: Fingerprint, live: LiveReading) -> frozenset[str]:
    """Tables of the backup that cannot be merged: missing, unreadable, of other or no columns, inherited from."""
    tables = live.figures.tables
    other = {
        name
        for name, table in then.tables.items()
        if name not in tables or not table.non_null or not table.is_alike(tables[name])
    }
    other |= {qualified_name(*row) for row in session.rows(_INHERITED_FROM)}
    other |= {name for name in then.tables if family(name, then.tables) & live.unreadable}
    return frozenset(other)


# -- findings


def _of_loss(session: Inspection, then: Fingerprint, live: LiveReading, loss: Loss) -> Finding:
    finding = Finding(loss.kind, loss.name, loss.sentence, column=loss.column, rows=loss.lost)
    if loss.kind == "large_objects":
        return finding
    if loss.kind == "sequence":
        owner = then.sequences[loss.name].owned_by
        missing = loss.name not in live.figures.sequences
        statement = "" if missing else _setval(session, then, loss)
        return replace(finding, table=owner, rows=None, statement=statement)
    return replace(finding, table=loss.name, restore=(loss.name,))


def _setval(session: Inspection, then: Fingerprint, loss: Loss) -> str:
    """Move a sequence on to where the backup had it, or to where the rows are by now."""
    reading = then.sequences[loss.name].after or then.sequences[loss.name].before
    assert reading is not None, "a sequence is only judged by a reading"
    sequence = sql.Identifier(*split_qualified_name(loss.name)).as_string(session.connection)
    literal = sql.Literal(sequence).as_string(session.connection)
    upwards = reading.increment > 0
    values = [str(loss.expected)]
    for table, column in session.rows(_OWNING_COLUMN, (sequence,)):
        extreme = "max" if upwards else "min"
        values.append(f"(SELECT {extreme}({column}) {reading.increment:+d} FROM {table})")
    furthest = f"{'greatest' if upwards else 'least'}({', '.join(values)})"
    return f"SELECT pg_catalog.setval({literal}, {furthest}, false);"


def _of_violations(
    violations: Sequence[Violation],
    base: _Base | None,
    listing: Mapping[str, str] | None,
    live: LiveReading,
    losses: Sequence[Loss],
    notes: list[str],
) -> Iterator[Finding]:
    for each in violations:
        if (
            base is not None
            and not each.validated
            and _was_not_valid_then(each, base.fingerprint, listing or {})
        ):
            notes.append(f"{each.table}: {each.sentence}, and was when the backup was taken")
            continue
        yield Finding(
            each.kind,
            each.table,
            each.sentence,
            table=each.table,
            column=each.column,
            constraint=each.constraint,
            rows=each.rows,
            restore=_puts_right(each, base, live, losses),
        )


def _was_not_valid_then(violation: Violation, then: Fingerprint, listing: Mapping[str, str]) -> bool:
    """Whether the same constraint did not hold for all rows at the time of the backup either."""
    if violation.kind == "not_null":  # which no listing has, but nulls were counted
        table = then.tables.get(violation.table)
        return table is not None and table.non_null.get(violation.column or "", table.rows) < table.rows
    entry = f"CONSTRAINT {violation.table} {violation.constraint}"
    return entry in listing and listing[entry] == then.listing.get(entry)


def _puts_right(
    violation: Violation, base: _Base | None, live: LiveReading, losses: Sequence[Loss]
) -> tuple[str, ...]:
    """The tables that must come back for a violated constraint.

    A row that refers to nothing has lost its parent, or was given a wrong one. If the parent's table has lost
    rows they come back, if it is what it was the fault is the child's, and else both do.
    """
    if violation.parent is None or base is None or violation.parent == violation.table:
        return (violation.table,)
    then, now = base.fingerprint.tables, live.figures.tables
    parents = family(violation.parent, then)
    lost = {loss.name for loss in losses if loss.kind in ("rows", "rewritten", "table")} & parents
    if lost:
        return tuple(sorted(lost))
    unchanged = all(
        name in then
        and name in now
        and then[name].content is not None
        and then[name].content == now[name].content
        for name in parents
    )
    return (violation.table,) if unchanged else (violation.parent, violation.table)
