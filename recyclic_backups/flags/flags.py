"""What can be switched, what is on, and when a flag switches itself off. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from recyclic_backups.catalog.moments import from_text, to_text
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
    """One flag that somebody has set. ``failures`` counts runs in a row; ``tripped`` says why it went off by itself."""

    on: bool
    set_at: datetime
    failures: int = 0
    tripped: str = ""


@dataclass(frozen=True, slots=True)
class Flags:
    """All that was set; whatever was not is as its default."""

    switches: Mapping[str, Switch] = field(default_factory=dict)

    def is_on(self, feature: Feature) -> bool:
        """Whether the behaviour is wanted now."""
        switch = self.switches.get(feature.name)
        return feature.default if switch is None else switch.on

    def set(self, name: str, on: bool, now: datetime) -> Flags:
        """Switched by a person: what went wrong before is forgotten. Raises UsageError for an unknown flag."""
        return Flags({**self.switches, known(name).name: Switch(on, now)})

    def unset(self, name: str) -> Flags:
        """Back to the default. Raises UsageError for an unknown flag."""
        return Flags({each: switch for each, switch in self.switches.items() if each != known(name).name})

    def after_run(self, used: Collection[Feature], failure: str, now: datetime) -> Flags:
        """After a run in which these were on by somebody's wish; ``failure`` is empty when it went well.

        A default is not tripped: it is what the software does, and switching it off would be another experiment.
        """
        switches = dict(self.switches)
        for feature in used:
            switch = switches.get(feature.name)
            if switch is None or not switch.on or feature.default:
                continue
            failures = switch.failures + 1 if failure else 0
            if failures >= THRESHOLD:
                reason = f"{failures} runs in a row failed with it; the last: {failure}"
                switches[feature.name] = Switch(False, now, failures, reason)
            else:
                switches[feature.name] = replace(switch, failures=failures)
        return Flags(switches)

    @property
    def tripped(self) -> Mapping[str, Switch]:
        """Flags that switched themselves off and that nobody has looked at since."""
        return {name: switch for name, switch in self.switches.items() if switch.tripped}

    def to_json(self) -> dict[str, Any]:
        """The document, without its MAC."""
        return {
            "format": FORMAT,
            "flags": {
                name: {
                    "on": switch.on,
                    "set_at": to_text(switch.set_at),
                    "failures": switch.failures,
                    "tripped": switch.tripped,
                }
                for name, switch in sorted(self.switches.items())
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Flags:
        """Read a document; flags that this version does not know are left out. Raises DamagedData."""
        flags = document.get("flags")
        if document.get("format") != FORMAT or not isinstance(flags, Mapping):
            raise DamagedData("it does not say which flags are set")
        return cls({name: _switch(value) for name, value in flags.items() if name in FEATURES})


def known(name: str) -> Feature:
    """The feature of that name. Raises UsageError."""
    if name not in FEATURES:
        raise UsageError(f"there is no flag {name!r}", f"there are {', '.join(FEATURES)}")
    return FEATURES[name]


def _switch(value: object) -> Switch:
    if not isinstance(value, Mapping):
        raise DamagedData("a flag is set to nothing")
    on, failures, tripped = value.get("on"), value.get("failures"), value.get("tripped")
    if not isinstance(on, bool) or isinstance(failures, bool) or not isinstance(failures, int):
        raise DamagedData("a flag is neither on nor off")
    return Switch(on, from_text(value.get("set_at")), failures, str(tripped or ""))
