"""``keys sheet``: what to keep on paper beside the passphrase. It holds no secret.

Whoever can write into the storage can change ``recover.py`` and ``RECOVERY.md`` there. He cannot change what was
printed: their SHA-256, and the commands that check them before the key is given to anything.
"""

from __future__ import annotations

import shlex
from typing import Any

from recyclic_backups import rescue
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.languages import Locale, Pair, sentence
from recyclic_backups.storage.local import LocalStore

_TITLE: Pair = ("KEY SHEET, printed on {date}", "FEUILLE DE CLÉ, imprimée le {date}")
_PASSPHRASE: Pair = (
    "Keep it with the passphrase (BACKUP_ENCRYPTION_KEY), which is not printed here, away from the storage. "
    "Neither is of use without a copy of the storage, its folder keys/ included.",
    "À garder avec la phrase de passe (BACKUP_ENCRYPTION_KEY), qui n'est pas imprimée ici, loin du stockage. "
    "Ni l'une ni l'autre ne servent sans une copie du stockage, dossier keys/ compris.",
)
_STORAGE: Pair = ("The backups of {database} are in:", "Les sauvegardes de {database} sont dans :")
_KEYS: Pair = ("Its keys, which the passphrase opens:", "Ses clés, que la phrase de passe ouvre :")
_NO_KEY: Pair = (
    "none: no encrypted backup was taken yet, or the passphrase opens none",
    "aucune : pas encore de sauvegarde chiffrée, ou la phrase de passe n'en ouvre pas",
)
_CHECK: Pair = (
    "If this software is gone: copy the script and its instructions OUT of the storage, and compare the copies with "
    "the SHA-256 below before you read or run them. If they differ, take the files of a release of "
    "recyclic_backups instead: somebody may have changed these to get at the passphrase.",
    "Si ce logiciel a disparu : copiez le script et ses instructions HORS du stockage, et comparez les copies avec les "
    "SHA-256 ci-dessous avant de les lire ou de les lancer. S'ils diffèrent, prenez les fichiers d'une version "
    "publiée de recyclic_backups : quelqu'un a pu modifier ceux-ci pour obtenir la phrase de passe.",
)
_RUN: Pair = (
    "Then run the copy, always with -I, so that nothing lying beside it is run as well:",
    "Puis lancez la copie, toujours avec -I, pour que rien de ce qui se trouve à côté ne soit lancé aussi :",
)
_AGAIN: Pair = (
    "Print this sheet anew after every update of recyclic_backups, and after `keys rotate`.",
    "Imprimez une nouvelle feuille après chaque mise à jour de recyclic_backups, et après `keys rotate`.",
)


def run(call: Invocation) -> int:
    """Run ``keys sheet``."""
    sheet = _sheet(call)
    call.report(sheet, lambda: _print(sheet, call.settings.locale))
    return 0


def _sheet(call: Invocation) -> dict[str, Any]:
    store = call.repository.store
    return {
        "printed_on": render.now().date().isoformat(),
        "storage": str(store.root) if isinstance(store, LocalStore) else store.url,
        "database": call.settings.database,
        "keys": [
            {"key_id": key.key_id, "created_at": to_text(key.created_at)}
            for key in call.repository.keyring.inventory()
            if key.opens and key.belongs is not False and key.created_at is not None
        ],
        "recover_sha256": rescue.shipped_sha256(rescue.SCRIPT),
        "instructions_sha256": rescue.shipped_sha256(rescue.INSTRUCTIONS),
    }


def _print(sheet: dict[str, Any], locale: Locale) -> None:
    def say(words: Pair) -> None:
        named = {"date": sheet["printed_on"], "database": sheet["database"]}
        render.line(sentence(words, named, locale))

    say(_TITLE)
    render.line()
    say(_PASSPHRASE)
    render.line()
    say(_STORAGE)
    render.line(f"    {sheet['storage']}")
    say(_KEYS)
    for key in sheet["keys"]:
        render.line(f"    {key['key_id']}  {key['created_at']}")
    if not sheet["keys"]:
        render.line(f"    {sentence(_NO_KEY, {}, locale)}")
    render.line()
    say(_CHECK)
    storage = shlex.quote(sheet["storage"])
    render.line("    mkdir -m 700 ~/rescue && cd ~/rescue")
    render.command(f"cp {storage}/recover.py {storage}/RECOVERY.md .", before="    ")
    render.line("    sha256sum recover.py RECOVERY.md")
    render.line(f"    {sheet['recover_sha256']}  recover.py")
    render.line(f"    {sheet['instructions_sha256']}  RECOVERY.md")
    say(_RUN)
    render.command(f"python3 -I recover.py --storage {storage} list", before="    ")
    render.line()
    say(_AGAIN)
