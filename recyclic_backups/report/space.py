"""Space: what could leave the storage besides what leaves anyway. Pure; nothing here decides that it does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.health.survey import Survey
from recyclic_backups.retention.policy import Retention, plan
from recyclic_backups.texts.language import Bytes, Locale
from recyclic_backups.texts.report import report_text


@dataclass(frozen=True, slots=True)
class Saving:
    """A decision that somebody could take, and what it would free."""

    kind: str
    name: str
    value: str
    freed_bytes: int

    def text(self, locale: Locale = "en") -> str:
        """The sentence."""
        return report_text(
            self.kind, locale, name=self.name, value=self.value, size=Bytes(self.freed_bytes).text(locale)
        )


def savings(survey: Survey) -> list[Saving]:
    """What expiry would free now, and what shorter retention or letting go of holds would free beyond that.

    The policy is asked each time, so what it protects is never among it. Of a setting half of what it is, or a half of
    that, until it frees anything. The largest first, nothing that frees nothing.
    """

    retention, calendar, now = survey.terms.retention, survey.terms.calendar, survey.measured_at

    def leaving(catalog: Catalog, retention: Retention) -> int:
        return sum(
            decision.backup.manifest.stored_bytes
            for decision in plan(catalog, retention, calendar, now).expiring
            if decision.backup is not None
        )

    stored = None if survey.facts.wal is None else survey.facts.wal.stored

    def wal_leaving(keep: int) -> int:
        return 0 if stored is None else stored.leaving_bytes(keep, now)

    anyway, wal_anyway = leaving(survey.catalog, retention), wal_leaving(retention.base)
    found = [Saving("saving expiry", "expire", "", anyway + wal_anyway)]
    for fewer in range(retention.base - 1, 0, -1):
        freed = wal_leaving(fewer) - wal_anyway
        if freed > 0:
            found.append(Saving("saving setting", "RETENTION_BASE", str(fewer), freed))
            break
    for name, count, least in (
        ("RETENTION_DAILY", retention.daily, retention.minimum),
        ("RETENTION_WEEKLY", retention.weekly, 0),
        ("RETENTION_MONTHLY", retention.monthly, 0),
        ("RETENTION_CHECKPOINT", retention.checkpoint, 0),
    ):
        fewer = count
        while fewer > least:
            fewer = max(fewer // 2, least)
            shorter = replace(retention, **{name.removeprefix("RETENTION_").lower(): fewer})
            freed = leaving(survey.catalog, shorter) - anyway
            if freed > 0:
                found.append(Saving("saving setting", name, str(fewer), freed))
                break
    for backup in survey.catalog:
        if backup.is_held(now):
            let_go = tuple(
                replace(each, hold=None) if each.backup_id == backup.backup_id else each
                for each in survey.catalog
            )
            freed = leaving(replace(survey.catalog, backups=let_go), retention) - anyway
            found.append(Saving("saving hold", backup.backup_id, "", freed))
    return sorted(
        (each for each in found if each.freed_bytes > 0), key=lambda each: each.freed_bytes, reverse=True
    )
