"""Attacks of somebody who can write to the storage and has no key: nothing that he writes is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recyclic_backups.backup_calendar import Tier
from recyclic_backups.catalog import reading
from recyclic_backups.catalog.catalog import Catalog
from recyclic_backups.catalog.documents import Check, Hold, Label, Tombstone
from recyclic_backups.catalog.layout import Layout
from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Encryption, Manifest
from recyclic_backups.catalog.proof import proven_at
from recyclic_backups.catalog.record import record_check, record_manifest, record_tombstone
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.catalog.signature_state import Standing
from recyclic_backups.dump.sweep import sweep
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups.envelope.keyring import Keyring, generate_passphrase
from recyclic_backups.errors import DamagedData, NoUsableKey, RecoveryError, Refused
from recyclic_backups.health.judge import Facts, HealthTerms
from recyclic_backups.health.survey import survey_of
from recyclic_backups.health.thresholds import Thresholds
from recyclic_backups.retention.authenticity import trusted
from recyclic_backups.retention.expire import expire, plan_expiry, plan_unsigned
from recyclic_backups.retention.policy import Retention
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.retention.histories import CALENDAR, DAY, History, manifest, paris
from recyclic_backups_tests.retention.stored import catalog_of, names, open_repository, stored, write

NOW = paris("2026-11-22T12:00")
LAYOUT = Layout("recyclic")
FEW = Retention(daily=2, weekly=0, monthly=0, minimum=1)


def nights(last: str = "2026-11-22") -> History:
    """Backups that were verified and proven, from 18 November on."""
    history = History()
    history.nights("2026-11-18", last, state="proven")
    return history


@pytest.fixture
def store() -> MemoryStore:
    """Five nights, encrypted, verified and proven."""
    return stored(nights())


def forge(store: MemoryStore, name: str, document: Mapping[str, Any]) -> None:
    """What somebody without a key can make: a document with a right SHA-256."""
    store.replace(name, encode(summed({k: v for k, v in document.items() if k != "mac"}, name)))


def forged_backup(store: MemoryStore, as_of: str = "2026-11-22T11:00", **changes: Any) -> Manifest:
    """A newer backup, self-consistent, with a passed verification and today's label."""
    forged = manifest(paris(as_of), 99)
    document = {**forged.to_json(), **changes}
    forge(store, LAYOUT.manifest(forged.backup_id), document)
    store.replace(LAYOUT.object(forged.backup_id, "main.dump.zst"), b"x" * 100)
    for kind in ("verify", "restore"):
        check = Check(
            kind, forged.backup_id, forged.as_of + timedelta(seconds=1), True, proves=kind == "restore"
        )
        check = replace(check, checked_at=check.checked_at + timedelta(seconds=kind == "restore"))
        forge(store, LAYOUT.check(forged.backup_id, check.checked_at), check.to_json())
    label = Label(Tier.WEEKLY, "2026-11-16", forged.backup_id, forged.as_of, late=False)
    forge(store, LAYOUT.label(label.tier, label.partition), label.to_json())
    return forged


def survey(catalog: Catalog) -> Mapping[str, Any]:
    """The figures of that catalog."""
    terms = HealthTerms("recyclic", CALENDAR, FEW, Thresholds(6 * 3600, 25 * 3600, 0, 0, encryption=True))
    return survey_of(Facts(catalog), terms, NOW).to_json()


def told(catalog: Catalog) -> dict[str, str]:
    """What is damaged, by name."""
    return {damage.name: damage.problem for damage in catalog.damage}


def with_fingerprint_of(store: MemoryStore) -> dict[str, Any]:
    """What a forger copies from the newest manifest, which everybody can read."""
    newest = catalog_of(store).backups[0].manifest
    return {"fingerprint": newest.fingerprint, "server": newest.to_json()["server"]}


