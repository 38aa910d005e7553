"""From the objects of a base backup, or of a chain of them, to a data directory that a server can recover in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recyclic_backups.archive.archive import WalArchive
from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.base_backup.server_manifest import MOST_BYTES, parse_server_manifest
from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.cluster import Cluster
from recyclic_backups.progress import Progress
from recyclic_backups.recovery.unpack import Tree, Unpacking

PUT_ASIDE = "postgresql.auto.conf.production"
"""Under which name the settings of ALTER SYSTEM stay: they must not act here."""

_COMBINE_SECONDS = 24 * 3600.0
_SIGNALS = ("recovery.signal", "standby.signal")


def unpack_chain(
    cluster: Cluster,
    archive: WalArchive,
    chain: Sequence[BaseManifest],
    account: Account,
    tablespaces: Path,
    progress: Progress,
) -> None:
    """Fill the empty data directory of a cluster, and give all of it to ``account``.

    Tablespaces come to lie in ``tablespaces``, by their oid.
    """
    if len(chain) == 1:
        _unpack(archive, chain[0], cluster.data_directory, tablespaces, account, progress, last=True)
        return
    parts = cluster.home / "chain"
    parts.mkdir(mode=0o711)
    for number, base in enumerate(chain):
        part = parts / str(number)
        part.mkdir(mode=0o700)
        _unpack(archive, base, part, parts / f"{number}-tablespaces", account, progress, last=False)
