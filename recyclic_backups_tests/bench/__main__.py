"""Run the benchmark: ``python -m recyclic_backups_tests.bench [--scale N] [--rounds N] [--only X] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recyclic_backups.cli.render import print_table
from recyclic_backups.demo.dataset import fill
from recyclic_backups.postgres.discovery import find_installations
from recyclic_backups.postgres.programs import choose
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.bench import comparisons, wal
from recyclic_backups_tests.bench.production import production
from recyclic_backups_tests.bench.stand import DATABASE, Stand

_COMPARISONS: tuple[Callable[[Stand, float], None], ...] = (
    comparisons.backup,
    comparisons.memory,
    comparisons.verify,
    comparisons.restore,
    comparisons.command_line,
    comparisons.pgbackrest,
    wal.wal,
    wal.base_backup,
    wal.recovery,
    production,
)


def main() -> int:
    """Run the comparisons and print their tables."""
    options = _options()
    found = find_installations(os.environ.get("PG_BIN"), os.environ.get("PATH"))
    programs = {"initdb", "postgres", "pg_dump", "pg_restore", "psql"}
    installation = choose([each for each in found if each.has_server], 15, programs)
    with (
        tempfile.TemporaryDirectory(prefix="recyclic-bench-") as name,
        tempfile.TemporaryDirectory(prefix="recyclic-bench-server-") as server_directory,
        ScratchCluster.start(
            installation, Path(server_directory), settings={"shared_buffers": "256MB"}
        ) as cluster,
    ):
        stand = Stand(cluster, installation, Path(name), options.rounds)
        stand.drop(DATABASE, create=True)()
        fill(cluster.server, DATABASE, scale=options.scale, today=datetime.now(UTC).date())
        facts = {
            "machine": platform.platform(),
            "cores": os.cpu_count(),
            "postgresql": installation.version,
            "scale": options.scale,
            "rounds": options.rounds,
        }
        print(", ".join(f"{key} {value}" for key, value in facts.items()))
        for comparison in _COMPARISONS:
            if not options.only or comparison.__name__ in options.only:
                _report(stand, comparison, options.scale)
    if options.json:
        options.json.write_text(json.dumps(_document(facts, stand), indent=2) + "\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…")
    parser.add_argument("--scale", type=float, default=4.0, help="size of the data; 1 is 50 MB (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each command (default 5)")
    parser.add_argument("--json", type=Path, help="write every figure of every run to this file")
    parser.add_argument(
        "--only",
        action="append",
        choices=[each.__name__ for each in _COMPARISONS],
        help="only this comparison; may be repeated",
    )
    return parser.parse_args()


def _report(stand: Stand, comparison: Callable[[Stand, float], None], scale: float) -> None:
    """Run one comparison and print it at once: what is interrupted later has not been in vain."""
    shown = len(stand.rows)
    comparison(stand, scale)
    if len(stand.rows) == shown:
        return
    print(f"\n{comparison.__name__.replace('_', ' ')}")
    series = stand.series.get(comparison.__name__.replace("_", " "))
    if series is not None:
        rows = [
            (
                command,
                f"{series.median(command):.2f}",
                f"{series.median(command, 'cpu_seconds'):.2f}",
                f"{series.median(command, 'peak_bytes') / 2**20:.0f}",
            )
            for command in series.runs
        ]
        print_table(("COMMAND", "WALL s", "CPU s", "PEAK MiB"), rows, right=(1, 2, 3))
        print()
    print_table(("FIGURE", "SEEN", "TARGET", ""), [row.cells for row in stand.rows[shown:]], right=(1,))
    sys.stdout.flush()


def _document(facts: dict[str, Any], stand: Stand) -> dict[str, Any]:
    return {
        "facts": facts,
        "figures": [
            {"name": row.name, "value": round(row.value, 4), "target": row.target, "met": row.met}
            for row in stand.rows
        ],
        "runs": {title: series.to_json() for title, series in stand.series.items()},
    }


if __name__ == "__main__":
    raise SystemExit(main())
