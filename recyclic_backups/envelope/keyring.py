"""The data keys of one storage, opened with the operator's passphrases (``docs/format/keys.md``)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from recyclic_backups.envelope import identity, key_file
from recyclic_backups.envelope.belonging import Belonging, SeenKey, judge, leading_of, no_writer
from recyclic_backups.envelope.data_key import KEY_BYTES, DataKey, key_id_of
from recyclic_backups.envelope.document import decode, key_id_of_mac
from recyclic_backups.envelope.passphrase import (
    MINIMUM_PASSPHRASE_LENGTH,
    generate_passphrase,
    is_dear,
    new_derivation,
    normalized,
)
from recyclic_backups.errors import (
    BackupError,
    ConfigurationError,
    DamagedData,
    NoUsableKey,
    ObjectExists,
    ObjectMissing,
    Refused,
    StorageError,
    UsageError,
)

if TYPE_CHECKING:
    from recyclic_backups.storage.store import Store

__all__ = ["MINIMUM_PASSPHRASE_LENGTH", "DataKey", "Keyring", "generate_passphrase"]

_log = logging.getLogger(__name__)

_MANY_KEYS = 64
"""A storage has one key or two. Of more than these, which somebody put there, none is opened: each may cost seconds."""
_DEAR_KEYS = 4
"""So many key files are tried that cost more to derive than what we write, each up to 32 times as much, and 1 GiB."""
_RACES = 5
"""How often a key is looked for again because somebody else changed the storage meanwhile."""
_KEY_ID = re.compile(r"[0-9a-f]{16}")
_STORAGE_NAME = re.compile(r"keys/([0-9a-f]{16})\.json")
_MANIFEST = re.compile(r"[^/]+/(?:backups|base)/[^/]+/manifest\.json")
_OLD_KEYS_HINT = (
    "set BACKUP_ENCRYPTION_KEY to the passphrase the backups were made with, or, if it was changed, "
    "put the former one into BACKUP_ENCRYPTION_OLD_KEYS"
)
_FILE_HINT = (
    "the configured passphrase is the name of a file: put that name into BACKUP_ENCRYPTION_KEY_FILE, "
    "and leave BACKUP_ENCRYPTION_KEY out"
)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A data key as :meth:`Keyring.inventory` lists it; ``created_at`` is aware UTC, None of a damaged file.

    ``opened_by`` is ``current``, ``former`` or empty; ``belongs`` None while no key of the storage is open.
    """

    key_id: str
    created_at: datetime | None
    opened_by: str
    belongs: bool | None
    problem: str = ""

    @property
    def opens(self) -> bool:
        """Whether a configured passphrase opens it."""
        return bool(self.opened_by)


