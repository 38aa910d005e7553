"""Tables encrypted in place, or updated without a WHERE, are seen; tables that people work with are not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from operator import le

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st

from recyclic_backups.fingerprint.model import Fingerprint, TableFingerprint
from recyclic_backups.health.anomalies import anomalies, newest_ordinary
from recyclic_backups.health.finding import Finding, Level
from recyclic_backups.health.thresholds import NEWS_COUNT
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.fingerprint.rows import table_of
from recyclic_backups_tests.health.nights import NOW, catalog, found_in, night
from recyclic_backups_tests.house import House

Rows = set[str]
MEMBERS = "public.members"


def encrypted(rows: Rows) -> Rows:
    """Every row another one, with as many of them."""
    return {f"sealed {row}" for row in rows}


def lived(number: int, *, rows: int = 120, edits: int = 5, salt: int = 0) -> Rows:
    """A table on night ``number``: two rows more every night, some edited, none for ever the same."""
    versions = dict.fromkeys(range(rows + 2 * number), 0)
    for past in range(number):
        for which in random.Random(past * 1000 + salt).sample(range(rows), edits):
            versions[which] = past + 1
    return {f"({salt},{which},{version})" for which, version in versions.items()}


def nights_of(
    *tables: Callable[[int], Rows | None], of: int = 15, sketched: Callable[[int], bool] = lambda _: True
) -> dict[str, object]:
    """Anomalies of nights on which the tables had these rows; the first is :data:`MEMBERS`."""
    made = []
    for number in range(of):
        found: dict[str, TableFingerprint] = {}
        for which, rows_of in enumerate(tables):
            rows = rows_of(number)
            if rows is not None:
                name = MEMBERS if not which else f"public.table{which}"
                found[name] = table_of(rows, sketched=sketched(number))
        made.append(night(number, of=of, tables=found))
    return dict(found_in(catalog(made)))


def since(first: int, rows: Callable[[int], Rows] = lived) -> Callable[[int], Rows]:
    """A table that somebody encrypted before night ``first``, and that lives on."""
    return lambda number: encrypted(rows(number)) if number >= first else rows(number)


def changed_last(before: Rows, after: Rows) -> Callable[[int], Rows]:
    """A table that never changed before the last of fifteen nights."""
    return lambda number: after if number == 14 else before


@pytest.mark.parametrize(("rows", "level"), [(120, Level.CRITICAL), (30, Level.WARNING)])
def test_one_small_table_that_changes_every_day_and_is_encrypted_in_place_is_seen(
    rows: int, level: Level
) -> None:
    """Loss prevented: members encrypted, too few to move the compression, until no older backup is left."""
    edits = rows // 20

    def table(number: int) -> Rows:
        return lived(number, rows=rows, edits=edits)

    found = found_in(catalog([night(n, tables={MEMBERS: table_of(since(14, table)(n))}) for n in range(15)]))
    assert set(found) == {f"table_rewritten {MEMBERS}"}
    issue = found[f"table_rewritten {MEMBERS}"]
    assert issue.level is level
    for locale in ("en", "fr"):
        assert MEMBERS in issue.sentence.text(locale)
        assert "2026-11-22" in issue.sentence.text(locale)


def test_it_is_said_for_a_week_of_backups_and_then_accepted() -> None:
    """Loss prevented: an alarm that ends with the next backup, which is like the one before it."""
    for nights in range(1, 10):
        seen = f"table_rewritten {MEMBERS}" in nights_of(since(15 - nights))
        assert seen is (nights <= NEWS_COUNT)


def test_a_migration_that_writes_the_same_values_otherwise_is_a_warning() -> None:
    """Loss prevented: an alarm in the night after each release; one whose words are no help."""
    before, after = table_of(lived(0)), table_of(encrypted(lived(0)))

    def found(types: str) -> dict[str, Finding]:
        last = {MEMBERS: replace(after, types=types)}
        nights = [night(number, tables={MEMBERS: replace(before, types="int")}) for number in range(14)]
        return found_in(catalog([*nights, night(14, tables=last)]))

    assert found("numeric")[f"table_converted {MEMBERS}"].level is Level.WARNING
    assert found("int")[f"table_rewritten {MEMBERS}"].level is Level.CRITICAL


def test_it_is_over_when_the_rows_are_back() -> None:
    """Loss prevented: a week of alarms after the table was restored, in which the next one is not noticed."""
    sealed = since(10)

    def repaired(number: int, night: int) -> Rows:
        return sealed(number) if number < night else lived(number)

    for night_of_the_repair in range(11, 15):
        assert nights_of(partial(repaired, night=night_of_the_repair)) == {}


def test_five_backups_are_enough_and_four_are_not() -> None:
    """Loss prevented: alarms in the first week; months until the first one."""
    for before in range(1, 9):
        assert bool(nights_of(since(before), of=before + 1)) is (before >= 5)


def test_a_quiet_table_is_seen_when_all_of_it_changes_and_not_when_a_row_does() -> None:
    """Loss prevented: one quiet table encrypted; an alarm for every price that is corrected."""
    quiet = lived(0)
    assert set(nights_of(changed_last(quiet, encrypted(quiet)))) == {f"table_rewritten {MEMBERS}"}
    assert nights_of(changed_last(quiet, {"another", *sorted(quiet)[1:]})) == {}


def test_many_tables_at_once_are_one_alarm() -> None:
    """Loss prevented: forty messages in which the one that matters is not read."""
    tables = [since(14, partial(lived, salt=salt)) for salt in range(8)]
    assert set(nights_of(*tables)) == {"tables_rewritten"}
    untouched = [partial(lived, salt=salt) for salt in range(8, 20)]
    found = nights_of(*tables, *untouched)
    assert len(found) == 8
    assert all(name.startswith("table_rewritten ") for name in found)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(20, 400),
    share=st.floats(0, 0.15),
    salt=st.integers(0, 10**6),
    nights=st.integers(1, 25),
)
def test_a_table_that_people_work_with_is_no_alarm(rows: int, share: float, salt: int, nights: int) -> None:
    """Loss prevented: a warning about ransomware every busy Saturday."""

    def table(number: int) -> Rows:
        return lived(number, rows=rows, edits=round(rows * share), salt=salt)

    assert not [name for name in nights_of(table, of=nights) if "rewritten" in name]


@pytest.mark.parametrize("every", [1, 2, 7])
def test_what_is_rewritten_now_and_then_is_left_alone(every: int) -> None:
    """Loss prevented: an alarm each time a cache, a report or a ranking is computed anew."""

    def ranking(number: int) -> Rows:
        return {f"{number // every} {row}" for row in lived(0)}

    assert nights_of(ranking, of=40) == {}


def test_rows_that_come_or_go_are_another_matter() -> None:
    """Loss prevented: a table emptied by half called encrypted, which sends people after the wrong culprit."""
    quiet = sorted(lived(0))
    for changed in (quiet[:30], [*quiet, *(f"new {row}" for row in quiet + quiet[:50])]):
        found = nights_of(changed_last(set(quiet), set(changed)))
        assert found
        assert not any("rewritten" in name for name in found)


def test_a_table_that_is_gone_is_told_though_a_new_one_has_half_of_its_rows() -> None:
    """Loss prevented: a thousand members dropped, and not a word, because of a sample that somebody drew before."""
    members = [f"member {number}" for number in range(1000)]
    nights = [night(number, tables={MEMBERS: table_of(members)}) for number in range(14)]
    for there, told in ((520, {f"table_gone {MEMBERS}"}), (900, set())):
        last = night(14, tables={"public.sample": table_of(members[:there])})
        assert {name for name in found_in(catalog([*nights, last])) if "gone" in name} == told


def test_backups_of_an_older_version_are_compared_as_far_as_they_can_be() -> None:
    """Loss prevented: an alarm on the night of the upgrade; five tables encrypted that night, unseen."""
    for first in range(1, 15):
        assert nights_of(lived, sketched=partial(le, first)) == {}
    quiet = [lived(0, salt=salt) for salt in range(5)]
    tables = [changed_last(rows, encrypted(rows)) for rows in quiet]
    assert set(nights_of(*tables, sketched=lambda number: number == 14)) == {"tables_rewritten"}


# Eight nights on a real server: a table of a two-hundredth of the rows, in which somebody joins and moves every night.
_BULK = "CREATE TABLE sales AS SELECT n, gen_random_uuid() AS ticket FROM generate_series(1, 20000) n"
_MEMBERS = (
    "CREATE TABLE members (id int PRIMARY KEY, name text, street text);"
    "INSERT INTO members SELECT n, 'Amélie ' || n, n || ' rue des Lilas' FROM generate_series(1, 100) n"
)
_EVENING = (
    "INSERT INTO members SELECT max(id) + 1, 'Zoé', '1 quai' FROM members;"
    "UPDATE members SET street = 'moved' WHERE id % 31 = {night};"
    "INSERT INTO sales SELECT n, gen_random_uuid() FROM generate_series(1, 20) n"
)


@pytest.mark.parametrize(
    "attack", some(["cipher text", "forgotten WHERE", "nothing"], {"cipher text", "nothing"})
)
def test_a_real_table_is_seen_the_night_after_somebody_encrypted_it(
    cluster: ScratchCluster, database: str, house: House, attack: str
) -> None:
    """Loss prevented: a rule that holds for figures made up for it, and not for a server's."""
    with cluster.server.connect(database) as connection:
        connection.execute("DROP TABLE sale, member")
        connection.execute(_BULK)
        connection.execute(_MEMBERS)
    for number in range(8):
        with cluster.server.connect(database) as connection:
            connection.execute(_EVENING.format(night=number))
            if number == 7 and attack == "cipher text":
                cipher = Fernet(Fernet.generate_key())
                for key, name, street in connection.execute("SELECT * FROM members").fetchall():
                    sealed = [cipher.encrypt(text.encode()).decode() for text in (name, street)]
                    connection.execute(
                        "UPDATE members SET name = %s, street = %s WHERE id = %s", (*sealed, key)
                    )
            elif number == 7 and attack == "forgotten WHERE":
                connection.execute("UPDATE members SET street = '3 rue du Port'")
        house.now = NOW + timedelta(days=number)
        house.back_up()
        house.verify("readable")
    found = {f"{each.code} {each.subject}".strip() for each in anomalies(house.catalog, house.now)}
    assert found == ({"table_rewritten public.members"} if attack != "nothing" else set())


@pytest.mark.parametrize("silent", [13, 12])
def test_a_night_that_only_counted_rows_hides_no_rewriting_and_is_not_from_before_it(silent: int) -> None:
    """Loss prevented: members encrypted in the one night of BACKUP_FINGERPRINT=counts, and taken for what was."""
    nights = [night(n, tables={MEMBERS: table_of(since(13)(n))}) for n in range(15)]
    table = table_of(lived(silent))
    counted = Fingerprint("counts", {MEMBERS: TableFingerprint(table.rows, table.non_null)}).to_json()
    nights[silent] = replace(nights[silent], manifest=replace(nights[silent].manifest, fingerprint=counted))
    assert f"table_rewritten {MEMBERS}" in found_in(catalog(nights))
    found = newest_ordinary(catalog(nights))
    assert found is not None
    assert found[0] is nights[silent - 1]
