"""The sentences of verdicts, in English and French. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from recyclic_backups.health import wording
from recyclic_backups.languages import Locale, Pair, Phrase, Sayable, Seconds
from recyclic_backups.quantities import human_seconds


class Answer(StrEnum):
    """What a verdict says; its words are in :data:`WORDS`."""

    ABSENT = "absent"
    READABLE = "readable"
    UNREADABLE = "unreadable"
    NO_VERIFIED = "no verified backup"
    AGE = "age"
    TOO_OLD = "too old"
    FUTURE = "future"
    BOTH = "both"
    SEALED = "sealed"
    NOT_YET_ENCRYPTED = "not yet encrypted"
    NOT_ENCRYPTED = "not encrypted"
    NO_HISTORY = "no history"
    SIZE = "size"
    SHRANK = "shrank"
    GREW = "grew"
    MORE_THAN_HALF = "more than half"
    UNUSUAL = "unusual"
    SMALLER = "smaller"
    NOT_SMALL_ENOUGH = "not small enough"
    NOT_COMPRESSED = "not compressed"
    TOOK = "took"
    TOOK_TOO_LONG = "took too long"
    LATE = "late"
    IN_TIME = "in time"
    ATTEMPT_FAILED = "attempt failed"
    PROVEN = "proven"
    PROOF_OLD = "proof old"
    NEVER_PROVEN = "never proven"
    ANOTHER_PROVEN = "another proven"
    PROOF_NOT_DUE = "proof not due"
    CHECK_PASSED = "check passed"
    CHECK_FAILED = "check failed"
    BECAUSE = "because"
    FREEABLE = "freeable"
    NOTHING_FREEABLE = "nothing freeable"


WORDS: Mapping[Answer, Pair] = {
    Answer.ABSENT: (
        "the {tier} partition {partition} has no backup",
        "la période {tier} {partition} n'a aucune sauvegarde",
    ),
    Answer.READABLE: (
        "{backup_id} was read again from the storage, opened and parsed to its end",
        "{backup_id} a été relue dans le stockage, ouverte et analysée jusqu'au bout",
    ),
    Answer.UNREADABLE: ("{backup_id}: {problem}", "{backup_id} : {problem}"),
    Answer.NO_VERIFIED: wording.WORDS[wording.Code.NO_VERIFIED],
    Answer.AGE: (
        "the newest verified backup, {backup_id}, is {age} old",
        "la sauvegarde vérifiée la plus récente, {backup_id}, date de {age}",
    ),
    Answer.TOO_OLD: ("{fact}: more than {limit}", "{fact} : plus de {limit}"),
    Answer.FUTURE: wording.WORDS[wording.Code.FUTURE],
    Answer.BOTH: ("{fact}; {more}", "{fact} ; {more}"),
    Answer.SEALED: ("sealed with the data key {key_id}", "scellée avec la clé de données {key_id}"),
    Answer.NOT_YET_ENCRYPTED: (
        "it is not encrypted although BACKUP_ENCRYPTION is on: it was taken before that",
        "elle n'est pas chiffrée bien que BACKUP_ENCRYPTION soit actif : elle a été faite avant",
    ),
    Answer.NOT_ENCRYPTED: (
        "it is not encrypted: whoever finds it reads members' data (GDPR, article 32)",
        "elle n'est pas chiffrée : qui la trouve lit les données des membres (RGPD, article 32)",
    ),
    Answer.NO_HISTORY: (
        "{dumped} dumped; with {count} earlier backups there is no history yet ({minimum} needed)",
        "{dumped} extraits ; avec {count} sauvegardes antérieures l'historique manque encore ({minimum} requises)",
    ),
    Answer.SIZE: (
        "{dumped} dumped; the median of the {count} before is {median}",
        "{dumped} extraits ; la médiane des {count} précédentes est {median}",
    ),
    Answer.SHRANK: ("{fact}: it shrank by {change}", "{fact} : elle a rétréci de {change}"),
    Answer.GREW: ("{fact}: it grew by {change}", "{fact} : elle a grossi de {change}"),
    Answer.MORE_THAN_HALF: ("{fact}, more than half", "{fact}, plus de la moitié"),
    Answer.UNUSUAL: ("{fact}, and {usual} would be usual", "{fact}, alors que {usual} seraient habituels"),
    Answer.SMALLER: (
        "{percent} smaller than what was dumped",
        "{percent} plus petite que ce qui a été extrait",
    ),
    Answer.NOT_SMALL_ENOUGH: (
        "only {percent} smaller than what was dumped; the objective is {objective}",
        "seulement {percent} plus petite que ce qui a été extrait ; l'objectif est {objective}",
    ),
    Answer.NOT_COMPRESSED: (
        "it is not compressed (BACKUP_COMPRESSION)",
        "elle n'est pas compressée (BACKUP_COMPRESSION)",
    ),
    Answer.TOOK: ("it took {took}", "elle a pris {took}"),
    Answer.TOOK_TOO_LONG: (
        "it took {took}; the objective is under {limit}",
        "elle a pris {took} ; l'objectif est moins de {limit}",
    ),
    Answer.LATE: (
        "late: what it holds is of {as_of} UTC, outside {partition}",
        "en retard : son contenu est du {as_of} UTC, hors de {partition}",
    ),
    Answer.IN_TIME: (
        "what it holds is of {as_of} UTC, inside its own partition",
        "son contenu est du {as_of} UTC, dans sa propre période",
    ),
    Answer.ATTEMPT_FAILED: (
        "the last {kind} of {backup_id} failed: {why}",
        "la dernière fois, {kind} de {backup_id} a échoué : {why}",
    ),
    Answer.PROVEN: (
        "restored and found equal on {at} UTC",
        "restaurée et trouvée identique le {at} UTC",
    ),
    Answer.PROOF_OLD: wording.WORDS[wording.Code.UNPROVEN],
    Answer.NEVER_PROVEN: (
        "it is {waited} since the first backup was taken, and none was ever restored",
        "la première sauvegarde remonte à {waited}, et aucune n'a jamais été restaurée",
    ),
    Answer.ANOTHER_PROVEN: (
        "not restored itself; another was, {waited} ago",
        "pas restaurée elle-même ; une autre l'a été il y a {waited}",
    ),
    Answer.PROOF_NOT_DUE: (
        "not restored yet; the first proof is due seven days after the first backup",
        "pas encore restaurée ; la première preuve est due sept jours après la première sauvegarde",
    ),
    Answer.CHECK_PASSED: ("the {kind} of {backup_id} passed", "{kind} de {backup_id} a réussi"),
    Answer.CHECK_FAILED: ("the {kind} of {backup_id} failed", "{kind} de {backup_id} a échoué"),
    Answer.BECAUSE: ("{fact}: {why}", "{fact} : {why}"),
    Answer.FREEABLE: ("could be freed: {what}", "pourraient être libérées : {what}"),
    Answer.NOTHING_FREEABLE: ("could be freed: no backup", "pourraient être libérées : aucune sauvegarde"),
}
"""Each sentence in English and French, with the names of its values in braces."""

ATTEMPTS: Mapping[str, Pair] = {
    "verify": ("verification", "la vérification"),
    "restore": ("restore", "la restauration"),
    "drill": ("drill", "l'exercice"),
}
"""What the kinds of checks beside a backup are called; in French with the article that each needs."""


NO_REASON: Pair = ("no reason given", "aucune raison n'est donnée")
"""Where a check that failed does not say why."""


def said(answer: Answer, **values: object) -> Phrase:
    """A sentence with its values."""
    return Phrase(WORDS[answer], values)


@dataclass(frozen=True, slots=True)
class Lasting:
    """A stretch of time in a verdict, which says zero minutes as well."""

    seconds: float

    def text(self, locale: Locale = "en") -> str:
        """``25 h 0 min``; ``25 h``."""
        return Seconds(self.seconds).text("fr") if locale == "fr" else human_seconds(self.seconds)


@dataclass(frozen=True, slots=True)
class Percent:
    """A percentage in a verdict, with so many digits behind the point."""

    percent: float
    digits: int = 1

    def text(self, locale: Locale = "en") -> str:
        """``71.3 %``; ``71,3 %``."""
        english = f"{self.percent:.{self.digits}f} %"
        return english.replace(".", ",") if locale == "fr" else english


@dataclass(frozen=True, slots=True)
class Listed:
    """Several things one after the other in a sentence."""

    things: tuple[Sayable, ...]

    def text(self, locale: Locale = "en") -> str:
        """With commas between them."""
        return ", ".join(each.text(locale) for each in self.things)
