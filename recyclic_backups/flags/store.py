"""Read and write the flags of a database. A change is in force with the next run, and is in the audit log."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from recyclic_backups.audit.log import append
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import check_signature, check_sum, decode, encode, signed, summed
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.flags.flags import Feature, Flags


def load_flags(repository: Repository) -> Flags:
    """What is set. Raises DamagedData for a document that was spoilt or forged, NoUsableKey, StorageError."""
    name = repository.layout.flags
    try:
        data = repository.store.get(name)
    except ObjectMissing:
        return Flags()
    try:
        return _read(repository, data, name)
    except DamagedData as damage:
        raise DamagedData(
            damage.message,
            f"see what was set: recyclic-backups audit show --action flag; "
            f"then delete {name} from {repository.store.url} and set those flags anew",
        ) from None


def flags_in_force(repository: Repository) -> Flags:
    """What is set, or the defaults where that cannot be known: no flag may keep a backup from being taken."""
    try:
        return load_flags(repository)
    except (DamagedData, NoUsableKey):
        return Flags()


def switch(repository: Repository, name: str, on: bool | None, now: datetime) -> Flags:
    """Set a flag, or with ``on`` None give it back its default.

    Nothing is written over a document that cannot be read: the other flags in it would be forgotten. Raises UsageError,
    DamagedData, NoUsableKey, StorageError.
    """
    before = load_flags(repository)
    after = before.unset(name) if on is None else before.set(name, on, now)
    append(repository, "flag", "done", now, details={"flag": name, "on": on})
    _save(repository, after, now)
    return after


def judge_run(repository: Repository, used: Collection[Feature], failure: str, now: datetime) -> list[str]:
    """After a run with these features: flags that failed too often in a row go off. Returns which did. StorageError."""
    before = flags_in_force(repository)
    after = before.after_run(used, failure, now)
    if after == before:
        return []
    tripped = sorted(set(after.tripped) - set(before.tripped))
    for name in tripped:
        details = {"flag": name, "on": False, "reason": after.switches[name].tripped}
        append(repository, "flag", "switched off by itself", now, details=details)
    _save(repository, after, now)
    return tripped


def _read(repository: Repository, data: bytes, name: str) -> Flags:
    document = decode(data, name)
    if repository.encrypt:
        check_signature(document, name, repository.keyring.for_reading)
    elif "mac" not in document:
        check_sum(document, name)
    try:
        return Flags.from_json(document)
    except DamagedData as damage:
        raise DamagedData(f"{name} is damaged: {damage.message}") from None


def _save(repository: Repository, flags: Flags, now: datetime) -> None:
    name = repository.layout.flags
    document = flags.to_json()
    if repository.encrypt:
        stored = signed(document, name, repository.keyring.for_writing(now))
    else:
        stored = summed(document, name)
    repository.store.replace(name, encode(stored))
