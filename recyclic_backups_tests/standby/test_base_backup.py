"""A base backup of a hot standby, with the WAL that the primary sends."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from recyclic_backups.archive.receive import Receiver, ReceiveTerms
from recyclic_backups.base_backup.back_up import back_up_server
from recyclic_backups.base_backup.take import BaseBackupTerms
from recyclic_backups.compression import Compression
from recyclic_backups_tests.archive.conftest import repository_of
from recyclic_backups_tests.memory_store import MemoryStore
from recyclic_backups_tests.standby.conftest import Pair

SLOT = "of_the_base_backup"


def test_it_is_taken_of_the_standby_and_burdens_no_primary(pair: Pair) -> None:
    """Loss prevented: production's own disk read for what its standby has as well."""
    repository = repository_of(MemoryStore())
    stopping = threading.Event()
    receiver = Receiver(
        pair.primary,
        repository,
        ReceiveTerms(SLOT, 0.2, 3600),
        clock=lambda: datetime.now(UTC),
        say=lambda _: None,
    )
    thread = threading.Thread(target=receiver.run, args=(stopping,), daemon=True)
    # A standby can be copied only if its primary writes whole pages into the WAL.
    pair.execute("postgres", "ALTER SYSTEM SET full_page_writes = on", "SELECT pg_reload_conf()")
    thread.start()
    try:
        time.sleep(0.2)
        pair.execute("postgres", "CHECKPOINT", "CREATE TABLE public.copied AS SELECT 1 AS n")
        terms = BaseBackupTerms(Compression(), lock_wait_seconds=20, wal_patience_seconds=30)
        done = back_up_server(pair.standby, repository, None, terms, clock=lambda: datetime.now(UTC))
        assert done.base.good
        assert done.base.manifest.start_lsn < done.base.manifest.stop_lsn
    finally:
        stopping.set()
        thread.join()
        pair.execute(
            "postgres",
            f"SELECT pg_drop_replication_slot('{SLOT}')",
            "DROP TABLE IF EXISTS public.copied",
            "ALTER SYSTEM RESET full_page_writes",
            "SELECT pg_reload_conf()",
        )
