"""Text: a sentence that can be said in English and in French. Pure.

A part of the house that has something to say keeps a Text, which is made of a code and values. The command line, the
page and a mail may say it in another language each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recyclic_backups.texts import alerts, commands, findings, report, retention, review
from recyclic_backups.texts.language import Locale, Pair, fill

WORDS: Mapping[str, Pair] = {
    f"{home}.{name}": words
    for home, table in {
        "alerts": alerts.REASONS,
        "expire": commands.EXPIRE,
        "finding": findings.WORDS,
        "check": findings.CHECKS,
        "key_sheet": commands.KEY_SHEET,
        "report": report.WORDS,
        "retention": retention.WORDS,
        "review": review.WORDS,
        "scenario": findings.SCENARIOS,
    }.items()
    for name, words in table.items()
}
"""Every sentence by its code, ``<table>.<name>``: English, French."""


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence. ``code`` is one of :data:`WORDS`, ``values`` are what :func:`~.language.fill` takes."""

    code: str
    values: Mapping[str, object]

    def text(self, locale: Locale = "en") -> str:
        """The sentence in a language."""
        return fill(WORDS[self.code], self.values, locale)

    def __str__(self) -> str:
        return self.text()


def say(code: str, /, **values: object) -> Text:
    """The text of that code, with its values."""
    return Text(code, values)
