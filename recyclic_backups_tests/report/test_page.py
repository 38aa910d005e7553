"""The page: everything is on it, nothing is loaded by it, and nobody needs colours to read it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog, Damage
from recyclic_backups.catalog.documents import Check
from recyclic_backups.health.finding import Finding, Level, Status
from recyclic_backups.report.coverage import SIGNS, State
from recyclic_backups.report.markup import prose, quoted
from recyclic_backups.report.page import page
from recyclic_backups.report.upcoming_expiry import leaving
from recyclic_backups.retention.forecast import Departure
from recyclic_backups.texts.language import Locale
from recyclic_backups.texts.text import Text
from recyclic_backups_tests.foreign import MOVING, NASTY
from recyclic_backups_tests.health.wals import base, wal
from recyclic_backups_tests.report.surveys import NOW, drilled, quarter, surveyed

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Reader(HTMLParser):
    """Reads a page as a browser would: its elements, its words, and whether they are nested as they have to be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """It has to be closed."""
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """It closes itself."""
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """What was opened last is closed first."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Words, if a person reads them."""
        if not set(self.open) & {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Everything that is read."""
        return " ".join(self.words)


@pytest.mark.parametrize("locale", ["en", "fr"])
@pytest.mark.parametrize("which", ["quarter", "empty"])
def test_the_page_is_well_formed_and_loads_nothing(which: str, locale: Locale) -> None:
    """Loss prevented: a page that shows nothing on the machine without a network, or tells others what we have."""
    catalog = quarter() if which == "quarter" else Catalog((), {})
    text = page([surveyed(catalog, locale=locale, free_bytes=10**8)])
    reader = Reader(text)
    assert not re.search(r"https?://|//[a-z]|url\(|@import|srcset|fetch\(|XMLHttp", text)
    for tag, attributes in reader.attributes:
        assert tag not in ("link", "img", "iframe", "object", "embed", "form")
        assert not attributes.keys() & {"src", "action", "background"}
        if "href" in attributes:
            assert str(attributes["href"]).startswith("#")
    assert "default-src 'none'" in text
    assert reader.attributes[0] == ("html", {"lang": locale})


def test_what_an_operator_asks_first_is_on_it() -> None:
    """Loss prevented: a page that has to be explained."""
    text = Reader(page([surveyed(quarter(), free_bytes=3 * 10**9)])).text
    for expected in (
        "Degraded",
        "Sun 22 Nov 2026, 02:00",
        "of work would be missing",
        "proven by a restore is of Sun 15 Nov 2026",
        "3.0\u00a0GB",
        "was found damaged",
        "RETENTION_DAILY=3",
        "simple: the newest backup into a database",
        "Tue 24 Nov",
        "daily: not among the newest 7",
    ):
        assert expected in text, expected


def told(number: int, *, level: Level = Level.CRITICAL) -> Finding:
    """An open incident with a number by which it is told apart."""
    return Finding("incident", str(number), level, {"what": f"incident-{number:03}"})


GOOD = quarter(missing=(), damaged=(), late=(), held=())


def test_the_headline_comes_first_and_counts_what_is_open() -> None:
    """Loss prevented: amber over a hundred critical incidents, and that below the fold."""
    survey = surveyed(GOOD)
    assert survey.status is not Status.UNHEALTHY
    text = page([survey], incidents=[told(number) for number in range(107)])
    assert text.index('class="card status unhealthy"') < text.index("<h2>Open incidents")
    assert "<title>Unhealthy" in text
    assert "107 open incidents (107 critical)" in Reader(text).text
    without = page([survey])
    assert "Open incidents" not in without
    assert "<title>Unhealthy" not in without


def test_few_incidents_are_listed_the_worst_first_then_the_newest_and_the_others_counted() -> None:
    """Loss prevented: the critical one of an hour ago, below thirty warnings of last month."""
    oldest_first = [told(1), told(2), *(told(number, level=Level.WARNING) for number in range(3, 10))]
    text = Reader(page([surveyed(GOOD)], incidents=oldest_first)).text
    named = re.findall(r"incident-(\d+)", text)
    assert named == ["002", "001", "009", "008", "007", "006"]
    assert "and 3 more" in text


def test_nothing_is_well_while_an_incident_is_open() -> None:
    """Loss prevented: "Sleep well" under a critical incident."""
    survey = surveyed(GOOD)
    vars(survey)["findings"] = ()
    assert "Sleep well" in page([survey])
    assert "Sleep well" not in page([survey], incidents=[told(1)])


def test_an_old_page_has_another_headline_ready_that_says_no_state() -> None:
    """Loss prevented: a big green tick at the top of a page that nobody has written for a month."""
    text = page([surveyed(GOOD)])
    fresh, gone = re.search(
        r'<div class="fresh">(.*?)</div>\s*<div class="gone">(.*?)</div>', text, re.S
    ).groups()  # type: ignore[union-attr]
    assert "would be missing" in fresh
    assert "Nothing known since" in gone
    assert "would be missing" not in gone
    # Without the script nothing is old: the class that changes places is set by it alone.
    assert 'class="is-stale' not in text


def test_a_share_of_less_than_a_day_is_no_availability() -> None:
    """Loss prevented: 100 % after two minutes, believed for a year."""
    young = surveyed(quarter(days=1, missing=(), damaged=(), late=(), held=(), drills=False))
    reader = Reader(page([young]))
    assert "not enough history: since Sun 22 Nov 2026" in reader.text
    assert "100\u00a0%" not in reader.text
    assert "100\u00a0%" in Reader(page([surveyed(GOOD)])).text


@pytest.mark.parametrize(
    ("free_bytes", "sign"), [(3 * 10**9, "✓ met"), (10**9, "✓ met"), (10**9 - 1, "✕ not met")]
)
def test_the_sign_of_the_free_space_answers_the_limit_beside_it(free_bytes: int, sign: str) -> None:
    """Loss prevented: a cross beside a limit that is kept, until nobody looks at the one that is not."""
    text = " ".join(Reader(page([surveyed(GOOD, free_bytes=free_bytes)])).text.split())
    assert f"{sign} alarm under 1.0 GB" in text


@pytest.mark.parametrize(
    ("limit_seconds", "shown"), [(600.0, "✕ not met 16 min 40 s of 10 min"), (None, "16 min 40 s")]
)
def test_a_drill_is_shown_beside_what_it_was_held_against(limit_seconds: float | None, shown: str) -> None:
    """Loss prevented: a tick on the page for the restore that an issue beside it calls too slow."""
    newest = drilled(GOOD.backups[0], NOW, "simple", 1000)
    (*others, drill) = newest.checks
    objective = {"restore_seconds": limit_seconds, "data_loss_seconds": 10**6}
    held = replace(drill, details={**drill.details, "objective": objective})
    catalog = replace(GOOD, backups=(replace(newest, checks=(*others, held)), *GOOD.backups[1:]))
    text = " ".join(Reader(page([surveyed(catalog)])).text.split())
    assert shown in text
    assert ("✕ not met 16 min 40 s" in text) == (limit_seconds is not None)
    assert "16 min 40 s of 30 min" not in text


def test_with_wal_the_page_says_which_moments_can_be_brought_back_and_how_little_is_lost() -> None:
    """Loss prevented: a page that shows the age of the dump, where every second of two weeks can be had."""
    archive = wal(NOW - timedelta(seconds=8), base(NOW - timedelta(days=12)))
    checked = Check(
        "drill",
        archive.bases[0].base_id,
        NOW - timedelta(hours=4),
        passed=True,
        proves=True,
        details={
            "scenario": "pitr",
            "leading": True,
            "restore_seconds": 312.0,
            "data_loss_seconds": 9.5,
            "objective": {"restore_seconds": 14400.0, "data_loss_seconds": 3600.0},
        },
    )
    (only,) = archive.bases
    drilled_base = replace(archive, bases=(replace(only, checks=(*only.checks, checked)),))
    found = replace(surveyed(GOOD), facts=replace(surveyed(GOOD).facts, wal=drilled_base))
    text = " ".join(Reader(page([found])).text.split())
    assert "Any moment between Tue 10 Nov 2026" in text
    assert "8.0 s of work would be missing" in text
    assert "pitr: the server as it was at a moment" in text
    assert "✓ met 9.5 s of 1 h" in text


def test_a_curve_says_its_scale_and_two_values_are_said_without_one() -> None:
    """Loss prevented: a fall from 68 to 55 % that looks like one to nothing."""
    whole = page([surveyed(GOOD)])
    drawings = re.findall(r"<svg viewBox=\"0 0 320 120\".*?</svg>", whole)
    assert drawings
    for each in drawings:
        assert ">0</text>" in each
    two = Reader(page([surveyed(quarter(days=2, missing=(), damaged=(), late=(), held=(), drills=False))]))
    assert not any(tag == "svg" and attributes.get("role") == "img" for tag, attributes in two.attributes)
    assert "Sat 21 Nov" in two.text
    assert "too few for a curve" in two.text


def test_departures_for_one_reason_are_one_row() -> None:
    """Loss prevented: ten lines of the same, and the one that leaves damaged among them."""
    text = Reader(page([surveyed(GOOD)])).text
    assert text.count("daily: not among the newest 7") == 2
    assert "6 backups" in text


def test_a_backup_of_four_places_says_its_reason_once() -> None:
    """Loss prevented: a row of "daily: not among the newest 7" four times over, that nobody reads to its end."""
    over = [
        Text("retention.tier_over", {"tier": Tier.DAILY, "partition": f"2026-11-0{day}", "count": 7})
        for day in (1, 2, 3)
    ]
    (row,) = leaving([Departure("20261103T010000Z-AAAAAA", date(2026, 11, 23), tuple(over))], "en")
    assert row.reason == "daily: not among the newest 7"


def test_no_value_and_no_date_is_broken_over_two_lines() -> None:
    """Loss prevented: "55" on one line of a phone and "%" on the next."""
    assert prose("55 % of 19 h 43 min since 2026-11-15") == (
        '<span class="line">55 %</span> of <span class="line">19 h 43 min</span> '
        'since <span class="line">2026-11-15</span>'
    )
    assert prose("manquante depuis 3 jours") == 'manquante depuis <span class="line">3 jours</span>'
    assert prose("<b>2 s</b>") == '&lt;b&gt;<span class="line">2 s</span>&lt;/b&gt;'


def test_what_a_check_wrote_down_in_english_is_a_quotation() -> None:
    """Loss prevented: a French page that seems to speak two languages, and is taken for broken."""
    text = page([surveyed(quarter(), locale="fr")])
    assert '<q lang="en">main.dump: hash differs</q>' in text
    assert prose(quoted("\ue000<i>\ue001")) == '<q lang="en">&lt;i&gt;</q>'


def test_names_and_reasons_of_others_are_text_and_nothing_else() -> None:
    """Loss prevented: a table's name that runs as a program in the operator's browser."""
    evil = '"><script>alert(1)</script>'
    catalog = replace(quarter(), damage=(Damage(f"recyclic/{evil}", evil),))
    text = page([surveyed(catalog, database=evil)])
    assert "<script>alert" not in text
    assert Reader(text).text.count("alert(1)") >= 2


@pytest.mark.parametrize("evil", NASTY)
def test_no_name_leaves_its_place_in_the_page(evil: str) -> None:
    """Attack prevented: the owner of a database who names a table so that the page acts for him, or reads backwards."""
    usual = Reader(page([surveyed(quarter())]))
    catalog = replace(quarter(), damage=(Damage(f"recyclic/{evil}", evil),))
    text = page([surveyed(catalog, database=evil)])
    reader = Reader(text)
    elements = {tag for tag, _ in reader.attributes}
    assert elements - {tag for tag, _ in usual.attributes} <= {"q"}
    assert not [name for _, found in reader.attributes for name in found if name.startswith("on")]
    assert not set(text) & (set(MOVING) - {"\n"})


def test_only_the_pages_own_script_and_style_are_allowed() -> None:
    """Attack prevented: a script that came in with a name runs because every script of the page may run."""
    text = page([surveyed(quarter())])
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert "unsafe" not in policy
    directives = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    for element in ("script", "style"):
        ((content),) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert directives[f"{element}-src"] == f"'sha256-{digest}'"
    assert {directives[name] for name in ("default-src", "connect-src", "base-uri", "form-action")} == {
        "'none'"
    }
    assert " style=" not in text, "a hash allows no style of an element's own"


def test_nothing_is_told_by_colour_alone() -> None:
    """Loss prevented: one man in twelve who does not see that a day is missing."""
    assert len(set(SIGNS.values())) == len(State)
    reader = Reader(page([surveyed(quarter())]))
    cells = [attributes for tag, attributes in reader.attributes if tag == "td" and "title" in attributes]
    assert len(cells) > 42
    assert all(re.match(r"\d{4}-\d\d-\d\d: \w", str(each["title"])) for each in cells)
    drawings = [attributes for tag, attributes in reader.attributes if tag == "svg"]
    for each in drawings:
        assert each.get("aria-label") or each.get("aria-hidden") == "true"
    assert any(
        "80" in str(each.get("aria-label")) or "values" in str(each.get("aria-label")) for each in drawings
    )


def test_a_page_that_nobody_writes_any_more_says_so() -> None:
    """Loss prevented: a green page on the second screen, made before the disk broke."""
    text = page([surveyed(quarter())])
    assert f'data-measured="{NOW.isoformat()}"' in text
    assert '<meta http-equiv="refresh"' in text


def test_it_is_made_for_the_dark_for_phones_and_for_paper() -> None:
    """Loss prevented: a page that blinds at three in the morning, or prints black."""
    text = page([surveyed(quarter())])
    for query in ("prefers-color-scheme: dark", "@media print", "max-width: 560px", 'name="viewport"'):
        assert query in text


def test_several_databases_are_told_apart_and_the_worst_is_in_the_title() -> None:
    """Loss prevented: a green title over a red database."""
    good = surveyed(quarter(missing=(), damaged=()), now=NOW - timedelta(hours=3))
    text = page([good, surveyed(Catalog((), {}), database="other")])
    assert "<title>Unhealthy" in text
    assert "<h1>other</h1>" in text


def test_a_failed_drill_is_marked_in_the_table_and_in_its_curve() -> None:
    """Loss prevented: a drill that failed, drawn as a fast one."""
    catalog = quarter()
    newest = drilled(catalog.backups[0], NOW, "simple", 3.0, passed=False)
    text = page([surveyed(replace(catalog, backups=(newest, *catalog.backups[1:])))])
    assert "✕ failed" in text
    assert 'class="bad"' in text
    assert Reader(text).text.count("Unhealthy") >= 1
