"""What checks have to say, on its way through Dagster to the alerts.

Dagster's pages are in English, and so is what stands beside every answer there. Where the house speaks another language
(``BACKUP_LOCALE``) an answer that did not pass has the same in that language in its metadata, and alerts tell that.
"""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from recyclic_backups.languages import Locale, Sayable, listed, squeezed

FRENCH = "description_fr"
"""Metadata of an answer that did not pass: its description in French."""

_LONGEST_REASON = 300
_UNSAID = "it did not pass"


def told_in(locale: Locale, *sentences: Sayable) -> dict[str, str]:
    """The metadata that says the sentences in the language of the house; none where that is Dagster's."""
    return (
        {FRENCH: listed((each.text("fr") for each in sentences), "fr")}
        if locale == "fr" and sentences
        else {}
    )


def reason_in(evaluation: dg.AssetCheckEvaluation) -> Mapping[str, str]:
    """The facts of a problem that say why a check did not pass, in the languages that there are."""
    found = {"reason": shortened(evaluation.description or _UNSAID)}
    french = evaluation.metadata.get(FRENCH)
    if french is not None and isinstance(french.value, str):
        found["reason_fr"] = _cut(squeezed(french.value))
    return found


def shortened(text: str) -> str:
    """One line, not too long."""
    return _cut(" ".join(text.split()))


def _cut(line: str) -> str:
    if len(line) <= _LONGEST_REASON:
        return line
    kept = line[: _LONGEST_REASON - 3]
    # Whoever was quoted must not seem to have said what follows.
    return f"{kept}…\u00a0»" if kept.count("«") > kept.count("»") else f"{line[: _LONGEST_REASON - 1]}…"
