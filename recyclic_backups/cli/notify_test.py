"""``notify-test``: send a test through every configured channel, and say which took it."""

from __future__ import annotations

import argparse
from typing import Any

from recyclic_backups import wiring
from recyclic_backups.cli import render


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "notify-test",
        help="send a test message through every configured channel",
        description="Exit code 0 only if every channel took it; 10 when none is configured, 80 when any did not.",
    )
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Raises ConfigurationError when nobody would be told of anything."""
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import ConfigurationError, VerdictNegative
    from recyclic_backups.notify.message import trial_message
    from recyclic_backups.notify.send import send

    settings = load_settings()
    if not wiring.channels(settings):
        raise ConfigurationError(
            "no channel is configured: nobody would be told of a problem",
            "set NOTIFICATION_EMAIL, NOTIFICATION_TELEGRAM_TOKEN or NOTIFICATION_URLS; see docs/alerts.md",
        )
    frame = wiring.message_frame(settings)
    reasons: dict[str, str | None] = {}
    for channel in wiring.channels(settings):
        reasons[channel.name] = send(channel, trial_message(channel.minimum, frame, render.now()))
        if not options.json:
            reason = reasons[channel.name]
            render.line(
                f"{'ok' if reason is None else 'FAILED':<7} {channel.name}{f': {reason}' if reason else ''}"
            )
    if options.json:
        render.print_json(
            [
                {"channel": name, "delivered": reason is None, "reason": reason or ""}
                for name, reason in reasons.items()
            ]
        )
    return 0 if not any(reasons.values()) else VerdictNegative.exit_code
