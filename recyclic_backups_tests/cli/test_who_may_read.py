"""Who may read what one deployment user leaves behind: nobody but they, whatever the umask.

Public are the files that somebody publishes: the report and the metrics that ``--output`` names.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from recyclic_backups.catalog.read_once import FOLDER
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.docs.pages import PROJECT
from recyclic_backups_tests.operator import PASSPHRASE, Operator, variables_of

pytestmark = pytest.mark.small

NOBODY = 65534


@contextmanager
def _usual_umask() -> Iterator[None]:
    """That of most systems, with which new files are for everybody to read."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _open_to_others(top: Path) -> list[str]:
    return [str(path) for path in (top, *top.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077]


@pytest.mark.parametrize("encrypted", ["true", "false"])
def test_nobody_else_may_read_the_storage(operator: Operator, encrypted: str) -> None:
    """Loss prevented: members' data for every account of the machine, without encryption in the clear."""
    with _usual_umask():
        backup_id = operator.backup_id(BACKUP_ENCRYPTION=encrypted)
        operator.must("verify", backup_id, BACKUP_ENCRYPTION=encrypted)
        operator.must(
            "hold", backup_id, "--reason", "audit", "--until", "2099-01-01", BACKUP_ENCRYPTION=encrypted
        )
    assert len(list(operator.storage.rglob("*"))) > 10
    assert _open_to_others(operator.storage) == []


def test_a_storage_that_stands_open_still_holds_closed_files(operator: Operator) -> None:
    """Loss prevented: a directory made beforehand, as a mount is, that opens everything put into it."""
    operator.storage.mkdir(mode=0o755)
    operator.storage.chmod(0o755)
    with _usual_umask():
        operator.backup_id()
    assert _open_to_others(operator.storage) == [str(operator.storage)]


def test_what_a_restore_and_a_drill_work_with_is_theirs_alone(
    operator: Operator, scratch_directory: Path
) -> None:
    """Loss prevented: the one place where data lie readable on disk (invariant 7), readable for everybody."""
    backup_id = operator.backup_id()
    seen: dict[str, int] = {}
    done = threading.Event()

    def watch(top: Path) -> None:
        while not done.wait(0.005):
            for path in top.iterdir():
                try:
                    # Where we are root, the group of the server's user may pass through the directory.
                    may = 0o067 if os.geteuid() == 0 and path.lstat().st_uid == 0 else 0o077
                    seen[path.name] = seen.get(path.name, 0) | stat.S_IMODE(path.lstat().st_mode) & may
                except FileNotFoundError:
                    continue

    with TemporaryDirectory(prefix="watched-", dir=scratch_directory) as name:
        Path(name).chmod(0o1777)
        watcher = threading.Thread(target=watch, args=(Path(name),))
        watcher.start()
        try:
            with _usual_umask():
                outcome = operator.run(
                    "drill", "simple", "--backup", backup_id, "--json", BACKUP_SCRATCH=name
                )
        finally:
            done.set()
            watcher.join()
        assert outcome.code == 0, outcome.err
        left = list(Path(name).iterdir())  # what is remembered of the storage stays, and is ours alone
        assert [each.name for each in left] in ([], [FOLDER])
        assert all(each.stat().st_mode & 0o077 == 0 for each in left)
    assert seen, "nothing was made there: the drill went elsewhere"
    assert set(seen.values()) == {0}, seen


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only he gives files away")
@pytest.mark.parametrize("how", ["his", "a link of his", "open to all"])
def test_settings_that_another_user_laid_where_a_command_runs_are_not_read(
    operator: Operator, how: str
) -> None:
    """Attack: an ``.env`` in /tmp, or in the storage, names programs of his: they run as us, with the password."""
    ours, file = operator.directory / "ours", operator.directory / ".env"
    ours.write_text("PG_BIN=/tmp/his\n")
    nobody = 65534
    if how == "a link of his":
        file.symlink_to(ours)
        os.chown(file, nobody, nobody, follow_symlinks=False)
    else:
        ours.rename(file)
        file.chmod(0o666 if how == "open to all" else 0o600)
        if how == "his":
            os.chown(file, nobody, nobody)
    for command in ("list", "validate", "backup"):
        outcome = operator.run(command)
        assert outcome.code == 10, outcome.err
        assert "not read" in outcome.err + outcome.out
    if how == "his":  # who became root by sudo is no other
        outcome = operator.run("list", SUDO_UID=str(nobody), PG_BIN="")
        assert outcome.code == 30, outcome.err  # read, and there is no storage yet


def test_secrets_in_an_open_file_are_said(operator: Operator) -> None:
    """Loss prevented: the one key to every backup, in a file that umask 022 left to everybody."""
    file = operator.directory / ".env"
    file.write_text(f"BACKUP_ENCRYPTION_KEY='{PASSPHRASE}'\nBACKUP_TIME=3\nSMTP_PASSWORD=\n")
    file.chmod(0o644)
    (finding,) = [each for each in operator.must("validate", "--json").json if each["check"] == "secrets"]
    assert finding["status"] == "warning"
    assert "BACKUP_ENCRYPTION_KEY in .env" in finding["message"]
    assert PASSPHRASE not in finding["message"]
    for mode in (0o600, 0o640):  # of root's, for the deployment user's group
        file.chmod(mode)
        assert not [each for each in operator.must("validate", "--json").json if each["check"] == "secrets"]
    file.write_text("BACKUP_TIME=3\n")
    file.chmod(0o644)
    assert not [each for each in operator.must("validate", "--json").json if each["check"] == "secrets"]


def test_an_unprivileged_user_backs_up_and_another_reads_nothing_of_it(
    cluster: ScratchCluster, recyclic_database: str, scratch_directory: Path
) -> None:
    """Loss prevented: a program that works as root only, or a neighbour's account that reads every backup."""
    if os.geteuid() != 0:
        pytest.skip("root: needs it, to be two other users; the modes are tested above")
    deployment = next((each for each in pwd.getpwall() if 0 < each.pw_uid < NOBODY), None)
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    python = next((each for each in (Path(sys.executable), system) if _reachable_for_all(each)), None)
    packages = [PROJECT, Path(sysconfig.get_path("purelib"))]
    if deployment is None or python is None or not all(_reachable_for_all(each / "x") for each in packages):
        pytest.skip("other-user: no other user, or the program is where no other user may go")
    with TemporaryDirectory(prefix="deployment-", dir=scratch_directory) as name:
        home = Path(name)
        home.chmod(0o755)
        settings = {**variables_of(cluster.server, recyclic_database), "BACKUP_ENCRYPTION": "true"}
        settings |= {"BACKUP_ENCRYPTION_KEY": PASSPHRASE, "BACKUP_STORAGE": "file://./backups"}
        (home / ".env").write_text("".join(f"{key}='{value}'\n" for key, value in settings.items()))
        (home / ".env").chmod(0o600)
        for path in (home, home / ".env"):
            os.chown(path, deployment.pw_uid, deployment.pw_gid)

        def types(uid: int, gid: int, *arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                arguments,
                cwd=home,
                env={
                    "PATH": os.defpath,
                    "HOME": str(home),
                    "LANG": "C.UTF-8",
                    "PYTHONPATH": os.pathsep.join(map(str, packages)),
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                user=uid,
                group=gid,
                extra_groups=[],
                umask=0o022,
                capture_output=True,
                text=True,
                check=False,
            )

        ours = (deployment.pw_uid, deployment.pw_gid)
        program = (str(python), "-m", "recyclic_backups")
        for command in (("backup",), ("verify", "--all"), ("metrics", "--output", "metrics.json")):
            finished = types(*ours, *program, *command)
            assert finished.returncode == 0, finished.stderr
        listing = types(NOBODY, NOBODY, "find", ".", "-type", "f", "-readable")
        assert listing.stdout.split() == ["./metrics.json"], (
            "another user may read more than what is published"
        )
        assert PASSPHRASE not in (home / "metrics.json").read_text()
        assert types(NOBODY, NOBODY, "ls", "backups").returncode != 0
        refused = types(NOBODY, NOBODY, *program, "list")
        assert refused.returncode not in (0, 1), refused
        assert "Traceback" not in refused.stderr


def _reachable_for_all(path: Path) -> bool:
    real = path.resolve()
    if not path.parent.exists():
        return False
    return all(each.stat().st_mode & 0o001 for each in (*path.absolute().parents, *real.parents))


def test_no_secret_stands_among_the_arguments_of_a_program(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: every user of a machine reads everybody's arguments (ps, /proc/PID/cmdline)."""
    started: list[str] = []
    begin = subprocess.Popen.__init__

    def noted(self: subprocess.Popen[bytes], args: object, *more: Any, **options: Any) -> None:
        started.append(repr(args))
        begin(self, args, *more, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    operator.backup_id()
    operator.must("verify", "--all", "--level", "parsed")
    operator.must("drill", "simple")
    password = operator.variables["POSTGRES_PASSWORD"]
    assert any("pg_dump" in argv for argv in started)
    assert any("pg_restore" in argv for argv in started)
    assert not [argv for argv in started if password in argv or PASSPHRASE in argv]
