"""Whether a storage has room for the next backup, asked before it begins."""

from __future__ import annotations

from recyclic_backups.errors import Refused
from recyclic_backups.quantities import human_bytes
from recyclic_backups.storage.store import Store

GROWTH = 1.2
"""How much larger than the newest backup the next one may be before it no longer fits."""


def require_room(store: Store, newest_bytes: int | None, *, what: str, settings: str) -> None:
    """Refuse early what would fill the storage: a full disk also stops whatever else writes to it.

    ``newest_bytes`` is what the newest backup of that kind takes there, None where there is none to go by; ``settings``
    name those that keep fewer. A storage that does not tell how much is free is believed to have room. Raises Refused.
    """
    free_bytes = store.free_bytes()
    if free_bytes is None or newest_bytes is None:
        return
    needed_bytes = int(newest_bytes * GROWTH)
    if free_bytes < needed_bytes:
        raise Refused(
            f"the storage has {human_bytes(free_bytes)} left and {what} needs about {human_bytes(needed_bytes)}",
            f"free some space, or keep fewer ({settings})",
        )
