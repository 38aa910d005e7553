"""``python -m recyclic_backups_tests.bench.wal_received FILE FIGURES``: our receiver, until that segment is stored.

A process of its own, as the service is: it connects, receives what its slot kept, seals and stores it, ends once the
storage has FILE, the last segment. A service starts once and works for months: so what it took from connecting on is
added to FIGURES, as a line of JSON, without the time that Python takes to start.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from recyclic_backups.archive.receive import Receiver, ReceiveTerms
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.postgres.server import Server
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.bench.stand import KEY

SLOT = "recyclic_backups"
_LONGEST_SECONDS = 600.0


def main(last: Path, figures: Path) -> int:
    """Receive. Ends with 1 where the segment does not come."""
    server = Server(
        host=os.environ["POSTGRES_HOST"],
        port=int(os.environ["POSTGRES_PORT"]),
        user=os.environ["POSTGRES_USER"],
        password=os.environ["POSTGRES_PASSWORD"],
    )
    store = LocalStore.open(Path(urlsplit(os.environ["BACKUP_STORAGE"]).path), create=True)
    receiver = Receiver(
        server,
        Repository(store, "postgres", Keyring(store, KEY), encrypt=True),
        ReceiveTerms(SLOT, 10.0, 300.0),
        clock=lambda: datetime.now(UTC),
        say=lambda _: None,
    )
    stopping = threading.Event()
    thread = threading.Thread(target=receiver.run, args=(stopping,), daemon=True)
    began, began_cpu = time.monotonic(), _cpu_seconds()
    deadline = began + _LONGEST_SECONDS
    thread.start()
    while not last.exists() and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    took = {"wall_seconds": time.monotonic() - began, "cpu_seconds": _cpu_seconds() - began_cpu}
    stopping.set()
    thread.join()
    with figures.open("a") as file:
        file.write(json.dumps(took) + "\n")
    return 0 if last.exists() else 1


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
