"""Where what alerts remember lies: in the storage, on this machine, and in the cursor that Dagster keeps.

Each copy is enough, and the youngest that is believed counts. Whoever can write to the storage can write the one there.
Where the storage asks for MACs, one without a valid MAC is used for nothing: neither what people were told, nor the
letters in it, nor its serial. Where nothing asks for MACs nobody can tell who wrote it: it is shown on the page, and it
says whether there ever were backups, since that can only raise an alarm. What people were told comes from the others.

Two lookers must not send the same. On one machine the file there is locked while one of them looks. On two, each reads
the signed copy in the storage again before it writes: who comes second finds it younger, and stops.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.envelope.document import check_sum, decode, encode, signed, summed
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.health.finding import Finding, Level
from recyclic_backups.notify.incidents import Incident
from recyclic_backups.notify.message import what
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.state import AlertState, read, to_cursor, to_document, youngest
from recyclic_backups.storage.private_file import PrivateFile
from recyclic_backups.storage.shared import ask_anew
from recyclic_backups.texts.language import Locale
from recyclic_backups.texts.text import Text, say

LOCK_WAIT_SECONDS = 20.0
"""How long a look waits for another one on this machine: as long as that may send."""

_DOUBTS = {
    Standing.UNSIGNED: "alerts.unsigned",
    Standing.FOREIGN: "alerts.foreign",
    Standing.NOT_CHECKED: "alerts.unchecked",
}

_MOST_BYTES = 10_000_000


class LookedMeanwhile(Exception):
    """Another look, on another machine, changed the state after this one had read it."""


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """What lies in the storage.

    ``state`` is what may be gone on with; ``shown`` what may be shown besides, where nothing asks for MACs. ``doubt``
    is why it is not used, None if it is or if nothing lies there; ``serial`` is what it claims.
    """

    state: AlertState | None = None
    shown: AlertState | None = None
    doubt: Text | None = None
    serial: int = 0

    @property
    def had_backups(self) -> bool:
        """Whether there ever were verified backups, as anybody may claim who can write to the storage."""
        claimed = self.state or self.shown
        return claimed is not None and claimed.had_backups


class LocalCopy:
    """The copy on this machine, in a directory of our own, and the lock of a look."""

    def __init__(self, directory: Path, storage_url: str, database: str) -> None:
        whose = hashlib.sha256(f"{storage_url}\n{database}".encode()).hexdigest()[:16]
        self._directory = directory / "recyclic-backups"
        self._lock = self._directory / f"alerts-{whose}.lock"
        self._file = PrivateFile(self._directory, f"alerts-{whose}.json")

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """False where another look goes on for too long; True also where this machine cannot keep anything."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            yield True
            return
        try:
            yield _locks(lock)
        finally:
            os.close(lock)

    def read(self) -> AlertState | None:
        """What lies there, if nobody else can have written it."""
        return read(self._file.read(_MOST_BYTES))

    def write(self, state: AlertState) -> None:
        """Put it there, whole or not at all. Raises OSError."""
        self._file.write(to_cursor(state).encode())


def _locks(lock: int) -> bool:
    until = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() > until:
                return False
            time.sleep(0.2)


class StoredAlertState:
    """The state of one look: read once from all copies, kept in all of them whenever it changes.

    ``repository`` is None where the storage cannot be opened. ``say`` gets a sentence when it cannot be kept there.
    """

    def __init__(
        self,
        repository: Repository | None,
        local: LocalCopy | None,
        cursor: str | None,
        say: Callable[[str], None],
    ) -> None:
        self._repository, self._local, self._say = repository, local, say
        self._copy = self._look_up()
        self._ours = youngest(read(cursor), None if local is None else local.read())
        self.state = youngest(self._ours, self._copy.state) or AlertState(had_backups=self._copy.had_backups)

    def store_in(self, repository: Repository | None) -> None:
        """Where it is kept from now on. None: nowhere, as long as there are no backups.

        Where there are none there may be no storage either, but the directory where it is mounted.
        """
        self._repository = repository

    def doubt(self) -> Text | None:
        """Why what lies in the storage is not used, where somebody should hear of it.

        What older versions wrote without a MAC is no news where the other copies know as much; nor is what a disk
        spoilt: it is made anew.
        """
        doubt = self._copy.doubt
        is_known = self._ours is not None and self._copy.serial <= self._ours.serial
        if (
            doubt is None
            or doubt.code == "alerts.unreadable"
            or (doubt.code == "alerts.unsigned" and is_known)
        ):
            return None
        return doubt

    def begin(self, state: AlertState) -> None:
        """Keep what a look made of the state. Raises LookedMeanwhile if what it had read was not the youngest."""
        if state != self.state:
            ask_anew()  # not what this process remembers: another machine may have looked
            self._copy = self._look_up()
            if self._copy.state is not None and self._copy.serial > self.state.serial:
                raise LookedMeanwhile
        self.state = state
        # Also where nothing changed but the copy is gone or damaged: the next lost cursor would be everything.
        stored = self._copy.state or self._copy.shown
        if stored is None or stored.serial != state.serial:
            self._keep()

    def update(self, change: Callable[[AlertState], AlertState]) -> AlertState:
        """Change the youngest one, and keep it; the new one."""
        ask_anew()
        newest = youngest(self.state, self._look_up().state) or self.state
        after = change(newest)
        if after == newest:
            self.state = newest
        else:
            self.state = replace(after, serial=newest.serial + 1)
            self._keep()
        return self.state

    def _look_up(self) -> StoredCopy:
        try:
            return StoredCopy() if self._repository is None else look_up(self._repository)
        except BackupError:
            return StoredCopy()  # that the storage cannot be read is told by whoever reads the catalog

    def _keep(self) -> None:
        if self._local is not None:
            try:
                self._local.write(self.state)
            except OSError as error:
                self._say(f"what alerts remember cannot be kept on this machine: {error.strerror}")
        if self._repository is None:
            return
        try:
            store(self._repository, self.state)
        except BackupError as error:
            self._say(f"what alerts remember cannot be kept in the storage: {error.message}")


