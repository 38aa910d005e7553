"""What operators and Dagster do is in the log, and the log is shown."""

from __future__ import annotations

import pytest

from recyclic_backups_tests.operator import PASSPHRASE, Operator

pytestmark = pytest.mark.small


def test_everything_done_to_a_backup_is_in_the_log_and_the_log_is_whole(operator: Operator) -> None:
    """Prevents a copy of the members' data of which nobody can say who made it."""
    backup_id = operator.backup_id()
    operator.must("verify", backup_id)
    operator.must("restore", backup_id, "--into", f"{operator.variables['POSTGRES_DB']}_audit")
    live = operator.variables["POSTGRES_DB"]
    operator.must("restore", backup_id, "--table", "public.sale", "--merge-into", live, "--yes")
    operator.must("hold", backup_id, "--reason", "a dispute", "--until", "2030-01-01")
    operator.must("release", backup_id)
    operator.must("expire", "--yes")
    operator.must("keys", "rotate")
    operator.run("restore", "20200101T000000Z-AAAAAA", "--into", "nowhere")

    events = operator.must("audit", "show", "--json").json
    actions = [(event["action"], event["outcome"]) for event in events]
    assert actions == [
        ("configuration", "done"),
        ("verify", "whole"),  # a backup reads itself again before it counts
        ("backup", "done"),
        ("verify", "whole"),
        ("restore", "equal"),
        ("restore", "equal"),  # of one table, beside
        ("merge", "done"),
        ("hold", "done"),
        ("release", "begun"),
        ("release", "done"),
        ("rotate keys", "done"),
    ]
    assert {event["backup_id"] for event in events if event["action"] in ("restore", "hold")} == {backup_id}
    assert all(event["actor"]["user"] and event["actor"]["host"] for event in events)
    outcome = operator.must("audit", "verify")
    assert outcome.out.splitlines()[-1].startswith("whole")
    assert PASSPHRASE not in operator.must("audit", "show", "--json").out

    shown = operator.must("audit", "show", "--action", "restore", "--json").json
    assert {event["action"] for event in shown} == {"restore"}
    assert operator.must("audit", "show", "--since", "2999-01-01", "--json").json == []


def test_a_change_of_settings_is_recorded_once_and_shows_no_secret(operator: Operator) -> None:
    """Prevents encryption from being switched off without anybody being able to tell when."""
    operator.must("backup")
    operator.must("backup")
    operator.must("backup", RETENTION_DAILY="9")
    changes = operator.must("audit", "show", "--action", "configuration", "--json").json
    assert [event["details"]["settings"]["RETENTION_DAILY"] for event in changes] == ["7", "9"]
    assert changes[0]["details"]["settings"]["BACKUP_ENCRYPTION_KEY"] == "given"


def test_a_log_that_was_cut_is_found_by_the_manifests(operator: Operator) -> None:
    """Prevents whoever can delete files from deleting the trace of it."""
    operator.must("backup")
    operator.must("backup")
    events = sorted((operator.storage / operator.variables["POSTGRES_DB"] / "audit").iterdir())
    for event in events[1:]:
        event.unlink()
    outcome = operator.run("audit", "verify")
    assert outcome.code == 40
    assert "the manifest of" in outcome.out


def test_a_tail_that_no_manifest_remembers_is_found_by_a_head_noted_elsewhere(operator: Operator) -> None:
    """Prevents whoever read the members' data since last night from removing the trace, unnoticed for ever."""
    backup_id = operator.backup_id()
    operator.must("verify", backup_id)
    noted = operator.run("metrics", "--format", "json").json["audit_head"]
    head = f"{noted['number']}:{noted['sha256']}"
    assert operator.must("audit", "verify", "--head", head).out.splitlines()[-1].endswith("nothing cut off")
    events = sorted((operator.storage / operator.variables["POSTGRES_DB"] / "audit").iterdir())
    events[-1].unlink()
    said = operator.must("audit", "verify")  # nobody in the storage can know, and it says so
    assert "up to event 1 nothing cut off" in said.out
    found = operator.run("audit", "verify", "--head", head)
    assert found.code == 40
    assert f"event {noted['number']}, which --head" in found.out
    assert operator.run("audit", "verify", "--head", "7").code == 2
