"""As whom throwaway servers run, and where they may live.

A PostgreSQL server refuses to run as root: then an unprivileged user (``recyclic-scratch`` if there is one, else
``nobody``) owns it. Never ``postgres``: on a database's own host that user owns production. Permissions of directories
that are not ours are never changed: where that user cannot go, another place is chosen.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import secrets
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recyclic_backups.errors import ConfigurationError
from recyclic_backups.machine_users import lets_others_write, trusted_users
from recyclic_backups.postgres.confinement import Confinement, command

# sun_path of Linux holds 108 bytes with the final zero, that of the BSDs and macOS 104.
SOCKET_PATH_LIMIT_BYTES = 103

USERS = ("recyclic-scratch", "nobody")
"""Whom throwaway servers run as where we are root: the first of these users that the machine has."""
MAKE_USER = f"useradd --system --no-create-home --shell /usr/sbin/nologin {USERS[0]}"
"""The command that makes one which owns nothing else; docs/drills.md has it too."""

_TRANSIENT_IDS = range(61184, 65520)
"""What systemd gives to services for as long as they run: no package makes a user there (https://systemd.io/UIDS-GIDS)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as: ours, or an unprivileged one (``change``) if we are root."""

    uid: int
    gid: int
    change: bool
    shared: bool = False
    """Whether other programs of the machine may run as the same unprivileged user, and read all of the server's."""

    @classmethod
    def for_servers(cls) -> Account:
        """The account of this machine for it. Raises ConfigurationError where root finds no other user."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), change=False)
        for name in USERS:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            if entry.pw_uid != 0:
                return cls(entry.pw_uid, entry.pw_gid, change=True, shared=name != USERS[0])
        raise ConfigurationError(
            f"PostgreSQL servers do not run as root, and there is no user {' and no user '.join(USERS)}",
            f"make one ({MAKE_USER}), or run as an ordinary user",
        )

    @classmethod
    def for_recovered(cls) -> Account:
        """The same for a server that recovers, whose files may become production's: of nobody else.

        Where it would share its user, it gets an id that no user has and no process runs as. A recovered server can do
        without a name of its user; initdb cannot. Raises ConfigurationError.
        """
        account = cls.for_servers()
        if not account.shared:
            return account
        unused = _unused_id()
        return cls(unused, unused, change=True)

    def may_search(self, directory: Path) -> bool:
        """Whether the user can reach what lies in a directory: needs x on it and on every parent."""
        return all(self._may_enter(each) for each in (directory, *directory.parents))

    def own(self, path: Path) -> None:
        """Make the user the owner of something that is ours, and lies where nobody else can put anything.

        In a directory of that user's a program of his could lay a link to any file there, and get that one.
        """
        if self.change:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def private_directory(self, parent: Path) -> Path:
        """A new directory of ours, below ``parent`` or else the system's temporary directory.

        Only this user may reach what lies in it, and may add nothing, nor put anything in the place of something: we
        write there, perhaps as root. Raises ConfigurationError if the user can reach neither, or somebody else could
        put another directory in the place of this one.
        """
        for place in (parent.absolute(), Path(tempfile.gettempdir()).absolute()):
            if whose := who_else_may_rename(place):
                raise ConfigurationError(
                    f"no scratch server can live in {place}: {whose} could put something else in its place",
                    "set BACKUP_SCRATCH to a directory that belongs to you or root, as all above it do, and to which "
                    "nobody else may write (or chmod +t)",
                )
            if place.is_dir() and self.may_search(place) and os.access(place, os.W_OK):
                home = Path(tempfile.mkdtemp(prefix="recyclic-", dir=place))
                if self.change:
                    os.chown(home, -1, self.gid)
                    home.chmod(0o710)
                return home
            _log.info("no scratch server can live in %s: the user that runs it cannot reach it", place)
        raise ConfigurationError(
            f"no scratch server can live in {parent}: the user that runs it cannot reach it",
            "set BACKUP_SCRATCH to a directory whose parents are searchable by everyone",
        )

    def directory(self, home: Path, name: str) -> Path:
        """A new directory of this user's own in a :meth:`private_directory`."""
        made = home / name
        made.mkdir(mode=0o700)
        self.own(made)
        return made

    def socket_directory(self, home: Path) -> Path:
        """Where the server's Unix socket goes: below ``home``, unless the path is too long for a socket."""
        if len(os.fsencode(home / "socket" / ".s.PGSQL.65535")) <= SOCKET_PATH_LIMIT_BYTES:
            return self.directory(home, "socket")
        short = Path(tempfile.mkdtemp(prefix="recyclic-"))
        self.own(short)
        return short

    def popen(
        self,
        argv: list[str],
        cwd: Path,
        *,
        stdin: int,
        stdout: int,
        confinement: Confinement | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program as this user, in its own session: a Ctrl-C at the terminal is for us to handle.

        It knows nothing of our environment, gains no rights by programs it starts, leaves no core, and with a
        ``confinement`` reaches nothing else.
        """
        user = {"uid": self.uid, "gid": self.gid} if self.change else {}
        return subprocess.Popen(
            command(argv, confinement, **user),
            cwd=cwd,
            env={"PATH": os.defpath, "HOME": str(cwd), "LC_ALL": "C", "TZ": "UTC"},
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            umask=0o077,
            start_new_session=True,
        )

    def _may_enter(self, directory: Path) -> bool:
        if not self.change:
            return os.access(directory, os.X_OK)
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        if status.st_gid == self.gid:
            return bool(status.st_mode & 0o010)
        return bool(status.st_mode & 0o001)


def _unused_id() -> int:
    """An id that is no user's, no group's and no process's; of those that are given out for a time."""
    of_processes = _ids_of_processes()
    for _ in range(100):
        found = secrets.choice(_TRANSIENT_IDS)
        if found in of_processes:
            continue
        try:
            pwd.getpwuid(found)
        except KeyError:
            try:
                grp.getgrgid(found)
            except KeyError:
                return found
    raise ConfigurationError(
        "no user id is free for a server that recovers", f"make a user for it alone: {MAKE_USER}"
    )


def _ids_of_processes() -> set[int]:
    """User and group ids that processes of this machine have, as far as it tells."""
    found: set[int] = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has just ended
            lines = status.read_text(encoding="ascii", errors="replace").splitlines()
            found |= {
                int(each)
                for line in lines
                if line.startswith(("Uid:", "Gid:", "Groups:"))
                for each in line.split()[1:]
            }
    return found


def who_else_may_rename(place: Path) -> str:
    """Who but us and root may rename what lies in a directory, or one above it; empty if nobody can.

    In a container, where nobody else runs, volumes are often made for everybody: where we are not root, a disk mounted
    by root may be so.
    """
    trusted = trusted_users(behind_sudo=True)
    real = place.resolve()
    for each in (real, *real.parents):
        try:
            found = each.stat()
        except OSError:
            return ""  # not there, which is told by whoever looks for it
        if found.st_uid not in trusted:
            return f"the owner of {each}"
        is_volume = os.geteuid() != 0 and found.st_uid == 0 and os.path.ismount(each)
        if lets_others_write(found) and not found.st_mode & stat.S_ISVTX and not is_volume:
            return f"who may write to {each}"
    return ""
