"""Whatever differs in the restored copy turns the drill red and is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups.restore.attempt import Attempt
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.operator import Operator

MUTATIONS = {
    "a row": ("DELETE FROM sale WHERE id = 7", "public.sale: 1 row missing"),
    "a value": ("UPDATE sale SET total = total + 1 WHERE id = 7", "public.sale: content differs"),
    "a null": (
        "ALTER TABLE sale ALTER total DROP NOT NULL; UPDATE sale SET total = NULL WHERE id = 7",
        "became null",
    ),
    "a grant": ("GRANT SELECT ON sale TO PUBLIC", "sale"),
    "a sequence's value": (
        "SELECT setval(pg_get_serial_sequence('member', 'id'), 3)",
        "sequence public.member_id_seq",
    ),
    "an index": ("CREATE INDEX added ON sale (total)", "added"),
    "a constraint": ("ALTER TABLE sale DROP CONSTRAINT sale_member_id_fkey", "sale_member_id_fkey"),
}


@pytest.fixture
def mutating(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make every restore of this test change something in what it restored, before it compares."""

    def mutate(sql: str) -> None:
        compare_with = Attempt.compare_with

        def changed(attempt: Any, name: str, *how: Any) -> Any:
            with attempt.server.connect(name) as connection:
                connection.execute(sql)
            return compare_with(attempt, name, *how)

        monkeypatch.setattr(Attempt, "compare_with", changed)

    return mutate


@pytest.mark.parametrize("what", some(MUTATIONS, {"a row", "a grant", "a sequence's value", "an index"}))
def test_a_copy_that_differs_fails_the_drill_and_is_named(
    small_operator: Operator, mutating: Callable[[str], None], what: str
) -> None:
    """Prevents a green drill over a database that is not the one that was backed up."""
    sql, sentence = MUTATIONS[what]
    backup_id = small_operator.backup_id()
    mutating(sql)
    outcome = small_operator.run("drill", "simple", "--json")

    assert outcome.code == 80
    assert not outcome.json["passed"]
    assert any(sentence in reason for reason in outcome.json["reasons"]), outcome.json["reasons"]
    checks = small_operator.must("show", backup_id, "--json").json["checks"]
    assert [(check["passed"], check["proves"]) for check in checks if check["check"] == "drill"] == [
        (False, False)
    ]
    assert small_operator.must("list", "--json").json[0]["proven_at"] is None


def test_a_flipped_byte_fails_the_drill_as_damage(small_operator: Operator) -> None:
    """Prevents bit rot from being taken for a server that would not start."""
    backup_id = small_operator.backup_id()
    (main,) = small_operator.storage.glob("*/backups/*/main.dump.zst.sealed")
    _flip(main, 200)
    outcome = small_operator.run("drill", "simple", "--backup", backup_id, "--json")

    assert outcome.code == 40
    assert any("main.dump" in reason for reason in outcome.json["reasons"])
    checks = small_operator.must("show", backup_id, "--json").json["checks"]
    assert not next(check for check in checks if check["check"] == "drill")["passed"]


def test_damage_that_diagnose_does_not_find_fails_the_partial_drill(
    small_operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a drill that rehearses only what was known beforehand."""
    from recyclic_backups.diagnose.report import Diagnosis
    from recyclic_backups.drill import partial

    small_operator.backup_id()
    nothing = Diagnosis("live", None, None, (), (), ())
    monkeypatch.setattr(partial, "diagnose", lambda *_args, **_options: nothing)
    outcome = small_operator.run("drill", "partial", "--json")

    assert outcome.code == 80
    assert any("diagnose did not find" in reason for reason in outcome.json["reasons"])


def test_a_probe_with_another_answer_fails_the_drill(small_operator: Operator, tmp_path: Path) -> None:
    """Prevents a restored database that is equal to a backup nobody's application can work with."""
    small_operator.backup_id()
    probes = tmp_path / "probes"
    probes.mkdir()
    (probes / "many.sql").write_text(
        "-- probe: many members\n-- expect: at least 501\nSELECT count(*) FROM public.member"
    )
    outcome = small_operator.run("drill", "simple", "--json", DRILL_PROBES=str(probes))

    assert outcome.code == 80
    assert outcome.json["reasons"] == ["probe 'many members': is 500, less than 501"]


def _flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
