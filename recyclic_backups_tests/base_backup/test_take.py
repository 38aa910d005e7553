"""Base backups are whole, sealed, of the right server, and exist only with their WAL."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recyclic_backups.archive.archive import packed
from recyclic_backups.archive.wal import segment_name, segment_start
from recyclic_backups.base_backup import back_up
from recyclic_backups.base_backup.catalog import folder_of_base
from recyclic_backups.base_backup.chain import chain_of
from recyclic_backups.base_backup.due import why_due
from recyclic_backups.base_backup.take import BaseBackupTerms
from recyclic_backups.catalog.objects import read_from
from recyclic_backups.compression import Compression
from recyclic_backups.errors import ArchiveError, DamagedData, DatabaseError, Refused, StorageError
from recyclic_backups.postgres.lock import exclusive
from recyclic_backups.postgres.lsn import lsn_text
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import SEGMENT_BYTES, receiving, small_segments, write_rows
from recyclic_backups_tests.base_backup.conftest import Premises, environment_path, forgotten_slot
from recyclic_backups_tests.house import KEY
from recyclic_backups_tests.operator import variables_of


def _plain(premises: Premises, base_id: str, name: str) -> bytes:
    base = premises.bases.find(base_id, premises.clock())
    item = next(each for each in base.manifest.objects if each.name == name)
    folder = folder_of_base(premises.archive, base_id)
    repository = premises.archive.repository
    content = b""
    with read_from(repository, folder, item, is_sealed=base.manifest.key_id is not None) as reader:
        while piece := reader.read(1 << 20):
            content += piece
    return content


def test_what_is_stored_is_the_server_as_postgresqls_own_program_sees_it(
    based: Premises, tmp_path: Path
) -> None:
    """Loss prevented: our reading of the protocol, and of the server's manifest, differs from PostgreSQL's."""
    [base] = based.bases.bases
    assert base.good
    assert not base.manifest.is_incremental
    assert {each.role for each in base.manifest.objects} == {"data", "tablespace", "server_manifest"}
    for each in base.manifest.objects:
        content = _plain(based, base.base_id, each.name)
        if each.role == "server_manifest":
            (tmp_path / "backup_manifest").write_bytes(content)
            continue
        inside = tmp_path if each.oid is None else tmp_path / "pg_tblspc" / str(each.oid)
        inside.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(inside, filter="fully_trusted")
    [space] = [each for each in base.manifest.objects if each.role == "tablespace"]
    assert space.location == str(based.cluster.socket_directory / "space")
    for said in json.loads((tmp_path / "backup_manifest").read_bytes())["Files"]:
        assert hashlib.sha256((tmp_path / said["Path"]).read_bytes()).hexdigest() == said["Checksum"]
    program = based.cluster.installation.directory / "pg_verifybackup"
    if subprocess.run([program, "--version"], check=False, capture_output=True).returncode == 0:
        # That of the wheel of PostgreSQL 18 crashes whatever it is asked.
        subprocess.run([program, "--no-parse-wal", tmp_path], check=True, capture_output=True)


def test_no_byte_of_it_is_readable(based: Premises) -> None:
    """Loss prevented: members' data readable by whoever has the storage (GDPR, article 32)."""
    for each in based.store.list(based.archive.root):
        with based.store.reader(each.name) as reader:
            while piece := reader.read(1 << 20):
                assert b"Plaintext-Marker" not in piece


def test_without_a_receiver_nothing_is_copied_and_nothing_exists(based_cluster: ScratchCluster) -> None:
    """Loss prevented: a base backup that is listed, and cannot be recovered for want of WAL (50)."""
    premises = Premises(based_cluster, patience_seconds=0.2)
    with pytest.raises(ArchiveError, match="no WAL of server") as error:
        premises.take()
    assert "wal receive" in error.value.hint
    assert premises.base_objects == []


def test_wal_of_another_server_alone_in_the_storage_is_said(based_cluster: ScratchCluster) -> None:
    """Loss prevented: base backups of staging beside the WAL of production."""
    premises = Premises(based_cluster, patience_seconds=0.2)
    premises.store.create("server.123/wal/00000001/000000010000000000000001.zst.sealed", b"")
    with pytest.raises(ArchiveError, match="has WAL of server 123, and this is another one"):
        premises.take()


