"""Nothing of production acts where it is recovered, and nothing that lies there is followed."""

from __future__ import annotations

import io
import os
import pwd
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recyclic_backups.archive.wal import segment_name
from recyclic_backups.errors import DamagedData, Refused
from recyclic_backups.postgres import account as accounts
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.reader import reading_login
from recyclic_backups.postgres.temporary_roles import READS
from recyclic_backups.recovery import unpack_base
from recyclic_backups.recovery.feed import PgWal
from recyclic_backups.recovery.into_directory import require_usable
from recyclic_backups.recovery.target import LATEST
from recyclic_backups.recovery.unpack import DIRECTORY, Tree, Unpacking
from recyclic_backups_tests.archive.conftest import receiving, small_segments
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.recovery.conftest import History, Site, one
from recyclic_backups_tests.recovery.test_command import place

__all__ = ["place"]


@pytest.fixture
def armed(installation: Installation, scratch_directory: Path, tmp_path: Path) -> Iterator[Site]:
    """A production server that archives, follows another one and loads libraries, as far as it says."""
    with small_segments(installation, scratch_directory) as cluster:
        site = Site(cluster, tmp_path / "storage", installation, scratch_directory)
        with receiving(cluster, site.store) as receiver:
            site.sql("CREATE TABLE public.log (what text)")
            site.sql("ALTER SYSTEM SET archive_command = 'touch /tmp/recyclic-archived'")
            site.sql("ALTER SYSTEM SET archive_mode = 'always'")
            site.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
            site.sql("ALTER SYSTEM SET restore_command = 'touch /tmp/recyclic-restored'")
            site.sql("ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'")
            site.take_base()
            site.sql("INSERT INTO public.log VALUES ('a')")
            site.caught_up(receiver)
        yield site


def test_no_command_library_or_connection_of_production_acts(armed: Site) -> None:
    """Attack, and accident: a recovered copy that archives over production's WAL, or runs what its owner wrote."""
    with armed.recovered(LATEST) as cluster:
        assert one(cluster, "SELECT what FROM public.log") == "a"
        for name, value in {
            "archive_mode": "off",
            "primary_conninfo": "",
            "restore_command": "",
            "shared_preload_libraries": "",
            "listen_addresses": "",
            "max_logical_replication_workers": "0",
        }.items():
            assert one(cluster, f"SELECT current_setting('{name}')") == value
    assert not os.path.exists("/tmp/recyclic-archived")
    assert not os.path.exists("/tmp/recyclic-restored")


def test_settings_of_production_are_put_aside_and_named(
    armed: Site,
    recovering: Operator,
    place: Path,
) -> None:
    """Accident: a promoted copy that begins to archive into production's archive with the first start."""
    done = recovering.must(
        "recover", "--latest", "--promote", "--data-directory", str(place),
        BACKUP_STORAGE=f"file://{armed.directory}",
    )  # fmt: skip
    assert unpack_base.PUT_ASIDE in done.out
    assert (place / "postgresql.auto.conf").read_bytes() == b""
    assert "archive_command" in (place / unpack_base.PUT_ASIDE).read_text()


def test_a_link_in_pg_wal_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """Attack: code in the recovering server lays a link where the next segment comes: root would write through it."""
    target = tmp_path / "precious"
    target.write_text("precious")
    wal = tmp_path / "data" / "pg_wal"
    wal.mkdir(parents=True)
    name = segment_name(1, 0, 1 << 20)
    (wal / name).symlink_to(target)
    (wal / "recyclic_backups.incoming").symlink_to(target)
    opened = os.open(tmp_path / "data", DIRECTORY)
    placing = PgWal(tmp_path / "data", opened, Account.for_servers())
    placing.place(name, b"wal", 16)
    assert target.read_text() == "precious"
    assert not (wal / name).is_symlink()
    assert (wal / name).read_bytes() == b"wal" + bytes(13)
    # Swapped meanwhile: what was opened is written to, and not what has its name now.
    wal.rename(tmp_path / "data" / "elsewhere")
    wal.symlink_to(tmp_path)
    placing.place("segment", b"wal")
    placing.close()
    assert not (tmp_path / "segment").exists()
    with pytest.raises(Refused, match="pg_wal"):
        PgWal(tmp_path / "data", opened, Account.for_servers())
    os.close(opened)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "base/../../outside", "link"])