@pytest.mark.parametrize("copied", [False, True])
def test_a_forged_newer_backup_is_none_of_what_a_backup_is(store: MemoryStore, copied: bool) -> None:
    """The attack: a newer backup becomes `latest` and is restored with the forger's own superuser, exit 0.

    A variant carries our own readable fingerprint, so that the restore says `equal`.
    """
    before = catalog_of(store)
    forged = forged_backup(store, **(with_fingerprint_of(store) if copied else {}))
    catalog = catalog_of(store)
    assert [each.backup_id for each in catalog] == [each.backup_id for each in before]
    assert catalog.find("latest").backup_id == before.find("latest").backup_id
    good = catalog.newest_good()
    assert good is not None
    assert good.backup_id != forged.backup_id
    assert catalog.labelled(Tier.WEEKLY, "2026-11-16") is None
    (unvouched,) = catalog.unvouched
    assert (unvouched.standing, unvouched.good, proven_at(unvouched, NOW)) == (Standing.UNSIGNED, False, None)
    assert "not signed" in told(catalog)[LAYOUT.manifest(forged.backup_id)]
    with pytest.raises(DamagedData, match="not signed"):
        catalog.find(forged.backup_id)
    with pytest.raises(Refused) as refused:
        catalog.find_any(forged.backup_id).require_vouched()
    assert "--unsigned" in refused.value.hint
    catalog.find_any(forged.backup_id).require_vouched(unsigned=True)
    assert survey(catalog)["basic"]["total_backups"] == len(before)
    assert survey(catalog)["backup"]["latest_backup"] == before.backups[0].backup_id
    decided = plan_expiry(open_repository(store), FEW, CALENDAR, NOW)
    entry = next(each for each in decided.to_json() if each["backup_id"] == forged.backup_id)
    assert entry["action"] == "keep"
    assert "newest good" not in " ".join(entry["reasons"])
    own = [each for each in decided.to_json() if each["backup_id"] != forged.backup_id]
    assert own == plan_expiry(open_repository(stored(nights())), FEW, CALENDAR, NOW).to_json()


def test_a_backup_whose_mac_was_taken_away_is_damage_and_no_option_restores_it(store: MemoryStore) -> None:
    """The attack: an encrypted backup's manifest, edited, with a SHA-256 in the place of its MAC."""
    victim = catalog_of(store).backups[0]
    forge(store, LAYOUT.manifest(victim.backup_id), victim.manifest.document)
    catalog = catalog_of(store)
    assert victim.backup_id not in {each.backup_id for each in (*catalog, *catalog.unvouched)}
    assert "no MAC" in told(catalog)[LAYOUT.manifest(victim.backup_id)]
    with pytest.raises(DamagedData):
        catalog.find_any(victim.backup_id)


@pytest.mark.parametrize("content", [b"xx\n", b"{}", None])
def test_a_forged_tombstone_hides_and_deletes_nothing(store: MemoryStore, content: bytes | None) -> None:
    """The attack: one file among the tombstones makes a whole backup unreachable, and `expire` deletes it."""
    victim = catalog_of(store).backups[0]
    name = LAYOUT.tombstone(victim.backup_id)
    if content is None:
        forge(store, name, Tombstone(victim.backup_id, NOW, labels=victim.labels).to_json())
    else:
        store.replace(name, content)
    catalog = catalog_of(store)
    assert catalog.find("latest").backup_id == victim.backup_id
    assert catalog.find(victim.backup_id).good
    assert not catalog.tombstones
    assert name in told(catalog)
    before = names(store)
    with pytest.raises(DamagedData, match="nothing expires"):
        expire(open_repository(store), FEW, CALENDAR, now=NOW)
    assert names(store) == before


def test_a_tombstone_of_another_backup_buries_nothing(store: MemoryStore) -> None:
    """The attack: a right tombstone, copied to another backup's name."""
    oldest, newest = catalog_of(store).backups[-1], catalog_of(store).backups[0]
    repository = open_repository(store)
    assert oldest.manifest.encryption is not None
    key = repository.keyring.for_reading(oldest.manifest.encryption.key_id)
    name = LAYOUT.tombstone(oldest.backup_id)
    store.create(name, encode(signed(Tombstone(oldest.backup_id, NOW).to_json(), name, key)))
    store.create(LAYOUT.tombstone(newest.backup_id), store.get(name))
    catalog = catalog_of(store)
    assert catalog.tombstones == {oldest.backup_id}
    assert newest.backup_id in {each.backup_id for each in catalog}


