"""What alerts say: of each kind of problem what happened, what it means and what to do; the words around that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recyclic_backups.texts.language import Pair


@dataclass(frozen=True, slots=True)
class Words:
    """What happened and what it means for recovery, each in English and French; and the one command to run next."""

    what: tuple[str, str]
    means: tuple[str, str]
    command: str


_NO_NEW_POINT = (
    "No new recovery point was made: what was written since the newest one would be lost with the server.",
    "Aucun nouveau point de reprise : ce qui a été écrit depuis le dernier serait perdu avec le serveur.",
)
_UNWATCHED = (
    "Backups and their checks may stop without anybody being told by them.",
    "Les sauvegardes et leurs contrôles peuvent s’arrêter sans le signaler eux-mêmes.",
)

WORDS: Mapping[str, Words] = {
    "backup failed": Words(
        (
            "The {tier} backup of {partition} failed: {reason}",
            "La sauvegarde {tier} du {partition} a échoué : {reason}",
        ),
        _NO_NEW_POINT,
        "recyclic-backups validate",
    ),
    "backups failed": Words(
        (
            "Failures of the {tier} backup in the backfill {backfill}: {total}, still missing: {count} ({names}); "
            "the newest: {reason}",
            "Échecs de la sauvegarde {tier} dans le rattrapage {backfill} : {total}, encore à refaire : {count} "
            "({names}) ; le dernier : {reason}",
        ),
        (
            "Those partitions have no backup. What keeps them from one may make the next scheduled backup fail too.",
            "Ces partitions n’ont pas de sauvegarde. La même cause peut faire échouer la prochaine sauvegarde prévue.",
        ),
        "recyclic-backups validate",
    ),
    "drill failed": Words(
        (
            "The restore drill “{scenario}” failed: {reason}",
            "L’exercice de restauration « {scenario} » a échoué : {reason}",
        ),
        (
            "A recovery of this kind may not work, or not in time: do not rely on it until a drill passes.",
            "Une reprise de ce type peut échouer ou être trop lente : ne pas s’y fier avant un exercice réussi.",
        ),
        "recyclic-backups drill {scenario}",
    ),
    "run failed": Words(
        ("{job} failed: {reason}", "{job} a échoué : {reason}"),
        _UNWATCHED,
        "recyclic-backups validate",
    ),
    "backfill failed": Words(
        (
            "The backfill {backfill} could not start its runs: {reason}",
            "Le rattrapage {backfill} n’a pas pu lancer ses exécutions : {reason}",
        ),
        (
            "The partitions it was to fill are still empty.",
            "Les partitions qu’il devait remplir sont toujours vides.",
        ),
        "recyclic-backups list",
    ),
    "check failed": Words(
        (
            "A backup is not as it should be: {reason}",
            "Une sauvegarde n’est pas comme il faut : {reason}",
        ),
        (
            "The backup is there; whether it is what you expect is in question.",
            "La sauvegarde est là ; il faut vérifier qu’elle correspond à ce qui est attendu.",
        ),
        "recyclic-backups list",
    ),
    "integrity": Words(
        (
            "The {asset} of {partition} cannot be read back: {reason}",
            "La sauvegarde {asset} du {partition} n’est pas relisible : {reason}",
        ),
        (
            "This backup cannot be restored as it is. Others may share its storage: verify them all.",
            "Cette sauvegarde ne peut être restaurée en l’état. D’autres sont au même endroit : les vérifier toutes.",
        ),
        "recyclic-backups verify --all",
    ),
    "not proven": Words(
        (
            "No proof that the backups can be restored: {reason}",
            "Rien ne prouve que les sauvegardes puissent être restaurées : {reason}",
        ),
        (
            "A restore may fail on the day it is needed.",
            "Une restauration peut échouer le jour où elle sera nécessaire.",
        ),
        "recyclic-backups drill simple",
    ),
    "space": Words(
        ("The storage is nearly full: {reason}", "Le stockage est presque plein : {reason}"),
        (
            "Once it is full, no backup can be taken.",
            "Une fois plein, plus aucune sauvegarde n’est possible.",
        ),
        "recyclic-backups expire",
    ),
    "anomaly": Words(
        (
            "The newest backup is not like those before it: {reason}",
            "La dernière sauvegarde ne ressemble pas aux précédentes : {reason}",
        ),
        (
            "If data were lost or damaged in the live database, older backups are the good ones: hold one that is.",
            "Si des données ont été perdues ou abîmées, les bonnes sauvegardes sont les anciennes : en retenir une.",
        ),
        "recyclic-backups diagnose",
    ),
    "availability": Words(
        (
            "Too often the newest backup was too old: {reason}",
            "Trop souvent, la dernière sauvegarde était trop ancienne : {reason}",
        ),
        (
            "A disaster in those hours would have cost more work than is allowed.",
            "Un sinistre à ces heures aurait coûté plus de travail que permis.",
        ),
        "recyclic-backups metrics",
    ),
    "promise": Words(
        (
            "Retention cannot keep a promise: {reason}",
            "La rétention ne peut tenir une promesse : {reason}",
        ),
        (
            "Nothing is deleted that would make it worse; somebody has to decide.",
            "Rien n’est supprimé qui aggraverait la situation ; quelqu’un doit décider.",
        ),
        "recyclic-backups expire",
    ),
    "flag tripped": Words(
        (
            "The flag {name} was switched off by itself: {reason}",
            "L’option {name} s’est désactivée d’elle-même : {reason}",
        ),
        (
            "Backups go on as they did without it.",
            "Les sauvegardes continuent comme sans elle.",
        ),
        "recyclic-backups flags list",
    ),
    "missed day": Words(
        (
            "The day {partition} is over and has no good backup",
            "Le jour {partition} est passé sans sauvegarde valable",
        ),
        (
            "That day cannot be restored. A dump taken now fills its place, marked late; it is not of that day.",
            "Ce jour ne peut être restauré. Une sauvegarde faite maintenant prend sa place, marquée en retard ; elle "
            "n’est pas de ce jour.",
        ),
        "recyclic-backups backup --partition {partition}",
    ),
    "missed day in wal": Words(
        (
            "The day {partition} is over and has no good backup",
            "Le jour {partition} est passé sans sauvegarde valable",
        ),
        (
            "WAL reaches that day: this rebuilds its backup, with what the database held when it was due.",
            "Le WAL atteint ce jour : ceci reconstruit sa sauvegarde, avec ce que contenait la base à l’heure prévue.",
        ),
        "recyclic-backups backup --partition {partition}",
    ),
    "missed period": Words(
        (
            "The {tier} partition {partition} is over and has no good backup",
            "La période {tier} {partition} est passée sans sauvegarde valable",
        ),
        (
            "A good backup of that time exists but expires with its day: it only needs the label.",
            "Une bonne sauvegarde de cette période existe mais expirera avec son jour : il lui manque l’étiquette.",
        ),
        "recyclic-backups backup --tier {tier_name} --partition {partition}",
    ),
    "missed for ever": Words(
        (
            "The {tier} partition {partition} is over, and no good backup is of that time",
            "La période {tier} {partition} est passée, et aucune bonne sauvegarde n’est de ce moment",
        ),
        (
            "Nothing can fill it any more: that time cannot be restored.",
            "Rien ne peut plus la remplir : cette période ne peut être restaurée.",
        ),
        "recyclic-backups list --tier {tier_name}",
    ),
    "drill stale": Words(
        (
            "No restore drill since {last}",
            "Aucun exercice de restauration depuis {last}",
        ),
        (
            "Backups are taken, but nobody knows whether they can be restored.",
            "Des sauvegardes sont faites, mais personne ne sait si elles peuvent être restaurées.",
        ),
        "recyclic-backups drill simple",
    ),
    "drill never": Words(
        (
            "No backup was ever restored in a drill; the first is of {first}",
            "Aucune sauvegarde n’a jamais été restaurée en exercice ; la première date du {first}",
        ),
        (
            "Backups are taken, but nobody knows whether they can be restored.",
            "Des sauvegardes sont faites, mais personne ne sait si elles peuvent être restaurées.",
        ),
        "recyclic-backups drill simple",
    ),
    "run waits": Words(
        (
            "{job} {partition} waits in the queue and does not start",
            "{job} {partition} attend dans la file et ne démarre pas",
        ),
        (
            "As long as the queue stands still, no backup is taken by Dagster.",
            "Tant que la file n’avance pas, Dagster ne fait aucune sauvegarde.",
        ),
        "recyclic-backups validate",
    ),
    "run endless": Words(
        (
            "{job} {partition} is running for longer than its limit of {limit}",
            "{job} {partition} dépasse sa durée limite de {limit}",
        ),
        (
            "It may hang, and keeps the next backup from starting. End it on its page.",
            "L’exécution est peut-être bloquée et empêche la sauvegarde suivante. L’arrêter depuis sa page.",
        ),
        "recyclic-backups validate",
    ),
    "tick failed": Words(
        (
            "The {type} {name} fails: {reason}",
            "{name} ({type}) échoue : {reason}",
        ),
        _UNWATCHED,
        "recyclic-backups validate",
    ),
    "too old": Words(
        (
            "The newest verified backup is of {as_of}: more than {limit} old",
            "La dernière sauvegarde vérifiée date du {as_of} : plus de {limit}",
        ),
        (
            "Everything written since then would be lost if the server were gone now.",
            "Tout ce qui a été écrit depuis serait perdu si le serveur disparaissait maintenant.",
        ),
        "recyclic-backups backup",
    ),
    "clock": Words(
        (
            "The backup {name} is of the future, {as_of}: a clock is wrong",
            "La sauvegarde {name} est datée du futur, {as_of} : une horloge est fausse",
        ),
        (
            "It can be restored, but does not count as the newest. Compare the clocks of the database server and of "
            "this machine.",
            "Elle peut être restaurée, mais ne compte pas comme la plus récente. Comparer les horloges du serveur de "
            "base de données et de cette machine.",
        ),
        "recyclic-backups list",
    ),
    "no backup": Words(
        ("There is no verified backup", "Il n’y a aucune sauvegarde vérifiée"),
        (
            "Nothing could be restored if the server were gone now.",
            "Rien ne pourrait être restauré si le serveur disparaissait maintenant.",
        ),
        "recyclic-backups backup",
    ),
    "backups gone": Words(
        (
            "The storage held verified backups and holds none now",
            "Le stockage contenait des sauvegardes vérifiées et n’en contient plus",
        ),
        (
            "Nothing can be restored. Its disk may not be mounted: look before you take a new backup.",
            "Rien ne peut être restauré. Le disque n’est peut-être pas monté : vérifier avant une nouvelle sauvegarde.",
        ),
        "recyclic-backups list",
    ),
    "damage": Words(
        (
            "A document in the storage is damaged: {name}: {reason}",
            "Un document du stockage est endommagé : {name} : {reason}",
        ),
        (
            "The backup it belongs to may not be usable, and retention leaves it alone.",
            "La sauvegarde concernée est peut-être inutilisable ; la rétention n’y touche pas.",
        ),
        "recyclic-backups verify --all",
    ),
    "rescue": Words(
        (
            "{name} in the storage is not what this software put there",
            "{name}, dans le stockage, n’est pas ce que ce logiciel y a mis",
        ),
        (
            "Somebody can write there. Do not run or follow it: it might hand over the key. The next backup replaces "
            "it.",
            "Quelqu’un peut y écrire. Ne pas l’exécuter ni le suivre : il pourrait livrer la clé. La prochaine "
            "sauvegarde le remplace.",
        ),
        "recyclic-backups validate",
    ),
    "wal": Words(
        (
            "The archive of WAL has a problem: {reason}",
            "L’archive WAL a un problème : {reason}",
        ),
        (
            "A disaster now may cost more than seconds of work: the newest backup of the night may be all there is.",
            "Un sinistre maintenant peut coûter plus que quelques secondes de travail : il ne resterait peut-être que "
            "la dernière sauvegarde de la nuit.",
        ),
        "recyclic-backups wal status",
    ),
    "wal held": Words(
        (
            "WAL piles up on the database’s server: {reason}",
            "Le WAL s’accumule sur le serveur de la base : {reason}",
        ),
        (
            "If its disk fills up the database stops; if the server gives up first, WAL is lost to the archive.",
            "Si son disque se remplit, la base s’arrête ; si le serveur abandonne avant, du WAL manque à l’archive.",
        ),
        "recyclic-backups wal status",
    ),
    "base backup": Words(
        (
            "WAL has nothing to be replayed on: {reason}",
            "Le WAL n’a rien sur quoi être rejoué : {reason}",
        ),
        (
            "Moments between the backups of the nights cannot be brought back, or only slowly.",
            "Les moments entre les sauvegardes des nuits ne peuvent pas revenir, ou seulement lentement.",
        ),
        "recyclic-backups base-backup",
    ),
    "base backup failed": Words(
        ("The base backup failed: {reason}", "La sauvegarde de base a échoué : {reason}"),
        (
            "A recovery begins with the base backup before it, and takes longer the older that is; without any, only "
            "the backups of the nights come back.",
            "Une reprise part de la sauvegarde de base précédente, et dure d’autant plus qu’elle est ancienne ; sans "
            "aucune, seules reviennent les sauvegardes des nuits.",
        ),
        "recyclic-backups base-backup",
    ),
    "wal proof": Words(
        (
            "Nothing proves that WAL brings the server back: {reason}",
            "Rien ne prouve que le WAL ramène le serveur : {reason}",
        ),
        (
            "A recovery to a moment may fail on the day it is needed; the backups of the nights remain.",
            "Une reprise à un instant donné peut échouer le jour où elle sera nécessaire ; restent les sauvegardes des "
            "nuits.",
        ),
        "recyclic-backups drill pitr",
    ),
    "storage": Words(
        ("The storage cannot be read: {reason}", "Le stockage ne peut pas être lu : {reason}"),
        (
            "No backup can be taken and none restored from there until it answers again.",
            "Aucune sauvegarde ni restauration n’y est possible tant qu’il ne répond pas.",
        ),
        "recyclic-backups validate",
    ),
    "rollback": Words(
        (
            "The storage went back to an older state: {reason}",
            "Le stockage est revenu à un état antérieur : {reason}",
        ),
        (
            "What was done since may be missing, and somebody may be hiding it. If a copy was put back on purpose, say "
            "so: recyclic-backups audit accept --head {head}",
            "Ce qui a été fait depuis peut manquer, et quelqu’un le cache peut-être. Si une copie a été remise exprès, "
            "le dire : recyclic-backups audit accept --head {head}",
        ),
        "recyclic-backups audit verify --head {head}",
    ),
    "memory": Words(
        (
            "What alerts remember in the storage is not used: {reason}",
            "Ce que les alertes retiennent dans le stockage n’est pas utilisé : {reason}",
        ),
        (
            "Nothing that you are told comes from there; but somebody may write to the storage who should not.",
            "Rien de ce qui est signalé n’en vient ; mais quelqu’un écrit peut-être dans le stockage sans en avoir le "
            "droit.",
        ),
        "recyclic-backups verify --all",
    ),
    "delivery failed": Words(
        (
            "Messages by {channel} are not delivered: {reason}",
            "Les messages par {channel} n’arrivent pas : {reason}",
        ),
        (
            "The next alarm would not reach whoever relies on that way.",
            "La prochaine alerte n’atteindrait pas ses destinataires par cette voie.",
        ),
        "recyclic-backups notify-test",
    ),
    "other": Words(
        ("{reason}", "{reason}"),
        (
            "See the line above.",
            "Voir la ligne ci-dessus.",
        ),
        "recyclic-backups validate",
    ),
}
"""Every kind of problem, as it is stored and as `alerts --json` names it, and its sentences.

