"""The copy of what alerts remember that lies in the storage: written, read, and believed or not.

Whoever can write to the storage can write this file. Where the storage asks for MACs, one without a valid MAC is used
for nothing: neither what people were told, nor the letters in it, nor its serial. Where nothing asks for MACs nobody
can tell who wrote it: it is shown on the page, and it says whether there ever were backups, since that can only raise
an alarm. What people were told and what is sent to them comes from the other copy alone, Dagster's cursor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.standing import Standing
from recyclic_backups.envelope.document import check_sum, decode, encode, signed, summed
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.health.issues import Issue, Level
from recyclic_backups.languages import Locale, Pair, Phrase
from recyclic_backups.notify import memory as remembered
from recyclic_backups.notify.incidents import Incident
from recyclic_backups.notify.memory import Memory
from recyclic_backups.notify.severity import Severity
from recyclic_backups.notify.wording import what

UNSIGNED: Pair = (
    "{name} carries no MAC: an older version wrote it, or somebody without the key",
    "{name} ne porte pas de MAC : une ancienne version l’a écrit, ou quelqu’un sans la clé",
)
FORGED: Pair = (
    "{name} was edited, damaged or moved: its MAC is wrong",
    "{name} a été modifié, endommagé ou déplacé : son MAC est faux",
)
UNCHECKED: Pair = (
    "{name} cannot be checked: no configured passphrase opens its key",
    "{name} ne peut être vérifié : aucune phrase secrète configurée n’ouvre sa clé",
)
UNREADABLE: Pair = (
    "{name} is damaged: it is not what alerts write",
    "{name} est endommagé : ce n’est pas ce que les alertes écrivent",
)
FOREIGN: Pair = (
    "{name} is of another storage: it is signed with a key that is none of this one's",
    "{name} est d’un autre stockage : il est signé avec une clé qui n’est pas de celui-ci",
)
_DOUBTS = {Standing.UNSIGNED: UNSIGNED, Standing.FOREIGN: FOREIGN, Standing.NOT_CHECKED: UNCHECKED}


@dataclass(frozen=True, slots=True)
class Copy:
    """What lies in the storage.

    ``memory`` is what may be gone on with; ``shown`` what may be shown besides, where nothing asks for MACs. ``doubt``
    is why it is not used, None if it is or if nothing lies there; ``serial`` is what it claims.
    """

    memory: Memory | None = None
    shown: Memory | None = None
    doubt: Phrase | None = None
    serial: int = 0

    @property
    def is_old_fashioned(self) -> bool:
        """Whether it looks like what older versions wrote: whole, and without a MAC."""
        return self.doubt is not None and self.doubt.words == UNSIGNED

    @property
    def is_unreadable(self) -> bool:
        """Whether it is what a disk may have made of it."""
        return self.doubt is not None and self.doubt.words == UNREADABLE

    @property
    def had_backups(self) -> bool:
        """Whether there ever were verified backups, as anybody may claim who can write to the storage."""
        claimed = self.memory or self.shown
        return claimed is not None and claimed.had_backups


def name_in_storage(database: str) -> str:
    """Where the memory lies."""
    return f"{Layout(database).root}/alerts/state.json"


def recall(repository: Repository) -> Memory | None:
    """What was stored and may be gone on with; None if nothing there can be believed. Raises StorageError."""
    return look_up(repository).memory


def look_up(repository: Repository) -> Copy:
    """What lies in the storage, and whether it is believed. Raises StorageError.

    Keys are derived at most once in the life of a process (:func:`recyclic_backups.envelope.passphrase.wrapping_key`),
    however often this is asked.
    """
    name = name_in_storage(repository.database)
    try:
        document = decode(repository.store.get(name), name)
    except ObjectMissing:
        return Copy()
    except DamagedData:
        return Copy(doubt=Phrase(UNREADABLE, {"name": name}))
    found = remembered.read(json.dumps(document))
    serial = 0 if found is None else found.serial
    if not repository.asks_for_macs:
        try:
            if "sha256" in document:  # older versions wrote none
                check_sum(document, name)
        except DamagedData:
            found = None
        doubt = Phrase(UNREADABLE, {"name": name}) if found is None else None
        return Copy(shown=found, doubt=doubt, serial=serial)
    words = _doubt(repository, document, name)
    if words is None and found is None:
        # Ours, of another version: what it says is not understood, and it accuses nobody.
        return Copy()
    if words is not None:
        return Copy(doubt=Phrase(words, {"name": name}), serial=serial)
    return Copy(memory=found, serial=serial)


def _doubt(repository: Repository, document: dict[str, object], name: str) -> Pair | None:
    try:
        standing = Judge(repository).standing(document, name)
    except DamagedData:
        return UNSIGNED if "mac" not in document else FORGED
    except NoUsableKey:
        return UNCHECKED
    return _DOUBTS.get(standing)


def store(repository: Repository, memory: Memory) -> None:
    """Keep it in the storage: with a MAC where it asks for MACs, else with a SHA-256.

    Nothing is written before there is a key to sign with: making the storage's key is what its first backup does.
    Raises NoUsableKey, DamagedData, ConfigurationError where there is none that may be written with, StorageError.
    """
    name = name_in_storage(repository.database)
    document = json.loads(remembered.to_document(memory))
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


_NOT_SHOWN: Pair = (
    "What people were told is not shown: {why}",
    "Ce qui a été signalé n’est pas montré : {why}",
)


def open_incidents(repository: Repository) -> list[Issue]:
    """What people were told of and is not over, the worst and oldest first, for the page. Raises StorageError.

    Of a copy that is not believed nothing is shown but that, and why.
    """
    copy = look_up(repository)
    if copy.doubt is not None:
        level = Level.NOTE if copy.doubt.words == UNCHECKED else Level.WARNING
        return [Issue("alert_memory", level, Phrase(_NOT_SHOWN, {"why": copy.doubt}))]
    memory = copy.memory or copy.shown
    incidents = [] if memory is None else [*memory.state.incidents.values()]
    still = [each for each in incidents if each.gone_since is None]
    still.sort(key=lambda each: (each.severity is not Severity.CRITICAL, each.opened_at))
    levels = {Severity.CRITICAL: Level.CRITICAL, Severity.WARNING: Level.WARNING}
    return [Issue("incident", levels[each.severity], _Told(each), each.key) for each in still]
