"""``notify-test``: send a test through every configured channel, and say which took it."""

from __future__ import annotations

import argparse

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import ConfigurationError, VerdictNegative
from recyclic_backups.notify.message import trial_message
from recyclic_backups.notify.send import send


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Exit code 0 only if every channel took it; 10 when none is configured, 80 when any did not."
    )
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command. Raises ConfigurationError when nobody would be told of anything."""
    if not wiring.channels(call.settings):
        raise ConfigurationError(
            "no channel is configured: nobody would be told of a problem",
            "set NOTIFICATION_EMAIL, NOTIFICATION_TELEGRAM_TOKEN or NOTIFICATION_URLS; see docs/alerts.md",
        )
    frame = wiring.message_frame(call.settings)
    reasons: dict[str, str] = {}
    for channel in wiring.channels(call.settings):
        reason = send(channel, trial_message(channel.minimum, frame, render.now()))
        reasons[channel.name] = reason or ""
        if not call.json:  # each when it is known: a channel may take its time
            render.line(
                f"{'ok' if reason is None else 'FAILED':<7} {channel.name}{f': {reason}' if reason else ''}"
            )
    document = [
        {"channel": name, "delivered": not reason, "reason": reason} for name, reason in reasons.items()
    ]
    call.report({"channels": document}, lambda: None)
    return VerdictNegative.exit_code if any(reasons.values()) else 0
