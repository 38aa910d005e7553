"""Storages for the rescue script to read, made by hand with the code that seals and signs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from recyclic_backups import rescue
from recyclic_backups.catalog.sealing import seal
from recyclic_backups.envelope.document import encode, signed, summed
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.envelope.seal import SealedWriter
from recyclic_backups.storage.local import LocalStore

NOW = datetime(2026, 11, 22, 1, 0, 3, tzinfo=UTC)
PASSPHRASE = "4kPVJR4nUdvyYzK1yLXzXQZyGUyy2nT1CkNRbYOvHbo="
OTHER_PASSPHRASE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DUMP = b"PGDMP" + random.Random(20261122).randbytes(300_000) * 8  # several chunks, compressed or not
GLOBALS = 'CREATE ROLE "caissière";\n'.encode()
SERVER: dict[str, Any] = {
    "version": "15.18",
    "encoding": "UTF8",
    "locale": {"provider": "libc", "collate": "fr_FR.UTF-8", "ctype": "fr_FR.UTF-8", "locale": None},
    "owner": "app owner",
    "settings": [
        {"name": "search_path", "value": '"$user", public'},
        {"name": "work_mem", "value": "64MB", "role": "app owner"},
        {"name": "search_path", "value": "public; \\! touch harmed"},
    ],
    "acl": [{"grantee": None, "privilege": "CONNECT", "grantable": False}],
    "comment": "l'été \\ 2026",
}


@dataclass
class Storage:
    """A directory with backups of hand-made content."""

    root: Path
    passphrase: str | None = PASSPHRASE
    format: int = 2
    """Of the manifests of encrypted backups: 2 as they are written, 1 as older releases wrote them."""
    keyring: Keyring | None = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        self.store = LocalStore(self.root)
        self.keyring = Keyring(self.store, self.passphrase) if self.passphrase else None
        rescue.install(self.store)

    def backup(
        self,
        backup_id: str = "20261122T010003Z-K3X7QA",
        *,
        database: str = "shop",
        contents: dict[str, bytes] | None = None,
        finish: bool = True,
        **changes: Any,
    ) -> Path:
        """One backup; ``contents`` by stored name, plain. Returns its folder."""
        contents = {"main.dump.zst": DUMP, "globals.sql.zst": GLOBALS} if contents is None else contents
        folder = f"{database}/backups/{backup_id}"
        objects = []
        for name, plain in contents.items():
            data = zstandard.compress(plain, 2) if name.endswith(".zst") else plain
            stored = self._write(folder, name, data, backup_id, finish=finish)
            role = "main" if name.startswith("main") else "globals" if name.startswith("globals") else "table"
            objects.append(
                {
                    "name": stored,
                    "role": role,
                    "relation": "public.big" if role == "table" else None,
                    "plain_bytes": len(plain),
                    "stored_bytes": (self.root / folder / stored).stat().st_size,
                    "stored_sha256": hashlib.sha256((self.root / folder / stored).read_bytes()).hexdigest(),
                }
            )
        as_of = f"{backup_id[:4]}-{backup_id[4:6]}-{backup_id[6:8]}T01:00:03.000000Z"
        key = self.keyring.for_writing(NOW) if self.keyring else None
        manifest: dict[str, Any] = {
            "format": 1,
            "backup_id": backup_id,
            "database": changes.pop("database_name", database),
            "kind": "dump",
            "as_of": as_of,
            "server": SERVER,
            "objects": objects,
            "encryption": {"envelope": 1, "key_id": key.key_id} if key else None,
        }
        document = manifest | changes
        if key is not None and self.format == 2 and document["format"] == 1 and document["encryption"]:
            document = seal(document, key)
        self.document(f"{folder}/manifest.json", document)
        return self.root / folder

    def edit(self, name: str, **changes: Any) -> None:
        """Change fields of a document as its writer would: signed or summed anew."""
        document = json.loads((self.root / name).read_bytes()) | changes
        self.document(
            name, {field: value for field, value in document.items() if field not in ("mac", "sha256")}
        )

    def document(self, name: str, document: dict[str, Any]) -> None:
        """A document, signed if the storage has a key; else with its SHA-256."""
        key = self.keyring.for_writing(NOW) if self.keyring else None
        document = signed(document, name, key) if key else summed(document, name)
        self.store.replace(name, encode(document))

    def _write(self, folder: str, name: str, data: bytes, backup_id: str, *, finish: bool) -> str:
        stored = f"{name}.sealed" if self.keyring else name
        with self.store.writer(f"{folder}/{stored}") as upload:
            if self.keyring:
                key = self.keyring.for_writing(NOW)
                with SealedWriter(upload, key, backup_id, stored, chunk_bytes=1 << 16) as writer:
                    writer.write(data)
                    if finish:
                        writer.finish()
            else:
                upload.write(data)
            upload.commit()
        return stored

    def recover(
        self,
        *arguments: str | Path,
        blocked: tuple[str, ...] = (),
        path: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the storage's own recover.py, isolated, where this package cannot be imported.

        ``blocked`` modules cannot be either; ``path`` replaces PATH. ``environment`` replaces the one
        variable that is otherwise set, the key.
        """
        names = ("recyclic_backups", *blocked)
        program = (
            "import runpy, sys\n"
            f"for name in {names!r}: sys.modules[name] = None\n"
            "sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
        )
        if environment is None:
            environment = {"BACKUP_ENCRYPTION_KEY": self.passphrase} if self.passphrase else {}
        search_path = os.environ["PATH"] if path is None else path
        return subprocess.run(
            [sys.executable, "-I", "-c", program, str(self.root / "recover.py"), *map(str, arguments)],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=self.root.parent,
            env={"PATH": search_path, "LC_ALL": "C.UTF-8", **environment},
            timeout=60,
            start_new_session=True,
        )