These have no full stop where they end with a reason.
"""

LABELS: Mapping[str, Pair] = {
    "critical": ("CRITICAL", "CRITIQUE"),
    "warning": ("warning", "avertissement"),
    "opened": ("{severity}", "{severity}"),
    "escalated": ("now {severity}", "désormais {severity}"),
    "reminded": ("still {severity}", "toujours {severity}"),
    "resolved": ("resolved", "résolu"),
    "test": ("test", "essai"),
    "many": ("{count:# problem|# problems}: {first}", "{count:# problème|# problèmes} : {first}"),
    "more": ("… and {count} more of the same", "… et {count:# autre|# autres}"),
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
    "well": ("Nothing is wrong.", "Rien à signaler."),
    "open": ("{count:# open incident|# open incidents}.", "{count:# incident ouvert|# incidents ouverts}."),
    "nobody": (
        "Nobody is told: no channel is configured (docs/alerts.md).",
        "Personne n’est prévenu : aucune voie n’est configurée (docs/alerts.md).",
    ),
    "waiting": (
        "{count:# message waits|# messages wait} to be delivered.",
        "{count:# message attend|# messages attendent} d’être remis.",
    ),
    "test_body": (
        "This is a test, sent by: recyclic-backups notify-test. Messages about {database} reach you this way, "
        "from severity “{minimum}” on.",
        "Ceci est un essai, envoyé par : recyclic-backups notify-test. Les messages sur {database} vous parviennent "
        "par cette voie, à partir de la gravité « {minimum} ».",
    ),
}
"""The frame around the sentences of a message, by name."""

REASONS: Mapping[str, Pair] = {
    "nothing_logged": ("its log says no more", "son journal n’en dit pas plus"),
    "nothing_ticked": ("its tick says no more", "Dagster n’en dit pas plus"),
    "unexpected": ("unexpected error, {name}", "erreur inattendue, {name}"),
    # In the place of a text that anybody who can write to the storage may have written.
    "unsent": (
        "the storage says why, and nothing there is signed",
        "le stockage dit pourquoi, et rien n’y est signé",
    ),
    "broken_look": (
        "alerts cannot look at {names}: unexpected error, {error}",
        "les alertes ne peuvent pas examiner {names} : erreur inattendue, {error}",
    ),
    "more_damage": (
        "it and more documents than {count:the one that is told|the # that are told one by one}; verify --all names "
        "them",
        "avec lui, plus de documents que {count:celui qui est signalé|les # signalés un par un} ; verify --all les "
        "nomme",
    ),
    "unsigned": (
        "{name} carries no MAC: an older version wrote it, or somebody without the key",
        "{name} ne porte pas de MAC : une ancienne version l’a écrit, ou quelqu’un sans la clé",
    ),
    "forged": (
        "{name} was edited, damaged or moved: its MAC is wrong",
        "{name} a été modifié, endommagé ou déplacé : son MAC est faux",
    ),
    "unchecked": (
        "{name} cannot be checked: no configured passphrase opens its key",
        "{name} ne peut être vérifié : aucune phrase secrète configurée n’ouvre sa clé",
    ),
    "unreadable": (
        "{name} is damaged: it is not what alerts write",
        "{name} est endommagé : ce n’est pas ce que les alertes écrivent",
    ),
    "foreign": (
        "{name} is of another storage: it is signed with a key that is none of this one's",
        "{name} est d’un autre stockage : il est signé avec une clé qui n’est pas de celui-ci",
    ),
    "other_storage": (
        "it says that it is the storage {now}; it was {before}",
        "il dit être le stockage {now} ; c’était {before}",
    ),
    "log_shorter": (
        "its audit log ended at event {number} of {at}, and ends at {now} now",
        "son journal d’audit finissait à l’événement {number} du {at}, et finit maintenant à {now}",
    ),
    "log_other": (
        "event {number} of {at} is not in its audit log any more, which goes up to event {now}",
        "l’événement {number} du {at} n’est plus dans son journal d’audit, qui va jusqu’à l’événement {now}",
    ),
    "backups_lost": (
        "backups are gone that no expiry deleted: {count} ({names})",
        "des sauvegardes ont disparu sans avoir expiré : {count} ({names})",
    ),
    "checks_lost": (
        "the backup {backup_id} had {before:# check|# checks}, and has {now} now",
        "la sauvegarde {backup_id} avait {before:# contrôle|# contrôles}, et en a {now} maintenant",
    ),
    "labels_back": (
        "labels point at an older backup than before: {names}",
        "des étiquettes désignent une sauvegarde plus ancienne qu’avant : {names}",
    ),
    "keys_back": (
        "key files are older than they were, or gone, and a former passphrase may open them: {names}",
        "des fichiers de clés sont plus anciens qu’avant, ou absents, et une ancienne phrase secrète peut les ouvrir : "
        "{names}",
    ),
    "sensor": ("sensor", "capteur"),
    "schedule": ("schedule", "planification"),
}
"""Why something failed, and what it was, by name."""
