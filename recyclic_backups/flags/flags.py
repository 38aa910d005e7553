"""What can be switched, what is on, and when a flag switches itself off. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.errors import DamagedData, UsageError

FORMAT = 1
THRESHOLD = 2
"""So many runs in a row may fail with a flag on; then it is switched off."""


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
    """One flag that somebody has set, and what became of it: two documents, since people and runs write at once.

    ``wanted`` and ``set_at`` are a person's. ``failures`` counts the runs that failed in a row since; ``tripped`` says
    why the flag went off by itself, and ``tripped_at`` when.
    """

    wanted: bool
    set_at: datetime
    failures: int = 0
    tripped: str = ""
    tripped_at: datetime | None = None

    @property
    def on(self) -> bool:
        """Whether the behaviour is wanted, and has not switched itself off."""
        return self.wanted and not self.tripped

    def wish(self, name: str) -> dict[str, Any]:
        """The document of what a person wants, without its MAC."""
        return {"format": FORMAT, "flag": name, "on": self.wanted, "set_at": to_text(self.set_at)}

    def outcome(self, name: str) -> dict[str, Any]:
        """The document of what runs made of that very wish, without its MAC."""
        return {
            "format": FORMAT,
            "flag": name,
            "set_at": to_text(self.set_at),
            "failures": self.failures,
            "tripped": self.tripped,
            "tripped_at": to_text(self.tripped_at) if self.tripped_at else None,
        }

    @classmethod
    def of(cls, wish: Mapping[str, Any], outcome: Mapping[str, Any] | None = None) -> Switch:
        """Read both documents; an outcome of an earlier wish tells nothing. Raises DamagedData."""
        on = wish.get("on")
        if wish.get("format") != FORMAT or not isinstance(on, bool):
            raise DamagedData("a flag is neither on nor off")
        made = cls(on, from_text(wish.get("set_at")))
        if outcome is None:
            return made
        failures, tripped, at = (outcome.get(each) for each in ("failures", "tripped", "tripped_at"))
        if (
            outcome.get("format") != FORMAT
            or isinstance(failures, bool)
            or not isinstance(failures, int)
            or not isinstance(tripped, str)
            or bool(tripped) is not (at is not None)
        ):
            raise DamagedData("it does not say how many runs failed")
        tripped_at = None if at is None else from_text(at)
        if from_text(outcome.get("set_at")) != made.set_at:
            return made
        return replace(made, failures=failures, tripped=tripped, tripped_at=tripped_at)


@dataclass(frozen=True, slots=True)
class Flags:
    """All that was set; whatever was not is as its default, and so is what is ``damaged`` (why, by name)."""

    switches: Mapping[str, Switch] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)

    def is_on(self, feature: Feature) -> bool:
        """Whether the behaviour is wanted now."""
        switch = self.switches.get(feature.name)
        return feature.default if switch is None else switch.on

    def after_run(self, used: Collection[Feature], failure: str, now: datetime) -> Flags:
        """After a run that used these; ``failure`` is empty when it went well.

        A default is not tripped: it is what the software does, and switching it off would be another experiment.
        """
        switches = dict(self.switches)
        for feature in used:
            switch = switches.get(feature.name)
            if switch is None or not switch.on or feature.default:
                continue
            failures = switch.failures + 1 if failure else 0
            switches[feature.name] = replace(switch, failures=failures)
            if failures >= THRESHOLD:
                reason = f"{failures} runs in a row failed with it; the last: {failure}"
                switches[feature.name] = replace(switch, failures=failures, tripped=reason, tripped_at=now)
        return replace(self, switches=switches)

    @property
    def tripped(self) -> Mapping[str, Switch]:
        """Flags that switched themselves off and that nobody has looked at since."""
        return {name: switch for name, switch in self.switches.items() if switch.tripped}


def known(name: str) -> Feature:
    """The feature of that name. Raises UsageError."""
    if name not in FEATURES:
        raise UsageError(f"there is no flag {name!r}", f"there are {', '.join(FEATURES)}")
    return FEATURES[name]
