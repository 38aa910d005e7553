"""Take a base backup: what BASE_BACKUP sends, archive by archive, sealed into the storage; the manifest last.

While the archives pass by, each file in them is hashed and compared with the server's own manifest. The base backup
exists once the archive holds the WAL that makes its files consistent, and not before.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.catalog import folder_of_base, manifest_name
from recyclic_backups.base_backup.manifest import BaseManifest, BaseObject, BaseRole
from recyclic_backups.base_backup.read_manifest import read_server_manifest, server_manifest_of
from recyclic_backups.base_backup.relay import Relay
from recyclic_backups.base_backup.server_manifest import MOST_BYTES, differences, parse_server_manifest
from recyclic_backups.base_backup.tar_files import FileDigest, TarFiles
from recyclic_backups.base_backup.wal_reach import require_wal_of, wait_for_wal
from recyclic_backups.catalog.layout import new_backup_id
from recyclic_backups.catalog.objects import write_into
from recyclic_backups.compression import Compression
from recyclic_backups.envelope.keyring import DataKey
from recyclic_backups.errors import BackupError, DamagedData, DatabaseError, StorageError
from recyclic_backups.postgres.replication import BaseBackupStart, Replication
from recyclic_backups.progress import Progress

LABEL = "recyclic_backups"
BACKUP_LABEL = b"backup_label"

_MOST_RATE_KIB = 1 << 20  # of MAX_RATE; a gigabyte a second is no limit
_ARCHIVE_NAME = re.compile(r"base\.tar|[0-9]{1,10}\.tar")
_DAMAGED_PAGES = "checksum verification failure"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the manifest says of the server beside what the protocol tells."""

    system_identifier: str
    server_version: int
    segment_bytes: int
    superuser: str
    data_checksums: bool


@dataclass(frozen=True, slots=True)
class BaseBackupTerms:
    """How base backups are taken. ``wal_patience_seconds`` is how long the archive may stand still meanwhile."""

    compression: Compression
    rate_limit_bytes: int | None = None
    lock_wait_seconds: float = 600
    wal_patience_seconds: float = 120.0


def take(
    replication: Replication,
    archive: WalArchive,
    facts: ServerFacts,
    parent: BaseManifest | None,
    terms: BaseBackupTerms,
    data_key: DataKey | None,
    *,
    clock: Callable[[], datetime],
    progress: Progress,
    check_lock: Callable[[], None],
) -> BaseManifest:
    """Take one and make it exist; an incremental one with ``parent``. It is not verified yet.

    Raises IncrementalImpossible before anything was sent; DatabaseError, also for damaged pages; ArchiveError where
    the WAL does not come; Refused, StorageError. Then there is no manifest, and its objects are removed again.
    """
    as_of = clock()
    base_id = new_backup_id(as_of, secrets.token_bytes(4))
    begun = _begun(replication, archive, parent, terms)
    progress.stage("copying the server's files", begun.size_bytes or None)
    attempt = _Attempt(archive, base_id, begun, facts, terms, data_key, progress)
    with attempt.tidied():
        attempt.receive(replication)
        stop_lsn, timeline = _ended(replication)
        if timeline != begun.timeline:
            raise DatabaseError(
                f"the server went from timeline {begun.timeline} to {timeline} during the base backup",
                "take another one",
                retryable=True,
            )
        attempt.compare(stop_lsn)
        progress.stage("waiting for the WAL of the base backup in the archive")
        listing = wait_for_wal(
            archive,
            timeline,
            begun.start_lsn,
            stop_lsn,
            facts.segment_bytes,
            patience_seconds=terms.wal_patience_seconds,
            check=check_lock,
        )
        require_wal_of(archive, listing, timeline, stop_lsn, attempt.backup_label, facts.segment_bytes)
        taken_at = clock()
        manifest = BaseManifest(
            base_id=base_id,
            system_identifier=facts.system_identifier,
            storage_id=archive.repository.storage_id() if data_key is not None else None,
            parent=None if parent is None else parent.base_id,
            server_version=facts.server_version,
            segment_bytes=facts.segment_bytes,
            timeline=timeline,
            start_lsn=begun.start_lsn,
            stop_lsn=stop_lsn,
            as_of=as_of,
            taken_at=taken_at,
            # The machine's clock may have been set back meanwhile.
            duration_seconds=max(0.0, round((taken_at - as_of).total_seconds(), 3)),
            superuser=facts.superuser,
            data_checksums=facts.data_checksums,
            objects=tuple(attempt.objects),
            key_id=None if data_key is None else data_key.key_id,
            archive_id=archive.archive_id or _id_of_wal(archive, timeline, stop_lsn, facts.segment_bytes),
        )
        attempt.require_there()
        check_lock()
        name = manifest_name(archive, base_id)
        archive.repository.store.create(name, archive.encode_document(name, manifest.to_json(), data_key))
    return manifest


