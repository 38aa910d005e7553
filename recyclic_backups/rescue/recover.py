#!/usr/bin/env python3
"""Get PostgreSQL dumps out of this backup storage, without the software that wrote them.

    python3 recover.py list
    python3 recover.py extract latest --output DIRECTORY
    python3 recover.py extract latest --output DIRECTORY --as NAME
    python3 recover.py extract BACKUP_ID --stdout | pg_restore ...

Needs Python 3.9 or newer; for encrypted backups also the package `cryptography`; for compressed ones any of:
Python 3.14, the packages `zstandard` or `backports.zstd`, the program `zstd`. RECOVERY.md tells the rest.
This is one self-contained file, meant to be read: it follows docs/format/ of recyclic_backups.

Exit codes: 0 done, 1 unexpected, 2 usage, 10 something must be installed or set, 30 disk, 40 data damaged,
41 no usable key, 60 no such backup, 70 refused (the target exists, or there is no space).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import importlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from urllib.parse import unquote

Json = dict[str, Any]
BLOCK_BYTES = 1024 * 1024


class Problem(Exception):
    """One sentence for the person at the keyboard, and the exit code."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def say(text: str) -> None:
    """Tell the person something; stdout is for results only."""
    print(text, file=sys.stderr, flush=True)


# --- documents (docs/format/documents.md) ---


def canonical(document: Json) -> bytes:
    """The one spelling of a document that MACs and hashes are taken of."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def without(document: Json, *names: str) -> Json:
    """A copy of the document without some of its fields."""
    return {name: value for name, value in document.items() if name not in names}


def read_document(path: Path) -> Json:
    """A JSON object from a file."""
    return parsed(path.read_bytes(), str(path))


def parsed(data: bytes, name: str) -> Json:
    """A JSON object; ``name`` is what it is called if it is none."""

    def no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        canonical(document)
    except (ValueError, RecursionError) as error:
        raise Problem(40, f"{name} is damaged: {error}") from None
    return document


# --- keys (docs/format/keys.md) ---


def aes_gcm(key: bytes) -> Any:
    """The cipher, from the one package this file cannot do without."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise Problem(10, "this needs the Python package `cryptography`: pip install cryptography") from None
    return AESGCM(key)


def decrypt(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    """The plaintext, or None if it is not authentic."""
    cipher = aes_gcm(key)
    from cryptography.exceptions import InvalidTag

    try:
        plain: bytes = cipher.decrypt(nonce, sealed, bound)
    except InvalidTag:
        return None
    return plain


def extract_key(salt: bytes, material: bytes) -> bytes:
    """HKDF-Extract, RFC 5869."""
    return hmac.new(salt, material, "sha256").digest()


def expand_key(key: bytes, info: str) -> bytes:
    """HKDF-Expand to 32 bytes, RFC 5869: a single block."""
    return hmac.new(key, info.encode() + b"\x01", "sha256").digest()


def full_entropy(passphrase: str) -> bytes | None:
    """The 32 bytes whose base64 this is, or None for a text."""
    standard = passphrase.replace("-", "+").replace("_", "/")
    if len(standard) != 44 or (standard != passphrase and ("+" in passphrase or "/" in passphrase)):
        return None
    try:
        key = base64.b64decode(standard.encode("ascii"), validate=True)
    except ValueError:
        return None
    return key if len(key) == 32 and base64.b64encode(key).decode() == standard else None


def root_key(passphrase: str, derivation: Json) -> bytes | None:
    """What a key file derives from a passphrase; None if it is of the other kind."""
    salt = base64.b64decode(derivation["salt"], validate=True)
    if len(salt) != 32:
        raise ValueError("its salt has the wrong length")
    key = full_entropy(passphrase)
    if derivation["name"] == "hkdf-sha256":
        return None if key is None else extract_key(salt, key)
    if derivation["name"] != "scrypt":
        raise ValueError("its derivation is unknown")
    n, r, p = (derivation[name] for name in ("n", "r", "p"))
    if any(type(value) is not int for value in (n, r, p)):
        raise ValueError("its derivation is malformed")
    if not 2**14 <= n <= 2**20 or n & (n - 1) or r != 8 or not 1 <= p <= 4:
        raise ValueError("its derivation is out of bounds")
    if key is not None:
        return None
    aes_gcm(bytes(32))  # says it if the package is missing
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase.encode("utf-8"))


