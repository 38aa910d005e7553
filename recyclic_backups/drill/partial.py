"""The partial scenario: damage nobody was told of is found, and put right without losing the day's work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.diagnose.diagnose import diagnose
from recyclic_backups.diagnose.report import Diagnosis, family
from recyclic_backups.drill.inject_damage import (
    Dependent,
    InjectedDamage,
    add_newer_rows,
    depend_on,
    inject_damage,
)
from recyclic_backups.drill.report import ScenarioResult
from recyclic_backups.drill.simple import DrillContext, bring_back, failure, probe, reasons_of
from recyclic_backups.errors import DamagedData, ProgramFailed, Refused
from recyclic_backups.fingerprint.compare import Comparison, compare
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.fingerprint.read import read_fingerprint
from recyclic_backups.merge.merge import MergeReport, merge_backup
from recyclic_backups.progress import timed
from recyclic_backups.restore import database as databases
from recyclic_backups.restore.restore import RestoreReport
from recyclic_backups.restore.selection import Request

_LOCK_TIMEOUT_SECONDS = 60


def run_partial(context: DrillContext, backup: Backup) -> ScenarioResult:
    """Restore a scratch copy, hurt it, let ``diagnose`` find out, put the tables back, and compare both halves.

    The time that counts is that of the repair: diagnosing and putting back. Raises what
    :func:`~recyclic_backups.drill.simple.run_simple` raises, and
    Refused for a backup without fingerprint.
    """
    if backup.manifest.fingerprint is None or _expected(backup).level == "off":
        raise Refused(
            f"{backup.backup_id} has no fingerprint: nothing could tell its tables' damage",
            "drill a backup of this software; adopted files have no fingerprint",
        )
    with context.place.database("partial") as live:
        try:
            copy, comparison, excused = bring_back(context, backup, live)
            copy = replace(copy, comparison=comparison, notes=[*copy.notes, *excused])
            if comparison.differences:
                return ScenarioResult(
                    backup.backup_id, backup.as_of, copy.phases, comparison.differences, comparison
                )
            if copy.database != live:
                return _nothing_to_damage(backup, copy, "what the drill's server could not load is missing")
            return _Accident(context, backup, live).result() or _nothing_to_damage(
                backup, copy, "no table has rows that could be damaged and put back"
            )
        except (DamagedData, ProgramFailed) as found:
            return failure(backup, found)


def _nothing_to_damage(backup: Backup, copy: RestoreReport, why: str) -> ScenarioResult:
    """A database without a table that can be hurt and put back: no failure, and it was restored and compared."""
    note = f"nothing was damaged: {why}; it was restored and compared"
    notes = (*copy.comparison.notes, *copy.notes, note)
    return ScenarioResult(backup.backup_id, backup.as_of, copy.phases, (), copy.comparison, notes=notes)


@dataclass
class _Accident:
    """A hurt copy, and what is found out about it and done to it, step by step."""

    context: DrillContext
    backup: Backup
    live: str
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)

    def result(self) -> ScenarioResult | None:
        """All of it; None where nothing can be damaged."""
        injected, newer, dependent = self._injure()
        if not injected:
            return None
        hurt = self._read()
        found = self._diagnose(injected, hurt)
        # Of a partitioned table diagnose names the partitions; it is put back whole, so that keys to it are judged so.
        damaged = set(found.damaged_tables)
        tables = tuple(sorted({each.table for each in injected if family(each.table, hurt.tables) & damaged}))
        refused = self._require_refusal(tables, dependent) if dependent else ()
        if dependent:
            # What the operator does about a child that would break; the row it referred to is not in the backup.
            with self.context.place.server.connect(self.live) as connection:
                dependent.undo(connection)
            hurt = self._read()
        comparison = self._repair(tables, hurt) if tables else None
        with timed(self.phases, "probes"):
            answers, role = probe(self.context, self.live, self.backup)
        self.reasons.extend(reasons_of(answers))
        return ScenarioResult(
            backup_id=self.backup.backup_id,
            as_of=self.backup.as_of,
            phases=self.phases,
            reasons=tuple(self.reasons),
            # Of the hurt tables only: what the others hold is newer than the backup, and has to be.
            comparison=comparison,
            notes=tuple(self.notes),
            details={
                "wounds": [each.to_json() for each in injected],
                "newer_rows": newer,
                "refused": list(refused),
                "findings": [finding.to_json() for finding in found.findings],
                "commands": list(found.commands),
                "probes": [answer.to_json() for answer in answers],
                "probed_as": role,
            },
        )

    def _injure(self) -> tuple[list[InjectedDamage], dict[str, int], Dependent | None]:
        """The accident, and the work that went on meanwhile."""
        with self.context.place.server.connect(self.live) as connection:
            injected = inject_damage(connection, self.backup.backup_id)
            if not injected:
                return [], {}, None
            newer = add_newer_rows(connection, [each.table for each in injected], self.backup.backup_id)
            dependent = depend_on(connection, [each.table for each in injected])
        if not newer:
            self.notes.append("no table outside the damage offers a key for newer rows; none were added")
        if dependent is None:
            self.notes.append("no damaged table is referred to by another one: no child could break")
        return injected, newer, dependent

    def _diagnose(self, injected: Sequence[InjectedDamage], hurt: Fingerprint) -> Diagnosis:
        with timed(self.phases, "diagnose"):
            found = diagnose(
                # Without history, which could explain rows that went: nobody has worked in this copy.
                Catalog((self.backup,), {}),
                self.context.place.server,
                self.live,
                timeout_seconds=self.context.options.timeout_seconds,
                lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS,
                now=self.context.clock(),
                backup=self.backup,
                progress=self.context.progress,
            )
        for each in injected:
            if not family(each.table, hurt.tables) & set(found.damaged_tables):
                self.reasons.append(f"diagnose did not find that {each.table} was damaged: {each.what}")
        return found

    def _put_back(self, tables: Collection[str]) -> MergeReport:
        put = merge_backup(
            self.context.repository,
            self.backup,
            self.context.place.server,
            self.live,
            Request(tuple(tables)),
            self.context.options,
            clock=self.context.clock,
            throwaway=self.context.place.throwaway,
            progress=self.context.progress,
        )
        if put.merged is not None:
            databases.drop_database(self.context.place.server, put.merged.kept_in)
        return put

    def _require_refusal(self, tables: Collection[str], dependent: Dependent) -> tuple[str, ...]:
        """Putting a table back must not take away a row that newer work refers to."""
        if dependent.parent not in tables:
            return ()
        merged = self._put_back(tables).merged
        if merged is None or merged.clean:
            self.reasons.append(
                f"{dependent.parent} was put back although a newer row of {dependent.child} refers to a row that went"
            )
            return ()
        if not any(dependent.child in sentence for sentence in merged.broken):
            self.reasons.append(f"of the children that would break, {dependent.child} was not listed")
        return merged.broken

    def _repair(self, tables: Collection[str], hurt: Fingerprint) -> Comparison | None:
        with timed(self.phases, "put back"):
            put = self._put_back(tables)
        if put.merged is None:
            self.reasons.extend(put.restored.comparison.differences)
            return put.restored.comparison
        if not put.merged.clean:
            self.reasons.extend(f"would break: {sentence}" for sentence in put.merged.broken)
            return None
        with timed(self.phases, "compare"):
            now = self._read()
            put_right = {part for name in tables for part in family(name, hurt.tables)}
            repaired = compare(_expected(self.backup), now, same_major=True, only_tables=put_right)
            others = sorted(set(hurt.tables) - put_right)
            kept = compare(hurt, now, same_major=True, only_tables=others)
        # Sequences may have gone on; rows may not differ.
        self.reasons.extend(sentence for table in repaired.tables for sentence in table.differences)
        self.reasons.extend(
            f"not asked for, and changed: {sentence}"
            for table in kept.tables
            for sentence in table.differences
        )
        return Comparison(repaired.tables, tuple(self.reasons), repaired.notes)

    def _read(self) -> Fingerprint:
        return read_fingerprint(self.context.place.server, self.live, level=_expected(self.backup).level)


def _expected(backup: Backup) -> Fingerprint:
    return Fingerprint.from_json(backup.manifest.fingerprint)
