"""Whose code a backup brings, as its fingerprint knows it: to be said before it is restored. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from recyclic_backups.fingerprint.model import Fingerprint

_MOST_NAMED = 5
_KINDS = (
    ("TRIGGER ", "trigger", "triggers"),
    ("RULE ", "rule", "rules"),
    ("POLICY ", "policy", "policies"),
    ("EVENT TRIGGER ", "event trigger", "event triggers"),
)


def owned_code(fingerprint: Fingerprint | None, *, trusted: bool) -> Sequence[str]:
    """Sentences for a plan; empty if the backup brings no code of anybody's.

    ``trusted`` is ``--trust-owners``: then what is said is who is given the rights of a superuser.
    """
    if fingerprint is None:
        return ["the backup does not say whose code it brings (it has no fingerprint)"]
    functions = Counter(
        _owner_in(value) for name, value in fingerprint.listing.items() if name.startswith("FUNCTION ")
    )
    if not functions and not any(_count(fingerprint.listing, kind) for kind, _, _ in _KINDS):
        return []
    superusers = {name for name, role in fingerprint.roles.items() if "superuser" in role.attributes}
    others = {owner: number for owner, number in functions.items() if owner not in superusers}
    theirs = sum(number for owner, number in functions.items() if owner in superusers)
    counted = [
        f"{number} {one if number == 1 else many}"
        for kind, one, many in _KINDS
        if (number := _count(fingerprint.listing, kind))
    ]
    lines = [f"functions: {_named(others, theirs)}" + (f"; {', '.join(counted)}" if counted else "")]
    if others and trusted:
        lines.append("--trust-owners: while it is restored, they may run as the superuser who restores")
    elif others:
        lines.append("while it is restored, they run with their owners' rights alone")
    if others:
        lines.append(
            "afterwards whoever writes into these tables runs them as himself, a superuser as superuser"
        )
    return lines


def _named(others: Mapping[str, int], theirs: int) -> str:
    most = sorted(others.items(), key=lambda each: (-each[1], each[0]))
    shown = [f"{number} of {owner!r}" for owner, number in most[:_MOST_NAMED]]
    if len(most) > _MOST_NAMED:
        shown.append(f"{sum(number for _, number in most[_MOST_NAMED:])} of {len(most) - _MOST_NAMED} others")
    shown += [f"{theirs} of superusers"] if theirs else []
    return ", ".join(shown) or "none"


def _count(listing: Mapping[str, str], kind: str) -> int:
    return sum(1 for name in listing if name.startswith(kind))


def _owner_in(value: str) -> str:
    """The owner in an entry of a listing: what stands after the hash."""
    return value.partition(" ")[2]
