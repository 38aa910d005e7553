"""What stays, what leaves, and why. Pure: the same catalog, settings and moment give the same plan.

A backup stays for any one reason and leaves when there is none. The rules, in the words of docs/retention.md:

- The last N partitions of each tier that have a good backup keep it; one backup in several counts once.
- The newest good backups (RETENTION_MINIMUM), the newest proven one and what is held stay.
- Without a label a backup stays seven days. Unverified and damaged ones stay as long as good ones of their partition
  would and are never counted; nothing leaves that has no newer good backup.
- What is older than RETENTION_MAX_DAYS leaves whatever tier or proof it has, but not the newest good ones and not what
  is held.

**When backups stop, expiry stops.** Places in a tier are only taken by newer good backups. The seven days pass by the
clock of the newest good backup. RETENTION_MAX_DAYS and the ends of holds count only while backups are steady: at
least RETENTION_MINIMUM good ones, and two, in the last thirty days. So a clock that jumped years ahead removes nothing.

**A plan can be carried out in any order, stopped and made again**: no reason to stay depends on a backup that leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.catalog import Backup, Catalog, is_of_the_future
from recyclic_backups.catalog.layout import backup_id_of_manifest
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.catalog.why import why
from recyclic_backups.errors import UsageError
from recyclic_backups.texts.language import Locale
from recyclic_backups.texts.text import Text, say

UNLABELLED = timedelta(days=7)
"""How long a backup without a label stays: time to notice that the one that took its place is worse."""

NOTICE = timedelta(days=30)
"""How long before RETENTION_MAX_DAYS takes a backup it is warned of; how long an adopted one has at least."""

STEADY = timedelta(days=30)
"""In this stretch before now RETENTION_MINIMUM good backups prove that the clock and the backups are running."""

# One backup cannot: its own clock may be the wrong one.
_STEADY_MINIMUM = 2

_ANY_TIME = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Retention:
    """How many distinct backups each tier keeps, and the bounds around them; ``base`` is of chains of base backups."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    checkpoint: int = 5
    minimum: int = 3
    max_days: int = 400
    base: int = 2