def test_a_tombstone_that_was_taken_back_and_is_laid_back_later_deletes_nothing(store: MemoryStore) -> None:
    """The attack: a copy of an announcement that was withdrawn for a hold: the next expire would carry it out."""
    victim = catalog_of(store).backups[0]
    repository = open_repository(store)
    record_tombstone(
        repository,
        Tombstone(victim.backup_id, NOW, labels=victim.labels),
        victim.manifest,
    )
    assert victim.backup_id in catalog_of(store).tombstones
    shown = plan_expiry(repository, FEW, CALENDAR, NOW)
    assert victim.backup_id in {each.backup_id for each in shown.expiring}  # nothing goes that no plan shows
    a_day_later = NOW + timedelta(days=1, hours=1)
    record_check(repository, Check("verify", victim.backup_id, a_day_later, passed=True), victim.manifest)
    catalog = catalog_of(store)
    assert catalog.find("latest").backup_id == victim.backup_id
    assert "it was taken back" in told(catalog)[LAYOUT.tombstone(victim.backup_id)]
    before = names(store)
    with pytest.raises(DamagedData, match="nothing expires"):
        expire(repository, FEW, CALENDAR, now=NOW)
    assert names(store) == before


@pytest.mark.parametrize("ends", ["yesterday", "never", "nonsense"])
def test_a_forged_hold_keeps_for_ever_and_says_so(store: MemoryStore, ends: str) -> None:
    """The attack: evidence that somebody held is let go by writing an earlier day into its hold."""
    victim = catalog_of(store).backups[-1]
    name = LAYOUT.hold(victim.backup_id)
    until = {"yesterday": NOW - DAY, "never": None}.get(ends)
    if ends == "nonsense":
        store.replace(name, b"{")
    else:
        forge(store, name, Hold(victim.backup_id, "let it go", NOW - 2 * DAY, until).to_json())
    catalog = catalog_of(store)
    assert catalog.find(victim.backup_id).is_held(NOW + 10_000 * DAY)
    assert name in told(catalog)
    with pytest.raises(DamagedData, match="nothing expires"):
        trusted(catalog)


def test_a_hold_that_is_swapped_while_backups_expire_still_holds(store: MemoryStore) -> None:
    """The attack: between the plan and the deletion the hold is replaced by one that is over."""
    victim = catalog_of(store).backups[-1]

    def swap(verb: str, name: str) -> None:
        if verb == "create" and "/audit/" in name:
            store.before = lambda *_: None
            over = Hold(victim.backup_id, "", NOW - 2 * DAY, NOW - DAY)
            forge(store, LAYOUT.hold(victim.backup_id), over.to_json())

    store.before = swap
    report = expire(open_repository(store), FEW, CALENDAR, now=NOW)
    assert victim.backup_id in report.spared
    assert victim.backup_id in {each.backup_id for each in catalog_of(store)}


def test_a_forged_label_points_at_nothing(store: MemoryStore) -> None:
    """The attack: an old backup becomes this week's, and another one loses its place and is deleted."""
    oldest = catalog_of(store).backups[-1]
    label = Label(Tier.WEEKLY, "2026-11-16", oldest.backup_id, NOW, late=False)
    name = LAYOUT.label(label.tier, label.partition)
    forge(store, name, label.to_json())
    catalog = catalog_of(store)
    assert catalog.labelled(Tier.WEEKLY, "2026-11-16") is None
    assert Tier.WEEKLY not in catalog.find(oldest.backup_id).tiers
    assert "not signed" in told(catalog)[name]
    with pytest.raises(DamagedData, match="nothing expires"):
        trusted(catalog)


def test_objects_that_a_forged_label_names_are_not_swept(store: MemoryStore) -> None:
    """Prevents that what nobody signed, or its not being believed, deletes anything."""
    lost = "20261121T000000Z-AAAAAA"
    store._clock = lambda: NOW - 10 * DAY
    store.create(LAYOUT.object(lost, "main.dump.zst"), b"half")
    forge(
        store,
        LAYOUT.label("daily", "2026-11-01"),
        Label(Tier.DAILY, "2026-11-01", lost, NOW, False).to_json(),
    )
    assert sweep(open_repository(store), None, NOW) == []


