"""Stored files that were damaged, cut, swapped, deleted or edited: found, named, never restored from in silence."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recyclic_backups.envelope.document import summed
from recyclic_backups_tests.faults.selection import slow, some
from recyclic_backups_tests.faults.site import Site, refused

OLD_SECONDS = 3 * 24 * 3600
"""Older than what the sweep leaves alone for its age."""

Damage = Callable[[Path], None]


def _flipped(share: float) -> Damage:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[min(int(len(data) * share), len(data) - 1)] ^= 1
        path.write_bytes(bytes(data))

    return damage


def _without_its_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def _grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zeroed(path: Path) -> None:
    """What a power cut without fsync leaves: the right size, and nothing in it."""
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES: dict[str, Damage] = {
    "first byte": _flipped(0),
    "header": _flipped(0.03),
    "a third in": _flipped(0.34),
    "middle": _flipped(0.5),
    "almost at the end": _flipped(0.97),
    "last but one byte": lambda path: _flipped((path.stat().st_size - 2) / path.stat().st_size)(path),
    "cut by two bytes": _without_its_end,
    "a byte too long": _grown,
    "empty": _empty,
    "zeros": _zeroed,
    "deleted": Path.unlink,
}
_QUICK = {
    ("main", "header", True),
    ("main", "middle", False),
    ("globals", "cut by two bytes", True),
    ("manifest", "deleted", False),
    ("check", "a third in", False),
    ("key", "deleted", True),
}
_FILES = {
    "main": "*/backups/{id}/main.dump*",
    "globals": "*/backups/{id}/globals.sql*",
    "manifest": "*/backups/{id}/manifest.json",
    "check": "*/backups/{id}/checks/*.json",
    "label": "*/tiers/daily/*.json",
    "key": "keys/*.json",
}


def _cases() -> list[tuple[str, str, bool]]:
    return [
        (what, how, encrypted)
        for what in _FILES
        for how in DAMAGES
        for encrypted in (True, False)
        if not (what == "key" and not encrypted)
        # Nothing says that there were a label or a check: the backup without them is as good.
        and not (how == "deleted" and what in ("label", "check"))
    ]


@contextmanager
def _a_backup_and_another(site: Site, encrypted: bool) -> Iterator[str]:
    """The id of the newer of two; whatever a restore makes is dropped."""
    site.operator.variables["BACKUP_ENCRYPTION"] = "true" if encrypted else "false"
    site.operator.backup_id()
    before = site.databases()
    yield site.operator.backup_id()
    assert site.databases() == before, "a restore has made something"


def _age(storage: Path) -> None:
    """As if everything had been there for days."""
    long_ago = time.time() - OLD_SECONDS
    for path in storage.rglob("*"):
        if path.is_file():
            os.utime(path, (long_ago, long_ago))


def _require_restore_refused(site: Site, backup_id: str, code: int) -> None:
    outcome = site.operator.run("restore", backup_id, "--into", f"{site.database}_restored")
    refused(outcome, code)


@pytest.mark.parametrize(("what", "how", "encrypted"), some(_cases(), _QUICK))
def test_damage_is_found_named_and_never_restored(site: Site, what: str, how: str, encrypted: bool) -> None:
    """Loss prevented: bytes that changed on the disk, found out during the restore that was to save the shop."""
    with _a_backup_and_another(site, encrypted) as backup_id:
        path = sorted(site.storage.glob(_FILES[what].format(id=backup_id)))[-1]
        name = str(path.relative_to(site.storage))
        DAMAGES[how](path)
        expected = 41 if (what, how) == ("key", "deleted") else 40
        everything = site.operator.run("verify", "--all")
        assert everything.code == expected, everything.err
        named = path.name if what in ("main", "globals") else name
        assert named in everything.err, everything.err
        one = site.operator.run("verify", backup_id)
        assert one.code == (0 if what == "label" and one.code == 0 else expected), one.err
        if what in (
            "label",
            "check",
        ):  # what cannot be read says nothing of a backup any more: told, and no obstacle
            assert one.code == expected or f"damaged: {name}" in one.err
        else:
            _require_restore_refused(site, backup_id, expected)
            assert "Traceback" not in one.err
        # Days later, the sweep of the next backup takes none of it for rubbish.
        _age(site.storage)
        before = site.operator.stored()
        site.operator.run("backup")
        assert before <= site.operator.stored()
        # A label is written anew by the backup that takes it over.
        assert site.operator.run("verify", "--all").code == (0 if what == "label" else expected)


@pytest.mark.parametrize("encrypted", some([True, False], {False}))
def test_objects_swapped_between_two_backups_are_found(site: Site, encrypted: bool) -> None:
    """Loss prevented: yesterday's data restored as today's, each of them whole in itself."""
    with _a_backup_and_another(site, encrypted) as backup_id:
        with site.server.connect(site.database) as connection:
            connection.execute("DELETE FROM sale")
        third = site.operator.backup_id()
        one, other = (next(site.storage.glob(f"*/backups/{each}/main.dump*")) for each in (backup_id, third))
        first_bytes = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(first_bytes)
        verdicts = site.operator.run("verify", "--all", "--json")
        assert verdicts.code == 40
        assert {each["backup_id"] for each in verdicts.json if not each["passed"]} == {backup_id, third}
        for each in (backup_id, third):
            _require_restore_refused(site, each, 40)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2))


@pytest.mark.parametrize("encrypted", some([True, False], {False}))
@pytest.mark.parametrize(
    ("pattern", "changes"),
    [
        ("*/backups/{id}/manifest.json", {"late": True}),
        pytest.param("*/backups/{id}/manifest.json", {"partition": "2020-01-01"}, marks=slow),
        pytest.param("*/backups/{id}/manifest.json", {"fingerprint": None}, marks=slow),
        pytest.param("*/backups/{id}/checks/*.json", {"proves": True}, marks=slow),
        ("*/tiers/daily/*.json", {"late": True}),
    ],
)
def test_an_edited_document_is_found(
    site: Site, pattern: str, changes: dict[str, object], encrypted: bool
) -> None:
    """Loss prevented: a document that still reads well and says something else."""
    with _a_backup_and_another(site, encrypted) as backup_id:
        (path,) = site.storage.glob(pattern.format(id=backup_id))
        _edit(path, **changes)
        for arguments in (("verify", "--all"), ("verify", backup_id)):
            outcome = site.operator.run(*arguments)
            # A label that is not believed points at no backup: told, and nothing against this one.
            assert outcome.code == (0 if "tiers" in pattern and "--all" not in arguments else 40)
            assert str(path.relative_to(site.storage)) in outcome.err
        if "manifest" in pattern:  # what is merely beside a backup condemns it no more than it proves it
            _require_restore_refused(site, backup_id, 40)


@pytest.mark.parametrize("encrypted", some([True, False], {True}))
def test_a_tombstone_that_nobody_of_us_wrote_is_found(site: Site, encrypted: bool) -> None:
    """Loss prevented: one small file that makes a backup vanish from every list."""
    with _a_backup_and_another(site, encrypted) as backup_id:
        (manifest,) = site.storage.glob(f"*/backups/{backup_id}/manifest.json")
        folder = manifest.parent.parent.parent / "tombstones"
        folder.mkdir()
        tombstone = folder / f"{backup_id}.json"
        name = str(tombstone.relative_to(site.storage))
        for content in ("", "{}", json.dumps({"format": 1, "backup_id": backup_id, "reason": "because"})):
            tombstone.write_text(content)
            outcome = site.operator.run("verify", "--all")
            assert outcome.code == 40
            assert name in outcome.err
            assert site.operator.run("show", backup_id).code == 0, "it hides nothing"
        document = {"format": 1, "backup_id": backup_id, "reason": "because"}
        tombstone.write_text(json.dumps(summed(document, name)))
        assert site.operator.run("verify", "--all").code == (40 if encrypted else 0)
        _edit(tombstone, reason="another")
        assert site.operator.run("verify", "--all").code == 40
        tombstone.unlink()
        folder.rmdir()


@slow
def test_every_manifest_gone_is_damage_and_no_empty_catalog(site: Site) -> None:
    """Loss prevented: "there is no backup yet" where there were twenty."""
    with _a_backup_and_another(site, True):
        for path in site.storage.glob("*/backups/*/manifest.json"):
            path.unlink()
        for arguments in (("verify",), ("verify", "--all"), ("restore", "latest", "--into", "other")):
            assert site.operator.run(*arguments).code == 40
        before = site.operator.stored()
        _age(site.storage)
        site.operator.backup_id()
        assert before <= site.operator.stored()


def test_the_wrong_key_is_told_from_damage(site: Site) -> None:
    """Loss prevented: a mistyped key taken for a broken disk, or a broken disk for a mistyped key."""
    wrong = {"BACKUP_ENCRYPTION_KEY": "another passphrase altogether"}
    with _a_backup_and_another(site, True) as backup_id:
        for arguments in (("verify", "--all"), ("restore", backup_id, "--into", f"{site.database}_restored")):
            outcome = site.operator.run(*arguments, **wrong)
            assert outcome.code == 41
            assert "BACKUP_ENCRYPTION_OLD_KEYS" in outcome.err
        refused(site.operator.run("backup", **wrong), 41)
        assert site.operator.must("list", **wrong).code == 0
        assert site.operator.must("verify", "--all", "--level", "stored", **wrong).code == 0
        assert site.operator.must("verify", "--all").code == 0, "a wrong key leaves no bad verdict"
        (path,) = site.storage.glob(f"*/backups/{backup_id}/main.dump*")
        _flipped(0.5)(path)
        outcome = site.operator.run("verify", backup_id, **wrong)
        assert outcome.code == 40, "hashes need no key"
        assert path.name in outcome.err