def test_a_receiver_that_dies_meanwhile_leaves_nothing_that_exists(
    premises: Premises, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a manifest written in the hope that the WAL will come."""
    premises.take()
    before = premises.base_objects
    premises.patience_seconds = 0.3
    store = premises.store
    real = store.writer

    def deaf(name: str):  # type: ignore[no-untyped-def]
        if "/wal/" in name:
            raise StorageError("full")
        return real(name)

    monkeypatch.setattr(back_up._Run, "require_receiver", lambda *_: None)
    monkeypatch.setattr(store, "writer", deaf)
    with pytest.raises(ArchiveError, match="nothing more came"):
        premises.take()
    assert premises.base_objects == before
    monkeypatch.undo()
    premises.patience_seconds = 30
    assert premises.take().base.good


def test_wal_that_is_not_this_servers_makes_no_base_backup(based_cluster: ScratchCluster) -> None:
    """Attack, and accident: a clone has production's system identifier, and its files go with other WAL."""
    premises = Premises(based_cluster, patience_seconds=5)
    archive = premises.archive
    end = write_rows(based_cluster, 1)
    key = archive.repository.key_for_backups(datetime.now(UTC))
    files = sorted((based_cluster.data_directory / "pg_wal").glob("0" * 7 + "1" + "?" * 16))
    with based_cluster.server.connect("postgres") as connection:
        (current,) = connection.execute("SELECT pg_walfile_name(%s)", (lsn_text(end),)).fetchone() or ("",)
    other = next(each for each in files if each.name < current).read_bytes()
    first = segment_start(end, SEGMENT_BYTES)
    for number in range(40):
        segment = segment_name(1, first + number * SEGMENT_BYTES, SEGMENT_BYTES)
        archive.store_segment(segment, packed(other), key)
    with pytest.raises(Refused, match="the WAL in the archive is not this server's"):
        premises.take()
    assert premises.base_objects == []


def test_wal_that_nobody_sealed_makes_no_base_backup(based_cluster: ScratchCluster) -> None:
    """Attack: whoever can write to the storage has a base backup exist for which there is no WAL."""
    premises = Premises(based_cluster, patience_seconds=5)
    archive = premises.archive
    archive.repository.key_for_backups(
        datetime.now(UTC)
    )  # from now on nothing is believed that is not sealed
    first = segment_start(write_rows(based_cluster, 1), SEGMENT_BYTES)
    for number in range(40):
        name = segment_name(1, first + number * SEGMENT_BYTES, SEGMENT_BYTES)
        premises.store.create(f"{archive.wal}/00000001/{name}.zst.sealed", b"nonsense")
    with pytest.raises(DamagedData):
        premises.take()
    assert premises.base_objects == []


def test_a_page_that_is_damaged_on_the_server_is_refused(
    installation: Installation, scratch_directory: Path
) -> None:
    """Loss prevented: damage that the server tells of only after the end, sealed as good (base_backup trap 3)."""
    with small_segments(installation, scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
            row = connection.execute("SELECT current_setting('data_checksums')").fetchone()
        cluster.stop()
        if row == ("off",):
            _as_the_server(cluster, "pg_checksums", "--enable")
        cluster.restart()
        write_rows(cluster)
        with cluster.server.connect("postgres") as connection:
            connection.execute("CHECKPOINT")
            (path,) = connection.execute("SELECT pg_relation_filepath('public.log')").fetchone() or ("",)
        premises = Premises(cluster)
        with receiving(cluster, premises.store):
            good = premises.take()
            assert good.base.manifest.data_checksums
            with open(cluster.data_directory / path, "r+b") as file:
                file.seek(4000)
                byte = file.read(1)
                file.seek(4000)
                file.write(bytes([byte[0] ^ 1]))
            with pytest.raises(DatabaseError, match="pages of the server's own files are damaged") as error:
                premises.take("full")
            assert path in error.value.message
            assert [each.base_id for each in premises.bases.bases] == [good.base.base_id]
            assert all(good.base.base_id in name for name in premises.base_objects)


def _as_the_server(cluster: ScratchCluster, program: str, *options: str) -> None:
    owner = cluster.data_directory.stat()
    subprocess.run(
        [cluster.installation.directory / program, *options, "-D", cluster.data_directory],
        check=True,
        capture_output=True,
        user=owner.st_uid,
        group=owner.st_gid,
    )


@pytest.fixture
def on_disk(based_cluster: ScratchCluster, tmp_path: Path) -> Iterator[Premises]:
    """A storage in a directory, and a receiver."""
    found = Premises(based_cluster, LocalStore.open(tmp_path / "backups", create=True))
    with forgotten_slot(based_cluster), receiving(based_cluster, found.store):
        yield found


def test_what_a_killed_one_left_is_swept_by_the_next(on_disk: Premises, tmp_path: Path) -> None:
    """Loss prevented: halves of base backups that fill the storage, or that somebody takes for whole ones."""
    variables = {
        **variables_of(on_disk.cluster.server, "postgres"),
        "BACKUP_ENCRYPTION": "true",
        "BACKUP_ENCRYPTION_KEY": KEY,
        "BACKUP_RATE_LIMIT": "2MB/s",
        "PATH": environment_path(),
    }
    command = [sys.executable, "-m", "recyclic_backups", "base-backup"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while not (
            any(on_disk.base_objects) and any("/base/" in each.name for each in on_disk.store.partials())
        ):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    left = on_disk.base_objects
    assert left
    assert on_disk.bases.bases == ()
    done = on_disk.take()
    assert not set(left).intersection(on_disk.base_objects)
    assert not [each for each in on_disk.store.partials() if "/base/" in each.name]
    assert all(done.base.base_id in name for name in on_disk.base_objects)


def test_what_another_one_is_writing_is_not_swept(premises: Premises) -> None:
    """Loss prevented: a base backup of the standby whose objects that of the primary takes for orphans."""
    store = premises.store
    first, second = (f"{premises.archive.root}/base/20260101T00000{n}Z-AAAAAA/base.tar" for n in (0, 1))
    for name in (first, second):
        with store.writer(name) as upload:
            upload.commit()
    store.create(f"{premises.archive.root}/base/20260101T000001Z-AAAAAA/checks/x.json", b"{}")
    premises.take()
    assert first not in premises.base_objects
    assert second in premises.base_objects  # checked once: that its manifest is gone is damage


def test_one_at_a_time(premises: Premises) -> None:
    """Loss prevented: two that burden production at once, and sweep each other's objects."""
    server = premises.cluster.server
    with (
        exclusive(server, "postgres", "base backup", wait_seconds=5),
        pytest.raises(Refused, match="another base"),
    ):
        back_up.back_up_server(
            server,
            premises.archive.repository,
            None,
            BaseBackupTerms(compression=Compression("none", 0), lock_wait_seconds=0.2),
            clock=premises.clock,
        )


def test_a_storage_that_is_full_ends_it_and_keeps_nothing(premises: Premises) -> None:
    """Loss prevented: a run that hangs, or half a base backup that fills what is left."""
    seen = 0

    def full(verb: str, name: str) -> None:
        nonlocal seen
        if verb == "write" and "/base.tar" in name:
            seen += 1
            if seen > 3:
                raise StorageError("no space left")

    premises.store.before = full  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match="no space left"):
        premises.take()
    assert premises.base_objects == []
    premises.store.before = lambda _verb, _name: None  # type: ignore[attr-defined]
    assert premises.take().base.good


def test_one_of_a_clock_that_was_years_ahead_is_not_taken_for_that_of_today(premises: Premises) -> None:
    """Loss prevented: a clock is wrong for an hour, and no base backup is taken by itself until that year has come."""
    premises.now = datetime.now(UTC) + timedelta(days=800)
    wrong = premises.take()
    premises.now = None
    since = datetime.now(UTC) - timedelta(hours=1)
    assert why_due(premises.bases.bases, (), premises.clock())
    taken = premises.take(enough_since=since)
    assert taken.fresh
    assert taken.base.base_id != wrong.base.base_id
    again = premises.take(enough_since=since)
    assert (again.fresh, again.base.base_id) == (False, taken.base.base_id)


def test_a_role_that_may_replicate_and_nothing_else_is_enough(premises: Premises) -> None:
    """Loss prevented: a superuser's password on one more machine."""
    server = premises.cluster.server
    with server.connect("postgres") as connection:
        connection.execute("CREATE ROLE copyist LOGIN REPLICATION PASSWORD 'a long password'")
    try:
        copyist = replace(server, user="copyist", password="a long password")
        assert premises.take(server=copyist).base.manifest.superuser == "postgres"
    finally:
        with server.connect("postgres") as connection:
            connection.execute("DROP ROLE copyist")


def test_the_rate_limit_holds(premises: Premises) -> None:
    """Loss prevented: production slowed down by its own backup."""
    premises.rate_limit_bytes = 12 << 20
    manifest = premises.take().base.manifest
    assert manifest.plain_bytes > 16 << 20
    assert manifest.plain_bytes / manifest.duration_seconds < 1.25 * premises.rate_limit_bytes


def test_without_encryption_it_is_stored_and_verified_as_well(based_cluster: ScratchCluster) -> None:
    """Loss prevented: a storage without keys whose base backups cannot be read again."""
    premises = Premises(based_cluster, encrypt=False)
    with forgotten_slot(based_cluster), receiving(based_cluster, premises.store, encrypt=False):
        base = premises.take().base
    assert base.good
    assert base.manifest.key_id is None
    assert all(not each.name.endswith(".sealed") for each in base.manifest.objects)


@pytest.fixture
def incremental(
    installations_by_major: dict[int, Installation], scratch_directory: Path
) -> Iterator[Premises]:
    """A server that can make incremental base backups."""
    able = [major for major in installations_by_major if major >= 17]
    if not able:
        pytest.skip("versions: PostgreSQL 17 or newer is the first with incremental base backups")
    with small_segments(installations_by_major[max(able)], scratch_directory) as cluster:
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
        write_rows(cluster, 20_000)
        premises = Premises(cluster)
        with receiving(cluster, premises.store):
            yield premises


def test_incremental_ones_build_on_the_newest_and_a_full_one_comes_each_week(incremental: Premises) -> None:
    """Loss prevented: chains without an end, or a full copy of a large server each night."""
    assert "summarize_wal is off" in " ".join(incremental.take().notes)
    with pytest.raises(Refused, match="summarize_wal is off"):
        incremental.take("incremental")
    with incremental.cluster.server.connect("postgres") as connection:
        connection.execute("ALTER SYSTEM SET summarize_wal = on")
        connection.execute("SELECT pg_reload_conf()")
    _until_summarized(incremental)
    full = incremental.take("full").base.manifest
    write_rows(incremental.cluster, 500)
    one = incremental.take().base.manifest
    two = incremental.take("incremental").base.manifest
    assert [full.parent, one.parent, two.parent] == [None, full.base_id, one.base_id]
    assert one.stored_bytes < full.stored_bytes / 2
    assert chain_of(incremental.bases.by_id, two.base_id) == [full, one, two]
    assert incremental.verify(two.base_id).passed
    incremental.now = datetime.now(UTC) + timedelta(days=7)
    assert incremental.take().base.manifest.parent is None


def _until_summarized(premises: Premises) -> None:
    """The summarizer begins with the next checkpoint's WAL."""
    deadline = time.monotonic() + 60
    with premises.cluster.server.connect("postgres") as connection:
        connection.execute("CHECKPOINT")
        while not connection.execute("SELECT 1 FROM pg_available_wal_summaries()").fetchone():
            assert time.monotonic() < deadline
            write_rows(premises.cluster, 10)
            connection.execute("CHECKPOINT")
            time.sleep(0.1)


def test_where_the_parents_wal_was_not_summarized_a_full_one_is_taken_and_says_why(
    incremental: Premises,
) -> None:
    """Loss prevented: no base backup at all in the week after summarize_wal was switched on."""
    start_lsn = incremental.take().base.manifest.start_lsn
    needed = segment_name(1, start_lsn, SEGMENT_BYTES)
    with incremental.cluster.server.connect("postgres") as connection:
        deadline = time.monotonic() + 60
        while (incremental.cluster.data_directory / "pg_wal" / needed).exists():
            assert time.monotonic() < deadline
            write_rows(incremental.cluster, 4000)
            connection.execute("CHECKPOINT")
            time.sleep(0.2)
        connection.execute("ALTER SYSTEM SET summarize_wal = on")
        connection.execute("SELECT pg_reload_conf()")
    done = incremental.take()
    assert done.base.manifest.parent is None
    assert "a full one" in done.notes[0]