@pytest.mark.parametrize("passed", [True, False])
def test_a_forged_check_proves_and_condemns_nothing(passed: bool) -> None:
    """The attack: a proof that never was; or a good backup called damaged, so that `latest` passes over it."""
    history = History()
    history.nights("2026-11-18", "2026-11-22")
    store = stored(history)
    newest = catalog_of(store).backups[0]
    for kind in ("verify", "drill"):
        check = Check(kind, newest.backup_id, NOW, passed, ("bad",), proves=passed and kind == "drill")
        check = replace(check, checked_at=NOW - timedelta(minutes=kind == "verify"))
        forge(store, LAYOUT.check(newest.backup_id, check.checked_at), check.to_json())
    catalog = catalog_of(store)
    found = catalog.find("latest")
    assert found == replace(newest, hold=None)
    assert (proven_at(found, NOW), found.known_damaged) == (None, False)
    assert len([problem for problem in told(catalog).values() if "not signed" in problem]) == 2
    figures = survey(catalog)
    assert figures["objectives"]["newest_proven"] is None
    assert "not signed" in json.dumps(figures["issues"])
    # Which of its checks were deleted besides, nobody knows: it stays.
    decided = plan_expiry(open_repository(store), FEW, CALENDAR, NOW)
    assert newest.backup_id in {each.backup_id for each in decided.kept}


def test_a_check_that_was_edited_is_not_believed(store: MemoryStore) -> None:
    """The attack: *failed* edited to *proven*, its MAC left as it was."""
    newest = catalog_of(store).backups[0]
    name = next(
        each for each in names(store) if each.startswith(f"{LAYOUT.backup(newest.backup_id)}/checks/")
    )
    document = json.loads(store.get(name)) | {"proves": True}
    store.replace(name, json.dumps(document | {"duration_seconds": 7.5}).encode())
    catalog = catalog_of(store)
    assert len(catalog.find(newest.backup_id).checks) == len(newest.checks) - 1
    assert "edited" in told(catalog)[name]
    assert [each.name for each in catalog.damage_of(newest.backup_id)] == [name]


def test_a_check_of_one_backup_is_none_of_another(store: MemoryStore) -> None:
    """The attack: the proof of another backup, copied."""
    newest, oldest = catalog_of(store).backups[0], catalog_of(store).backups[-1]
    name = next(
        each for each in names(store) if each.startswith(f"{LAYOUT.backup(oldest.backup_id)}/checks/")
    )
    target = LAYOUT.check(newest.backup_id, NOW)
    store.create(target, store.get(name))
    catalog = catalog_of(store)
    assert len(catalog.find(newest.backup_id).checks) == len(newest.checks)
    assert target in told(catalog)


def other_storage(
    passphrase: str = KEY, as_of: str = "2026-11-22T11:30"
) -> tuple[MemoryStore, Repository, Manifest]:
    """A storage of the same operator and the same database, with a newer backup."""
    store = MemoryStore()
    repository = Repository(store, "recyclic", Keyring(store, passphrase), encrypt=True)
    history = History()
    history.take(paris(as_of), state="proven")
    write_with(history, store, repository)
    (backup,) = load_catalog(repository)
    return store, repository, backup.manifest


def write_with(history: History, store: MemoryStore, repository: Repository) -> None:
    """Write a history with the key of a repository."""
    for backup in history.catalog():
        key_id = repository.keyring.for_writing(backup.manifest.taken_at).key_id
        with store.writer(repository.layout.object(backup.backup_id, "main.dump.zst")) as upload:
            upload.write(b"x" * 100)
            upload.commit()
        record_manifest(repository, replace(backup.manifest, encryption=Encryption(1, key_id)))


def copy_into(source: MemoryStore, target: MemoryStore, *folders: str) -> None:
    """Lay objects of one storage into another, over those of the same name."""
    for folder in folders:
        for item in source.list(folder):
            target.replace(item.name, source.get(item.name))


