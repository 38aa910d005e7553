"""The small documents beside manifests: labels, checks, holds, tombstones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Literal

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.partly_sealed import PartlySealed, closed
from recyclic_backups.catalog.timestamps import from_text, to_text
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
class Label:
    """A tier's partition pointing at a backup. ``promoted_from`` is ``tier/partition`` of the label it came from."""

    tier: Tier
    partition: str
    backup_id: str
    labelled_at: datetime
    late: bool
    promoted_from: str | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The document, without its MAC."""
        return {
            "format": FORMAT,
            "tier": self.tier.value,
            "partition": self.partition,
            "backup_id": self.backup_id,
            "labelled_at": to_text(self.labelled_at),
            "late": self.late,
            "promoted_from": self.promoted_from,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Label:
        """Read a document. Raises DamagedData."""
        _require_format(document)
        try:
            tier = Tier(str(document.get("tier")))
        except ValueError:
            raise DamagedData(f"the label's tier is {document.get('tier')!r}") from None
        if not isinstance(document.get("late"), bool):
            raise DamagedData("the label does not say whether it is late")
        promoted_from = document.get("promoted_from")
        return cls(
            tier=tier,
            partition=_text(document, "partition"),
            backup_id=_text(document, "backup_id"),
            labelled_at=from_text(document.get("labelled_at")),
            late=document["late"],
            promoted_from=None if promoted_from is None else str(promoted_from),
            reason=str(document.get("reason", "")),
        )


@dataclass(frozen=True, slots=True)
class Check(PartlySealed):
    """One verification, restore or drill of a backup and its verdict.

    ``proves`` is true when the backup was restored into a real server and its content found equal. ``reasons`` and
    ``details`` of a sealed one that was read are opened at the first look; without the key that raises NoUsableKey,
    and :attr:`is_closed` asks before.
    """

    kind: CheckKind
    backup_id: str
    checked_at: datetime
    passed: bool
    reasons: tuple[str, ...] = field(default=(), repr=False)
    proves: bool = False
    duration_seconds: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    clear_details: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """Of a sealed one that was read: what its ``details`` say in clear."""
    twin: Callable[[], Check] | None = field(default=None, repr=False, compare=False)
    """Opens what is sealed, once; None where all of it is known."""

    @property
    def is_closed(self) -> bool:
        """Whether ``reasons`` and ``details`` are sealed, and no key at hand opens them."""
        if self.twin is None:
            return False
        try:
            self.twin()
        except (NoUsableKey, DamagedData):
            # Where no key is at hand anybody may have written what cannot even be unpacked.
            return True
        return False

    @property
    def figures(self) -> Mapping[str, Any]:
        """Of ``details``, what can be read without a key: :data:`CLEAR_DETAILS`."""
        found = self.details if self.clear_details is None else self.clear_details
        return {name: value for name, value in found.items() if name in CLEAR_DETAILS}

    def to_json(self) -> dict[str, Any]:
        """The document of format 1, without its MAC: everything in clear. Raises NoUsableKey if it is closed."""
        return {
            "format": FORMAT,
            "check": self.kind,
            "backup_id": self.backup_id,
            "checked_at": to_text(self.checked_at),
            "passed": self.passed,
            "reasons": list(self.reasons),
            "proves": self.proves,
            "duration_seconds": round(self.duration_seconds, 3),
            "details": dict(self.details),
        }

    @classmethod
    def from_json(
        cls, document: Mapping[str, Any], unseal: Callable[[], Mapping[str, Any]] | None = None
    ) -> Check:
        """Read a document; ``unseal`` gives the whole of a sealed one, and is called when somebody needs it.

        Raises DamagedData.
        """
        require_known_format(document, SEALED_CHECK_FORMAT)
        if document.get("format") != SEALED_CHECK_FORMAT:
            _require_format(document)
            return _parsed_check(document)
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
    check = _parsed_check(document)
    object.__setattr__(check, "clear_details", dict(details))

    @cache
    def twin() -> Check:
        return _parsed_check(unseal())

    return closed(check, ("reasons", "details"), twin)


def _parsed_check(document: Mapping[str, Any]) -> Check:
    kind = document.get("check")
    passed, proves = document.get("passed"), document.get("proves")
    if (
        kind not in ("verify", "restore", "drill")
        or not isinstance(passed, bool)
        or not isinstance(proves, bool)
    ):
        raise DamagedData("the check does not say what it is or what it found")
    details, reasons = document.get("details", {}), document.get("reasons", [])
    duration_seconds = document.get("duration_seconds", 0)
    if (
        not isinstance(reasons, list)
        or isinstance(duration_seconds, bool)
        or not isinstance(duration_seconds, int | float)
        or not 0 <= duration_seconds < 2**63  # larger numbers do not fit into a float
    ):
        raise DamagedData("the check's reasons or its duration are none")
    return Check(
        kind=kind,
        backup_id=_text(document, "backup_id"),
        checked_at=from_text(document.get("checked_at")),
        passed=passed,
        reasons=tuple(str(reason) for reason in reasons),
        proves=proves,
        duration_seconds=round(float(duration_seconds), 3),
        details=details if isinstance(details, Mapping) else {},
    )


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody's word that a backup must not expire before ``until`` (aware UTC; None: for ever)."""

    backup_id: str
    reason: str
    held_at: datetime | None
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether it still does at that moment."""
        return self.until is None or now < self.until

    def to_json(self) -> dict[str, Any]:
        """The document, without its MAC."""
        return {
            "format": FORMAT,
            "backup_id": self.backup_id,
            "reason": self.reason,
            "held_at": None if self.held_at is None else to_text(self.held_at),
            "until": None if self.until is None else to_text(self.until),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Hold:
        """Read a document. Its being there is what counts: without a moment it holds for ever. Raises DamagedData."""
        _require_format(document)
        return cls(
            backup_id=_text(document, "backup_id"),
            reason=str(document.get("reason", "")),
            held_at=_moment_or_none(document, "held_at"),
            until=_moment_or_none(document, "until"),
        )


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a backup that expired: that it is not usable any more, when and why, and what it was.

    ``labels`` are those it had: a partition whose backup expired had one. ``stored_bytes`` is what its manifest said.
    """

    backup_id: str
    expired_at: datetime | None
    as_of: datetime | None = None
    stored_bytes: int = 0
    reasons: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document, without its MAC."""
        return {
            "format": FORMAT,
            "backup_id": self.backup_id,
            "expired_at": None if self.expired_at is None else to_text(self.expired_at),
            "as_of": None if self.as_of is None else to_text(self.as_of),
            "stored_bytes": self.stored_bytes,
            "reasons": list(self.reasons),
            "labels": [label.to_json() for label in self.labels],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Tombstone:
        """Read a document; all but its being there may be missing. Raises DamagedData."""
        _require_format(document)
        reasons, labels = document.get("reasons", []), document.get("labels", [])
        stored_bytes = document.get("stored_bytes", 0)
        if not isinstance(reasons, list) or not isinstance(labels, list):
            raise DamagedData("the tombstone's reasons or labels are none")
        if isinstance(stored_bytes, bool) or not isinstance(stored_bytes, int) or stored_bytes < 0:
            raise DamagedData("the tombstone's stored_bytes is not a number")
        if not all(isinstance(label, Mapping) for label in labels):
            raise DamagedData("the tombstone's labels are none")
        return cls(
            backup_id=_text(document, "backup_id"),
            expired_at=_moment_or_none(document, "expired_at"),
            as_of=_moment_or_none(document, "as_of"),
            stored_bytes=stored_bytes,
            reasons=tuple(str(reason) for reason in reasons),
            labels=tuple(Label.from_json(label) for label in labels),
        )


def _moment_or_none(document: Mapping[str, Any], name: str) -> datetime | None:
    value = document.get(name)
    return None if value is None else from_text(value)


def require_known_format(document: Mapping[str, Any], newest: int = FORMAT) -> None:
    """Refuse what a newer release wrote: a format later than the ``newest`` of its kind. Raises DamagedData."""
    version = document.get("format")
    if isinstance(version, int) and version > newest:
        raise DamagedData(
            f"the document has format {version}, this version reads up to {newest}: a newer release wrote it",
            "use a newer recyclic-backups",
        )


def _require_format(document: Mapping[str, Any]) -> None:
    require_known_format(document)
    version = document.get("format")
    if version != FORMAT:
        raise DamagedData(f"the document has format {version!r}, this version reads {FORMAT}")


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise DamagedData(f"the document's {name} is not a text")
    return value
