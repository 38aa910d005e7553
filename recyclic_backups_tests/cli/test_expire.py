"""``expire``: the plan as a person and as a script read it, and what ``--yes`` does."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups.cli import render
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

FEW = {
    "RETENTION_DAILY": "1",
    "RETENTION_WEEKLY": "0",
    "RETENTION_MONTHLY": "0",
    "RETENTION_CHECKPOINT": "0",
    "RETENTION_MINIMUM": "1",
}


@pytest.fixture
def three_days(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> tuple[Operator, list[str]]:
    """An operator with a backup of each of three days, and their ids, the oldest first."""
    operator.variables |= {**FEW, "BACKUP_ENCRYPTION_KEY": KEY, "BACKUP_FINGERPRINT": "off"}
    # Not today: of two backups 24 hours apart, both may be of the long Sunday on which summer time ends.
    began_at, taken = datetime(2026, 11, 18, 12, tzinfo=UTC), []
    for day in range(3):
        monkeypatch.setattr(render, "now", lambda day=day: began_at + timedelta(days=day))
        taken.append(operator.backup_id())
    return operator, taken


def test_the_plan_is_shown_and_nothing_is_done(three_days: tuple[Operator, list[str]]) -> None:
    """Loss prevented: somebody looks at what would go, and it is gone."""
    operator, taken = three_days
    before = operator.stored()
    plan = operator.must("expire", "--json").json
    assert [entry["backup_id"] for entry in plan] == list(reversed(taken))
    assert [entry["action"] for entry in plan] == ["keep", "expire", "expire"]
    assert all(set(entry) == {"backup_id", "action", "reasons"} and entry["reasons"] for entry in plan)
    shown = operator.must("expire")
    for backup_id in taken:
        assert backup_id in shown.out
    assert "not among the newest 1" in shown.out
    assert "kept: 1 backup, " in shown.out
    assert shown.out.splitlines()[-1].startswith(
        "nothing was deleted; --yes would delete 2 backups and free "
    )
    assert operator.stored() == before


def test_yes_deletes_what_the_plan_said(three_days: tuple[Operator, list[str]]) -> None:
    """Loss prevented: a disk that fills although something was said to be deleted."""
    operator, taken = three_days
    done = operator.must("expire", "--yes", "--json").json
    freed = {entry["backup_id"]: entry["freed_bytes"] for entry in done}
    assert freed[taken[2]] == 0
    assert freed[taken[0]] > 0
    assert freed[taken[1]] > 0
    assert [entry["backup_id"] for entry in operator.must("list", "--json").json] == [taken[2]]
    # Of a backup that expired, nothing but its tombstone is left.
    left = [name for name in operator.stored() if taken[0] in name]
    assert [name.split("/")[1:] for name in left] == [["tombstones", f"{taken[0]}.json"]]
    assert operator.run("restore", taken[0], "--into", "gone").code == 60
    again = operator.must("expire", "--yes")
    assert again.out.splitlines()[-1] == "0 backups deleted and seen to be gone, 0 B freed; kept: 1 backup"
    assert operator.must("verify", "--all").code == 0


def test_the_plan_says_what_will_be_freed(three_days: tuple[Operator, list[str]]) -> None:
    """Loss prevented: a full disk and a plan believed that left the documents out."""
    operator, _taken = three_days
    planned = operator.must("expire").out.splitlines()[-1]
    done = operator.must("expire", "--yes").out.splitlines()[-1]
    freed = re.search(r"free ([\d.]+ [kM]?B), their documents included$", planned)
    assert freed is not None, planned
    assert f"gone, {freed[1]} freed" in done


def test_a_database_that_is_away_stops_it_until_it_is_said_to_be_gone(
    three_days: tuple[Operator, list[str]],
) -> None:
    """Loss prevented: old backups deleted while the server burns; or members' data kept of a shop that closed."""
    operator, _taken = three_days
    away = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1", "POSTGRES_CONNECT_TIMEOUT": "2"}
    before = operator.stored()
    refused = operator.run("expire", "--yes", **away)
    assert refused.code == 70
    assert "nothing expires while the database cannot be reached" in refused.err
    assert "--without-database" in refused.err
    assert operator.stored() == before
    # To look, no server is needed, and saying that there is none is a command that was not finished.
    unfinished = operator.run("expire", "--without-database", **away)
    assert unfinished.code == 2
    assert "--without-database is for --yes" in unfinished.err
    assert not unfinished.out
    assert operator.must("expire", "--json", **away).json[0]["action"] == "keep"
    shown = operator.must("expire", "--yes", "--without-database", **away)
    assert "2 backups deleted" in shown.out


