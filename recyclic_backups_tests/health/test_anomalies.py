"""Anomalies: what an accident or an attacker does to a database is seen; what a database does by living is not."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from functools import partial
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.documents import Check
from recyclic_backups.catalog.manifest import BackupObject
from recyclic_backups.fingerprint.model import Fingerprint, TableFingerprint
from recyclic_backups.health.anomalies import anomalies, newest_ordinary
from recyclic_backups.health.finding import Level
from recyclic_backups.health.outliers import is_outlier
from recyclic_backups.health.questions import size
from recyclic_backups.health.thresholds import NEWS_COUNT
from recyclic_backups_tests.health.nights import NOW, after, catalog, found_in, night, ordinary, same

SALES = "public.sales"


def merged(
    change: dict[str, TableFingerprint], tables: dict[str, TableFingerprint]
) -> dict[str, TableFingerprint]:
    """The tables with some of them changed."""
    return tables | change


@pytest.mark.parametrize("nights", range(1, 40))
def test_a_database_that_lives_is_no_anomaly(nights: int) -> None:
    """Loss prevented: alarms that nobody reads any more because there is one every night."""
    assert found_in(catalog([night(number, of=nights) for number in range(nights)])) == {}


def test_an_emptied_table_is_seen_whatever_its_size() -> None:
    """Loss prevented: good backups of the time before expire one by one while nobody knows."""
    for name in ("public.sales", "public.units"):
        emptied = {name: TableFingerprint(0, {"id": 0}, "0")}
        found = found_in(after(partial(merged, emptied)))
        issue = found[f"table_emptied {name}"]
        assert issue.level is Level.CRITICAL
        assert name in issue.sentence.text()
        assert "2026-11-22" in issue.sentence.text("fr")


def test_an_emptied_table_is_said_for_a_week_of_backups_and_then_accepted() -> None:
    """Loss prevented: an alarm missed on a holiday; one that never ends and hides the next."""
    for since in range(1, 14):
        emptied = after(lambda tables: tables | {SALES: TableFingerprint(0, {"id": 0}, "0")}, since=since)
        assert (f"table_emptied {SALES}" in found_in(emptied)) is (since <= NEWS_COUNT)


def test_a_table_that_is_emptied_now_and_then_is_left_alone() -> None:
    """Loss prevented: an alarm every second night for a queue that is worked off."""
    assert ordinary(14)["public.queue"].rows == 0
    assert not any("queue" in name for name in found_in(after(same)))


def test_even_the_second_backup_of_all_tells_that_a_table_was_emptied() -> None:
    """Loss prevented: an accident in the first week, for which there is no history yet."""
    found = found_in(
        catalog([night(0, of=2), night(1, of=2, tables=ordinary(1) | {SALES: TableFingerprint(0, {}, "0")})])
    )
    assert found[f"table_emptied {SALES}"].level is Level.WARNING


def test_a_dropped_table_is_seen() -> None:
    """Loss prevented: a migration that took more with it than was meant."""
    found = found_in(after(lambda tables: {name: each for name, each in tables.items() if name != SALES}))
    assert found[f"table_gone {SALES}"].level is Level.CRITICAL


def test_a_table_that_has_another_name_is_not_gone() -> None:
    """Loss prevented: an alarm about a table that is there, in the night after a release."""

    def renamed(tables: dict[str, TableFingerprint]) -> dict[str, TableFingerprint]:
        return {"public.tickets" if name == SALES else name: each for name, each in tables.items()}

    nights = [night(number) for number in range(14)]
    last = renamed(ordinary(13))
    assert found_in(catalog([*nights, night(14, tables=last)])) == {}
    unlike = last | {"public.tickets": replace(last["public.tickets"], content="4711")}
    assert set(found_in(catalog([*nights, night(14, tables=unlike)]))) == {f"table_gone {SALES}"}


@settings(max_examples=300)
@given(nights=st.integers(6, 15), seed=st.integers(0, 10**9))
def test_a_small_table_that_goes_up_and_down_is_hardly_ever_an_alarm(nights: int, seed: int) -> None:
    """Loss prevented: a first week of warnings about a queue, after which nobody reads them."""
    chance = random.Random(seed)
    history = [float(chance.randint(10, 50)) for _ in range(nights - 1)]
    away = [value for value in range(10, 51) if is_outlier(value, history)]
    spread = median(abs(each - median(history)) for each in history)
    assert not away or spread <= 4


@pytest.mark.parametrize(
    ("factor", "name", "level"),
    [
        (0.3, "table_shrank", Level.CRITICAL),
        (0.8, "table_shrank", Level.WARNING),
        (2.0, "table_grew", Level.WARNING),
    ],
)
def test_rows_far_from_usual_are_seen_in_both_directions(factor: float, name: str, level: Level) -> None:
    """Loss prevented: a DELETE without its WHERE; an import that ran a hundred times."""

    def change(tables: dict[str, TableFingerprint]) -> dict[str, TableFingerprint]:
        rows = round(tables[SALES].rows * factor)
        return tables | {SALES: TableFingerprint(rows, {"id": rows}, "1")}

    assert found_in(after(change))[f"{name} {SALES}"].level is level


def test_a_table_that_changes_every_day_and_is_encrypted_in_place_is_seen_by_its_compression() -> None:
    """Loss prevented: ransomware in the one big table, backed up every night until no older backup is left."""

    def encrypted(tables: dict[str, TableFingerprint]) -> dict[str, TableFingerprint]:
        return tables | {SALES: replace(tables[SALES], content="999999")}

    # 60 % of the dump, in base64 a third longer, compressed to three quarters instead of a quarter.
    plain = round(313_000_000 * (0.4 + 0.6 * 1.33))
    stored = round(313_000_000 * (0.4 * 0.24 + 0.6 * 1.33 * 0.75))
    found = found_in(after(encrypted, plain=plain, stored=stored))
    assert found["compression_collapsed"].level is Level.CRITICAL
    assert "encrypted" in found["compression_collapsed"].sentence.text()


def test_a_small_encrypted_table_still_moves_the_compression() -> None:
    """Loss prevented: members' addresses encrypted, two hundredths of the database."""
    plain = 312_600_000
    part = 0.03 * plain
    found = found_in(
        after(same, plain=round(plain + part / 3), stored=round(0.24 * (plain - part) + 0.75 * 4 / 3 * part))
    )
    assert found["compression_collapsed"].level is Level.WARNING


