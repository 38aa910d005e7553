"""Which of the keys that lie in a storage are its own (``docs/format/keys.md``). Pure: what was read, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.envelope import identity
from recyclic_backups.envelope.data_key import DataKey
from recyclic_backups.envelope.identity import Identity, NewerIdentity
from recyclic_backups.envelope.key_file import storage_name
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey

_COPY_HINT = (
    "put back a copy of storage.json; if there is none and the keys are right, delete it: it is made anew"
)


class Stranger(DamagedData):
    """Something is signed with a key that does not belong to the storage."""


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A key file and what the configured passphrases make of it.

    ``data_key`` is None where none opens it, ``current`` whether the current one does, ``opened_by`` the number of the
    one that does; ``problem`` says what is wrong with a file that is damaged. ``storage_id`` is believed only of one
    that opened.
    """

    key_id: str
    created_at: datetime | None = None
    storage_id: str | None = None
    data_key: DataKey | None = None
    current: bool = False
    problem: str = ""
    opened_by: int = 0


@dataclass(frozen=True, slots=True)
class Belonging:
    """The storage's keys, and which of them are believed.

    ``is_known`` is false while no key is open: then nothing can be checked. ``refusal`` is why nothing may be written,
    ``contested`` why ``storage.json`` may not be replaced. ``unwritten`` is whether it is to be made (anew), from
    ``members``. ``problems`` are pairs of a storage name and what is wrong there.
    """

    keys: Mapping[str, SeenKey]
    members: frozenset[str] = frozenset()
    storage_id: str | None = None
    identity: Identity | None = None
    is_known: bool = False
    unwritten: bool = False
    refusal: BackupError | None = None
    contested: BackupError | None = None
    problems: tuple[tuple[str, str], ...] = ()

    def require_member(self, key_id: str) -> None:
        """Raises Stranger for a key that is known not to belong."""
        if self.is_known and key_id not in self.members:
            raise Stranger(
                f"key {key_id} does not belong to this storage: what is signed with it is of another storage",
                "see: recyclic-backups keys list",
            )

    @property
    def writers(self) -> list[SeenKey]:
        """Keys that belong and that the current passphrase opens, the newest last."""
        found = [key for key in self.keys.values() if key.current and key.key_id in self.members]
        return sorted(found, key=_by_age)


def judge(keys: Iterable[SeenKey], content: bytes | None) -> Belonging:
    """Which keys belong to a storage with these key files and this ``storage.json`` (None where there is none)."""
    seen = {key.key_id: key for key in keys}
    leading = leading_of(seen.values())
    found, problem, contested = _examined(content, leading)
    refusal: BackupError | None = contested if isinstance(contested, NewerIdentity) else None
    problems = [(storage_name(key.key_id), key.problem) for key in seen.values() if key.problem]
    if not leading:
        if problem is not None:
            problems.append((identity.NAME, problem.message))
        return Belonging(seen, problems=tuple(problems))
    storage_id: str | None
    if found is not None:
        members, storage_id = found.keys, found.storage_id
        problems += [
            (storage_name(key_id), "it is missing: what is sealed with its key cannot be read")
            for key_id in sorted(found.keys - seen.keys())
        ]
    else:
        members, storage_id, mixed = _by_their_files(leading.values())
        if problem is None and storage_id is not None:
            problem = DamagedData(
                "it is missing; the next backup makes it anew from the keys that name this storage"
            )
        if mixed:
            problem = DamagedData("it is missing or not right, and keys of two storages lie here")
            refusal = DamagedData(
                "keys of two storages lie in this one: nothing is written until one of them is gone",
                "see: recyclic-backups keys list; put back storage.json, or move the strange key file away",
            )
    if problem is not None:
        problems.append((identity.NAME, problem.message.removeprefix(f"{identity.NAME} is damaged: ")))
    problems += [
        (storage_name(key.key_id), "its key does not belong to this storage: somebody put it here")
        for key in seen.values()
        if key.key_id not in members and not key.problem and (key.data_key is not None or found is not None)
    ]
    return Belonging(
        seen,
        members=members,
        storage_id=storage_id,
        identity=found,
        is_known=True,
        unwritten=found is None and refusal is None and contested is None,
        refusal=refusal,
        contested=contested,
        problems=tuple(problems),
    )


def leading_of(keys: Iterable[SeenKey]) -> dict[str, SeenKey]:
    """The keys that the current passphrase opens; where it opens none, those that a former one does."""
    opened = {key.key_id: key for key in keys if key.data_key is not None}
    current = {key_id: key for key_id, key in opened.items() if key.current}
    return current or opened


def _examined(
    content: bytes | None, leading: Mapping[str, SeenKey]
) -> tuple[Identity | None, DamagedData | None, BackupError | None]:
    """``storage.json`` if it can be believed, what is wrong with it, and why it may not be written over."""
    if content is None:
        return None, None, None
    try:
        found = identity.parse(content)
    except NewerIdentity as newer:
        return None, newer, newer
    except DamagedData as damage:
        return None, damage, None
    if not leading:
        return None, None, None
    signer = leading.get(found.signer)
    if signer is None or signer.data_key is None:
        problem = DamagedData(
            f"it is signed with key {found.signer}, which the current passphrase does not open",
            _COPY_HINT,
        )
        return (
            None,
            problem,
            DamagedData(f"{identity.NAME} cannot be believed: {problem.message}", _COPY_HINT),
        )
    try:
        found.require_signed_by(signer.data_key)
    except DamagedData as damage:
        return None, damage, None
    return found, None, None


def _by_their_files(leading: Iterable[SeenKey]) -> tuple[frozenset[str], str | None, bool]:
    """Without ``storage.json``: the keys that belong, the id that they name, and whether two storages were mixed."""
    keys = list(leading)
    named = {key.storage_id for key in keys if key.storage_id is not None}
    if len(named) > 1:
        return frozenset(), None, True
    storage_id = next(iter(named), None)
    return frozenset(key.key_id for key in keys if key.storage_id == storage_id), storage_id, False


def no_writer(found: Belonging, url: str, hint: str) -> BackupError:
    """Why none of the storage's keys can be written with."""
    opened = [key for key in found.keys.values() if key.data_key is not None]
    if any(key.key_id in found.members for key in opened):
        return NoUsableKey(
            f"only a former passphrase opens the keys of {url}: nothing is written with those",
            "put them under BACKUP_ENCRYPTION_KEY: recyclic-backups keys rotate",
        )
    if opened:
        return Stranger(
            f"the passphrase opens only keys that do not belong to {url}",
            "see: recyclic-backups keys list; a key that is yours is taken in by: keys rotate --adopt KEY_ID",
        )
    damaged = next((key for key in found.keys.values() if key.problem), None)
    if damaged is not None:
        return DamagedData(
            f"the key file {storage_name(damaged.key_id)} is damaged: {damaged.problem}",
            "put back a copy of the storage's keys folder",
        )
    return NoUsableKey(f"no configured passphrase opens a key of {url}", hint)


def _by_age(key: SeenKey) -> tuple[datetime, str]:
    assert key.created_at is not None, "only a whole key file opens"
    return key.created_at, key.key_id
