"""English and French: names of tiers, quantities as each language writes them, sentences with values. Pure.

What has something to say keeps what its sentence is made of, not a text: the command line, a report and a mail may
say it in another language each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, runtime_checkable

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.foreign_text import in_a_sentence, visible
from recyclic_backups.own_command import as_called
from recyclic_backups.quantities import human_bytes, human_seconds

Locale = Literal["en", "fr"]

Pair = tuple[str, str]
"""The same in English and in French."""

NO_LINE_ENDS = re.compile(r" (?=[:;?!»])|(?<=«) ")
"""The spaces that French has before double punctuation marks and inside quotation marks."""

_NO_BREAK_SPACE = "\u00a0"
_NARROW_SPACE = "\u202f"  # between the thousands of a number

TIER_NAMES: Mapping[Tier, Pair] = {
    Tier.DAILY: ("daily", "quotidienne"),
    Tier.WEEKLY: ("weekly", "hebdomadaire"),
    Tier.MONTHLY: ("monthly", "mensuelle"),
    Tier.CHECKPOINT: ("checkpoint", "point de contrôle"),
}


@runtime_checkable
class Sayable(Protocol):
    """What says itself in a language."""

    def text(self, locale: Locale = "en") -> str:
        """As it is written there."""
        ...


def column(locale: Locale) -> int:
    """Which of a :data:`Pair` is in that language."""
    return 1 if locale == "fr" else 0


def tier_name(tier: Tier, locale: Locale) -> str:
    """What a tier is called."""
    return TIER_NAMES[tier][column(locale)]


def sentence(words: Pair, values: Mapping[str, object], locale: Locale) -> str:
    """The sentence in a language, with its values: texts, numbers, tiers, what says itself, and tuples of these."""
    said = {name: _worded(value, locale) for name, value in values.items()}
    return as_called(words[column(locale)].format(**said))


def listed(texts: Iterable[str], locale: Locale) -> str:
    """Clauses one after the other, as they are separated in the language."""
    return (" ; " if locale == "fr" else "; ").join(texts)


def _worded(value: object, locale: Locale) -> str:
    if isinstance(value, Tier):
        return tier_name(value, locale)
    if isinstance(value, Sayable):
        return value.text(locale)
    if isinstance(value, tuple):
        return listed((_worded(each, locale) for each in value), locale)
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")  # a narrow space: the same in both languages
    # Names and reasons are other people's: they end no line of a mail or a log, and do nothing to a terminal.
    return visible(str(value))


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence in both languages with its values, where it needs no code."""

    words: Pair
    values: Mapping[str, object]

    def text(self, locale: Locale = "en") -> str:
        """The sentence in a language."""
        return sentence(self.words, self.values, locale)


@dataclass(frozen=True, slots=True)
class Untranslated:
    """What there is in English only: what an error, a program or somebody else said."""

    english: str

    def text(self, locale: Locale = "en") -> str:
        """As it is; in French in quotation marks, with the no-break spaces that these have there."""
        said = in_a_sentence(self.english)
        return f"«\u00a0{said}\u00a0»" if locale == "fr" and said else said


@dataclass(frozen=True, slots=True)
class Bytes:
    """A size in a sentence."""

    size_bytes: float

    def text(self, locale: Locale = "en") -> str:
        """``48.2 MB``; ``48,2 Mo``."""
        english = human_bytes(self.size_bytes)
        return _comma(english).replace("B", "o") if locale == "fr" else english


@dataclass(frozen=True, slots=True)
class Seconds:
    """A stretch of time in a sentence."""

    seconds: float

    def text(self, locale: Locale = "en") -> str:
        """``25 h``, ``3 days 2 h``; ``3 jours 2 h``. What is zero at the end is left out."""
        english = human_seconds(self.seconds)
        for unit, rest in (("h", " 0 min"), ("min", " 0 s"), ("days", " 0 h")):
            if english.endswith(f" {unit}{rest}"):
                english = english.removesuffix(rest)
        return _comma(english).replace("days", "jours") if locale == "fr" else english


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment in a sentence, to the minute, in UTC: the sentence says so."""

    at: datetime

    def text(self, _locale: Locale = "en") -> str:
        """``2026-11-22 02:00``."""
        return f"{self.at.astimezone(UTC):%Y-%m-%d %H:%M}"


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, 0 to 1, in a sentence."""

    of_one: float

    def text(self, locale: Locale = "en") -> str:
        """``99.95 %``; ``99,95 %``. Never rounded up to a whole that it is not."""
        percent = 100 * self.of_one
        digits = 2 if percent > 99 else 1
        shown = min(round(percent, digits), 100 - 10**-digits) if percent < 100 else 100.0
        english = f"{shown:.{digits}f}".rstrip("0").rstrip(".") + " %"
        return _comma(english) if locale == "fr" else english


def typeset(template: str, locale: Locale) -> str:
    """French wants a space before a double punctuation mark and inside its quotation marks, and no line to end there.

    Done to our own words only: a secret in a value must stay as it is, or nobody would recognise it.
    """
    if locale != "fr":
        return template
    return NO_LINE_ENDS.sub(_NO_BREAK_SPACE, template)


def squeezed(text: str) -> str:
    """Every stretch of space as one; one at which no line may end stays one."""

    def one(stretch: re.Match[str]) -> str:
        return next((each for each in (_NO_BREAK_SPACE, _NARROW_SPACE) if each in stretch[0]), " ")

    return re.sub(r"\s+", one, text).strip()


def _comma(text: str) -> str:
    return text.replace(".", ",")
