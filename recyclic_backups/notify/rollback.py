"""How far a storage had come, remembered elsewhere: what went back since is told. Pure.

Each document of an older copy of a storage is authentic. That newer ones were there shows only in what somebody else
remembers: the audit log's newest event (its number and hash), the backups and what was said of the newest of them,
and when each key was last wrapped. The alerts' state carries it. Where that is lost, nobody can tell
(docs/format/threat-model.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from recyclic_backups.audit.event import Head
from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.catalog import Backup, Catalog
from recyclic_backups.notify.incidents import Observation, Problem, in_both
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.text import Text, say

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a storage had come at the last look.

    ``storage_id`` is what the storage calls itself, empty where it does not. ``head`` is the newest event of the audit
    log and ``head_at`` its moment. ``backups`` are the ids of all usable backups; ``newest_id`` is the newest, with
    the number of its ``checks`` and its ``labels`` (``tier/partition``). ``keys`` say when each key was last wrapped.
    """

    storage_url: str
    storage_id: str = ""
    head: Head | None = None
    head_at: datetime | None = None
    backups: tuple[str, ...] = ()
    newest_id: str = ""
    checks: int = 0
    labels: tuple[str, ...] = ()
    keys: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollback:
    """What is older than at the last look: ``lost``, by kind of document; ``head`` was the audit log's newest event.

    ``mark`` is what to remember from now on, None to keep what is remembered. It ``is_whole`` unless something could
    not be compared.
    """

    lost: Mapping[str, Text] = field(default_factory=dict)
    head: Head | None = None
    mark: Mark | None = None
    is_whole: bool = True


def mark_of(
    catalog: Catalog,
    storage_url: str,
    storage_id: str,
    log: tuple[Head | None, datetime | None],
    keys: Mapping[str, datetime],
) -> Mark:
    """How far a storage has come; ``log`` is the newest event of its audit log and when that happened."""
    newest = catalog.backups[0] if catalog.backups else None
    return Mark(
        storage_url,
        storage_id,
        *log,
        backups=tuple(sorted(backup.backup_id for backup in catalog)),
        newest_id="" if newest is None else newest.backup_id,
        checks=0 if newest is None else len(newest.checks),
        labels=() if newest is None else tuple(sorted(_slots(newest))),
        keys=dict(keys),
    )


def went_back(
    before: Mark, now: Mark, catalog: Catalog, calendar: Calendar, *, head_is_there: bool
) -> dict[str, Text]:
    """What is older than it was, by what kind of document; empty where nothing is.

    ``head_is_there`` says whether the audit log still has the event that ``before`` remembers as its newest.
    """
    found: dict[str, Text] = {}
    if before.storage_id and now.storage_id and before.storage_id != now.storage_id:
        found["storage"] = say("alerts.other_storage", before=before.storage_id, now=now.storage_id)
    if before.head is not None and not head_is_there:
        last = 0 if now.head is None else now.head.number
        at = before.head_at and f"{before.head_at.astimezone(calendar.timezone):%Y-%m-%d %H:%M}"
        # Texts: a number of an event is no quantity, whose thousands are set apart.
        values = {"number": str(before.head.number), "at": at or "", "now": str(last)}
        found["audit"] = Text(
            "alerts.log_shorter" if last < before.head.number else "alerts.log_other", values
        )
    if lost := _lost_backups(before, catalog):
        found["backups"] = say("alerts.backups_lost", count=len(lost), names=_listed(lost))
    newest = next((backup for backup in catalog if backup.backup_id == before.newest_id), None)
    if newest is not None:
        count = len(newest.checks)
        if count < before.checks:
            found["checks"] = say(
                "alerts.checks_lost", backup_id=newest.backup_id, before=before.checks, now=count
            )
        if moved := _moved_back(before, newest, catalog):
            found["labels"] = say("alerts.labels_back", names=_listed(moved))
    older = [
        key_id
        for key_id, wrapped_at in before.keys.items()
        if key_id not in now.keys or now.keys[key_id] < wrapped_at
    ]
    return found | _keys_back(older)


def keys_gone(before: Mark, keys: Collection[str]) -> dict[str, Text]:
    """Keys whose files are not there any more, as :func:`went_back` tells what is older; empty if all are."""
    return _keys_back([key_id for key_id in before.keys if key_id not in keys])


def _keys_back(names: Collection[str]) -> dict[str, Text]:
    return {"keys": say("alerts.keys_back", names=_listed(names))} if names else {}


def rollback_problems(found: Rollback | None, now: datetime) -> Observation:
    """What is told of it; the message names the head, which whoever put the older state back on purpose has to name."""
    if found is None:
        return Observation(unseen=frozenset({"rollback"}))
    problems = tuple(
        Problem(
            f"rollback/{part}",
            "rollback",
            Severity.CRITICAL,
            now,
            in_both(reason=phrase, head=found.head),
        )
        for part, phrase in found.lost.items()
    )
    return Observation(problems, unseen=frozenset(() if found.is_whole else {"rollback"}))


def _lost_backups(before: Mark, catalog: Catalog) -> list[str]:
    """Usable backups that are neither there, nor expired, nor told as damage."""
    told = " ".join(damage.name for damage in catalog.damage)
    there = {backup.backup_id for backup in catalog} | catalog.tombstones
    return [each for each in before.backups if each not in there and f"/backups/{each}/" not in told]


def _moved_back(before: Mark, newest: Backup, catalog: Catalog) -> list[str]:
    """Labels that the newest backup had, and that point at an older one now though it is still good."""
    if not newest.good:
        return []
    as_of = {backup.backup_id: backup.as_of for backup in catalog}
    holders = {f"{tier.value}/{key}": label.backup_id for (tier, key), label in catalog.labels.items()}
    return [
        slot
        for slot in before.labels
        if (holder := as_of.get(holders.get(slot, ""))) is not None and holder < newest.as_of
    ]


def _slots(backup: Backup) -> Collection[str]:
    return [f"{label.tier.value}/{label.partition}" for label in backup.labels]


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_LISTED]
    return ", ".join(shown) + (" …" if len(names) > _LISTED else "")
