"""What commands print in both languages. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.texts.language import Pair

EXPIRE: Mapping[str, Pair] = {
    "plan": (
        "BACKUP|CONTENT OF|TIERS|STORED|ACTION|WHY",
        "SAUVEGARDE|CONTENU DU|NIVEAUX|TAILLE|DÉCISION|POURQUOI",
    ),
    "report": ("BACKUP|FREED|WHY", "SAUVEGARDE|LIBÉRÉ|POURQUOI"),
    "keep": ("keep", "garder"),
    "expire": ("expire", "supprimer"),
    "empty": (
        "there is no backup: nothing to keep, nothing to expire",
        "il n'y a aucune sauvegarde : rien à garder, rien à supprimer",
    ),
    "totals": (
        "kept: {kept:# backup|# backups}, {kept_size}; expiring: {leaving:# backup|# backups}, {leaving_size}",
        "à garder : {kept:# sauvegarde|# sauvegardes}, {kept_size} ; à supprimer : "
        "{leaving:# sauvegarde|# sauvegardes}, "
        "{leaving_size}",
    ),
    "would": (
        "nothing was deleted; --yes would delete {leaving:# backup|# backups} and free {size}, "
        "{leaving:its|their} documents included",
        "rien n'a été supprimé ; --yes supprimerait {leaving:# sauvegarde|# sauvegardes} et libérerait {size}, "
        "{leaving:ses|leurs} documents compris",
    ),
    "would with wal": (
        "nothing was deleted; --yes would delete {leaving:# backup|# backups}, what leaves of base backups and WAL, "
        "and free {size}",
        "rien n'a été supprimé ; --yes supprimerait {leaving:# sauvegarde|# sauvegardes}, ce qui part des sauvegardes "
        "de base et du WAL, et libérerait {size}",
    ),
    "base plan": (
        "BASE BACKUP|BEGUN|STORED|ACTION|WHY",
        "SAUVEGARDE DE BASE|COMMENCÉE|TAILLE|DÉCISION|POURQUOI",
    ),
    "wal": (
        "WAL is kept from {lsn} of timeline {timeline} on; {objects:# object leaves|# objects leave}",
        "le WAL reste à partir de {lsn} de la ligne de temps {timeline} ; {objects:# objet part|# objets partent}",
    ),
    "wal gone": (
        "of base backups and WAL: {bases:# base backup|# base backups} and {objects:# object|# objects} deleted",
        "sauvegardes de base et WAL : {bases:# sauvegarde de base|# sauvegardes de base} et "
        "{objects:# objet|# objets} de WAL en moins",
    ),
    "would not": (
        "nothing was deleted; --yes would delete no backup",
        "rien n'a été supprimé ; --yes ne supprimerait aucune sauvegarde",
    ),
    "spared": ("spared {backup_id}: somebody holds it", "épargnée {backup_id} : quelqu'un la retient"),
    "swept": (
        "swept {number:# leftover|# leftovers} of killed backups and old tombstones",
        "nettoyage : {number:# reste|# restes} de sauvegardes interrompues et avis d'expiration périmés",
    ),
    "done": (
        "{removed:# backup|# backups} deleted and seen to be gone, {size} freed; kept: {kept:# backup|# backups}",
        "suppression constatée : {removed:# sauvegarde|# sauvegardes}, {size} libérés ; à garder : "
        "{kept:# sauvegarde|# sauvegardes}",
    ),
}
"""``expire``; why each backup stays or leaves is said by :mod:`recyclic_backups.texts.retention`."""

KEY_SHEET: Mapping[str, Pair] = {
    "title": ("KEY SHEET, printed on {date}", "FEUILLE DE CLÉ, imprimée le {date}"),
    "passphrase": (
        "Keep it with the passphrase (BACKUP_ENCRYPTION_KEY), which is not printed here, away from the storage. "
        "Neither is of use without a copy of the storage, its folder keys/ included.",
        "À garder avec la phrase de passe (BACKUP_ENCRYPTION_KEY), qui n'est pas imprimée ici, loin du stockage. "
        "Ni l'une ni l'autre ne servent sans une copie du stockage, dossier keys/ compris.",
    ),
    "storage": ("The backups of {database} are in:", "Les sauvegardes de {database} sont dans :"),
    "keys": ("Its keys, which the passphrase opens:", "Ses clés, que la phrase de passe ouvre :"),
    "no_key": (
        "none: no encrypted backup was taken yet, or the passphrase opens none",
        "aucune : pas encore de sauvegarde chiffrée, ou la phrase de passe n'en ouvre pas",
    ),
    "check": (
        "If this software is gone: copy the script and its instructions OUT of the storage, and compare the copies "
        "with the SHA-256 below before you read or run them. If they differ, take the files of a release of "
        "recyclic_backups instead: somebody may have changed these to get at the passphrase.",
        "Si ce logiciel a disparu : copiez le script et ses instructions HORS du stockage, et comparez les copies avec "
        "les SHA-256 ci-dessous avant de les lire ou de les lancer. S'ils diffèrent, prenez les fichiers d'une version "
        "publiée de recyclic_backups : quelqu'un a pu modifier ceux-ci pour obtenir la phrase de passe.",
    ),
    "run": (
        "Then run the copy, always with -I, so that nothing lying beside it is run as well:",
        "Puis lancez la copie, toujours avec -I, pour que rien de ce qui se trouve à côté ne soit lancé aussi :",
    ),
    "again": (
        "Print this sheet anew after every update of recyclic_backups, and after `keys rotate`.",
        "Imprimez une nouvelle feuille après chaque mise à jour de recyclic_backups, et après `keys rotate`.",
    ),
}
"""``keys sheet``."""