class Keyring:
    """Passphrases on one side, the storage's key files on the other.

    Making one reads and derives nothing. A key is opened once and kept; a passphrase is derived once per
    process. An empty passphrase is none: such a keyring reads with the old ones, if there are any, and
    makes no key. Raises ConfigurationError for another one under 16 characters.
    """

    def __init__(self, store: Store, passphrase: str, old_passphrases: Sequence[str] = ()) -> None:
        self._store = store
        self._current = _long_enough(passphrase) if passphrase else ""
        texts = [self._current, *(normalized(text) for text in old_passphrases)]
        self._passphrases = [text for text in dict.fromkeys(texts) if text]
        self._seen: dict[tuple[str, bytes], SeenKey] = {}
        self._dear_keys = 0
        self._belonging: Belonging | None = None

    def has_keys(self) -> bool:
        """Whether the storage has key files, so that its documents must be signed. Raises StorageError."""
        if self._belonging is not None and self._belonging.keys:
            return True
        return bool(self._stored_key_ids())

    def belonging(self) -> Belonging:
        """Which keys lie there and which of them are the storage's own, as it is now. Raises StorageError.

        Only as many key files are opened as are needed to know: whoever puts thousands there gains nothing.
        """
        key_ids = self._stored_key_ids()
        content = self._identity_content()
        signer = _signer_of(content)
        if signer in key_ids and (of_signer := self._files([signer])):
            first = self._look_into(signer, of_signer[signer])
            listed = judge([first], content).identity if first.current else None
            if listed is not None:  # so no other key has a say, and those that belong are known
                files = {**of_signer, **self._files(listed.keys.intersection(key_ids) - {signer})}
                seen = [
                    self._look_into(key_id, files[key_id]) if key_id in files else SeenKey(key_id)
                    for key_id in key_ids
                    if key_id in files or key_id not in listed.keys
                ]
                return self._kept(judge(seen, content))
        found = judge([self._look_into(*each) for each in self._files(key_ids[:_MANY_KEYS]).items()], content)
        if len(key_ids) > _MANY_KEYS:
            said = (
                f"{len(key_ids)} key files lie there; those after the first {_MANY_KEYS} are not looked into"
            )
            found = replace(found, problems=(*found.problems, ("keys", said)))
        return self._kept(self._undoubted(found))

    def storage_id(self) -> str | None:
        """The id of the storage, if a key of it is at hand to say so. Raises StorageError."""
        return self._known().storage_id

    def for_writing(self, now: datetime) -> DataKey:
        """The newest data key that belongs to the storage and that the current passphrase opens; where there is
        none at all, a new one. Makes ``storage.json`` where it is missing.

        Raises NoUsableKey when there are keys and none can be written with (a new one would hide the mistake),
        DamagedData naming what is damaged or strange, ConfigurationError without a passphrase, and StorageError.
        """
        for _ in range(_RACES):
            found = self.belonging()
            if not found.keys:
                self._require_no_strange()
                if self._create(now) or self._stored_key_ids():
                    continue
                raise NoUsableKey(
                    f"{identity.NAME} is in {self._store.url}, and no key file",
                    "put back a copy of the storage's keys folder: without it no backup can be read",
                )
            data_key = self._writer(found)
            if not found.unwritten or self._identify(found, data_key, now):
                return data_key
        raise StorageError(f"others keep changing {identity.NAME}", "try again later", retryable=True)

    def writer(self) -> DataKey:
        """The key that would be written with, of a storage that has keys; nothing is made. Raises as for_writing."""
        return self._writer(self.belonging())

    def _writer(self, found: Belonging) -> DataKey:
        if found.refusal is not None:
            raise found.refusal
        if not self._current:
            raise ConfigurationError("there is no passphrase to write with", "set BACKUP_ENCRYPTION_KEY")
        if not found.writers:
            raise no_writer(found, self._store.url, self._hint())
        data_key = found.writers[-1].data_key
        assert data_key is not None, "a writer is open"
        return data_key

    def for_reading(self, key_id: str) -> DataKey:
        """The data key of this id, to check or sign a document with.

        Raises NoUsableKey, DamagedData (as Stranger where it does not belong to the storage), StorageError.
        """
        data_key = self.for_unsealing(key_id)
        if key_id not in self._known().members:
            self.belonging()  # it may have been made since we looked
        self._known().require_member(key_id)
        return data_key

    def for_unsealing(self, key_id: str) -> DataKey:
        """The data key of this id, whatever storage it belongs to: for bytes that a manifest vouches for.

        Raises NoUsableKey, DamagedData, StorageError.
        """
        if not _KEY_ID.fullmatch(key_id):
            raise DamagedData(f"{key_id!r} cannot be the id of a key")
        seen = self._known().keys.get(key_id)
        if seen is None or (seen.created_at is None and not seen.problem):  # nobody looked into it yet
            name = key_file.storage_name(key_id)
            try:
                seen = self._look_into(key_id, self._store.get(name))
            except ObjectMissing:
                raise NoUsableKey(
                    f"the key file {name} is missing from {self._store.url}",
                    "put back a copy of the storage's keys folder: without that file no passphrase helps",
                ) from None
        if seen.problem:
            raise key_file.damaged(key_id, seen.problem)
        if seen.data_key is None:
            raise NoUsableKey(f"no configured passphrase opens key {key_id}", self._hint())
        return seen.data_key

    def rotate(self, new_passphrase: str, now: datetime, adopt: Collection[str] = ()) -> list[str]:
        """Wrap the storage's keys that this keyring opens under a new passphrase; returns their ids, sorted.

        Keys that do not belong are left as they are, but for those of ``adopt``, which belong from then on. On a
        storage that never had a ``storage.json`` all that open are taken: so the operator says by calling this.
        Nothing is replaced before all were opened; then ``storage.json``, the key that signs it, and the others, each
        atomically, so that one interrupted midway can be run again with both passphrases configured.

        Raises NoUsableKey when there are keys and none opens, or only former passphrases open some and backups are
        sealed with others; UsageError for a key to adopt that is not there, Refused when two former passphrases open
        keys and the current one none, ConfigurationError, DamagedData, StorageError.
        """
        passphrase = _long_enough(new_passphrase)
        key_ids, content = self._stored_key_ids(), self._identity_content()
        seen = {each[0]: self._look_into(*each) for each in self._files(key_ids).items()}
        if unknown := sorted(set(adopt) - seen.keys()):
            raise UsageError(
                f"there is no key {unknown[0]} in {self._store.url}", "see: recyclic-backups keys list"
            )
        found = judge(seen.values(), content)
        _require_one_former(seen.values())
        doubt = self._doubt(found)
        if doubt is not None and not adopt:
            raise doubt
        # Of two storages that were mixed a person says which keys are meant; what is contested nobody replaces.
        refusal = found.contested or (None if adopt and content is None else found.refusal)
        if refusal is not None:
            raise refusal
        own: set[str]
        if doubt is not None:  # what is to be taken in is said by name, and nothing else is believed
            own, named = set(), {seen[key_id].storage_id for key_id in adopt}
            found = replace(
                found, identity=None, storage_id=named.pop() if len(named) == 1 else identity.new_storage_id()
            )
        elif found.identity is None and found.storage_id is None:
            own = {key_id for key_id, key in seen.items() if key.storage_id is None}
        else:  # a key that only a former passphrase opens may name this storage, and be of whoever knows that one
            own = set(found.members)
        own |= set(adopt)
        for key_id in sorted(own):
            if key_id in seen and seen[key_id].problem:
                raise key_file.damaged(key_id, seen[key_id].problem)
            if key_id in adopt and seen[key_id].data_key is None:
                raise NoUsableKey(f"no configured passphrase opens key {key_id}", self._hint())
        going = {key_id: seen[key_id] for key_id in sorted(own & seen.keys()) if seen[key_id].data_key}
        if key_ids and not going:
            raise NoUsableKey(f"no configured passphrase opens a key of {self._store.url}", self._hint())
        if not going:
            return []
        leading = leading_of(going.values())
        signer = leading[
            found.identity.signer if found.identity and found.identity.signer in leading else min(leading)
        ]
        storage_id = found.storage_id or identity.new_storage_id()
        listed = going.keys() | (found.identity.keys if found.identity else frozenset())
        if found.identity is None or listed != found.identity.keys:
            assert signer.data_key is not None, "only open keys are leading"
            made_at = found.identity.created_at if found.identity else now
            self._store.replace(
                identity.NAME, identity.content_of(storage_id, listed, made_at, signer.data_key)
            )
        derivation = new_derivation(passphrase)
        # The one that signs storage.json first: from then on it is the new passphrase that storage.json is believed by.
        for key in sorted(going.values(), key=lambda key: key is not signer):
            assert key.data_key is not None, "only open keys are going"
            assert key.created_at is not None, "a damaged file does not open"
            wrapped = key_file.wrap(key.data_key, passphrase, derivation, key.created_at, now, storage_id)
            self._store.replace(key_file.storage_name(key.key_id), wrapped)
        self._belonging = None
        return list(going)

    def inventory(self) -> list[KeyEntry]:
        """Every data key of the storage, whose it is and whether a configured passphrase opens it. StorageError."""
        files = self._files(self._stored_key_ids())
        seen = [self._look_into(*each) for each in files.items()]
        found = self._undoubted(judge(seen, self._identity_content()))
        return [
            KeyEntry(
                key.key_id,
                key.created_at,
                "" if key.data_key is None else "current" if key.current else "former",
                (key.key_id in found.members) if found.is_known else None,
                key.problem,
            )
            for key in seen
        ]

    def _undoubted(self, found: Belonging) -> Belonging:
        """The same where nothing speaks against it; otherwise no key belongs, and nothing is written."""
        doubt = self._doubt(found)
        if doubt is None:
            return found
        return replace(
            found,
            members=frozenset(),
            storage_id=None,
            identity=None,
            unwritten=False,
            refusal=doubt,
            # That the next backup makes a missing storage.json anew does not hold any more.
            problems=(
                *(each for each in found.problems if each[0] != identity.NAME),
                ("keys", doubt.message),
            ),
        )

    def _doubt(self, found: Belonging) -> BackupError | None:
        """Why former passphrases may not say which keys belong, where the current one opens none; None if they may.

        Before a rotation one former passphrase opens the storage's keys, and all backups are sealed with those. Whoever
        knows a passphrase of long ago can take our key files away and leave one of his own there: then backups ask
        for keys that nothing opens. Raises StorageError.
        """
        opened = [key for key in found.keys.values() if key.data_key is not None]
        if not self._current or not opened or any(key.current for key in opened):
            return None
        try:
            _require_one_former(opened)
        except Refused as refused:
            return refused
        closed = self._asked_for_in_vain({key.key_id for key in opened})
        if closed is None:
            return None
        return NoUsableKey(
            f"only a former passphrase opens keys here, and backups are sealed with {closed}, which nothing opens: "
            "whoever knows that passphrase may have put his own key in the place of ours",
            "put back a copy of the storage's keys folder and of storage.json; only if BACKUP_ENCRYPTION_KEY was never "
            "in use here, and you know which key is yours (keys list): keys rotate --adopt KEY_ID",
        )

    def _asked_for_in_vain(self, opened: Collection[str]) -> str | None:
        """A key that a manifest, of a database or a server, says it is signed with, and that is not among these."""
        for each in self._store.list():
            if _MANIFEST.fullmatch(each.name):
                with suppress(DamagedData, ObjectMissing):
                    key_id = key_id_of_mac(decode(self._store.get(each.name), each.name), each.name)
                    if key_id not in opened:
                        return key_id
        return None

    def _known(self) -> Belonging:
        return self._belonging if self._belonging is not None else self.belonging()

    def _kept(self, found: Belonging) -> Belonging:
        self._belonging = found
        return found

    def _stored_key_ids(self) -> list[str]:
        matches = (_STORAGE_NAME.fullmatch(entry.name) for entry in self._store.list("keys/"))
        return sorted(match[1] for match in matches if match)

    def _require_no_strange(self) -> None:
        """Where something that is no file took the place of a key, a new key would hide it. Raises DamagedData."""
        for each in self._store.strange("keys"):
            raise DamagedData(
                f"{each.name} is damaged: {each.problem}", "put back a copy of the storage's keys folder"
            )

    def _identity_content(self) -> bytes | None:
        try:
            return self._store.get(identity.NAME)
        except ObjectMissing:
            return None
        except DamagedData:  # a link, a FIFO, endless: damaged as any other content that is not well formed
            return b""

    def _files(self, key_ids: Iterable[str]) -> dict[str, bytes]:
        """The key files, as far as they are still there."""
        files = {}
        for key_id in key_ids:
            with suppress(ObjectMissing):
                try:
                    files[key_id] = self._store.get(key_file.storage_name(key_id))
                except (
                    DamagedData
                ):  # larger than any key file: as one that is not JSON, it stops no other key
                    files[key_id] = b""
        return files

    def _look_into(self, key_id: str, content: bytes) -> SeenKey:
        """What the configured passphrases make of a key file; one that opened is not opened again."""
        known = self._seen.get((key_id, content))
        if known is None:
            known = self._seen[key_id, content] = self._opened(key_id, content)
        return known

    def _opened(self, key_id: str, content: bytes) -> SeenKey:
        try:
            found = key_file.parse(content, key_id)
        except DamagedData as damage:
            return SeenKey(key_id, problem=key_file.what_is_wrong(damage, key_id))
        if is_dear(found.derivation):
            self._dear_keys += 1
            if self._dear_keys > _DEAR_KEYS:
                problem = f"it costs more to open than ours, as {_DEAR_KEYS} before it did: it is not tried"
                return SeenKey(key_id, found.created_at, problem=problem)
        for rank, passphrase in enumerate(self._passphrases):
            try:
                data_key = found.open(passphrase)
            except DamagedData as damage:
                return SeenKey(key_id, found.created_at, problem=key_file.what_is_wrong(damage, key_id))
            if data_key is not None:
                is_current = passphrase == self._current
                return SeenKey(
                    key_id, found.created_at, found.storage_id, data_key, is_current, opened_by=rank
                )
        return SeenKey(key_id, found.created_at)

    def _hint(self) -> str:
        """What to do about passphrases that open nothing."""
        return _FILE_HINT if any(map(_is_file_name, self._passphrases)) else _OLD_KEYS_HINT

    def _create(self, now: datetime) -> bool:
        """Make the first key, and after it ``storage.json``. False where there is a ``storage.json`` already."""
        if not self._current:
            raise ConfigurationError("there is no passphrase to make a key with", "set BACKUP_ENCRYPTION_KEY")
        if self._identity_content() is not None:
            return False
        secret = os.urandom(KEY_BYTES)
        data_key = DataKey(key_id_of(secret), secret)
        storage_id = identity.new_storage_id()
        name = key_file.storage_name(data_key.key_id)
        content = key_file.wrap(data_key, self._current, new_derivation(self._current), now, now, storage_id)
        self._store.create(name, content)
        # Everything to come hangs on these few bytes: read them back before trusting them.
        if self._store.get(name) != content:
            raise DamagedData(f"the storage did not keep the new key file {name} as it was written")
        try:
            self._store.create(identity.NAME, identity.content_of(storage_id, [], now, data_key))
        except ObjectExists:
            # Somebody else was there at the same moment. Nothing is sealed with a key that storage.json does not list.
            if data_key.key_id not in _listed_in(self._identity_content()):
                self._store.delete(name)
        return True

    def _identify(self, found: Belonging, signer: DataKey, now: datetime) -> bool:
        """Make ``storage.json`` from the keys that belong. False where somebody else just did."""
        content = identity.content_of(
            found.storage_id or identity.new_storage_id(), found.members, now, signer
        )
        if self._identity_content() is None:
            try:
                self._store.create(identity.NAME, content)
            except ObjectExists:
                return False
        else:
            self._store.replace(identity.NAME, content)
        what = "made for the first time" if found.storage_id is None else "made anew"
        _log.warning(
            "%s of %s was %s, from the keys that the current passphrase opens",
            identity.NAME,
            self._store.url,
            what,
        )
        self._belonging = None
        return True


