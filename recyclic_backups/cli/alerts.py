"""``alerts``: look at everything once, and tell people what changed. For cron and systemd, without Dagster."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from recyclic_backups.cli import render

if TYPE_CHECKING:
    from recyclic_backups.notify.facts import AlertTerms
    from recyclic_backups.notify.tick import Look

INTERVAL_SECONDS = 60


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "alerts",
        help="look for problems, and tell people of them by mail, Telegram or another channel",
        description="What Dagster's sensor of that name does, for cron and systemd. Each problem is told once, "
        "reminded of once a day, and told again when it is over (docs/alerts.md).",
    )
    command.add_argument(
        "--once", action="store_true", help="look once and end, as cron wants it; otherwise look each minute"
    )
    command.add_argument("--json", action="store_true", help="what is open and what was sent, as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Raises ConfigurationError, also when nobody would be told of anything."""
    from recyclic_backups import wiring
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import ConfigurationError
    from recyclic_backups.notify.tick import look

    settings = load_settings()
    if not wiring.channels(settings):
        raise ConfigurationError(
            "no channel is configured: nobody would be told of a problem",
            "set NOTIFICATION_EMAIL, NOTIFICATION_TELEGRAM_TOKEN or NOTIFICATION_URLS; see docs/alerts.md",
        )
    terms, local = wiring.alert_terms(settings), wiring.local_alert_state(settings)
    while True:
        done = look(
            terms,
            lambda create: wiring.open_repository(settings, create=create),
            clock=render.now,
            say=render.say,
            local=local,
        )
        _print(done, terms, as_json=options.json)
        if options.once:
            return 0
        time.sleep(INTERVAL_SECONDS)


def _print(done: Look, terms: AlertTerms, *, as_json: bool) -> None:
    from recyclic_backups.notify.tick import summary, to_json

    if as_json:
        render.print_json(to_json(done, terms))
    elif done.is_done:
        render.line(summary(done.state, terms))
    else:
        render.line("another look is under way: it tells people")
