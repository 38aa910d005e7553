"""Read and write the flags of a database. A change is in force with the next run, and is in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from recyclic_backups.audit.log import audited
from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.envelope.document import decode, encode, key_id_of_mac
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectMissing, StorageError
from recyclic_backups.flags.flags import FEATURES, Flags, Switch, known
from recyclic_backups.storage.store import StoredObject


def load_flags(repository: Repository) -> Flags:
    """What is set, and what of it was spoilt or forged. Flags that this version does not know are left alone.

    A flag that is not believed is as its default. An outcome that is not believed switches nothing on either: what
    somebody switched off stays off, and what was on is as its default, since nobody knows whether it had switched
    itself off. Raises NoUsableKey, StorageError.
    """
    there = {item.name: item for item in repository.store.list(f"{repository.layout.flags}/")}
    judge, documents, layout = Judge(repository), repository.documents(), repository.layout
    switches: dict[str, Switch] = {}
    damaged: dict[str, str] = {}

    def read(item: StoredObject) -> Mapping[str, Any]:
        content = documents.read(item, partial(judge.vouches_for, item.name))
        return _believed(repository, decode(content, item.name), item.name, judge)

    for name in FEATURES:
        wish, outcome = there.get(layout.flag(name)), there.get(layout.flag_outcome(name))
        if wish is None:
            continue
        found = None
        try:
            found = Switch.of(read(wish))
            switches[name] = found if outcome is None else found.after(read(outcome))
        except ObjectMissing:
            continue  # somebody gave it back its default meanwhile
        except DamagedData as damage:
            damaged[name] = f"{wish.name}: {damage.message.removeprefix(f'{wish.name}: ')}"
        except NoUsableKey as unusable:
            # A key's name that somebody spoilt is damage of one flag; without any key nothing can be known.
            if not repository.keyring.belonging().is_known:
                raise
            damaged[name] = f"{wish.name}: {unusable.message}"
        if name in damaged and found is not None and not found.wanted:
            switches[name] = found
    return Flags(switches, damaged)


def flags_in_force(repository: Repository) -> Flags:
    """What is set, or the defaults where that cannot be known: no flag may keep a backup from being taken."""
    try:
        return load_flags(repository)
    except (NoUsableKey, StorageError):
        return Flags()


def switch(repository: Repository, name: str, on: bool | None, now: datetime) -> Flags:
    """Set a flag, or with ``on`` None give it back its default; what runs made of it before is forgotten.

    Raises UsageError for an unknown flag, NoUsableKey, StorageError.
    """
    layout, store = repository.layout, repository.store
    feature = known(name)
    with audited(repository, "flag", lambda: now, details={"flag": feature.name, "on": on}):
        load_flags(repository)  # whoever has not the key changes nothing, even where nothing is to be signed
        if on is None:
            store.delete(layout.flag(name))
        else:
            document = repository.vouched(Switch(on, now).to_json(name), layout.flag(name), now)
            store.replace(layout.flag(name), encode(document))
        store.delete(layout.flag_outcome(name))
    return load_flags(repository)


def _believed(
    repository: Repository, document: Mapping[str, Any], name: str, judge: Judge
) -> Mapping[str, Any]:
    """The document, if it is believed. Raises DamagedData, NoUsableKey."""
    standing = judge.standing(document, name)
    if standing is Standing.NOT_CHECKED and judge.asks_for_macs:
        repository.keyring.for_reading(key_id_of_mac(document, name))  # raises, and says why
    # One that was signed before its keys went is believed where nothing is signed: there anybody may write now.
    if not standing.is_believed:
        raise DamagedData(f"{name} is not believed: {standing.problem}")
    return document