class Keys:
    """The storage's data keys, opened with the person's passphrases, which are asked for when first needed."""

    def __init__(self, storage: Path) -> None:
        self.folder = storage / "keys"
        self.passphrases: list[str] = []
        self.opened: dict[str, bytes] = {}

    def open(self, key_id: str) -> bytes:
        """The data key of this id."""
        if key_id not in self.opened:
            path = self.folder / f"{key_id}.json"
            if not path.is_file():
                raise Problem(
                    41, f"the key file {path} is missing: put back a copy, no passphrase helps without it"
                )
            document = read_document(path)
            try:
                self.opened[key_id] = self.unwrap(document, key_id)
            except (KeyError, TypeError, ValueError) as error:
                raise Problem(40, f"the key file {path} is damaged: {error}") from None
        return self.opened[key_id]

    def unwrap(self, document: Json, key_id: str) -> bytes:
        """The data key in a key file. Raises ValueError and its like when the file is damaged."""
        if document.get("sha256") != hashlib.sha256(canonical(without(document, "sha256"))).hexdigest():
            raise ValueError("its SHA-256 is wrong")
        if document["format"] != 1 or document["key_id"] != key_id:
            raise ValueError("its format or key id is not the expected one")
        nonce = base64.b64decode(document["nonce"], validate=True)
        wrapped = base64.b64decode(document["wrapped_key"], validate=True)
        if len(nonce) != 12 or len(wrapped) != 48 or len(bytes.fromhex(document["commitment"])) != 32:
            raise ValueError("a field has the wrong length")
        if not self.passphrases:
            self.passphrases = passphrases()
        for passphrase in self.passphrases:
            root = root_key(passphrase, document["derivation"])
            if root is None:
                continue
            commitment = expand_key(root, "recyclic_backups/key/1/commitment").hex()
            if not hmac.compare_digest(commitment, document["commitment"]):
                continue
            bound = b"recyclic_backups/key/1\x00" + canonical(without(document, "wrapped_key", "sha256"))
            data_key = decrypt(expand_key(root, "recyclic_backups/key/1/wrap"), nonce, wrapped, bound)
            if data_key is None or derived(data_key, "recyclic_backups/key/1/id")[:8].hex() != key_id:
                raise ValueError("the passphrase is right, but the file was edited")
            return data_key
        raise Problem(
            41,
            f"no given passphrase opens key {key_id}: set BACKUP_ENCRYPTION_KEY to the right one"
            + (FILE_GIVEN if any(is_file_name(text) for text in self.passphrases) else ""),
        )


FILE_GIVEN = "; what was given is the name of a file: set BACKUP_ENCRYPTION_KEY_FILE to it instead"


def is_file_name(text: str) -> bool:
    """Whether a passphrase that opens nothing is a path to a file that is there."""
    try:
        return os.path.isfile(os.path.expanduser(text))
    except ValueError:  # a NUL in it
        return False


def derived(data_key: bytes, info: str) -> bytes:
    """What is derived from a data key without a salt: its id and its MAC key."""
    return expand_key(extract_key(b"", data_key), info)


def passphrases() -> list[str]:
    """Every passphrase that the environment or the person gives, the current one first."""
    given = [secret("BACKUP_ENCRYPTION_KEY")]
    old = secret("BACKUP_ENCRYPTION_OLD_KEYS")
    if not given[0] and not old:
        if not (sys.stdin.isatty() or sys.stderr.isatty()):
            raise Problem(41, "this is encrypted: set BACKUP_ENCRYPTION_KEY or BACKUP_ENCRYPTION_KEY_FILE")
        import getpass

        given = [getpass.getpass("Encryption key (BACKUP_ENCRYPTION_KEY): ")]
    # One a line, or separated by commas; a single sentence may also have commas of its own.
    given += old.splitlines() if "\n" in old else [*old.split(","), old]
    texts = [unicodedata.normalize("NFC", text).strip() for text in given]
    return list(dict.fromkeys(text for text in texts if text))


def secret(name: str) -> str:
    """A secret from the environment, or from the file that NAME_FILE names."""
    path = os.environ.get(f"{name}_FILE", "")
    if os.environ.get(name) or not path:
        text = os.environ.get(name, "")
    else:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Problem(10, f"{name}_FILE cannot be read: {type(error).__name__}") from None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Problem(10, f"{name} is not valid UTF-8") from None
    return text


