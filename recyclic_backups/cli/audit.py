"""``audit show``, ``audit verify`` and ``audit accept``.

Who did what, whether the log of it is what was written, and the word of a person that an older state of the storage
was put back on purpose.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from recyclic_backups.audit.event import ACTIONS, OUTCOMES, Event, Head
from recyclic_backups.audit.examine import examine
from recyclic_backups.audit.log import append, read_head, read_log
from recyclic_backups.backup_calendar import Calendar, Tier
from recyclic_backups.catalog.authenticity import Judge
from recyclic_backups.catalog.catalog import LATEST
from recyclic_backups.catalog.layout import BACKUP_ID
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_backup, add_json, day, given
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.errors import DamagedData, RecoveryError, Refused, UsageError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="the events, oldest first")
    show.add_argument("--since", type=day, metavar="DATE", help="from this day on (of BACKUP_TIMEZONE)")
    show.add_argument("--until", type=day, metavar="DATE", help="up to and including this day")
    show.add_argument(
        "--action", dest="what", metavar="ACTION", help="backup, restore, verify, drill, expire …"
    )
    add_backup(show, option=True, default="all, expired ones too")
    show.add_argument("--user", type=given, metavar="NAME", help="by this user")
    show.add_argument("--outcome", metavar="OUTCOME", help="done, failed …")
    add_json(show)
    show.set_defaults(run=run_show)
    verify = actions.add_parser("verify", help="whether an event was edited, dropped, reordered or cut off")
    verify.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NUMBER:SHA256",
        help="an event that must be there, noted down elsewhere (metrics and Dagster show the newest); repeatable",
    )
    add_json(verify)
    verify.set_defaults(run=run_verify)
    accept = actions.add_parser(
        "accept",
        help="say that an older state of the storage was put back on purpose, and alerts are to go on from it",
    )
    accept.add_argument(
        "--head",
        required=True,
        metavar="NUMBER:SHA256",
        help="the event that is given up, as the alert names it",
    )
    accept.add_argument("--reason", type=given, metavar="TEXT", help="why, for the log")
    accept.set_defaults(run=run_accept)


def run_show(call: Invocation) -> int:
    """Run ``audit show``. Raises UsageError for what no event can be: an empty list would look like an answer.

    Raises RecoveryError (60) for a backup that neither the log nor the storage knows.
    """
    options = call.options
    if options.since and options.until and options.since > options.until:
        raise UsageError(
            f"no day is both from {options.since} on and up to {options.until}", "--since is the earlier one"
        )
    log = read_log(call.repository)
    for stored in log:
        if stored.event is None:
            render.warn(f"damaged: {stored.name}: {stored.problem}")
    judge = Judge(call.repository)
    judged = [
        (stored.event, judge.verdict(stored.document, stored.name))
        for stored in log
        if stored.event is not None
    ]
    every = [event for event, _ in judged]
    _require("action", options.what, {*ACTIONS, *(event.action for event in every)})
    _require("outcome", options.outcome, {*OUTCOMES, *(event.outcome for event in every)})
    beginning = None if options.backup is None and options.at is None else _beginning(call, every)
    shown = [each for each in judged if _is_wanted(each[0], options, beginning, call.settings.calendar)]
    doubted = sum(not belief.is_vouched_for for _, belief in shown)
    if doubted:
        render.warn(
            f"{doubted} of these events carry no MAC that could be checked and is right: anybody who can write to the "
            "storage may have written them; see: recyclic-backups audit verify"
        )
    known = {Standing.SIGNED: True, Standing.CHECKSUM: True, Standing.NOT_CHECKED: None}
    document = [{**event.to_json(), "authentic": known.get(belief, False)} for event, belief in shown]
    call.report({"events": document}, lambda: _print(call, judged, shown))
    return 0


def _print(
    call: Invocation, judged: Sequence[tuple[Event, Standing]], shown: Sequence[tuple[Event, Standing]]
) -> None:
    # What nobody vouches for changes nothing about what is said of the others.
    believed = _changes([event for event, belief in judged if belief.is_vouched_for])
    others = _changes([event for event, belief in judged if not belief.is_vouched_for])
    rows = [
        (
            call.local_time(event.happened_at),
            event.action,
            event.outcome,
            event.backup_id or "-",
            f"{event.actor.user}@{event.actor.host}",
            event.actor.via + (f" from {event.actor.address}" if event.actor.address else ""),
            believed.get(event.file_name) or _remark(event)
            if belief.is_vouched_for
            else f"[{belief.value}] {others.get(event.file_name) or _remark(event)}",
        )
        for event, belief in shown
    ]
    render.print_table(("WHEN", "WHAT", "OUTCOME", "BACKUP", "WHO", "THROUGH", ""), rows)


def run_verify(call: Invocation) -> int:
    """Run ``audit verify``."""
    heads = {
        f"the manifest of {backup.backup_id}": head
        for backup in call.catalog
        if (head := Head.in_manifest(backup.manifest.audit_head)) is not None
    }
    heads |= {f"--head {text}": _head(text) for text in call.options.head}
    log = read_log(call.repository)
    problems, notes = examine(call.repository, heads)
    until = max((head.number for head in heads.values()), default=0)

    def prose() -> None:
        for problem in problems:
            render.line(f"damaged: {problem}")
        for note in notes:
            render.line(f"note: {note}")
        render.line(f"{len(log)} events; {len(heads)} others remember the log, up to event {until}")
        head = read_head(call.repository)
        if head is not None:
            render.line(f"the newest event, to be noted elsewhere: --head {head}")
        whole = f"whole: nothing edited, dropped or reordered; up to event {until} nothing cut off"
        render.line("NOT what was written" if problems else whole)

    document = {"events": len(log), "remembered_until": until, "whole": not problems}
    call.report({**document, "problems": problems, "notes": notes}, prose)
    return DamagedData.exit_code if problems else 0


def run_accept(call: Invocation) -> int:
    """Run ``audit accept``. Raises UsageError, NoUsableKey where the word could not be signed, Refused, StorageError.

    Where nothing asks for MACs anybody could have written the event: there it would prove nothing, and is refused.
    """
    head = _head(call.options.head)
    if not call.repository.asks_for_macs:
        raise Refused(
            "nothing in this storage is signed: anybody could have said that",
            "reset the cursor of Dagster's sensor `alerts` instead (docs/alerts.md)",
        )
    call.repository.keyring.writer()  # without a key append() would go on, and write what nobody believes
    reason = call.options.reason
    details = {"head": str(head), **({"reason": reason} if reason else {})}
    written = append(call.repository, "accept", "done", render.now(), details=details)
    render.line(f"event {head.number} is given up; the log goes on from event {written.number}")
    return 0


def _head(text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError as error:
        raise UsageError(f"--head {text!r}: {error}", 'as in "audit_head" of metrics --format json') from None


def _require(name: str, wanted: str | None, known: set[str]) -> None:
    """Raises UsageError for what no event of this version has, and none in the log either."""

    if wanted is not None and wanted not in known:
        raise UsageError(f"no event has the {name} {wanted!r}", f"there are {', '.join(sorted(known))}")


def _beginning(call: Invocation, every: Sequence[Event]) -> str:
    """What the ids of the wanted backups begin with, as ids are written.

    Of a backup that expired long ago only the log knows. Raises UsageError for what no id begins with, RecoveryError
    when nobody knows one that begins so.
    """
    wanted: str | None = call.options.backup
    if wanted == "":  # an empty variable of a shell must not choose every event
        raise UsageError("--backup is empty", "name a backup, or leave the option out")
    if wanted is None or wanted == LATEST or "/" in wanted:
        return call.find().backup_id
    beginning = wanted.upper()
    if not BACKUP_ID.fullmatch(beginning + "00000000T000000Z-AAAAAA"[len(beginning) :]):
        raise UsageError(
            f"no id of a backup begins with {wanted!r}",
            "one is written as 20261122T010003Z-K3X7QA, or latest",
        )
    if not any((event.backup_id or "").startswith(beginning) for event in every):
        found = call.catalog  # of one older than the log nothing is told, and that is an answer
        if not any(each.startswith(beginning) for each in {*found.tombstones, *(b.backup_id for b in found)}):
            raise RecoveryError(
                f"neither the log nor the storage knows a backup {wanted}", "see: recyclic-backups audit show"
            )
    return beginning


def _is_wanted(event: Event, options: argparse.Namespace, beginning: str | None, calendar: Calendar) -> bool:
    return (
        (options.since is None or _day_of(event, calendar) >= options.since.isoformat())
        and (options.until is None or _day_of(event, calendar) <= options.until.isoformat())
        and (options.what is None or event.action == options.what)
        and (beginning is None or (event.backup_id or "").startswith(beginning))
        and (options.user is None or event.actor.user == options.user)
        and (options.outcome is None or event.outcome == options.outcome)
    )


def _day_of(event: Event, calendar: Calendar) -> str:
    """The day that the table shows: the one on the clock where the backups are taken."""

    return calendar.partition_of(Tier.DAILY, event.happened_at)


def _remark(event: Event) -> str:
    """What of the details a person asks first."""
    details = event.details
    if event.action == "flag" and details.get("flag"):
        on = details.get("on")
        state = "as its default" if on is None else "on" if on else "off"
        reason = f": {details['reason']}" if details.get("reason") else ""
        return f"{details['flag']} {state}{reason}"
    for name in ("error", "reason", "file", "into", "scenario", "partition", "level"):
        if details.get(name):
            return str(details[name])
    return "; ".join(map(str, details["reasons"])) if isinstance(details.get("reasons"), list) else ""


def _changes(every: Sequence[Event]) -> dict[str, str]:
    """What each recorded configuration changed, by the event's file; of a machine's first one, how many settings."""
    known: dict[str, Mapping[str, object]] = {}
    told: dict[str, str] = {}
    for event in every:
        settings = event.details.get("settings")
        if event.action != "configuration" or not isinstance(settings, Mapping):
            continue
        before = known.get(event.actor.host)
        if before is None:
            told[event.file_name] = f"{len(settings)} settings, recorded for the first time"
        else:
            names = sorted(
                name for name in {*before, *settings} if before.get(name, "") != settings.get(name, "")
            )
            told[event.file_name] = (
                ", ".join(f"{name}={settings.get(name, '')}" for name in names) or "as before"
            )
        known[event.actor.host] = settings
    return told
