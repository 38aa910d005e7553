"""Markup: texts, findings and tables as HTML that breaks no value over two lines. Pure.

Every text of the page becomes HTML here: :func:`plain` and :func:`prose` are the only callers of ``html.escape``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape

from recyclic_backups.foreign_text import visible
from recyclic_backups.health.finding import Finding, Level
from recyclic_backups.languages import NO_LINE_ENDS, Locale, Untranslated
from recyclic_backups.report.words import say

_SIGNS = {Level.CRITICAL: "✕", Level.WARNING: "▲", Level.NOTE: "i"}

_UNIT = r"(?:s|min|h|days?|jours?|%|B|kB|MB|GB|TB|o|ko|Mo|Go|To)"
# A number with its unit, or several (19 h 43 min); a date, or what begins with one; a backup's id.
_VALUE = re.compile(
    rf"(?<![\w.,])(?:\d[\d.,\u202f]*[ \u00a0]{_UNIT}\b(?:[ \u00a0]\d+[ \u00a0]{_UNIT}\b)*|\d[\d.,]*[ \u00a0]%"
    r"|\d{4}-\d\d(?:-\d\d)?(?![\w-])|\d{8}T\d{6}Z-\w+)"
)

# Characters of Unicode's private use mark it until the text is HTML; only pairs of them become an element.
_OPEN, _CLOSE = "\ue000", "\ue001"
_QUOTATION = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")


def plain(value: object) -> str:
    """A text as HTML, also in an attribute. What would turn the direction of writing is shown instead."""
    return escape(visible(str(value)))


def prose(text: str) -> str:
    """A text as HTML in which no date, no number with its unit and no backup's id is broken over two lines."""
    kept = _VALUE.sub(
        lambda found: f'<span class="line">{found[0]}</span>', NO_LINE_ENDS.sub("\u00a0", plain(text))
    )
    return _QUOTATION.sub(r'<q lang="en">\1</q>', kept)


def quoted(text: object) -> str:
    """A text that :func:`prose` sets off as a quotation in English."""
    inner = str(text).replace(_OPEN, "").replace(_CLOSE, "")
    return f"{_OPEN}{inner}{_CLOSE}"


def finding_list(findings: Sequence[Finding], locale: Locale, *, shown: int) -> str:
    """The first so many as a list, and how many there are besides."""
    lines = [
        f'<li><span class="tag {finding.level.value}">{_SIGNS[finding.level]} '
        f"{plain(say(finding.level.value, locale))}</span>"
        f"<span>{prose(_sentence(finding, locale))}"
        + (f' <span class="odd">({plain(say("anomaly", locale))})</span>' if finding.is_anomaly else "")
        + "</span></li>"
        for finding in findings[:shown]
    ]
    left = len(findings) - shown
    more = (
        f'<li><span></span><span class="quiet">{plain(say("more", locale, count=left))}</span></li>'
        if left > 0
        else ""
    )
    return f'<ul class="issues">{"".join(lines)}{more}</ul>'


def _sentence(finding: Finding, locale: Locale) -> str:
    """What somebody else said is in English whatever the page's language: it is shown as the quotation that it is."""
    values = {
        name: quoted(value.english) if isinstance(value, Untranslated) else value
        for name, value in finding.values.items()
    }
    return replace(finding, values=values).sentence.text(locale)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; on a phone each row becomes a list, with the heads beside. Heads and cells are HTML."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-head="{name}"><span>{cell}</span></td>' for name, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table class="plain stack"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