def test_a_backup_of_another_storage_is_not_one_of_this(store: MemoryStore) -> None:
    """The attack: staging's backup and its key, copied into production; one passphrase opens both."""
    before = catalog_of(store)
    elsewhere, _, theirs = other_storage()
    copy_into(elsewhere, store, "recyclic/", "keys/")
    catalog = catalog_of(store)
    assert catalog.find("latest").backup_id == before.find("latest").backup_id
    (foreign,) = catalog.unvouched
    assert (foreign.backup_id, foreign.standing) == (theirs.backup_id, Standing.FOREIGN)
    assert "another storage" in told(catalog)[LAYOUT.manifest(theirs.backup_id)]
    assert any(name.startswith("keys/") for name in told(catalog))
    with pytest.raises(Refused, match="another storage"):
        catalog.find_any(theirs.backup_id).require_vouched()
    # Not even the operator's word deletes it: were storage.json swapped, it would be all of our own.
    assert plan_unsigned(open_repository(store), NOW).decisions == ()


def test_a_manifest_that_names_another_storage_is_of_that(store: MemoryStore) -> None:
    """The attack: two storages that share a data key, as after a copy of the keys folder."""
    repository = open_repository(store)
    backup = catalog_of(store).backups[0]
    name = LAYOUT.manifest(backup.backup_id)
    assert backup.manifest.storage_id == repository.storage_id()
    assert backup.manifest.encryption is not None
    key = repository.keyring.for_reading(backup.manifest.encryption.key_id)
    store.replace(name, encode(signed({**backup.manifest.document, "storage_id": "0" * 32}, name, key)))
    assert catalog_of(store).unvouched[0].standing is Standing.FOREIGN


def test_a_swapped_storage_json_leaves_nothing_latest_without_a_word(store: MemoryStore) -> None:
    """The attack: storage.json and keys of another storage put over ours: all we have is of another storage then."""
    elsewhere, _, _ = other_storage()
    copy_into(elsewhere, store, "keys/", "storage.json")
    catalog = catalog_of(store)
    assert len(catalog) == 0
    assert {each.standing for each in catalog.unvouched} == {Standing.FOREIGN}
    assert len(told(catalog)) > 5
    with pytest.raises(DamagedData, match="nobody vouches"):
        catalog.find("latest")
    before = names(store)
    assert expire(open_repository(store), FEW, CALENDAR, now=NOW).removed == ()
    with pytest.raises(Refused):
        expire(open_repository(store), FEW, CALENDAR, now=NOW, unsigned=True)
    assert [name for name in before if name not in names(store)] == []


def test_mixed_storages_are_not_written_into(store: MemoryStore) -> None:
    """The attack: keys of two storages and no storage.json."""
    elsewhere, _, _ = other_storage()
    copy_into(elsewhere, store, "keys/")
    store.delete("storage.json")
    catalog = catalog_of(store)
    assert len(catalog) == 0
    assert "two storages" in told(catalog)["storage.json"]
    with pytest.raises(DamagedData, match="two storages"):
        open_repository(store).key_for_backups(NOW)


def test_a_key_of_a_former_passphrase_vouches_for_no_backup(store: MemoryStore) -> None:
    """The attack: who knows a former passphrase plants a key and a newer backup signed with it."""
    new = generate_passphrase()
    Keyring(store, new, [KEY]).rotate(new, NOW)
    elsewhere, _, theirs = other_storage(KEY)
    copy_into(elsewhere, store, "recyclic/", "keys/")
    repository = Repository(store, "recyclic", Keyring(store, new, [KEY]), encrypt=True)
    catalog = load_catalog(repository)
    assert theirs.backup_id in {each.backup_id for each in catalog.unvouched}
    assert catalog.find("latest").backup_id != theirs.backup_id
    assert len(catalog) == 5


def test_without_a_key_at_hand_everything_says_that_it_was_not_checked(store: MemoryStore) -> None:
    """Prevents that a list made without the key, where a proof can be forged, reads like one made with it."""
    catalog = catalog_of(store, encrypt=False)
    assert len(catalog) == 5
    assert not catalog.is_checked
    assert {each.standing for each in catalog} == {Standing.NOT_CHECKED}
    with pytest.raises(NoUsableKey):
        catalog.backups[0].require_vouched(unsigned=True)
    with pytest.raises(NoUsableKey):
        trusted(catalog)
    figures = survey(catalog)
    assert figures["authenticity"] == {"checked": False, "unvouched_backups": 0}
    assert "not_checked" in {issue["name"] for issue in figures["issues"]}


