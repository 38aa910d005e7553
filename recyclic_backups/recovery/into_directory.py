"""Recover into a directory that stays: what the person at the keyboard starts PostgreSQL on afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from recyclic_backups.catalog.timestamps import to_text
from recyclic_backups.errors import Refused
from recyclic_backups.machine_users import trusted_users
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.progress import SILENT, Progress, timed
from recyclic_backups.recovery.cluster import Reached, RecoveredCluster
from recyclic_backups.recovery.configuration import ServerFiles
from recyclic_backups.recovery.feed import Source
from recyclic_backups.recovery.plan import Plan
from recyclic_backups.recovery.prerequisites import require_space, server_programs
from recyclic_backups.recovery.unpack import DIRECTORY, open_directory
from recyclic_backups.recovery.unpack_base import PUT_ASIDE

_AFTERWARDS = ("backup_label.old", "tablespace_map.old", "postmaster.opts", "backup_manifest")
"""What is of no use in a recovered cluster."""
POSTGRES = "postgres"
_SYNCING = 8
"""So many files are synced at a time: a file system's journal then writes them together, in a third of the time."""
_HARDLINKED = "a file in it has a second name"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the directory is in the end."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What a recovery did. ``lost_seconds`` lie between the last commit in it, or the moment it stands for, and now.

    ``start`` is how the cluster is started next, as one command.
    """

    plan: Plan
    directory: Path
    tablespaces: Path | None
    reached: Reached
    promoted: bool
    timeline: int
    owner: Owner
    phases: dict[str, float]
    lost_seconds: float | None
    has_configuration: bool
    put_aside: str
    notes: tuple[str, ...]
    start: tuple[str, ...]

    @property
    def recovery_seconds(self) -> float:
        """All phases together."""
        return round(sum(self.phases.values()), 3)

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "directory": str(self.directory),
            "tablespaces": None if self.tablespaces is None else str(self.tablespaces),
            "reached": self.reached.to_json(),
            "promoted": self.promoted,
            "timeline": self.timeline,
            "data_loss_seconds": self.lost_seconds,
            "recovery_seconds": self.recovery_seconds,
            "phases": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            "notes": list(self.notes),
            "start": list(self.start),
        }


def recover_into(
    source: Source,
    plan: Plan,
    directory: Path,
    installations: Sequence[Installation],
    scratch: Path,
    *,
    now: datetime,
    promote: bool = False,
    progress: Progress = SILENT,
) -> RecoveryReport:
    """Recover into ``directory``, which must be empty or not exist; the server is shut down at the end.

    With ``promote`` it is an ordinary cluster then. Without, it pauses at the same point whenever it is started with
    the configuration that lies in it. A recovery that fails leaves the directory as empty as it was. Raises Refused
    before anything is done, and as :meth:`RecoveredCluster.fill` and :meth:`RecoveredCluster.replay`.
    """
    directory = directory.absolute()
    installation = server_programs(installations, plan.base)
    account = Account.for_recovered()
    has_tablespaces = any(each.oid is not None for each in plan.base.objects)
    spaces = directory.with_name(f"{directory.name}-tablespaces")
    there, spaces_there = _looked_at(directory), _looked_at(spaces)
    owner = require_usable(directory, account)
    if has_tablespaces:
        require_usable(spaces, account)
    require_space(directory.parent if not directory.exists() else directory, plan)
    with ExitStack() as stack:
        opened = stack.enter_context(_kept_if_well(directory, there, account))
        opened_spaces = (
            stack.enter_context(_kept_if_well(spaces, spaces_there, account)) if has_tablespaces else None
        )
        home = account.private_directory(scratch)
        socket_directory = account.socket_directory(home)
        cluster = RecoveredCluster(
            installation, home, directory, spaces, socket_directory, account, source, plan
        )
        stack.enter_context(cluster.watched(home, socket_directory))
        stack.enter_context(cluster.opened(opened, opened_spaces))
        cluster.make_reachable()
        cluster.fill(progress)
        reached = cluster.replay(progress)
        timeline = plan.window.timeline
        notes = list(_notes(cluster))
        if promote:
            progress.stage("promoting")
            cluster.promote()
            timeline = _timeline(cluster)
        cluster.shut_down()
        progress.stage("writing everything to the disk")
        with timed(cluster.phases, "finish"):
            _finish(cluster, opened, owner, promoted=promote)
            for descriptor in (opened_spaces, opened):
                if descriptor is not None:
                    hand_over(descriptor, owner, account)
    at = plan.at if plan.target.kind in ("time", "latest") else reached.last_commit_at
    has_configuration = (directory / "postgresql.conf").exists()
    return RecoveryReport(
        plan=plan,
        directory=directory,
        tablespaces=spaces if has_tablespaces else None,
        reached=reached,
        promoted=promote,
        timeline=timeline,
        owner=owner,
        phases=dict(cluster.phases),
        lost_seconds=None if at is None else max(0.0, (now - at).total_seconds()),
        has_configuration=has_configuration,
        put_aside=PUT_ASIDE if (directory / PUT_ASIDE).exists() else "",
        notes=(*plan.notes, *notes),
        start=start_command(installation, directory, owner, promoted=promote),
    )


def require_usable(directory: Path, account: Account) -> Owner:
    """Refuse a place that is not empty, or that the server's user cannot reach; whose it will be in the end."""
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise Refused(f"{directory} cannot be looked at: {error.strerror}") from None
    if found is not None:
        if not stat.S_ISDIR(found.st_mode):
            raise Refused(
                f"{directory} is no directory", "name one that is empty, or that does not exist yet"
            )
        entries = sorted(os.listdir(directory))
        if "postmaster.pid" in entries:
            raise Refused(
                f"{directory} is the data directory of a server, which may run: nothing was done",
                "recover into another directory; look at what is there before you put it in its place",
            )
        if entries and entries != ["lost+found"]:
            raise Refused(
                f"{directory} is not empty: it has {entries[0]!r}, and nothing was done",
                "recover into a new directory: what is there may be all that is left",
            )
        if found.st_uid not in trusted_users(behind_sudo=True) and _may_be_made_by_anybody(directory.parent):
            raise Refused(
                f"{directory} is of user {found.st_uid}, who could make it since everybody may write to "
                f"{directory.parent}: all of the server would become his",
                "recover into a directory that does not exist yet, or into one that nobody but its owner could make",
            )
    parent = directory.parent
    if not parent.is_dir():
        raise Refused(f"there is no directory {parent}", f"make it first: mkdir -p {parent}")
    if not account.may_search(parent.resolve()):
        raise Refused(
            f"the user that servers of ours run as cannot reach {directory}: a directory above it is closed to him",
            f"recover into another place, and move it; or open the way: chmod o+x {parent}",
        )
    whose = found if found is not None else parent.stat()
    return _owner(whose.st_uid, whose.st_gid, account)