def _id_of_wal(archive: WalArchive, timeline: int, stop_lsn: int, segment_bytes: int) -> str:
    """Which archive its WAL is in, where the receiver has not said so yet: it has just begun."""
    try:
        return archive.id_in(archive.listing(), segment_name(timeline, stop_lsn - 1, segment_bytes))
    except DamagedData:
        return ""  # a tail that became a part of its segment meanwhile


class IncrementalImpossible(DatabaseError):
    """The server cannot make an incremental base backup now; a full one it may."""


def _begun(
    replication: Replication, archive: WalArchive, parent: BaseManifest | None, terms: BaseBackupTerms
) -> BaseBackupStart:
    options = [
        f"LABEL '{LABEL}'",
        "CHECKPOINT 'fast'",
        "WAIT 0",
        "PROGRESS",
        "TABLESPACE_MAP",
        "MANIFEST 'yes'",
        "MANIFEST_CHECKSUMS 'SHA256'",
    ]
    if terms.rate_limit_bytes is not None and terms.rate_limit_bytes >> 10 < _MOST_RATE_KIB:
        options.append(f"MAX_RATE {terms.rate_limit_bytes >> 10}")
    if parent is None:
        return replication.start_base_backup(options)
    manifest = read_server_manifest(archive, parent, server_manifest_of(parent))
    try:
        replication.upload_manifest([manifest])
        return replication.start_base_backup([*options, "INCREMENTAL"])
    except DatabaseError as error:
        raise IncrementalImpossible(error.message, error.hint, retryable=error.retryable) from None


def _ended(replication: Replication) -> tuple[int, int]:
    """Where the base backup ends. The server tells of damaged pages last of all."""
    try:
        return replication.end_base_backup()
    except DatabaseError as error:
        if _DAMAGED_PAGES in error.message:
            found = [each for each in replication.warnings if "checksum verification failed" in each]
            where = f" ({found[0]})" if found else ""
            raise DatabaseError(
                f"pages of the server's own files are damaged, so nothing was kept: {error.message}{where}",
                "production itself is damaged: recyclic-backups diagnose says what; its disks and memory need a look",
            ) from None
        raise


