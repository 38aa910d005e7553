"""The frame around the sentences of a message: short texts, in English and French. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.languages import TIER_NAMES, Locale, Pair, column, typeset

LABELS: Mapping[str, Pair] = {
    "critical": ("CRITICAL", "CRITIQUE"),
    "warning": ("warning", "avertissement"),
    "opened": ("{severity}", "{severity}"),
    "escalated": ("now {severity}", "désormais {severity}"),
    "reminded": ("still {severity}", "toujours {severity}"),
    "resolved": ("resolved", "résolu"),
    "test": ("test", "essai"),
    "many": ("{count} problems: {first}", "{count} problèmes : {first}"),
    "more": ("… and {count} more of the same", "… et {count} autres"),
    "line": ("{heading}: {text}", "{heading} : {text}"),
    "late": ("delayed message", "message retardé"),
    "late_note": (
        "Written at {at}, delivered late: what follows was so then.",
        "Écrit le {at}, remis en retard : ce qui suit décrit la situation d’alors.",
    ),
    "since": ("since", "depuis"),
    "means": ("means", "signifie"),
    "next": ("do next", "à faire"),
    "see": ("see", "voir"),
    "over": (
        "This is no longer so.",
        "Ce n’est plus le cas.",
    ),
    "proven": ("Newest proven recovery point", "Dernier point de reprise prouvé"),
    "verified": ("Newest verified backup", "Dernière sauvegarde vérifiée"),
    "none": ("none", "aucun"),
    "proven_at": ("restored and found equal {at}", "restauré et trouvé identique le {at}"),
    "unreadable": ("unknown, the storage cannot be read", "inconnu, le stockage ne peut pas être lu"),
    **{tier.value: words for tier, words in TIER_NAMES.items()},
    "sensor": ("sensor", "capteur"),
    "schedule": ("schedule", "planification"),
    "test_body": (
        "This is a test, sent by: recyclic-backups notify-test. Messages about {database} reach you this way, "
        "from severity “{minimum}” on.",
        "Ceci est un essai, envoyé par : recyclic-backups notify-test. Les messages sur {database} vous parviennent "
        "par cette voie, à partir de la gravité « {minimum} ».",
    ),
}
"""By name; the names of tiers among them."""


def label(name: str, locale: Locale, **facts: object) -> str:
    """One of them, with what it names."""
    return typeset(LABELS[name][column(locale)], locale).format(**facts)
