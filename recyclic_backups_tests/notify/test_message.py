"""Messages: what a person woken at night has to read first, in both languages, and never a secret."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from recyclic_backups.catalog.recovery_point import RecoveryPoint
from recyclic_backups.cli.commands import parser
from recyclic_backups.notify import message as wording
from recyclic_backups.notify.incidents import Change, News, Observation, OpenIncidents, advance, in_both
from recyclic_backups.notify.message import (
    LATE_AFTER,
    SECRET,
    Frame,
    Message,
    compose,
    redact,
    trial_message,
)
from recyclic_backups.notify.outbox import Letter, write
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.alerts import WORDS
from recyclic_backups.texts.language import Locale, Seconds, Untranslated
from recyclic_backups.texts.text import say
from recyclic_backups_tests.notify.problems import FACTS, NOW, problem

FRAME = Frame(
    "recyclic",
    "production",
    "en",
    ZoneInfo("Europe/Paris"),
    "https://dagster.example.org/",
    ("hunter2hunter2",),
)
RECOVERY = RecoveryPoint("20261121T010003Z-K3X7QA", NOW - timedelta(days=1), "20261115T010003Z-AAAAAA",
                    NOW - timedelta(days=7), NOW - timedelta(days=6))  # fmt: skip
ALL = [("telegram", Severity.WARNING)]


def letter(*found: str, change: Change = Change.OPENED, severity: Severity = Severity.CRITICAL) -> Letter:
    """A letter about problems of those kinds."""
    problems = tuple(problem(f"{number}", severity, kind) for number, kind in enumerate(found))
    state, _ = advance(OpenIncidents(), Observation(problems), NOW)
    return write(News(change, tuple(state.incidents.values())), RECOVERY, ALL, NOW)


def test_a_message_says_what_since_when_what_it_means_and_what_to_do() -> None:
    """Loss prevented: an hour in the night spent on finding out what the message is about."""
    message = compose(letter("backup failed"), Severity.WARNING, FRAME, NOW)
    assert message.subject == "[recyclic] CRITICAL: The daily backup of 2026-11-22 failed: the disk is full"
    assert message.body == (
        "CRITICAL: The daily backup of 2026-11-22 failed: the disk is full\n"
        "since: 2026-11-22 02:00 (Europe/Paris)\n"
        "see: https://dagster.example.org/runs/1234\n"
        "means: No new recovery point was made: what was written since the newest one would be lost with the "
        "server.\n"
        "do next: recyclic-backups validate\n"
        "\n"
        "Newest proven recovery point: 2026-11-15 02:00 (Europe/Paris), 20261115T010003Z-AAAAAA, restored and "
        "found equal 2026-11-16 02:00 (Europe/Paris)\n"
        "Newest verified backup: 2026-11-21 02:00 (Europe/Paris), 20261121T010003Z-K3X7QA\n"
    )


def french(kind: str, **facts: str) -> Message:
    """The message about one problem of that kind and those facts, in French."""
    found = replace(problem(kind=kind), facts={**FACTS, **facts})
    _, (news,) = advance(OpenIncidents(), Observation((found,)), NOW)
    return compose(write(news, RECOVERY, ALL, NOW), Severity.WARNING, replace(FRAME, locale="fr"), NOW)


def test_the_same_in_french() -> None:
    """Loss prevented: a message that whoever is on duty does not understand."""
    message = french("backup failed", reason_fr="le disque est plein")
    assert message.subject == (
        "[recyclic] CRITIQUE : La sauvegarde quotidienne du 2026-11-22 a échoué : le disque est plein"
    )
    assert message.body == (
        "CRITIQUE\u00a0: La sauvegarde quotidienne du 2026-11-22 a échoué\u00a0: le disque est plein\n"
        "depuis\u00a0: 2026-11-22 02:00 (Europe/Paris)\n"
        "voir\u00a0: https://dagster.example.org/runs/1234\n"
        "signifie\u00a0: Aucun nouveau point de reprise\u00a0: ce qui a été écrit depuis le dernier serait perdu avec "
        "le serveur.\n"
        "à faire\u00a0: recyclic-backups validate\n"
        "\n"
        "Dernier point de reprise prouvé\u00a0: 2026-11-15 02:00 (Europe/Paris), 20261115T010003Z-AAAAAA, restauré et "
        "trouvé identique le 2026-11-16 02:00 (Europe/Paris)\n"
        "Dernière sauvegarde vérifiée\u00a0: 2026-11-21 02:00 (Europe/Paris), 20261121T010003Z-K3X7QA\n"
    )


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("change", Change)
def test_no_french_line_has_an_english_colon(kind: str, change: Change) -> None:
    """Loss prevented: alerts that look like the spam nobody reads."""
    message = compose(letter(kind, change=change), Severity.WARNING, replace(FRAME, locale="fr"), NOW)
    for text in (message.subject, message.body):
        assert not re.search(r"[^\s\d](?<!https):", text)
        assert not re.search(r" (?=[:;?!»])|« ", message.body)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (say("alerts.nothing_logged"), "son journal n’en dit pas plus"),
        (say("alerts.unexpected", name="KeyError"), "erreur inattendue, KeyError"),
        (Untranslated("the disk is full"), "«\u00a0the disk is full\u00a0»"),
        ("the disk is full", "«\u00a0the disk is full\u00a0»"),  # of a state that knew it in English only
        ("", ""),
    ],
)
def test_a_reason_is_french_or_somebody_elses_words_in_quotation_marks(reason: object, told: str) -> None:
    """Loss prevented: half a sentence in a language that whoever is on duty does not read."""
    facts = in_both(reason=reason)
    assert wording.what("other", facts, "fr") == told
    assert wording.what("other", facts, "en") == (reason if isinstance(reason, str) else reason.text())  # type: ignore[attr-defined]


def test_a_long_quotation_is_cut_and_closed() -> None:
    """Loss prevented: our own words taken for those of an error that was too long."""
    facts = in_both(reason=Untranslated("no " * 400))
    assert facts["reason"].endswith("no…")
    assert facts["reason_fr"].startswith("«\u00a0no")
    assert facts["reason_fr"].endswith("…\u00a0»")
    assert {len(each) for each in facts.values()} == {600}


def test_a_limit_of_days_is_said_in_french() -> None:
    """Loss prevented: a figure that is read as another."""
    facts = {**FACTS, **in_both(limit=Seconds(3 * 86400 + 2 * 3600))}
    assert wording.what("too old", facts, "fr").endswith("plus de 3 jours 2 h")
    assert wording.what("too old", facts, "en").endswith("more than 3 days 2 h old")


@pytest.mark.parametrize("change", Change)
@pytest.mark.parametrize("locale", get_args(Locale))
@pytest.mark.parametrize("kind", WORDS)
def test_every_kind_can_be_said_of_every_change(kind: str, locale: Locale, change: Change) -> None:
    """Loss prevented: the message that is never sent because its sentence has a hole."""
    message = compose(letter(kind, change=change), Severity.CRITICAL, replace(FRAME, locale=locale), NOW)
    assert "{" not in message.subject + message.body
    assert "  " not in message.subject
    assert message.subject.isprintable()


@pytest.mark.parametrize("kind", WORDS)
def test_a_message_asks_for_known_facts_only(kind: str) -> None:
    """Loss prevented: a message with a hole."""
    assert {
        name for words in (WORDS[kind].what, WORDS[kind].means) for name in re.findall(r"{(\w+)", words[0])
    } <= set(FACTS)


@pytest.mark.parametrize("kind", WORDS)
def test_the_command_to_run_next_is_one(kind: str) -> None:
    """Loss prevented: a command that ends with a usage message, at night."""
    program, *arguments = shlex.split(wording.command(kind, FACTS))
    assert program == "recyclic-backups"
    parser().parse_args(arguments)


def test_incidents_that_ask_for_the_same_are_one_paragraph() -> None:
    """Loss prevented: the same advice twenty times, and the recovery points below the edge of the screen."""
    many = letter(*(["backup failed"] * 30), "storage")
    message = compose(many, Severity.WARNING, FRAME, NOW)
    assert message.subject.startswith(
        "[recyclic] CRITICAL: 31 problems: The daily backup of 2026-11-22 failed"
    )
    assert message.body.count("do next: ") == 1
    assert "… and 11 more of the same" in message.body


def test_a_channel_for_critical_ones_gets_no_warnings() -> None:
    """Loss prevented: the one line that matters, between twenty that do not."""
    problems = (
        problem("a", Severity.WARNING, "drill stale"),
        problem("b", Severity.CRITICAL, "storage"),
    )
    _, (news,) = advance(OpenIncidents(), Observation(problems), NOW)
    found = write(news, RECOVERY, ALL, NOW)
    strict = compose(found, Severity.CRITICAL, FRAME, NOW)
    assert "drill" not in strict.body
    assert "problems" not in strict.subject
    assert "2 problems" in compose(found, Severity.WARNING, FRAME, NOW).subject


def test_resolved_says_so_and_asks_for_nothing() -> None:
    """Loss prevented: somebody who gets up for a problem that is over."""
    message = compose(letter("too old", change=Change.RESOLVED), Severity.WARNING, FRAME, NOW)
    assert message.subject.startswith("[recyclic] resolved: The newest verified backup")
    assert "This is no longer so." in message.body
    assert "do next" not in message.body


def test_secrets_and_line_ends_do_not_get_through() -> None:
    """Loss prevented: a password in a mailbox; a header of somebody's own making."""
    facts = {**FACTS, "reason": "failed with hunter2hunter2\nBcc: everybody@example.org\u202e"}
    bad = replace(problem(kind="run failed"), facts=facts)
    _, (news,) = advance(OpenIncidents(), Observation((bad,)), NOW)
    message = compose(write(news, RECOVERY, ALL, NOW), Severity.WARNING, FRAME, NOW)
    in_french = french("run failed", reason=facts["reason"])
    for text in (message.subject, message.body, in_french.subject, in_french.body):
        assert "hunter2" not in text
        assert SECRET in text
        assert "\nBcc" not in text
    assert message.subject.isprintable()
    assert redact("abc", ("abc",)) == "abc"


