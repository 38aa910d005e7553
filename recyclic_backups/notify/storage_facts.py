"""What the storage says to the alerts: read at every look, judged elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from recyclic_backups.audit.log import accepted_heads, is_there, read_end, recent_failures
from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.timestamps import from_text
from recyclic_backups.envelope.document import decode
from recyclic_backups.envelope.key_file import storage_name
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.flags.flags import Flags
from recyclic_backups.flags.store import load_flags
from recyclic_backups.health.assess import read_facts
from recyclic_backups.health.judge import HealthTerms
from recyclic_backups.notify.facts import StorageFacts
from recyclic_backups.notify.findings import is_bare
from recyclic_backups.notify.rollback import Mark, Rollback, keys_gone, mark_of, went_back
from recyclic_backups.notify.state import AlertState


def read_storage(
    open_repository: Callable[[], Repository],
    terms: HealthTerms,
    before: AlertState,
    now: datetime,
    say: Callable[[str], None],
) -> tuple[Repository | None, StorageFacts]:
    """Everything the storage says, as far as it can be read; ``before`` is what was known at the last look."""
    try:
        repository = open_repository()
        health = read_facts(repository, terms.wal, now)
        failures = recent_failures(repository, now)
    except BackupError as error:
        return None, StorageFacts(problem=error)
    return repository, StorageFacts(
        health=health,
        failures=tuple(failures),
        flags=_flags(repository, say),
        rollback=None
        if before.had_backups and is_bare(health.catalog)
        else _rollback(repository, terms.calendar, health.catalog, before.mark, now, say),
        is_signed=repository.asks_for_macs,
    )


def _flags(repository: Repository, say: Callable[[str], None]) -> Flags | None:
    try:
        return load_flags(repository)
    except NoUsableKey:
        return None  # what that means for backups is told by whoever needs the key
    except BackupError as error:
        say(f"flags cannot be read: {error.message}")
        return None


def _rollback(
    repository: Repository,
    calendar: Calendar,
    catalog: Catalog,
    before: Mark | None,
    now: datetime,
    say: Callable[[str], None],
) -> Rollback | None:
    """What went back since ``before``; None where that cannot be read.

    It is told until somebody with the key says that it was done on purpose (``audit accept``): then the storage counts
    from where it is.
    """
    try:
        keys = _keys(repository, catalog, {} if before is None else before.keys)
        head = None if before is None else before.head
        if repository.asks_for_macs and not catalog.is_checked:
            # Nobody knows what is ours: of that nothing is concluded. That key files are gone shows without any.
            gone = {} if before is None or head is None else keys_gone(before, keys)
            return Rollback(gone, head, is_whole=False)
        mark = mark_of(
            catalog, repository.store.url, repository.storage_id() or "", read_end(repository, now), keys
        )
        if before is None or head is None or before.storage_url != mark.storage_url:
            return Rollback(mark=mark)
        lost = went_back(before, mark, catalog, calendar, head_is_there=is_there(repository, head, now))
        if lost and (accepted := accepted_heads(repository, now).get(str(head))) is not None:
            say(
                f"{accepted.actor.user} has said that the storage was put back on purpose: it counts from here"
            )
            lost = {}
        return Rollback(lost, head, None if lost else mark)
    except BackupError as error:
        say(f"nobody can tell whether the storage went back to an older state: {error.message}")
        return None


def _keys(repository: Repository, catalog: Catalog, before: Mapping[str, datetime]) -> Mapping[str, datetime]:
    """When each key of a backup was last wrapped. Of one that does not open now it is what it was ``before``.

    Others may be anybody's, and as many as anybody likes: opening one takes half a second.
    """
    found = {}
    used = {each.manifest.encryption.key_id for each in catalog if each.manifest.encryption is not None}
    for key_id in sorted(used | before.keys()):
        name = storage_name(key_id)
        try:
            document = decode(repository.store.get(name), name)
            repository.keyring.for_reading(key_id)
            found[key_id] = from_text(document.get("wrapped_at"))
        except ObjectMissing:
            continue
        except (DamagedData, NoUsableKey):
            if key_id in before:
                found[key_id] = before[key_id]
    return found