def test_without_a_key_what_carries_no_mac_is_not_even_listed_as_one_of_ours(store: MemoryStore) -> None:
    """The attack of the forged backup, on the machine of somebody who only looks."""
    forged = forged_backup(store)
    catalog = catalog_of(store, encrypt=False)
    assert [each.backup_id for each in catalog.unvouched] == [forged.backup_id]
    assert catalog.find("latest").backup_id != forged.backup_id


def test_a_made_up_key_id_does_not_pass_for_a_key_that_is_not_at_hand(store: MemoryStore) -> None:
    """The attack: a MAC of sixty-four zeros by a key that nobody has, so that nobody can check it."""
    forged = manifest(paris("2026-11-22T11:00"), 99)
    name = LAYOUT.manifest(forged.backup_id)
    mac = {"key_id": "0" * 16, "hmac_sha256": "0" * 64}
    store.create(name, encode({**forged.to_json(), "mac": mac}))
    catalog = catalog_of(store)
    assert forged.backup_id not in {each.backup_id for each in (*catalog, *catalog.unvouched)}
    with pytest.raises(NoUsableKey):
        catalog.find(forged.backup_id)
    assert name in told(catalog)
    kept = plan_expiry(open_repository(store), FEW, CALENDAR, NOW).kept
    assert forged.backup_id in {each.backup_id for each in kept}


def turned_on() -> MemoryStore:
    """A storage whose backups were taken before encryption was turned on."""
    return stored(nights("2026-11-21"), encrypt=False)


def test_on_the_day_encryption_is_turned_on_what_was_there_is_told_once_and_can_be_restored() -> None:
    """Prevents the loss of all there is on that day, and a hundred alarms of which one is read."""
    store = turned_on()
    catalog = catalog_of(store)
    assert len(catalog) == 0
    assert len(catalog.unvouched) == 4
    assert {name.rpartition("/")[2] for name in told(catalog)} == {"manifest.json"}
    with pytest.raises(DamagedData) as nothing:
        catalog.find("latest")
    assert "--unsigned" in nothing.value.hint
    catalog.find_any(catalog.unvouched[0].backup_id).require_vouched(unsigned=True)
    # And with it off again, as before.
    assert len(catalog_of(store, encrypt=False)) == 4


def test_expiry_goes_on_after_encryption_was_turned_on() -> None:
    """Prevents a disk that fills, and data kept beyond the law's day, because older backups are not signed."""
    store = turned_on()
    later = History()
    later.nights("2026-11-22", "2026-11-26", state="proven")
    write(later, store)
    now = paris("2026-11-26T12:00")
    report = expire(open_repository(store), FEW, CALENDAR, now=now)
    assert report.removed
    unsigned = {each.backup_id for each in catalog_of(store).unvouched}
    assert len(unsigned) == 4
    assert not unsigned & {removal.backup_id for removal in report.removed}


def test_unsigned_backups_leave_when_a_person_says_so() -> None:
    """Prevents members' data that no rule ever deletes."""
    store = turned_on()
    repository = open_repository(store)
    assert len(plan_unsigned(repository, NOW).expiring) == 4
    with pytest.raises(Refused, match="verified backup that is signed"):
        expire(repository, FEW, CALENDAR, now=NOW, unsigned=True)
    later = History()
    later.nights("2026-11-22", "2026-11-22")
    write(later, store)
    held = catalog_of(store).unvouched[0]
    forge(store, LAYOUT.hold(held.backup_id), Hold(held.backup_id, "", NOW, None).to_json())
    report = expire(repository, FEW, CALENDAR, now=NOW, unsigned=True)
    assert len(report.removed) == 3
    catalog = catalog_of(store)
    assert [each.backup_id for each in catalog.unvouched] == [held.backup_id]
    assert len(catalog) == 1
    assert catalog.tombstones == {removal.backup_id for removal in report.removed}
    assert not any("/tiers/" in name and "2026-11-18" in name for name in names(store))