def test_what_is_delivered_late_says_when_it_was_written() -> None:
    """Loss prevented: an alarm of this morning, read in the evening as what is so now, or missed for being old."""
    found = letter("backup failed")
    in_time, late = (
        compose(found, Severity.WARNING, FRAME, NOW + LATE_AFTER + more)
        for more in (timedelta(0), timedelta(seconds=1))
    )
    assert in_time == compose(found, Severity.WARNING, FRAME, NOW)
    assert late.subject.startswith("[recyclic] delayed message: CRITICAL: The daily backup")
    assert late.body == (
        f"Written at 2026-11-22 02:00 (Europe/Paris), delivered late: what follows was so then.\n\n{in_time.body}"
    )
    assert (late.message_id, late.written_at) == (in_time.message_id, NOW)
    in_french = compose(found, Severity.WARNING, replace(FRAME, locale="fr"), NOW + timedelta(hours=1))
    assert in_french.subject.startswith("[recyclic] message retardé : CRITIQUE : La sauvegarde")
    assert in_french.body.startswith(
        "Écrit le 2026-11-22 02:00 (Europe/Paris), remis en retard\u00a0: ce qui suit décrit la situation d’alors.\n\n"
    )


def test_what_is_unknown_is_not_called_none() -> None:
    """Loss prevented: 'no recovery point' believed, while they are all there on a disk that is not mounted."""
    found = replace(letter("storage"), recovery=RecoveryPoint(known=False))
    assert "Newest proven recovery point: unknown" in compose(found, Severity.WARNING, FRAME, NOW).body
    none = replace(letter("storage"), recovery=RecoveryPoint())
    assert "Newest proven recovery point: none" in compose(none, Severity.WARNING, FRAME, NOW).body


def test_a_trial_says_that_it_is_one() -> None:
    """Loss prevented: an operation begun because of a test."""
    message = trial_message(Severity.CRITICAL, FRAME, NOW)
    assert message.subject == "[recyclic] test"
    assert "This is a test" in message.body
    assert "“critical”" in message.body
