"""``alerts``: look at everything, and tell people what changed. For cron and systemd, without Dagster."""

from __future__ import annotations

import argparse
import time

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import ConfigurationError, UsageError
from recyclic_backups.notify.heartbeat import sound_alarm
from recyclic_backups.notify.tick import look, summary, to_json

INTERVAL_SECONDS = 60


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "What Dagster's sensor of that name does, for cron and systemd. Each problem is told once, reminded of once a "
        "day, and told again when it is over (docs/alerts.md)."
    )
    command.add_argument(
        "--once", action="store_true", help="look once and end, as cron wants it; otherwise look each minute"
    )
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command. Raises ConfigurationError when nobody would be told of anything."""
    if call.json and not call.options.once:
        raise UsageError("--json goes with --once", "type: recyclic-backups alerts --once --json")
    terms, local = wiring.alert_terms(call.settings), wiring.local_alert_state(call.settings)
    if not terms.channels:
        raise ConfigurationError(
            "no channel is configured: nobody would be told of a problem",
            "set NOTIFICATION_EMAIL, NOTIFICATION_TELEGRAM_TOKEN or NOTIFICATION_URLS; see docs/alerts.md",
        )
    if local is None:
        raise ConfigurationError(
            "there is no directory to remember what was told: it would be told again at each look",
            "set HOME, or STATE_DIRECTORY to a directory of your own",
        )
    while True:
        done = look(
            terms,
            lambda create: wiring.open_repository(call.settings, create=create),
            clock=render.now,
            say=render.say,
            warn=render.warn,
            local=local,
            alarm=lambda: sound_alarm(call.settings.heartbeat_url, render.warn),
        )
        said = summary(done.state, terms) if done.is_done else "another look is under way: it tells people"
        call.report(to_json(done, terms), lambda said=said: render.line(said))  # type: ignore[misc]
        if call.options.once:
            return 0
        time.sleep(INTERVAL_SECONDS)
