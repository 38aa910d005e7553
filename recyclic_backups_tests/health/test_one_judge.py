"""One judge: whatever shows how the backups are shows the same, for any catalog, clock and state."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Backup, Catalog, Damage
from recyclic_backups.catalog.documents import Check, Label
from recyclic_backups.diagnose.losses import Dated, LiveFigures, find_losses
from recyclic_backups.fingerprint.model import Fingerprint
from recyclic_backups.health.exposition import PREFIX, to_prometheus
from recyclic_backups.health.finding import Finding, Level, Status, answer_of
from recyclic_backups.health.judge import Facts, HealthTerms
from recyclic_backups.health.questions import QUESTIONS, age, answer
from recyclic_backups.health.survey import Survey, survey_of
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.health.wal import WalFacts
from recyclic_backups.notify.findings import Circumstances, key_of, told_findings
from recyclic_backups.notify.incidents import Problem
from recyclic_backups.notify.severity import Severity
from recyclic_backups.postgres.slots import SlotState
from recyclic_backups.report.coverage import State, coverage
from recyclic_backups.report.page import page
from recyclic_backups.report.status import status_document, status_lines
from recyclic_backups.retention.policy import Retention
from recyclic_backups_tests.fingerprint.rows import table_of
from recyclic_backups_tests.health.catalogs import backup, calendar, catalog, paris
from recyclic_backups_tests.health.nights import NOW as NIGHTS_NOW
from recyclic_backups_tests.health.nights import catalog as nights_catalog
from recyclic_backups_tests.health.nights import found_in, night
from recyclic_backups_tests.health.wals import MIB, base, wal

NOW = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)
CALENDAR = calendar("2026-10-01")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

# Of one backup: what was found of it when. Some of it by a clock that was ahead.
_moments = st.sampled_from(
    [NOW - 20 * DAY, NOW - 9 * DAY, NOW - 7.5 * DAY, NOW - DAY, NOW - HOUR, NOW + 300 * DAY]
)


@st.composite
def checks(draw: st.DrawFn, backup_id: str) -> tuple[Check, ...]:
    """Verifications, restores and drills of one backup."""
    found = []
    for _ in range(draw(st.integers(0, 3))):
        kind, passed = draw(st.sampled_from(["verify", "restore", "drill"])), draw(st.booleans())
        details: dict[str, Any] = {}
        if kind == "drill":
            seconds = draw(st.sampled_from([60, 4000]))
            details = {
                "scenario": "simple",
                "restore_seconds": seconds,
                "objective": {"restore_seconds": 1800},
            }
        proves = passed and kind != "verify" and draw(st.booleans())
        reasons = () if passed else ("members: 3 rows missing",)
        found.append(Check(kind, backup_id, draw(_moments), passed, reasons, proves, 5.0, details))  # type: ignore[arg-type]
    return tuple(found)


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """Up to eight nights and one backup of the future: whole, damaged, proven, late, large, slow or in clear."""
    ages = draw(st.lists(st.integers(0, 20), unique=True, max_size=8))
    ahead = draw(st.lists(st.just(-40), max_size=1))
    backups: list[Backup] = []
    labels: dict[tuple[Tier, str], Label] = {}
    for days in sorted([*ahead, *ages]):
        as_of = NOW - days * DAY - draw(st.sampled_from([1, 8])) * HOUR
        size = draw(st.sampled_from([1000, 1000, 1000, 400]))
        made = backup(as_of, plain=size, stored=draw(st.sampled_from([100, 100, 800])))
        content = replace(made.manifest, duration_seconds=draw(st.sampled_from([60.0, 2000.0])))
        if draw(st.booleans()):
            content = replace(content, encryption=None)
        key = CALENDAR.partition_of(Tier.DAILY, as_of)
        own = [Label(Tier.DAILY, key, content.backup_id, as_of, late=draw(st.booleans()))]
        if draw(st.booleans()):
            week = CALENDAR.partition_of(Tier.WEEKLY, as_of)
            own.append(Label(Tier.WEEKLY, week, content.backup_id, as_of, late=False))
        whole = (Check("verify", content.backup_id, as_of, passed=True),) if draw(st.booleans()) else ()
        backups.append(Backup(content, tuple(own), (*whole, *draw(checks(content.backup_id)))))
        labels |= {(label.tier, label.partition): label for label in own}
    damage = draw(st.lists(st.sampled_from(["a/manifest.json", "b/checks/x.json"]), unique=True))
    lacks_key = draw(st.booleans())
    return Catalog(
        tuple(backups),
        labels,
        tuple(Damage(f"recyclic/backups/{name}", "it is no JSON", lacks_key) for name in damage),
        is_checked=draw(st.booleans()),
    )


@st.composite
def wals(draw: st.DrawFn) -> WalFacts | None:
    """WAL that is not archived, never came, stopped, has a hole, is damaged, or fills production's disk."""
    if draw(st.booleans()):
        return draw(st.sampled_from([None, WalFacts()]))
    ages = draw(st.lists(st.sampled_from([1, 3, 12]), unique=True, max_size=2))
    bases = [
        base(
            NOW - days * DAY,
            start=(100 - days) * MIB,
            passed=draw(st.sampled_from([True, True, False, None])),
        )
        for days in sorted(ages)
    ]
    return wal(
        draw(st.sampled_from([None, NOW, NOW - timedelta(minutes=6), NOW - 10 * HOUR])),
        *bases,
        hole=draw(st.sampled_from([None, (90 * MIB, 98 * MIB)])),
        slot=draw(
            st.sampled_from(
                [None, SlotState(True, 0, "lost", 0, None), SlotState(False, 0, "extended", 9 << 30, None)]
            )
        ),
        damage=draw(st.sampled_from(["", "position.json was edited"])),
    )


