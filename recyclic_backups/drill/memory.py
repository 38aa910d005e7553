"""How much memory a drill's own server may take: a share of the machine, which others use too."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 2**20

SHARE = 16
"""One part in so many of the machine's memory is the server's, within the bounds below."""
LEAST_BYTES, MOST_BYTES = 128 * MIB, 512 * MIB
"""Less makes a server that only waits for its disk, more makes no restore faster that ends at the disk anyway."""


def settings_for(memory_bytes: int, jobs: int, cores: int) -> dict[str, str]:
    """What keeps a server that restores with ``jobs`` sessions within its share of a machine's memory. Pure.

    A quarter of the share is the server's cache, half is for building indexes, all sessions together
    (maintenance_work_mem bounds a statement with its workers: runtime-config-resource.html). What queries sort goes to
    disk early. They group by sorting: a hash table for groups is as large as it turns out to be, because the number of
    different rows is only guessed. The last quarter is for the processes themselves.
    """
    share_bytes = max(LEAST_BYTES, min(MOST_BYTES, memory_bytes // SHARE))
    return {
        "shared_buffers": _megabytes(share_bytes // 4),
        "maintenance_work_mem": _megabytes(max(8 * MIB, share_bytes // 2 // max(1, jobs))),
        "work_mem": "4MB",
        "hash_mem_multiplier": "1",
        "enable_hashagg": "off",
        "wal_buffers": "4MB",
        "max_parallel_maintenance_workers": str(min(2, cores)),
        "max_parallel_workers_per_gather": str(min(2, cores)),
        "autovacuum": "off",
    }


def memory_of_machine(root: Path = Path("/")) -> int:
    """Bytes of memory that this process can have: the machine's, or what a control group leaves of it.

    Each group above ours may have a limit (https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.max; of version 1
    memory.limit_in_bytes). In a container the path of its own group may lead nowhere; its limit is at the top then.
    """
    physical_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [physical_bytes]
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, group = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        steps = [step for step in group.split("/") if step not in ("", "..")]
        places = [top.joinpath(*steps[:depth]) for depth in range(len(steps) + 1)]
        limits += [int(text) for place in places if (text := _read(place / name).strip()).isdigit()]
    return min(limit for limit in limits if limit > 0)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes // MIB}MB"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
