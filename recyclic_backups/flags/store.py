"""Read and write the flags of a database. A change is in force with the next run, and is in the audit log."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from recyclic_backups.audit.log import append, audited
from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.standing import Standing
from recyclic_backups.envelope.document import decode, encode, key_id_of_mac, signed, summed
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectMissing, StorageError
from recyclic_backups.flags.flags import FEATURES, Feature, Flags, Switch, known


def load_flags(repository: Repository) -> Flags:
    """What is set, and what of it was spoilt or forged. Flags that this version does not know are left alone.

    A flag that is not believed is as its default. An outcome that is not believed switches nothing on either: what
    somebody switched off stays off, and what was on is as its default, since nobody knows whether it had switched
    itself off. Raises NoUsableKey, StorageError.
    """
    there = {item.name for item in repository.store.list(f"{repository.layout.flags}/")}
    switches: dict[str, Switch] = {}
    damaged: dict[str, str] = {}
    judge = Judge(repository)
    for name in FEATURES:
        if repository.layout.flag(name) not in there:
            continue
        try:
            switches[name] = _wish(repository, name, judge)
            if switches[name].wanted:
                switches[name] = _switch(repository, name, judge)
            elif repository.layout.flag_outcome(name) in there:
                _read(repository, repository.layout.flag_outcome(name), judge)
        except ObjectMissing:
            continue  # somebody gave it back its default meanwhile
        except DamagedData as damage:
            damaged[name] = damage.message
        except NoUsableKey as unusable:
            # A key's name that somebody spoilt is damage of one flag; without any key nothing can be known.
            if not repository.keyring.belonging().is_known:
                raise
            damaged[name] = f"{repository.layout.flag(name)}: {unusable.message}"
        if name in damaged and name in switches and switches[name].wanted:
            del switches[name]
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
            _write(repository, layout.flag(name), Switch(on, now).wish(name), now)
        store.delete(layout.flag_outcome(name))
    return load_flags(repository)


def judge_run(repository: Repository, used: Collection[Feature], failure: str, now: datetime) -> list[str]:
    """After a run that used these features: those that failed too often in a row go off. Returns which did.

    Whoever sets a flag at the same moment is not overruled: what is written here is about the wish that was read.

    Raises StorageError, NoUsableKey.
    """
    before = flags_in_force(repository)
    after = before.after_run(used, failure, now)
    tripped = sorted(set(after.tripped) - set(before.tripped))
    for name in tripped:
        details = {"flag": name, "on": False, "reason": after.switches[name].tripped}
        append(repository, "flag", "switched off by itself", now, details=details)
    for name, made in after.switches.items():
        if made != before.switches[name]:
            _write(repository, repository.layout.flag_outcome(name), made.outcome(name), now)
    return tripped


def _wish(repository: Repository, name: str, judge: Judge) -> Switch:
    """What a person wants."""
    layout = repository.layout
    document = _read(repository, layout.flag(name), judge)
    try:
        return Switch.of(document)
    except DamagedData as damage:
        raise DamagedData(f"{layout.flag(name)}: {damage.message}") from None


def _switch(repository: Repository, name: str, judge: Judge) -> Switch:
    """The same with what runs made of it."""
    layout = repository.layout
    wish = _read(repository, layout.flag(name), judge)
    try:
        outcome = _read(repository, layout.flag_outcome(name), judge)
    except ObjectMissing:
        outcome = None
    try:
        return Switch.of(wish, outcome)
    except DamagedData as damage:
        raise DamagedData(f"{layout.flag(name)}: {damage.message}") from None


def _read(repository: Repository, name: str, judge: Judge) -> Mapping[str, Any]:
    """A document that is believed. Raises DamagedData, NoUsableKey, ObjectMissing."""
    document = decode(repository.store.get(name), name)
    standing = judge.standing(document, name)
    if standing is Standing.NOT_CHECKED and judge.asks_for_macs:
        repository.keyring.for_reading(key_id_of_mac(document, name))  # raises, and says why
    # One that was signed before its keys went is believed where nothing is signed: there anybody may write now.
    if not standing.is_believed:
        raise DamagedData(f"{name} is not believed: {standing.problem}")
    return document


def _write(repository: Repository, name: str, document: Mapping[str, Any], now: datetime) -> None:
    if repository.asks_for_macs:
        stored = signed(document, name, repository.keyring.for_writing(now))
    else:
        stored = summed(document, name)
    repository.store.replace(name, encode(stored))
