"""``flags list``, ``flags set`` and ``flags unset``: switch new behaviours on and off at once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from recyclic_backups.cli import render

if TYPE_CHECKING:
    from recyclic_backups.errors import BackupError
    from recyclic_backups.flags.flags import Flags


def add_to(commands: Any) -> None:
    """Add the commands to the command line."""
    group = commands.add_parser("flags", help="switch new behaviours on and off, from the next run on")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what can be switched, and what is on")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_list)
    setting = actions.add_parser("set", help="switch a flag on or off")
    setting.add_argument("flag", metavar="FLAG")
    setting.add_argument("value", metavar="VALUE", choices=("on", "off"))
    setting.set_defaults(run=run_set)
    unset = actions.add_parser("unset", help="give a flag back its default")
    unset.add_argument("flag", metavar="FLAG")
    unset.set_defaults(run=run_unset)


def run_list(options: argparse.Namespace) -> int:
    """Run ``flags list``. Flags that cannot be read are as their defaults: raises, after the list, why they are."""
    from recyclic_backups.configuration import load_settings
    from recyclic_backups.errors import DamagedData, NoUsableKey
    from recyclic_backups.flags.flags import Flags
    from recyclic_backups.flags.store import load_flags

    flags = Flags()
    problem: BackupError | None = None
    try:
        flags = load_flags(load_settings().open_repository(create=False))
    except NoUsableKey as unreadable:
        problem = unreadable
    _print(flags, as_json=options.json)
    if flags.damaged:
        problem = DamagedData(
            "; ".join(flags.damaged.values()),
            f"set it anew: recyclic-backups flags set {next(iter(flags.damaged))} on",
        )
    if problem is not None:
        problem.add_note("until then what cannot be read is as its default")
        raise problem
    return 0


def _print(flags: Flags, *, as_json: bool) -> None:
    from recyclic_backups.flags.flags import FEATURES

    documents = [
        {
            "flag": feature.name,
            "on": flags.is_on(feature),
            "default": feature.default,
            "set": feature.name in flags.switches,
            "failures": 0,  # of older releases, which counted them
            "switched_off_because": flags.switches[feature.name].tripped
            if feature.name in flags.switches
            else "",
            "description": feature.description,
        }
        for feature in FEATURES.values()
    ]
    if as_json:
        render.print_json(documents)
        return
    rows = [
        (
            str(each["flag"]),
            "on" if each["on"] else "off",
            "on" if each["default"] else "off",
            str(each["description"]),
        )
        for each in documents
    ]
    render.print_table(("FLAG", "NOW", "DEFAULT", ""), rows)
    for name, switch in flags.tripped.items():
        render.line(f"{name} was switched off by an older release: {switch.tripped}")


def run_set(options: argparse.Namespace) -> int:
    """Run ``flags set``."""
    return _switch(options.flag, on=options.value == "on")


def run_unset(options: argparse.Namespace) -> int:
    """Run ``flags unset``."""
    return _switch(options.flag, on=None)


def _switch(name: str, *, on: bool | None) -> int:
    from recyclic_backups.configuration import load_settings
    from recyclic_backups.flags.flags import known
    from recyclic_backups.flags.store import switch

    feature = known(name)
    flags = switch(load_settings().open_repository(create=False), name, on, render.now())
    render.line(f"{name} is {'on' if flags.is_on(feature) else 'off'} from the next run on")
    return 0
