"""English and French: how words are filled with values, plural forms, quantities, names of tiers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Formatter
from typing import Literal, Protocol, runtime_checkable

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.foreign_text import in_a_sentence, visible
from recyclic_backups.own_command import as_called
from recyclic_backups.quantities import human_bytes, human_seconds

Locale = Literal["en", "fr"]

Pair = tuple[str, str]
"""The same in English and in French."""

_NO_LINE_ENDS = re.compile(r" (?=[:;?!»])|(?<=«) ")
"""The spaces that French has before double punctuation marks and inside quotation marks."""

_FORMATTER = Formatter()
_NO_BREAK_SPACE = "\u00a0"
_NARROW_SPACE = "\u202f"  # between the thousands of a number

TIER_NAMES: Mapping[Tier, Pair] = {
    Tier.DAILY: ("daily", "quotidienne"),
    Tier.WEEKLY: ("weekly", "hebdomadaire"),
    Tier.MONTHLY: ("monthly", "mensuelle"),
    Tier.CHECKPOINT: ("checkpoint", "point de contrôle"),
}


@runtime_checkable
class Bilingual(Protocol):
    """A value that is written otherwise in each language."""

    def text(self, locale: Locale = "en") -> str:
        """As it is written there."""
        ...


def tier_name(tier: Tier, locale: Locale) -> str:
    """What a tier is called."""
    return TIER_NAMES[tier][locale == "fr"]


def fill(words: Pair, values: Mapping[str, object], locale: Locale) -> str:
    """The words in a language, with their values: texts, numbers, tiers, quantities, sentences, and tuples of these.

    ``{name}`` is a value. ``{name:# backup|# backups}`` is the form that the number ``name`` asks for, in which ``#``
    is the number; in French the form for one is also the form for none.

    Spaces before a colon, and how our own commands are called here, are put into the words and never into a value: a
    secret in it must stay as it is, or nobody would recognise it.
    """
    parts = []
    for own, name, forms, _ in _FORMATTER.parse(words[locale == "fr"]):
        parts.append(_ours(own, locale))
        if name is not None:
            value = values[name]
            parts.append(_counted(value, forms, locale) if forms else _written(value, locale))
    return "".join(parts)


def is_singular(number: float, locale: Locale) -> bool:
    """Whether a number wants the singular: 1 in English, 0 and 1 in French (Unicode CLDR, plural rules, cardinal)."""
    return abs(number) < 2 if locale == "fr" else number == 1


def listed(texts: Iterable[str], locale: Locale) -> str:
    """Clauses one after the other, as they are separated in the language."""
    return ("\u00a0; " if locale == "fr" else "; ").join(texts)


def _ours(words: str, locale: Locale) -> str:
    """Our own words as they are set and called here."""
    return as_called(_NO_LINE_ENDS.sub(_NO_BREAK_SPACE, words) if locale == "fr" else words)


def _counted(number: object, forms: str, locale: Locale) -> str:
    one, _, many = forms.partition("|")
    form = one if isinstance(number, int | float) and is_singular(number, locale) else many
    return _ours(form, locale).replace("#", _written(number, locale))


def _written(value: object, locale: Locale) -> str:
    if isinstance(value, Tier):
        return tier_name(value, locale)
    if isinstance(value, Bilingual):
        return value.text(locale)
    if isinstance(value, tuple):
        return listed((_written(each, locale) for each in value), locale)
    if isinstance(value, int):
        return f"{value:,}".replace(",", _NARROW_SPACE)  # the same in both languages
    # Names and reasons are other people's: they end no line of a mail or a log, and do nothing to a terminal.
    return visible(str(value))


@dataclass(frozen=True, slots=True)
class Untranslated:
    """What there is in English only: what an error, a program or somebody else said."""

    english: str

    def __str__(self) -> str:
        return self.text()

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


def _comma(text: str) -> str:
    return text.replace(".", ",")
