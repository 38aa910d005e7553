"""What retention makes of documents that are not believed: who can only write files decides no deletion. Pure.

Documents were judged when the catalog was loaded. A backup whose manifest or checks are damaged or forged is set aside:
it is never deleted and takes no place from another. A label, hold or tombstone that is damaged or forged stops
everything, because nobody can tell whose place or protection it was. Keys that do not belong here stop nothing: what is
signed with them is told by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from recyclic_backups.catalog.catalog import Catalog, Damage
from recyclic_backups.catalog.layout import BACKUP_ID, backup_id_of_manifest, manifest_beside
from recyclic_backups.errors import DamagedData, NoUsableKey

_OF_NO_DATABASE = ("keys", "storage.json")
_SAY_NOTHING = [("alerts",), ("attempts",), ("audit",), ("flags",), ("report.html",)]
"""Folders of a database, and its page, whose content never decides what expires."""


def set_aside(catalog: Catalog) -> tuple[Catalog, tuple[Damage, ...]]:
    """The catalog without the backups whose documents cannot be believed, and what makes everything doubtful.

    Those set aside are in ``damage`` as manifests.
    """
    aside: dict[str, Damage] = {}
    doubts: list[Damage] = []
    believed = {f"{tier.value}/{partition}.json" for tier, partition in catalog.labels}
    for damage in catalog.damage:
        inside = PurePosixPath(damage.name).parts
        own = backup_id_of_manifest(damage.name)
        if own is not None:
            aside.setdefault(own, damage)
        elif inside[1:2] == ("backups",) and BACKUP_ID.fullmatch("".join(inside[2:3])):
            name = manifest_beside(damage.name)
            aside.setdefault(inside[2], replace(damage, name=name, problem=_sentence(damage)))
        elif inside[1:2] == ("tiers",) and "/".join(inside[2:]) in believed:
            continue  # ours, of a backup that is told by itself
        elif not _decides_nothing(inside):
            doubts.append(damage)
    kept = tuple(backup for backup in catalog if backup.backup_id not in aside)
    return replace(catalog, backups=kept, damage=tuple(aside.values())), tuple(doubts)


def trusted(catalog: Catalog) -> Catalog:
    """The catalog that deletions may be decided by: see :func:`set_aside`.

    Raises DamagedData (40) when a label, hold or tombstone cannot be believed, NoUsableKey (41) when the key that would
    tell is missing.
    """
    if not catalog.is_checked:
        raise NoUsableKey(
            "nothing expires while nothing can be checked: no key of the storage is at hand",
            "set BACKUP_ENCRYPTION_KEY to the passphrase the backups were made with",
        )
    found, doubts = set_aside(catalog)
    if doubts:
        more = f" (and {len(doubts) - 1} more)" if len(doubts) > 1 else ""
        sentence = f"nothing expires while this cannot be trusted: {_sentence(doubts[0])}{more}"
        if all(doubt.lacks_key for doubt in doubts):
            raise NoUsableKey(sentence, "put the passphrase that opens it into BACKUP_ENCRYPTION_OLD_KEYS")
        raise DamagedData(sentence, "see: recyclic-backups verify --all; remove what nobody of you wrote")
    return found


def _decides_nothing(inside: Sequence[str]) -> bool:
    """Whether what expires does not hang on what lies there: keys, the log, a folder that is no backup's."""
    of_no_backup = len(inside) > 2 and inside[1] == "backups"
    return inside[0] in _OF_NO_DATABASE or inside[1:2] in _SAY_NOTHING or of_no_backup


def _sentence(damage: Damage) -> str:
    return damage.problem if damage.name in damage.problem else f"{damage.name}: {damage.problem}"
