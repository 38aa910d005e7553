"""Put the files of a base backup into a directory, each compared with what the server said of it.

What is written lies in a directory that is ours until all of it is there; then it is given to the server's user. A tar
archive of a server has files and directories only: anything else, and any name that leads out, is damage.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from recyclic_backups.base_backup.tar_files import FileDigest
from recyclic_backups.compression import Source
from recyclic_backups.errors import DamagedData, Refused
from recyclic_backups.postgres.account import Account

_PIECE_BYTES = 1 << 20
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

NOT_IN_MANIFEST = ("pg_wal/", "backup_manifest")
"""What the server's manifest of a base backup does not list."""


def open_directory(path: Path) -> int:
    """A descriptor of a directory that is no link. Raises Refused."""
    try:
        return os.open(path, DIRECTORY)
    except OSError as error:
        raise Refused(f"{path} is no directory that can be used: {error.strerror}") from None


class Tree:
    """A directory that is filled, by descriptors: nothing in it is followed.

    ``root`` is for messages. ``opened`` is a descriptor of it, of which this one has a copy, to be closed.
    """

    def __init__(self, root: Path, opened: int, account: Account) -> None:
        self.root = root
        self._account = account
        self._opened = {"": os.dup(opened)}
        self._made: list[str] = []

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in self._opened.values():
            os.close(descriptor)
        self._opened.clear()

    def directory(self, path: str) -> int:
        """The descriptor of a directory below the root, made with those above it where it is missing."""
        if path in self._opened:
            return self._opened[path]
        above, _, name = path.rpartition("/")
        parent = self.directory(above)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            self._made.append(path)
        except FileExistsError:
            pass
        if len(self._opened) > 200:
            for other in [each for each in self._opened if each and not path.startswith(f"{each}/")]:
                os.close(self._opened.pop(other))
        self._opened[path] = os.open(name, DIRECTORY, dir_fd=parent)
        return self._opened[path]

    @contextmanager
    def new_file(self, path: str) -> Iterator[IO[bytes]]:
        """A new file, of the server's user. Raises DamagedData where there is one already."""
        above, _, name = path.rpartition("/")
        try:
            opened = os.open(name, _NEW_FILE, 0o600, dir_fd=self.directory(above))
        except FileExistsError:
            raise DamagedData(f"{path} is twice in the base backup") from None
        with open(opened, "wb") as file:
            if self._account.change:
                os.fchown(opened, self._account.uid, self._account.gid)
            yield file

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, in the place of one that may be there."""
        self.remove(path)
        with self.new_file(path) as file:
            file.write(content)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        above, _, name = path.rpartition("/")
        try:
            os.unlink(name, dir_fd=self.directory(above))
        except FileNotFoundError:
            return

    def rename(self, path: str, to: str) -> None:
        """Rename a file directly in the root, if it is there."""
        try:
            os.rename(path, to, src_dir_fd=self._opened[""], dst_dir_fd=self._opened[""])
        except FileNotFoundError:
            return

    def give_away(self) -> None:
        """Make the server's user the owner of the directories: the deepest first, the root last."""
        for path in reversed(self._made):
            self._own(self.directory(path))
        self._own(self._opened[""])

    def _own(self, descriptor: int) -> None:
        if self._account.change:
            os.fchown(descriptor, self._account.uid, self._account.gid)


@dataclass(slots=True)
class Unpacking:
    """The archives of one base backup on their way into directories. ``expected`` is the server's own list of files."""

    expected: Mapping[bytes, FileDigest]
    tell: Callable[[int], None] = lambda _: None
    """Told how many bytes were written, now and then."""
    seen: set[bytes] = field(default_factory=set)

    def unpack(self, source: Source, tree: Tree, name: str, prefix: str = "") -> None:
        """Unpack one archive, the object ``name``; ``prefix`` is where the manifest has its files.

        Raises DamagedData for what is not in the manifest, or not as it says; Refused where the disk is full.
        """
        try:
            with tarfile.open(
                fileobj=cast("IO[bytes]", source),
                mode="r|",
                bufsize=_PIECE_BYTES,
                errors="surrogateescape",
            ) as archive:
                for member in archive:
                    self._take(archive, member, tree, name, prefix)
                    cast("Any", archive).members = []  # else all of them are remembered
        except tarfile.TarError as error:
            raise DamagedData(f"{name} is no whole archive: {error}") from None
        except OSError as error:
            raise Refused(
                f"{tree.root} cannot be filled: {error.strerror}", "is there space, and may it be written to?"
            ) from None
        # Damage of what follows the archive's end is damage too.
        while source.read(_PIECE_BYTES):
            pass

    def finish(self) -> None:
        """Raises DamagedData where the archives lack something of the manifest."""
        missing = sorted(self.expected.keys() - self.seen)
        if missing:
            raise DamagedData(f"the base backup lacks {len(missing)} of its files, such as {missing[0]!r}")

    def _take(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree, name: str, prefix: str
    ) -> None:
        path = _inside(member.name, name)
        if member.isdir():
            if path:
                tree.directory(path)
            return
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not path:
            raise DamagedData(f"{name} holds {member.name!r}, which is neither a file nor a directory")
        listed = f"{prefix}{path}"
        key = os.fsencode(listed)
        fact = self.expected.get(key)
        if fact is None and not listed.startswith(NOT_IN_MANIFEST):
            raise DamagedData(f"{name} holds {listed!r}, which the server's manifest does not list")
        self.seen.add(key)
        content = archive.extractfile(member)
        assert content is not None
        digest = hashlib.sha256()
        with tree.new_file(path) as file:
            while piece := content.read(_PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
        if fact is not None and (member.size != fact.size_bytes or digest.digest() != fact.sha256):
            raise DamagedData(f"{name}: {listed} is not the file that the server sent")
        self.tell(member.size)


def _inside(path: str, name: str) -> str:
    """The path of an archive's member below the root, which is empty. Raises DamagedData for one that leads out."""
    parts = path.rstrip("/").split("/")
    while parts and parts[0] == ".":
        parts = parts[1:]
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise DamagedData(f"{name} holds {path!r}, a name that leads elsewhere")
    return "/".join(parts)
