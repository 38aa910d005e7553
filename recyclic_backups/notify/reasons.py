"""Reasons in French: those that we say always alike are translated, what is somebody else's is quoted. Pure.

They are remembered in English, and some come from Dagster's log, where only a text is left of what was said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from recyclic_backups.languages import Untranslated, typeset

UNSENT = "the storage says why, and nothing there is signed"
"""In the place of a text that anybody who can write to the storage may have written."""

_REASONS: Mapping[str, str] = {
    "its log says no more": "son journal n’en dit pas plus",
    "its tick says no more": "Dagster n’en dit pas plus",
    UNSENT: "le stockage dit pourquoi, et rien n’y est signé",
    "it did not pass": "le contrôle n’a pas réussi",
    "the backup {words} is not in the storage any more": "la sauvegarde {words} n’est plus dans le stockage",
    "the manifest of the backup {words} is not usable: {reason}": (
        "le manifeste de la sauvegarde {words} n’est pas utilisable : {reason}"
    ),
    "the storage has no label {words}": "le stockage n’a pas d’étiquette {words}",
    "the restore took {took} s; the objective is {limit} s": (
        "la restauration a pris {took} s ; l’objectif est {limit} s"
    ),
    "it is a symbolic link, and nothing in the storage is followed": (
        "c’est un lien symbolique, et rien n’est suivi dans le stockage"
    ),
    "it is a FIFO, and nothing in the storage is followed": (
        "c’est un tube nommé (FIFO), et rien n’est suivi dans le stockage"
    ),
    "it is a socket, and nothing in the storage is followed": (
        "c’est une socket, et rien n’est suivi dans le stockage"
    ),
    "it is a device, and nothing in the storage is followed": (
        "c’est un périphérique, et rien n’est suivi dans le stockage"
    ),
    "it is a directory where a document should be": "c’est un répertoire à la place d’un document",
    "it is a file where a directory should be": "c’est un fichier à la place d’un répertoire",
    "its name has characters that no name of ours has": ("son nom a des caractères qu’aucun de nos noms n’a"),
    "unexpected error, {words}": "erreur inattendue, {words}",
    "alerts cannot look at {words}: {reason}": "les alertes ne peuvent pas examiner {words} : {reason}",
    "{count} runs in a row failed with it; the last: {reason}": (
        "{count} exécutions de suite ont échoué avec elle ; la dernière : {reason}"
    ),
}
"""Reasons that are always the same but for a name, a number or the reason that they end with; English and French."""


def in_french(facts: Mapping[str, str]) -> dict[str, str]:
    """Facts that are sentences or durations, and not names."""
    found = {}
    if "reason" in facts:
        found["reason"] = facts.get("reason_fr") or _reason_in_french(facts["reason"])
    if "limit" in facts:
        found["limit"] = facts["limit"].replace("days", "jours").replace(".", ",")
    return found


def _reason_in_french(reason: str) -> str:
    for english, french in _PATTERNS:
        match = english.fullmatch(reason)
        if match is not None:
            parts = match.groupdict()
            if "reason" in parts:
                parts["reason"] = _reason_in_french(parts["reason"])
            return french.format(**parts)
    return Untranslated(reason).text("fr")


def _pattern(english: str) -> re.Pattern[str]:
    """Recognises a sentence of :data:`_REASONS`, whatever stands in its braces."""
    pieces = [
        f"(?P<{piece[1:-1]}>.+?)" if piece.startswith("{") else re.escape(piece)
        for piece in re.split(r"({\w+})", english)
    ]
    return re.compile("".join(pieces), re.DOTALL)


_PATTERNS = [(_pattern(english), typeset(french, "fr")) for english, french in _REASONS.items()]