def test_an_expiry_of_unsigned_backups_that_stopped_is_finished() -> None:
    """Prevents halves of backups that nothing deletes any more."""
    store = turned_on()
    later = History()
    later.nights("2026-11-22", "2026-11-22")
    write(later, store)

    def stop(verb: str, name: str) -> None:
        if verb == "delete" and name.endswith("/manifest.json"):
            raise Refused("killed")

    store.before = stop
    with pytest.raises(Refused, match="killed"):
        expire(open_repository(store), FEW, CALENDAR, now=NOW, unsigned=True)
    store.before = lambda *_: None
    (begun,) = catalog_of(store).tombstones
    expire(open_repository(store), FEW, CALENDAR, now=NOW)
    assert not [name for name in names(store) if f"/backups/{begun}/" in name]
    assert begun not in str(told(catalog_of(store)))


def test_old_tombstones_without_a_mac_are_no_alarm_after_encryption_was_turned_on() -> None:
    """Prevents that expiry stops for ever on that day, over notes on backups that are gone."""
    store = turned_on()
    expire(open_repository(store, encrypt=False), FEW, CALENDAR, now=NOW)
    assert any("/tombstones/" in name for name in names(store))
    later = History()
    later.nights("2026-11-22", "2026-11-23")
    write(later, store)
    catalog = catalog_of(store)
    assert not any("tombstones" in name for name in told(catalog))
    assert not catalog.tombstones
    trusted(catalog)


def test_no_unencrypted_backup_is_taken_into_a_storage_that_would_not_believe_it(store: MemoryStore) -> None:
    """Prevents nights of backups that do not exist, because encryption was turned off."""
    repository = open_repository(store, encrypt=False)
    with pytest.raises(Refused, match="not be believed"):
        repository.key_for_backups(NOW)
    assert open_repository(MemoryStore(), encrypt=False).key_for_backups(NOW) is None


def test_in_a_storage_without_keys_a_sum_is_what_is_asked_for() -> None:
    """Prevents that whoever does not encrypt loses sight of his backups; damage is still told."""
    store = turned_on()
    catalog = catalog_of(store, encrypt=False)
    assert {each.standing for each in catalog} == {Standing.CHECKSUM}
    assert catalog.is_checked
    name = LAYOUT.manifest(catalog.backups[0].backup_id)
    store.replace(name, store.get(name).replace(b'"late": false', b'"late": true '))
    assert "SHA-256 is wrong" in told(catalog_of(store, encrypt=False))[name]


def test_documents_are_read_once(store: MemoryStore) -> None:
    """Prevents a list that takes twice as long: whoever judges works with what was read."""
    reads: list[str] = []
    store.before = lambda verb, name: reads.append(name) if verb == "get" else None
    catalog_of(store)
    assert len(reads) == len(set(reads))
    documents = [name for name in names(store) if name.startswith("recyclic/") and name.endswith(".json")]
    assert len(reads) == len(documents) + 2  # the key file and storage.json


@pytest.mark.parametrize("reference", ["latest", "20261122"])
def test_what_nobody_vouches_for_is_never_meant_by_a_beginning_that_one_of_ours_has(
    store: MemoryStore, reference: str
) -> None:
    """The attack: an id that begins as ours does, so that with --unsigned the forger's is restored."""
    forged_backup(store)
    found = catalog_of(store).find_any(reference)
    assert found.standing is Standing.SIGNED


def test_an_unknown_backup_is_unknown(store: MemoryStore) -> None:
    """Prevents that a wrong id is answered with another one's sentence."""
    with pytest.raises(RecoveryError, match="no backup"):
        catalog_of(store).find_any("20200101")


