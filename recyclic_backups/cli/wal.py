"""``wal receive``, ``wal status``, ``wal fetch`` and ``wal accept``: the archive of the server's WAL."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from recyclic_backups import wiring
from recyclic_backups.archive.accept import accept_timeline, accept_without_proof
from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.documents import read_position
from recyclic_backups.archive.receive import Receiver
from recyclic_backups.archive.status import WalStatus, wal_status, which_server
from recyclic_backups.archive.wal import SEGMENT_NAME
from recyclic_backups.base_backup.back_up import back_up_server
from recyclic_backups.base_backup.first import FirstBase
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json, output_file, positive
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import (
    ArchiveError,
    DamagedData,
    DatabaseError,
    NoUsableKey,
    RecoveryError,
    Refused,
    UsageError,
)
from recyclic_backups.postgres.lsn import lsn_of, lsn_text
from recyclic_backups.postgres.slots import ServerWal, look_at
from recyclic_backups.quantities import human_bytes, human_seconds
from recyclic_backups.recovery.survey import Survey, survey

_HISTORY_NAME = re.compile(r"([0-9A-F]{8})\.history")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    verbs = command.add_subparsers(dest="verb", metavar="VERB", required=True)
    receive = verbs.add_parser("receive", help="receive WAL and store it until told to stop: a service")
    receive.set_defaults(run=run_receive)
    status = verbs.add_parser("status", help="up to when the WAL reaches, its holes, what the server keeps")
    _add_server(status)
    add_json(status)
    status.set_defaults(run=run_status)
    fetch = verbs.add_parser("fetch", help="write one segment, or the history of a timeline, to a file")
    fetch.add_argument("segment", metavar="SEGMENT", help="its file name: 000000010000000000000003")
    fetch.add_argument(
        "--output", type=output_file, metavar="FILE", help="where to write it (default: standard output)"
    )
    _add_server(fetch)
    fetch.set_defaults(run=run_fetch)
    accept = verbs.add_parser(
        "accept", help="say that a server is production which the receiver refuses: it says what to type"
    )
    what = accept.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--without-proof",
        action="store_true",
        help="it need not prove itself any more: pg_hba.conf or the way to it was changed on purpose",
    )
    what.add_argument(
        "--timeline",
        type=positive,
        metavar="N",
        help="follow this timeline: production was brought back to an earlier moment",
    )
    accept.add_argument(
        "--left", metavar="N@LSN", type=_left, help="with --timeline: which one it left, and where"
    )
    accept.add_argument("--yes", action="store_true", help="do it, instead of showing what it means")
    _add_server(accept)
    accept.set_defaults(run=run_accept)


def _add_server(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--server", metavar="ID", help="its system identifier, where the storage has WAL of several servers"
    )


def run_receive(call: Invocation) -> int:
    """Run ``wal receive``: until SIGTERM or SIGINT, after which the end of the WAL is stored and confirmed."""
    stopping = threading.Event()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    call.warn_of_plaintext()
    if not call.settings.wal_archive:
        render.warn("WAL_ARCHIVE is not true: nobody looks whether this goes on, and no base backup is taken")
    settings, repository, begun_at = call.settings, call.new_repository, render.now()

    def say(sentence: str) -> None:
        render.warn(f"{call.local_time(render.now())}  {sentence}")

    first = FirstBase(
        lambda: WalArchive(repository, look_at(settings.server, settings.wal_slot).system_identifier),
        lambda: back_up_server(
            settings.server,
            repository,
            "full",
            wiring.base_backup_terms(settings),
            clock=render.now,
            enough_since=begun_at,  # somebody may have typed base-backup meanwhile
        ),
        say,
        render.now,
    )
    receiver = Receiver(
        settings.server,
        repository,
        wiring.receive_terms(settings),
        clock=render.now,
        say=say,
        on_gap=lambda _: first.look_now(),
    )
    if settings.wal_archive:
        first.start()
    try:
        receiver.run(stopping)
    finally:
        first.end()
    return 0


def run_status(call: Invocation) -> int:
    """Run ``wal status``: 50 where WAL is missing in between, 40 where something of it cannot be believed."""
    archive, server = _archive(call)
    now = render.now()
    found = survey(call.repository, archive.system_identifier, now=now)
    status = _with_hidden(found, wal_status(archive, server, found.listing))
    call.report(status.to_json(now), lambda: _print_status(call, status))
    if status.damage:
        return 40
    return ArchiveError.exit_code if status.live_holes else 0


def _with_hidden(found: Survey, status: WalStatus) -> WalStatus:
    """With the WAL that the newest base backup needs and that is missing, where no name shows a hole."""
    with suppress(
        DamagedData, NoUsableKey, RecoveryError
    ):  # without base backups there is nothing to need it
        hidden = found.hidden_hole(found.windows())
        if hidden is not None and not status.live_holes:
            return replace(status, holes=(*status.holes, hidden), lineage=(*status.lineage, hidden.timeline))
    return status


def run_fetch(call: Invocation) -> int:
    """Run ``wal fetch``. Raises RecoveryError (60) where the archive does not have it."""
    name: str = call.options.segment
    history = _HISTORY_NAME.fullmatch(name)
    if not history and not SEGMENT_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no segment of WAL", "a segment is called like 000000010000000000000003"
        )
    archive, _ = _archive(call, ask=False)
    listing = archive.listing()
    if history:
        timeline = int(history[1], 16)
        content = archive.read_history(listing, timeline) if timeline in listing.histories else b""
    else:
        position = read_position(archive)
        if position is None:
            raise RecoveryError(
                "nobody ever said how far the archive reaches: there is no position.json in it"
            )
        archive = archive.of(position.archive_id)
        content = archive.read_segment(listing, name, position.segment_bytes)
        if content:
            content += bytes(position.segment_bytes - len(content))  # as PostgreSQL wants it
    if not content:
        raise RecoveryError(f"the archive has no {name}", "see: recyclic-backups wal status")
    _write(call.options.output, content)
    return 0


def run_accept(call: Invocation) -> int:
    """Run ``wal accept``. Raises Refused without --yes, and where there is nothing to accept."""
    options = call.options
    if (options.left is None) != (options.timeline is None):
        raise UsageError("--timeline and --left belong together", "type what the receiver says")
    archive = WalArchive(call.repository, which_server(call.repository, options.server, None))
    if options.without_proof:
        meaning = (
            f"whoever answers as {call.settings.server.label} is taken for the server {archive.system_identifier}, and "
            "may write into its archive, until it proves itself again"
        )
    else:
        timeline, lsn = options.left
        meaning = (
            f"the archive of server {archive.system_identifier} goes on along timeline {options.timeline}, and "
            f"recoveries follow that; what is stored of timeline {timeline} after {lsn_text(lsn)} stays, for recover "
            f"--timeline {timeline}"
        )
    if not options.yes:
        raise Refused(f"nothing was done: add --yes, and {meaning}")
    if options.without_proof:
        accept_without_proof(archive, render.now())
    else:
        accept_timeline(archive, options.timeline, timeline, lsn, render.now())
    render.line(f"accepted: {meaning}")
    return 0


def _left(text: str) -> tuple[int, int]:
    timeline, _, lsn = text.partition("@")
    try:
        return positive(timeline), lsn_of(lsn)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no timeline and position, such as 1@0/5000060"
        ) from None


def _archive(call: Invocation, *, ask: bool = True) -> tuple[WalArchive, ServerWal | None]:
    """The archive that is meant; and what the server says, where it answers."""
    server: ServerWal | None = None
    if ask or call.options.server is None:
        try:
            server = look_at(call.settings.server, call.settings.wal_slot)
        except DatabaseError as error:
            render.warn(f"not asked what the server keeps: {error.message}")
    chosen = which_server(call.repository, call.options.server, server)
    same = server is not None and server.system_identifier == chosen
    return WalArchive(call.repository, chosen), server if same else None


def _print_status(call: Invocation, status: WalStatus) -> None:
    render.entry("server", f"system {status.system_identifier}")
    if status.position is None:
        render.entry("reaches", "nobody ever said how far: no receiver has been at work")
    else:
        age = human_seconds(status.age_seconds(render.now()) or 0.0)
        render.entry(
            "reaches",
            f"{call.local_time(status.position.server_time)}, {age} ago: {lsn_text(status.position.lsn)} "
            f"on timeline {status.position.timeline}",
        )
    for each in status.stretches:
        render.entry(
            "whole", f"timeline {each.timeline}: {lsn_text(each.start_lsn)} to {lsn_text(each.end_lsn)}"
        )
    for hole in status.live_holes:
        render.entry(
            "GAP",
            f"timeline {hole.timeline}: {lsn_text(hole.from_lsn)} to {lsn_text(hole.to_lsn)} is missing",
        )
    for gap in status.gaps:
        render.entry("lost", f"noticed {call.local_time(gap.noticed_at)}: {gap.reason}")
    render.entry("stored", human_bytes(status.stored_bytes))
    if status.server is not None:
        slot = status.server.slot
        if slot is None:
            render.entry("slot", f"{call.settings.wal_slot} is not there: start the receiver")
        else:
            limit = (
                "without a limit"
                if slot.left_bytes is None
                else f"{human_bytes(slot.left_bytes)} more at most"
            )
            render.entry(
                "slot",
                f"{call.settings.wal_slot}, {'in use' if slot.active else 'NOBODY RECEIVES'}, {slot.wal_status}; "
                f"the server keeps {human_bytes(slot.held_bytes)} for it, {limit}",
            )
    if status.damage:
        render.warn(f"damaged: {status.damage}")


def _write(output: Path | None, content: bytes) -> None:
    if output is None:
        if sys.stdout.isatty():
            raise UsageError("a segment is not for a terminal", "give --output FILE")
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.open(output, flags, 0o600)
    except OSError as error:
        raise Refused(
            f"cannot write {output}: {error.strerror}", "name a file that is not there yet"
        ) from None
    with open(opened, "wb") as file:
        file.write(content)