def test_a_large_table_dumped_by_itself_is_compared_with_itself() -> None:
    """Loss prevented: one encrypted table among many, too small a part of the whole to move its compression."""

    def with_objects(number: int, stored: int) -> Backup:
        made = night(number)
        own = BackupObject("table-0001.dump", "table", 5_000_000, stored, "0" * 64, relation="public.members")
        manifest = replace(made.manifest, objects=(*made.manifest.objects, own))
        return replace(made, manifest=manifest)

    nights = [with_objects(number, 1_200_000) for number in range(14)]
    found = found_in(catalog([*nights, with_objects(14, 3_900_000)]))
    assert set(found) == {"compression_collapsed public.members"}
    assert found["compression_collapsed public.members"].level is Level.CRITICAL
    assert found_in(catalog([*nights, with_objects(14, 1_210_000)])) == {}


def test_tables_that_never_change_and_change_together_are_seen_without_any_change_of_size() -> None:
    """Loss prevented: encryption that keeps lengths, so that neither rows nor bytes tell."""

    def rewritten(tables: dict[str, TableFingerprint]) -> dict[str, TableFingerprint]:
        return {name: replace(each, content=f"{each.content}1") for name, each in tables.items()}

    for since in range(1, NEWS_COUNT + 1):
        found = found_in(after(rewritten, since=since))
        assert found["tables_rewritten"].level is Level.CRITICAL
        assert "public.weights" in found["tables_rewritten"].sentence.text()


def test_one_quiet_table_that_is_edited_is_nobodys_alarm() -> None:
    """Loss prevented: an alarm whenever somebody corrects a price."""

    def edited(tables: dict[str, TableFingerprint]) -> dict[str, TableFingerprint]:
        return tables | {"public.rates": replace(tables["public.rates"], content="4711")}

    assert found_in(after(edited)) == {}