def check_mac(document: Json, name: str, keys: Keys) -> None:
    """Return if the document was signed for this storage name and not edited since."""
    mac = document.get("mac")
    if (
        not isinstance(mac, dict)
        or set(mac) != {"key_id", "hmac_sha256"}  # the MAC does not cover itself
        or not isinstance(mac["hmac_sha256"], str)
        or not re.fullmatch(r"[0-9a-f]{16}", str(mac.get("key_id")))
    ):
        raise Problem(40, f"{name} has no proper MAC: it was edited or damaged")
    key = derived(keys.open(mac["key_id"]), "recyclic_backups/document/1/mac")
    message = name.encode() + b"\x00" + canonical(without(document, "mac"))
    expected = hmac.new(key, message, "sha256").hexdigest()
    if not hmac.compare_digest(expected.encode(), mac["hmac_sha256"].encode()):
        raise Problem(40, f"{name} was edited, damaged or moved: its MAC is wrong")


# --- sealed objects (docs/format/envelope.md) ---

HEADER = struct.Struct(">8s H I 8s 32s 7s 32s")


def unsealed(source: BinaryIO, keys: Keys, backup_id: str, name: str) -> Iterator[bytes]:
    """The plaintext, chunk by chunk, each authenticated; an end without an error means that all of it was there."""
    header = source.read(HEADER.size)
    if len(header) < HEADER.size:
        raise Problem(40, f"{name} is cut within its header")
    magic, version, chunk_bytes, key_id, salt, prefix, commitment = HEADER.unpack(header)
    if magic != b"\x89RBSEAL\n":
        raise Problem(40, f"{name} is not a sealed object, or its beginning is damaged")
    if version != 1:
        raise Problem(40, f"{name} has envelope version {version}, which this script does not know")
    if not 16 <= chunk_bytes <= 2**24:
        raise Problem(40, f"{name} has a damaged header")
    object_key = extract_key(salt, keys.open(key_id.hex()))
    if not hmac.compare_digest(
        expand_key(object_key, "recyclic_backups/envelope/1/key-commitment"), commitment
    ):
        raise Problem(41, f"the key does not open {name}")
    object_key = expand_key(object_key, "recyclic_backups/envelope/1/object-key")
    bound = header
    for text in (backup_id.encode(), name.encode()):
        bound += struct.pack(">H", len(text)) + text
    ahead = source.read(chunk_bytes + 16)
    for counter in range(2**32 - 1):
        chunk, ahead = ahead, source.read(chunk_bytes + 16)
        final = not ahead
        nonce = prefix + struct.pack(">I", counter) + (b"\x01" if final else b"\x00")
        plain = decrypt(object_key, nonce, chunk, bound) if len(chunk) >= 16 else None
        if plain is None or (counter and not plain):
            raise Problem(40, f"{name} is damaged or cut in chunk {counter}")
        yield plain
        if final:
            return
    raise Problem(40, f"{name} has more chunks than the format allows")


# --- zstd: whatever is there ---