def _may_be_made_by_anybody(parent: Path) -> bool:
    try:
        return bool(parent.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False  # which is told by whoever looks for it


def _owner(uid: int, gid: int, account: Account) -> Owner:
    """Whose a cluster becomes. No server runs as root: what would be root's is given to PostgreSQL's own user."""
    if not account.change:
        return Owner(account.uid, account.gid)
    if uid != 0:
        return Owner(uid, gid)
    try:
        entry = pwd.getpwnam(POSTGRES)
    except KeyError:
        # Not the account of the recovery: that may be nobody's, and for its time alone.
        of_servers = Account.for_servers()
        return Owner(of_servers.uid, of_servers.gid)
    return Owner(entry.pw_uid, entry.pw_gid)


def _looked_at(directory: Path) -> os.stat_result | None:
    """What has that name, a link itself; None where nothing has, or nobody can tell."""
    try:
        return os.lstat(directory)
    except OSError:
        return None


@contextmanager
def _kept_if_well(directory: Path, there: os.stat_result | None, account: Account) -> Iterator[int]:
    """A descriptor of the directory, made if it is missing and ours meanwhile; emptied again where the block fails.

    ``there`` is what was judged before. Whoever owns the directory around it may have put another one in its place
    since: that one is left alone. Raises Refused.
    """
    try:
        if there is None:
            os.mkdir(directory, 0o700)
    except OSError as error:
        raise Refused(f"{directory} cannot be made: {error.strerror}") from None
    opened = open_directory(directory)
    try:
        found = os.fstat(opened)
        is_it = found.st_uid == os.geteuid() if there is None else os.path.samestat(found, there)
        if not is_it or os.listdir(opened) not in ([], ["lost+found"]):
            raise Refused(f"something else came into the place of {directory}: nothing was done")
        yield from _kept(directory, opened, found, account, made=there is None)
    finally:
        os.close(opened)


def _kept(
    directory: Path, opened: int, found: os.stat_result, account: Account, *, made: bool
) -> Iterator[int]:
    try:
        if account.change:
            os.fchown(opened, os.geteuid(), -1)
        os.fchmod(opened, 0o700)
        yield opened
    except BaseException:
        _empty(opened)
        with suppress(OSError):
            if made:
                directory.rmdir()
            else:
                if account.change:
                    os.fchown(opened, found.st_uid, found.st_gid)
                os.fchmod(opened, stat.S_IMODE(found.st_mode))
        raise


def _empty(opened: int) -> None:
    for entry in os.scandir(opened):
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "lost+found":
                    shutil.rmtree(entry.name, ignore_errors=True, dir_fd=opened)
            else:
                os.unlink(entry.name, dir_fd=opened)


def _notes(cluster: RecoveredCluster) -> Iterator[str]:
    """What whoever starts the cluster should know, asked while it is still read only."""
    with cluster.connected() as connection:
        (enabled,) = connection.execute(
            "SELECT pg_catalog.count(*) FROM pg_catalog.pg_subscription WHERE subenabled"
        ).fetchone()
        (prepared,) = connection.execute(
            "SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts"
        ).fetchone()
    if enabled:
        yield (
            f"{enabled} subscription(s) are enabled: started while production runs, this server takes their changes "
            "away from it (ALTER SUBSCRIPTION … DISABLE)"
        )
    if prepared:
        yield f"{prepared} prepared transaction(s) are open, as they were: see pg_prepared_xacts"


def _timeline(cluster: RecoveredCluster) -> int:
    with cluster.connected() as connection:
        row = connection.execute("SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()").fetchone()
    return int(row[0])


def _finish(cluster: RecoveredCluster, opened: int, owner: Owner, *, promoted: bool) -> None:
    """Leave the directory as the next server needs it: nothing of ours in it, or all that it takes to pause again."""
    for name in (*_AFTERWARDS, *(path.name for path in ServerFiles(cluster.data_directory).all)):
        with suppress(OSError):
            os.unlink(name, dir_fd=opened)
    if not promoted:
        cluster.write_configuration_into(opened, owner.uid)


def hand_over(opened: int, owner: Owner, account: Account) -> None:
    """Sync everything in a directory and make it ``owner``'s, the directory itself last. Nothing is followed.

    Raises Refused for a file of a second name: it may be somebody else's, and would become the owner's with this one.
    """
    with ThreadPoolExecutor(_SYNCING, "syncing") as pool:
        _hand_over(opened, owner, account, pool)


def _hand_over(opened: int, owner: Owner, account: Account, pool: ThreadPoolExecutor) -> None:
    files = []
    for entry in list(os.scandir(opened)):
        if entry.is_dir(follow_symlinks=False):
            below = os.open(entry.name, DIRECTORY, dir_fd=opened)
            try:
                _hand_over(below, owner, account, pool)
            finally:
                os.close(below)
        elif entry.is_file(follow_symlinks=False):
            files.append(entry.name)
        elif account.change:
            os.chown(entry.name, owner.uid, owner.gid, dir_fd=opened, follow_symlinks=False)
    list(pool.map(lambda name: _hand_over_file(opened, name, owner, account), files))
    os.fsync(opened)
    if account.change:
        os.fchown(opened, owner.uid, owner.gid)


def _hand_over_file(opened: int, name: str, owner: Owner, account: Account) -> None:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=opened)
    try:
        if os.fstat(file).st_nlink != 1:
            raise Refused(f"{name} in the recovered directory: {_HARDLINKED}")
        os.fsync(file)
        if account.change:
            os.fchown(file, owner.uid, owner.gid)
    finally:
        os.close(file)


def start_command(
    installation: Installation, directory: Path, owner: Owner, *, promoted: bool
) -> tuple[str, ...]:
    """The program and its arguments that start the cluster, as its owner."""
    words = [str(installation.directory / "postgres"), "-D", str(directory)]
    if not promoted:
        words += ["-c", f"config_file={ServerFiles(directory).config}"]
    if owner.uid not in (0, os.geteuid()):
        words = ["setpriv", f"--reuid={owner.uid}", f"--regid={owner.gid}", "--clear-groups", *words]
    return tuple(words)


def describe(report: RecoveryReport) -> str:
    """One sentence for the audit log."""
    last = report.reached.last_commit_at
    return f"{report.plan.target.text}: last commit {'none' if last is None else to_text(last)}"
