"""What is compared with what. Each comparison measures whole commands side by side and notes its ratios."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from recyclic_backups.catalog.load import load_catalog
from recyclic_backups.catalog.manifest import Manifest
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.demo.dataset import fill
from recyclic_backups.envelope.document import encode, signed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.postgres.programs import conninfo_dbname
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.bench.stand import KEY, Stand

_OLD_SCRIPT = (
    "pg_dump -Fc -Z9 >old.dump;"
    "openssl enc -aes-256-cbc -pbkdf2 -salt -in old.dump -out old.enc -pass env:OLD_KEY;"
    "gzip -9 -f old.enc"
)
_OLD_SCRIPT_REVERSED = (
    "gzip -dc old.enc.gz >old.back;"
    "openssl enc -d -aes-256-cbc -pbkdf2 -in old.back -out old.dump -pass env:OLD_KEY;"
)


def backup(stand: Stand, scale: float) -> None:
    """Taking a backup against the fastest pg_dump there is, and against what people do.

    "Taking" is what the manifest says: from the first connection to the stored manifest. The whole command also
    starts Python and reads everything back, which none of the others does.
    """
    series = stand.compare(
        "backup",
        [
            stand.shell("limit", "pg_dump -Fc -Z0 >/dev/null"),
            stand.ours("backup", name="ours, counts", BACKUP_FINGERPRINT="counts"),
            stand.ours("backup", name="ours, content", BACKUP_FINGERPRINT="content"),
            stand.shell("pg_dump -Fc", "pg_dump -Fc >custom.dump"),
            stand.shell("old script", _OLD_SCRIPT),
        ],
    )
    manifests = _manifests(stand.storage)
    counts, content = (_durations(manifests, level)[-stand.rounds :] for level in ("counts", "content"))

    def of(name: str) -> list[float]:
        return [run.wall_seconds for run in series.runs[name]]

    stand.at_most("taking (counts) / pg_dump -Fc -Z0 >/dev/null", _ratio(counts, of("limit")), 1.10)
    stand.at_most("taking (content) / same", _ratio(content, of("limit")), 2.0)
    stand.at_least("old script / taking (counts), wall", _ratio(of("old script"), counts), 6)
    stand.at_least("pg_dump -Fc / taking (counts), wall", _ratio(of("pg_dump -Fc"), counts), 4)
    stand.at_least(
        "old script / whole command (counts), CPU",
        series.ratio("old script", "ours, counts", "cpu_seconds"),
        7,
    )
    stand.seen("whole command (counts) / pg_dump -Fc -Z0 >/dev/null", series.ratio("ours, counts", "limit"))
    stand.seen("old script / whole command (counts), wall", series.ratio("old script", "ours, counts"))
    stored = manifests[-1].stored_bytes
    stand.at_most(
        "stored bytes / old script's", stored / (stand.directory / "old.enc.gz").stat().st_size, 0.87
    )


def memory(stand: Stand, scale: float) -> None:
    """Peak memory of a backup with all its children, against that of a database a quarter the size."""
    stand.drop("quarter", create=True)()
    fill(stand.cluster.server, "quarter", scale=scale / 4, today=datetime.now(UTC).date())
    series = stand.compare(
        "memory",
        [stand.ours("backup", name="whole"), stand.ours("backup", name="a quarter", database="quarter")],
    )
    stand.at_most("peak memory with children, MiB", series.median("whole", "peak_bytes") / 2**20, 55)
    stand.at_most("peak memory / that of a quarter", series.ratio("whole", "a quarter", "peak_bytes"), 1.05)


def verify(stand: Stand, scale: float) -> None:
    """Reading a backup again, against reading its bytes."""
    newest = max(stand.storage.glob("bench/backups/*/main.dump.zst.sealed"))
    large = stand.directory / "large.sealed"
    sealed = f"{shlex.quote(sys.executable)} -m recyclic_backups_tests.bench.sealed"
    stand.once(stand.shell("seal 1 GiB", f"cd '{Path.cwd()}'; {sealed} make '{large}' 1024"))
    series = stand.compare(
        "verify",
        [
            stand.shell("sha256sum of 1 GiB", f"sha256sum '{large}'"),
            stand.shell("every chunk of 1 GiB", f"cd '{Path.cwd()}'; {sealed} read '{large}'"),
            stand.shell("sha256sum", f"sha256sum '{newest}'"),
            stand.ours("verify", "latest", "--level", "stored", name="stored"),
            stand.ours("verify", "latest", "--level", "readable", name="readable"),
            stand.ours("verify", "latest", "--level", "parsed", name="parsed"),
            stand.ours("backup", name="backup", BACKUP_FINGERPRINT="counts"),
        ],
    )
    stand.at_most(
        "verify every chunk / sha256sum of the file",
        series.ratio("every chunk of 1 GiB", "sha256sum of 1 GiB"),
        0.2,
    )
    stand.at_most("verify parsed / whole backup", series.ratio("parsed", "backup"), 0.3)


def restore(stand: Stand, scale: float) -> None:
    """Bringing it back, against psql and pg_restore of files that lie there plain, and the old script reversed."""
    stand.once(stand.shell("plain files", "pg_dump -Fp >plain.sql; pg_dump -Fc -Z0 >plain.dump"))
    stand.once(stand.shell("old script", _OLD_SCRIPT))
    stand.once(stand.ours("backup", BACKUP_JOBS="2"))
    into = f"--dbname={conninfo_dbname('bench_into')}"
    fresh = stand.drop("bench_into", create=True)
    gone = stand.drop("bench_ours")
    restored = ("restore", "latest", "--into", "bench_ours", "--jobs")
    series = stand.compare(
        "restore",
        [
            stand.shell("psql -f", f'psql -qX "{into}" -f plain.sql', fresh),
            stand.shell("pg_restore -j2", f'pg_restore -j2 "{into}" plain.dump', fresh),
            stand.shell("old script reversed", f'{_OLD_SCRIPT_REVERSED} pg_restore "{into}" old.dump', fresh),
            stand.after(stand.ours(*restored, "1", name="ours, 1 job", BACKUP_FINGERPRINT="off"), gone),
            stand.after(stand.ours(*restored, "2", name="ours, 2 jobs", BACKUP_FINGERPRINT="off"), gone),
            stand.after(stand.ours(*restored, "2", name="ours, 2 jobs, compared"), gone),
        ],
    )
    stand.at_most("restore / psql -f", series.ratio("ours, 1 job", "psql -f"), 1.0)
    stand.at_most(
        "parallel restore / old script reversed", series.ratio("ours, 2 jobs", "old script reversed"), 0.55
    )
    stand.seen("parallel restore / pg_restore -j2 plain", series.ratio("ours, 2 jobs", "pg_restore -j2"))
    stand.seen(
        "parallel restore, compared / old script reversed",
        series.ratio("ours, 2 jobs, compared", "old script reversed"),
    )


def command_line(stand: Stand, scale: float) -> None:
    """What an operator waits for before anything happens: with a thousand backups in the storage."""
    (newest,) = sorted(stand.storage.glob("bench/backups/*/manifest.json"))[-1:]
    document = json.loads(newest.read_text())
    crowded = stand.directory / "thousand"
    shutil.copytree(stand.storage / "keys", crowded / "keys")
    shutil.copy(stand.storage / "storage.json", crowded / "storage.json")
    key = Keyring(LocalStore(crowded), KEY).writer()
    for number in range(1000):
        backup_id = f"20240101T{number // 60:02d}{number % 60:02d}00Z-AAAAAA"
        folder = crowded / "bench" / "backups" / backup_id
        folder.mkdir(parents=True)
        name = f"bench/backups/{backup_id}/manifest.json"
        (folder / "manifest.json").write_bytes(
            encode(signed({**document, "backup_id": backup_id}, name, key))
        )
    series = stand.compare(
        "command line",
        [stand.ours("--help"), stand.ours("list", "--json", BACKUP_STORAGE=f"file://{crowded}")],
    )
    stand.at_most("--help, seconds", series.median("--help"), 0.3)
    stand.at_most("list of 1000 backups, seconds", series.median("list --json"), 0.6)


def pgbackrest_options(stand: Stand) -> dict[str, str]:
    """Where pgBackRest finds the server and puts what it takes, compressed and encrypted as ours is.

    Options as variables: those that a command does not know are passed over.
    """
    server = stand.cluster.server_on_socket
    return {
        "PGBACKREST_STANZA": "bench",
        "PGBACKREST_PG1_PATH": str(stand.cluster.data_directory),
        "PGBACKREST_PG1_PORT": str(server.port),
        "PGBACKREST_PG1_SOCKET_PATH": server.host,
        "PGBACKREST_PG1_USER": server.user,
        "PGBACKREST_REPO1_PATH": f"{stand.directory}/pgbackrest",
        "PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc",
        "PGBACKREST_REPO1_CIPHER_PASS": KEY,
        "PGBACKREST_REPO1_RETENTION_FULL": "1",
        "PGBACKREST_LOCK_PATH": f"{stand.directory}/lock",
        "PGBACKREST_LOG_LEVEL_FILE": "off",
        "PGBACKREST_COMPRESS_TYPE": "zst",
        "PGBACKREST_PROCESS_MAX": "2",
        "PGBACKREST_ARCHIVE_CHECK": "n",
        "PGBACKREST_START_FAST": "y",
    }


def pgbackrest(stand: Stand, scale: float) -> None:
    """A full copy by pgBackRest of the same server: a physical backup, so other bytes for another use."""
    if shutil.which("pgbackrest") is None:
        return
    options = pgbackrest_options(stand)
    stand.once(stand.shell("stanza", "pgbackrest stanza-create", more=options))
    series = stand.compare(
        "pgbackrest",
        [
            stand.shell("pgBackRest, full", "pgbackrest --type=full backup", more=options),
            stand.ours("backup", name="ours, content", BACKUP_FINGERPRINT="content"),
        ],
    )
    stand.seen(
        "whole backup (content) / pgBackRest full, wall", series.ratio("ours, content", "pgBackRest, full")
    )
    stand.seen(
        "whole backup (content) / pgBackRest full, CPU",
        series.ratio("ours, content", "pgBackRest, full", "cpu_seconds"),
    )


def _manifests(storage: Path) -> list[Manifest]:
    """The oldest first; what is sealed in them is opened with the key."""
    store = LocalStore(storage)
    return [
        each.manifest
        for each in reversed(list(load_catalog(Repository(store, "bench", Keyring(store, KEY), True))))
    ]


def _durations(manifests: list[Manifest], level: str) -> list[float]:
    return [
        each.duration_seconds
        for each in manifests
        if each.fingerprint is not None and each.fingerprint["level"] == level
    ]


def _ratio(ones: list[float], others: list[float]) -> float:
    return median(one / other for one, other in zip(ones, others, strict=True))
