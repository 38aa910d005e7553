"""Messages: a letter in words, for one channel. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.notify.harmless import harmless, in_a_command
from recyclic_backups.notify.incidents import Change, Incident
from recyclic_backups.notify.outbox import Letter
from recyclic_backups.notify.severity import Severity
from recyclic_backups.own_command import as_called
from recyclic_backups.texts.alerts import LABELS, WORDS
from recyclic_backups.texts.language import Locale, Pair, Untranslated, fill

SECRET = "***"  # noqa: S105 - what is shown instead of one
_LONGEST_SUBJECT = 150

LATE_AFTER = timedelta(minutes=5)
"""A message that is delivered later says so: it would be read as what is so now. Looks are a minute apart."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What all messages of an installation have in common. ``secrets`` are taken out wherever they turn up."""

    database: str
    environment: str
    locale: Locale
    timezone: ZoneInfo
    dagster_url: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """Plain text, ready to be sent. ``message_id`` is the same whenever the same letter is sent again."""

    subject: str
    body: str
    severity: Severity
    message_id: str
    written_at: datetime


def what(kind: str, facts: Mapping[str, str], locale: Locale) -> str:
    """What happened, in one sentence."""
    return _filled(WORDS[kind].what, facts, locale)


def means(kind: str, facts: Mapping[str, str], locale: Locale) -> str:
    """What it means for recovery."""
    return _filled(WORDS[kind].means, facts, locale)


def command(kind: str, facts: Mapping[str, str]) -> str:
    """The one command to run next; the same in every language."""
    return WORDS[kind].command.format_map(_Facts({name: in_a_command(fact) for name, fact in facts.items()}))


def label(name: str, locale: Locale, **facts: object) -> str:
    """One of the short texts around the sentences, with what it names."""
    return fill(LABELS[name], facts, locale)


def _filled(words: Pair, facts: Mapping[str, str], locale: Locale) -> str:
    if locale == "fr":
        facts = {name: facts.get(f"{name}_fr", fact) for name, fact in facts.items()} | (
            # Of a state that knew the reason in English only.
            {"reason": Untranslated(facts["reason"]).text("fr")}
            if "reason" in facts and "reason_fr" not in facts
            else {}
        )
    said = {name: harmless(fact) for name, fact in facts.items()}
    text = fill(words, _Facts(said), locale)
    # A partition that there is not leaves its space; in French it belongs there.
    return _squeezed(text) if locale == "fr" else " ".join(text.split()).replace(" : ", ": ")


def _squeezed(text: str) -> str:
    """Every stretch of space as one; one at which no line may end stays one."""
    return re.sub(r"\s+", lambda stretch: (stretch[0].strip(" \n") or " ")[0], text).strip()


