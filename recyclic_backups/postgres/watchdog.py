"""The watchdog of a throwaway server: ends it and removes its files if this process is killed.

It waits at the other end of a pipe that nobody writes to; the kernel closes the pipe when we die, however
we die. (PR_SET_PDEATHSIG would not do: it fires when the *thread* that started the server ends.) A process
forked from ours without exec inherits the pipe, and the server then lives as long as that process does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recyclic_backups.postgres.account import Account

_log = logging.getLogger(__name__)

# Reads one line and never gets it unless all is well. Its arguments are the data directory and the directories to
# remove, first the cluster's own. The working directory of a postmaster is its data directory: a number in a stale
# postmaster.pid that meanwhile belongs to another process is left alone where /proc can tell. A data directory that
# stays is looked at for a second: the server may just be starting.
_WATCHDOG = """
trap '' INT TERM HUP
read -r _ && exit 0
data=$1
shift
round=0
while [ -d "$data" ] && [ $round -lt 100 ] && {
  [ $round -lt 10 ] || [ -d "$1" ] || [ -e "$data/postmaster.pid" ]
}; do
  server=
  [ -f "$data/postmaster.pid" ] && server=$(head -c 4096 "$data/postmaster.pid" 2>/dev/null | head -n 1)
  case $server in *[!0-9]*) server= ;; esac  # initdb's own server writes a negative number, a group for kill
  if [ -n "$server" ] && { [ ! -e /proc/self/cwd ] || [ "/proc/$server/cwd" -ef "$data" ]; }; then
    kill -QUIT "$server" 2>/dev/null
    waited=0
    while [ -e "$data/postmaster.pid" ] && [ $waited -lt 80 ]; do sleep 0.1; waited=$((waited + 1)); done
    kill -KILL "$server" 2>/dev/null
  fi
  rm -rf -- "$@" 2>/dev/null
  round=$((round + 1))
  [ -d "$data" ] && sleep 0.1
done
rm -rf -- "$@" 2>/dev/null
"""


@contextmanager
def watchdog(
    account: Account, data: Path, directories: Sequence[Path], *, all_is_well: Callable[[], bool]
) -> Iterator[None]:
    """Watch over a cluster as long as the block runs.

    ``data`` is its data directory, in one of ``directories`` or elsewhere; those are removed with whatever lies in
    them, at the end of the block or when we die. At the end of the block ``all_is_well`` tells whether the server has
    ended; otherwise the watchdog ends it.
    """
    try:
        with _watching(account, data, directories, all_is_well):
            yield
    finally:
        for each in reversed(directories):
            remove(each)


@contextmanager
def _watching(
    account: Account, data: Path, directories: Sequence[Path], all_is_well: Callable[[], bool]
) -> Iterator[None]:
    argv = ["/bin/sh", "-c", _WATCHDOG, "scratch-watchdog", str(data), *dict.fromkeys(map(str, directories))]
    reading, writing = os.pipe()
    try:
        # As we are, not as the server's user: what we put into the directories he may not remove where we are root.
        dog = replace(account, change=False).popen(argv, Path("/"), stdin=reading, stdout=subprocess.DEVNULL)
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    with dog, os.fdopen(writing, "wb", buffering=0) as pipe:
        try:
            yield
        finally:
            if all_is_well():
                with contextlib.suppress(BrokenPipeError):  # somebody killed it; nothing is left to watch
                    pipe.write(b"done\n")


def remove(directory: Path) -> None:
    """Remove a directory of a server of ours, as far as it goes."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        # Not raised: it would hide the reason why we are leaving. But these are somebody's data.
        _log.warning("files of a scratch server stay in %s: %s", directory, error.strerror)