class _Attempt:
    """One base backup under way: its objects so far, and what was in them."""

    def __init__(
        self,
        archive: WalArchive,
        base_id: str,
        begun: BaseBackupStart,
        facts: ServerFacts,
        terms: BaseBackupTerms,
        data_key: DataKey | None,
        progress: Progress,
    ) -> None:
        self._archive, self._store = archive, archive.repository.store
        self._base_id, self._folder = base_id, folder_of_base(archive, base_id)
        self._begun, self._facts, self._terms = begun, facts, terms
        self._data_key, self._progress = data_key, progress
        self._places = dict(begun.tablespaces)
        self._files: dict[bytes, FileDigest] = {}
        self._server_manifest = bytearray()
        self.objects: list[BaseObject] = []
        self.backup_label = b""

    def receive(self, replication: Replication) -> None:
        """Store every archive as it comes, then the server's manifest."""
        messages = replication.base_backup_messages()
        kind, content = next(messages, ("", memoryview(b"")))
        while kind:
            if kind == "n":
                kind, content = self._store_archive(bytes(content), messages)
            elif kind == "m":
                kind, content = self._store_server_manifest(messages)
            else:
                kind, content = next(messages, ("", memoryview(b"")))

    def _store_archive(
        self, header: bytes, messages: Iterator[tuple[str, memoryview]]
    ) -> tuple[str, memoryview]:
        """One archive into one object; returns the message behind it."""
        name = header.split(b"\0", 1)[0].decode(errors="replace")
        if not _ARCHIVE_NAME.fullmatch(name):
            raise DatabaseError(f"the server sends an archive of the name {name!r}, which is not known")
        oid = None if name == "base.tar" else int(name.removesuffix(".tar"))
        inside = b"" if oid is None else f"pg_tblspc/{oid}/".encode()
        tar = TarFiles(inside, keep=(BACKUP_LABEL,))

        def take_piece(piece: memoryview) -> None:
            with _understood(name):
                tar.write(piece)

        def come_to_end() -> None:
            with _understood(name):
                tar.finish()

        following = self._store_object(
            name, "data" if oid is None else "tablespace", messages, take_piece, come_to_end, oid
        )
        self._files.update(tar.files)
        self.backup_label = tar.kept.get(BACKUP_LABEL, self.backup_label)
        return following

    def _store_server_manifest(self, messages: Iterator[tuple[str, memoryview]]) -> tuple[str, memoryview]:
        def take_piece(piece: memoryview) -> None:
            self._server_manifest += piece
            if len(self._server_manifest) > MOST_BYTES:
                raise DatabaseError(
                    f"the server's manifest has more than {MOST_BYTES} bytes: the server has too many files"
                )

        return self._store_object(
            "backup_manifest", "server_manifest", messages, take_piece, lambda: None, None
        )

    def _store_object(
        self,
        name: str,
        role: BaseRole,
        messages: Iterator[tuple[str, memoryview]],
        take_piece: Callable[[memoryview], None],
        come_to_end: Callable[[], None],
        oid: int | None,
    ) -> tuple[str, memoryview]:
        with write_into(self._store, self._folder, name, self._terms.compression, self._data_key) as stream:
            with Relay(stream) as relay:
                following = self._pour(messages, relay, take_piece)
                come_to_end()
                relay.finish()
            done = stream.finish()
        self.objects.append(
            BaseObject(
                name=done.name,
                role=role,
                plain_bytes=done.plain_bytes,
                stored_bytes=done.stored_bytes,
                stored_sha256=done.stored_sha256,
                oid=oid,
                location=None if oid is None else self._places.get(oid),
            )
        )
        return following

    def _pour(
        self,
        messages: Iterator[tuple[str, memoryview]],
        relay: Relay,
        take_piece: Callable[[memoryview], None],
    ) -> tuple[str, memoryview]:
        """Data of one archive, up to the message that begins another; an empty one at the end of all."""
        for kind, content in messages:
            if kind == "d":
                take_piece(content)
                relay.write(content)
                self._progress.advance(len(content))
            elif kind != "p":
                return kind, content
        return "", memoryview(b"")

    def compare(self, stop_lsn: int) -> None:
        """Compare what came with the server's own manifest. Raises DatabaseError."""
        begun = self._begun
        with _understood("manifest"):
            said = parse_server_manifest(bytes(self._server_manifest))
        self._server_manifest.clear()
        problem = differences(said.files, self._files)
        if said.system_identifier not in (None, self._facts.system_identifier):
            problem = f"it is of server {said.system_identifier}"
        elif (said.timeline, said.start_lsn, said.stop_lsn) != (begun.timeline, begun.start_lsn, stop_lsn):
            problem = problem or "it speaks of other WAL"
        if problem:
            raise DatabaseError(
                f"what the server sent is not what its manifest says, so nothing was kept: {problem}",
                "take another one; if that fails too, see whether its files can be read",
                retryable=True,
            )

    def require_there(self) -> None:
        """See that no other run has swept our objects meanwhile. Raises StorageError."""
        listed = {item.name: item.size_bytes for item in self._store.list(f"{self._folder.path}/")}
        for each in self.objects:
            if listed.get(f"{self._folder.path}/{each.name}") != each.stored_bytes:
                raise StorageError(
                    f"{each.name} of base backup {self._base_id} is gone: another run took it for an orphan",
                    "take one base backup of a server at a time, also of its standby",
                    retryable=True,
                )

    @contextmanager
    def tidied(self) -> Iterator[None]:
        """Remove the objects again if the block fails before the manifest is there."""
        try:
            yield
        except BaseException as error:
            try:
                names = [item.name for item in self._store.list(f"{self._folder.path}/")]
                if manifest_name(self._archive, self._base_id) not in names:
                    for name in names:
                        self._store.delete(name)
            except BackupError as second:
                error.add_note(f"the next base backup removes what is left of {self._base_id}: {second}")
            raise


@contextmanager
def _understood(name: str) -> Iterator[None]:
    """Within the block, a ValueError says what is wrong with what the server sent under that name."""
    try:
        yield
    except ValueError as error:
        raise DatabaseError(
            f"the {name} that the server sends {error}; nothing was kept", retryable=True
        ) from None
