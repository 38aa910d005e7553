"""What to recover to: a moment, a position, a transaction, a named point, or the end of the archive. Pure.

https://www.postgresql.org/docs/15/runtime-config-wal.html#RUNTIME-CONFIG-WAL-RECOVERY-TARGET
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import UsageError
from recyclic_backups.postgres.lsn import lsn_of, lsn_text

Kind = Literal["time", "lsn", "xid", "name", "latest"]

_XID_LIMIT = 1 << 32
_FIRST_XID = 3  # FirstNormalTransactionId
_NAME_BYTES = 63  # MAXFNAMELEN - 1 of pg_create_restore_point


@dataclass(frozen=True, slots=True)
class Target:
    """Where recovery stops. With ``exclusive`` just before what is named, else just after it.

    Of ``at`` (aware UTC), ``lsn``, ``xid`` and ``name`` the one of its kind is set.
    """

    kind: Kind
    at: datetime | None = None
    lsn: int | None = None
    xid: int | None = None
    name: str = ""
    exclusive: bool = False

    @property
    def settings(self) -> Mapping[str, str]:
        """The server's parameters that say the same; none for the end of the archive."""
        match self.kind:
            case "latest":
                return {}
            case "time":
                assert self.at is not None
                value = self.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
            case "lsn":
                assert self.lsn is not None
                value = lsn_text(self.lsn)
            case "xid":
                value = str(self.xid)
            case "name":
                return {"recovery_target_name": self.name}
        return {
            f"recovery_target_{self.kind}": value,
            "recovery_target_inclusive": "off" if self.exclusive else "on",
        }

    @property
    def text(self) -> str:
        """As the options of the command line say it."""
        match self.kind:
            case "latest":
                return "latest"
            case "time":
                assert self.at is not None
                value = to_text(self.at)
            case "lsn":
                assert self.lsn is not None
                value = lsn_text(self.lsn)
            case "xid":
                value = str(self.xid)
            case "name":
                value = self.name
        return f"{'before ' if self.exclusive else ''}{self.kind} {value}"

    def to_json(self) -> dict[str, Any]:
        """As reports have it."""
        return {
            "kind": self.kind,
            "time": None if self.at is None else to_text(self.at),
            "lsn": None if self.lsn is None else lsn_text(self.lsn),
            "xid": self.xid,
            "name": self.name or None,
            "inclusive": not self.exclusive,
        }


LATEST = Target("latest")


def at_time(moment: datetime, *, exclusive: bool = False) -> Target:
    """All that was committed up to a moment, an aware one."""
    return Target("time", at=moment.astimezone(UTC), exclusive=exclusive)


def at_lsn(lsn: int, *, exclusive: bool = False) -> Target:
    """All WAL up to a position."""
    return Target("lsn", lsn=lsn, exclusive=exclusive)


def parse(kind: Kind, text: str, timezone: ZoneInfo, *, exclusive: bool = False) -> Target:
    """What ``--to-<kind> TEXT`` means; a time without a zone is of ``timezone``. Raises UsageError."""
    match kind:
        case "latest":
            if exclusive:
                raise UsageError("--exclusive says to stop just before something: --latest names nothing")
            return LATEST
        case "time":
            return at_time(moment(text, timezone), exclusive=exclusive)
        case "lsn":
            try:
                return at_lsn(lsn_of(text), exclusive=exclusive)
            except ValueError as error:
                raise UsageError(f"--to-lsn {error}") from None
        case "xid":
            if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) % _XID_LIMIT < _FIRST_XID:
                raise UsageError(f"--to-xid {text!r} is no number of a transaction", "write it as 7431")
            # pg_current_xact_id() tells 64 bits, the WAL has the lower half.
            return Target("xid", xid=int(text) % _XID_LIMIT, exclusive=exclusive)
        case "name":
            if exclusive:
                raise UsageError("a named point is where recovery stops: it has no before and after")
            if not 0 < len(text.encode()) <= _NAME_BYTES or not text.isprintable():
                raise UsageError(f"--to-name {text!r} is no name of a restore point")
            return Target("name", name=text)


def moment(text: str, timezone: ZoneInfo) -> datetime:
    """A moment in UTC; one without a zone is of ``timezone``. Raises UsageError.

    When clocks go back an hour happens twice, and when they go forward one never does: then the zone has to be said.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or len(text) <= len("2026-11-20"):
        raise UsageError(
            f"{text!r} is no moment", "write it as '2026-11-20 14:31:07' or 2026-11-20T13:31:07Z"
        )
    if found.tzinfo is not None:
        return found.astimezone(UTC)
    first, second = (found.replace(tzinfo=timezone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first != second:
        ways = " or ".join(
            each.astimezone(timezone).isoformat(timespec="seconds") for each in sorted((first, second))
        )
        raise UsageError(
            f"clocks in {timezone.key} are changed around {text}: which moment is meant?", f"write {ways}"
        )
    return first


def reached_in_time(target: Target, last_commit_at: datetime | None) -> bool:
    """Whether a state whose last commit was then is one that a target in time allows: nothing later is in it."""
    if target.at is None or last_commit_at is None:
        return True
    later = last_commit_at - target.at
    return later < timedelta(0) if target.exclusive else later <= timedelta(0)
