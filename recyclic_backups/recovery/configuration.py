"""The configuration of a server that recovers: ours alone, whatever the files of production say.

Nothing of production acts: no library is loaded, no command is run, nobody is connected to, nothing is archived. There
is no ``restore_command`` either, which would need a shell and the key: as a standby without one, the server looks into
``pg_wal`` again and again (https://www.postgresql.org/docs/15/warm-standby.html), and we put the segments there.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.cluster import quoted

PORT = 5432
"""Only part of the socket's name."""

_LABELS: Mapping[str, str] = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
    "track_commit_timestamp": "track_commit_timestamp setting",
    "wal_level": "wal_level setting",
}
_MAP = "recyclic_backups"


@dataclass(frozen=True, slots=True)
class ControlFile:
    """What pg_controldata tells of a data directory. ``settings`` are parameters that a standby has to have as well."""

    system_identifier: str
    timeline: int
    settings: Mapping[str, str]


def parse_control_file(text: str) -> ControlFile:
    """What pg_controldata printed. Raises DamagedData."""

    def value(label: str) -> str:
        found = re.search(rf"^{re.escape(label)}:?\s+(\S+)$", text, re.MULTILINE)
        if found is None:
            raise DamagedData(f"pg_control of the base backup does not tell: {label}")
        return found[1]

    return ControlFile(
        value("Database system identifier"),
        int(value("Latest checkpoint's TimeLineID")),
        {name: value(label) for name, label in _LABELS.items()},
    )


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """The files of a server's configuration, in one directory."""

    directory: Path

    @property
    def config(self) -> Path:
        """``config_file``."""
        return self.directory / "recyclic_recovery.conf"

    @property
    def hba(self) -> Path:
        """``hba_file``."""
        return self.directory / "recyclic_recovery_hba.conf"

    @property
    def ident(self) -> Path:
        """``ident_file``."""
        return self.directory / "recyclic_recovery_ident.conf"

    @property
    def all(self) -> tuple[Path, ...]:
        """Each of them."""
        return self.config, self.hba, self.ident


def contents(
    files: ServerFiles,
    control: ControlFile,
    target: Mapping[str, str],
    *,
    timeline: int,
    socket_directory: Path,
    superuser: str,
    segment_bytes: int,
    users: Sequence[int],
    durable: bool = False,
) -> dict[Path, str]:
    """What to write into each file. ``target`` are the parameters of the recovery target.

    ``users`` of this machine may come in as the superuser. Without ``durable`` a crash of the machine loses all of it.
    """
    segments_mb = segment_bytes >> 20
    settings = {
        **control.settings,
        **target,
        "recovery_target_timeline": str(timeline),
        "recovery_target_action": "pause",
        "hba_file": str(files.hba),
        "ident_file": str(files.ident),
        "listen_addresses": "",
        "unix_socket_directories": str(socket_directory),
        "unix_socket_permissions": "0700",
        "hot_standby": "on",
        "restore_command": "",
        "primary_conninfo": "",
        "primary_slot_name": "",
        "recovery_end_command": "",
        "archive_cleanup_command": "",
        "wal_retrieve_retry_interval": "20ms",
        "archive_mode": "off",
        "archive_command": "",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "max_logical_replication_workers": "0",  # a subscription never connects
        "autovacuum": "off",
        "ssl": "off",
        "jit": "off",
        "wal_recycle": "off",
        "min_wal_size": f"{2 * segments_mb}MB",
        "max_wal_size": f"{max(1024, 4 * segments_mb)}MB",
        "shared_buffers": "128MB",
        "dynamic_shared_memory_type": "mmap",
        # Whoever loses the machine now begins again; at the end all of it is synced.
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_min_messages": "warning",
        "log_checkpoints": "off",
        "log_line_prefix": "",
        "lc_messages": "C",
    }
    names = [name for uid in dict.fromkeys(users) if (name := _name_of(uid))]
    # The socket lies in a directory that nobody else may enter. A user without a name cannot be told by it.
    rule = f"peer map={_MAP}" if len(names) == len(set(users)) else "trust"
    return {
        files.config: "".join(f"{name} = {quoted(value)}\n" for name, value in settings.items()),
        files.hba: _who_may_come_in(superuser, rule, readers=not durable),
        files.ident: "".join(f"{_MAP} {_in_quotes(name)} {_in_quotes(superuser)}\n" for name in names),
    }


def _who_may_come_in(superuser: str, rule: str, *, readers: bool) -> str:
    """Ourselves; and with ``readers`` the role that reads for us, by its password, in a server that is gone afterwards.

    Else we would read as the superuser, and code of an owner that no look of ours foresees would be him: whoever is him
    decides what a backup that is made there holds.
    """
    if not readers or rule == "trust" or superuser.startswith("/"):  # which 16 takes for a pattern
        return f"local all all {rule}\n"
    return f"local all {_in_quotes(superuser)} {rule}\nlocal all +pg_read_all_data scram-sha-256\n"


def _name_of(uid: int) -> str:
    """A user's name, as the server will see it; empty where the system has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _in_quotes(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