@pytest.mark.parametrize(
    ("phones", "name", "level"),
    [(0, "values_vanished", Level.WARNING), (150, "values_appeared", Level.WARNING)],
)
def test_values_that_vanish_or_appear_are_seen(phones: int, name: str, level: Level) -> None:
    """Loss prevented: UPDATE users SET phone = NULL; notes of an extortioner in a column that was empty."""

    def change(tables: dict[str, TableFingerprint]) -> dict[str, TableFingerprint]:
        users = tables["public.users"]
        return tables | {
            "public.users": replace(users, non_null={"id": users.rows, "phone": min(phones, users.rows)})
        }

    assert found_in(after(change))[f"{name} public.users.phone"].level is level


def test_a_column_that_was_always_filled_and_is_empty_now_is_critical() -> None:
    """Loss prevented: the column that everything hangs on, emptied, seen as one warning among others."""

    def change(tables: dict[str, TableFingerprint]) -> dict[str, TableFingerprint]:
        return tables | {SALES: replace(tables[SALES], non_null={"id": 0})}

    assert found_in(after(change))[f"values_vanished {SALES}.id"].level is Level.CRITICAL


def test_a_dump_of_another_size_is_seen_in_both_directions() -> None:
    """Loss prevented: the same as with rows, where the fingerprint is off."""
    for plain, stored, code, level in (
        (100_000_000, 24_100_000, "dump_shrank", Level.CRITICAL),
        (600_000_000, 144_600_000, "dump_grew", Level.WARNING),
    ):
        nights = after(same, plain=plain, stored=stored)
        found = size(nights.backups[0], nights)
        assert (found.code, found.level) == (code, level)


def test_one_slow_night_is_none_but_a_drift_is() -> None:
    """Loss prevented: backups that creep up to their time limit, and a warning for each busy night."""
    assert "slower" not in found_in(after(same, seconds=900.0))
    drifted = catalog([night(number, seconds=120.0 if number < 12 else 260.0) for number in range(15)])
    assert "4 min 20 s" in found_in(drifted)["slower"].sentence.text()


def test_a_drill_that_used_to_come_and_does_not_any_more_is_seen() -> None:
    """Loss prevented: a schedule that somebody switched off for an afternoon last year."""

    def drilled(backup: Backup) -> Backup:
        check = Check(
            "drill",
            backup.backup_id,
            backup.as_of + timedelta(hours=2),
            True,
            proves=True,
            details={"scenario": "simple", "leading": True, "restore_seconds": 3.0},
        )
        return replace(backup, checks=(*backup.checks, check))

    nights = [night(number, of=60) for number in range(60)]
    regular = [drilled(each) if number % 7 == 3 else each for number, each in enumerate(nights)]
    assert "drill_stopped simple" not in found_in(catalog(regular))
    stopped = [
        drilled(each) if number % 7 == 3 and number < 40 else each for number, each in enumerate(nights)
    ]
    found = found_in(catalog(stopped))["drill_stopped simple"]
    assert "7 days" in found.sentence.text()


def test_a_newest_backup_that_nobody_verified_is_seen_once_it_had_time() -> None:
    """Loss prevented: verification switched off by an upgrade; and an alarm while it still runs."""
    nights = [night(number) for number in range(15)]
    nights[-1] = replace(nights[-1], checks=())
    assert found_in(catalog(nights), NOW + timedelta(hours=3))["verifying_stopped"].level is Level.CRITICAL
    assert "verifying_stopped" not in found_in(catalog(nights), NOW - timedelta(hours=4, minutes=30))


def test_a_fingerprint_that_says_less_than_before_is_seen() -> None:
    """Loss prevented: restores that compare nothing, still called proven."""
    nights = [night(number) for number in range(15)]
    for document, expected in ((None, "off"), (Fingerprint("counts").to_json(), "counts")):
        manifest = replace(nights[-1].manifest, fingerprint=document)
        less = catalog([*nights[:-1], replace(nights[-1], manifest=manifest)])
        assert expected in found_in(less)["fingerprint_stopped"].sentence.text()


def test_a_fingerprint_that_cannot_be_read_is_said_and_stops_nothing() -> None:
    """Loss prevented: no health at all, because one old manifest was edited."""
    nights = [night(number) for number in range(15)]
    broken = {"level": "content", "tables": {"public.sales": "nonsense"}}
    nights[4] = replace(nights[4], manifest=replace(nights[4].manifest, fingerprint=broken))
    found = found_in(catalog(nights))
    assert set(found) == {"fingerprint_unreadable"}


