"""The survey: what retention knows is among the issues, and what could be freed is said and never done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.errors import StorageError
from recyclic_backups.health.finding import Level
from recyclic_backups.report.publish import publish
from recyclic_backups.report.space import savings
from recyclic_backups.report.trends import trends
from recyclic_backups_tests.report.surveys import NOW, quarter, surveyed


def test_what_retention_could_not_promise_is_critical() -> None:
    """Loss prevented: backups that stopped a year ago, and health that looks at space only."""
    found = surveyed(quarter(), now=NOW + timedelta(days=500))
    names = {str(each.code) for each in found.findings if each.level is Level.CRITICAL}
    assert any(name.startswith("retention_") for name in names)


def test_savings_are_what_the_policy_would_free_and_never_what_it_protects() -> None:
    """Loss prevented: advice on a full disk that gives the last good backup away."""
    found = surveyed(quarter())
    freeable = savings(found)
    assert freeable
    assert [each.freed_bytes for each in freeable] == sorted(
        (each.freed_bytes for each in freeable), reverse=True
    )
    protected = sum(each.manifest.stored_bytes for each in [b for b in found.catalog if b.good][:3])
    for each in freeable:
        assert 0 < each.freed_bytes <= found.total_size_bytes - protected
        assert each.text("en") != each.text("fr")


def test_where_a_tier_is_not_yet_full_a_setting_small_enough_is_named() -> None:
    """Loss prevented: "nothing could be freed" on a full disk, though three months lie there."""
    found = surveyed(quarter())
    months = sum(Tier.MONTHLY in each.tiers for each in found.catalog)
    assert months < found.terms.retention.monthly // 2
    named = {each.name: int(each.value) for each in savings(found) if each.kind == "saving setting"}
    assert named["RETENTION_MONTHLY"] < months


def test_a_hold_that_keeps_an_old_backup_is_named() -> None:
    """Loss prevented: a forgotten hold that fills the disk."""
    catalog = quarter(held=["2026-09-20"], missing=())
    (held,) = [each for each in catalog if each.hold is not None]
    assert any(held.backup_id in each.text() for each in savings(surveyed(catalog)))


def test_without_backups_there_is_nothing_to_free_and_nothing_to_draw() -> None:
    """Loss prevented: a report that cannot be made on the first day."""
    found = surveyed(Catalog((), {}))
    assert savings(found) == []
    assert trends(found) == []


def test_curves_remember_the_size_of_what_expired() -> None:
    """Loss prevented: a trend of a week where there was one of a quarter."""
    charts = {chart.title: chart for chart in trends(surveyed(quarter()))}
    assert len(charts["Stored, newest backups"].points) == 60
    assert len(charts["Duration of the backup"].points) < 20


def test_an_unreadable_fingerprint_is_left_out_of_the_curve() -> None:
    """Loss prevented: no report at all, because of one manifest that was edited."""
    catalog = quarter()
    newest = catalog.backups[0]
    manifest = replace(newest.manifest, fingerprint={"level": "content", "tables": 3})
    found = surveyed(replace(catalog, backups=(replace(newest, manifest=manifest), *catalog.backups[1:])))
    rows = {chart.title: chart for chart in trends(found)}["Rows"]
    assert len(rows.points) == len(trends(surveyed(catalog))[1].points) - 1


def test_a_published_file_is_whole_readable_by_others_and_leaves_nothing_beside(tmp_path: Path) -> None:
    """Loss prevented: half a page on the screen; metrics that the collector may not read."""
    file = tmp_path / "page.html"
    publish(file, "one")
    publish(file, "é" * 10_000)
    assert file.read_text(encoding="utf-8") == "é" * 10_000
    assert file.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """Loss prevented: a traceback in cron's mail, and the old file gone."""
    with pytest.raises(StorageError, match="cannot be written"):
        publish(tmp_path / "nowhere" / "page.html", "text")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError):
        publish(tmp_path / "taken", "text")
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]
