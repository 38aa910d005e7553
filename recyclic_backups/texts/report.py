"""The fixed texts of the page and of ``status``, in English and French. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.texts.language import Locale, Pair, fill

WORDS: Mapping[str, Pair] = {
    "title": ("Backups of {database}", "Sauvegardes de {database}"),
    "titles": ("Backups", "Sauvegardes"),
    "production": ("production", "production"),
    "staging": ("staging", "préproduction"),
    "development": ("development", "développement"),
    "healthy": ("Healthy", "Tout va bien"),
    "degraded": ("Degraded", "À surveiller"),
    "unhealthy": ("Unhealthy", "Critique"),
    "measured": ("Measured {moment} ({timezone})", "Mesuré le {moment} ({timezone})"),
    "stale": (
        "This page is {age} old. Whoever writes it has stopped: look at Dagster, or run recyclic-backups report.",
        "Cette page a {age}. Ce qui l'écrit s'est arrêté : regardez Dagster, ou lancez recyclic-backups report.",
    ),
    "hours": ("{count} h", "{count} h"),
    "days": ("{count:# day|# days}", "{count:# jour|# jours}"),
    "nothing known": ("Nothing known since {moment}", "Rien de connu depuis le {moment}"),
    "then": ("It said then: {word}.", "Elle disait alors : {word}."),
    "newest then": (
        "The newest verified backup was of {moment}.",
        "La sauvegarde vérifiée la plus récente était du {moment}.",
    ),
    "no recovery point": (
        "There is no verified backup: if the server were lost now, everything would be lost.",
        "Aucune sauvegarde vérifiée : si le serveur disparaissait maintenant, tout serait perdu.",
    ),
    "recovery point": (
        "If the server were lost now, the database comes back as it was on {moment}: {age} of work would be missing.",
        "Si le serveur disparaissait maintenant, la base reviendrait telle qu'elle était le {moment} : "
        "{age} de travail manqueraient.",
    ),
    "proven point": (
        "The newest backup proven by a restore is of {moment}; it was found equal on {at}.",
        "La sauvegarde la plus récente prouvée par une restauration est du {moment} ; elle a été trouvée identique "
        "le {at}.",
    ),
    "window": (
        "Any moment between {first} and {last} can be brought back; base backups and WAL take {size}.",
        "Tout instant entre le {first} et le {last} peut revenir ; les sauvegardes de base et le WAL occupent {size}.",
    ),
    "wal stored": ("WAL and base backups", "WAL et sauvegardes de base"),
    "a day": ("{size} of WAL a day", "{size} de WAL par jour"),
    "no window": (
        "No moment between the backups can be brought back: recyclic-backups wal status",
        "Aucun instant entre les sauvegardes ne peut revenir : recyclic-backups wal status",
    ),
    "nothing proven": (
        "No restore has been proven yet: recyclic-backups drill simple",
        "Aucune restauration n'a encore été prouvée : recyclic-backups drill simple",
    ),
    "open incidents": (
        "{count:# open incident|# open incidents} ({critical} critical)",
        "{count:# incident ouvert|# incidents ouverts} ({critical:# critique|# critiques})",
    ),
    "incidents": ("Open incidents", "Incidents ouverts"),
    "issues": ("What needs somebody", "Ce qui demande quelqu'un"),
    "all well": ("Nothing. Sleep well.", "Rien. Dormez bien."),
    "nothing besides": ("Nothing besides the open incidents.", "Rien d'autre que les incidents ouverts."),
    "more": ("and {count} more", "et {count} de plus"),
    "critical": ("critical", "critique"),
    "warning": ("warning", "avertissement"),
    "note": ("to know", "à savoir"),
    "anomaly": ("unlike the nights before", "inhabituel"),
    "coverage": ("What each day has", "Ce que chaque jour possède"),
    "coverage of": (
        "Each tier's partitions over the last {days:day|# days}, today on the right",
        "Les périodes de chaque niveau sur {days:le dernier jour|les # derniers jours}, aujourd'hui à droite",
    ),
    "tier": ("Tier", "Niveau"),
    "legend": ("Legend", "Légende"),
    "before": ("before the first backup", "avant la première sauvegarde"),
    "coming": ("not due yet", "pas encore due"),
    "missing": (
        "missing, named among what needs somebody",
        "manquante, nommée dans ce qui demande quelqu'un",
    ),
    "overdue": ("overdue, can still be made", "en retard, peut encore être faite"),
    "missed": ("missed too long ago to be kept: history", "manquée, trop ancienne pour être gardée : passé"),
    "damaged": ("damaged", "endommagée"),
    "expired": ("expired by retention", "expirée par la conservation"),
    "present": ("present, not verified", "présente, non vérifiée"),
    "verified": ("verified: read again to the last byte", "vérifiée : relue jusqu'au dernier octet"),
    "proven": ("proven: restored and equal", "prouvée : restaurée et identique"),
    "late": ("late: of another time than its own", "tardive : d'un autre moment que le sien"),
    "held": ("held back from expiring", "retenue"),
    "late letter": ("L", "T"),
    "held letter": ("H", "R"),
    "figures": ("Now", "Maintenant"),
    "age": ("Age of the newest", "Âge de la plus récente"),
    "stored": ("Stored", "Stocké"),
    "backups": ("in {count:# backup|# backups}", "en {count:# sauvegarde|# sauvegardes}"),
    "free": ("Free space", "Espace libre"),
    "size": ("Newest backup", "La plus récente"),
    "of dumped": ("of {size} dumped", "sur {size} extraits"),
    "smaller": ("Compression", "Compression"),
    "duration": ("Duration", "Durée"),
    "availability": ("Availability", "Disponibilité"),
    "days window": ("over {window}", "sur {window}"),
    "too young": ("not enough history: since {moment}", "pas assez d'historique : depuis le {moment}"),
    "expiring": ("To expire now", "À expirer maintenant"),
    "held count": ("{count} held", "{count} en retenue"),
    "objective under": ("objective: under {limit}", "objectif : moins de {limit}"),
    "objective over": ("objective: over {limit}", "objectif : plus de {limit}"),
    "alarm under": ("alarm under {limit}", "alarme sous {limit}"),
    "alarm over": ("alarm over {limit}", "alarme au-delà de {limit}"),
    "not told": ("not told", "inconnu"),
    "met": ("met", "tenu"),
    "not met": ("not met", "non tenu"),
    "trends": ("Trends", "Tendances"),
    "trend stored": ("Stored, newest backups", "Stocké, dernières sauvegardes"),
    "trend rows": ("Rows", "Lignes"),
    "trend duration": ("Duration of the backup", "Durée de la sauvegarde"),
    "trend compression": ("Compression", "Compression"),
    "trend restore": ("Restore time, drill {scenario}", "Temps de restauration, exercice {scenario}"),
    "described": (
        "{title}: {count:# value|# values} from {first} to {last}; lowest {lowest}, highest {highest}, newest {newest}",
        "{title} : {count:# valeur|# valeurs} du {first} au {last} ; la plus basse {lowest}, la plus haute {highest}, "
        "la dernière {newest}",
    ),
    "no trend": ("No values yet.", "Pas encore de valeurs."),
    "too few": ("too few for a curve", "trop peu pour une courbe"),
    "objective": ("objective", "objectif"),
    "objectives": (
        "Recovery objectives, measured by drills",
        "Objectifs de reprise, mesurés par les exercices",
    ),
    "scenario": ("Scenario", "Scénario"),
    "simple": ("simple: the newest backup into a database", "simple : la dernière sauvegarde dans une base"),
    "partial": ("partial: chosen tables put right", "partiel : des tables choisies réparées"),
    "pitr": ("pitr: the server as it was at a moment", "pitr : le serveur tel qu'il était à un instant"),
    "full": ("full: only storage and key are left", "complet : il ne reste que le stockage et la clé"),
    "last drill": ("Last drill", "Dernier exercice"),
    "never": ("never", "jamais"),
    "verdict": ("Verdict", "Verdict"),
    "passed": ("passed", "réussi"),
    "failed": ("failed", "échoué"),
    "nothing to compare": ("passed, nothing to compare", "réussi, rien à comparer"),
    "restored in": ("Back within (RTO)", "Retour en (RTO)"),
    "lost": ("Work lost (RPO)", "Travail perdu (RPO)"),
    "of limit": ("of {limit}", "sur {limit}"),
    "departures": ("What leaves next", "Ce qui part ensuite"),
    "if good": (
        "If every backup to come is good. When backups fail, nothing leaves.",
        "Si chaque sauvegarde à venir est valide. Quand les sauvegardes échouent, rien ne part.",
    ),
    "leaves": ("On", "Le"),
    "backup": ("Backup", "Sauvegarde"),
    "why": ("Why", "Pourquoi"),
    "and more": (
        "and {count} more within {days:# day|# days}",
        "et {count} de plus d'ici {days:# jour|# jours}",
    ),
    "backups leave": ("{count:# backup|# backups}", "{count:# sauvegarde|# sauvegardes}"),
    "tier over": (
        "{tier}: not among the newest {count}",
        "{tier} : {count:vient après # plus récente|pas parmi les # plus récentes}",
    ),
    "none leaves": ("Nothing within {days:# day|# days}.", "Rien d'ici {days:# jour|# jours}."),
    "run expired": (
        "{gone} expired and seen to be gone, {freed} freed; {kept} kept, {size}.",
        "Expirées, et vues disparues : {gone} ({freed} libérés) ; conservées : {kept} ({size}).",
    ),
    "run spared": (
        "spared, since somebody holds it: {what}",
        "épargnée, car quelqu'un la retient : {what}",
    ),
    "space": ("What else could be freed", "Ce qui pourrait encore être libéré"),
    "saving expiry": ("{size}: recyclic-backups expire --yes", "{size} : recyclic-backups expire --yes"),
    "saving setting": ("{size} with {name}={value}", "{size} avec {name}={value}"),
    "saving hold": (
        "{size} by letting go of the hold on {name}",
        "{size} en levant la retenue de {name}",
    ),
    "freeable": ("could be freed: {what}", "pourraient être libérées : {what}"),
    "nothing_freeable": ("could be freed: no backup", "pourraient être libérées : aucune sauvegarde"),
    "no saving": (
        "None of the backups: what is left is what the policy protects. Look at other files of the disk, or give "
        "it more space.",
        "Aucune sauvegarde : il ne reste que ce que la politique protège. Regardez les autres fichiers du disque, "
        "ou agrandissez-le.",
    ),
    "held there": (
        "{count:# backup|# backups}, {size}; free: {free}",
        "{count:# sauvegarde|# sauvegardes}, {size} ; libre : {free}",
    ),
    "nobody needed": ("Nothing needs anybody.", "Rien ne demande quelqu'un."),
    "more in metrics": (
        "and {count} more: recyclic-backups metrics",
        "et {count} de plus : recyclic-backups metrics",
    ),
    "written": ("{status}; the page is {file}", "{status} ; la page est {file}"),
    "made by": (
        "recyclic-backups {version}. Everything on this page is in the page: it loads nothing.",
        "recyclic-backups {version}. Tout ce qui est sur cette page est dans la page : elle ne charge rien.",
    ),
    "skip": ("to what needs somebody", "vers ce qui demande quelqu'un"),
}

MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "fr": ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."),
}
WEEKDAYS = {
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "fr": ("lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."),
}
TIERS: Mapping[Tier, Pair] = {
    Tier.DAILY: ("daily", "quotidien"),
    Tier.WEEKLY: ("weekly", "hebdo."),
    Tier.MONTHLY: ("monthly", "mensuel"),
    Tier.CHECKPOINT: ("checkpoint", "point de contrôle"),
}


def report_text(name: str, locale: Locale, /, **values: object) -> str:
    """One of the fixed texts."""
    return fill(WORDS[name], values, locale)


def tier_text(tier: Tier, locale: Locale) -> str:
    """The name of a row of the coverage."""
    return TIERS[tier][locale == "fr"]


def month_text(day: date, locale: Locale) -> str:
    """``Nov 2026``, ``nov. 2026``."""
    return f"{MONTHS[locale][day.month - 1]} {day.year}"


def day_text(day: date, locale: Locale) -> str:
    """``Sun 22 Nov``, ``dim. 22 nov.``."""
    return f"{WEEKDAYS[locale][day.weekday()]} {day.day} {MONTHS[locale][day.month - 1]}"


def moment_text(moment: datetime, timezone: ZoneInfo, locale: Locale) -> str:
    """``Sun 22 Nov, 02:00`` on the operator's clock, with the year where it is another one than needs saying."""
    local = moment.astimezone(timezone)
    return f"{day_text(local.date(), locale)} {local.year}, {local:%H:%M}"