def test_another_compression_is_no_collapse() -> None:
    """Loss prevented: an alarm about ransomware, because somebody changed a setting."""
    nights = [night(number) for number in range(14)]
    nights.append(night(14, stored=300_000_000, compression="zstd:1"))
    assert "compression_collapsed" not in found_in(catalog(nights))


@pytest.mark.parametrize("nights", range(1, NEWS_COUNT + 1))
def test_the_newest_backup_from_before_an_accident_is_found(nights: int) -> None:
    """Loss prevented: a live database compared with a backup of the accident, and called undamaged."""
    emptied = after(lambda tables: tables | {SALES: TableFingerprint(0, {"id": 0}, "0")}, since=nights)
    found = newest_ordinary(emptied)
    assert found is not None
    backup, lacking = found
    assert backup is emptied.backups[nights]
    assert [(str(each.code), each.subject) for each in lacking] == [("table_emptied", SALES)]


@pytest.mark.parametrize("spoilt", [None, {"level": "content", "tables": "nonsense"}, {"level": "off"}])
def test_a_backup_whose_fingerprint_says_nothing_is_not_taken_for_one_from_before(
    spoilt: dict[str, object] | None,
) -> None:
    """Loss prevented: a live database compared with a backup of the accident that merely cannot be asked."""
    emptied = after(lambda tables: tables | {SALES: TableFingerprint(0, {"id": 0}, "0")}, since=3)
    for silent, chosen in ((1, 3), (2, 3), (3, 4)):
        backups = list(emptied.backups)
        content = replace(backups[silent].manifest, fingerprint=spoilt)
        backups[silent] = replace(backups[silent], manifest=content)
        found = newest_ordinary(catalog(backups))
        assert found is not None
        assert found[0] is backups[chosen]


def test_where_nothing_is_lacking_the_newest_backup_is_the_one_to_compare_with() -> None:
    """Loss prevented: a comparison with an old backup, in which a day's work looks like a loss."""
    assert newest_ordinary(after(same)) is None
    rows = 2 * ordinary(14)[SALES].rows
    grown = after(lambda tables: tables | {SALES: TableFingerprint(rows, {"id": rows}, "1")})
    assert found_in(grown)
    assert newest_ordinary(grown) is None
    assert newest_ordinary(catalog([])) is None
    long_ago = after(lambda tables: tables | {SALES: TableFingerprint(0, {"id": 0}, "0")}, since=12)
    assert newest_ordinary(long_ago) is None


@given(
    history=st.lists(st.integers(1, 10**9), min_size=5, max_size=30),
    value=st.integers(0, 10**10),
    factor=st.integers(2, 1000),
)
def test_what_is_an_outlier_does_not_depend_on_the_unit(history: list[int], value: int, factor: int) -> None:
    """Loss prevented: a large database judged otherwise than a small one."""
    scaled = [each * factor for each in history]
    assert is_outlier(value, history) == is_outlier(value * factor, scaled)


@given(history=st.lists(st.integers(1, 10**6), min_size=5, max_size=30), value=st.integers(0, 10**7))
def test_outliers_are_beyond_everything_between_them_and_the_median(history: list[int], value: int) -> None:
    """Loss prevented: a loss of half the rows seen, and one of all of them not."""
    middle = median(history)
    if is_outlier(value, history):
        further = value + (value - middle)
        assert is_outlier(further, history)
    assert not is_outlier(middle, history)


@given(history=st.lists(st.integers(1, 10**6), max_size=4), value=st.integers(0, 10**9))
def test_without_a_history_nothing_is_an_outlier(history: list[int], value: int) -> None:
    """Loss prevented: a first week full of alarms."""
    assert not is_outlier(value, history)


names = st.sampled_from(["public.a", "public.b", "public.c", "public.d"])
fingerprints = st.builds(
    lambda rows, filled, content: TableFingerprint(rows, {"id": min(rows, filled)}, content),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.one_of(st.none(), st.integers(0, 5).map(str)),
)
histories = st.lists(st.one_of(st.none(), st.dictionaries(names, fingerprints)), min_size=0, max_size=20)


