"""The sentences of the monthly retention review, in English and French. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.texts.language import Pair

WORDS: Mapping[str, Pair] = {
    "title": ("Retention review: {database}", "Revue de conservation : {database}"),
    "made": ("Of {date} ({timezone}).", "Du {date} ({timezone})."),
    "summary": (
        "{count:# backup|# backups}, {size}; {good} verified, {proven} proven by a restore, {held} held. "
        "The oldest is of {oldest}, the newest of {newest}.",
        "{count:# sauvegarde|# sauvegardes}, {size} ; {good:# vérifiée|# vérifiées}, {proven:# prouvée|# prouvées} par "
        "une restauration, {held:# retenue|# retenues}. "
        "La plus ancienne est du {oldest}, la plus récente du {newest}.",
    ),
    "nothing": ("There is no backup.", "Il n'y a aucune sauvegarde."),
    "rules": (
        "Kept are {daily} daily, {weekly} weekly and {monthly:# monthly backup|# monthly backups}, and {checkpoint:# "
        "checkpoint|# checkpoints}; never fewer than {minimum:# good one|# good ones}; nothing older than "
        "{max_days:# day|# days} but what is held or irreplaceable.",
        "Sont gardées {daily:# sauvegarde quotidienne|# sauvegardes quotidiennes}, {weekly:# hebdomadaire|# "
        "hebdomadaires}, {monthly:# mensuelle|# mensuelles} et {checkpoint:# point|# "
        "points} de contrôle ; jamais moins "
        "de {minimum:# valide|# valides} ; rien de plus de {max_days:# jour|# jours}, sauf ce qui est retenu ou "
        "irremplaçable.",
    ),
    "incidents": ("Needs somebody", "Demande une intervention"),
    "warnings": ("To know", "À savoir"),
    "kept": ("What is kept, and why", "Ce qui est gardé, et pourquoi"),
    "head kept": (
        "| Content of | Backup | Tiers | Size | Why | Not beyond |",
        "| Contenu du | Sauvegarde | Niveaux | Taille | Pourquoi | Pas au-delà du |",
    ),
    "wal": ("Base backups and WAL of the server", "Sauvegardes de base et WAL du serveur"),
    "wal summary": (
        "{count:# base backup|# base backups}, {bases}, and WAL of {wal}. Of that, {leaving} leave with the next "
        "expiry. They hold all databases of the server.",
        "{count:# sauvegarde|# sauvegardes} de base ({bases}) et {wal} de WAL. La prochaine expiration en libère "
        "{leaving}. Elles contiennent toutes les bases du serveur.",
    ),
    "head bases": (
        "| Content of | Base backup | Size | What becomes of it | Why |",
        "| Contenu du | Sauvegarde de base | Taille | Ce qu'elle devient | Pourquoi |",
    ),
    "stays": ("stays", "reste"),
    "leaves": ("leaves", "part"),
    "space": ("Space", "Espace"),
    "not full": (
        "The storage has room for that within {days:# day|# days}.",
        "Le stockage a assez de place pour {days:# jour|# jours}.",
    ),
    "left": (
        "What left in the last {days:day|# days}",
        "Ce qui est parti {days:ce dernier jour|ces # derniers jours}",
    ),
    "head left": (
        "| Left on | Content of | Backup | Size | Why |",
        "| Partie le | Contenu du | Sauvegarde | Taille | Pourquoi |",
    ),
    "none": ("Nothing.", "Rien."),
    "next": ("What leaves next", "Ce qui part ensuite"),
    "if": (
        "If every backup of the next {days:day|# days} is good. When backups fail, nothing leaves.",
        "Si chaque sauvegarde {days:du prochain jour|des # prochains jours} est valide. Quand les sauvegardes "
        "échouent, rien ne part.",
    ),
    "head next": ("| On | Backup | Why |", "| Le | Sauvegarde | Pourquoi |"),
    "law": ("What the GDPR says", "Ce que dit le RGPD"),
    "gdpr": (
        "Personal data may be kept no longer than their purpose needs (article 5(1)(e)), so copies in backups must "
        "have an end too: here it is {max_days:# day|# days} at the latest. What a member asked to have erased "
        "(article 17) "
        "leaves the backups with them by that day, and must be erased again after a restore of an older one; until "
        "then article 32 asks for encryption and for the ability to restore.",
        "Les données personnelles ne sont pas conservées plus longtemps que leur finalité ne l'exige (article 5, "
        "paragraphe 1, point e) ; leurs copies dans les sauvegardes doivent donc avoir une fin : ici "
        "{max_days:# jour|# jours} "
        "au plus tard. Ce dont un membre a demandé l'effacement (article 17) quitte les sauvegardes avec elles avant "
        "ce terme, et doit être effacé de nouveau après la restauration d'une plus ancienne ; d'ici là, l'article 32 "
        "demande le chiffrement et la capacité de restaurer.",
    ),
    "unreadable": ("not readable", "illisible"),
}
