"""Leaving: the departures to come, those that leave for the same reason drawn together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recyclic_backups.report.markup import with_quotations
from recyclic_backups.retention.forecast import Departure
from recyclic_backups.texts.language import Locale, listed
from recyclic_backups.texts.text import Text


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


def _shortened(reason: Text, locale: Locale) -> str:
    """A reason without what differs from one backup to the next and can be read beside it."""
    shorter = "report.tier over" if reason.code == "retention.tier_over" else reason.code
    return Text(shorter, with_quotations(reason.values)).text(locale)
