"""Why a check failed, in a sentence: also where that is sealed and no key is at hand. Pure."""

from __future__ import annotations

from recyclic_backups.catalog.documents import Check
from recyclic_backups.texts.language import Untranslated
from recyclic_backups.texts.text import Text, say


def why(check: Check) -> Text | Untranslated | None:
    """The reasons as they were written, None if there are none; or that they are sealed: never "none" for those."""
    if check.is_closed:
        return say("check.sealed")
    return Untranslated("; ".join(check.reasons)) if any(check.reasons) else None


def why_text(check: Check) -> str:
    """:func:`why` in English; empty if there is no reason."""
    return str(why(check)) if check.is_closed else "; ".join(check.reasons)
