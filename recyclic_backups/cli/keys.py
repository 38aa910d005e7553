"""``keys``: the keys that open the backups."""

from __future__ import annotations

import argparse
from typing import Any

from recyclic_backups import wiring
from recyclic_backups.cli import key_sheet, render


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser("keys", help="encryption keys: make one, list them, change the passphrase")
    verbs = command.add_subparsers(dest="verb", metavar="VERB", required=True)
    generate = verbs.add_parser("generate", help="print a new value for BACKUP_ENCRYPTION_KEY")
    generate.set_defaults(run=run_generate)
    listing = verbs.add_parser(
        "list", help="the storage's data keys, and whether the configured passphrase opens them"
    )
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_list)
    key_sheet.add_to(verbs)
    rotate = verbs.add_parser(
        "rotate",
        help="put every data key under BACKUP_ENCRYPTION_KEY alone, without rewriting any backup",
        description="Set BACKUP_ENCRYPTION_KEY to the new passphrase and BACKUP_ENCRYPTION_OLD_KEYS to the former one, "
        "run this, then remove the former one: it opens nothing any more.",
    )
    rotate.add_argument(
        "--adopt",
        metavar="KEY_ID",
        action="append",
        default=[],
        help="take in a key that is yours and that keys list calls a stranger (repeatable)",
    )
    rotate.add_argument("--json", action="store_true")
    rotate.set_defaults(run=run_rotate)
    seal = verbs.add_parser(
        "seal-manifests",
        help="seal what older releases left readable in the manifests of encrypted backups",
        description="Owner, settings, comment, grants and tables of encrypted backups lay in clear in manifests that "
        "were written before format 2. This replaces each of those by one that says the same, sealed and signed anew. "
        "Copies of the storage keep what they have: values that were secrets should be changed.",
    )
    seal.add_argument("--json", action="store_true")
    seal.set_defaults(run=run_seal_manifests)


def run_generate(_options: argparse.Namespace) -> int:
    """Run ``keys generate``."""
    from recyclic_backups.envelope.keyring import generate_passphrase

    render.line(generate_passphrase())
    render.say(
        "keep it away from the storage; after the first backup print what goes with it: recyclic-backups keys sheet"
    )
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Run ``keys list``."""
    from recyclic_backups.catalog.timestamps import to_text
    from recyclic_backups.config.load import load_settings

    repository = wiring.open_repository(load_settings(), create=False)
    for strange in repository.store.strange("keys"):
        render.say(f"damaged: {strange.name}: {strange.problem}")
    found, storage_id = repository.keyring.inventory(), repository.storage_id()
    problems = repository.keyring.belonging().problems
    keys = [
        {
            "key_id": key.key_id,
            "created_at": None if key.created_at is None else to_text(key.created_at),
            "opens": key.opens,
            "opened_by": key.opened_by or None,
            "belongs": key.belongs,
            "problem": key.problem or None,
            "storage_id": storage_id,
        }
        for key in found
    ]
    for name, problem in problems:
        render.say(f"damaged: {name}: {problem}")
    if options.json:
        render.print_json(keys)
    elif not keys:
        render.say("there is no key yet; the first encrypted backup makes one")
    else:
        rows = [
            (
                key.key_id,
                "-" if key.created_at is None else to_text(key.created_at),
                {"current": "yes", "former": "by a former passphrase"}.get(key.opened_by, "NO"),
                {True: "yes", False: "NO: a stranger", None: "not known"}[key.belongs],
                "DAMAGED" if key.problem else "",
            )
            for key in found
        ]
        render.print_table(("KEY", "CREATED", "OPENS", "OF THIS STORAGE", ""), rows)
        render.line()
        render.line(
            f"storage {storage_id or 'without an id yet; the next backup, or keys rotate, gives it one'}"
        )
    return 0


def run_rotate(options: argparse.Namespace) -> int:
    """Run ``keys rotate``."""
    from recyclic_backups.audit.log import audited
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import ConfigurationError

    settings = load_settings()
    if not settings.encryption_key:
        raise ConfigurationError("BACKUP_ENCRYPTION_KEY is not set", "set it to the new passphrase")
    repository = wiring.open_repository(settings, create=False)
    with audited(repository, "rotate keys", render.now) as entry:
        key_ids = repository.keyring.rotate(settings.encryption_key, render.now(), options.adopt)
        entry.details["key_ids"] = key_ids
        if options.adopt:
            entry.details["adopted"] = list(options.adopt)
    if options.json:
        render.print_json({"rotated": key_ids})
        return 0
    for key_id in key_ids:
        render.line(f"{key_id} opens with BACKUP_ENCRYPTION_KEY alone")
    render.say("now remove the former passphrase from BACKUP_ENCRYPTION_OLD_KEYS")
    return 0


def run_seal_manifests(options: argparse.Namespace) -> int:
    """Run ``keys seal-manifests``."""
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.dump.reseal import seal_older_manifests
    from recyclic_backups.errors import DamagedData

    settings = load_settings()
    with render.progress() as progress:
        done = seal_older_manifests(
            settings.server,
            wiring.open_repository(settings, create=False),
            clock=render.now,
            lock_wait_seconds=settings.lock_wait_seconds,
            progress=progress,
        )
    if options.json:
        render.print_json(
            {
                "sealed": list(done.sealed),
                "refused": [{"document": each.name, "problem": each.problem} for each in done.refused],
            }
        )
    elif not done.sealed and not done.refused:
        render.say("every manifest of an encrypted backup is sealed")
    else:
        for backup_id in done.sealed:
            render.line(f"{backup_id}  sealed")
    for each in done.refused:
        render.say(f"left as it is: {each.name}: {each.problem}")
    return DamagedData.exit_code if done.refused else 0
