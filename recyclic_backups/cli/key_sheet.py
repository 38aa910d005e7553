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
from recyclic_backups.storage.local import LocalStore
from recyclic_backups.texts.language import Locale
from recyclic_backups.texts.text import Text


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
    def tell(name: str, before: str = "", **values: object) -> None:
        render.line(before + Text(f"key_sheet.{name}", values).text(locale))

    tell("title", date=sheet["printed_on"])
    render.line()
    tell("passphrase")
    render.line()
    tell("storage", database=sheet["database"])
    render.line(f"    {sheet['storage']}")
    tell("keys")
    for key in sheet["keys"]:
        render.line(f"    {key['key_id']}  {key['created_at']}")
    if not sheet["keys"]:
        tell("no_key", "    ")
    render.line()
    tell("check")
    storage = shlex.quote(sheet["storage"])
    render.line("    mkdir -m 700 ~/rescue && cd ~/rescue")
    render.command(f"cp {storage}/recover.py {storage}/RECOVERY.md .", before="    ")
    render.line("    sha256sum recover.py RECOVERY.md")
    render.line(f"    {sheet['recover_sha256']}  recover.py")
    render.line(f"    {sheet['instructions_sha256']}  RECOVERY.md")
    tell("run")
    render.command(f"python3 -I recover.py --storage {storage} list", before="    ")
    render.line()
    tell("again")
