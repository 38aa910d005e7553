"""The script and the instructions in the storage: compared with what is shipped, told, rewritten, never run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from recyclic_backups import rescue
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.dump.rescue_files import changed_rescue_files
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.errors import StorageError
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small

FORGED = b"import os; open('loot', 'w').write(os.environ['BACKUP_ENCRYPTION_KEY'])\n"


def told(operator: Operator) -> str:
    """What validate says about the files of the rescue."""
    findings = operator.run("validate", "--json").json
    return " ".join(
        each["message"] for each in findings if each["check"] == "rescue" and each["status"] != "ok"
    )


def test_a_changed_script_is_damage_told_by_every_command_and_rewritten_by_the_next_backup(
    operator: Operator,
) -> None:
    """Attack: recover.py in the storage is replaced, for the day on which somebody runs it with the key."""
    operator.backup_id()
    assert told(operator) == ""
    for name in rescue.NAMES:
        path = operator.storage / name
        path.write_bytes(FORGED)
        assert f"{name} in the storage: it was changed" in told(operator)
        verified = operator.run("verify", "--all")
        assert verified.code == 40
        assert f"damaged: {name}: it was changed" in verified.err
        operator.backup_id()
        assert path.read_bytes() == rescue.shipped(name)
        assert told(operator) == ""
    changed = operator.must("audit", "show", "--action", "backup", "--json").json
    assert sum("rescue_files_replaced" in each["details"] for each in changed) == len(rescue.NAMES)


def unhealthy(operator: Operator, locale: str = "en") -> dict[str, tuple[str, str]]:
    """What metrics say about the files of the rescue: of each its severity and the sentence."""
    issues = operator.run("metrics", "--format", "json", BACKUP_LOCALE=locale).json["issues"]
    return {
        each["subject"]: (each["severity"], each["message"])
        for each in issues
        if each["name"] == "rescue_changed"
    }


def test_a_changed_script_makes_health_critical_until_the_next_backup(operator: Operator) -> None:
    """Attack: recover.py is replaced, and nobody asks validate before the day on which it is run with the key."""
    operator.backup_id()
    assert unhealthy(operator) == {}
    for name in rescue.NAMES:
        (operator.storage / name).write_bytes(FORGED)
    assert operator.run("metrics").code == 80
    english, french = unhealthy(operator), unhealthy(operator, "fr")
    assert set(english) == set(french) == set(rescue.NAMES)
    for name in rescue.NAMES:
        assert english[name][0] == "critical"
        assert f"{name} in the storage is not what this software put there" in english[name][1]
        assert f"{name}, dans le stockage, n'est pas" in french[name][1]
    operator.backup_id()
    assert unhealthy(operator) == {}


def test_the_script_of_an_older_release_is_no_damage(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: an alarm after every update, which teaches people to ignore it."""
    operator.backup_id()
    monkeypatch.setattr(rescue, "shipped", lambda name: f"a newer {name}".encode())
    assert "of an older release" in told(operator)
    assert unhealthy(operator) == {}
    operator.must("verify", "--all")
    operator.backup_id()
    assert (operator.storage / "recover.py").read_bytes() == b"a newer recover.py"
    assert told(operator) == ""


def test_a_manifest_that_was_edited_vouches_for_no_script(operator: Operator) -> None:
    """Attack: the hash of the changed script is written into a manifest as well."""
    backup_id = operator.backup_id()
    ours = hashlib.sha256(rescue.shipped("recover.py")).hexdigest()
    for path in operator.storage.glob(f"*/backups/{backup_id}/manifest.json"):
        text = path.read_text()
        assert ours in text
        path.write_text(text.replace(ours, hashlib.sha256(FORGED).hexdigest()))
    (operator.storage / "recover.py").write_bytes(FORGED)
    assert "older release" not in told(operator).replace("an older release's or was changed", "")


@pytest.mark.parametrize("odd", some(["link", "directory", "huge"], {"link", "huge"}))
def test_what_is_no_file_in_the_scripts_place_is_told_and_stops_no_backup(
    operator: Operator, tmp_path: Path, odd: str
) -> None:
    """Attack: a link to a file elsewhere that is overwritten, or something that ends every backup with an error."""
    operator.backup_id()
    path, elsewhere = operator.storage / "recover.py", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    path.unlink()
    if odd == "link":
        path.symlink_to(elsewhere)
    elif odd == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    assert told(operator)
    operator.backup_id()
    assert elsewhere.read_text() == "mine"
    if odd != "directory":
        assert not path.is_symlink()
        assert path.read_bytes() == rescue.shipped("recover.py")


def test_a_module_beside_the_script_is_told_by_validate_verify_and_backup(operator: Operator) -> None:
    """Attack: `argparse.py` in the storage, run by whoever forgets `python3 -I`."""
    operator.backup_id()
    (operator.storage / "argparse.py").write_bytes(FORGED)
    for command in (("validate",), ("verify", "--all"), ("backup",)):
        outcome = operator.must(*command)
        assert "argparse.py" in outcome.out + outcome.err


def test_the_manifest_and_the_key_sheet_name_the_same_script(operator: Operator) -> None:
    """Loss prevented: nobody can tell whether the script in the storage is the one that was put there."""
    backup_id = operator.backup_id()
    (path,) = operator.storage.glob(f"*/backups/{backup_id}/manifest.json")
    manifest = json.loads(path.read_text())
    sheet = operator.must("keys", "sheet", "--json").json
    for field, name in (("recover_sha256", "recover.py"), ("instructions_sha256", "RECOVERY.md")):
        stored = hashlib.sha256((operator.storage / name).read_bytes()).hexdigest()
        assert manifest[field] == sheet[field] == stored
    (key,) = sheet["keys"]
    assert key["key_id"] == manifest["encryption"]["key_id"]


@pytest.mark.parametrize("locale", ["en", "fr"])
def test_the_key_sheet_prints_no_secret_and_the_commands_that_check_the_script(
    operator: Operator, locale: str
) -> None:
    """Attack: a sheet on somebody's desk that opens the backups."""
    operator.backup_id()
    printed = operator.must("keys", "sheet", BACKUP_LOCALE=locale).out
    for secret in (operator.variables["BACKUP_ENCRYPTION_KEY"], operator.variables["POSTGRES_PASSWORD"]):
        assert secret not in printed
    assert rescue.shipped_sha256("recover.py") in printed
    assert "python3 -I recover.py --storage" in printed
    assert str(operator.storage) in printed


class _Unreadable(MemoryStore):
    """A storage of whose script another user took the rights away."""

    def get(self, name: str) -> bytes:
        if name == rescue.SCRIPT:
            raise StorageError(f"cannot read {name}: permission denied")
        return super().get(name)


def test_a_script_that_cannot_be_read_is_told_and_ends_no_look() -> None:
    """Attack: `chmod 0` on a changed script, so that metrics and alerts end with an error or pass it over."""
    store = _Unreadable()
    repository = Repository(store, "recyclic", Keyring(store, ""), encrypt=False)
    assert changed_rescue_files(repository, list) == (rescue.SCRIPT,)
