"""The sentences of retention, in English and French: why a backup stays or leaves, what to worry about. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.texts.language import Pair

WORDS: Mapping[str, Pair] = {
    "tier_kept": ("{tier} {partition}, {number} of {count}", "{tier} {partition}, {number} sur {count}"),
    "base_kept": (
        "verified, chain {number} of {count}",
        "vérifiée, chaîne {number} sur {count}",
    ),
    "base_few": (
        "{count:there is no verified one|there are fewer than # verified ones} yet",
        "{count:aucune n'est encore vérifiée|il y en a encore moins de # vérifiées}",
    ),
    "base_no_good": (
        "there is no verified base backup: nothing expires",
        "il n'y a aucune sauvegarde de base vérifiée : rien n'expire",
    ),
    "base_not_counted": (
        "not verified, so not counted: newer than the oldest that is kept",
        "non vérifiée, donc non comptée : plus récente que la plus ancienne qui reste",
    ),
    "base_other_line": (
        "of a timeline that was left: newer than the oldest that is kept",
        "d'une ligne de temps abandonnée : plus récente que la plus ancienne qui reste",
    ),
    "base_future": (
        "it is of the future: a clock is or was wrong",
        "elle est datée du futur : une horloge est ou était fausse",
    ),
    "base_held": ("{base_id} is held: {reason}", "{base_id} est retenue : {reason}"),
    "base_over": (
        "{count:a newer chain is verified|# newer chains are verified}",
        "{count:une chaîne plus récente est vérifiée|# chaînes plus récentes sont vérifiées}",
    ),
    "tier_shared": ("also {tier} {partition}", "aussi {tier} {partition}"),
    "tier_not_counted": (
        "{tier} {partition}, not counted because it is not verified",
        "{tier} {partition}, non comptée car non vérifiée",
    ),
    "checkpoint_kept": ("checkpoint, {number} of {count}", "point de contrôle, {number} sur {count}"),
    "checkpoint_not_counted": (
        "checkpoint, not counted because it is not verified",
        "point de contrôle, non compté car non vérifié",
    ),
    "unlabelled_waits": (
        "without a label since {since}: stays until {until}",
        "sans étiquette depuis le {since} : reste jusqu'au {until}",
    ),
    "newest_good": ("the newest good backup", "la sauvegarde valide la plus récente"),
    "newest_proven": (
        "the newest backup proven by a restore",
        "la plus récente prouvée par une restauration",
    ),
    "minimum": (
        "{count:the newest good backup|one of the # newest good backups}",
        "{count:la sauvegarde valide la plus récente|l'une des # valides les plus récentes}",
    ),
    "held": ("held until {until}: {reason}", "retenue jusqu'au {until} : {reason}"),
    "held_on": (
        "was held until {until} ({reason}) and stays: too few good backups were taken in the last {window:day|# days} "
        "for "
        "the clock to be believed",
        "était retenue jusqu'au {until} ({reason}) et reste : trop peu de sauvegardes valides ont été prises "
        "{window:ce dernier jour|ces # derniers jours} pour que l'horloge soit crue",
    ),
    "held_for_ever": ("held without an end: {reason}", "retenue sans limite : {reason}"),
    "not_replaced": (
        "there is no newer good backup to take its place",
        "aucune sauvegarde valide plus récente ne la remplace",
    ),
    "no_good": (
        "there is no good backup: nothing expires",
        "il n'y a aucune sauvegarde valide : rien n'expire",
    ),
    "future": (
        "it is of the future ({date}): a clock is or was wrong",
        "elle est datée du futur ({date}) : une horloge est ou était fausse",
    ),
    "unknown_partition": (
        "its label {tier} {partition} is no partition",
        "son étiquette {tier} {partition} n'est pas une période",
    ),
    "untrusted": (
        "its documents cannot be trusted: {problem}",
        "ses documents ne sont pas fiables : {problem}",
    ),
    "kept_by_hold": (
        "a hold keeps it, believed or not: recyclic-backups release",
        "une retenue la garde, fiable ou non : recyclic-backups release",
    ),
    "tier_over": (
        "{tier} {partition}: not among the newest {count}",
        "{tier} {partition} : {count:vient après # plus récente|pas parmi les # plus récentes}",
    ),
    "checkpoint_over": (
        "checkpoint: not among the newest {count}",
        "point de contrôle : {count:vient après # plus récent|pas parmi les # plus récents}",
    ),
    "unlabelled_over": (
        "without a label since {since}, more than {days:# day|# days}",
        "sans étiquette depuis le {since}, plus de {days:# jour|# jours}",
    ),
    "ceiling": (
        "its content is older than {days:# day|# days} (RETENTION_MAX_DAYS)",
        "son contenu a plus de {days:# jour|# jours} (RETENTION_MAX_DAYS)",
    ),
    "damaged": ("found damaged on {date}: {problem}", "trouvée endommagée le {date} : {problem}"),
    "unverified": ("never verified", "jamais vérifiée"),
    "unsigned": (
        "nobody signed it, and somebody asked for such to go",
        "personne ne l'a signée, et quelqu'un a demandé que celles-là partent",
    ),
    "deletion_resumed": (
        "its deletion had begun, and is finished",
        "sa suppression avait commencé, elle est achevée",
    ),
    "incident": ("incident: {sentence}", "incident : {sentence}"),
    "warning": ("warning: {sentence}", "avertissement : {sentence}"),
    "ceiling_soon": (
        "{backup_id} reaches RETENTION_MAX_DAYS ({days:# day|# days}) on {date} and leaves then, though it is kept "
        "now: "
        "{why}; {advice}",
        "{backup_id} atteint RETENTION_MAX_DAYS ({days:# jour|# jours}) le {date} et part alors, bien que gardée "
        "aujourd'hui : {why} ; {advice}",
    ),
    "prove_another": (
        "take a newer one and prove it by a restore, or hold this one",
        "prenez-en une plus récente et prouvez-la par une restauration, ou retenez celle-ci",
    ),
    "hold_it": ("hold it if it must stay longer", "retenez-la si elle doit rester plus longtemps"),
    "ceiling_passed": (
        "{backup_id} is older than {days:# day|# days} (RETENTION_MAX_DAYS) and stays: {why}",
        "{backup_id} a plus de {days:# jour|# jours} (RETENTION_MAX_DAYS) et reste : {why}",
    ),
    "damaged_leaves": (
        "{backup_id} leaves damaged: what could still be read of it leaves with it ({why})",
        "{backup_id} part endommagée : ce qui pouvait encore en être lu part avec elle ({why})",
    ),
    "newest_past_ceiling": (
        "the newest good backup, {backup_id}, is older than {days:# day|# days} (RETENTION_MAX_DAYS); it stays because "
        "there is no other: backups have stopped, or a clock is wrong",
        "la sauvegarde valide la plus récente, {backup_id}, a plus de {days:# jour|# jours} (RETENTION_MAX_DAYS) ; "
        "elle "
        "reste car il n'y en a pas d'autre : les sauvegardes ont cessé, ou une horloge est fausse",
    ),
    "ceiling_suspended": (
        "{number:# backup is|# backups are} older than {days:# day|# days} (RETENTION_MAX_DAYS) and "
        "{number:stays|stay}: "
        "fewer than {count:# good backup was|# good backups were} taken in the last {window:day|# days}, so backups "
        "have stopped or a clock is wrong",
        "{number:# sauvegarde a|# sauvegardes ont} plus de {days:# jour|# jours} (RETENTION_MAX_DAYS) et "
        "{number:reste|restent} : moins de {count:# sauvegarde valide a été prise|# sauvegardes valides ont été "
        "prises} {window:ce dernier jour|ces # derniers jours} ; les sauvegardes ont cessé, ou une horloge est fausse",
    ),
    "no_good_backup": (
        "{number:the only backup is not|none of the # backups is} known to be good: nothing expires",
        "{number:la seule sauvegarde|aucune des # sauvegardes} n'est {number:pas connue|connue} comme valide : rien "
        "n'expire",
    ),
    # How the storage grows.
    "wal_pace": ("WAL takes {size} a day.", "Le WAL prend {size} par jour."),
    "will_hold": (
        "If every backup to come is good, the storage holds {size} on {day}, after what leaves until then.",
        "Si chaque sauvegarde à venir est valide, le stockage contiendra {size} le {day}, une fois parti ce qui part "
        "d'ici là.",
    ),
    "storage_full": (
        "The storage is full on {day}: give it more space, or keep less.",
        "Le stockage est plein le {day} : agrandissez-le, ou gardez moins.",
    ),
}
"""Each sentence in English and French."""