def test_a_forged_label_is_exit_40_and_deletes_nothing(three_days: tuple[Operator, list[str]]) -> None:
    """Loss prevented: a label moved by somebody without the key decides which backup leaves."""
    operator, taken = three_days
    *_, label = sorted(operator.storage.rglob("tiers/daily/*.json"))
    label.write_text(json.dumps(json.loads(label.read_text()) | {"backup_id": taken[0]}))
    before = operator.stored()
    for arguments in (["expire"], ["expire", "--yes"]):
        outcome = operator.run(*arguments)
        assert outcome.code == 40
        assert "nothing expires" in outcome.err
    assert operator.stored() == before


def test_without_any_backup_there_is_nothing_to_do(operator: Operator) -> None:
    """Loss prevented: a line of cron that fails on the first night."""
    operator.storage.mkdir()
    assert operator.must("expire", "--json").json == []
    assert operator.must("expire", "--yes", "--json").json == []
    assert operator.stored() == set()


def test_an_incident_is_said_where_people_look(
    three_days: tuple[Operator, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: backups stopped a year ago, and the only sign of it is that nothing is deleted."""
    operator, _taken = three_days
    later = render.now() + timedelta(days=500)
    monkeypatch.setattr(render, "now", lambda: later)
    outcome = operator.must("expire")
    assert "incident: the newest good backup" in outcome.err


def test_in_french_all_of_it_is_french_and_a_script_reads_the_same(
    three_days: tuple[Operator, list[str]],
) -> None:
    """Loss prevented: the person who answers for the data cannot read what would be deleted, or a script breaks."""
    operator, taken = three_days
    english = operator.must("expire", "--json").json
    operator.variables["BACKUP_LOCALE"] = "fr"
    assert operator.must("expire", "--json").json == english
    shown = operator.must("expire", RETENTION_DAILY="3", RETENTION_MAX_DAYS="20")
    assert "avertissement\u00a0: " in shown.err
    assert "retenez-la" in shown.err
    assert "la sauvegarde valide la plus récente\u00a0; " in shown.out
    assert (
        shown.out.splitlines()[-1] == "rien n'a été supprimé\u00a0; --yes ne supprimerait aucune sauvegarde"
    )
    planned = operator.must("expire").out.splitlines()
    assert planned[0].split("  ")[0] == "SAUVEGARDE"
    assert planned[-2].startswith("à garder\u00a0: 1 sauvegarde, ")
    assert re.search(r"supprimerait 2 sauvegardes et libérerait [\d,]+ [kM]?o, ", planned[-1])
    held = operator.must("hold", taken[0], "--reason", "litige", "--until", "9998-12-31")
    assert held.out
    done = operator.must("expire", "--yes").out.splitlines()
    assert done[-1].startswith("suppression constatée\u00a0: 1 sauvegarde, ")
    assert "quotidienne" in done[1]
    assert "retenue jusqu'au 9998-12-31\u00a0: litige" in operator.must("expire").out
    for printed in (shown, operator.must("expire")):
        for word in ("keep", "kept", "backup", "WHY", "daily", " MB"):
            assert word not in printed.out
