"""Whether the storage is older than it was at the last look (:mod:`recyclic_backups.notify.rollback`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from recyclic_backups.audit.log import accepted_heads, is_there, read_end
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.moments import from_text
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.document import decode
from recyclic_backups.envelope.key_file import storage_name
from recyclic_backups.errors import DamagedData, NoUsableKey, ObjectMissing
from recyclic_backups.notify.incidents import Observation
from recyclic_backups.notify.rollback import Mark, keys_gone, mark_of, problems_of, went_back
from recyclic_backups.settings import Settings


def look_for_rollback(
    repository: Repository,
    settings: Settings,
    catalog: Catalog,
    before: Mark | None,
    now: datetime,
    say: Callable[[str], None],
) -> tuple[Observation, Mark | None]:
    """What went back since ``before``, and what to remember from now on; None keeps what is remembered.

    What went back is told until somebody with the key says that it was done on purpose (``audit accept``): then the
    storage counts from where it is. Raises StorageError, NoUsableKey.
    """
    keys = _keys(repository, catalog, {} if before is None else before.keys)
    if repository.asks_for_macs and not catalog.is_checked:
        # Nobody knows what is ours: of that nothing is concluded. That key files are gone shows without any.
        gone = {} if before is None else keys_gone(before, keys)
        told = problems_of(gone, before.head, now) if before is not None and before.head is not None else ()
        return Observation(told, unseen=frozenset({"rollback"})), None
    mark = mark_of(
        catalog, settings.storage_url, repository.storage_id() or "", read_end(repository, now), keys
    )
    if before is None or before.storage_url != mark.storage_url or before.head is None:
        return Observation(), mark
    lost = went_back(
        before, mark, catalog, settings.calendar, head_is_there=is_there(repository, before.head, now)
    )
    if not lost:
        return Observation(), mark
    accepted = accepted_heads(repository, now).get(str(before.head))
    if accepted is not None:
        say(f"{accepted.actor.user} has said that the storage was put back on purpose: it counts from here")
        return Observation(), mark
    return Observation(problems_of(lost, before.head, now)), None


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
