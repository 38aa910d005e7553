"""The small documents beside manifests: labels, checks, holds, tombstones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Literal

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.fields import UNSTORED, Document, fields_of, named, parsed, require_known_format
from recyclic_backups.catalog.partly_sealed import PartlySealed, closed
from recyclic_backups.errors import DamagedData, NoUsableKey

FORMAT = 1
SEALED_CHECK_FORMAT = 2
"""Of the check of an encrypted backup: ``reasons``, and what else its ``details`` hold, are sealed in it."""

CLEAR_DETAILS = (
    *("level", "scenario", "started_at", "leading"),
    *("restore_seconds", "data_loss_seconds", "objective"),
)
"""Of ``details``, what a check of format 2 says in clear: metrics need it, and it says nothing of the content."""

CheckKind = Literal["verify", "restore", "drill"]


@dataclass(frozen=True, slots=True)
class Label(Document):
    """A tier's partition pointing at a backup. ``promoted_from`` is ``tier/partition`` of the label it came from."""

    FORMAT = 1

    tier: Tier
    partition: str
    backup_id: str
    labelled_at: datetime
    late: bool
    promoted_from: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Check(PartlySealed):
    """One verification, restore or drill of a backup and its verdict.

    ``proves`` is true when the backup was restored into a real server and its content found equal. ``reasons`` and
    ``details`` of a sealed one that was read are opened at the first look; without the key that raises NoUsableKey,
    and :attr:`is_closed` asks before.
    """

    kind: CheckKind = field(metadata=named("check"))
    backup_id: str
    checked_at: datetime
    passed: bool
    reasons: tuple[str, ...] = field(default=(), repr=False)
    proves: bool = False
    duration_seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    clear_details: Mapping[str, Any] | None = field(
        default=None, repr=False, compare=False, metadata=UNSTORED
    )
    """Of a sealed one that was read: what its ``details`` say in clear."""
    twin: Callable[[], Check] | None = field(default=None, repr=False, compare=False, metadata=UNSTORED)
    """Opens what is sealed, once; None where all of it is known."""

    # Where no key is at hand anybody may have written what cannot even be unpacked.
    CLOSED_BY = (NoUsableKey, DamagedData)

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_seconds", round(self.duration_seconds, 3))

    @property
    def figures(self) -> Mapping[str, Any]:
        """Of ``details``, what can be read without a key: :data:`CLEAR_DETAILS`."""
        found = self.details if self.clear_details is None else self.clear_details
        return {name: value for name, value in found.items() if name in CLEAR_DETAILS}

    def to_json(self) -> dict[str, Any]:
        """The document of format 1, without its MAC: everything in clear. Raises NoUsableKey if it is closed."""
        return {"format": FORMAT, **fields_of(self)}

    @classmethod
    def from_json(
        cls, document: Mapping[str, Any], unseal: Callable[[], Mapping[str, Any]] | None = None
    ) -> Check:
        """Read a document; ``unseal`` gives the whole of a sealed one, and is called when somebody needs it.

        Raises DamagedData.
        """
        require_known_format(document, SEALED_CHECK_FORMAT)
        if document.get("format") == FORMAT:
            return parsed(cls, document, "check")
        if document.get("format") != SEALED_CHECK_FORMAT:
            raise DamagedData("the check does not say its format")
        return _sealed_check(document, unseal or _no_key)


def _no_key() -> Mapping[str, Any]:
    raise NoUsableKey("what the check found is sealed", "set BACKUP_ENCRYPTION_KEY")


def _sealed_check(document: Mapping[str, Any], unseal: Callable[[], Mapping[str, Any]]) -> Check:
    """The check of format 2: what is in clear is read now, the rest at the first look."""
    details = document.get("details")
    if not isinstance(document.get("sealed"), str) or not isinstance(details, Mapping):
        raise DamagedData("the check lacks what is sealed in it, or its details")
    if document.get("mac") is None:
        raise DamagedData("the check is sealed, and carries no MAC")
    readable = [name for name in details if name not in CLEAR_DETAILS]
    readable += ["reasons"] if "reasons" in document else []
    if readable:
        raise DamagedData(f"the check is sealed, and holds in clear: {', '.join(sorted(readable))}")
    check = parsed(Check, document, "check")
    object.__setattr__(check, "clear_details", dict(details))

    @cache
    def twin() -> Check:
        return parsed(Check, unseal(), "check")

    return closed(check, ("reasons", "details"), twin)


@dataclass(frozen=True, slots=True)
class Hold(Document):
    """Somebody's word that a backup must not expire before ``until`` (aware UTC; None: for ever).

    Its being there is what counts: without a moment it holds for ever.
    """

    FORMAT = 1

    backup_id: str
    reason: str = ""
    held_at: datetime | None = None
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it still does at that moment."""
        return self.until is None or now < self.until


def held_for_ever(backup_id: str) -> Hold:
    """The hold that stands for a document which cannot be believed: it keeps its backup, the harmless direction."""
    return Hold(backup_id, "its document cannot be believed", held_at=None, until=None)


class Checked:
    """What the checks and the hold beside a backup say of it, be it a dump or a base backup."""

    __slots__ = ()

    checks: tuple[Check, ...]
    hold: Hold | None

    @property
    def verified_at(self) -> datetime | None:
        """When its bytes were last found whole; None when never, or when a later verification found damage.

        A restore that compared equal has read every byte too; one that did not says nothing about them.
        """
        checks = (check for check in self.checks if check.kind == "verify" or check.passed)
        newest = max(checks, key=lambda check: check.checked_at, default=None)
        return newest.checked_at if newest is not None and newest.passed else None

    @property
    def good(self) -> bool:
        """Whether the last check of its bytes passed: what labels, promotion and retention may build on."""
        return self.verified_at is not None

    def is_held(self, now: datetime) -> bool:
        """Whether somebody's hold keeps it from expiring at that moment."""
        return self.hold is not None and self.hold.holds(now)

    @property
    def known_damaged(self) -> bool:
        """Whether the last check of its bytes failed. A backup never checked is unknown, not damaged.

        A drill that failed says nothing of its bytes alone.
        """
        return not self.good and any(check.kind == "verify" for check in self.checks)


@dataclass(frozen=True, slots=True)
class Tombstone(Document):
    """What is left of a backup that expired: that it is not usable any more, when and why, and what it was.

    ``labels`` are those it had: a partition whose backup expired had one. ``stored_bytes`` is what its manifest said.
    All but its being there may be missing.
    """

    FORMAT = 1

    backup_id: str
    expired_at: datetime | None = None
    as_of: datetime | None = None
    stored_bytes: int = 0
    reasons: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
