"""Markup: texts and findings as HTML that breaks no value over two lines. Pure.

Every text of the page becomes HTML here: the template hands each value to :func:`plain` or :func:`prose`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from markupsafe import Markup, escape

from recyclic_backups.foreign_text import visible
from recyclic_backups.health.finding import Finding
from recyclic_backups.texts.language import Locale, Untranslated

_UNIT = r"(?:s|min|h|days?|jours?|%|B|kB|MB|GB|TB|o|ko|Mo|Go|To)"
# A number with its unit, or several (19 h 43 min); a date, or what begins with one; a backup's id.
_VALUE = re.compile(
    rf"(?<![\w.,])(?:\d[\d.,\u202f]*[ \u00a0]{_UNIT}\b(?:[ \u00a0]\d+[ \u00a0]{_UNIT}\b)*|\d[\d.,]*[ \u00a0]%"
    r"|\d{4}-\d\d(?:-\d\d)?(?![\w-])|\d{8}T\d{6}Z-\w+)"
)

# Characters of Unicode's private use mark it until the text is HTML; only pairs of them become an element.
_OPEN, _CLOSE = "\ue000", "\ue001"
_QUOTATION = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")


def plain(value: object) -> Markup:
    """A text as HTML, also in an attribute. What would turn the direction of writing is shown instead."""
    return value if isinstance(value, Markup) else escape(visible(str(value)))


def prose(text: str) -> Markup:
    """A text as HTML in which no date, no number with its unit and no backup's id is broken over two lines."""
    kept = _VALUE.sub(lambda found: f'<span class="line">{found[0]}</span>', plain(text))
    return Markup(_QUOTATION.sub(r'<q lang="en">\1</q>', kept))  # noqa: S704 - `plain` has escaped it


def quoted(text: object) -> str:
    """A text that :func:`prose` sets off as a quotation in English."""
    inner = str(text).replace(_OPEN, "").replace(_CLOSE, "")
    return f"{_OPEN}{inner}{_CLOSE}"


def sentence(finding: Finding, locale: Locale) -> Markup:
    """What a finding says.

    What somebody else said is in English whatever the page's language: it is shown as the quotation that it is.
    """
    return prose(replace(finding, values=with_quotations(finding.values)).sentence.text(locale))


def with_quotations(values: Mapping[str, object]) -> dict[str, object]:
    """Values of a text, in which what somebody else said is :func:`quoted`."""
    return {
        name: quoted(value.english) if isinstance(value, Untranslated) else value
        for name, value in values.items()
    }