@st.composite
def surveys(draw: st.DrawFn) -> Survey:
    """What is found of such a catalog under some settings."""
    facts = Facts(
        draw(catalogs()),
        draw(st.sampled_from([None, 10**8, 3 * 10**9, 10**13])),
        draw(st.sampled_from([(), ("recover.py",)])),
        draw(wals()),
    )
    thresholds = Thresholds(
        age_warning_seconds=draw(st.sampled_from([3600.0, 6 * 3600.0])), encryption=draw(st.booleans())
    )
    terms = HealthTerms("recyclic", CALENDAR, Retention(daily=draw(st.sampled_from([3, 7]))), thresholds)
    return survey_of(facts, terms, NOW)


def named(findings: Any) -> set[tuple[str, str, Level]]:
    """What findings say, without their words."""
    return {(str(each.code), each.subject, each.level) for each in findings}


def only(findings: Any, *codes: str) -> list[Finding]:
    """Those of some codes."""
    return [each for each in findings if each.code in codes]


@given(surveys())
def test_metrics_status_and_prometheus_say_the_same(found: Survey) -> None:
    """Loss prevented: a screen that is green beside a command that is red, and nobody knows which to believe."""
    everything = [(str(each.code), each.level.value, each.subject) for each in found.findings]
    metrics, status = found.to_json(), status_document(found)
    assert [(each["name"], each["severity"], each["subject"]) for each in metrics["issues"]] == everything
    assert [(each["name"], each["severity"], each["subject"]) for each in status["findings"]] == everything
    assert status["status"] == metrics["health"]["health_status"] == found.status.value
    assert json.loads(json.dumps(status)) == status

    gauges: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(to_prometheus(found)):
        for sample in family.samples:
            rest = "".join(value for name, value in sample.labels.items() if name != "database")
            gauges.setdefault(sample.name.removeprefix(PREFIX), {})[rest] = sample.value
    for level in (Level.NOTE, Level.WARNING, Level.CRITICAL):
        assert gauges["health_issues"][level] == sum(each.level is level for each in found.findings)
        assert gauges["anomalies"][level] == sum(
            each.level is level for each in found.findings if each.is_anomaly
        )
    assert [state for state in Status if gauges["health_status"][state]] == [found.status]
    assert sum(gauges["missing_partitions"].values()) == len(metrics["missing_partitions"])

    point = found.recovery_point
    verified = status["recovery_point"]["backup_id"]
    assert metrics["backup"]["latest_backup"] == verified == (point.verified_id or None)
    assert metrics["objectives"]["newest_proven"] == status["recovery_point"]["proven_backup_id"]
    assert gauges.get("latest_backup_info", {}) == ({} if verified is None else {verified: 1.0})
    for moment, gauge in (
        (point.verified_as_of, "latest_backup_timestamp_seconds"),
        (point.proven_as_of, "proven_backup_timestamp_seconds"),
    ):
        assert gauges.get(gauge, {}) == ({} if moment is None else {"": moment.timestamp()})
    assert gauges.get("backup_age_seconds", {"": None})[""] == found.age_seconds
    # Prometheus' own rule counts from the same moment, with the same limit.
    if point.verified_as_of is not None and not only(found.findings, "restore_failed"):
        waited = NOW.timestamp() - gauges["unproven_since_timestamp_seconds"][""]
        is_late = waited > gauges["proof_warning_seconds"][""]
        assert is_late is bool(only(found.findings, "unproven", "never_proven"))