class _Facts(defaultdict[str, str]):
    """A fact that an older version did not remember is left out of its sentence."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        super().__init__(str, facts)


def compose(letter: Letter, minimum: Severity, frame: Frame, now: datetime) -> Message:
    """The letter as it is delivered ``now``, with those of its incidents that are at least as bad as ``minimum``."""
    is_late = now - letter.written_at > LATE_AFTER
    incidents = [each for each in letter.incidents if each.severity.reaches(minimum)]
    count = letter.count(minimum)
    paragraphs = _paragraphs(incidents, letter.change, frame)
    if count > len(incidents):
        paragraphs.append(label("more", frame.locale, count=count - len(incidents)))
    paragraphs.append(_recovery(letter.recovery, frame))
    if is_late:
        written_at = moment(letter.written_at, frame)
        paragraphs.insert(0, label("late_note", frame.locale, at=written_at))
    worst = Severity.CRITICAL if letter.criticals else Severity.WARNING
    return Message(
        subject=_subject(letter.change, worst, incidents, count, frame, is_late=is_late),
        body=redact(as_called("\n\n".join(paragraphs) + "\n"), frame.secrets),
        severity=worst,
        message_id=letter.letter_id,
        written_at=letter.written_at,
    )


def trial_message(minimum: Severity, frame: Frame, now: datetime) -> Message:
    """What ``notify-test`` sends."""
    body = label("test_body", frame.locale, database=harmless(frame.database), minimum=minimum.value)
    subject = f"{_prefix(frame)} {label('test', frame.locale)}"
    return Message(
        _one_line(subject),
        redact(as_called(body + "\n"), frame.secrets),
        minimum,
        f"{now:%Y%m%dT%H%M%S.%fZ}-test",
        now,
    )


def redact(text: str, secrets: Sequence[str]) -> str:
    """The text without any of the secrets, should one ever have come into it."""
    # A secret that is a URL stands in a sentence without being a link.
    for secret in sorted({*secrets, *map(harmless, secrets)}, key=len, reverse=True):
        if len(secret) >= 6:  # a shorter one would tear words apart, and is hardly one
            text = text.replace(secret, SECRET)
    return text


def moment(at: datetime, frame: Frame) -> str:
    """``2026-11-22 02:00 (Europe/Paris)``."""
    return f"{at.astimezone(frame.timezone):%Y-%m-%d %H:%M} ({frame.timezone.key})"


def _prefix(frame: Frame) -> str:
    where = "" if frame.environment == "production" else f" {frame.environment}"
    return f"[{frame.database}{where}]"


def _subject(
    change: Change,
    worst: Severity,
    incidents: Sequence[Incident],
    count: int,
    frame: Frame,
    *,
    is_late: bool,
) -> str:
    locale = frame.locale
    tone = label(change.value, locale, severity=label(worst.value, locale))
    first = what(incidents[0].problem.kind, incidents[0].problem.facts, locale) if incidents else ""
    rest = first if count == 1 else label("many", locale, count=count, first=first)
    said = _said(tone, rest, locale)
    if is_late:
        said = _line("late", said, locale)
    text = _one_line(redact(f"{_prefix(frame)} {said}", frame.secrets))
    return text if len(text) <= _LONGEST_SUBJECT else f"{text[: _LONGEST_SUBJECT - 1]}…"


def _paragraphs(incidents: Sequence[Incident], change: Change, frame: Frame) -> list[str]:
    """One for all incidents that mean the same and ask for the same, in the order of the worst of each."""
    locale = frame.locale
    groups: dict[tuple[str, ...], list[str]] = {}
    for each in incidents:
        problem = each.problem
        if change is Change.RESOLVED:
            end: tuple[str, ...] = (label("over", locale),)
        else:
            end = (
                _line("means", means(problem.kind, problem.facts, locale), locale),
                _line("next", command(problem.kind, problem.facts), locale),
            )
        severity = label(each.severity.value, locale)
        lines = [
            _said(severity, what(problem.kind, problem.facts, locale), locale),
            _line("since", moment(problem.since, frame), locale),
        ]
        if problem.page and frame.dagster_url:
            lines.append(_line("see", _one_line(f"{frame.dagster_url.rstrip('/')}/{problem.page}"), locale))
        groups.setdefault(end, []).extend(lines)
    return ["\n".join([*lines, *end]) for end, lines in groups.items()]


def _line(name: str, text: str, locale: Locale) -> str:
    return _said(label(name, locale), text, locale)


def _said(heading: str, text: str, locale: Locale) -> str:
    """A heading, the colon as it is set in that language, and a text."""
    return label("line", locale, heading=heading, text=text)


def _recovery(recovery: RecoveryPoint, frame: Frame) -> str:
    """What could be recovered, the line that a person woken at night looks for."""
    locale = frame.locale
    if not recovery.known:
        return _line("proven", label("unreadable", locale), locale)
    proven = verified = label("none", locale)
    if recovery.proven_as_of is not None and recovery.proven_at is not None:
        when = label("proven_at", locale, at=moment(recovery.proven_at, frame))
        proven = f"{moment(recovery.proven_as_of, frame)}, {harmless(recovery.proven_id)}, {when}"
    if recovery.verified_as_of is not None:
        verified = f"{moment(recovery.verified_as_of, frame)}, {harmless(recovery.verified_id)}"
    return f"{_line('proven', proven, locale)}\n{_line('verified', verified, locale)}"


def _one_line(text: str) -> str:
    """Nothing that could begin another header, or hide."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