def test_an_archive_that_leads_out_of_its_directory_is_damage(tmp_path: Path, name: str) -> None:
    """Attack: whoever answered in the place of production sent an archive that writes elsewhere."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(member)
    packed.seek(0)
    root = tmp_path / "root"
    root.mkdir()
    opened = os.open(root, DIRECTORY)
    tree = Tree(root, opened, Account(os.geteuid(), os.getegid(), change=False))
    with pytest.raises(DamagedData):
        Unpacking({}).unpack(packed, tree, "base.tar")
    tree.close()
    os.close(opened)
    assert not list(root.iterdir())
    assert not (tmp_path / "outside").exists()


def test_a_recovery_that_is_killed_leaves_no_server(history: History, place: Path) -> None:
    """Loss: a server that nobody knows of, in a directory that somebody then starts another one in."""
    script = (
        "import recyclic_backups.recovery.into_directory as into, time\n"
        "into.RecoveredCluster.shut_down = lambda self: time.sleep(60)\n"
        "from recyclic_backups.cli.main import main\n"
        f"main(['recover', '--latest', '--data-directory', {str(place)!r}])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={
            "PATH": os.environ["PATH"],
            "BACKUP_STORAGE": f"file://{history.site.directory}",
            "BACKUP_SCRATCH": str(history.site.scratch),
            "BACKUP_ENCRYPTION": "true",
            "BACKUP_ENCRYPTION_KEY": KEY,
        },
        stdout=subprocess.DEVNULL,
        cwd=history.site.scratch,
    )
    deadline = time.monotonic() + 60
    lines = _pid_file(place)
    while lines[7:] != ["ready   "]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        lines = _pid_file(place)
    server = int(lines[0])
    process.kill()
    process.wait()
    while time.monotonic() < deadline and os.path.exists(f"/proc/{server}"):
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{server}")
    assert (place / "standby.signal").exists()


def _pid_file(directory: Path) -> list[str]:
    try:
        return (directory / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def test_what_is_rebuilt_is_read_by_a_role_that_can_only_read(history: History) -> None:
    """Attack: an owner's code that no look foresees is superuser of the recovered server, and writes that backup."""
    with (
        history.site.recovered(LATEST) as recovered,
        reading_login(recovered.server, "postgres") as login,
        login.connect("postgres") as connection,
    ):
        assert login.user.startswith(READS)
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert row == (False,)


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root recovers for others")
def test_a_directory_that_anybody_could_have_made_is_not_filled_for_him(tmp_path: Path) -> None:
    """Attack: another user makes it under /tmp beforehand, and all of the server would become his."""
    tmp_path.chmod(0o1777)
    directory = tmp_path / "recovered"
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    with pytest.raises(Refused) as raised:
        require_usable(directory, Account.for_servers())
    assert "all of the server would become his" in raised.value.message


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root lends a server to another user")
def test_a_server_that_recovers_is_of_nobody_else(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: whatever else runs as nobody writes pg_hba.conf of what becomes production, or keeps it open."""
    monkeypatch.setattr(accounts, "USERS", ("no-such-user", "nobody"))
    assert Account.for_servers().shared
    with history.site.recovered(LATEST) as cluster:
        (uid,) = {path.lstat().st_uid for path in cluster.data_directory.rglob("*")}
        with pytest.raises(KeyError):
            pwd.getpwuid(uid)
        assert uid in accounts._ids_of_processes()
        assert Account.for_recovered().uid != uid


def test_a_database_that_its_owner_closed_does_not_keep_a_recovery_from_its_end(history: History) -> None:
    """Attack: whoever owns ``postgres`` allows no session in it, and no recovery can ask how far it came."""
    with history.site.recovered(LATEST) as recovered:
        with recovered.server.connect("template1") as connection:
            connection.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        with recovered.connected() as connection:
            assert connection.info.dbname == "template1"
