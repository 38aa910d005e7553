"""The sentences of retention, in English and French: why a backup stays or leaves, what to worry about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from recyclic_backups.languages import Locale, Pair, sentence


class Code(StrEnum):
    """What a sentence says; its words are in :data:`WORDS`."""

    TIER_KEPT = "tier kept"
    TIER_SHARED = "tier shared"
    TIER_NOT_COUNTED = "tier not counted"
    CHECKPOINT_KEPT = "checkpoint kept"
    CHECKPOINT_NOT_COUNTED = "checkpoint not counted"
    UNLABELLED_WAITS = "unlabelled waits"
    NEWEST_GOOD = "newest good"
    NEWEST_PROVEN = "newest proven"
    MINIMUM = "minimum"
    HELD = "held"
    HELD_ON = "held on"
    HELD_FOR_EVER = "held for ever"
    NOT_REPLACED = "not replaced"
    NO_GOOD = "no good"
    FUTURE = "future"
    UNKNOWN_PARTITION = "unknown partition"
    UNTRUSTED = "untrusted"
    KEPT_BY_HOLD = "kept by hold"

    TIER_OVER = "tier over"
    CHECKPOINT_OVER = "checkpoint over"
    UNLABELLED_OVER = "unlabelled over"
    CEILING = "ceiling"
    DAMAGED = "damaged"
    UNVERIFIED = "unverified"
    UNSIGNED = "unsigned"
    DELETION_RESUMED = "deletion resumed"

    INCIDENT = "incident"
    WARNING = "warning"
    CEILING_SOON = "ceiling soon"
    PROVE_ANOTHER = "prove another"
    HOLD_IT = "hold it"
    CEILING_PASSED = "ceiling passed"
    DAMAGED_LEAVES = "damaged leaves"

    NEWEST_PAST_CEILING = "newest past ceiling"
    CEILING_SUSPENDED = "ceiling suspended"
    NO_GOOD_BACKUP = "no good backup"


WORDS: Mapping[Code, Pair] = {
    Code.TIER_KEPT: ("{tier} {partition}, {number} of {count}", "{tier} {partition}, {number} sur {count}"),
    Code.TIER_SHARED: ("also {tier} {partition}", "aussi {tier} {partition}"),
    Code.TIER_NOT_COUNTED: (
        "{tier} {partition}, not counted because it is not verified",
        "{tier} {partition}, non comptée car non vérifiée",
    ),
    Code.CHECKPOINT_KEPT: ("checkpoint, {number} of {count}", "point de contrôle, {number} sur {count}"),
    Code.CHECKPOINT_NOT_COUNTED: (
        "checkpoint, not counted because it is not verified",
        "point de contrôle, non compté car non vérifié",
    ),
    Code.UNLABELLED_WAITS: (
        "without a label since {since}: stays until {until}",
        "sans étiquette depuis le {since} : reste jusqu'au {until}",
    ),
    Code.NEWEST_GOOD: ("the newest good backup", "la sauvegarde valide la plus récente"),
    Code.NEWEST_PROVEN: (
        "the newest backup proven by a restore",
        "la plus récente prouvée par une restauration",
    ),
    Code.MINIMUM: ("one of the {count} newest good backups", "l'une des {count} valides les plus récentes"),
    Code.HELD: ("held until {until}: {reason}", "retenue jusqu'au {until} : {reason}"),
    Code.HELD_ON: (
        "was held until {until} ({reason}) and stays: too few good backups were taken in the last {window} days for "
        "the clock to be believed",
        "était retenue jusqu'au {until} ({reason}) et reste : trop peu de sauvegardes valides ont été prises ces "
        "{window} derniers jours pour que l'horloge soit crue",
    ),
    Code.HELD_FOR_EVER: ("held without an end: {reason}", "retenue sans limite : {reason}"),
    Code.NOT_REPLACED: (
        "there is no newer good backup to take its place",
        "aucune sauvegarde valide plus récente ne la remplace",
    ),
    Code.NO_GOOD: (
        "there is no good backup: nothing expires",
        "il n'y a aucune sauvegarde valide : rien n'expire",
    ),
    Code.FUTURE: (
        "it is of the future ({date}): a clock is or was wrong",
        "elle est datée du futur ({date}) : une horloge est ou était fausse",
    ),
    Code.UNKNOWN_PARTITION: (
        "its label {tier} {partition} is no partition",
        "son étiquette {tier} {partition} n'est pas une période",
    ),
    Code.UNTRUSTED: (
        "its documents cannot be trusted: {problem}",
        "ses documents ne sont pas fiables : {problem}",
    ),
    Code.KEPT_BY_HOLD: (
        "a hold keeps it, believed or not: recyclic-backups release",
        "une retenue la garde, fiable ou non : recyclic-backups release",
    ),
    Code.TIER_OVER: (
        "{tier} {partition}: not among the newest {count}",
        "{tier} {partition} : pas parmi les {count} plus récentes",
    ),
    Code.CHECKPOINT_OVER: (
        "checkpoint: not among the newest {count}",
        "point de contrôle : pas parmi les {count} plus récents",
    ),
    Code.UNLABELLED_OVER: (
        "without a label since {since}, more than {days} days",
        "sans étiquette depuis le {since}, plus de {days} jours",
    ),
    Code.CEILING: (
        "its content is older than {days} days (RETENTION_MAX_DAYS)",
        "son contenu a plus de {days} jours (RETENTION_MAX_DAYS)",
    ),
    Code.DAMAGED: ("found damaged on {date}: {problem}", "trouvée endommagée le {date} : {problem}"),
    Code.UNVERIFIED: ("never verified", "jamais vérifiée"),
    Code.UNSIGNED: (
        "nobody signed it, and somebody asked for such to go",
        "personne ne l'a signée, et quelqu'un a demandé que celles-là partent",
    ),
    Code.DELETION_RESUMED: (
        "its deletion had begun, and is finished",
        "sa suppression avait commencé, elle est achevée",
    ),
    Code.INCIDENT: ("incident: {sentence}", "incident : {sentence}"),
    Code.WARNING: ("warning: {sentence}", "avertissement : {sentence}"),
    Code.CEILING_SOON: (
        "{backup_id} reaches RETENTION_MAX_DAYS ({days} days) on {date} and leaves then, though it is kept now: "
        "{why}; {advice}",
        "{backup_id} atteint RETENTION_MAX_DAYS ({days} jours) le {date} et part alors, bien que gardée "
        "aujourd'hui : {why} ; {advice}",
    ),
    Code.PROVE_ANOTHER: (
        "take a newer one and prove it by a restore, or hold this one",
        "prenez-en une plus récente et prouvez-la par une restauration, ou retenez celle-ci",
    ),
    Code.HOLD_IT: ("hold it if it must stay longer", "retenez-la si elle doit rester plus longtemps"),
    Code.CEILING_PASSED: (
        "{backup_id} is older than {days} days (RETENTION_MAX_DAYS) and stays: {why}",
        "{backup_id} a plus de {days} jours (RETENTION_MAX_DAYS) et reste : {why}",
    ),
    Code.DAMAGED_LEAVES: (
        "{backup_id} leaves damaged: what could still be read of it leaves with it ({why})",
        "{backup_id} part endommagée : ce qui pouvait encore en être lu part avec elle ({why})",
    ),
    Code.NEWEST_PAST_CEILING: (
        "the newest good backup, {backup_id}, is older than {days} days (RETENTION_MAX_DAYS); it stays because "
        "there is no other: backups have stopped, or a clock is wrong",
        "la sauvegarde valide la plus récente, {backup_id}, a plus de {days} jours (RETENTION_MAX_DAYS) ; elle "
        "reste car il n'y en a pas d'autre : les sauvegardes ont cessé, ou une horloge est fausse",
    ),
    Code.CEILING_SUSPENDED: (
        "{number} backups are older than {days} days (RETENTION_MAX_DAYS) and stay: fewer than {count} good "
        "backups were taken in the last {window} days, so backups have stopped or a clock is wrong",
        "{number} sauvegardes ont plus de {days} jours (RETENTION_MAX_DAYS) et restent : moins de {count} "
        "sauvegardes valides ont été prises ces {window} derniers jours ; les sauvegardes ont cessé, ou une "
        "horloge est fausse",
    ),
    Code.NO_GOOD_BACKUP: (
        "none of the {number} backups is known to be good: nothing expires",
        "aucune des {number} sauvegardes n'est connue comme valide : rien n'expire",
    ),
}
"""Each sentence in English and French, with the names of its values in braces."""


@dataclass(frozen=True)
class Sentence:
    """One reason, warning or incident. ``values`` as :func:`~recyclic_backups.languages.sentence` takes them."""

    code: Code
    values: Mapping[str, object] = field(default_factory=dict)

    def text(self, locale: Locale = "en") -> str:
        """The sentence in a language."""
        return sentence(WORDS[self.code], self.values, locale)

    def __str__(self) -> str:
        return self.text()


def say(code: Code, **values: object) -> Sentence:
    """A sentence with its values."""
    return Sentence(code, values)


def advice_before_ceiling(why: tuple[Sentence, ...]) -> Sentence:
    """What helps before RETENTION_MAX_DAYS takes a backup that stays for these reasons.

    Proof can come from another backup; a place in a tier was only this one's.
    """
    is_the_proof = any(reason.code is Code.NEWEST_PROVEN for reason in why)
    return say(Code.PROVE_ANOTHER if is_the_proof else Code.HOLD_IT)
