"""``make fuzz``: every target in turn, guided by coverage: ``python -m recyclic_backups_tests.fuzz --seconds N``.

Each target runs in a process of its own, since libFuzzer ends the process it runs in. A finding is written to a
file and ends the run with an error; put it into ``test_targets.py`` with its fix.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from recyclic_backups_tests.fuzz.targets import survives, targets


def main() -> int:
    """Fuzz one target, or all of them for an equal share of the time."""
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=…")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", choices=sorted(targets()))
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.corpus:
        return _fuzz(options.target, options.seconds, options.corpus)
    names = [options.target] if options.target else sorted(targets())
    share = max(1, options.seconds // len(names))
    for name in names:
        print(f"{name}: {share} s", flush=True)
        with tempfile.TemporaryDirectory(prefix="recyclic-fuzz-") as corpus:
            argv = [sys.executable, "-m", "recyclic_backups_tests.fuzz", "--target", name]
            argv += ["--seconds", str(share), "--corpus", corpus]
            if subprocess.run(argv, check=False).returncode != 0:
                return 1
    return 0


def _fuzz(name: str, seconds: int, corpus: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["recyclic_backups"]):
        target = targets()[name]
    atheris.instrument_all()
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    flags = ["-max_len=60000", f"-max_total_time={seconds}", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], lambda data: survives(target, data))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
