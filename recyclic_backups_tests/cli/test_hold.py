"""``hold`` and ``release``: said, shown, signed, and over one day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from recyclic_backups.cli import render
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small


def _day(days: int) -> str:
    return (render.now() + timedelta(days=days)).date().isoformat()


def _held(operator: Operator) -> bool:
    (entry,) = operator.must("list", "--json").json
    return bool(entry["held"])


def test_a_hold_is_shown_everywhere_until_it_is_released(operator: Operator) -> None:
    """Loss prevented: a hold that nobody sees, and that nobody ends."""
    backup_id = operator.backup_id()
    assert not _held(operator)
    until = _day(30)
    assert backup_id in operator.must("hold", "latest", "--reason", "invoice dispute", "--until", until).out
    assert _held(operator)
    listed = operator.must("list").out
    assert listed.rstrip().endswith("held")
    assert "invoice dispute" not in listed  # as --help says
    shown = operator.must("show", backup_id, "--json").json
    assert shown["held"] is True
    assert shown["hold"]["reason"] == "invoice dispute"
    assert "invoice dispute" in operator.must("show", backup_id).out
    assert any("invoice dispute" in reason for reason in operator.must("expire", "--json").json[0]["reasons"])
    assert operator.must("verify", "--all").code == 0
    assert "latest" in " ".join(operator.must("release", "--help").out.split())
    operator.must("release", "latest")
    assert not _held(operator)
    assert "was not held" in operator.must("release", backup_id).out


def test_a_hold_ends_with_its_last_day(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a hold of a month that lasts for ever, or ends a day early."""
    operator.backup_id()
    until, now = _day(2), render.now()
    operator.must("hold", "latest", "--reason", "audit", "--until", until)
    monkeypatch.setattr(render, "now", lambda: now + timedelta(days=1))
    assert _held(operator)
    monkeypatch.setattr(render, "now", lambda: now + timedelta(days=4))
    assert not _held(operator)
    assert f"was held    until {until} inclusive: audit" in operator.must("show", "latest").out


def test_show_says_the_last_day_of_a_hold_as_hold_did(operator: Operator) -> None:
    """Loss prevented: a backup taken for held one day longer, or one day less, than whoever held it was told."""
    backup_id = operator.backup_id()
    for zone, day in (
        ("Asia/Tokyo", _day(30)),
        ("Europe/Paris", _day(31)),
        ("America/New_York", _day(32)),
        ("UTC", "9998-12-31"),
    ):
        said = operator.must("hold", backup_id, "--reason", "x", "--until", day, BACKUP_TIMEZONE=zone).out
        assert f"until {day} inclusive" in said
        shown = operator.must("show", backup_id, BACKUP_TIMEZONE=zone).out
        assert f"held        until {day} inclusive: x" in shown
    # Elsewhere that moment is within a day: it is said to the second.
    shown = operator.must("show", backup_id, BACKUP_TIMEZONE="America/New_York").out
    assert "held        until 9998-12-31 19:00:00 EST: x" in shown


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("9999-12-31", "a hold cannot last until 9999-12-31"),
        ("0001-01-01", "over already"),
        ("0002-01-01", "over already"),
        ("20301231", "'20301231' is not a date"),
        ("2030-02-30", "'2030-02-30' is not a date"),
        ("", "'' is not a date"),
    ],
)
def test_a_last_day_that_makes_no_sense_is_told_as_one_of_a_hold(
    operator: Operator, until: str, said: str
) -> None:
    """Loss prevented: a hold given up over a sentence about partitions, and the backup gone."""
    operator.backup_id()
    outcome = operator.run("hold", "latest", "--reason", "x", "--until", until)
    assert outcome.code == 2
    assert said in outcome.err
    assert "hint: " in outcome.err
    assert "partition" not in outcome.err
    assert not _held(operator)


def test_what_makes_no_sense_is_refused(operator: Operator) -> None:
    """Loss prevented: a hold believed to be there because a typing error was accepted."""
    backup_id = operator.backup_id()
    for arguments, code in (
        (["hold", "latest", "--reason", "x", "--until", "soon"], 2),
        (["hold", "latest", "--reason", "x", "--until", _day(-2)], 2),
        (["hold", "latest", "--reason", " ", "--until", _day(2)], 2),
        (["hold", "latest", "--until", _day(2)], 2),
        (["hold", "20200101T000000Z-AAAAAA", "--reason", "x", "--until", _day(2)], 60),
        (["release", "20200101T000000Z-AAAAAA"], 60),
    ):
        assert operator.run(*arguments).code == code, arguments
    operator.must("hold", backup_id, "--reason", "long", "--until", _day(20))
    assert operator.run("hold", backup_id, "--reason", "short", "--until", _day(10)).code == 70
    operator.must("hold", backup_id, "--reason", "longer", "--until", _day(30))


def test_without_the_key_nobody_holds_anything(operator: Operator) -> None:
    """Loss prevented: whoever may write files keeps members' data for ever."""
    backup_id = operator.backup_id()
    outcome = operator.run(
        "hold",
        backup_id,
        "--reason",
        "x",
        "--until",
        _day(2),
        BACKUP_ENCRYPTION="false",
        BACKUP_ENCRYPTION_KEY=None,
    )
    assert outcome.code == 41
    assert not _held(operator)


def test_what_somebody_wrote_as_a_reason_stays_in_its_line(operator: Operator) -> None:
    """Loss prevented: a row about a backup that nobody has, or a terminal that hides one, by the reason of a hold."""
    backup_id = operator.backup_id()
    reason = "x\n20260101T000000Z-AAAAAA  expire\x1b[2K\r\u202e\x9b1m d'été :\u00a0« 💾 »"
    operator.must("hold", "latest", "--reason", reason, "--until", _day(30))
    shown = r"x\n20260101T000000Z-AAAAAA  expire\x1b[2K\r\u202e\u009b1m d'été :" + "\u00a0« 💾 »"
    for command in (("audit", "show"), ("show", backup_id), ("expire",)):
        outcome = operator.must(*command)
        (line,) = [line for line in outcome.out.split("\n") if "expire" in line and "AAAAAA" in line]
        assert shown in line
        assert all(
            character.isprintable() or character in "\n\u00a0" for character in outcome.out + outcome.err
        )
    assert operator.must("show", backup_id, "--json").json["hold"]["reason"] == reason
    # A warning, on standard error, quotes it too.
    warned = operator.must("expire", RETENTION_MAX_DAYS="1", RETENTION_MINIMUM="1")
    assert "\x1b" not in warned.err
