"""Makes ``data/*.enc`` with the ``openssl`` program, once; committed, so that no test needs the program.

python -m recyclic_backups_tests.adopt.make_data
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from recyclic_backups_tests.adopt.old_script import PASSPHRASE

DATA = Path(__file__).parent / "data"
CONTENT = b"PGDMP " + b"what openssl encrypted, long enough for several blocks. " * 3
OPTIONS = {
    "pbkdf2": ["-pbkdf2"],
    "sha256": ["-md", "sha256"],  # the default since OpenSSL 1.1.0
    "md5": ["-md", "md5"],  # the default before
}


def main() -> None:
    """Write one file for each derivation."""
    DATA.mkdir(exist_ok=True)
    for name, options in OPTIONS.items():
        argv = ["openssl", "enc", "-aes-256-cbc", "-salt", *options, "-pass", f"pass:{PASSPHRASE}"]
        finished = subprocess.run(argv, input=CONTENT, check=True, capture_output=True)
        (DATA / f"{name}.enc").write_bytes(finished.stdout)


if __name__ == "__main__":
    main()
