"""``metrics``: how healthy the backups are, in figures, once or for whoever asks on a port."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import render

if TYPE_CHECKING:
    from recyclic_backups.config.settings import Settings
    from recyclic_backups.errors import BackupError
    from recyclic_backups.health.survey import Survey


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    command = commands.add_parser(
        "metrics",
        help="how healthy the backups are, in figures",
        description="Reads the storage; no key and no database is needed. Ends with 80 when health is unhealthy. "
        "For Prometheus a storage that is not there or does not answer is recyclic_backups_up 0. "
        "With --serve it stays and measures anew whenever Prometheus asks.",
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
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import BackupError, UsageError

    settings = load_settings()
    if options.serve is not None:
        if options.output is not None:
            raise UsageError("--serve answers on a port and --output writes a file", "choose one")
        return _serve(settings, options.host or "127.0.0.1", options.serve)
    if options.host is not None:
        raise UsageError("--host is for --serve", "add --serve PORT")
    if options.format == "json":
        found = look(settings)
    else:
        try:
            found = look(settings)
        except BackupError:
            from recyclic_backups.health.exposition import unanswered

            # A file that keeps what was measured last, or none, is no alarm for hours.
            _put(unanswered(), options.output)
            raise
    _put(_text(found, options.format), options.output)
    return exit_code(found)


def look(settings: Settings) -> Survey:
    """The survey of the configured storage. Raises StorageError where there is none, BackupError."""
    from recyclic_backups.health.survey import survey

    return survey(
        wiring.open_repository(settings, create=False), wiring.health_terms(settings), clock=render.now
    )


def exit_code(found: Survey) -> int:
    """80 when health is unhealthy."""
    from recyclic_backups.errors import VerdictNegative
    from recyclic_backups.health.finding import Status

    return VerdictNegative.exit_code if found.status is Status.UNHEALTHY else 0


def _text(found: Survey, wanted: str) -> str:
    if wanted == "prometheus":
        from recyclic_backups.health.exposition import to_prometheus

        return to_prometheus(found)
    return render.as_json(found.to_json())


def _put(text: str, output: Path | None) -> None:
    """Print it, or replace the file. Raises StorageError."""
    if output is None:
        render.print_text(text)
        return
    from recyclic_backups.report.publish import publish

    publish(output, text)


def _serve(settings: Settings, host: str, port: int) -> int:
    """Answer until somebody ends it. A storage that does not answer is told, and is tried again when asked again."""
    from prometheus_client import generate_latest

    from recyclic_backups.cli.metrics_server import serve
    from recyclic_backups.errors import Refused
    from recyclic_backups.health.exposition import registry_of

    told = ""

    def complain(error: BackupError) -> None:
        nonlocal told
        # Once for as long as it lasts: how often somebody asks is not what fills a log.
        if error.message != told:
            told = error.message
            render.say(f"error: {told}")

    def measured() -> Survey:
        nonlocal told
        found = look(settings)
        told = ""
        return found

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


def output_file(text: str) -> Path:
    """The file that an option names. Raises ArgumentTypeError for an empty name: Path takes it for this folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return Path(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"not a port: {text}")
    return int(text)
