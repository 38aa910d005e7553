"""A whole server brought back by the rescue script, at a moment, with the commands that it prints."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

import pytest
import zstandard

from recyclic_backups import rescue
from recyclic_backups.archive.archive import WalArchive, packed
from recyclic_backups.archive.documents import read_position
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups.envelope.keyring import DataKey, Keyring
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import (
    SEGMENT_BYTES,
    archive_of,
    reached,
    receiving,
    repository_of,
    small_segments,
    write_rows,
)
from recyclic_backups_tests.base_backup.conftest import Premises
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.rescue.storages import OTHER_PASSPHRASE
from recyclic_backups_tests.vectors.primitives import without

PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class Archived:
    """A storage with a base backup and WAL over two timelines. ``moment`` lies between the rows before and after."""

    root: Path
    installation: Installation
    base_id: str
    system_identifier: str
    moment: str
    end: datetime

    @property
    def wal(self) -> Path:
        """Where the WAL lies."""
        return self.root / f"server.{self.system_identifier}" / "wal"

    def copied(self, to: Path) -> Archived:
        """The same, for a test to spoil."""
        shutil.copytree(self.root, to)
        return Archived(to, self.installation, self.base_id, self.system_identifier, self.moment, self.end)

    def recover(
        self, *arguments: str | Path, key: str | None = KEY, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the storage's own recover.py, isolated, with that key and these variables."""
        return subprocess.run(
            [sys.executable, "-I", str(self.root / "recover.py"), *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], **variables, **({"BACKUP_ENCRYPTION_KEY": key} if key else {})},
            timeout=120,
        )


@pytest.fixture(scope="module")
def archived(
    installation: Installation, scratch_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Archived]:
    """See :class:`Archived`. The server is gone when the tests begin, as on the day it is about."""
    root = tmp_path_factory.mktemp("whole") / "storage"
    store = LocalStore.open(root, create=True)
    with small_segments(installation, scratch_directory) as cluster:
        archive = archive_of(store, cluster)
        space = cluster.socket_directory / "space"
        Account.for_servers().directory(cluster.socket_directory, space.name)
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
            connection.execute(f"CREATE TABLESPACE apart LOCATION '{space}'")
            connection.execute("CREATE TABLE public.elsewhere (id int) TABLESPACE apart")
            connection.execute("ALTER SYSTEM SET primary_conninfo = 'host=production'")
            connection.execute("ALTER SYSTEM SET archive_command = 'touch /nonexistent/harmed'")
        with receiving(cluster, store) as running:
            write_rows(cluster, 500, "base")
            based = Premises(cluster, store).take("full")
            write_rows(cluster, 3000, "before")
            cluster.stop()
            (cluster.data_directory / "standby.signal").touch()
            cluster.restart()
            with cluster.server.connect("postgres") as connection:
                connection.execute("SELECT pg_promote()")
                connection.execute("INSERT INTO public.elsewhere VALUES (1)")
                connection.execute("INSERT INTO public.log (what) VALUES ('the last before')")
                row = connection.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'").fetchone()
            assert row is not None
            time.sleep(0.2)
            end = write_rows(cluster, 3000, "after")
            running.wait_until(lambda: reached(archive) >= end)
        position = read_position(archive)
        assert position is not None
        rescue.install(store)
        moment = f"{row[0].isoformat()}Z"
        yield Archived(
            root, installation, based.base.base_id, archive.system_identifier, moment, position.server_time
        )