def _listed_in(content: bytes | None) -> frozenset[str]:
    """The keys that a ``storage.json`` lists, whoever signed it. Raises DamagedData."""
    return frozenset() if content is None else identity.parse(content).keys


def _signer_of(content: bytes | None) -> str:
    """The key that a ``storage.json`` says it is signed with; empty where it cannot be read."""
    try:
        return "" if content is None else identity.parse(content).signer
    except DamagedData:
        return ""


def _require_one_former(keys: Iterable[SeenKey]) -> None:
    """Of two former passphrases nobody can tell which is the older, and may be known to others. Raises Refused.

    Where the current one opens a key, what it opens says which keys belong. Where it opens none, all that former ones
    open would have the same say: a key file and a ``storage.json`` of somebody who knows a passphrase of long ago too.
    """
    opened = [key for key in keys if key.data_key is not None]
    if not any(key.current for key in opened) and len({key.opened_by for key in opened}) > 1:
        raise Refused(
            "two former passphrases open keys here, and a key under the older one may be somebody else's",
            "leave only the last one in BACKUP_ENCRYPTION_OLD_KEYS and run it again; a key of yours that is still "
            "under an older one is taken in afterwards, by keys rotate --adopt KEY_ID with that one there too",
        )


def _long_enough(passphrase: str) -> str:
    text = normalized(passphrase)
    if len(text) < MINIMUM_PASSPHRASE_LENGTH:
        raise ConfigurationError(
            f"the encryption key is too short: at least {MINIMUM_PASSPHRASE_LENGTH} characters are needed",
            _FILE_HINT
            if _is_file_name(text)
            else "`recyclic-backups keys generate` prints one that cannot be guessed",
        )
    return text


def _is_file_name(text: str) -> bool:
    """Whether a passphrase is a path to a file that is there: BACKUP_ENCRYPTION_KEY was meant as its ``_FILE``."""
    try:
        return Path(text).is_absolute() and Path(text).is_file()
    except (OSError, ValueError):  # too long, or with a NUL in it: no path
        return False