@given(surveys())
def test_the_page_and_the_terminal_show_what_was_found(found: Survey) -> None:
    """Loss prevented: a page whose headline names another backup than its list, or a cell that no line explains."""
    html = page([found])
    assert f'class="card status {found.status.value}"' in html
    listed = re.findall(r'<span class="tag (\w+)">', html)
    assert listed == [each.level.value for each in found.findings[:30]]
    words = unescape(re.sub(r"<[^>]+>", "", html)).replace("\u00a0", " ")
    lines = status_lines(found)
    assert len(lines) <= 10
    for each in found.findings[:2]:
        assert str(each.sentence.text()).split(":")[0] in words
        assert each.level is Level.NOTE or any(each.sentence.text() in line for line in lines)
    gaps = {each.subject for each in found.gaps}
    cells = coverage(found.catalog, CALENDAR, NOW, gaps=gaps)
    red = {
        f"{tier.value}/{cell.partition}"
        for tier, row in cells.rows
        for cell in row
        if cell.state is State.MISSING
    }
    assert red <= gaps


@given(surveys())
def test_the_checks_of_a_backup_say_what_health_says_of_it(found: Survey) -> None:
    """Loss prevented: a check that is green beside a finding that is critical."""
    whole, thresholds = found.catalog, found.terms.thresholds
    ages = answer_of([*age(found.recovery_point, whole, thresholds, NOW)])
    assert named(each for each in ages.findings if each.level is not Level.FINE) == named(
        only(found.findings, "old", "no_verified_backup", "future")
    )
    codes: dict[str, set[Any]] = {
        "integrity": {"damaged_backup"},
        "encrypted": {"not_encrypted"},
        "size": {"dump_shrank", "dump_grew"},
        "compression": {"compression", "not_compressed"},
        "duration": {"duration"},
        "timeliness": {"late"},
        "proven": {"restore_failed", "unproven", "never_proven"},
    }
    assert {*codes, "age"} == set(QUESTIONS)
    for label in whole.labels.values():
        held = whole.labelled(label.tier, label.partition)
        assert held is not None
        for question, known in codes.items():
            says = answer(question, label, held, whole, thresholds, NOW)
            assert says.level is Level.FINE or says.code in known
            told = only(found.findings, *known)
            if question == "integrity":
                told = [each for each in told if each.subject == held.backup_id]
            elif question == "timeliness":
                told = [each for each in told if each.subject == f"{label.tier.value}/{label.partition}"]
                if label.partition != whole.newest_partition(label.tier, CALENDAR, NOW):
                    continue  # of an older partition nobody can change it, and its check alone says so
            elif found.newest is None or held.backup_id != found.newest.backup_id:
                continue
            assert named(told) == (set() if says.level is Level.FINE else named([says]))


@given(surveys())
def test_alerts_tell_what_was_found_and_nothing_else(found: Survey) -> None:
    """Loss prevented: a damaged backup that only a page shows; a mail about something that nothing else knows."""
    given_ = Circumstances(working=False, began_at=NOW - 60 * DAY, had_backups=True, wal_archived=True)
    seen = told_findings(found.findings, found.catalog, found.terms, given_, (), NOW)
    problems = {each.key: each for each in seen.problems}
    told: set[str] = set()
    for each in found.findings:
        key = key_of(each)
        if key is None:
            assert each.code in ("data_loss", "late", "not_checked", "restore_slow", "wal_old_gap")
            continue  # nobody is called for these
        told.add(key)
        severity = problems[key].severity
        assert severity is Severity.CRITICAL or each.level is not Level.CRITICAL
    assert set(problems) == told
    for key, problem in problems.items():
        levels = {each.level for each in found.findings if key_of(each) == key}
        assert (problem.severity is Severity.CRITICAL) is (Level.CRITICAL in levels)
        assert isinstance(problem, Problem)


def shown_by_all(catalog: Catalog, code: str, subject: str = "") -> set[bool]:
    """Whether a finding is in metrics, in status and among the alerts: one answer, or they disagree."""
    found = survey_of(Facts(catalog), HealthTerms("recyclic", CALENDAR, Retention(), Thresholds()), NOW)
    given_ = Circumstances(working=False, began_at=NOW - 60 * DAY, had_backups=True)
    seen = told_findings(found.findings, catalog, found.terms, given_, (), NOW)
    finding = Finding(code, subject, Level.WARNING)
    return {
        *(
            (code, subject) in {(each["name"], each["subject"]) for each in shown}
            for shown in (found.to_json()["issues"], status_document(found)["findings"])
        ),
        key_of(finding) in {each.key for each in seen.problems},
    }


