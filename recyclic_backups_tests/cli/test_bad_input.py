"""Bad input: one clear sentence, a hint, the documented exit code, nothing half written, no secret, no traceback."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from recyclic_backups.cli.main import main
from recyclic_backups_tests.operator import PASSPHRASE, Operator

pytestmark = pytest.mark.small

CASES: dict[str, tuple[tuple[str, ...], dict[str, str | None], int, str]] = {
    "wrong password": (("backup",), {"POSTGRES_PASSWORD": "wr0ng-secret"}, 20, "authentication failed"),
    "unknown host": (("backup",), {"POSTGRES_HOST": "no-such-host.invalid"}, 20, "no-such-host.invalid"),
    "nothing listens": (("backup",), {"POSTGRES_PORT": "1"}, 20, "127.0.0.1:1"),
    "unknown database": (("backup",), {"POSTGRES_DB": "nowhere"}, 20, "nowhere"),
    "unknown user": (("backup",), {"POSTGRES_USER": "nobody-here"}, 20, "nobody-here"),
    "partition of the future": (("backup", "--partition", "2999-01-01"), {}, 2, "future"),
    "partition before the first": (("backup", "--partition", "2001-01-01"), {}, 2, "before the first"),
    "partition that is no date": (("backup", "--partition", "yesterday"), {}, 2, "yesterday"),
    "week that begins on a Sunday": (
        ("backup", "--tier", "weekly", "--partition", "2026-11-22"),
        {},
        2,
        "2026-11-16",
    ),
    "unknown tier": (("backup", "--tier", "hourly"), {}, 2, "hourly"),
    "short key": (("backup",), {"BACKUP_ENCRYPTION_KEY": "sh0rt-secret"}, 10, "BACKUP_ENCRYPTION_KEY"),
    "encryption without key": (("backup",), {"BACKUP_ENCRYPTION_KEY": None}, 10, "BACKUP_ENCRYPTION_KEY"),
    "key file that is missing": (
        ("backup",),
        {"BACKUP_ENCRYPTION_KEY": None, "BACKUP_ENCRYPTION_KEY_FILE": "/no/such/file"},
        10,
        "BACKUP_ENCRYPTION_KEY_FILE",
    ),
    "storage whose parent is missing": (
        ("backup",),
        {"BACKUP_STORAGE": "file:///no/such/parent"},
        30,
        "/no/such",
    ),
    "storage that is a file": (("backup",), {"BACKUP_STORAGE": "file:///etc/passwd"}, 30, "/etc/passwd"),
    "storage of an unknown kind": (("backup",), {"BACKUP_STORAGE": "ftp://host/path"}, 10, "BACKUP_STORAGE"),
    "PG_BIN without programs": (("backup",), {"PG_BIN": "/etc"}, 10, "/etc"),
    "nonsense hour": (("validate",), {"BACKUP_TIME": "25"}, 10, "BACKUP_TIME"),
    "nonsense time zone": (("validate",), {"BACKUP_TIMEZONE": "Europe/Atlantis"}, 10, "BACKUP_TIMEZONE"),
    "nonsense date": (("validate",), {"BACKUP_START_DATE": "soon"}, 10, "BACKUP_START_DATE"),
    "nonsense port": (("validate",), {"POSTGRES_PORT": "many"}, 10, "POSTGRES_PORT"),
    "nonsense switch": (("validate",), {"BACKUP_ENCRYPTION": "perhaps"}, 10, "BACKUP_ENCRYPTION"),
    "nonsense compression": (("validate",), {"BACKUP_COMPRESSION": "zstd:99"}, 10, "BACKUP_COMPRESSION"),
    "nonsense fingerprint": (("validate",), {"BACKUP_FINGERPRINT": "thumb"}, 10, "BACKUP_FINGERPRINT"),
    "nonsense retention": (("validate",), {"RETENTION_DAILY": "-1"}, 10, "RETENTION_DAILY"),
    "nonsense alert": (("validate",), {"ALERT_DISK_SPACE_WARNING": "much"}, 10, "ALERT_DISK_SPACE_WARNING"),
    "nonsense sslmode": (("validate",), {"POSTGRES_SSLMODE": "maybe"}, 10, "POSTGRES_SSLMODE"),
    "nonsense locale": (("validate",), {"BACKUP_LOCALE": "tlh"}, 10, "BACKUP_LOCALE"),
    "nonsense drill server": (
        ("validate",),
        {"DRILL_SERVER_URL": "http://s3cret@x/"},
        10,
        "DRILL_SERVER_URL",
    ),
    "empty catalog": (("restore", "latest", "--into", "new"), {}, 60, "no backup"),
    "empty catalog to verify": (("verify",), {}, 60, "no backup"),
    "empty catalog to show": (("show", "latest"), {}, 60, "no backup"),
    "restore to nowhere": (("restore", "latest"), {}, 2, "--into"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case).replace(" ", "-"))
def test_bad_input_ends_in_a_sentence_a_hint_and_its_exit_code(operator: Operator, case: str) -> None:
    """Loss prevented: a volunteer who cannot tell what is wrong gives up, and there is no backup that night."""
    arguments, overrides, code, words = CASES[case]
    operator.storage.mkdir()
    outcome = operator.run(*arguments, **overrides)
    said = outcome.out + outcome.err
    assert outcome.code == code, said
    assert words in said
    assert "Traceback" not in said
    assert not any(name.endswith("manifest.json") for name in operator.stored())
    for secret in (
        PASSPHRASE,
        operator.variables["POSTGRES_PASSWORD"],
        "wr0ng-secret",
        "sh0rt-secret",
        "s3cret",
    ):
        assert secret not in said


def test_every_wrong_setting_is_named_at_once(operator: Operator) -> None:
    """Loss prevented: an operator who corrects one setting a night needs a week for seven."""
    outcome = operator.run(
        "validate", BACKUP_TIME="noon", POSTGRES_PORT="0", RETENTION_WEEKLY="some", BACKUP_TIMEZONE="?"
    )
    assert outcome.code == 10
    for name in ("BACKUP_TIME", "POSTGRES_PORT", "RETENTION_WEEKLY", "BACKUP_TIMEZONE"):
        assert name in outcome.out


def test_a_directory_that_is_gone_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a traceback for whoever removed the directory that their terminal stands in."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["list"]) == 2
    assert "does not exist any more" in capsys.readouterr().err


def test_a_target_that_exists_is_refused_and_left_alone(operator: Operator) -> None:
    """Loss prevented: a restore over the live database."""
    operator.backup_id()
    outcome = operator.run("restore", "latest", "--into", operator.variables["POSTGRES_DB"])
    assert outcome.code == 70
    assert "exists" in outcome.err


def test_an_unknown_backup_is_named(operator: Operator) -> None:
    """Loss prevented: a typing error at 3 a.m. that restores another backup than the one meant."""
    operator.backup_id()
    outcome = operator.run("show", "20010101T000000Z-AAAAAA")
    assert outcome.code == 60
    assert "20010101T000000Z-AAAAAA" in outcome.err


def test_settings_in_a_dotenv_file_are_read_and_the_environment_wins(operator: Operator) -> None:
    """Loss prevented: a backup of the wrong database because one of two places was ignored."""
    (operator.directory / ".env").write_text("BACKUP_TIMEZONE=Asia/Tokyo\nPOSTGRES_DB=elsewhere\n")
    outcome = operator.must("validate")
    assert "Asia/Tokyo" in outcome.out
    assert "elsewhere" not in outcome.out


def test_secrets_may_come_from_files(operator: Operator) -> None:
    """Loss prevented: a Docker secret that is ignored, and a backup without the key its owner believes in."""
    for name in ("POSTGRES_PASSWORD", "BACKUP_ENCRYPTION_KEY"):
        file = operator.directory / name
        file.write_text(operator.variables[name] + "\n")
        operator.variables[f"{name}_FILE"] = str(file)
        del operator.variables[name]
    assert operator.must("backup", "--json").json["encrypted"] is True


def test_an_empty_id_is_no_backup_wherever_one_is_named(operator: Operator) -> None:
    """Loss prevented: an empty variable in a script, whose latest backup was verified instead of the one meant."""
    operator.backup_id()
    for command in (
        ("verify", ""),
        ("show", ""),
        ("drill", "simple", "--backup", ""),
        ("restore", "", "--into", "x"),
    ):
        outcome = operator.run(*command)
        assert outcome.code == 60, command
        assert "the id of the backup is empty" in outcome.err
        assert not outcome.out
    assert operator.run("verify", "", "--all").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--replace", "--into", ""),
        ("--replace", "--to-server", ""),
        ("--into", ""),
        ("--merge-into", "", "--table", "product"),
    ],
)
def test_an_empty_target_is_never_the_live_database(operator: Operator, arguments: tuple[str, ...]) -> None:
    """Loss prevented: the production database, replaced because a variable of a script was empty."""
    operator.backup_id()
    outcome = operator.run("restore", "latest", *arguments)  # without --yes
    assert outcome.code == 2
    assert "is empty" in outcome.err
    assert not outcome.out


@pytest.mark.parametrize("unbuffered", [True, False], ids=["unbuffered", "buffered"])
@pytest.mark.parametrize(
    "command",
    ["flags list", "list --json", "metrics", "expire --json", "audit show", "audit show --json"],
    ids=lambda command: command.replace(" ", "-"),
)
def test_a_report_that_cannot_be_printed_is_the_storage_s_error(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, command: str, unbuffered: bool
) -> None:
    """Loss prevented: a full disk behind ``>`` told as a bug of ours, in the image that prints unbuffered."""
    operator.storage.mkdir()
    operator.must("flags", "set", "fill_gaps", "off")
    with monkeypatch.context() as patch, Path("/dev/full").open("wb", buffering=0) as full:
        buffer = full if unbuffered else io.BufferedWriter(full)
        patch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="utf-8", write_through=unbuffered))
        outcome = operator.run(*command.split())
        sys.stdout.close()
    assert outcome.code == 30, outcome.err
    assert "error: the report cannot be printed: No space left on device" in outcome.err
    assert "bug" not in outcome.err


def test_a_report_for_an_output_that_is_closed_is_no_bug(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a crontab with ``>&-`` whose mails ask for a bug to be reported."""
    operator.storage.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)  # as Python itself does then
        outcome = operator.run("list", "--json")
        quiet = operator.run("list")
    assert outcome.code == 30
    assert "the report cannot be printed: Bad file descriptor" in outcome.err
    assert quiet.code == 0  # nothing to print but a remark


def test_a_report_that_is_taken_in_pieces_is_whole(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: half a report behind exit code 0, since unbuffered text is written once and then forgotten."""
    operator.storage.mkdir()
    whole = operator.must("flags", "list", "--json").out
    taken = bytearray()

    class Slow(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            piece = bytes(memoryview(data)[:10])  # type: ignore[arg-type]
            taken.extend(piece)
            return len(piece)

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(Slow(), encoding="utf-8", write_through=True))  # type: ignore[type-var]
        operator.must("flags", "list", "--json")
    assert taken.decode() == whole
