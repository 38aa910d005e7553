"""The sentences of health, in English and French. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from recyclic_backups.languages import Locale, Pair, column, sentence


class Code(StrEnum):
    """What a sentence says; its words are in :data:`WORDS`."""

    NO_VERIFIED = "no verified backup"
    OLD = "old"
    FUTURE = "future"
    SPACE = "space"
    NOT_ENCRYPTED = "not encrypted"
    COMPRESSION = "compression"
    NOT_COMPRESSED = "not compressed"
    DURATION = "duration"
    AVAILABILITY = "availability"
    RESTORE_FAILED = "restore failed"
    UNPROVEN = "unproven"
    NEVER_PROVEN = "never proven"
    RESTORE_SLOW = "restore slow"
    MISSING_ONE = "missing one"
    MISSING = "missing"
    DAMAGED_DOCUMENT = "damaged document"
    DAMAGED_BACKUP = "damaged backup"
    UNKNOWN_DOCUMENT = "unknown document"
    RESCUE_CHANGED = "rescue changed"
    NOT_CHECKED = "not checked"
    DATA_LOSS = "data loss"

    DUMP_SHRANK = "dump shrank"
    DUMP_GREW = "dump grew"
    COMPRESSION_COLLAPSED = "compression collapsed"
    TABLE_EMPTIED = "table emptied"
    TABLE_GONE = "table gone"
    TABLE_SHRANK = "table shrank"
    TABLE_GREW = "table grew"
    TABLE_REWRITTEN = "table rewritten"
    TABLE_CONVERTED = "table converted"
    TABLES_REWRITTEN = "tables rewritten"
    VALUES_VANISHED = "values vanished"
    VALUES_APPEARED = "values appeared"
    SLOWER = "slower"
    DRILL_STOPPED = "drill stopped"
    VERIFYING_STOPPED = "verifying stopped"
    FINGERPRINT_STOPPED = "fingerprint stopped"
    FINGERPRINT_UNREADABLE = "fingerprint unreadable"
    CONTENT_SEALED = "content sealed"


WORDS: Mapping[Code, Pair] = {
    Code.NO_VERIFIED: ("there is no verified backup", "il n'y a aucune sauvegarde vérifiée"),
    Code.OLD: (
        "the newest verified backup, {backup_id}, is {age} old: more than {limit}",
        "la sauvegarde vérifiée la plus récente, {backup_id}, date de {age} : plus de {limit}",
    ),
    Code.FUTURE: (
        "{backup_id} is from the future: a clock is wrong",
        "{backup_id} est datée du futur : une horloge est fausse",
    ),
    Code.SPACE: (
        "{free} are free where the backups are: less than {limit}",
        "il reste {free} là où sont les sauvegardes : moins de {limit}",
    ),
    Code.NOT_ENCRYPTED: (
        "{backup_id} is not encrypted: whoever finds it reads members' data (GDPR, article 32)",
        "{backup_id} n'est pas chiffrée : qui la trouve lit les données des membres (RGPD, article 32)",
    ),
    Code.COMPRESSION: (
        "{backup_id} is only {percent} smaller than what was dumped; the objective is {objective}",
        "{backup_id} n'est que {percent} plus petite que ce qui a été extrait ; l'objectif est {objective}",
    ),
    Code.NOT_COMPRESSED: (
        "{backup_id} is not compressed (BACKUP_COMPRESSION)",
        "{backup_id} n'est pas compressée (BACKUP_COMPRESSION)",
    ),
    Code.DURATION: (
        "{backup_id} took {took}; the objective is under {limit}",
        "{backup_id} a pris {took} ; l'objectif est moins de {limit}",
    ),
    Code.AVAILABILITY: (
        "a verified backup younger than {limit} was there {percent} of the last {window}; the objective is {objective}",
        "une sauvegarde vérifiée de moins de {limit} était là {percent} des derniers {window} ; "
        "l'objectif est {objective}",
    ),
    Code.RESTORE_FAILED: (
        "the last {kind} of {backup_id} failed: {why}",
        "la dernière tentative ({kind}) de {backup_id} a échoué : {why}",
    ),
    Code.UNPROVEN: (
        "it is {waited} since the last restore was proven",
        "la dernière restauration prouvée remonte à {waited}",
    ),
    Code.NEVER_PROVEN: (
        "the first backup is {waited} old, and none was ever restored",
        "la première sauvegarde a {waited}, et aucune n'a jamais été restaurée",
    ),
    Code.RESTORE_SLOW: (
        "the last {scenario} drill took {took}; the objective is {limit}",
        "le dernier exercice {scenario} a pris {took} ; l'objectif est {limit}",
    ),
    Code.MISSING_ONE: (
        "{tier} {partitions} has no good backup",
        "{tier} {partitions} n'a aucune sauvegarde valide",
    ),
    Code.MISSING: (
        "{tier}: {partitions} have no good backup",
        "{tier} : {partitions} n'ont aucune sauvegarde valide",
    ),
    Code.DAMAGED_DOCUMENT: ("{name} is damaged: {problem}", "{name} est endommagé : {problem}"),
    Code.UNKNOWN_DOCUMENT: (
        "whether {name} was edited is not known, so it is not believed: {problem}",
        "on ne sait pas si {name} a été modifié, il n'est donc pas cru : {problem}",
    ),
    Code.RESCUE_CHANGED: (
        "{name} in the storage is not what this software put there: do not run or follow it; the next backup "
        "replaces it",
        "{name}, dans le stockage, n'est pas ce que ce logiciel y a mis : ne pas l'exécuter ni le suivre ; la "
        "prochaine sauvegarde le remplace",
    ),
    Code.NOT_CHECKED: (
        "no key of the storage is at hand: nothing here was checked, proofs included; whoever can write to the storage "
        "decides what is said (BACKUP_ENCRYPTION_KEY)",
        "aucune clé du stockage n'est disponible : rien ici n'a été vérifié, preuves comprises ; qui peut écrire dans "
        "le stockage décide de ce qui est dit (BACKUP_ENCRYPTION_KEY)",
    ),
    Code.DAMAGED_BACKUP: (
        "{backup_id} was found damaged on {date}: {why}",
        "{backup_id} a été trouvée endommagée le {date} : {why}",
    ),
    Code.DATA_LOSS: (
        "a nightly dump alone loses up to {interval} of work; one hour at most needs WAL archiving, which is not on",
        "une extraction par nuit perd jusqu'à {interval} de travail ; une heure au plus demande l'archivage WAL, "
        "qui n'est pas actif",
    ),
    Code.DUMP_SHRANK: (
        "the dump shrank to {now}; the median of the {count} before is {usual}",
        "l'extraction a rétréci à {now} ; la médiane des {count} précédentes est {usual}",
    ),
    Code.DUMP_GREW: (
        "the dump grew to {now}; the median of the {count} before is {usual}",
        "l'extraction a grossi à {now} ; la médiane des {count} précédentes est {usual}",
    ),
    Code.COMPRESSION_COLLAPSED: (
        "what is stored became {now} of what was dumped, usually {usual}: data may have been encrypted by somebody "
        "else. Tables whose rows became others: {suspects}",
        "ce qui est stocké fait {now} de l'extraction, d'habitude {usual} : des données ont pu être chiffrées par "
        "quelqu'un d'autre. Tables dont les lignes sont devenues d'autres : {suspects}",
    ),
    Code.TABLE_EMPTIED: (
        "{table} is empty since {since}; it had {usual} rows",
        "{table} est vide depuis le {since} ; elle avait {usual} lignes",
    ),
    Code.TABLE_GONE: (
        "{table} is gone since {since}; it had {usual} rows",
        "{table} a disparu depuis le {since} ; elle avait {usual} lignes",
    ),
    Code.TABLE_SHRANK: (
        "{table} shrank to {now} rows; the median of the {count} before is {usual}",
        "{table} est tombée à {now} lignes ; la médiane des {count} précédentes est {usual}",
    ),
    Code.TABLE_GREW: (
        "{table} grew to {now} rows; the median of the {count} before is {usual}",
        "{table} est montée à {now} lignes ; la médiane des {count} précédentes est {usual}",
    ),
    Code.TABLE_REWRITTEN: (
        "{now} of the rows of {table} became others on {since}; before, at most {usual} did from one backup to the "
        "next: an UPDATE without its WHERE, or somebody encrypted them",
        "{now} des lignes de {table} sont devenues d'autres lignes le {since} ; avant, {usual} au plus d'une "
        "sauvegarde à l'autre : un UPDATE sans WHERE, ou quelqu'un les a chiffrées",
    ),
    Code.TABLE_CONVERTED: (
        "{now} of the rows of {table} became others on {since}, and its columns have other types: a migration, or "
        "somebody encrypted them",
        "{now} des lignes de {table} sont devenues d'autres lignes le {since}, et ses colonnes ont d'autres types : "
        "une migration, ou quelqu'un les a chiffrées",
    ),
    Code.TABLES_REWRITTEN: (
        "{changed} of the {steady} tables that keep their rows from one backup to the next lost most of them together "
        "on {since}: somebody may have encrypted them ({tables})",
        "{changed} des {steady} tables qui gardent leurs lignes d'une sauvegarde à l'autre en ont perdu la plupart "
        "ensemble le {since} : quelqu'un les a peut-être chiffrées ({tables})",
    ),
    Code.VALUES_VANISHED: (
        "{table}.{column} is {now} empty (null), usually {usual}",
        "{table}.{column} est vide (null) à {now}, d'habitude {usual}",
    ),
    Code.VALUES_APPEARED: (
        "{table}.{column} is only {now} empty (null), usually {usual}",
        "{table}.{column} n'est plus vide (null) qu'à {now}, d'habitude {usual}",
    ),
    Code.SLOWER: (
        "the last {count} backups took about {now}; before, {usual}",
        "les {count} dernières sauvegardes ont pris environ {now} ; avant, {usual}",
    ),
    Code.DRILL_STOPPED: (
        "no {scenario} drill since {since}; there was one about every {usual}",
        "aucun exercice {scenario} depuis le {since} ; il y en avait un tous les {usual} environ",
    ),
    Code.VERIFYING_STOPPED: (
        "the newest backup, {backup_id}, was never verified, though those before were",
        "la sauvegarde la plus récente, {backup_id}, n'a jamais été vérifiée, contrairement aux précédentes",
    ),
    Code.FINGERPRINT_STOPPED: (
        "{backup_id} has a fingerprint of level {now}, those before of level {usual}: a restore of it proves less",
        "{backup_id} a une empreinte de niveau {now}, les précédentes de niveau {usual} : "
        "sa restauration prouve moins",
    ),
    Code.FINGERPRINT_UNREADABLE: (
        "the fingerprint of {backup_id} cannot be read",
        "l'empreinte de {backup_id} est illisible",
    ),
    Code.CONTENT_SEALED: (
        "what {count} backups contain is sealed, and no key at hand opens it (BACKUP_ENCRYPTION_KEY): "
        "their tables are not compared",
        "le contenu de {count} sauvegardes est scellé, et aucune clé disponible ne l'ouvre (BACKUP_ENCRYPTION_KEY) : "
        "leurs tables ne sont pas comparées",
    ),
}
"""Each sentence in English and French, with the names of its values in braces."""

SCENARIO_WORDS: Mapping[str, Pair] = {
    "simple": ("simple", "simple"),
    "partial": ("partial", "partiel"),
    "full": ("full", "complet"),
}


@dataclass(frozen=True, slots=True)
class ScenarioName:
    """What a drill's scenario is called; one that is not known keeps its own name."""

    name: str

    def text(self, locale: Locale = "en") -> str:
        """``partial``, ``partiel``."""
        return SCENARIO_WORDS.get(self.name, (self.name, self.name))[column(locale)]


@dataclass(frozen=True)
class Statement:
    """One sentence. ``values`` as :func:`~recyclic_backups.languages.sentence` takes them."""

    code: Code
    values: Mapping[str, object] = field(default_factory=dict)

    def text(self, locale: Locale = "en") -> str:
        """The sentence in a language."""
        return sentence(WORDS[self.code], self.values, locale)

    def __str__(self) -> str:
        return self.text()