def test_a_proof_dated_300_days_ahead_is_none_anywhere() -> None:
    """Loss prevented: metrics and page that call it the newest proven backup, beside a mail that there is none."""
    ahead = Check("drill", "X", NOW + 300 * DAY, passed=True, proves=True)
    newest = backup(NOW - HOUR, Check("verify", "X", NOW, passed=True), ahead)
    first = backup(NOW - 20 * DAY, Check("verify", "X", NOW, passed=True), plain=2000)
    whole = catalog(first, newest)
    assert shown_by_all(whole, "never_proven") == {True}
    found = survey_of(Facts(whole), HealthTerms("recyclic", CALENDAR, Retention(), Thresholds()), NOW)
    assert found.to_json()["objectives"]["newest_proven"] is None
    assert found.recovery_point.proven_id == ""
    assert "No restore has been proven yet" in page([found])


def test_an_older_backup_found_damaged_is_told_by_all() -> None:
    """Loss prevented: a month that verify --all found rotten, on a page that nobody opens and in no mail."""
    rotten = backup(NOW - 20 * DAY, Check("verify", "X", NOW, passed=False, reasons=("cut",)), plain=2000)
    newest = backup(NOW - HOUR, Check("verify", "X", NOW, passed=True))
    assert shown_by_all(catalog(rotten, newest), "damaged_backup", rotten.backup_id) == {True}


@pytest.mark.parametrize(("days", "is_told"), [(7.5, False), (8.5, True)])
def test_restores_are_proven_too_long_ago_for_all_at_once(days: float, is_told: bool) -> None:
    """Loss prevented: orange after seven days here, a mail after eight there, and an alarm each Sunday morning."""
    proof = Check("drill", "X", NOW - days * DAY, passed=True, proves=True)
    proved = backup(NOW - 20 * DAY, Check("verify", "X", NOW, passed=True), proof, plain=2000)
    newest = backup(NOW - HOUR, Check("verify", "X", NOW, passed=True))
    assert shown_by_all(catalog(proved, newest), "unproven") == {is_told}


@pytest.mark.parametrize(("days", "is_told"), [(5, True), (12, False)])
def test_a_gap_ends_for_all_when_its_backup_would_be_gone(days: int, is_told: bool) -> None:
    """Loss prevented: a day that the page calls history, and that mails remind of, or the other way round."""
    nights = [backup(NOW - number * DAY, plain=1000 + number) for number in range(20) if number != days]
    key = f"daily/{CALENDAR.partition_of(Tier.DAILY, NOW - days * DAY)}"
    whole = [replace(each, checks=(Check("verify", each.backup_id, NOW, passed=True),)) for each in nights]
    assert shown_by_all(catalog(*whole), "missing", key) == {is_told}
    # Of a week that only lacks its label people hear for four weeks, not for seven days.
    assert shown_by_all(catalog(*whole), "missing_label", "weekly/2026-11-09") == {True}


@pytest.mark.parametrize(("kept", "is_rewritten"), [(24, True), (54, False)])
def test_health_and_diagnose_call_the_same_rows_rewritten(kept: int, is_rewritten: bool) -> None:
    """Loss prevented: 45 of 100 rows kept, which is an attack for one and an ordinary day for the other."""
    rows = [f"member {number}" for number in range(120)]
    last = [*rows[:kept], *(f"sealed {row}" for row in rows[kept:])]
    before, after = {"public.members": table_of(rows)}, {"public.members": table_of(last)}
    nights = [night(number, tables=before) for number in range(14)]
    judged = found_in(nights_catalog([*nights, night(14, tables=after)]))
    history = [Dated(each.as_of, Fingerprint("content", before)) for each in nights]
    live = LiveFigures(after)
    losses = find_losses(history[-1], live, history, NIGHTS_NOW).losses
    assert ("table_rewritten public.members" in judged) is is_rewritten
    assert ("rewritten" in {each.kind for each in losses}) is is_rewritten


def test_where_no_first_day_is_set_the_first_backup_gives_it_to_whoever_judges() -> None:
    """Loss prevented: days before the first backup told as missing, or days since then as none that count."""
    found = catalog(backup(paris("2026-11-20T02:00")))
    anytime = replace(CALENDAR, start=None)
    terms = HealthTerms("recyclic", anytime, Retention(), Thresholds())
    judged = survey_of(Facts(found), terms, paris("2026-12-03T12:00"))
    assert judged.terms.calendar.start == date(2026, 11, 1)
    assert CALENDAR.since(found.began_at) == CALENDAR
    assert anytime.since(None) == anytime
