"""``keys``: the keys that open the backups."""

from __future__ import annotations

import argparse

from recyclic_backups.audit.log import audited
from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.cli import key_sheet, render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.dump.reseal import seal_older_manifests
from recyclic_backups.envelope.keyring import generate_passphrase
from recyclic_backups.errors import ConfigurationError, DamagedData


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    verbs = command.add_subparsers(dest="verb", metavar="VERB", required=True)
    generate = verbs.add_parser("generate", help="print a new value for BACKUP_ENCRYPTION_KEY")
    generate.set_defaults(run=run_generate)
    listing = verbs.add_parser(
        "list", help="the storage's data keys, and whether the configured passphrase opens them"
    )
    add_json(listing)
    listing.set_defaults(run=run_list)
    sheet = verbs.add_parser(
        "sheet",
        help="what to keep on paper beside the passphrase: where the backups are, their keys, how to know recover.py",
        description="Prints no secret. Keep it with the passphrase and away from the storage: whoever can change "
        "recover.py in the storage cannot change its SHA-256 on your paper.",
    )
    add_json(sheet)
    sheet.set_defaults(run=key_sheet.run)
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
    add_json(rotate)
    rotate.set_defaults(run=run_rotate)
    seal = verbs.add_parser(
        "seal-manifests",
        help="seal what older releases left readable in the manifests of encrypted backups",
        description="Owner, settings, comment, grants and tables of encrypted backups lay in clear in manifests that "
        "were written before format 2. This replaces each of those by one that says the same, sealed and signed anew. "
        "Copies of the storage keep what they have: values that were secrets should be changed.",
    )
    add_json(seal)
    seal.set_defaults(run=run_seal_manifests)


def run_generate(_call: Invocation) -> int:
    """Run ``keys generate``."""
    render.line(generate_passphrase())
    render.say(
        "keep it away from the storage; after the first backup print what goes with it: recyclic-backups keys sheet"
    )
    return 0


def run_list(call: Invocation) -> int:
    """Run ``keys list``."""
    repository = call.repository
    problems = [(each.name, each.problem) for each in repository.store.strange("keys")]
    found, storage_id = repository.keyring.inventory(), repository.storage_id()
    for name, problem in (*problems, *repository.keyring.belonging().problems):
        render.warn(f"damaged: {name}: {problem}")
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

    def prose() -> None:
        if not keys:
            render.say("there is no key yet; the first encrypted backup makes one")
            return
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

    call.report({"storage_id": storage_id, "keys": keys}, prose)
    return 0


def run_rotate(call: Invocation) -> int:
    """Run ``keys rotate``."""
    if not call.settings.encryption_key:
        raise ConfigurationError("BACKUP_ENCRYPTION_KEY is not set", "set it to the new passphrase")
    adopted = call.options.adopt
    with audited(call.repository, "rotate keys", render.now) as entry:
        key_ids = call.repository.keyring.rotate(call.settings.encryption_key, render.now(), adopted)
        entry.details["key_ids"] = key_ids
        if adopted:
            entry.details["adopted"] = list(adopted)

    def prose() -> None:
        for key_id in key_ids:
            render.line(f"{key_id} opens with BACKUP_ENCRYPTION_KEY alone")
        render.say("now remove the former passphrase from BACKUP_ENCRYPTION_OLD_KEYS")

    call.report({"rotated": key_ids}, prose)
    return 0


def run_seal_manifests(call: Invocation) -> int:
    """Run ``keys seal-manifests``."""
    with render.progress() as progress:
        done = seal_older_manifests(
            call.settings.server,
            call.repository,
            clock=render.now,
            lock_wait_seconds=call.settings.lock_wait_seconds,
            progress=progress,
        )
    refused = [{"document": each.name, "problem": each.problem} for each in done.refused]

    def prose() -> None:
        for backup_id in done.sealed:
            render.line(f"{backup_id}  sealed")
        if not done.sealed and not refused:
            render.say("every manifest of an encrypted backup is sealed")

    call.report({"sealed": list(done.sealed), "refused": refused}, prose)
    for each in done.refused:
        render.warn(f"left as it is: {each.name}: {each.problem}")
    return DamagedData.exit_code if refused else 0
