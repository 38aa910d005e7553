"""The sentences of findings: what is wrong with the backups or worth to know, in English and French. Pure.

The names are outside names: programs know findings by them (docs/json.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.texts.language import Pair

ANOMALIES: Mapping[str, Pair] = {
    "dump_shrank": (
        "the dump shrank to {dumped}; the median of the {count:one|#} before is {usual}",
        "l'extraction a rétréci à {dumped} ; la médiane {count:de la précédente|des # précédentes} est {usual}",
    ),
    "dump_grew": (
        "the dump grew to {dumped}; the median of the {count:one|#} before is {usual}",
        "l'extraction a grossi à {dumped} ; la médiane {count:de la précédente|des # précédentes} est {usual}",
    ),
    "compression_collapsed": (
        "what is stored became {now} of what was dumped, usually {usual}: data may have been encrypted by somebody "
        "else. Tables whose rows became others: {suspects}",
        "ce qui est stocké fait {now} de l'extraction, d'habitude {usual} : des données ont pu être chiffrées par "
        "quelqu'un d'autre. Tables dont les lignes sont devenues d'autres : {suspects}",
    ),
    "table_emptied": (
        "{table} is empty since {day}; it had {usual:# row|# rows}",
        "{table} est vide depuis le {day} ; elle avait {usual:# ligne|# lignes}",
    ),
    "table_gone": (
        "{table} is gone since {day}; it had {usual:# row|# rows}",
        "{table} a disparu depuis le {day} ; elle avait {usual:# ligne|# lignes}",
    ),
    "table_shrank": (
        "{table} shrank to {now:# row|# rows}; the median of the {count:one|#} before is {usual}",
        "{table} est tombée à {now:# ligne|# lignes} ; la médiane {count:de la précédente|des # précédentes} est "
        "{usual}",
    ),
    "table_grew": (
        "{table} grew to {now:# row|# rows}; the median of the {count:one|#} before is {usual}",
        "{table} est montée à {now:# ligne|# lignes} ; la médiane {count:de la précédente|des # précédentes} est "
        "{usual}",
    ),
    "table_rewritten": (
        "{now} of the rows of {table} became others on {day}; before, at most {usual} did from one backup to the "
        "next: an UPDATE without its WHERE, or somebody encrypted them",
        "{now} des lignes de {table} sont devenues d'autres lignes le {day} ; avant, {usual} au plus d'une "
        "sauvegarde à l'autre : un UPDATE sans WHERE, ou quelqu'un les a chiffrées",
    ),
    "table_converted": (
        "{now} of the rows of {table} became others on {day}, and its columns have other types: a migration, or "
        "somebody encrypted them",
        "{now} des lignes de {table} sont devenues d'autres lignes le {day}, et ses colonnes ont d'autres types : "
        "une migration, ou quelqu'un les a chiffrées",
    ),
    "tables_rewritten": (
        "{changed} of the {steady:table that keeps its|# tables that keep their} rows from one backup to the next lost "
        "most of them together on {day}: somebody may have encrypted them ({tables})",
        "{changed} {steady:de la table qui garde ses|des # tables qui gardent leurs} lignes d'une sauvegarde à l'autre "
        "{changed:en a|en ont} perdu la plupart ensemble le {day} : quelqu'un les a peut-être chiffrées ({tables})",
    ),
    "values_vanished": (
        "{table}.{column} is {now} empty (null), usually {usual}",
        "{table}.{column} est vide (null) à {now}, d'habitude {usual}",
    ),
    "values_appeared": (
        "{table}.{column} is only {now} empty (null), usually {usual}",
        "{table}.{column} n'est plus vide (null) qu'à {now}, d'habitude {usual}",
    ),
    "slower": (
        "the last {count:backup|# backups} took about {now}; before, {usual}",
        "{count:la dernière sauvegarde a|les # dernières sauvegardes ont} pris environ {now} ; avant, {usual}",
    ),
    "drill_stopped": (
        "no {scenario} drill since {day}; there was one about every {usual}",
        "aucun exercice {scenario} depuis le {day} ; il y en avait un tous les {usual} environ",
    ),
    "verifying_stopped": (
        "the newest backup, {backup_id}, was never verified, though those before were",
        "la sauvegarde la plus récente, {backup_id}, n'a jamais été vérifiée, contrairement aux précédentes",
    ),
    "fingerprint_stopped": (
        "{backup_id} has a fingerprint of level {now}, those before of level {usual}: a restore of it proves less",
        "{backup_id} a une empreinte de niveau {now}, les précédentes de niveau {usual} : "
        "sa restauration prouve moins",
    ),
    "fingerprint_unreadable": (
        "the fingerprint of {backup_id} cannot be read",
        "l'empreinte de {backup_id} est illisible",
    ),
    "content_sealed": (
        "what {count:# backup contains|# backups contain} is sealed, and no key at hand opens it "
        "(BACKUP_ENCRYPTION_KEY): "
        "{count:its|their} tables are not compared",
        "le contenu de {count:# sauvegarde|# sauvegardes} est scellé, et aucune clé disponible ne l'ouvre "
        "(BACKUP_ENCRYPTION_KEY) : "
        "{count:ses|leurs} tables ne sont pas comparées",
    ),
}
"""Where the newest backup is unlike the nights before it, or where that cannot be told."""

WORDS: Mapping[str, Pair] = {
    **ANOMALIES,
    "no_verified_backup": ("there is no verified backup", "il n'y a aucune sauvegarde vérifiée"),
    "age": (
        "the newest verified backup, {backup_id}, is {age} old",
        "la sauvegarde vérifiée la plus récente, {backup_id}, date de {age}",
    ),
    "old": (
        "the newest verified backup, {backup_id}, is {age} old: more than {limit}",
        "la sauvegarde vérifiée la plus récente, {backup_id}, date de {age} : plus de {limit}",
    ),
    "future": (
        "{backup_id} is from the future ({as_of} UTC): a clock is wrong",
        "{backup_id} est datée du futur ({as_of} UTC) : une horloge est fausse",
    ),
    "missing": (
        "{tier} {partition} has no good backup; one taken now fills its place, marked late",
        "{tier} {partition} n'a aucune sauvegarde valide ; une sauvegarde faite maintenant prend sa place, marquée "
        "en retard",
    ),
    "missing_in_wal": (
        "{tier} {partition} has no good backup; WAL reaches that time, and rebuilds it",
        "{tier} {partition} n'a aucune sauvegarde valide ; le WAL atteint ce moment, et la reconstruit",
    ),
    "missing_label": (
        "{tier} {partition} has no good backup; one of that time exists and only needs the label",
        "{tier} {partition} n'a aucune sauvegarde valide ; il en existe une de cette période, à laquelle ne manque que "
        "l'étiquette",
    ),
    "lost_partition": (
        "{tier} {partition} has no good backup, and nothing can fill its place any more",
        "{tier} {partition} n'a aucune sauvegarde valide, et plus rien ne peut prendre sa place",
    ),
    "absent": (
        "the {tier} partition {partition} has no backup",
        "la période {tier} {partition} n'a aucune sauvegarde",
    ),
    "readable": (
        "{backup_id} was read again from the storage, opened and parsed to its end",
        "{backup_id} a été relue dans le stockage, ouverte et analysée jusqu'au bout",
    ),
    "not_read": ("{backup_id} was not read again yet", "{backup_id} n'a pas encore été relue"),
    "unreadable": ("{backup_id}: {problem}", "{backup_id} : {problem}"),
    "damaged_backup": (
        "{backup_id} was found damaged on {date}: {why}",
        "{backup_id} a été trouvée endommagée le {date} : {why}",
    ),
    "encrypted": (
        "{backup_id} is sealed with the data key {key_id}",
        "{backup_id} est scellée avec la clé de données {key_id}",
    ),
    "not_encrypted": (
        "{backup_id} is not encrypted: whoever finds it reads members' data (GDPR, article 32)",
        "{backup_id} n'est pas chiffrée : qui la trouve lit les données des membres (RGPD, article 32)",
    ),
    "no_history": (
        "{dumped} dumped; with {count:# earlier backup|# earlier backups} there is no history yet ({minimum} needed)",
        "{dumped} extraits ; avec {count:# sauvegarde antérieure|# sauvegardes antérieures} l'historique manque encore "
        "({minimum:# requise|# requises})",
    ),
    "size": (
        "{dumped} dumped; the median of the {count:one|#} before is {usual}",
        "{dumped} extraits ; la médiane {count:de la précédente|des # précédentes} est {usual}",
    ),
    "compressed": (
        "{backup_id} is {compression} smaller than what was dumped",
        "{backup_id} est {compression} plus petite que ce qui a été extrait",
    ),
    "compression": (
        "{backup_id} is only {compression} smaller than what was dumped; the objective is {objective}",
        "{backup_id} n'est que {compression} plus petite que ce qui a été extrait ; l'objectif est {objective}",
    ),
    "not_compressed": (
        "{backup_id} is not compressed (BACKUP_COMPRESSION)",
        "{backup_id} n'est pas compressée (BACKUP_COMPRESSION)",
    ),
    "took": ("{backup_id} took {duration}", "{backup_id} a pris {duration}"),
    "duration": (
        "{backup_id} took {duration}; the objective is under {limit}",
        "{backup_id} a pris {duration} ; l'objectif est moins de {limit}",
    ),
    "in_time": (
        "{backup_id} holds the moment {as_of} UTC, inside its own partition",
        "{backup_id} contient le moment {as_of} UTC, dans sa propre période",
    ),
    "late": (
        "{tier} {partition} is late: {backup_id} holds the moment {as_of} UTC, outside it",
        "{tier} {partition} est en retard : {backup_id} contient le moment {as_of} UTC, hors de cette période",
    ),
    "restore_failed": (
        "the last {kind} of {backup_id} failed: {why}",
        "la dernière fois, {kind} de {backup_id} a échoué : {why}",
    ),
    "proven": (
        "{backup_id} was restored and found equal on {at} UTC",
        "{backup_id} a été restaurée et trouvée identique le {at} UTC",
    ),
    "another_proven": (
        "{backup_id} was not restored itself; another was, {unproven} ago",
        "{backup_id} n'a pas été restaurée elle-même ; une autre l'a été il y a {unproven}",
    ),
    "proof_not_due": (
        "no backup was restored yet; the first proof is due {limit} after the first backup",
        "aucune sauvegarde n'a encore été restaurée ; la première preuve est due {limit} après la première sauvegarde",
    ),
    "unproven": (
        "it is {unproven} since the last restore was proven",
        "la dernière restauration prouvée remonte à {unproven}",
    ),
    "never_proven": (
        "it is {unproven} since the first backup was taken, and none was ever restored",
        "la première sauvegarde remonte à {unproven}, et aucune n'a jamais été restaurée",
    ),
    "space": (
        "{free} are free where the backups are: less than {limit}",
        "il reste {free} là où sont les sauvegardes : moins de {limit}",
    ),
    "availability": (
        "a verified backup younger than {limit} was there {percent} of the last {window}; the objective is {objective}",
        "une sauvegarde vérifiée de moins de {limit} était là {percent} des derniers {window} ; "
        "l'objectif est {objective}",
    ),
    "restore_slow": (
        "the last {scenario} drill took {took}; the objective is {limit}",
        "le dernier exercice {scenario} a pris {took} ; l'objectif est {limit}",
    ),
    "damaged_document": ("{name} is damaged: {problem}", "{name} est endommagé : {problem}"),
    "unknown_document": (
        "whether {name} was edited is not known, so it is not believed: {problem}",
        "on ne sait pas si {name} a été modifié, il n'est donc pas cru : {problem}",
    ),
    "rescue_changed": (
        "{name} in the storage is not what this software put there: do not run or follow it; the next backup "
        "replaces it",
        "{name}, dans le stockage, n'est pas ce que ce logiciel y a mis : ne pas l'exécuter ni le suivre ; la "
        "prochaine sauvegarde le remplace",
    ),
    "not_checked": (
        "no key of the storage is at hand: nothing here was checked, proofs included; whoever can write to the storage "
        "decides what is said (BACKUP_ENCRYPTION_KEY)",
        "aucune clé du stockage n'est disponible : rien ici n'a été vérifié, preuves comprises ; qui peut écrire dans "
        "le stockage décide de ce qui est dit (BACKUP_ENCRYPTION_KEY)",
    ),
    "data_loss": (
        "a nightly dump alone loses up to {interval} of work; one hour at most needs WAL archiving, which is not on",
        "une extraction par nuit perd jusqu'à {interval} de travail ; une heure au plus demande l'archivage WAL, "
        "qui n'est pas actif",
    ),
    "recoverable": (
        "everything up to {as_of} UTC can be brought back: {age} ago",
        "tout ce qui précède le {as_of} UTC peut revenir : il y a {age}",
    ),
    "wal_absent": (
        "WAL archiving is on (WAL_ARCHIVE), and no WAL was ever received",
        "l'archivage WAL est actif (WAL_ARCHIVE), et aucun WAL n'a jamais été reçu",
    ),
    "wal_silent": (
        "no WAL was stored since {as_of} UTC, {age} ago: the receiver is down, or does not reach server or storage",
        "aucun WAL n'a été stocké depuis le {as_of} UTC, il y a {age} : le récepteur est arrêté, ou n'atteint pas le "
        "serveur ou le stockage",
    ),
    "wal_gap": (
        "WAL is missing from {from_lsn} to {to_lsn} on timeline {timeline}, and no base backup was taken since: no "
        "recovery comes past it",
        "il manque du WAL de {from_lsn} à {to_lsn} sur la ligne de temps {timeline}, et aucune sauvegarde de base n'a "
        "été faite depuis : aucune reprise ne va au-delà",
    ),
    "wal_old_gap": (
        "WAL is missing from {from_lsn} to {to_lsn} on timeline {timeline}: the moments in between cannot be brought "
        "back, those after the base backup that followed can",
        "il manque du WAL de {from_lsn} à {to_lsn} sur la ligne de temps {timeline} : les moments entre les deux ne "
        "peuvent pas revenir, ceux d'après la sauvegarde de base suivante le peuvent",
    ),
    "wal_damaged": (
        "the archive of WAL cannot be believed: {problem}",
        "l'archive WAL ne peut pas être crue : {problem}",
    ),
    "wal_slot_lost": (
        "the server has given up what it kept for the receiver (max_slot_wal_keep_size): WAL is lost",
        "le serveur a abandonné ce qu'il gardait pour le récepteur (max_slot_wal_keep_size) : du WAL est perdu",
    ),
    "wal_held": (
        "the server keeps {held} of WAL for the receiver, on its own disk; it gives up after {left} more",
        "le serveur garde {held} de WAL pour le récepteur, sur son propre disque ; il abandonne après {left} de plus",
    ),
    "wal_held_without_limit": (
        "the server keeps {held} of WAL for the receiver, on its own disk, and goes on until that is full "
        "(max_slot_wal_keep_size)",
        "le serveur garde {held} de WAL pour le récepteur, sur son propre disque, et continue jusqu'à ce qu'il soit "
        "plein (max_slot_wal_keep_size)",
    ),
    "base_absent": (
        "WAL is received, and there is no verified base backup to replay it on",
        "le WAL est reçu, et il n'y a aucune sauvegarde de base vérifiée sur laquelle le rejouer",
    ),
    "base_old": (
        "the newest verified base backup, {base_id}, is {age} old: a recovery replays all WAL since",
        "la dernière sauvegarde de base vérifiée, {base_id}, date de {age} : une reprise rejoue tout le WAL depuis",
    ),
    "base_damaged": (
        "the base backup {base_id} was found damaged: {why}",
        "la sauvegarde de base {base_id} a été trouvée endommagée : {why}",
    ),
    "pitr_failed": (
        "the last recovery from WAL that was rehearsed ({base_id}) failed: {why}",
        "la dernière reprise par le WAL qui a été répétée ({base_id}) a échoué : {why}",
    ),
    "pitr_unproven": (
        "it is {unproven} since a recovery from WAL was last proven",
        "la dernière reprise prouvée par le WAL remonte à {unproven}",
    ),
    "pitr_never_proven": (
        "base backups are taken since {unproven}, and no recovery from WAL was ever proven",
        "des sauvegardes de base existent depuis {unproven}, et aucune reprise par le WAL n'a jamais été prouvée",
    ),
    "base_there": (
        "the newest verified base backup, {base_id}, is {age} old",
        "la dernière sauvegarde de base vérifiée, {base_id}, date de {age}",
    ),
    "wal_held_little": (
        "the server keeps {held} of WAL for the receiver",
        "le serveur garde {held} de WAL pour le récepteur",
    ),
    "wal_whole": (
        "the WAL is whole from {from_lsn} to {to_lsn}",
        "le WAL est complet de {from_lsn} à {to_lsn}",
    ),
    "incident": ("{what}", "{what}"),
    "alert_memory": (
        "What people were told is not shown: {why}",
        "Ce qui a été signalé n’est pas montré : {why}",
    ),
}
"""Each sentence in English and French."""

CHECKS: Mapping[str, Pair] = {
    # Their kinds; in French with the article that each needs.
    "verify": ("verification", "la vérification"),
    "restore": ("restore", "la restauration"),
    "drill": ("drill", "l'exercice"),
    "no_reason": ("no reason given", "aucune raison n'est donnée"),
    "sealed": (
        "why is sealed, and no key at hand opens it (BACKUP_ENCRYPTION_KEY)",
        "la raison est scellée, et aucune clé disponible ne l’ouvre (BACKUP_ENCRYPTION_KEY)",
    ),
}
"""What is said of the checks that lie beside a backup."""

SCENARIOS: Mapping[str, Pair] = {
    "simple": ("simple", "simple"),
    "partial": ("partial", "partiel"),
    "full": ("full", "complet"),
    "pitr": ("pitr", "à un instant donné"),
}
"""What a drill's scenario is called."""
