"""Why a check failed, in a sentence: also where that is sealed and no key is at hand. Pure."""

from __future__ import annotations

from recyclic_backups.catalog.documents import Check
from recyclic_backups.languages import Locale, Pair, Phrase

SEALED_REASONS: Pair = (
    "why is sealed, and no key at hand opens it (BACKUP_ENCRYPTION_KEY)",
    "la raison est scellée, et aucune clé disponible ne l’ouvre (BACKUP_ENCRYPTION_KEY)",
)


def why(check: Check) -> str | Phrase:
    """The reasons as they were written, "" if there are none; or that they are sealed: never "none" for those."""
    return Phrase(SEALED_REASONS, {}) if check.is_closed else "; ".join(check.reasons)


def why_text(check: Check, locale: Locale = "en") -> str:
    """:func:`why` as a text."""
    found = why(check)
    return found if isinstance(found, str) else found.text(locale)
