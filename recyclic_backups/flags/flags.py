"""What can be switched, and what is on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData, UsageError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Feature:
    """A behaviour: whether it is on where nobody has said, and what it does, for people."""

    name: str
    default: bool
    description: str


PARALLEL_STREAMS = Feature(
    "parallel_streams",
    default=False,
    description="dump large tables in streams of their own, one for each core, at most 4 (else BACKUP_JOBS)",
)
PROMOTE_PROVEN = Feature(
    "promote_proven",
    default=False,
    description="weekly and monthly labels prefer a backup of their time that a restore or drill has proven",
)
FILL_GAPS = Feature(
    "fill_gaps",
    default=True,
    description="start the backup that is due and missing by itself (missed_backups)",
)

FEATURES: Mapping[str, Feature] = {each.name: each for each in (PARALLEL_STREAMS, PROMOTE_PROVEN, FILL_GAPS)}


@dataclass(frozen=True, slots=True)
class Switch:
    """One flag that somebody has set. ``wanted`` and ``set_at`` are that person's.

    ``tripped`` says why an older release switched it off by itself, and ``tripped_at`` when: it stays off.
    """

    wanted: bool
    set_at: datetime
    tripped: str = ""
    tripped_at: datetime | None = None

    @property
    def on(self) -> bool:
        """Whether the behaviour is wanted, and has not switched itself off."""
        return self.wanted and not self.tripped

    def to_json(self, name: str) -> dict[str, Any]:
        """The document of what a person wants, without its MAC."""
        return {"format": FORMAT, "flag": name, "on": self.wanted, "set_at": to_text(self.set_at)}

    @classmethod
    def of(cls, wish: Mapping[str, Any]) -> Switch:
        """Read what a person wants. Raises DamagedData."""
        on = wish.get("on")
        if wish.get("format") != FORMAT or not isinstance(on, bool):
            raise DamagedData("a flag is neither on nor off")
        return cls(on, from_text(wish.get("set_at")))

    def after(self, outcome: Mapping[str, Any]) -> Switch:
        """With what an older release wrote of its runs; of an earlier wish it tells nothing. Raises DamagedData."""
        tripped, at = outcome.get("tripped"), outcome.get("tripped_at")
        if (
            outcome.get("format") != FORMAT
            or not isinstance(tripped, str)
            or bool(tripped) is not (at is not None)
        ):
            raise DamagedData("it does not say whether the flag went off")
        if not tripped or from_text(outcome.get("set_at")) != self.set_at:
            return self
        return replace(self, tripped=tripped, tripped_at=from_text(at))


@dataclass(frozen=True, slots=True)
class Flags:
    """All that was set; whatever was not is as its default, and so is what is ``damaged`` (why, by name)."""

    switches: Mapping[str, Switch] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)

    def is_on(self, feature: Feature) -> bool:
        """Whether the behaviour is wanted now."""
        switch = self.switches.get(feature.name)
        return feature.default if switch is None else switch.on

    def without(self, names: Collection[str]) -> Flags:
        """With these flags as their defaults."""
        return replace(
            self, switches={name: each for name, each in self.switches.items() if name not in names}
        )

    @property
    def tripped(self) -> Mapping[str, Switch]:
        """Flags that an older release switched off by itself and that nobody has set since."""
        return {name: switch for name, switch in self.switches.items() if switch.tripped}


def known(name: str) -> Feature:
    """The feature of that name. Raises UsageError."""
    if name not in FEATURES:
        raise UsageError(f"there is no flag {name!r}", f"there are {', '.join(FEATURES)}")
    return FEATURES[name]