class Started:
    """A server that was started as the script says. ``log`` is where it writes."""

    def __init__(self, archived: Archived, into: Path, printed: str) -> None:
        account = Account.for_servers()
        lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
        (self._start,) = (line for line in lines if line.startswith("pg_ctl "))
        self._psql = next(line for line in lines if line.startswith("psql "))
        self._environment = {"PATH": f"{archived.installation.directory}{os.pathsep}{os.environ['PATH']}"}
        self._account = account
        self._data = into / "data"
        self.log = into / "log"
        subprocess.run(["chown", "-R", f"{account.uid}:{account.gid}", str(into)], check=True)

    def run(self, line: str, *, check: bool = True) -> None:
        """One of the commands, as the user that the files were given to."""
        subprocess.run(
            ["sh", "-c", line],
            check=check,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            user=self._account.uid,
            group=self._account.gid,
            env=self._environment,
            cwd="/",
        )

    def __enter__(self) -> Started:
        self.run(self._start, check=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.run(f"pg_ctl -D {shlex.quote(str(self._data))} -m immediate stop", check=False)

    def ask(self, query: str) -> str:
        """What the printed psql answers."""
        argv = [*shlex.split(self._psql), "-XAtc", query]
        done = subprocess.run(argv, check=True, capture_output=True, text=True, env=self._environment)
        return done.stdout.strip()

    def wait_for(self, text: str) -> None:
        """Wait until the server wrote that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.log.exists() or text not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text() if self.log.exists() else "no log"
            time.sleep(0.05)


@pytest.fixture
def into(scratch_directory: Path) -> Iterator[Path]:
    """Where a server of an unprivileged user can be."""
    with TemporaryDirectory(dir=scratch_directory) as name:
        Path(name).chmod(0o755)
        yield Path(name) / "back"


ROWS = """SELECT count(*) FILTER (WHERE what LIKE 'base%'), count(*) FILTER (WHERE what LIKE 'before%'),
    count(*) FILTER (WHERE what = 'the last before'), count(*) FILTER (WHERE what LIKE 'after%') FROM log"""


def test_everything_up_to_the_moment_comes_back_and_nothing_after_it(archived: Archived, into: Path) -> None:
    """Loss prevented: the whole server, of which there is nothing but the storage, the key and this script."""
    done = archived.recover("cluster", "--into", into, "--to-time", archived.moment)
    assert done.returncode == 0, done.stderr
    assert (into / "postgresql.auto.conf.production").read_text().count("production") == 1
    # A standby that allows less than production did would not be open for reading.
    assert "max_locks_per_transaction = '1024'" in (into / "postgresql.conf").read_text()
    with Started(archived, into, done.stdout) as server:
        server.wait_for("pausing at the end of recovery")
        assert server.ask(ROWS) == "500|3000|1|0"
        assert server.ask("SELECT pg_get_wal_replay_pause_state()") == "paused"
        assert (
            server.ask("SELECT count(*), pg_relation_filepath('elsewhere') LIKE 'pg_tblspc/%' FROM elsewhere")
            == "1|t"
        )
        acting = "SELECT string_agg(setting, ',' ORDER BY name) FROM pg_settings WHERE name IN "
        assert server.ask(f"{acting} ('archive_mode', 'listen_addresses', 'primary_conninfo')") == "off,,"
        server.ask("SELECT pg_wal_replay_resume()")
        server.wait_for("archive recovery complete")
        assert server.ask("CREATE TABLE proof (); SELECT timeline_id FROM pg_control_checkpoint()").endswith(
            "3"
        )
    assert stat.S_IMODE(into.stat().st_mode) == 0o700


def test_without_a_moment_all_of_it_comes_back(archived: Archived, into: Path) -> None:
    """Loss prevented: the last minutes before the machine was gone."""
    done = archived.recover("cluster", "--into", into)
    assert done.returncode == 0, done.stderr
    with Started(archived, into, done.stdout) as server:
        server.wait_for("archive recovery complete")
        assert server.ask(ROWS) == "500|3000|1|3000"


def test_a_moment_after_the_last_transaction_ends_as_the_instructions_say(
    archived: Archived, into: Path
) -> None:
    """Loss prevented: PostgreSQL refuses such a target, and somebody gives all of it up for damaged."""
    done = archived.recover("cluster", "--into", into, "--to-time", archived.end.isoformat())
    assert done.returncode == 0, done.stderr
    started = Started(archived, into, done.stdout)
    with started:
        started.wait_for("recovery ended before configured recovery target was reached")
    config = into / "postgresql.conf"
    kept = [line for line in config.read_text().splitlines() if not line.startswith("recovery_target_time")]
    config.write_text("\n".join(kept) + "\n")
    with started as server:
        server.wait_for("archive recovery complete")
        assert server.ask(ROWS) == "500|3000|1|3000"


def test_list_shows_base_backups_and_how_far_the_wal_reaches(archived: Archived) -> None:
    """The first question is always: what do we still have?"""
    server = f"server {archived.system_identifier}"
    for key in (KEY, None):
        done = archived.recover("list", key=key)
        assert done.returncode == 0, done.stderr
        base, wal = (line.split("  ") for line in done.stdout.splitlines())
        assert [base[0], base[1], base[3], base[5]] == [archived.base_id, server, "base backup", "encrypted"]
        assert wal[:2] == ["WAL", server]
        until = archived.end.strftime("up to %Y-%m-%d %H:%M:%S UTC") if key else "up to an unknown moment"
        assert wal[2] == until
    assert archived.recover("list", "--database", "shop").stdout == ""


@pytest.mark.parametrize(
    "harm", ["flipped", "missing", "end missing", "swapped", "plain", "moved", "history"]
)
def test_wal_that_is_missing_or_damaged_is_told_and_never_an_early_end(
    archived: Archived, tmp_path: Path, into: Path, harm: str
) -> None:
    """Attack, or a disk: recovery that ends in the middle without a word is a loss that nobody notices."""
    spoilt = archived.copied(tmp_path / "spoilt")
    segments = sorted(path for path in spoilt.wal.glob("0*/*") if path.name.count(".") == 2)
    victim, other = segments[-2:]
    if harm == "flipped":
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif harm == "missing":
        victim.unlink()
    elif harm == "end missing":
        newest = max(path.name[:24] for path in spoilt.wal.glob("0*/*"))
        for path in spoilt.wal.glob(f"0*/{newest}*"):
            path.unlink()
    elif harm == "swapped":
        shutil.copy(other, victim)
    elif harm == "plain":
        victim.unlink()
        victim.with_suffix("").write_bytes(zstandard.compress(bytes(SEGMENT_BYTES)))
    elif harm == "moved":
        victim.rename(spoilt.wal / "00000002" / victim.name)
    else:
        (spoilt.wal / "00000002.history.zst.sealed").unlink()
    done = spoilt.recover("cluster", "--into", into)
    assert done.returncode == 40, done.stderr
    assert not into.exists()
    if harm == "history":
        assert "--timeline" in done.stderr
        return
    assert "--up-to-hole" in done.stderr
    assert victim.name[:24] in done.stderr or harm == "end missing"
    asked = spoilt.recover("cluster", "--into", into, "--up-to-hole")
    assert asked.returncode == 0, asked.stderr
    assert "NOT ALL CAME BACK" in asked.stdout


def test_junk_under_the_name_of_the_running_segment_does_not_take_its_tails_away(
    archived: Archived, tmp_path: Path, into: Path
) -> None:
    """Attack: bytes under a name, and the last minutes before the server was lost do not come back."""
    spoilt = archived.copied(tmp_path / "spoilt")
    tails = sorted(spoilt.wal.glob("00000002/*-*"))
    last = tails[-1].name[:24]
    for name in (f"{last}.zst.sealed", f"{last}.00000000-000fffff.zst.sealed"):
        (spoilt.wal / "00000002" / name).write_bytes(b"whatever")
    done = spoilt.recover("cluster", "--into", into)
    assert done.returncode == 0, done.stderr
    assert "NOT ALL" not in done.stdout
    assert (into / "data/pg_wal" / last).read_bytes().strip(bytes(1))
    for tail in tails:
        tail.unlink()
    done = spoilt.recover("cluster", "--into", into.with_name("elsewhere"))
    assert done.returncode == 40
    assert last in done.stderr


def test_a_folder_that_anybody_can_make_does_not_have_somebody_choose_between_servers(
    archived: Archived, tmp_path: Path, into: Path
) -> None:
    """Attack: at 3 a.m. the script asks which of two servers is meant, and one of them is nobody's."""
    spoilt = archived.copied(tmp_path / "spoilt")
    server = spoilt.wal.parent
    shutil.copytree(server, server.with_name("server.1"))
    done = spoilt.recover("cluster", "--into", into)
    assert done.returncode == 0, done.stderr
    assert "passed over, since it has no base backup that can be believed: server 1\n" in done.stderr


def test_a_moment_before_the_damage_does_not_hide_the_damage(
    archived: Archived, tmp_path: Path, into: Path
) -> None:
    """The moment may lie behind the hole: PostgreSQL would find out, with a message that has another reason too."""
    spoilt = archived.copied(tmp_path / "spoilt")
    max(path for path in spoilt.wal.glob("00000001/*") if path.name.count(".") == 2).unlink()
    assert spoilt.recover("cluster", "--into", into, "--to-time", archived.moment).returncode == 40


def test_what_nobody_signed_is_not_believed(archived: Archived, tmp_path: Path, into: Path) -> None:
    """Attack: a position of tomorrow, or a base backup of somebody else's, which would run whatever he likes."""
    spoilt = archived.copied(tmp_path / "spoilt")
    position = spoilt.wal / "position.json"
    document = json.loads(position.read_text())
    position.write_text(json.dumps(document | {"server_time": "2099-01-01T00:00:00.000000Z"}))
    manifest = spoilt.root / f"server.{spoilt.system_identifier}" / "base" / spoilt.base_id / "manifest.json"
    newer = manifest.parent.parent / "20991122T010003Z-EVILEV" / "manifest.json"
    shutil.copytree(manifest.parent, newer.parent)
    content = json.loads(manifest.read_text()) | {"base_id": newer.parent.name, "key_id": None}
    content = without(content, "mac")
    content["objects"] = [
        each | {"name": each["name"].removesuffix(".sealed")} for each in content["objects"]
    ]
    newer.write_bytes(encode(summed(content, newer.relative_to(spoilt.root).as_posix())))
    listed = spoilt.recover("list")
    assert [line.endswith("UNSIGNED") for line in listed.stdout.splitlines()] == [True, False, False]
    done = spoilt.recover("cluster", "--into", into)
    assert done.returncode == 0, done.stderr
    assert f"base backup {spoilt.base_id} " in done.stderr
    assert "position.json is passed over" in done.stderr
    assert newer.parent.name in done.stderr
    elsewhere = into.with_name("elsewhere")
    assert spoilt.recover("cluster", "--into", elsewhere, "--unsigned").returncode == 2
    refused = spoilt.recover("cluster", "--into", elsewhere, "--base", newer.parent.name)
    assert refused.returncode == 70, refused.stderr
    shutil.rmtree(manifest.parent)
    assert spoilt.recover("cluster", "--into", elsewhere).returncode == 70
    assert not elsewhere.exists()


def planted(storage: Archived) -> DataKey:
    """A key of somebody who knows a former passphrase, laid into the storage."""
    elsewhere = MemoryStore()
    key = Keyring(elsewhere, OTHER_PASSPHRASE).for_writing(datetime.now(UTC))
    name = f"keys/{key.key_id}.json"
    (storage.root / name).write_bytes(elsewhere.get(name))
    return key


def test_wal_of_a_planted_key_is_not_replayed(archived: Archived, tmp_path: Path, into: Path) -> None:
    """Attack: who knows a former passphrase seals WAL of his own, which would make him a superuser."""
    spoilt = archived.copied(tmp_path / "spoilt")
    archive = WalArchive(repository_of(LocalStore(spoilt.root)), spoilt.system_identifier)
    segment = max(archive.listing().segments)
    archive.store_segment(segment, packed(bytes(SEGMENT_BYTES)), planted(spoilt))
    done = spoilt.recover("cluster", "--into", into, BACKUP_ENCRYPTION_OLD_KEYS=OTHER_PASSPHRASE)
    assert done.returncode == 40, done.stderr
    assert "somebody planted" in done.stderr
    assert segment in done.stderr


def test_a_former_passphrase_has_no_say_about_servers_once_our_key_file_was_taken_away(
    archived: Archived, tmp_path: Path, into: Path
) -> None:
    """Attack: who knows a former passphrase leaves but his own key there, and a base backup of his own."""
    spoilt = archived.copied(tmp_path / "spoilt")
    shutil.rmtree(spoilt.root / "keys")
    (spoilt.root / "storage.json").unlink()
    (spoilt.root / "keys").mkdir()
    key = planted(spoilt)
    (manifest,) = spoilt.root.glob("server.*/base/*/manifest.json")
    newer = manifest.parent.with_name("20991122T010003Z-EVILEV") / manifest.name
    shutil.copytree(manifest.parent, newer.parent)
    content = json.loads(manifest.read_text()) | {"base_id": newer.parent.name, "key_id": key.key_id}
    name = newer.relative_to(spoilt.root).as_posix()
    newer.write_bytes(encode(signed(without(content, "mac"), name, key)))
    done = spoilt.recover("cluster", "--into", into, BACKUP_ENCRYPTION_OLD_KEYS=OTHER_PASSPHRASE)
    assert done.returncode in (41, 70), done.stderr
    assert "put his own key in the place of ours" in done.stderr


@pytest.mark.parametrize(
    "change", [{"base_id": "20261122T010003Z-K3X7QA"}, {"stop_lsn": "0/1"}, {"mac": None}]
)
def test_an_edited_base_manifest_is_damage(
    archived: Archived, tmp_path: Path, into: Path, change: dict[str, object]
) -> None:
    """Attack: who can edit it passes one server's files off as another's, or has too little WAL replayed."""
    spoilt = archived.copied(tmp_path / "spoilt")
    (manifest,) = spoilt.root.glob("server.*/base/*/manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    assert spoilt.recover("cluster", "--into", into).returncode == 40
    assert not into.exists()


def test_a_damaged_base_backup_leaves_nothing(archived: Archived, tmp_path: Path, into: Path) -> None:
    """A server that starts on half of its files is worse than none."""
    spoilt = archived.copied(tmp_path / "spoilt")
    for name in ("base.tar.zst.sealed", "[0-9]*.tar.zst.sealed"):
        (path,) = spoilt.root.glob(f"server.*/base/*/{name}")
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert spoilt.recover("cluster", "--into", into).returncode == 40
        path.write_bytes(content)
    assert list(into.parent.iterdir()) == []


def test_what_cannot_be_done_is_said_before_anything_is_written(archived: Archived, into: Path) -> None:
    """At three in the morning an hour of unpacking for nothing is an hour without a till."""
    assert archived.recover("cluster", "--into", into, key=None).returncode == 41
    too_early = archived.recover("cluster", "--into", into, "--to-time", "2026-01-01T00:00:00Z")
    assert too_early.returncode == 60
    assert "the earliest moment is 20" in too_early.stderr
    too_late = archived.recover("cluster", "--into", into, "--to-time", "2099-01-01T00:00:00+01:00")
    assert too_late.returncode == 60
    assert archived.end.strftime("%Y-%m-%d %H:%M:%S UTC") in too_late.stderr
    for nonsense in ("2026-11-22 14:31:07", "tomorrow", "9999-12-31T23:59:59-12:00"):
        assert archived.recover("cluster", "--into", into, "--to-time", nonsense).returncode == 2
    assert archived.recover("cluster", "--into", into, "--server", "1").returncode == 60
    assert archived.recover("cluster", "--into", into, "--timeline", "7").returncode == 40
    for name in ("it's", "a:b", "x" * 90):
        assert archived.recover("cluster", "--into", into.with_name(name)).returncode == 70
    into.mkdir()
    assert archived.recover("cluster", "--into", into).returncode == 70
    assert list(into.iterdir()) == []


def test_an_incremental_one_is_passed_over_for_the_full_one_before_it(
    archived: Archived, tmp_path: Path, into: Path
) -> None:
    """Loss prevented: its files alone look like a server, and are a part of one."""
    changed = archived.copied(tmp_path / "changed")
    (manifest,) = changed.root.glob("server.*/base/*/manifest.json")
    newer = manifest.parent.with_name("20991122T010003Z-INCREM") / manifest.name
    shutil.copytree(manifest.parent, newer.parent)
    content = json.loads(manifest.read_text())
    content |= {"base_id": newer.parent.name, "parent": changed.base_id}
    name = newer.relative_to(changed.root).as_posix()
    key = repository_of(LocalStore(changed.root)).key_for_backups(datetime.now(UTC))
    assert key is not None
    newer.write_bytes(encode(signed(without(content, "mac"), name, key)))
    assert "incremental base backup" in changed.recover("list").stdout
    done = changed.recover("cluster", "--into", into, "--base", newer.parent.name.lower())
    assert done.returncode == 70
    assert "pg_combinebackup" in done.stderr
    done = changed.recover("cluster", "--into", into)
    assert done.returncode == 0, done.stderr
    assert f"base backup {changed.base_id} " in done.stderr


def test_wal_of_long_after_the_moment_is_not_written(recover: ModuleType) -> None:
    """Loss prevented: a disk that is full of weeks of WAL that nobody asked for."""

    def base(as_of: str, stop_lsn: int) -> SimpleNamespace:
        return SimpleNamespace(as_of=as_of, start_lsn=0, stop_lsn=stop_lsn, segment_bytes=SEGMENT_BYTES)

    asked: list[int] = []

    def reach(_line: object, _start: int, end: int, _size: int) -> tuple[list[str], str]:
        asked.append(end)
        return [], ""

    wal = SimpleNamespace(position=dict, reach=reach)
    bases = [base(f"2026-11-2{day}T01:00:00.000000Z", stop) for day, stop in ((1, 10), (2, 20), (3, 30))]
    for target in ("2026-11-21T23:59:00.000000Z", "2026-11-22T00:30:00.000000Z", ""):
        recover.reach_of(bases[0], bases, wal, [], target)
    assert asked == [20, 30, recover.NEVER]


# --- tar archives ---


def archive_with(*members: tarfile.TarInfo) -> bytes:
    """A tar archive with a file before these members."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in (tarfile.TarInfo("PG_VERSION"), *members):
            archive.addfile(member)
    return packed.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """One member of it."""
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


HOSTILE = {
    "up": [member("../escaped")],
    "up in the middle": [member("base/../../escaped")],
    "absolute": [member("/tmp/rescue-escaped")],
    "pax path": [member("x" * 200 + "/../../../escaped")],
    "a link out": [member("base", tarfile.SYMTYPE, "/tmp"), member("base/rescue-escaped")],
    "a hard link": [member("base", tarfile.LNKTYPE, "/etc/passwd")],
    "a FIFO": [member("base", tarfile.FIFOTYPE)],
    "a device": [member("base", tarfile.CHRTYPE)],
    "a file twice": [member("PG_VERSION")],
    "a file as a folder": [member("PG_VERSION/escaped")],
    "the root as a file": [member("./")],
    "empty": [member("a//b")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_writes_nothing_outside_and_makes_no_links(
    recover: ModuleType, tmp_path: Path, name: str
) -> None:
    """Attack: a base backup made for this writes over a file of whoever unpacks it, as root."""
    with pytest.raises(recover.Problem) as caught:
        recover.unpack(iter([archive_with(*HOSTILE[name])]), tmp_path / "data", "base.tar.zst")
    assert caught.value.exit_code == 40
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert not list(Path("/tmp").glob("rescue-escaped"))


def test_an_archive_that_ends_in_the_middle_is_damage(recover: ModuleType, tmp_path: Path) -> None:
    """Half of a file restored without a word."""
    file = tarfile.TarInfo("base/1/1259")
    file.size = 8192
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(file, io.BytesIO(bytes(8192)))
    for length in (100, 512, 4000):
        with pytest.raises(recover.Problem):
            recover.unpack(iter([packed.getvalue()[:length]]), tmp_path / str(length), "base.tar.zst")