class Pulled:
    """Blocks as the file that decompressors want to read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks = blocks
        self.rest = b""

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """At most ``size`` bytes."""
        while not self.rest:
            block = next(self.blocks, None)
            if block is None:
                return b""
            self.rest = block
        piece, self.rest = self.rest[:size], self.rest[size:]
        return piece


def zstd_reader() -> Callable[[Iterator[bytes]], Iterator[bytes]] | None:
    """What decompresses here, or None."""
    for module_name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(module_name)
            return lambda blocks: blocks_of(module.ZstdFile(Pulled(blocks)))
    with contextlib.suppress(ImportError):
        zstandard = importlib.import_module("zstandard")
        return lambda blocks: blocks_of(
            zstandard.ZstdDecompressor().stream_reader(Pulled(blocks), read_across_frames=True)
        )
    program = shutil.which("zstd")
    return (lambda blocks: through_program(program, blocks)) if program else None


def blocks_of(source: Any) -> Iterator[bytes]:
    """Everything a file holds, in blocks."""
    while True:
        try:
            block = source.read(BLOCK_BYTES)
        except (Problem, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - every library has an error class of its own
            raise Problem(40, f"the compressed data are damaged: {error}") from None
        if not block:
            return
        yield block


def through_program(program: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, decompressed by the zstd program; a thread feeds it so that neither side waits for ever."""
    process = subprocess.Popen(
        [program, "-d", "-c", "-q"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, failures = process.stdin, []

    def feed() -> None:
        try:
            for block in blocks:
                stdin.write(block)
            stdin.close()
        except BrokenPipeError:
            pass  # it ended early: its exit code tells
        except BaseException as error:  # noqa: BLE001 - handed to the main thread below
            failures.append(error)
            process.kill()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        yield from blocks_of(process.stdout)
        feeder.join()
        if process.wait() != 0 and not failures:
            raise Problem(40, "the compressed data are damaged: zstd refused them")
    finally:
        process.kill()
        process.wait()
        feeder.join()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
    if failures:
        raise failures[0]


# --- the storage ---


class Backup:
    """One backup that has a readable manifest and no tombstone."""

    def __init__(self, storage: Path, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_document(folder / "manifest.json")
        self.name = (folder / "manifest.json").relative_to(storage).as_posix()
        self.database = unquote(folder.parent.parent.name)
        if self.manifest.get("format") not in (1, 2):
            raise Problem(40, f"{self.name} has a format that this script does not know")
        if self.manifest["format"] == 2 and self.manifest.get("encryption") is None:
            raise Problem(40, f"{self.name} is sealed, and says that its backup is not encrypted")
        if self.manifest.get("backup_id") != folder.name or self.manifest.get("database") != self.database:
            raise Problem(40, f"{self.name} is not the manifest of this backup")
        objects = self.manifest.get("objects")
        if not isinstance(objects, list) or not all(is_object(entry) for entry in objects):
            raise Problem(40, f"{self.name} is damaged: its list of objects is malformed")
        self.objects: list[Json] = objects

    @property
    def as_of(self) -> str:
        """When the dump is of; comparable as text, being UTC in one form."""
        return str(self.manifest.get("as_of", ""))

    @property
    def moment(self) -> str:
        """The same for people: ``2026-11-22 01:00:03 UTC``."""
        return re.sub(r"^(\S{10})T(\d\d:\d\d:\d\d)(\.\d+)?Z$", r"\1 \2 UTC", self.as_of)

    @property
    def encrypted(self) -> bool:
        """Whether any of it needs a key."""
        sealed = any(entry["name"].endswith(".sealed") for entry in self.objects)
        return sealed or self.manifest.get("encryption") is not None

    def authenticate(self, keys: Keys) -> None:
        """Check the manifest's MAC and open what is sealed in it.

        A backup that is not encrypted has no MAC: nothing vouches for it.
        """
        mac = self.manifest.get("mac")
        if mac is None and not self.encrypted:
            if keys.folder.is_dir():
                say("warning: this backup is neither encrypted nor signed, though the storage has keys")
            return
        check_mac(self.manifest, self.name, keys)
        if self.manifest["format"] == 2:
            self.open_manifest(keys)

    def open_manifest(self, keys: Keys) -> None:
        """Put what is sealed in a manifest of format 2 where format 1 has it: owner, settings, locale and the like."""
        try:
            stored = base64.b64decode(self.manifest["sealed"], validate=True)
            # Bytes 14 to 21 of the header are the key id: what is sealed is opened by the key of its backup only.
            if stored[14:22].hex() != self.manifest["encryption"]["key_id"]:
                raise ValueError("another key")
        except (KeyError, TypeError, ValueError):
            raise Problem(40, f"{self.name} is damaged: what is sealed in it is malformed") from None
        # No object can be called manifest.json: what is sealed under that name was made for this place.
        plain = b"".join(unsealed(io.BytesIO(stored), keys, self.folder.name, "manifest.json"))
        hidden = parsed(plain, f"what is sealed in {self.name}")
        server, of_objects = hidden.pop("server", None), hidden.pop("objects", None)
        if not isinstance(server, dict) or not isinstance(of_objects, dict):
            raise Problem(40, f"{self.name} is damaged: what is sealed in it lacks the server or the objects")
        self.manifest.pop("sealed")
        pairs = [(self.manifest, hidden), (self.manifest.get("server"), server)]
        pairs += [(entry, of_objects.get(entry["name"], {})) for entry in self.objects]
        for clear, more in pairs:
            if not isinstance(clear, dict) or not isinstance(more, dict) or clear.keys() & more.keys():
                raise Problem(40, f"{self.name} is damaged: it holds a field in clear and sealed")
            clear.update(more)

    def verify(self, entry: Json) -> None:
        """Compare size and SHA-256 of a stored object, before any key is tried on it."""
        path, seen = self.folder / entry["name"], hashlib.sha256()
        if not path.is_file():
            raise Problem(40, f"{entry['name']} is missing from {self.folder}")
        if path.stat().st_size != entry["stored_bytes"]:
            raise Problem(
                40, f"{entry['name']} is damaged: {path.stat().st_size} bytes, not {entry['stored_bytes']}"
            )
        with path.open("rb") as source:
            for block in blocks_of(source):
                seen.update(block)
        if seen.hexdigest() != entry["stored_sha256"]:
            raise Problem(40, f"{entry['name']} is damaged: its SHA-256 is not the manifest's")

    def read(self, entry: Json, keys: Keys, *, decompress: bool) -> Iterator[bytes]:
        """The object's plaintext in blocks; compressed as it is if ``decompress`` is false."""
        name = entry["name"]
        with (self.folder / name).open("rb") as source:
            blocks = blocks_of(source)
            if name.endswith(".sealed"):
                blocks, name = unsealed(source, keys, self.folder.name, name), name[: -len(".sealed")]
            if not name.endswith(".zst"):
                yield from counted(blocks, entry)
            elif decompress:
                reader = zstd_reader()
                if reader is None:
                    raise Problem(
                        10, "nothing here decompresses zstd: install `zstd` or `pip install zstandard`"
                    )
                yield from counted(reader(blocks), entry)
            else:
                yield from blocks


def counted(blocks: Iterator[bytes], entry: Json) -> Iterator[bytes]:
    """The same blocks, if there are as many bytes as the manifest says."""
    left = entry["plain_bytes"]
    for block in blocks:
        left -= len(block)
        if left < 0:
            break
        yield block
    if left != 0:
        raise Problem(
            40, f"{entry['name']} does not hold the {entry['plain_bytes']} bytes that the manifest says"
        )


def is_object(entry: object) -> bool:
    """Whether an entry of a manifest's ``objects`` is one, with a name that stays in its folder."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", entry["name"]) is not None
        and type(entry.get("plain_bytes")) is int
        and type(entry.get("stored_bytes")) is int
        and isinstance(entry.get("stored_sha256"), str)
    )


def plain_name(entry: Json) -> str:
    """The object's name once it is unsealed and decompressed."""
    return re.sub(r"(\.zst)?(\.sealed)?$", "", str(entry["name"]), count=1)


def backups_of(storage: Path, database: str | None) -> tuple[list[Backup], list[Problem]]:
    """Usable backups, newest first, and what is wrong with the manifests that cannot be read."""
    found, problems = [], []
    for folder in sorted(storage.glob("*/backups/*")):
        database_folder = folder.parent.parent
        if database is not None and unquote(database_folder.name) != database:
            continue
        tombstone = database_folder / "tombstones" / f"{folder.name}.json"
        if not (folder / "manifest.json").is_file() or tombstone.exists():
            continue
        try:
            found.append(Backup(storage, folder))
        except Problem as problem:
            problems.append(problem)
    return sorted(found, key=lambda backup: backup.as_of, reverse=True), problems


def chosen(storage: Path, wanted: str, database: str | None) -> Backup:
    """The backup that the person means."""
    found, problems = backups_of(storage, database)
    for problem in problems:
        say(f"warning: {problem}")
    if wanted == "latest":
        found = [backup for backup in found if any(entry.get("role") == "main" for entry in backup.objects)]
        names = sorted({backup.database for backup in found})
        if len(names) > 1:
            raise Problem(2, f"there are several databases, say which with --database: {', '.join(names)}")
        if not found:
            raise Problem(40 if problems else 60, f"there is no usable backup in {storage}")
        return found[0]
    matching = [backup for backup in found if backup.folder.name == wanted]
    if len(matching) > 1:
        raise Problem(2, f"{wanted} is there for several databases, say which with --database")
    if matching:
        return matching[0]
    for folder in storage.glob("*/backups/*"):
        if folder.name != wanted or (database is not None and unquote(folder.parent.parent.name) != database):
            continue
        if (folder.parent.parent / "tombstones" / f"{wanted}.json").exists():
            raise Problem(60, f"{wanted} was deleted: it has a tombstone, its data are no longer complete")
        if (folder / "manifest.json").is_file():
            raise Problem(40, f"the manifest of {wanted} is damaged")
    raise Problem(60, f"there is no backup {wanted} in {storage}")


# --- commands ---


def list_backups(storage: Path, database: str | None) -> None:
    """Print every usable backup, newest first. Needs no key, and checks no MAC."""
    tiers: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for path in sorted(storage.glob("*/tiers/*/*.json")):
        try:
            tiers.setdefault(str(read_document(path).get("backup_id")), []).append(path.parent.name)
        except Problem as problem:
            problems.append(problem)
    found, unreadable = backups_of(storage, database)
    for backup in found:
        stored_bytes = sum(entry["stored_bytes"] for entry in backup.objects)
        labels = ",".join(sorted(set(tiers.get(backup.folder.name, [])))) or "-"
        secrecy = "encrypted" if backup.encrypted else "plain"
        print(
            f"{backup.folder.name}  {backup.database}  {backup.moment}  {labels}  {stored_bytes} bytes  {secrecy}"
        )
    if not found:
        say(f"there is no usable backup in {storage}")
    for warning in problems + unreadable:
        say(f"warning: {warning}")
    if unreadable:
        raise Problem(40, "some manifests are damaged")


def extract_to_stdout(backup: Backup, keys: Keys, object_name: str | None) -> None:
    """Stream one object to a pipe or file."""
    if sys.stdout.isatty():
        raise Problem(2, "--stdout writes an archive: send it to a file or a program")
    entries = [
        entry
        for entry in backup.objects
        if (
            entry.get("role") == "main"
            if object_name is None
            else object_name in (entry["name"], plain_name(entry))
        )
    ]
    if len(entries) != 1:
        names = ", ".join(plain_name(entry) for entry in backup.objects)
        raise Problem(
            60, f"{backup.folder.name} has no object {object_name or 'of role main'}; it has: {names}"
        )
    tables = [plain_name(entry) for entry in backup.objects if entry.get("role") == "table"]
    if tables and object_name is None:
        say(f"note: the rows of some tables are not in this object but in: {', '.join(tables)}")
    backup.verify(entries[0])
    started = False
    try:
        for block in backup.read(entries[0], keys, decompress=True):
            started = True
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except BaseException as error:
        if started:
            say("THE OUTPUT IS INCOMPLETE: what was written so far must not be used")
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing to flush at exit
            raise Problem(30, "the program reading the output ended early") from None
        raise


def extract_to_directory(backup: Backup, keys: Keys, output: Path, database: str) -> None:
    """Write every object into a new directory, which appears under its name only once all is well.

    ``database`` is what the printed commands call the restored one.
    """
    if os.path.lexists(output):
        raise Problem(70, f"{output} exists already: name a directory that does not")
    if not output.parent.is_dir():
        raise Problem(70, f"{output.parent} is not a directory")
    needed_bytes = sum(entry["plain_bytes"] for entry in backup.objects)
    if shutil.disk_usage(output.parent).free < needed_bytes:
        raise Problem(70, f"there is no space for {needed_bytes} bytes in {output.parent}")
    names = [plain_name(entry) for entry in backup.objects]
    if len(set(names)) != len(names) or "database.sql" in names:
        raise Problem(40, f"{backup.name} is damaged: two objects would have the same name")
    decompress = zstd_reader() is not None
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=str(output.parent)))  # 0700
    try:
        compressed = []
        for entry, plain in zip(backup.objects, names):  # noqa: B905 - `strict` is not in Python 3.9
            name = plain
            if ".zst" in entry["name"][len(plain) :] and not decompress:
                name = f"{plain}.zst"
                compressed.append(name)
            say(f"{entry['name']}: checking")
            backup.verify(entry)
            say(f"{entry['name']}: writing {name}")
            blocks = backup.read(entry, keys, decompress=decompress)
            if entry.get("role") == "globals" and name == plain:
                blocks = iter([repaired(b"".join(blocks).decode()).encode()])
            write_file(partial / name, blocks)
        write_file(partial / "database.sql", iter([database_sql(backup.manifest).encode()]))
        os.rename(partial, output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    print(how_to_restore(backup, output, compressed, database))


def write_file(path: Path, blocks: Iterator[bytes]) -> None:
    """A new file that only its owner can read, on the disk when this returns."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        for block in blocks:
            target.write(block)
        target.flush()
        os.fsync(target.fileno())


# --- what to do with the files ---


def how_to_restore(backup: Backup, output: Path, compressed: list[str], database: str) -> str:
    """The commands that make a database of the files, in order, and remove the files."""
    server = backup.manifest.get("server") or {}
    target, quoted = connection_option(database), shlex.quote
    lines = [
        f"Everything was whole; it is in {output}. To restore it beside what is there, as a PostgreSQL superuser",
        "(where needed with -h HOST -p PORT -U USER, or with PGHOST, PGPORT, PGUSER and PGPASSWORD set; tools of",
        f"version {server.get('version', '?')} or newer). They make a database {shown(database)}; if there is one of",
        "that name, extract again with --as NAME:",
        "",
        f"  cd {quoted(str(output))}",
        # The dump's amounts of type money are written in this locale, whatever the server's is.
        "  export PGOPTIONS='-c lc_monetary=C'",
    ]
    if compressed:
        lines.append("  # the program zstd is needed, here or on another machine: apt install zstd")
    lines += [f"  zstd -d --rm {quoted(name)}" for name in compressed]
    roles = {role: [plain_name(e) for e in backup.objects if e.get("role") == role] for role in ROLES}
    lines += [f"  psql -X -d postgres -f {quoted(name)}" for name in roles["globals"]]
    lines.append(f"  {createdb(database, server)}")
    if server.get("has_plpgsql") is False:  # every new database has it
        lines.append(f"  psql -X -d {target} -c 'DROP EXTENSION plpgsql'")
    restore = f"pg_restore --exit-on-error --no-tablespaces -d {target}"
    for name in roles["main"]:
        if not roles["table"]:
            lines.append(f"  {restore} {quoted(name)}")
            continue
        # Keys, indexes and triggers come last: after the rows of the tables that were dumped apart.
        lines.append(f"  {restore} --section=pre-data --section=data {quoted(name)}")
        lines += [f"  {restore} --section=data {quoted(table)}" for table in roles["table"]]
        lines.append(f"  {restore} --section=post-data {quoted(name)}")
    lines.append(f"  psql -X -v ON_ERROR_STOP=1 -d {target} -f database.sql")
    lines.append(f"  vacuumdb --analyze-only -d {target}")
    lines.append("  # these files are data in the clear, for whoever finds them: this deletes them")
    lines.append(f"  cd / && rm -r {quoted(str(output))}")
    lines.append("")
    lines.append(
        "Without superuser: leave out globals.sql and database.sql, add --no-owner --no-privileges to pg_restore."
    )
    return "\n".join(lines)


ROLES = ("globals", "main", "table")


def shown(name: str) -> str:
    """A name in a sentence, on one line whatever is in it."""
    return json.dumps(name, ensure_ascii=False)


def connection_option(database: str) -> str:
    """A database's name for -d, where one with `=` or blanks in it would be taken for a connection string."""
    if re.fullmatch(r"[A-Za-z0-9_]+", database):
        return database
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return shlex.quote(f"dbname='{escaped}'")


def createdb(database: str, server: Json) -> str:
    """createdb with the encoding and locale of the original (https://www.postgresql.org/docs/current/app-createdb.html)."""
    locale = server.get("locale")
    if not isinstance(locale, dict):
        locale = {"collate": locale, "ctype": locale}
    options = [
        ("--encoding", server.get("encoding")),
        ("--lc-collate", locale.get("collate")),
        ("--lc-ctype", locale.get("ctype")),
    ]
    if locale.get("provider") in ("icu", "builtin"):
        options.append(("--locale-provider", locale["provider"]))
        options.append((f"--{locale['provider']}-locale", locale.get("locale")))
    options.append(("--icu-rules", locale.get("rules")))
    options.append(("--owner", server.get("owner")))
    given = [f"{option}={shlex.quote(str(value))}" for option, value in options if value]
    return " ".join(["createdb --template=template0", *given, "--", shlex.quote(database)])


LIST_SETTINGS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
PRIVILEGES = ("CREATE", "CONNECT", "TEMPORARY")


def database_sql(manifest: Json) -> str:
    """What belongs to the database and is not in the dump: comment, settings, grants, limits."""
    server = manifest.get("server") or {}
    lines = ["-- For psql, connected to the restored database: its comment, settings and grants."]
    if server.get("comment"):
        lines.append(f'COMMENT ON DATABASE :"DBNAME" IS {literal(server["comment"])};')
    for setting in server.get("settings") or []:
        name, value = str(setting.get("name")), str(setting.get("value"))
        target = 'ALTER DATABASE :"DBNAME"'
        if setting.get("role"):
            target = f'ALTER ROLE {identifier(setting["role"])} IN DATABASE :"DBNAME"'
        lines.append(f"{target} SET {identifier(name)} TO {setting_value(name, value)};")
    if server.get("acl") is not None:
        lines.append('REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;')
        for grant in server["acl"]:
            if grant.get("privilege") in PRIVILEGES:
                to = "PUBLIC" if grant.get("grantee") is None else identifier(grant["grantee"])
                option = " WITH GRANT OPTION" if grant.get("grantable") else ""
                lines.append(f'GRANT {grant["privilege"]} ON DATABASE :"DBNAME" TO {to}{option};')
    limit = server.get("connection_limit", -1)
    if type(limit) is int and limit != -1:
        lines.append(f'ALTER DATABASE :"DBNAME" CONNECTION LIMIT {limit};')
    if server.get("is_template") is True:
        lines.append('ALTER DATABASE :"DBNAME" IS_TEMPLATE true;')
    return "\n".join(lines) + "\n"


def setting_value(name: str, value: str) -> str:
    """A stored setting as SQL: of a list, which is stored as quoted identifiers, each name as a text."""
    names: list[str] = []
    rest = value.strip(" \t\n\r\v\f") if name.lower() in LIST_SETTINGS else ""
    while rest:
        found = re.match(r'(?a)\s*(?:"((?:[^"]|"")*)"|([^,"\s][^,\s]*))\s*(,\s*(?=\S)|$)', rest)
        if found is None:
            return literal(value)
        names.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        rest = rest[found.end() :]
    return ", ".join(map(literal, names)) or literal(value)


STRING = r"(?:'(?:[^'\\]|'')*'| ?E'(?:[^'\\]|''|\\\\)*')"


def repaired(roles_sql: str) -> str:
    """globals.sql with lists such as search_path as SQL takes them: older releases wrote them as they are stored.

    Blocks are found one after the other from the beginning; the tag of each stands nowhere inside it.
    """

    def mended(block: re.Match[str]) -> str:
        found = re.fullmatch(
            rf"IF EXISTS \(SELECT FROM recyclic_created_roles WHERE rolname IN \({STRING}\)\) "
            r'THEN ALTER ROLE "(?:[^"]|"")*" SET "([^"]*)" TO (.*); END IF;',
            block[2],
            re.DOTALL,
        )
        if (
            not found
            or found[1].lower() not in LIST_SETTINGS
            or re.fullmatch(f"{STRING}(?:, {STRING})*", found[2])
        ):
            return block[0]
        body = block[2][: found.start(2)] + setting_value(found[1], found[2]) + block[2][found.end(2) :]
        return f"DO {block[1]} BEGIN {body} END {block[1]};"

    return re.sub(
        r"^DO (\$recyclic_*\$) BEGIN (.*?) END \1;$", mended, roles_sql, flags=re.MULTILINE | re.DOTALL
    )


def identifier(name: object) -> str:
    """A quoted SQL name."""
    doubled = str(name).replace('"', '""')
    return f'"{doubled}"'


def literal(text: object) -> str:
    """A quoted SQL text."""
    doubled = str(text).replace("'", "''").replace("\\", "\\\\")
    return f" E'{doubled}'"


# --- the command line ---


def arguments() -> argparse.Namespace:
    """What the person asked for."""
    parser = argparse.ArgumentParser(description="Get PostgreSQL dumps out of this backup storage.")
    parser.add_argument(
        "--storage",
        type=Path,
        default=Path(__file__).resolve().parent,
        help="default: where this script lies",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="show the backups; needs no key")
    extract = commands.add_parser("extract", help="check, decrypt and decompress a backup")
    extract.add_argument("backup_id", help="as `list` shows it, or: latest")
    for command in (listing, extract):
        command.add_argument("--database", help="only this database's backups")
    target = extract.add_mutually_exclusive_group(required=True)
    target.add_argument("--output", type=Path, help="a directory that does not exist yet")
    target.add_argument("--stdout", action="store_true", help="write one object to standard output")
    extract.add_argument(
        "--as", dest="name", metavar="NAME", help="with --output: what the restored database is to be called"
    )
    extract.add_argument("--object", help="with --stdout: which object (default: the main dump)")
    asked = parser.parse_args()
    if asked.command == "extract" and asked.object and not asked.stdout:
        parser.error("--object goes with --stdout")
    if asked.command == "extract" and asked.name is not None:
        if asked.stdout:
            parser.error("--as goes with --output")
        # https://www.postgresql.org/docs/current/limits.html: longer names are cut without a word.
        if not 1 <= len(os.fsencode(asked.name)) <= 63:
            parser.error("--as: the name of a database has 1 to 63 bytes")
    return asked


def run(asked: argparse.Namespace) -> None:
    """Do what was asked for."""
    storage = asked.storage.resolve()
    if not storage.is_dir():
        raise Problem(30, f"{storage} is not a directory")
    if asked.command == "list":
        list_backups(storage, asked.database)
        return
    keys = Keys(storage)
    backup = chosen(storage, asked.backup_id, asked.database)
    say(f"{backup.folder.name} of {backup.database}, as of {backup.moment}")
    backup.authenticate(keys)
    if asked.stdout:
        extract_to_stdout(backup, keys, asked.object)
    else:
        output = Path(os.path.abspath(asked.output))
        extract_to_directory(backup, keys, output, asked.name or backup.database)


def stopped(number: int, _frame: object) -> NoReturn:
    """Leave by an exception, so that what is half written is removed."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run, and turn problems into a sentence and an exit code."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stopped)
    try:
        run(arguments())
    except Problem as problem:
        say(f"error: {problem}")
        return problem.exit_code
    except OSError as error:
        say(f"error: {error}")
        return 30
    except MemoryError:
        say("error: there is not enough memory (deriving a key from a text takes 128 MiB)")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