class Action(StrEnum):
    """What becomes of a backup."""

    KEEP = "keep"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one backup, with all reasons. ``backup`` is None where its manifest cannot be trusted."""

    backup_id: str
    action: Action
    reasons: tuple[Text, ...]
    backup: Backup | None = None

    def texts(self, locale: Locale = "en") -> tuple[str, ...]:
        """The reasons in a language."""
        return tuple(reason.text(locale) for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class ExpiryPlan:
    """A decision on every backup, newest first; what to know before it is carried out, and what needs somebody.

    ``incidents`` are promises that retention could not keep: somebody has to act. ``steady`` is whether the clock can
    be believed: without that nothing else goes for its age either.
    """

    decisions: tuple[Decision, ...]
    warnings: tuple[Text, ...] = ()
    incidents: tuple[Text, ...] = ()
    steady: bool = False

    @property
    def kept(self) -> list[Decision]:
        """What stays."""
        return [decision for decision in self.decisions if decision.action is Action.KEEP]

    @property
    def expiring(self) -> list[Decision]:
        """What leaves."""
        return [decision for decision in self.decisions if decision.action is Action.EXPIRE]

    @property
    def what_matters(self) -> tuple[Text, ...]:
        """Incidents, then warnings, each saying that it is one."""
        return (
            *(say("retention.incident", sentence=each) for each in self.incidents),
            *(say("retention.warning", sentence=each) for each in self.warnings),
        )

    def to_json(self) -> list[dict[str, Any]]:
        """For reports: ``[{backup_id, action, reasons}]``."""
        return [
            {"backup_id": each.backup_id, "action": each.action.value, "reasons": list(each.texts())}
            for each in self.decisions
        ]


def plan(catalog: Catalog, retention: Retention, calendar: Calendar, now: datetime) -> ExpiryPlan:
    """Decide on every backup of the catalog. ``now`` is aware.

    Backups named in ``catalog.damage`` because their manifest is missing or cannot be trusted stay, and count nowhere.
    """
    return _Planning(catalog, retention, calendar, now).plan()


def expires_for_age_at(backup: Backup, retention: Retention) -> datetime:
    """When RETENTION_MAX_DAYS takes a backup: from then on if ``now`` is later.

    An adopted backup may be older than that on its first day; it gets the notice that every other one has.
    """
    ceiling_at = backup.as_of + timedelta(days=retention.max_days)
    if backup.manifest.source == "adopted":
        return max(ceiling_at, backup.manifest.taken_at + NOTICE)
    return ceiling_at


def _advice_before_ceiling(why: tuple[Text, ...]) -> str:
    """What helps before RETENTION_MAX_DAYS takes a backup that stays for these reasons.

    Proof can come from another backup; a place in a tier was only this one's.
    """
    is_the_proof = any(reason.code == "retention.newest_proven" for reason in why)
    return "retention.prove_another" if is_the_proof else "retention.hold_it"


def _places_of(tier: Tier, retention: Retention) -> int:
    """How many distinct backups of a tier are kept."""
    counts = {
        Tier.DAILY: retention.daily,
        Tier.WEEKLY: retention.weekly,
        Tier.MONTHLY: retention.monthly,
        Tier.CHECKPOINT: retention.checkpoint,
    }
    return counts[tier]


class _Planning:
    """One plan in the making: reasons to stay and reasons to leave, collected rule by rule."""

    def __init__(self, catalog: Catalog, retention: Retention, calendar: Calendar, now: datetime) -> None:
        self.catalog, self.retention, self.calendar, self.now = catalog, retention, calendar, now
        self.stays: dict[str, list[Text]] = {backup.backup_id: [] for backup in catalog}
        self.leaves: dict[str, list[Text]] = {backup.backup_id: [] for backup in catalog}
        self.future = {backup.backup_id for backup in catalog if self._is_of_the_future(backup)}
        self.present = [backup for backup in catalog if backup.backup_id not in self.future]
        self.good = [backup for backup in self.present if backup.good]
        recent = [backup for backup in self.good if now - backup.as_of <= STEADY]
        self.steady_count = max(retention.minimum, _STEADY_MINIMUM)
        self.steady = len(recent) >= self.steady_count

    def plan(self) -> ExpiryPlan:
        """Apply every rule; a backup without any reason to stay leaves."""
        self._keep_what_no_rule_may_take()
        too_old = {each.backup_id for each in self.present if self._is_past_ceiling(each)}
        sacred = {backup_id for backup_id, reasons in self.stays.items() if reasons}
        taken = too_old - sacred if self.steady else set()
        for backup in self.present:
            if backup.backup_id in taken:
                self._leave(backup, say("retention.ceiling", days=self.retention.max_days))
        rest = [backup for backup in self.present if backup.backup_id not in taken]
        self._keep_newest_proven(rest)
        for tier in Tier:
            self._keep_tier(tier, rest)
        self._judge_unlabelled(rest)
        for backup in self.present:
            self._tell_damage(backup)
        decisions = tuple(self._decision(backup) for backup in self.catalog)
        warnings = [*self._ceiling_warnings(too_old, sacred), *self._damage_warnings(decisions)]
        return ExpiryPlan(
            decisions=(*decisions, *self._untrusted()),
            warnings=tuple(warnings),
            incidents=tuple(self._incidents(too_old - sacred)),
            steady=self.steady,
        )

    # What stays whatever its age

    def _keep_what_no_rule_may_take(self) -> None:
        for backup in self.catalog:
            if backup.backup_id in self.future:
                self._keep(backup, say("retention.future", date=self._date(backup.as_of)))
            self._keep_held(backup)
        for backup in self.present:
            if not self.good:
                self._keep(backup, say("retention.no_good"))
            elif not backup.good and backup.as_of >= self.good[0].as_of:
                self._keep(backup, say("retention.not_replaced"))
        for number, backup in enumerate(self.good[: max(self.retention.minimum, 1)]):
            if number == 0:
                self._keep(backup, say("retention.newest_good"))
            if self.retention.minimum > 1:
                self._keep(backup, say("retention.minimum", count=self.retention.minimum))

    def _keep_held(self, backup: Backup) -> None:
        hold = backup.hold
        # Only while backups are steady can the clock be believed that a hold is over.
        if hold is None or (self.steady and not hold.holds(self.now)):
            return
        if hold.until is None:
            self._keep(backup, say("retention.held_for_ever", reason=hold.reason))
        else:
            last_day = self.calendar.day_that_ends(hold.until) or self._date(hold.until)
            code = "retention.held" if hold.holds(self.now) else "retention.held_on"
            self._keep(backup, say(code, until=last_day, reason=hold.reason, window=STEADY.days))

    # What stays for its place

    def _keep_newest_proven(self, rest: Iterable[Backup]) -> None:
        # By what counts today: reports name that one, which a proof of the future does not replace. And by a proof of
        # the future: else time alone would take the one that is proven until then.
        good = [each for each in rest if each.good]
        proven = (
            next((each for each in good if proven_at(each, moment) is not None), None)
            for moment in (self.now, _ANY_TIME)
        )
        for backup in dict.fromkeys(each.backup_id for each in proven if each is not None):
            self.stays[backup].append(say("retention.newest_proven"))

    def _keep_tier(self, tier: Tier, rest: Iterable[Backup]) -> None:
        """The newest partitions with a good backup, until enough distinct ones are counted."""
        places = sorted(
            ((place, backup) for backup in rest for place in self._places(tier, backup)),
            key=lambda entry: (entry[0], entry[1].as_of),
            reverse=True,
        )
        count = _places_of(tier, self.retention)
        counted: list[str] = []
        for place, backup in places:
            label = {} if tier is Tier.CHECKPOINT else {"tier": tier, "partition": place}
            checkpoint = tier is Tier.CHECKPOINT
            if not backup.good and len(counted) < count:
                code = "retention.checkpoint_not_counted" if checkpoint else "retention.tier_not_counted"
                self._keep(backup, say(code, **label))
            elif backup.backup_id in counted:
                self._keep(backup, say("retention.tier_shared", **label))
            elif len(counted) < count:
                counted.append(backup.backup_id)
                code = "retention.checkpoint_kept" if checkpoint else "retention.tier_kept"
                self._keep(backup, say(code, **label, number=len(counted), count=count))
            else:
                code = "retention.checkpoint_over" if checkpoint else "retention.tier_over"
                self._leave(backup, say(code, **label, count=count))

    def _places(self, tier: Tier, backup: Backup) -> list[str]:
        """The partitions of a tier that a backup has; of checkpoints, which have none, its own moment."""
        labels = [label for label in backup.labels if label.tier is tier]
        if not tier.has_calendar:
            is_one = bool(labels) or backup.manifest.tier is tier
            return [backup.as_of.isoformat()] if is_one else []
        places = []
        for label in labels:
            try:
                self.calendar.window(tier, label.partition)
            except UsageError:
                self._keep(backup, say("retention.unknown_partition", tier=tier, partition=label.partition))
            else:
                places.append(label.partition)
        return places

    def _judge_unlabelled(self, rest: Iterable[Backup]) -> None:
        for backup in rest:
            if backup.labels or backup.manifest.tier is Tier.CHECKPOINT or not self.good:
                continue
            since = self._unlabelled_since(backup)
            date = self._date(since)
            # By the clock of the newest good backup: when backups stop, the seven days stop.
            if self.good[0].as_of - since > UNLABELLED:
                self._leave(backup, say("retention.unlabelled_over", since=date, days=UNLABELLED.days))
            else:
                self._keep(
                    backup,
                    say("retention.unlabelled_waits", since=date, until=self._date(since + UNLABELLED)),
                )

    def _unlabelled_since(self, backup: Backup) -> datetime:
        """When it lost its partition to another, or when it was taken (adopted); what is of the future is not asked."""
        manifest = backup.manifest
        moments = [manifest.taken_at]
        label = self.catalog.labels.get((manifest.tier, manifest.partition))
        if label is not None:
            moments.append(label.labelled_at)
        past = (moment for moment in moments if not is_of_the_future(moment, self.now))
        return max(past, default=backup.as_of)

    # What is said

    def _decision(self, backup: Backup) -> Decision:
        stays, leaves = self.stays[backup.backup_id], self.leaves[backup.backup_id]
        if stays or not leaves:
            return Decision(backup.backup_id, Action.KEEP, tuple(stays), backup)
        return Decision(backup.backup_id, Action.EXPIRE, tuple(leaves), backup)

    def _untrusted(self) -> Iterable[Decision]:
        known = {backup.backup_id for backup in self.catalog}
        for damage in self.catalog.damage:
            backup_id = backup_id_of_manifest(damage.name)
            if backup_id is not None and backup_id not in known:
                known.add(backup_id)
                reason = say("retention.untrusted", problem=damage.problem)
                yield Decision(backup_id, Action.KEEP, (reason,))

    def _tell_damage(self, backup: Backup) -> None:
        if backup.known_damaged:
            found = (each for each in backup.checks if each.kind == "verify" and not each.passed)
            check = max(found, key=lambda each: each.checked_at)
            problem = why(check) or "?"
            self._leave(backup, say("retention.damaged", date=self._date(check.checked_at), problem=problem))
        elif not backup.good:
            self._leave(backup, say("retention.unverified"))

    def _damage_warnings(self, decisions: Iterable[Decision]) -> Iterable[Text]:
        for decision in decisions:
            if decision.action is Action.EXPIRE and decision.backup and decision.backup.known_damaged:
                yield say("retention.damaged_leaves", backup_id=decision.backup_id, why=decision.reasons)

    def _ceiling_warnings(self, too_old: set[str], sacred: set[str]) -> Iterable[Text]:
        newest_good = self.good[0].backup_id if self.good else None
        for backup in self.present:
            backup_id, why = backup.backup_id, tuple(self.stays[backup.backup_id])
            ends_at = expires_for_age_at(backup, self.retention)
            days = self.retention.max_days
            if backup_id in too_old & sacred and backup_id != newest_good:
                yield say("retention.ceiling_passed", backup_id=backup_id, days=days, why=why)
            elif why and backup_id not in too_old | sacred and ends_at - self.now <= NOTICE:
                date = self._date(ends_at)
                advice = say(_advice_before_ceiling(why))
                yield say(
                    "retention.ceiling_soon",
                    backup_id=backup_id,
                    days=days,
                    date=date,
                    why=why,
                    advice=advice,
                )

    def _incidents(self, takable: set[str]) -> Iterable[Text]:
        days = self.retention.max_days
        if self.catalog.backups and not any(backup.good for backup in self.catalog):
            yield say("retention.no_good_backup", number=len(self.catalog))
        if self.good and self._is_past_ceiling(self.good[0]):
            yield say("retention.newest_past_ceiling", backup_id=self.good[0].backup_id, days=days)
        if takable and not self.steady:
            count, window = self.steady_count, STEADY.days
            yield say(
                "retention.ceiling_suspended", number=len(takable), days=days, count=count, window=window
            )

    def _keep(self, backup: Backup, reason: Text) -> None:
        self.stays[backup.backup_id].append(reason)

    def _leave(self, backup: Backup, reason: Text) -> None:
        self.leaves[backup.backup_id].append(reason)

    def _is_past_ceiling(self, backup: Backup) -> bool:
        return self.now > expires_for_age_at(backup, self.retention)

    def _is_of_the_future(self, backup: Backup) -> bool:
        """Its moment, or a partition it is labelled for: it must not push out what is of the present."""
        if is_of_the_future(backup.as_of, self.now):
            return True
        for label in backup.labels:
            if label.tier.has_calendar:
                try:
                    begins_at = self.calendar.window(label.tier, label.partition).start_at
                except UsageError:
                    continue
                if is_of_the_future(begins_at, self.now):
                    return True
        return False

    def _date(self, moment: datetime) -> str:
        return moment.astimezone(self.calendar.timezone).date().isoformat()
