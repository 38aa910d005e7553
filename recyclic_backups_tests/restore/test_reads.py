"""How often a restore reads a backup's bytes: with a remote storage that is time, and a bill."""

from __future__ import annotations

import pytest

from recyclic_backups.catalog.objects import KEPT_BYTES
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.restore import archive, attempt
from recyclic_backups_tests.counting import CountingStore
from recyclic_backups_tests.faults.selection import some
from recyclic_backups_tests.house import House
from recyclic_backups_tests.restore.test_restore import _dropped_afterwards, _restore

KIBIBYTE = 1 << 10


@pytest.mark.parametrize(
    ("encrypt", "kept_bytes", "times"),
    some(
        [(encrypt, *kept) for encrypt in (True, False) for kept in ((KEPT_BYTES, 1), (3072 * KIBIBYTE, 2))],
        {(True, KEPT_BYTES, 1), (False, 3072 * KIBIBYTE, 2)},
    ),
)
def test_a_restore_reads_a_backup_once_for_its_hash_and_once_for_its_rows(
    house: House,
    cluster: ScratchCluster,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kept_bytes: int,
    times: int,
    encrypt: bool,
) -> None:
    """Loss prevented: a night in which 50 GB are fetched ten times. What is small is fetched for its hash only."""
    monkeypatch.setattr(attempt, "KEPT_BYTES", kept_bytes)
    # pg_restore hangs up after the table of contents, and has been given a little more by then.
    monkeypatch.setattr(archive, "READ_BYTES", 64 * KIBIBYTE)
    store = house.store = CountingStore()
    house.encrypt = encrypt
    with house.server.connect(house.database) as connection:
        connection.execute(
            "CREATE TABLE bulk AS SELECT n, md5(n::text) || md5(n::text || 'x') AS noise"
            " FROM generate_series(1, 120000) n"
        )
        connection.execute("CREATE INDEX ON bulk (n)")
    backup = house.back_up().backup
    assert backup.manifest.main.stored_bytes > 3072 * KIBIBYTE
    store.forget()
    into = f"{house.database}_again"
    with _dropped_afterwards(cluster, into):
        assert _restore(house, into).comparison.equal
    main = house.repository.layout.object(backup.backup_id, backup.manifest.main.name)
    roles = house.repository.layout.object(backup.backup_id, backup.manifest.only("globals").name)
    whole = backup.manifest.main.stored_bytes
    assert store.read_bytes[main] == (whole if times == 1 else 2 * whole - kept_bytes)
    assert store.read_bytes[roles] == backup.manifest.only("globals").stored_bytes