def name_in_storage(database: str) -> str:
    """Where the state lies."""
    return f"{Layout(database).root}/alerts/state.json"


def look_up(repository: Repository) -> StoredCopy:
    """What lies in the storage, and whether it is believed. Raises StorageError.

    Keys are derived at most once in the life of a process (:func:`recyclic_backups.envelope.passphrase.wrapping_key`),
    however often this is asked.
    """
    name = name_in_storage(repository.database)
    try:
        document = decode(repository.store.get(name), name)
    except ObjectMissing:
        return StoredCopy()
    except DamagedData:
        return StoredCopy(doubt=say("alerts.unreadable", name=name))
    found = read(json.dumps(document))
    serial = 0 if found is None else found.serial
    if not repository.asks_for_macs:
        try:
            if "sha256" in document:  # older versions wrote none
                check_sum(document, name)
        except DamagedData:
            found = None
        doubt = say("alerts.unreadable", name=name) if found is None else None
        return StoredCopy(shown=found, doubt=doubt, serial=serial)
    code = _doubt(repository, document, name)
    if code is None and found is None:
        # Ours, of another version: what it says is not understood, and it accuses nobody.
        return StoredCopy()
    if code is not None:
        return StoredCopy(doubt=say(code, name=name), serial=serial)
    return StoredCopy(state=found, serial=serial)


def _doubt(repository: Repository, document: dict[str, object], name: str) -> str | None:
    try:
        standing = Judge(repository).standing(document, name)
    except DamagedData:
        return "alerts.unsigned" if "mac" not in document else "alerts.forged"
    except NoUsableKey:
        return "alerts.unchecked"
    return _DOUBTS.get(standing)


def store(repository: Repository, state: AlertState) -> None:
    """Keep it in the storage: with a MAC where it asks for MACs, else with a SHA-256.

    Nothing is written before there is a key to sign with: making the storage's key is what its first backup does.
    Raises NoUsableKey, DamagedData, ConfigurationError where there is none that may be written with, StorageError.
    """
    name = name_in_storage(repository.database)
    document = json.loads(to_document(state))
    if not repository.asks_for_macs:
        repository.store.replace(name, encode(summed(document, name)))
    elif repository.keyring.has_keys():
        repository.store.replace(name, encode(signed(document, name, repository.keyring.writer())))


@dataclass(frozen=True, slots=True)
class _Told:
    """What an incident says, in the language of whoever reads it."""

    incident: Incident

    def text(self, locale: Locale = "en") -> str:
        """The sentence."""
        problem = self.incident.problem
        return what(problem.kind, problem.facts, locale)


def open_incidents(repository: Repository) -> list[Finding]:
    """What people were told of and is not over, the worst and oldest first, for the page. Raises StorageError.

    Of a copy that is not believed nothing is shown but that, and why.
    """
    copy = look_up(repository)
    if copy.doubt is not None:
        level = Level.NOTE if copy.doubt.code == "alerts.unchecked" else Level.WARNING
        return [Finding("alert_memory", "", level, {"why": copy.doubt})]
    state = copy.state or copy.shown
    incidents = [] if state is None else [*state.open.incidents.values()]
    still = [each for each in incidents if each.gone_since is None]
    still.sort(key=lambda each: (each.severity is not Severity.CRITICAL, each.opened_at))
    levels = {Severity.CRITICAL: Level.CRITICAL, Severity.WARNING: Level.WARNING}
    return [
        Finding("incident", each.key, levels[each.severity], {"what": _Told(each)}, each.opened_at)
        for each in still
    ]
