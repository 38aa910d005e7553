"""``audit show``, ``audit verify`` and ``audit accept``.

Who did what, whether the log of it is what was written, and the word of a person that an older state of the storage
was put back on purpose.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from recyclic_backups import wiring
from recyclic_backups.cli import catalog, render

if TYPE_CHECKING:
    from recyclic_backups.audit.event import Event, Head
    from recyclic_backups.audit.log import Stored
    from recyclic_backups.backup_calendar import Calendar
    from recyclic_backups.config.settings import Settings


def add_to(commands: Any) -> None:
    """Add the commands to the command line."""
    group = commands.add_parser("audit", help="who did what to which backup, and when")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="the events, oldest first")
    show.add_argument("--since", type=_day, metavar="DATE", help="from this day on (of BACKUP_TIMEZONE)")
    show.add_argument("--until", type=_day, metavar="DATE", help="up to and including this day")
    show.add_argument(
        "--action", dest="what", metavar="ACTION", help="backup, restore, verify, drill, expire …"
    )
    show.add_argument(
        "--backup",
        type=_given,
        metavar="ID",
        help="of this backup (or latest), or of those whose id begins so; expired ones too",
    )
    show.add_argument("--user", type=_given, metavar="NAME", help="by this user")
    show.add_argument("--outcome", metavar="OUTCOME", help="done, failed …")
    show.add_argument("--json", action="store_true")
    show.set_defaults(run=run_show)
    verify = actions.add_parser("verify", help="whether an event was edited, dropped, reordered or cut off")
    verify.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="NUMBER:SHA256",
        help="an event that must be there, noted down elsewhere (metrics and Dagster show the newest); repeatable",
    )
    verify.add_argument("--json", action="store_true")
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
    accept.add_argument("--reason", type=_given, metavar="TEXT", help="why, for the log")
    accept.set_defaults(run=run_accept)


def run_show(options: argparse.Namespace) -> int:
    """Run ``audit show``. Raises UsageError for what no event can be: an empty list would look like an answer.

    Raises RecoveryError (60) for a backup that neither the log nor the storage knows.
    """
    from recyclic_backups.audit.belief import Belief, Judge
    from recyclic_backups.audit.event import ACTIONS, OUTCOMES
    from recyclic_backups.audit.log import read_log
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import UsageError

    if options.since and options.until and options.since > options.until:
        raise UsageError(
            f"no day is both from {options.since} on and up to {options.until}", "--since is the earlier one"
        )
    settings = load_settings()
    repository = wiring.open_repository(settings, create=False)
    log = read_log(repository)
    for stored in log:
        if stored.event is None:
            render.say(f"damaged: {stored.name}: {stored.problem}")
    judge = Judge(repository)
    judged = [
        (stored.event, judge.of(stored.document, stored.name)) for stored in log if stored.event is not None
    ]
    every = [event for event, _ in judged]
    _require("action", options.what, {*ACTIONS, *(event.action for event in every)})
    _require("outcome", options.outcome, {*OUTCOMES, *(event.outcome for event in every)})
    beginning = None if options.backup is None else _beginning(options.backup, every, settings)
    shown = [each for each in judged if _is_wanted(each[0], options, beginning, settings.calendar)]
    doubted = sum(belief is not Belief.BELIEVED for _, belief in shown)
    if doubted:
        render.say(
            f"{doubted} of these events carry no MAC that could be checked and is right: anybody who can write to the "
            "storage may have written them; see: recyclic-backups audit verify"
        )
    if options.json:
        known = {Belief.BELIEVED: True, Belief.UNCHECKED: None}
        render.print_json(
            [{**event.to_json(), "authentic": known.get(belief, False)} for event, belief in shown]
        )
        return 0
    zone = settings.calendar.timezone
    # What nobody vouches for changes nothing about what is said of the others.
    believed = _changes([event for event, belief in judged if belief is Belief.BELIEVED])
    others = _changes([event for event, belief in judged if belief is not Belief.BELIEVED])
    rows = [
        (
            render.local_time(event.happened_at, zone),
            event.action,
            event.outcome,
            event.backup_id or "-",
            f"{event.actor.user}@{event.actor.host}",
            event.actor.via + (f" from {event.actor.address}" if event.actor.address else ""),
            believed.get(event.file_name) or _remark(event)
            if belief is Belief.BELIEVED
            else f"[{belief.value}] {others.get(event.file_name) or _remark(event)}",
        )
        for event, belief in shown
    ]
    render.print_table(("WHEN", "WHAT", "OUTCOME", "BACKUP", "WHO", "THROUGH", ""), rows)
    return 0


def run_verify(options: argparse.Namespace) -> int:
    """Run ``audit verify``."""
    from recyclic_backups.audit.event import Head
    from recyclic_backups.audit.examine import examine
    from recyclic_backups.audit.log import read_head, read_log
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import DamagedData

    settings = load_settings()
    repository = wiring.open_repository(settings, create=False)
    heads = {
        f"the manifest of {backup.backup_id}": head
        for backup in catalog.load(settings)
        if (head := Head.from_json(backup.manifest.audit_head)) is not None
    }
    heads |= {f"--head {text}": _head(text) for text in options.head}
    log: list[Stored] = read_log(repository)
    problems, notes = examine(repository, heads)
    until = max((head.number for head in heads.values()), default=0)
    if options.json:
        report = {"events": len(log), "remembered_until": until}
        render.print_json({**report, "whole": not problems, "problems": problems, "notes": notes})
    else:
        for problem in problems:
            render.line(f"damaged: {problem}")
        for note in notes:
            render.line(f"note: {note}")
        render.line(f"{len(log)} events; {len(heads)} others remember the log, up to event {until}")
        head = read_head(repository)
        if head is not None:
            render.line(f"the newest event, to be noted elsewhere: --head {head}")
        whole = f"whole: nothing edited, dropped or reordered; up to event {until} nothing cut off"
        render.line("NOT what was written" if problems else whole)
    return DamagedData.exit_code if problems else 0


def run_accept(options: argparse.Namespace) -> int:
    """Run ``audit accept``. Raises UsageError, NoUsableKey where the word could not be signed, Refused, StorageError.

    Where nothing asks for MACs anybody could have written the event: there it would prove nothing, and is refused.
    """
    from recyclic_backups.audit.log import append
    from recyclic_backups.config.load import load_settings
    from recyclic_backups.errors import Refused

    head = _head(options.head)
    repository = wiring.open_repository(load_settings(), create=False)
    if not repository.asks_for_macs:
        raise Refused(
            "nothing in this storage is signed: anybody could have said that",
            "reset the cursor of Dagster's sensor `alerts` instead (docs/alerts.md)",
        )
    now = render.now()
    repository.keyring.writer()  # without a key append() would go on, and write what nobody believes
    details = {"head": str(head), **({"reason": options.reason} if options.reason else {})}
    written = append(repository, "accept", "done", now, details=details)
    render.line(f"event {head.number} is given up; the log goes on from event {written.number}")
    return 0


def _head(text: str) -> Head:
    from recyclic_backups.audit.event import Head
    from recyclic_backups.errors import UsageError

    try:
        return Head.parse(text)
    except ValueError as error:
        raise UsageError(f"--head {text!r}: {error}", 'as in "audit_head" of metrics --format json') from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a day; write it as YYYY-MM-DD: 2026-11-22"
        ) from None


def _given(text: str) -> str:
    """Raises ArgumentTypeError for nothing: an empty variable of a shell must not choose every event."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _require(name: str, wanted: str | None, known: set[str]) -> None:
    """Raises UsageError for what no event of this version has, and none in the log either."""
    from recyclic_backups.errors import UsageError

    if wanted is not None and wanted not in known:
        raise UsageError(f"no event has the {name} {wanted!r}", f"there are {', '.join(sorted(known))}")


def _beginning(wanted: str, every: Sequence[Event], settings: Settings) -> str:
    """What the ids of the wanted backups begin with, as ids are written.

    Of a backup that expired long ago only the log knows. Raises UsageError for what no id begins with, RecoveryError
    when nobody knows one that begins so.
    """
    from recyclic_backups.catalog.catalog import LATEST
    from recyclic_backups.catalog.layout import BACKUP_ID
    from recyclic_backups.errors import RecoveryError, UsageError

    if wanted == LATEST:
        return catalog.load(settings).find(LATEST).backup_id
    beginning = wanted.upper()
    if not BACKUP_ID.fullmatch(beginning + "00000000T000000Z-AAAAAA"[len(beginning) :]):
        raise UsageError(
            f"no id of a backup begins with {wanted!r}",
            "one is written as 20261122T010003Z-K3X7QA, or latest",
        )
    if not any((event.backup_id or "").startswith(beginning) for event in every):
        found = catalog.load(settings)  # of one older than the log nothing is told, and that is an answer
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
    from recyclic_backups.backup_calendar import Tier

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
