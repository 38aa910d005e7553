"""Status for a person at a terminal: what can come back, whether that was tried, what needs somebody. Pure."""

from __future__ import annotations

from typing import Any

from recyclic_backups.health.finding import Level
from recyclic_backups.health.survey import Survey
from recyclic_backups.report.headline import proven_sentence, recoverable_sentence, window_sentence
from recyclic_backups.texts.language import Bytes
from recyclic_backups.texts.report import report_text

_MOST_LINES = 10


def status_document(found: Survey) -> dict[str, Any]:
    """The same for programs, without its format."""
    return {
        "status": found.status.value,
        "recovery_point": found.recovery_point.to_json(found.measured_at),
        "findings": [each.to_json(found.terms.locale) for each in found.findings],
    }


def status_lines(found: Survey) -> list[str]:
    """Ten lines at most, in the language of the settings."""
    locale, free_bytes = found.terms.locale, found.free_bytes
    free = report_text("not told", locale) if free_bytes is None else Bytes(free_bytes).text(locale)
    size = Bytes(found.total_size_bytes).text(locale)
    lines = [
        f"{found.terms.database}: {report_text(found.status.value, locale)}",
        recoverable_sentence(found),
        proven_sentence(found),
        *filter(None, [window_sentence(found)]),
        report_text("held there", locale, count=len(found.catalog), size=size, free=free),
    ]
    # A note is to know, and needs nobody.
    wrong = [each for each in found.findings if each.level is not Level.NOTE]
    shown = _MOST_LINES - len(lines) - 2  # a line before them, and one that there are more
    lines.append(f"{report_text('issues', locale)}:" if wrong else report_text("nobody needed", locale))
    lines += [
        f"  {report_text(each.level.value, locale)}: {each.sentence.text(locale)}" for each in wrong[:shown]
    ]
    if len(wrong) > shown:
        lines.append(f"  {report_text('more in metrics', locale, count=len(wrong) - shown)}")
    return lines