@settings(max_examples=60)
@given(history=histories, plain=st.lists(st.integers(0, 10**9), min_size=20, max_size=20))
def test_no_history_surprises(history: list[dict[str, TableFingerprint] | None], plain: list[int]) -> None:
    """Loss prevented: health that ends with an exception on the night that is unlike all others."""
    nights = []
    for number, tables in enumerate(history):
        made = night(
            number, of=len(history), plain=plain[number], stored=plain[number] // 3, tables=tables or {}
        )
        if tables is None:
            made = replace(made, manifest=replace(made.manifest, fingerprint=None))
        nights.append(made)
    for issue in anomalies(catalog(nights), NOW):
        assert issue.is_anomaly
        for locale in ("en", "fr"):
            assert issue.sentence.text(locale)


@settings(max_examples=40)
@given(
    rows=st.lists(st.integers(50, 5000), min_size=8, max_size=15),
)
def test_an_emptied_table_is_seen_after_any_history_in_which_it_never_was(
    rows: list[int],
) -> None:
    """Loss prevented: a table that lives so much that nothing about it seems strange."""
    other = TableFingerprint(1, {}, "1")
    contents = [TableFingerprint(each, {"id": each}, f"{number}") for number, each in enumerate(rows)]
    contents.append(TableFingerprint(0, {"id": 0}, "0"))
    nights = [
        night(number, of=len(contents), tables={"public.a": each, "public.z": other})
        for number, each in enumerate(contents)
    ]
    assert found_in(catalog(nights))["table_emptied public.a"].level is Level.CRITICAL


@settings(max_examples=150)
@given(
    rows=st.integers(1, 10**6),
    dumped=st.integers(1_000_000, 3_000_000_000),
    share=st.floats(0.0, 1.0),
    since=st.integers(1, 14),
    name=st.sampled_from(["public.photos", "archive.scans"]),
)
def test_a_new_large_table_is_no_ransomware(
    rows: int, dumped: int, share: float, since: int, name: str
) -> None:
    """Loss prevented: the night of an alarm "encrypted by somebody else" for the photographs of a new release."""
    nights = []
    for number in range(15):
        each = night(number)
        if number >= 15 - since:
            (main,) = each.manifest.objects
            tables = ordinary(number) | {name: TableFingerprint(rows, {"id": rows}, "1")}
            each = night(
                number,
                tables=tables,
                plain=main.plain_bytes + dumped,
                stored=main.stored_bytes + round(share * dumped),
            )
        nights.append(each)
    assert not any(found.startswith("compression_collapsed") for found in found_in(catalog(nights)))


@settings(max_examples=150)
@given(growth=st.integers(0, 100_000_000), rows=st.integers(1, 1000), gone=st.booleans())
def test_ransom_behind_a_new_table_is_seen(growth: int, rows: int, gone: bool) -> None:
    """The attack: encrypt what is there, and make a table beside it that seems to be what does not compress."""
    nights = [night(number) for number in range(15)]
    (main,) = nights[-1].manifest.objects
    tables = dict(ordinary(14)) | {"public.photos": TableFingerprint(rows, {"id": rows}, "1")}
    if gone:
        del tables[SALES]  # what it held is in the new one, encrypted
    else:  # in place, and with as many rows as the night before
        kept = ordinary(13)[SALES].rows
        tables[SALES] = TableFingerprint(kept, {"id": kept}, "encrypted")
    nights[-1] = night(
        14, tables=tables, plain=main.plain_bytes + growth, stored=round(0.7 * main.plain_bytes) + growth
    )
    found = found_in(catalog(nights))
    assert found["compression_collapsed"].level is Level.CRITICAL


def test_without_a_fingerprint_of_the_content_nothing_explains_a_collapse() -> None:
    """The attack: BACKUP_FINGERPRINT=counts, or a table made by the attacker, and the alarm says nothing."""
    nights = [night(number) for number in range(15)]
    (main,) = nights[-1].manifest.objects
    tables = ordinary(14) | {"public.photos": TableFingerprint(5, {"id": 5}, "1")}
    blind = night(14, tables=tables, plain=2 * main.plain_bytes, stored=main.stored_bytes + main.plain_bytes)
    counted = {name: replace(table, content=None) for name, table in tables.items()}
    blind = replace(
        blind, manifest=replace(blind.manifest, fingerprint=Fingerprint("counts", counted).to_json())
    )
    assert "compression_collapsed" in found_in(catalog([*nights[:-1], blind]))
