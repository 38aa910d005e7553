"""``flags list``, ``flags set`` and ``flags unset``: switch new behaviours on and off at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import BackupError, DamagedData, NoUsableKey
from recyclic_backups.flags.flags import FEATURES, Flags, known
from recyclic_backups.flags.store import load_flags, switch


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what can be switched, and what is on")
    add_json(listing)
    listing.set_defaults(run=run_list)
    setting = actions.add_parser("set", help="switch a flag on or off")
    setting.add_argument("flag", metavar="FLAG")
    setting.add_argument("value", metavar="VALUE", choices=("on", "off"))
    setting.set_defaults(run=lambda call: _switch(call, on=call.options.value == "on"))
    unset = actions.add_parser("unset", help="give a flag back its default")
    unset.add_argument("flag", metavar="FLAG")
    unset.set_defaults(run=lambda call: _switch(call, on=None))


def run_list(call: Invocation) -> int:
    """Run ``flags list``. Flags that cannot be read are as their defaults: raises, after the list, why they are."""
    flags = Flags()
    problem: BackupError | None = None
    try:
        flags = load_flags(call.repository)
    except NoUsableKey as unreadable:
        problem = unreadable
    documents = [_document(flags, name) for name in FEATURES]
    call.report({"flags": documents}, lambda: _print(flags, documents))
    if flags.damaged:
        problem = DamagedData(
            "; ".join(flags.damaged.values()),
            f"set it anew: recyclic-backups flags set {next(iter(flags.damaged))} on",
        )
    if problem is not None:
        problem.add_note("until then what cannot be read is as its default")
        raise problem
    return 0


def _document(flags: Flags, name: str) -> dict[str, Any]:
    feature, switched = FEATURES[name], flags.switches.get(name)
    return {
        "flag": name,
        "on": flags.is_on(feature),
        "default": feature.default,
        "set": switched is not None,
        "failures": 0,  # of older releases, which counted them
        "switched_off_because": "" if switched is None else switched.tripped,
        "description": feature.description,
    }


def _print(flags: Flags, documents: Sequence[dict[str, Any]]) -> None:
    words = {True: "on", False: "off"}
    render.print_table(
        ("FLAG", "NOW", "DEFAULT", ""),
        [
            (each["flag"], words[each["on"]], words[each["default"]], each["description"])
            for each in documents
        ],
    )
    for name, switched in flags.tripped.items():
        render.line(f"{name} switched itself off: {switched.tripped}")


def _switch(call: Invocation, *, on: bool | None) -> int:
    name: str = call.options.flag
    feature = known(name)
    flags = switch(call.repository, name, on, render.now())
    render.line(f"{name} is {'on' if flags.is_on(feature) else 'off'} from the next run on")
    return 0