@pytest.mark.parametrize("kind", ["manifest", "label", "check", "hold", "tombstone"])
def test_no_document_can_be_moved_to_another_place(store: MemoryStore, kind: str) -> None:
    """The attack: a document of ours, with its right MAC, under the name of another one."""
    backups = catalog_of(store).backups
    one, other = backups[0], backups[-1]
    repository = open_repository(store)
    assert one.manifest.encryption is not None
    key = repository.keyring.for_reading(one.manifest.encryption.key_id)
    sources: dict[str, tuple[str, str, Mapping[str, Any]]] = {
        "manifest": (
            LAYOUT.manifest(one.backup_id),
            LAYOUT.manifest(other.backup_id),
            one.manifest.to_json(),
        ),
        "label": (
            LAYOUT.label("daily", "2026-11-22"),
            LAYOUT.label("weekly", "2026-11-16"),
            one.labels[0].to_json(),
        ),
        "check": (
            LAYOUT.check(one.backup_id, NOW),
            LAYOUT.check(other.backup_id, NOW),
            Check("verify", one.backup_id, NOW, True).to_json(),
        ),
        "hold": (
            LAYOUT.hold(one.backup_id),
            LAYOUT.hold(other.backup_id),
            Hold(one.backup_id, "", NOW, NOW).to_json(),
        ),
        "tombstone": (
            LAYOUT.tombstone(one.backup_id),
            LAYOUT.tombstone(other.backup_id),
            Tombstone(one.backup_id, NOW).to_json(),
        ),
    }
    name, target, document = sources[kind]
    store.replace(target, encode(signed(document, name, key)))
    assert target in told(catalog_of(store))


@pytest.mark.parametrize("name", ["99991231T235959.999999Z", "99990101T000000.000000Z", "zzz"])
def test_a_file_of_the_future_among_the_checks_moves_no_verdict(store: MemoryStore, name: str) -> None:
    """Prevents that verifying crashes, or that our own signed verdict is dated to the year 9999, by an empty file."""
    repository = open_repository(store)
    backup = load_catalog(repository).backups[0]
    store.replace(f"{LAYOUT.backup(backup.backup_id)}/checks/{name}.json", b"")

    record_check(repository, Check("verify", backup.backup_id, NOW, False), backup.manifest)

    after = load_catalog(repository).backups[0]
    assert (after.checks[-1].checked_at, after.checks[-1].passed) == (NOW, False)


def test_a_backup_that_somebody_dates_beyond_the_calendar_is_damage(store: MemoryStore) -> None:
    """Prevents that no list can be printed: such a moment cannot be said in the operator's time zone."""
    for number, as_of in enumerate(("9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z")):
        forged = manifest(paris(f"2026-11-22T11:0{number}"), 99)
        forge(store, LAYOUT.manifest(forged.backup_id), {**forged.to_json(), "as_of": as_of})
    catalog = load_catalog(open_repository(store))
    assert catalog.unvouched == ()
    assert sum("beyond the calendar" in damage.problem for damage in catalog.damage) == 2


@pytest.mark.parametrize("version", ["²", "9" * 5000, "١٥"])
def test_a_version_that_is_no_number_to_everybody_is_damage(store: MemoryStore, version: str) -> None:
    """Prevents an unexpected error of `restore --unsigned`, and readers that disagree about what a digit is."""
    forged = manifest(paris("2026-11-22T11:00"), 99)
    document = forged.to_json()
    forge(
        store,
        LAYOUT.manifest(forged.backup_id),
        {**document, "server": {**document["server"], "version": version}},
    )
    assert load_catalog(open_repository(store)).unvouched == ()
    forge(store, LAYOUT.manifest(forged.backup_id), {**document, "programs": {"pg_dump": version}})
    (unsigned,) = load_catalog(open_repository(store)).unvouched
    with pytest.raises(DamagedData):
        _ = unsigned.manifest.archive_major
    store.replace(LAYOUT.manifest("２０２６1122T110000Z-AAAAAA"), b"{}")
    assert not any("２" in each.backup_id for each in load_catalog(open_repository(store)).unvouched)


def test_what_nobody_signed_does_not_fill_the_memory(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: dozens of unsigned manifests, each as large as the largest may be, and checks that say a lot."""
    (newest, *_) = catalog_of(store).backups
    check = Check(
        "drill", newest.backup_id, NOW, passed=False, reasons=("x",) * 9, details={"tables": ["y"] * 9}
    )
    forge(store, LAYOUT.check(newest.backup_id, NOW), check.to_json())
    forged_backup(store)
    first = load_catalog(open_repository(store))
    monkeypatch.setattr(reading, "MOST_BYTES_NOBODY_SIGNED", 1)
    found = load_catalog(open_repository(store))
    assert len(first.unvouched) == 1
    assert found.unvouched == ()
    assert [backup.backup_id for backup in found] == [backup.backup_id for backup in first]
    assert any("no more of that is read" in damage.problem for damage in found.damage)
