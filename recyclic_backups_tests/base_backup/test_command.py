"""``base-backup`` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import receiving
from recyclic_backups_tests.base_backup.conftest import forgotten_slot
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator, variables_of


@pytest.fixture
def at_hand(
    based_cluster: ScratchCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Operator]:
    """The command line beside the server and a receiver."""
    encrypted = {"BACKUP_ENCRYPTION": "true", "BACKUP_ENCRYPTION_KEY": KEY}
    operator = Operator(tmp_path, capsys, {**variables_of(based_cluster.server, "postgres"), **encrypted})
    store = LocalStore.open(operator.storage, create=True)
    with forgotten_slot(based_cluster), receiving(based_cluster, store):
        yield operator


def test_it_is_taken_listed_and_verified(at_hand: Operator) -> None:
    """Loss prevented: base backups that nobody can look at before the day they are needed."""
    assert "there is no base backup" in at_hand.must("base-backup", "--list").out
    assert at_hand.run("base-backup", "--verify").code == 60
    taken = at_hand.must("base-backup", "--full", "--json").document["base_backup"]
    assert (taken["kind"], taken["tablespaces"], taken["encrypted"]) == ("full", 1, True)
    assert taken["verified_at"] is not None
    [listed] = at_hand.must("base-backup", "--list", "--json").document["base_backups"]
    assert listed["base_id"] == taken["base_id"]
    assert taken["base_id"] in at_hand.must("base-backup", "--list").out
    assert "every file is whole" in at_hand.must("base-backup", "--verify", taken["base_id"]).out
    name = next(path for path in at_hand.storage.rglob("base.tar.zst.sealed"))
    content = bytearray(name.read_bytes())
    content[1000] ^= 1
    name.write_bytes(content)
    outcome = at_hand.run("base-backup", "--verify", "--json")
    assert outcome.code == 40
    assert outcome.document["verifications"][0]["passed"] is False
    assert "base.tar.zst.sealed" in outcome.err


def test_options_that_contradict_each_other_are_refused(at_hand: Operator) -> None:
    """Loss prevented: a full copy of production for somebody who wanted a list."""
    assert at_hand.run("base-backup", "--full", "--incremental").code == 2
    assert at_hand.run("base-backup", "--list", "--verify").code == 2


def test_verify_all_reads_base_backups_too(at_hand: Operator) -> None:
    """Loss prevented: base backups that were read once, on the day they were taken."""
    at_hand.must("backup")
    base_id = at_hand.must("base-backup", "--json").document["base_backup"]["base_id"]
    verdicts = at_hand.must("verify", "--all", "--json").json
    assert [each["level"] for each in verdicts if each.get("base_id") == base_id] == ["files"]
    name = next(path for path in at_hand.storage.rglob("base.tar.zst.sealed"))
    name.write_bytes(name.read_bytes()[:-1])
    for level in ("stored", "parsed"):
        outcome = at_hand.run("verify", "--all", "--level", level)
        assert outcome.code == 40
        assert f"{base_id}: base.tar.zst.sealed has" in outcome.err
