"""``metrics``: how healthy the backups are, in figures, once or for whoever asks on a port."""

from __future__ import annotations

import argparse

from prometheus_client import generate_latest

from recyclic_backups import wiring
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import output_file
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.cli.metrics_server import serve
from recyclic_backups.errors import BackupError, Refused, UsageError, VerdictNegative
from recyclic_backups.health.assess import survey
from recyclic_backups.health.exposition import registry_of, to_prometheus, unanswered
from recyclic_backups.health.finding import Status
from recyclic_backups.health.survey import Survey
from recyclic_backups.report.publish import publish


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    command.description = (
        "Reads the storage; no key and no database is needed. Ends with 80 when health is unhealthy. "
        "For Prometheus a storage that is not there or does not answer is recyclic_backups_up 0. "
        "With --serve it stays and measures anew whenever Prometheus asks."
    )
    command.add_argument("--format", choices=("json", "prometheus"), default="json")
    command.add_argument(
        "--output",
        metavar="FILE",
        type=output_file,
        help="replace this file whole, for node_exporter's collector",
    )
    command.add_argument("--serve", metavar="PORT", type=_port, help="answer Prometheus on this port")
    command.add_argument(
        "--host", metavar="ADDRESS", default=None, help="with --serve: listen there instead of on 127.0.0.1"
    )


def run(call: Invocation) -> int:
    """Run the command."""
    options = call.options
    options.json = options.format == "json" and options.output is None and options.serve is None
    if options.serve is not None:
        if options.output is not None:
            raise UsageError("--serve answers on a port and --output writes a file", "choose one")
        return _serve(call, options.host or "127.0.0.1", options.serve)
    if options.host is not None:
        raise UsageError("--host is for --serve", "add --serve PORT")
    try:
        found = _look(call)
    except BackupError:
        if options.format == "prometheus":
            # A file that keeps what was measured last, or none, is no alarm for hours.
            _put(call, unanswered())
        raise
    if options.format == "prometheus":
        _put(call, to_prometheus(found))
    elif options.output is not None:
        _put(call, render.as_json({"format": render.FORMAT, **found.to_json()}))
    else:
        call.document |= found.to_json()
    return VerdictNegative.exit_code if found.status is Status.UNHEALTHY else 0


def _look(call: Invocation) -> Survey:
    # Anew each time: a storage that is not there now may be there when somebody asks again.
    return survey(
        wiring.open_repository(call.settings, create=False),
        wiring.health_terms(call.settings),
        clock=render.now,
    )


def _put(call: Invocation, text: str) -> None:
    """Print it, or replace the file. Raises StorageError."""
    if call.options.output is None:
        render.print_text(text)
    else:
        publish(call.options.output, text)


def _serve(call: Invocation, host: str, port: int) -> int:
    """Answer until somebody ends it. A storage that does not answer is told, and is tried again when asked again."""
    told = ""

    def complain(error: BackupError) -> None:
        nonlocal told
        # Once for as long as it lasts: how often somebody asks is not what fills a log.
        if error.message != told:
            told = error.message
            render.warn(f"error: {told}")

    def measured() -> Survey:
        nonlocal told
        found = _look(call)
        told = ""
        return found

    call.settings  # noqa: B018 - wrong settings end the command, not the first answer
    registry = registry_of(measured, complain=complain)

    def ready(taken: int) -> None:
        named = f"[{host}]" if ":" in host else host
        render.say(f"answering on http://{named}:{taken}/metrics until it is ended")

    try:
        serve(lambda: generate_latest(registry), host, port, ready=ready)
    except OSError as error:
        raise Refused(
            f"nothing can listen on {host}:{port}: {error.strerror or error}", "choose another --serve PORT"
        ) from None
    return 0


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port: {text}")
    return int(text)
