"""What is found, told in the language of the house; Dagster's pages stay English."""

from __future__ import annotations

import re
from datetime import timedelta

import dagster as dg
import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.errors import DatabaseError
from recyclic_backups_tests.defs.conftest import BEGINNING, House, elsewhere, spoil
from recyclic_backups_tests.defs.test_alerts import Looks, failed_run, looks
from recyclic_backups_tests.defs.test_metrics import answers, run, with_free_space
from recyclic_backups_tests.notify.receivers import Web, bot

__all__ = ["bot", "looks"]

NIGHTS = 6


@pytest.fixture
def french(looks: Looks) -> Looks:
    """The sensor of an installation whose people read French."""
    looks.house.variables["BACKUP_LOCALE"] = "fr"
    return looks


def emptied(house: House) -> None:
    """Some ordinary nights, and one after which the members are gone."""
    for night in range(NIGHTS + 1):
        house.clock.at = BEGINNING + timedelta(days=night)
        if night == NIGHTS:
            with house.settings().server.connect(house.variables["POSTGRES_DB"]) as connection:
                connection.execute("DELETE FROM member")
        elsewhere(house, Tier.DAILY, f"2026-11-{night + 1:02}")


def sentences(bot: Web) -> str:
    """Everything that was told, spaces as a keyboard makes them."""
    return re.sub(r"[^\S\n]", " ", "\n".join(bot.texts))


def test_an_anomaly_is_told_in_french_and_shown_in_english(french: Looks, bot: Web) -> None:
    """Loss prevented: an emptied table that whoever is on duty cannot read of."""
    emptied(french.house)
    check = answers(run(french.house))["anomalies"]
    assert not check.passed
    assert "public.member is empty since" in str(check.description)
    french.look()
    told = sentences(bot)
    assert "La dernière sauvegarde ne ressemble pas aux précédentes : " in told
    assert "public.member est vide depuis le 2026-11-07 ; elle avait 20 lignes" in told
    assert "is empty" not in told


@pytest.mark.slow
def test_in_english_everything_is_as_it_was(looks: Looks, bot: Web) -> None:
    """Loss prevented: two sentences where one was, and a language nobody asked for."""
    emptied(looks.house)
    check = answers(run(looks.house))["anomalies"]
    assert not check.passed
    looks.look()
    told = sentences(bot)
    assert "The newest backup is not like those before it: public.member is empty since 2026-11-07" in told
    assert "vide" not in told


def test_checks_of_one_backup_are_told_in_french(french: Looks, bot: Web) -> None:
    """Loss prevented: 'it is not encrypted', told to people who skip what they do not read."""
    result = french.house.run("daily", "2026-11-01")
    shown = {each.check_name: str(each.description) for each in result.get_asset_check_evaluations()}
    assert " is not encrypted: whoever finds it reads members' data (GDPR, article 32)" in shown["encrypted"]
    french.look()
    told = sentences(bot)
    assert " n'est pas chiffrée : qui la trouve lit les données des membres (RGPD, article 32)" in told
    assert "is not encrypted" not in told


def test_a_disk_that_is_full_is_told_in_french(
    french: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: the warning before the night without a backup, in half a language."""
    house = french.house
    elsewhere(house, Tier.DAILY, "2026-11-01")
    with_free_space(monkeypatch, 10)
    assert not answers(run(house))["disk_space"].passed
    french.look()
    told = sentences(bot)
    assert "Le stockage est presque plein : il reste 10 o là où sont les sauvegardes" in told


def test_a_backup_that_became_unreadable_is_told_in_french_with_the_error_in_quotation_marks(
    french: Looks, bot: Web
) -> None:
    """Loss prevented: the sentence about a damaged backup that ends in another language without warning."""
    house = french.house
    done = elsewhere(house, Tier.DAILY, "2026-11-01")
    house.clock.at += timedelta(minutes=30)
    house.evaluate("catalog_sync")
    spoil(house, done.backup)
    house.evaluate("catalog_sync")
    french.look()
    told = sentences(bot)
    assert re.search(r"CRITIQUE : Un document du stockage est endommagé : \S+ : « (.+) »", told), told


def test_failures_are_told_in_french_with_what_was_said_in_quotation_marks(
    french: Looks, bot: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: 'a échoué : its log says no more'."""
    from recyclic_backups.defs.backups import assets as backups

    def failing(*_: object, **__: object) -> None:
        raise DatabaseError("the server is on fire")

    failed_run(french.house, "health_job")
    monkeypatch.setattr(backups, "back_up", failing)
    assert not french.house.run("daily", "2026-11-01").success
    french.look()
    told = sentences(bot)
    assert "health_job a échoué : son journal n’en dit pas plus" in told
    assert "a échoué : « the server is on fire »" in told
    assert "its log" not in told


def test_promises_of_retention_are_told_in_french(french: Looks, bot: Web) -> None:
    """Loss prevented: a backup that leaves damaged, announced in words nobody in the house reads."""
    house = french.house
    house.variables["RETENTION_MAX_DAYS"] = "100"
    elsewhere(house, Tier.DAILY, "2026-11-01")
    house.clock.at += timedelta(days=120)
    result = run(house, "retention_job")
    check = answers(result, "expired_backups")["promises"]
    assert not check.passed
    assert check.severity in (dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN)
    assert "is older than 100 days" in str(check.description)
    french.look()
    told = sentences(bot)
    assert "La rétention ne peut tenir une promesse : " in told
    assert "a plus de 100 jours (RETENTION_MAX_DAYS)" in told
    assert "older than" not in told
