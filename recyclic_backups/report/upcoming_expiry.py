"""Leaving: the departures to come, those that leave for the same reason drawn together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.languages import Locale, listed, tier_name
from recyclic_backups.report.markup import quoted
from recyclic_backups.report.words import say
from recyclic_backups.retention.forecast import Departure
from recyclic_backups.retention.wording import Code, Sentence


@dataclass(frozen=True, slots=True)
class Leaving:
    """Departures for one reason, the next first."""

    reason: str
    departures: tuple[Departure, ...]


def leaving(departures: Sequence[Departure], locale: Locale) -> list[Leaving]:
    """In the order in which the first of each leaves."""
    groups: dict[str, list[Departure]] = {}
    for each in departures:
        # One dump that stood for four missed days leaves for four places, which read alike here.
        reasons = dict.fromkeys(_shortened(sentence, locale) for sentence in each.reasons)
        reason = listed(reasons, locale)
        groups.setdefault(reason, []).append(each)
    return [Leaving(reason, tuple(group)) for reason, group in groups.items()]


def _shortened(reason: Sentence, locale: Locale) -> str:
    """A reason without what differs from one backup to the next and can be read beside it."""
    values = reason.values
    tier = values.get("tier")
    if reason.code is Code.TIER_OVER and isinstance(tier, Tier):
        return say("tier over", locale, tier=tier_name(tier, locale), count=values["count"])
    if reason.code is Code.DAMAGED and isinstance(values["problem"], str):
        return Sentence(reason.code, {**values, "problem": quoted(values["problem"])}).text(locale)
    return reason.text(locale)
