"""The monthly retention review: what is kept and why, what left and when, what the law asks, what leaves next. Pure.

Markdown in English or French, for the person who answers for the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.catalog.documents import Tombstone
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.foreign_text import markdown
from recyclic_backups.retention.forecast import departures
from recyclic_backups.retention.policy import Action, Decision, Retention, expires_for_age_at, plan
from recyclic_backups.retention.space_forecast import StoredWal, forecast_space
from recyclic_backups.retention.wal_policy import plan_wal
from recyclic_backups.texts.language import Bytes, Locale, listed, tier_name
from recyclic_backups.texts.text import say


def review(
    catalog: Catalog,
    retention: Retention,
    calendar: Calendar,
    now: datetime,
    *,
    database: str,
    locale: Locale = "en",
    wal: StoredWal | None = None,
    free_bytes: int | None = None,
    past_days: int = 31,
    coming_days: int = 31,
) -> str:
    """The review of a database's catalog, and of its server's ``wal``, as Markdown.

    ``now`` is aware; dates are those of the calendar's zone.
    """
    made = _Review(catalog, retention, calendar, now, locale, wal, free_bytes)
    return made.markdown(database, past_days, coming_days)


class _Review:
    """One review in one language."""

    def __init__(
        self,
        catalog: Catalog,
        retention: Retention,
        calendar: Calendar,
        now: datetime,
        locale: Locale,
        wal: StoredWal | None,
        free_bytes: int | None,
    ) -> None:
        self.wal, self.free_bytes = wal, free_bytes
        self.catalog, self.retention, self.calendar, self.now = catalog, retention, calendar, now
        self.locale: Locale = locale
        self.plan = plan(catalog, retention, calendar, now)

    def markdown(self, database: str, past_days: int, coming_days: int) -> str:
        """All of it, in the order in which somebody reads who has one minute."""
        parts = [
            f"# {self.text('title', database=markdown(database))}",
            self.text("made", date=self.date(self.now), timezone=self.calendar.timezone.key),
            self.summary(),
            self.text("rules", **{name: getattr(self.retention, name) for name in self.retention.__slots__}),
        ]
        for name, sentences in (("incidents", self.plan.incidents), ("warnings", self.plan.warnings)):
            if sentences:
                lines = [f"- {markdown(sentence.text(self.locale))}" for sentence in sentences]
                parts += [f"## {self.text(name)}", "\n".join(lines)]
        parts += [f"## {self.text('kept')}", self.kept()]
        if self.wal is not None:
            parts += [f"## {self.text('wal')}", self.wal_summary(self.wal), self.base_backups(self.wal)]
        parts += [f"## {self.text('space')}", self.space(coming_days)]
        parts += [f"## {self.text('left', days=past_days)}", self.left(past_days)]
        parts += [f"## {self.text('next')}", self.text("if", days=coming_days), self.next(coming_days)]
        parts += [f"## {self.text('law')}", self.text("gdpr", max_days=self.retention.max_days)]
        return "\n\n".join(parts) + "\n"

    def summary(self) -> str:
        """Counts and sizes, or that there is nothing."""
        backups = self.catalog.backups
        if not backups:
            return self.text("nothing")
        return self.text(
            "summary",
            count=len(backups),
            size=self.size(sum(backup.manifest.stored_bytes for backup in backups)),
            good=sum(backup.good for backup in backups),
            proven=sum(proven_at(backup, self.now) is not None for backup in backups),
            held=sum(backup.is_held(self.now) for backup in backups),
            oldest=self.date(backups[-1].as_of),
            newest=self.date(backups[0].as_of),
        )

    def kept(self) -> str:
        """A row for each backup that stays."""
        return self.table("head kept", (self.kept_row(decision) for decision in self.plan.kept))

    def kept_row(self, decision: Decision) -> list[str]:
        """Its cells; of one whose manifest cannot be trusted there is nothing to tell but that."""
        backup = decision.backup
        why = listed(decision.texts(self.locale), self.locale)
        if backup is None:
            return [self.text("unreadable"), decision.backup_id, "-", "-", why, "-"]
        size = self.size(backup.manifest.stored_bytes)
        return [
            self.date(backup.as_of),
            decision.backup_id,
            self.tiers(backup),
            size,
            why,
            self.last_day(backup),
        ]

    def last_day(self, backup: Backup) -> str:
        """When it leaves at the latest if backups go on; a dash where a hold has no end."""
        ends_at = expires_for_age_at(backup, self.retention)
        if backup.hold is None:
            return self.date(ends_at)
        return "-" if backup.hold.until is None else self.date(max(ends_at, backup.hold.until))

    def wal_summary(self, wal: StoredWal) -> str:
        """What base backups and WAL take, and what of it leaves now."""
        return self.text(
            "wal summary",
            count=len(wal.bases),
            bases=self.size(sum(each.manifest.stored_bytes for each in wal.bases)),
            wal=self.size(wal.listing.stored_bytes),
            leaving=self.size(wal.leaving_bytes(self.retention.base, self.now)),
        )

    def base_backups(self, wal: StoredWal) -> str:
        """A row for each base backup: whether it stays, and why."""
        decided = plan_wal(wal.bases, wal.listing, wal.histories, (), self.retention.base, self.now)
        return self.table(
            "head bases",
            (
                [
                    self.date(each.base.as_of),
                    each.base.base_id,
                    self.size(each.base.manifest.stored_bytes),
                    self.text("stays" if each.action is Action.KEEP else "leaves"),
                    listed((why.text(self.locale) for why in each.reasons), self.locale),
                ]
                for each in decided.decisions
            ),
        )

    def space(self, days: int) -> str:
        """How the storage grows, and when it is full."""
        found = forecast_space(
            self.catalog,
            self.wal,
            self.retention,
            self.calendar,
            self.now,
            free_bytes=self.free_bytes,
            days=days,
        )
        said = [each.text(self.locale) for each in found.sentences()]
        if found.full_on is None and self.free_bytes is not None:
            said.append(self.text("not full", days=days))
        return " ".join(said)

    def left(self, days: int) -> str:
        """A row for each tombstone of the last days, the newest first."""
        since = self.now - timedelta(days=days)
        gone = [
            (each.expired_at, each)
            for each in self.catalog.expired
            if each.expired_at is not None and since <= each.expired_at
        ]
        newest_first = sorted(gone, key=lambda entry: (entry[0], entry[1].backup_id), reverse=True)
        return self.table("head left", (self.left_row(at, tombstone) for at, tombstone in newest_first))

    def left_row(self, expired_at: datetime, tombstone: Tombstone) -> list[str]:
        """Its cells. The reasons are those written down when it left, in English."""
        as_of = "-" if tombstone.as_of is None else self.date(tombstone.as_of)
        size = self.size(tombstone.stored_bytes)
        return [self.date(expired_at), as_of, tombstone.backup_id, size, "; ".join(tombstone.reasons) or "-"]

    def next(self, days: int) -> str:
        """A row for each departure to come."""
        coming = departures(self.catalog, self.retention, self.calendar, self.now, days=days)
        return self.table(
            "head next",
            (
                [
                    each.day.isoformat(),
                    each.backup_id,
                    listed((why.text(self.locale) for why in each.reasons), self.locale),
                ]
                for each in coming
            ),
        )

    def tiers(self, backup: Backup) -> str:
        """The names of its tiers."""
        return ", ".join(tier_name(tier, self.locale) for tier in Tier if tier in backup.tiers) or "-"

    def table(self, head: str, rows: Iterable[Sequence[str]]) -> str:
        """A Markdown table, or that there is nothing in it."""
        header = self.text(head)
        lines = [f"| {' | '.join(markdown(cell) for cell in row)} |" for row in rows]
        if not lines:
            return self.text("none")
        return "\n".join([header, "|---" * (header.count("|") - 1) + "|", *lines])

    def text(self, name: str, **values: object) -> str:
        """One of the fixed texts."""
        return say(f"review.{name}", **values).text(self.locale)

    def size(self, size_bytes: int) -> str:
        """A size as it is written in the language."""
        return Bytes(size_bytes).text(self.locale)

    def date(self, moment: datetime) -> str:
        """The day on the operator's calendar."""
        return moment.astimezone(self.calendar.timezone).date().isoformat()
