"""Recover into a throwaway server: what drills, missed days and tables of a moment are read from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.recovery.cluster import RecoveredCluster
from recyclic_backups.recovery.feed import Source
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.recovery.prerequisites import require_space, server_programs


@contextmanager
def recovered(
    source: Source,
    plan: Plan,
    installations: Sequence[Installation],
    scratch: Path,
    *,
    promote: bool = True,
    progress: Progress = SILENT,
) -> Iterator[RecoveredCluster]:
    """A throwaway server, recovered to the plan's target; gone with all its files at the end.

    ``server`` of it is for sessions; ``reached`` tells where it stopped. With ``promote`` it is writable, and holds
    exactly what was committed at that point. Without, it stays paused: transactions that were under way there keep
    their locks, and who reads a table that one of them was dropping waits for ever. Raises as
    :meth:`RecoveredCluster.fill` and :meth:`RecoveredCluster.replay`.
    """
    installation = server_programs(installations, plan.base)
    account = Account.for_recovered()
    home = account.private_directory(scratch)
    socket_directory = account.socket_directory(home)
    cluster = RecoveredCluster(
        installation,
        home,
        home / "data",
        home / "tablespaces",
        socket_directory,
        account,
        source,
        plan,
    )
    with cluster.watched(home, socket_directory):
        require_space(home, plan)
        cluster.data_directory.mkdir(mode=0o700)
        with cluster.opened():
            cluster.make_reachable()
            cluster.fill(progress)
            cluster.replay(progress)
            if promote:
                cluster.promote()
            yield cluster
