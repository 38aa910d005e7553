"""From the objects of a base backup, or of a chain of them, to a data directory that a server can recover in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.base_backup.catalog import folder_of_base
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.base_backup.read_manifest import read_server_manifest, server_manifest_of
from recyclic_backups.base_backup.server_manifest import parse_server_manifest
from recyclic_backups.catalog.objects import read_from
from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.cluster import Cluster
from recyclic_backups.progress import Progress
from recyclic_backups.recovery.unpack import DIRECTORY, Tree, Unpacking, open_directory

PUT_ASIDE = "postgresql.auto.conf.production"
"""Under which name the settings of ALTER SYSTEM stay: they must not act here."""

_COMBINE_SECONDS = 24 * 3600.0
_MAP = "tablespace_map"


def unpack_chain(
    cluster: Cluster,
    opened: int,
    archive: WalArchive,
    chain: Sequence[BaseManifest],
    tablespaces: Path,
    spaces: int,
    account: Account,
    progress: Progress,
) -> None:
    """Fill the empty data directory of a cluster, which is ours so far, and give all of it to ``account``.

    ``opened`` is a descriptor of it. Tablespaces come to lie in ``tablespaces``, by their oid; ``spaces`` is a
    descriptor of that, where there are any. Whoever owns the directory around both may put something else under
    their names meanwhile. Raises DamagedData, NoUsableKey, StorageError, Refused, ProgramFailed.
    """
    data_directory = cluster.data_directory
    last = chain[-1]
    oids = [each.oid for each in last.objects if each.oid is not None]
    if len(chain) == 1:
        _unpack(archive, last, data_directory, opened, tablespaces, spaces, account, progress)
    else:
        parts = cluster.home / "chain"
        parts.mkdir(mode=0o711)
        for number, base in enumerate(chain):
            directory, aside = parts / str(number), parts / f"{number}-tablespaces"
            directory.mkdir(mode=0o700)
            aside.mkdir(mode=0o700)
            with ExitStack() as stack:
                part, part_spaces = open_directory(directory), open_directory(aside)
                stack.callback(os.close, part)
                stack.callback(os.close, part_spaces)
                _unpack(archive, base, directory, part, aside, part_spaces, account, progress, linked=True)
        progress.stage("combining the incremental base backups")
        _give(opened, account)
        made = [parts / str(number) for number in range(len(chain))]
        _combine(cluster, made, oids, tablespaces, spaces, account)
    _make_harmless(data_directory, opened, account, {oid: tablespaces / str(oid) for oid in oids})


def _unpack(
    archive: WalArchive,
    base: BaseManifest,
    directory: Path,
    opened: int,
    tablespaces: Path,
    spaces: int,
    account: Account,
    progress: Progress,
    *,
    linked: bool = False,
) -> None:
    """Unpack one base backup and give it away; ``linked`` with the links to its tablespaces."""
    item = server_manifest_of(base)
    server_manifest = read_server_manifest(archive, base, item)
    try:
        said = parse_server_manifest(server_manifest)
    except ValueError as error:
        raise DamagedData(f"{item.name} of the base backup {base.base_id} {error}") from None
    unpacking = Unpacking(said.files, progress.advance)
    folder, is_sealed = folder_of_base(archive, base.base_id), base.key_id is not None
    trees: list[Tree] = []
    with ExitStack() as stack:
        data = Tree(directory, opened, account)
        stack.callback(data.close)
        # First of all: whoever starts a server here by mistake gets one that only reads.
        data.write("standby.signal", b"")
        for item in base.objects:
            if item.role == "server_manifest":
                continue
            tree, prefix = data, ""
            if item.oid is not None:
                place = tablespaces / str(item.oid)
                place_opened = _made_in(spaces, item.oid)
                stack.callback(os.close, place_opened)
                tree, prefix = Tree(place, place_opened, account), f"pg_tblspc/{item.oid}/"
                stack.callback(tree.close)
                trees.append(tree)
                if linked:
                    os.symlink(place, str(item.oid), dir_fd=data.directory("pg_tblspc"))
            with read_from(archive.repository, folder, item, is_sealed=is_sealed) as reader:
                unpacking.unpack(reader, tree, item.name, prefix)
        unpacking.finish()
        if linked:  # pg_combinebackup reads it
            data.write("backup_manifest", server_manifest)
        for tree in (*trees, data):
            tree.give_away()
        if trees:
            _give(spaces, account)


def _combine(
    cluster: Cluster,
    parts: Sequence[Path],
    oids: Sequence[int],
    tablespaces: Path,
    spaces: int,
    account: Account,
) -> None:
    """A full base backup of a chain, into the data directory."""
    last = [parts[-1].with_name(f"{parts[-1].name}-tablespaces") / str(oid) for oid in oids]
    for oid in oids:
        made = _made_in(spaces, oid)
        _give(made, account)
        os.close(made)
    if oids:
        _give(spaces, account)
    cluster.run_program(
        "pg_combinebackup",
        *map(str, parts),
        "--no-sync",
        "--no-manifest",
        f"--output={cluster.data_directory}",
        *(f"--tablespace-mapping={each}={tablespaces / each.name}" for each in last),
        writable=(cluster.data_directory, *([tablespaces] if oids else [])),
        readable=(parts[0].parent,),
        timeout_seconds=_COMBINE_SECONDS,
    )


def _made_in(spaces: int, oid: int) -> int:
    """The descriptor of a new directory for a tablespace."""
    os.mkdir(str(oid), 0o700, dir_fd=spaces)
    return os.open(str(oid), DIRECTORY, dir_fd=spaces)


def _give(opened: int, account: Account) -> None:
    if account.change:
        os.fchown(opened, account.uid, account.gid)


def _make_harmless(directory: Path, opened: int, account: Account, tablespaces: dict[int, Path]) -> None:
    """Put aside what of production would act here, and let tablespaces be where they now are."""
    tree = Tree(directory, opened, account)
    try:
        tree.rename("postgresql.auto.conf", PUT_ASIDE)
        tree.write("postgresql.auto.conf", b"")
        tree.remove("recovery.signal")
        tree.write("standby.signal", b"")
        if tablespaces:
            tree.write(
                _MAP, b"".join(b"%d %s\n" % (oid, _in_map(place)) for oid, place in tablespaces.items())
            )
    finally:
        tree.close()


def _in_map(place: Path) -> bytes:
    # read_tablespace_map in the server's source: a backslash before what would end the line.
    return os.fsencode(place).replace(b"\\", b"\\\\").replace(b"\n", b"\\\n").replace(b"\r", b"\\\r")
