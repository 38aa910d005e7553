#!/usr/bin/env python3
"""Get PostgreSQL dumps out of this backup storage, without the software that wrote them.

    python3 -I recover.py list
    python3 -I recover.py extract latest --output DIRECTORY
    python3 -I recover.py extract latest --output DIRECTORY --as NAME
    python3 -I recover.py extract BACKUP_ID --stdout | pg_restore ...
    python3 -I recover.py cluster --into DIRECTORY --to-time "2026-11-22 14:31:07+01:00"

Needs Python 3.9 or newer; for encrypted backups also the package `cryptography`; for compressed ones any of:
Python 3.14, the packages `zstandard` or `backports.zstd`, the program `zstd`. RECOVERY.md tells the rest, also how to
see that this file is the one that was put here. It is one self-contained file, meant to be read: it follows
docs/format/ of recyclic_backups. Whatever it reads may have been put there by somebody else: names, sizes, links.

Exit codes: 0 done, 1 unexpected, 2 usage, 10 something must be installed or set, 30 disk, 40 data damaged,
41 no usable key, 60 no such backup, 70 refused (the target exists, there is no space, nothing signed it).
"""

# Python looks for modules in the folder of a script first, and this one may lie in a storage where others write: a
# file `argparse.py` beside it would run, with the key. `python3 -I` looks there not at all; this is for those who
# forgot it. Nothing may be imported before it but `sys`, which is built in: also not `from __future__`.
import sys

if __name__ == "__main__":
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[0]
    sys.path[:] = [entry for entry in sys.path if entry not in ("", ".", __file__.rpartition("/")[0])]

import argparse
import base64
import contextlib
import errno
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
import stat
import struct
import subprocess
import tarfile
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, Optional
from urllib.parse import quote, unquote

Json = dict[str, Any]
BLOCK_BYTES = 1024 * 1024
MOST_MANIFEST_BYTES = 128 * 1024 * 1024
MOST_TOMBSTONE_BYTES = 4 * 1024 * 1024
MOST_DOCUMENT_BYTES = 64 * 1024  # of every other document that is read here
MOST_LEVELS = 64  # of a document: objects and arrays within each other
MOST_DIGITS = 64  # of a number in a document
MOST_VALUES = 4_000_000  # in a document: a few bytes of JSON become objects of hundreds
MOST_KEYS = 100  # of a storage: each takes its time to try
MOST_COSTLY_KEYS = 4  # of those that take longer than ours: up to ten seconds and 1 GiB each
OUR_SCRYPT_COST = 2**17  # n times p of what is written
BACKUP_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[A-Z2-7]{6}")
KEY_ID = re.compile(r"[0-9a-f]{16}")
SERVER = re.compile(r"server\.([0-9]{1,20})")
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")
# Beyond these some time zone cannot say it: dated so, a backup would be the latest for ever.
EARLIEST, LATEST = "0001-01-02T00:00:00.000000Z", "9999-12-31T09:59:59.999999Z"


class Problem(Exception):
    """One sentence for the person at the keyboard, and the exit code."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Missing(Problem):
    """There is no such file in the storage."""

    def __init__(self, name: str) -> None:
        super().__init__(40, f"{name} is missing")


class Unsigned(Problem):
    """A document that nobody who has the keys vouches for, in a storage that has keys."""

    def __init__(self, message: str, mark: str = "UNSIGNED") -> None:
        super().__init__(70, message)
        self.mark = mark


# --- what people read ---


def visible(text: str) -> str:
    """The text on one line, harmless on a terminal: what does not print is spelled out, as ``\\x1b`` or ``\\u202e``."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def say(text: str) -> None:
    """Tell the person something; stdout is for results only."""
    print(visible(text), file=sys.stderr, flush=True)


def result(line: str) -> None:
    """One line of the result."""
    print(visible(line))


def shown(name: str) -> str:
    """A name within a sentence."""
    return visible(json.dumps(name, ensure_ascii=False))


# --- reading the storage: no link is followed, nothing but a regular file is opened ---


class Storage:
    """The folder with the backups. Itself it may be reached by a link; below it none is followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str) -> int:
        """A descriptor of a folder; "" is the root."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        for part in name.split("/") if name else []:
            try:
                deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError as error:
                raise refused(error, name) from None
            finally:
                os.close(descriptor)
            descriptor = deeper
        return descriptor

    def open(self, name: str) -> BinaryIO:
        """A regular file. Raises Missing; Problem for a link, a device or whatever else is in its place."""
        folder, _, last = name.rpartition("/")
        above = self.folder(folder)
        try:
            # A FIFO without a writer would be waited for, were it opened without O_NONBLOCK.
            file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=above)
        except OSError as error:
            raise refused(error, name) from None
        finally:
            os.close(above)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise Problem(40, f"{name} is no regular file: it was put there by somebody else, or is damaged")
        return os.fdopen(file, "rb")

    def small(self, name: str, most_bytes: int) -> bytes:
        """The content of a document, which is never large."""
        with self.open(name) as source:
            data = source.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise Problem(40, f"{name} is damaged: it is larger than {most_bytes} bytes")
        return data

    def names(self, folder: str) -> list[str]:
        """What is in a folder, sorted; nothing if it is not there. Raises Problem where a link is in its place."""
        try:
            descriptor = self.folder(folder)
        except Missing:
            return []
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def document(self, name: str, most_bytes: int = MOST_DOCUMENT_BYTES) -> Json:
        """A JSON object from a file."""
        return document_of(self.small(name, most_bytes), name)


def refused(error: OSError, name: str) -> Problem:
    """What it means that a file or folder below the root could not be opened."""
    if error.errno == errno.ENOENT:
        return Missing(name)
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
        return Problem(40, f"{name} leads over a link, or over what is no folder: nothing there is followed")
    if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENAMETOOLONG):
        return Problem(40, f"{name} is no regular file: it was put there by somebody else, or is damaged")
    return Problem(30, f"{name} cannot be read: {error.strerror}")


# --- documents (docs/format/documents.md) ---


def canonical(document: Json) -> bytes:
    """The one spelling of a document that MACs and hashes are taken of."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def without(document: Json, *names: str) -> Json:
    """A copy of the document without some of its fields."""
    return {name: value for name, value in document.items() if name not in names}


def document_of(data: bytes, name: str) -> Json:
    """The JSON object that these bytes are. Readers must agree on what it says, so much is refused."""

    def no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    def short(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise ValueError("a number has too many digits")
        return int(digits)

    try:
        if max(data.count(b","), data.count(b"[") + data.count(b"{")) > MOST_VALUES:
            raise ValueError("it has too many values")
        document = json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates, parse_int=short)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        level: list[Any] = [document]
        for _ in range(MOST_LEVELS):
            level = [
                inner
                for each in level
                for inner in (each.values() if isinstance(each, dict) else each)
                if isinstance(inner, (dict, list))
            ]
        if level:
            raise ValueError(f"it is nested deeper than {MOST_LEVELS} levels")
        canonical(document)  # refuses numbers that are not finite, and lone surrogates
    except (ValueError, RecursionError) as error:
        raise Problem(40, f"{name} is damaged: {error}") from None
    return document


def check_document(document: Json, name: str, keys: "Keys", encrypted: bool = False) -> None:
    """Return if the document is what was written for this storage name: by its MAC, or by its SHA-256.

    That of an encrypted backup has a MAC. Raises Unsigned for what somebody else may have written: one that has no MAC
    where the storage asks for them, or one by a key or of a storage that is not this one. Problem for the rest.
    """
    if "mac" in document or encrypted:
        check_mac(document, name, keys)
        if document["mac"]["key_id"] not in keys.belonging():
            raise Unsigned(
                f"{name} was signed with a key of another storage, or with one that somebody planted",
                "OF ANOTHER STORAGE",
            )
        if keys.storage_id is not None and document.get("storage_id") not in (None, keys.storage_id):
            raise Unsigned(f"{name} was written into another storage, and copied here", "OF ANOTHER STORAGE")
        return
    message = name.encode() + b"\x00" + canonical(without(document, "sha256"))
    if document.get("sha256") != hashlib.sha256(message).hexdigest():
        raise Problem(
            40, f"{name} was edited, damaged or moved: it has no MAC, and its SHA-256 is missing or wrong"
        )
    if keys.asked_for():
        raise Unsigned(f"{name} carries no MAC, though the storage has keys: anybody may have put it there")


def check_mac(document: Json, name: str, keys: "Keys") -> None:
    """Return if the document was signed for this storage name and not edited since."""
    mac = document.get("mac")
    if (
        not isinstance(mac, dict)
        or set(mac) != {"key_id", "hmac_sha256"}  # the MAC does not cover itself
        or not isinstance(mac["hmac_sha256"], str)
        or not isinstance(mac["key_id"], str)
        or not KEY_ID.fullmatch(mac["key_id"])
        or not re.fullmatch(r"[0-9a-f]{64}", mac["hmac_sha256"])
    ):
        raise Problem(40, f"{name} has no proper MAC: it was edited or damaged")
    if "sha256" in document:
        raise Problem(40, f"{name} has both a MAC and a SHA-256: it was edited or damaged")
    key = derived(keys.open(mac["key_id"]), "recyclic_backups/document/1/mac")
    message = name.encode() + b"\x00" + canonical(without(document, "mac"))
    expected = hmac.new(key, message, "sha256").hexdigest()
    if not hmac.compare_digest(expected.encode(), mac["hmac_sha256"].encode()):
        raise Problem(40, f"{name} was edited, damaged or moved: its MAC is wrong")


# --- keys (docs/format/keys.md) ---


def aes_gcm(key: bytes) -> Any:
    """The cipher, from the one package this file cannot do without."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise Problem(
            10,
            "this needs the Python package `cryptography`: pip install cryptography (in a virtual environment, or for "
            "all users: `python3 -I` does not look where pip install --user puts it)",
        ) from None
    return AESGCM(key)


def decrypt(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> Optional[bytes]:
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


def full_entropy(passphrase: str) -> Optional[bytes]:
    """The 32 bytes whose base64 this is, or None for a text."""
    standard = passphrase.replace("-", "+").replace("_", "/")
    if len(standard) != 44 or (standard != passphrase and ("+" in passphrase or "/" in passphrase)):
        return None
    try:
        key = base64.b64decode(standard.encode("ascii"), validate=True)
    except ValueError:
        return None
    return key if len(key) == 32 and base64.b64encode(key).decode() == standard else None


def base64_of(value: Any, length_bytes: int) -> bytes:
    """Bytes from standard base64, exactly this many and in the one spelling."""
    if not isinstance(value, str):
        raise ValueError("a field is no text")
    data = base64.b64decode(value.encode("ascii"), validate=True)
    if len(data) != length_bytes or base64.b64encode(data).decode() != value:
        raise ValueError("a field has the wrong length")
    return data


def root_key(passphrase: str, derivation: Json) -> Optional[bytes]:
    """What a key file derives from a passphrase; None if it is of the other kind."""
    salt = base64_of(derivation["salt"], 32)
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
    """The storage's data keys, opened with the person's passphrases, which are asked for when first needed.

    ``storage_id`` is known once :meth:`belonging` was asked, and None in storages older than that.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.passphrases: list[str] = []
        self.opened: dict[str, bytes] = {}
        self.failed: dict[str, Problem] = {}
        self.opened_by_current: set[str] = set()
        self.opened_by_former: set[int] = set()  # the numbers of the passphrases that opened something
        self.costly = 0
        self.storage_id: Optional[str] = None
        self.made_for: dict[str, Optional[str]] = {}  # the storage id in each key file
        self.own: Optional[set[str]] = None

    def names(self) -> list[str]:
        """The ids of the keys that have a file."""
        found = self.storage.names("keys")
        return [name[:16] for name in found if re.fullmatch(r"[0-9a-f]{16}\.json", name)]

    def asked_for(self) -> bool:
        """Whether documents of this storage must carry a MAC: it has keys, or the person has one for it."""
        return is_key_given() or bool(self.names()) or "storage.json" in self.storage.names("")

    def open(self, key_id: str) -> bytes:
        """The data key of this id. Raises Problem, the same one each time: trying a passphrase takes its time."""
        if key_id in self.failed:
            raise self.failed[key_id]
        if key_id not in self.opened:
            try:
                self.opened[key_id] = self.opened_now(key_id)
            except Problem as problem:
                self.failed[key_id] = problem
                raise
        return self.opened[key_id]

    def opened_now(self, key_id: str) -> bytes:
        """The same, without memory."""
        name = f"keys/{key_id}.json"
        try:
            document = self.storage.document(name)
        except Missing:
            raise Problem(
                41, f"the key file {name} is missing: put back a copy, no passphrase helps without it"
            ) from None
        try:
            data_key = self.unwrap(document, key_id)
        except (KeyError, TypeError, ValueError) as error:
            raise Problem(40, f"the key file {name} is damaged: {error}") from None
        self.made_for[key_id] = document.get("storage_id")
        return data_key

    def unwrap(self, document: Json, key_id: str) -> bytes:
        """The data key in a key file. Raises ValueError and its like when the file is damaged."""
        if document.get("sha256") != hashlib.sha256(canonical(without(document, "sha256"))).hexdigest():
            raise ValueError("its SHA-256 is wrong")
        if document["format"] != 1 or document["key_id"] != key_id:
            raise ValueError("its format or key id is not the expected one")
        nonce, wrapped = base64_of(document["nonce"], 12), base64_of(document["wrapped_key"], 48)
        if not re.fullmatch(r"[0-9a-f]{64}", document["commitment"]):
            raise ValueError("its commitment is malformed")
        if not self.passphrases:
            self.passphrases = passphrases()
        derivation = document["derivation"]
        if derivation["name"] == "scrypt" and int(derivation["n"]) * int(derivation["p"]) > OUR_SCRYPT_COST:
            self.costly += 1
            if self.costly > MOST_COSTLY_KEYS:
                raise Problem(
                    41, f"key {key_id} costs more to open than ours, as those before it: it is not tried"
                )
        for passphrase in self.passphrases:
            root = root_key(passphrase, document["derivation"]) if passphrase else None
            if root is None:
                continue
            commitment = expand_key(root, "recyclic_backups/key/1/commitment").hex()
            if not hmac.compare_digest(commitment, document["commitment"]):
                continue
            bound = b"recyclic_backups/key/1\x00" + canonical(without(document, "wrapped_key", "sha256"))
            data_key = decrypt(expand_key(root, "recyclic_backups/key/1/wrap"), nonce, wrapped, bound)
            if data_key is None or derived(data_key, "recyclic_backups/key/1/id")[:8].hex() != key_id:
                raise ValueError("the passphrase is right, but the file was edited")
            if passphrase == self.passphrases[0]:
                self.opened_by_current.add(key_id)
            else:
                self.opened_by_former.add(self.passphrases.index(passphrase))
            return data_key
        raise Problem(
            41,
            f"no given passphrase opens key {key_id}: set BACKUP_ENCRYPTION_KEY to the right one"
            + (FILE_GIVEN if any(is_file_name(text) for text in self.passphrases) else ""),
        )

    def belonging(self) -> set[str]:
        """The keys that are this storage's own: what another one signed, is of another storage.

        One passphrase may open two storages, and whoever knows a former one can wrap a key of his own with it.
        """
        if self.own is None:
            own = self.find_belonging()
            doubt = self.doubt()
            if doubt:
                say(
                    f"warning: {doubt}: whoever knows a former passphrase may have put his own key in the place of ours"
                )
            self.own = set() if doubt else own
        return self.own

    def doubt(self) -> str:
        """Why former passphrases may not say which keys belong, where the current one opens none; "" if they may."""
        if not self.opened or self.opened_by_current or not any(self.passphrases[:1]):
            return ""
        if len(self.opened_by_former) > 1:
            return "BACKUP_ENCRYPTION_KEY opens no key, and two former passphrases do"
        for folder in self.storage.names(""):
            with contextlib.suppress(Problem, OSError):
                kind = "base" if SERVER.fullmatch(folder) else "backups"
                for backup_id in self.storage.names(f"{folder}/{kind}"):
                    with contextlib.suppress(Problem, OSError):
                        name = f"{folder}/{kind}/{backup_id}/manifest.json"
                        mac = self.storage.document(name, MOST_MANIFEST_BYTES).get("mac")
                        if isinstance(mac, dict) and str(mac.get("key_id")) not in self.opened:
                            return (
                                "only a former passphrase opens keys, and backups are sealed with another key"
                            )
        return ""

    def find_belonging(self) -> set[str]:
        """The rules of docs/format/keys.md, "Which keys belong to the storage"."""
        listed = self.keys_listed()
        if listed is None:
            problems = []
            for key_id in self.names()[:MOST_KEYS]:
                try:
                    self.open(key_id)
                except Problem as problem:
                    if problem.exit_code not in (40, 41):
                        raise
                    problems.append(problem)
            if not self.opened:
                raise (
                    problems[0]
                    if problems
                    else Problem(41, "the storage has no key file: put back a copy of keys/")
                )
            listed = self.keys_listed(all_tried=True)
        if listed is not None:
            return listed
        leading = self.opened_by_current or set(self.opened)
        named = {self.made_for.get(key_id) for key_id in leading} - {None}
        if len(named) > 1:
            say(
                "warning: the files in keys/ are of several storages, and no valid storage.json says which is this one"
            )
            return set()
        if not named:
            return leading
        self.storage_id = named.pop()
        return {key_id for key_id in leading if self.made_for.get(key_id) == self.storage_id}

    def keys_listed(self, all_tried: bool = False) -> Optional[set[str]]:
        """What ``storage.json`` says, if it is there and signed with a leading key, else None.

        A key that the current passphrase opens is leading whatever the others are. If it is another one, all have to be
        tried first: somebody may have planted thousands, each of which takes time.
        """
        try:
            document = self.storage.document("storage.json")
            listed, storage_id, mac = document.get("keys"), document.get("storage_id"), document.get("mac")
            if (
                document.get("format") != 1
                or not isinstance(mac, dict)
                or not isinstance(storage_id, str)
                or not re.fullmatch(r"[0-9a-f]{32}", storage_id)
                or not isinstance(listed, list)
                or not all(isinstance(key_id, str) and KEY_ID.fullmatch(key_id) for key_id in listed)
                or listed != sorted(set(listed))
                or mac.get("key_id") not in listed
            ):
                raise Problem(40, "storage.json is damaged: it does not say which storage this is")
            with contextlib.suppress(Problem):
                self.open(mac["key_id"])
            if mac["key_id"] not in (self.opened_by_current or (set(self.opened) if all_tried else set())):
                raise Problem(40, "storage.json is signed with a key that the given passphrase does not open")
            check_mac(document, "storage.json", self)
        except Missing:
            return None
        except Problem as problem:
            if problem.exit_code not in (40, 41):
                raise
            if all_tried:
                say(f"warning: {problem}; it is passed over")
            return None
        self.storage_id = storage_id
        return set(listed)


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


SECRETS = ("BACKUP_ENCRYPTION_KEY", "BACKUP_ENCRYPTION_OLD_KEYS")


def passphrases() -> list[str]:
    """Every passphrase that the environment or the person gives. The first is the current one, "" if there is none."""
    given, old = [secret(SECRETS[0])], secret(SECRETS[1])
    if not given[0] and not old:
        if not (sys.stdin.isatty() or sys.stderr.isatty()):
            raise Problem(41, "this needs the key: set BACKUP_ENCRYPTION_KEY or BACKUP_ENCRYPTION_KEY_FILE")
        import getpass

        given = [getpass.getpass("Encryption key (BACKUP_ENCRYPTION_KEY): ")]
    # One a line, or separated by commas; a single sentence may also have commas of its own.
    given += old.splitlines() if "\n" in old else [*old.split(","), old]
    current, *former = (unicodedata.normalize("NFC", text).strip() for text in given)
    return [current, *dict.fromkeys(text for text in former if text and text != current)]


def is_key_given() -> bool:
    """Whether the environment has a passphrase: `list` asks nobody for one."""
    return any(os.environ.get(name) or os.environ.get(f"{name}_FILE") for name in SECRETS)


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

MOST_WINDOW_BYTES = 32 * 1024 * 1024  # what is written needs 8 MiB


def whole_frames(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The same blocks, if they are whole zstd frames (RFC 8878, 3.1): decompressors end quietly in the middle of one.

    Only the frames' skeleton is looked at: headers, and how long each block is. Raises Problem.
    """

    def bad(what: str) -> Problem:
        return Problem(40, f"the compressed data of {name} are damaged: {what}")

    part, needed, head, skip, frames, checksum = "frame", 4, b"", 0, 0, 0
    for block in blocks:
        at = 0
        while at < len(block):
            if skip:
                step = min(skip, len(block) - at)
                at, skip = at + step, skip - step
                continue
            taken = block[at : at + needed - len(head)]
            at, head = at + len(taken), head + taken
            if len(head) < needed:
                break
            number = int.from_bytes(head, "little")
            if part == "frame":
                if number & 0xFFFFFFF0 == 0x184D2A50:
                    part, needed = "skippable", 4
                elif number == 0xFD2FB528:
                    part, needed = "descriptor", 1
                else:
                    raise bad("there is something that is no zstd frame")
            elif part == "skippable":
                part, needed, skip, frames = "frame", 4, number, frames + 1
            elif part == "descriptor":
                if number & 0x08:
                    raise bad("a reserved bit is set")
                checksum, single = 4 * (number >> 2 & 1), number >> 5 & 1
                dictionary, size = (0, 1, 2, 4)[number & 3], (single, 2, 4, 8)[number >> 6]
                part, needed = "header", (1 - single) + dictionary + size
            elif part == "header":
                window = (8 + (head[0] & 7)) << (7 + (head[0] >> 3))
                if single:
                    window = int.from_bytes(head[dictionary:], "little") + (256 if size == 2 else 0)
                if window > MOST_WINDOW_BYTES:
                    raise bad("reading them would take too much memory")
                part, needed = "block", 3
            else:
                kind, skip = number >> 1 & 3, number >> 3
                if kind == 3 or skip > 128 * 1024:
                    raise bad("a block is malformed")
                skip = 1 if kind == 1 else skip
                if number & 1:
                    part, needed, skip, frames = "frame", 4, skip + checksum, frames + 1
            head = b""
        yield block
    if part != "frame" or head or skip or not frames:
        raise bad("they are cut short")


class Pulled:
    """Blocks as the file that decompressors want to read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks = blocks
        self.rest = memoryview(b"")

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        """At most ``size`` bytes."""
        while not self.rest:
            block = next(self.blocks, None)
            if block is None:
                return b""
            self.rest = memoryview(block)
        piece, self.rest = self.rest[:size], self.rest[size:]
        return bytes(piece)


def zstd_reader() -> Optional[Callable[[Iterator[bytes]], Iterator[bytes]]]:
    """What decompresses here, or None."""
    for module_name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(module_name)
            return lambda blocks: blocks_of(module.ZstdFile(Pulled(blocks)))
    with contextlib.suppress(ImportError):
        zstandard = importlib.import_module("zstandard")
        return lambda blocks: blocks_of(
            zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW_BYTES).stream_reader(
                Pulled(blocks), read_across_frames=True
            )
        )
    # Programs are looked for where the system has them: not in the current folder, which may be the storage.
    folders = [
        folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)
    ]
    program = shutil.which("zstd", path=os.pathsep.join(folders)) if folders else None
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
        [program, "-d", "-c", "-q"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", os.defpath)},  # the key is none of its business
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


# --- backups ---

ROLES = ("globals", "main", "table")


class Objects:
    """Objects in one folder, each of them sealed for ``bound`` and for its own name."""

    def __init__(self, storage: Storage, folder: str, bound: str) -> None:
        self.storage, self.folder, self.bound = storage, folder, bound

    def verify(self, entry: Json) -> None:
        """Compare size and SHA-256 of a stored object, before any key is tried on it."""
        seen, size = hashlib.sha256(), 0
        with self.storage.open(f"{self.folder}/{entry['name']}") as source:
            stored_bytes = os.fstat(source.fileno()).st_size
            if stored_bytes == entry["stored_bytes"]:
                for block in blocks_of(source):
                    seen.update(block)
                    size += len(block)
                    if size > entry["stored_bytes"]:
                        break
        if stored_bytes != entry["stored_bytes"] or size != stored_bytes:
            raise Problem(
                40, f"{entry['name']} is damaged: {stored_bytes} bytes, not {entry['stored_bytes']}"
            )
        if seen.hexdigest() != entry["stored_sha256"]:
            raise Problem(40, f"{entry['name']} is damaged: its SHA-256 is not the manifest's")

    def read(self, entry: Json, keys: Keys, *, decompress: bool) -> Iterator[bytes]:
        """The object's plaintext in blocks; compressed as it is if ``decompress`` is false."""
        compressed = entry["name"].endswith((".zst", ".zst.sealed"))
        blocks = self.blocks(entry["name"], keys, decompress=decompress)
        return blocks if compressed and not decompress else counted(blocks, entry)

    def blocks(
        self,
        name: str,
        keys: Keys,
        *,
        decompress: bool = True,
        begins: Optional[Callable[[bytes], None]] = None,
    ) -> Iterator[bytes]:
        """The same of any object, however long it is. ``begins`` is told the first 24 bytes before decompression."""
        with self.storage.open(f"{self.folder}/{name}") as source:
            blocks = blocks_of(source)
            if name.endswith(".sealed"):
                blocks = unsealed(source, keys, self.bound, name)
            if not name.endswith((".zst", ".zst.sealed")):
                yield from blocks
                return
            frames = whole_frames(blocks if begins is None else told(blocks, begins), name)
            if not decompress:
                yield from frames
                return
            reader = zstd_reader()
            if reader is None:
                raise Problem(10, "nothing here decompresses zstd: install `zstd` or `pip install zstandard`")
            yield from reader(frames)
            for _ in frames:
                pass  # what the decompressor had no need of must be whole as well


def told(blocks: Iterator[bytes], begins: Callable[[bytes], None]) -> Iterator[bytes]:
    """The same blocks, after ``begins`` was told their first 24 bytes."""
    begin = b""
    for block in blocks:
        begin += block
        if len(begin) >= 24:
            break
    begins(begin[:24])
    yield begin
    yield from blocks


class Backup(Objects):
    """One backup that has a readable manifest. Nothing in it is to be believed before :meth:`authenticate`."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self.id = folder.rpartition("/")[2]
        super().__init__(storage, folder, self.id)
        self.name = f"{folder}/manifest.json"
        self.database = database_of(folder.partition("/")[0]) or ""
        self.manifest = storage.document(self.name, MOST_MANIFEST_BYTES)
        if self.manifest.get("format") not in (1, 2):
            raise Problem(40, f"{self.name} has a format that this script does not know")
        if self.manifest["format"] == 2 and self.manifest.get("encryption") is None:
            raise Problem(40, f"{self.name} is sealed, and says that its backup is not encrypted")
        if self.manifest.get("backup_id") != self.id or self.manifest.get("database") != self.database:
            raise Problem(40, f"{self.name} is not the manifest of this backup")
        if not isinstance(self.manifest.get("encryption"), (dict, type(None))):
            raise Problem(40, f"{self.name} is damaged: it does not say how it is encrypted")
        if not MOMENT.fullmatch(str(self.manifest.get("as_of"))) or not EARLIEST <= self.as_of <= LATEST:
            raise Problem(40, f"{self.name} is damaged: it does not say of when it is")
        objects = self.manifest.get("objects")
        if not isinstance(objects, list) or not all(is_object(entry) for entry in objects):
            raise Problem(40, f"{self.name} is damaged: its list of objects is malformed")
        if len({plain_name(entry).lower() for entry in objects}) != len(objects):
            raise Problem(40, f"{self.name} is damaged: two objects would have the same name")
        self.objects: list[Json] = objects

    @property
    def as_of(self) -> str:
        """When the dump is of: UTC with microseconds, so that it sorts as text."""
        return sortable(self.manifest["as_of"])

    @property
    def moment(self) -> str:
        """The same for people: ``2026-11-22 01:00:03 UTC``."""
        return for_people(self.as_of)

    @property
    def encrypted(self) -> bool:
        """Whether any of it needs a key."""
        sealed = any(entry["name"].endswith(".sealed") for entry in self.objects)
        return sealed or self.manifest.get("encryption") is not None

    def authenticate(self, keys: Keys) -> None:
        """Return if the manifest is what was written. Raises Unsigned if nobody with the keys says so, or Problem."""
        check_document(self.manifest, self.name, keys, encrypted=self.encrypted)
        encryption, mac = self.manifest.get("encryption"), self.manifest.get("mac")
        if encryption is not None and encryption.get("key_id") != (mac or {}).get("key_id"):
            raise Problem(40, f"{self.name} was signed with another key than its backup's")

    def open_manifest(self, keys: Keys) -> None:
        """Put what is sealed in a manifest of format 2 where format 1 has it: owner, settings, locale and the like."""
        if self.manifest["format"] != 2:
            return
        try:
            stored = base64.b64decode(self.manifest["sealed"], validate=True)
            # Bytes 14 to 21 of the header are the key id: what is sealed is opened by the key of its backup only.
            if stored[14:22].hex() != self.manifest["encryption"]["key_id"]:
                raise ValueError("another key")
        except (KeyError, TypeError, ValueError):
            raise Problem(40, f"{self.name} is damaged: what is sealed in it is malformed") from None
        # No object can be called manifest.json: what is sealed under that name was made for this place.
        plain = b"".join(unsealed(io.BytesIO(stored), keys, self.id, "manifest.json"))
        hidden = document_of(plain, f"what is sealed in {self.name}")
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

    @property
    def tombstone(self) -> str:
        """Where it would be said that the backup was deleted."""
        return f"{self.folder.partition('/')[0]}/tombstones/{self.id}.json"

    def is_deleted(self, keys: Keys) -> bool:
        """Whether a tombstone says so that was written by whoever has the keys; others are told, and hide nothing."""
        try:
            document = self.storage.document(self.tombstone, MOST_TOMBSTONE_BYTES)
            check_document(document, self.tombstone, keys)
            if document.get("backup_id") != self.id:
                raise Problem(40, f"{self.tombstone} is of another backup")
        except Missing:
            return False
        except Problem as problem:
            if problem.exit_code not in (40, 41, 70):
                raise
            say(f"warning: a tombstone that proves nothing, and hides nothing: {problem}")
            return False
        return True


def sortable(moment: object) -> str:
    """A moment of a document with microseconds, so that it sorts as text."""
    second, _, fraction = str(moment)[:-1].partition(".")
    return f"{second}.{fraction:0<6}Z"


def for_people(moment: str) -> str:
    """The same for people: ``2026-11-22 01:00:03 UTC``."""
    return re.sub(r"^(\S{10})T(\d\d:\d\d:\d\d)(\.\d+)?Z$", r"\1 \2 UTC", moment)


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


def is_object(entry: object, roles: tuple[str, ...] = ROLES) -> bool:
    """Whether an entry of a manifest's ``objects`` is one, with a name that stays in its folder."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", entry["name"]) is not None
        and entry["name"] not in ("manifest.json", "checks")
        and plain_name(entry) not in ("", "database.sql")
        and entry.get("role") in roles
        and all(
            type(entry.get(name)) is int and 0 <= entry[name] < 2**63
            for name in ("plain_bytes", "stored_bytes")
        )
        and isinstance(entry.get("stored_sha256"), str)
        and re.fullmatch(r"[0-9a-f]{64}", entry["stored_sha256"]) is not None
    )


def plain_name(entry: Json) -> str:
    """The object's name once it is unsealed and decompressed."""
    return re.sub(r"(\.zst)?(\.sealed)?$", "", str(entry["name"]), count=1)


def database_of(folder: str) -> Optional[str]:
    """The database that a folder of the storage belongs to; None if it can be no database's."""
    try:
        name = unquote(folder, errors="strict")
    except ValueError:
        return None
    spelled = quote(name, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    return name if spelled == folder and folder not in ("", "keys") else None


def backups_of(storage: Storage, database: Optional[str]) -> tuple[list[Backup], list[Problem]]:
    """Every backup with a readable manifest, newest first, and what is wrong with the others."""
    found: list[Backup] = []
    problems: list[Problem] = []
    for folder in storage.names(""):
        of = database_of(folder)
        if of is None or (database is not None and of != database):
            continue
        try:
            names = storage.names(f"{folder}/backups")
        except Problem as problem:
            if not stat.S_ISREG(os.lstat(storage.root / folder).st_mode):  # a stray file is no database
                problems.append(problem)
            continue
        for name in names:
            if not BACKUP_ID.fullmatch(name):
                continue
            try:
                found.append(Backup(storage, f"{folder}/backups/{name}"))
            except Missing:
                continue  # without a manifest it is no backup: one was being written, or deleted
            except Problem as problem:
                problems.append(problem)
    return sorted(found, key=lambda backup: (backup.as_of, backup.id), reverse=True), problems


UNSIGNED_HINT = (
    "if you know who wrote it (as from before encryption was turned on), extract it by its id with --unsigned"
)
DELETED_HINT = "it may be gone in part; what is still there is extracted with --deleted"


def is_believed(backup: Backup, keys: Keys) -> bool:
    """Whether somebody with the keys vouches for it."""
    try:
        backup.authenticate(keys)
    except Problem:
        return False
    return True


def newest(storage: Storage, keys: Keys, database: Optional[str]) -> Backup:
    """The newest usable backup, of the one database there is. What cannot be believed is told, and passed over."""
    found, problems = backups_of(storage, database)
    for problem in problems:
        say(f"warning: {problem}")
    newest_of: dict[str, Backup] = {}
    for backup in found:
        if backup.database in newest_of or not any(entry["role"] == "main" for entry in backup.objects):
            continue
        try:
            backup.authenticate(keys)
            if not backup.is_deleted(keys):
                newest_of[backup.database] = backup
        except Problem as problem:
            if problem.exit_code not in (40, 41, 70):
                raise
            say(f"warning: {backup.id} is passed over: {problem}")
            problems.append(problem)
    if len(newest_of) > 1:
        names = ", ".join(shown(name) for name in sorted(newest_of))
        raise Problem(2, f"there are several databases, say which with --database: {names}")
    if not newest_of:
        if problems:
            raise next((problem for problem in problems if problem.exit_code == 41), problems[0])
        raise Problem(60, f"there is no usable backup in {storage.root}")
    backup = next(iter(newest_of.values()))
    if backup.as_of > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 300)):
        say(
            f"warning: {backup.id} is of the future by this machine's clock: that is wrong, or another was then, and "
            "what `list` shows below it may be newer"
        )
    return backup


def chosen(storage: Storage, keys: Keys, asked: argparse.Namespace) -> Backup:
    """The backup that the person means, whose manifest can be believed, or was said to be."""
    if asked.backup_id == "latest":
        return newest(storage, keys, asked.database)
    found, problems = backups_of(storage, asked.database)
    matching = [backup for backup in found if backup.id == asked.backup_id.upper()]
    if len(matching) > 1:  # anybody can copy one into another folder
        matching = [backup for backup in matching if is_believed(backup, keys)] or matching
    if len(matching) > 1:
        raise Problem(2, f"{asked.backup_id} is there for several databases, say which with --database")
    if not matching:
        for problem in problems:
            if BACKUP_ID.fullmatch(asked.backup_id.upper()) and asked.backup_id.upper() in str(problem):
                raise problem
            say(f"warning: {problem}")
        raise Problem(60, f"there is no backup {asked.backup_id} in {storage.root}")
    backup = matching[0]
    try:
        backup.authenticate(keys)
    except Unsigned as problem:
        if not asked.unsigned:
            raise Problem(70, f"{problem}; {UNSIGNED_HINT}") from None
        say(f"warning: {problem}; nothing vouches for what is extracted now")
    if backup.is_deleted(keys):
        if not asked.deleted:
            raise Problem(
                60, f"{backup.id} was deleted: it has a tombstone ({backup.tombstone}); {DELETED_HINT}"
            )
        say(f"warning: {backup.id} was deleted: it has a tombstone")
    return backup


# --- whole servers: base backups and WAL (docs/format/wal.md) ---

BASE_OBJECTS = {"data": "base.tar", "tablespace": "", "server_manifest": "backup_manifest"}
LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
WAL_NAME = re.compile(
    r"([0-9A-F]{8})(?:\.history|([0-9A-F]{16})(?:\.([0-9a-f]{8})-([0-9a-f]{8}))?)\.zst(\.sealed)?"
)
Line = list[tuple[int, int, int]]  # timelines, oldest first: each with where it begins and where it was left
NEVER = 2**64
ARCHIVE_ID = bytes.fromhex("5a2a4d1810000000")  # a frame that decompressors skip; 16 bytes follow
MOST_HISTORY_BYTES = 1024 * 1024


def lsn_of(text: object) -> int:
    """The position in the WAL that ``16/B374D848`` means. Raises ValueError."""
    found = LSN.fullmatch(str(text))
    if not found:
        raise ValueError("a position in the WAL is malformed")
    return int(found[1], 16) << 32 | int(found[2], 16)


def number_of(segment: str, segment_bytes: int) -> int:
    """Which segment it is: it begins at so many times the size of one."""
    return int(segment[8:16], 16) * (2**32 // segment_bytes) + int(segment[16:], 16)


class Base(Backup):
    """One base backup of a whole server. Nothing in it is to be believed before :meth:`authenticate`."""

    def __init__(self, storage: Storage, server: str, base_id: str) -> None:
        Objects.__init__(self, storage, f"server.{server}/base/{base_id}", f"base/{server}/{base_id}")
        self.id, self.name = base_id, f"{self.folder}/manifest.json"
        self.manifest = manifest = storage.document(self.name, MOST_MANIFEST_BYTES)
        try:
            self.start_lsn, self.stop_lsn = lsn_of(manifest["start_lsn"]), lsn_of(manifest["stop_lsn"])
            self.timeline, self.version = int(manifest["timeline"]), int(manifest["server_version"]) // 10000
            self.segment_bytes, self.parent = int(manifest["segment_bytes"]), manifest["parent"]
            self.taken_at, self.objects = sortable(manifest["taken_at"]), manifest["objects"]
            names = [plain_name(each) for each in self.objects]
            sound = (
                [manifest[name] for name in ("format", "base_id", "system_identifier")]
                == [1, base_id, server]
                and all(MOMENT.fullmatch(str(manifest[name])) for name in ("as_of", "taken_at"))
                and EARLIEST <= self.as_of <= LATEST
                and self.segment_bytes in [2**power for power in range(20, 31)]
                and all(is_object(each, tuple(BASE_OBJECTS)) for each in self.objects)
                and names
                == [BASE_OBJECTS[each["role"]] or f"{int(each['oid'])}.tar" for each in self.objects]
                and "base.tar" in names
                and len(set(names)) == len(names)
            )
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise Problem(40, f"{self.name} is damaged, or is not the manifest of this base backup")

    def authenticate(self, keys: Keys) -> None:
        """Return if the manifest is what was written. Raises Unsigned if nobody with the keys says so, or Problem."""
        key_id, mac = self.manifest.get("key_id"), self.manifest.get("mac")
        sealed = any(each["name"].endswith(".sealed") for each in self.objects)
        check_document(self.manifest, self.name, keys, encrypted=sealed or key_id is not None)
        if key_id != (mac or {}).get("key_id"):
            raise Problem(40, f"{self.name} was signed with another key than its objects")


class Wal:
    """The WAL of one server, by the names of its objects. Where the storage has keys, what is not sealed is none."""

    def __init__(self, storage: Storage, server: str, keys: Keys, unsigned: bool = False) -> None:
        self.storage, self.server, self.keys, self.unsigned = storage, server, keys, unsigned
        self.root = f"server.{server}/wal"
        self.archive_id = ""  # whose objects these are; empty while nobody knows
        self.parts: dict[str, list[tuple[int, int, str]]] = {}  # of each segment; a whole one ends at NEVER
        self.histories: dict[int, str] = {}
        passed_over = 0
        for folder in storage.names(self.root):
            is_timeline = re.fullmatch("[0-9A-F]{8}", folder)
            for name in storage.names(f"{self.root}/{folder}") if is_timeline else [folder]:
                found = WAL_NAME.fullmatch(name)
                if not found or (found[2] and found[1] != folder):
                    continue  # something else, or moved into the folder of another timeline
                if not found[5] and keys.asked_for() and not unsigned:
                    passed_over += 1
                elif not found[2]:
                    self.histories[int(found[1], 16)] = name
                else:
                    start, end = (int(found[3], 16), int(found[4], 16)) if found[3] else (0, NEVER)
                    self.parts.setdefault(found[1] + found[2], []).append((start, end, name))
        if passed_over:
            say(
                f"warning: {passed_over} files in {self.root} are passed over: the storage has keys, and they no seal"
            )

    def position(self) -> Json:
        """What the receiver said last: ``timeline``, ``lsn``, ``at``. Empty where nothing is to be believed."""
        name = f"{self.root}/position.json"
        try:
            said = self.storage.document(name)
            check_document(said, name, self.keys)
            if not MOMENT.fullmatch(str(said["server_time"])):
                raise ValueError("it does not say of when it is")
            if self.archive_id and said.get("archive_id", self.archive_id) != self.archive_id:
                raise ValueError("it is of another archive of this server")
            return {
                "timeline": said["timeline"],
                "lsn": lsn_of(said["lsn"]),
                "at": sortable(said["server_time"]),
            }
        except (Problem, KeyError, ValueError) as problem:
            if not isinstance(problem, Missing):
                say(f"warning: {name} is passed over: {problem}")
            return {}

    def content(self, folder: str, name: str, most_bytes: int) -> bytes:
        """The plain content of an object. Raises Problem, Unsigned."""
        with self.storage.open(f"{folder}/{name}") as source:
            key_id = source.read(22)[14:].hex() if name.endswith(".sealed") else ""  # docs/format/envelope.md
        if key_id in self.keys.names() and not self.unsigned and key_id not in self.keys.belonging():
            raise Unsigned(
                f"{name} is sealed with a key of another storage, or with one that somebody planted"
            )
        content = bytearray()
        objects = Objects(self.storage, folder, f"wal/{self.server}")
        for block in objects.blocks(name, self.keys, begins=lambda begin: self.require_ours(begin, name)):
            content += block
            if len(content) > most_bytes:
                raise Problem(40, f"{name} is damaged: it holds more than it can")
        return bytes(content)

    def require_ours(self, begin: bytes, name: str) -> None:
        """Return if an object says the archive's id in front of its frame, or none. Raises Problem."""
        said = begin[8:].hex() if begin.startswith(ARCHIVE_ID) and len(begin) == 24 else ""
        if self.archive_id and said not in ("", self.archive_id):  # older releases wrote none
            raise Problem(40, f"{name} is of another archive of this server: somebody put it there")

    def line(self, timeline: int) -> Line:
        """The timelines that lead to this one. Raises Problem where its history is missing or damaged."""
        line: Line = []
        begin, parent = 0, 0
        if timeline > 1:
            damaged = Problem(
                40, f"the history of timeline {timeline} is damaged or missing; --timeline names another one"
            )
            if timeline not in self.histories:
                raise damaged
            text = self.content(self.root, self.histories[timeline], MOST_HISTORY_BYTES)
            for words in (row.split() for row in text.decode("utf-8", "replace").splitlines()):
                if words and not words[0].startswith("#"):
                    try:
                        before, parent, left = parent, int(words[0]), lsn_of(words[1])
                    except (ValueError, IndexError):
                        raise damaged from None
                    if not before < parent < timeline or left < begin:
                        raise damaged
                    line.append((parent, begin, left))
                    begin = left
        return [*line, (timeline, begin, NEVER)]

    def ordered(self, segment: str, segment_bytes: int) -> list[tuple[int, int, str]]:
        """The objects of a segment in the order in which they count: a whole one before its tails."""
        parts = sorted(
            self.parts.get(segment, []), key=lambda part: (part[0], part[1] != NEVER, part[1], -len(part[2]))
        )  # a sealed one before one that is not
        return [(start, segment_bytes if end == NEVER else end, name) for start, end, name in parts]

    def filled(self, segment: str, segment_bytes: int) -> int:
        """How many bytes of a segment there are from its beginning on, without a hole, by the names of its objects."""
        filled = 0
        for start, end, _ in self.ordered(segment, segment_bytes):
            filled = max(filled, end) if start <= filled else filled
        return min(filled, segment_bytes)

    def segment(self, segment: str, segment_bytes: int, enough: int = NEVER) -> bytes:
        """What there is of a segment. An object that is not what its name says counts for nothing.

        Raises its Problem where the others leave fewer bytes than the names say, and fewer than ``enough``.
        """
        content, problems = b"", []
        for start, end, name in self.ordered(segment, segment_bytes):
            if start <= len(content) < end:
                try:
                    part = self.content(f"{self.root}/{segment[:8]}", name, segment_bytes)
                    if len(part) != end - start or end > segment_bytes:
                        raise Problem(40, f"{name} is damaged: it is not as long as its name says")
                except Problem as problem:
                    problems.append(problem)
                    continue
                content += part[len(content) - start :]
        if problems and len(content) < min(enough, self.filled(segment, segment_bytes)):
            raise problems[0]
        return content

    def reach(self, line: Line, start_lsn: int, end_lsn: int, segment_bytes: int) -> tuple[list[str], str]:
        """The segments between two positions; and the first that is missing though later ones are here, or ""."""

        def at(number: int) -> str:
            # A server reads each segment of the newest timeline that had begun by then.
            timeline = max(each for each, begin, _ in line if begin // segment_bytes <= number)
            high, low = divmod(number, 2**32 // segment_bytes)
            return f"{timeline:08X}{high:08X}{low:08X}"

        here = (number_of(each, segment_bytes) for each in self.parts)
        last = max((number for number in here if self.filled(at(number), segment_bytes)), default=-1)
        found: list[str] = []
        for number in range(start_lsn // segment_bytes, min(last, (end_lsn - 1) // segment_bytes) + 1):
            filled = self.filled(at(number), segment_bytes)
            found += [at(number)] if filled else []
            if filled < segment_bytes and number < last:
                return found, at(number)
        return found, ""


def bases_of(storage: Storage, server: str) -> tuple[list[Base], list[Problem]]:
    """Every base backup with a readable manifest, newest first, and what is wrong with the others."""
    found: list[Base] = []
    problems: list[Problem] = []
    for base_id in filter(BACKUP_ID.fullmatch, storage.names(f"server.{server}/base")):
        try:
            found.append(Base(storage, server, base_id))
        except Missing:
            continue  # it was being taken, or deleted
        except Problem as problem:
            problems.append(problem)
    return sorted(found, key=lambda base: (base.as_of, base.id), reverse=True), problems


class Recovery(NamedTuple):
    """What a server is brought back from. ``hole`` says why not all WAL is reached that was stored, "" if it is.

    ``stored_lsn`` is up to where it was stored, where position.json says so of this timeline; else NEVER.
    """

    base: Base
    wal: Wal
    line: Line
    segments: list[str]
    hole: str
    target: str
    stored_lsn: int


def recovery_of(storage: Storage, keys: Keys, asked: argparse.Namespace) -> Recovery:
    """Base backup, timelines and segments to the moment that is asked for. Raises Problem."""
    servers = [name[7:] for name in storage.names("") if SERVER.fullmatch(name)]
    servers = [server for server in servers if asked.server in (None, server)]
    if len(servers) > 1:  # anybody can make such a folder
        believed = [
            server
            for server in servers
            if any(is_believed(base, keys) for base in bases_of(storage, server)[0])
        ]
        others = ", ".join(server for server in servers if server not in believed)
        if believed and others:
            say(f"warning: passed over, since it has no base backup that can be believed: server {others}")
        servers = believed or servers
    if len(servers) > 1:
        raise Problem(2, f"there are several servers, say which with --server: {', '.join(servers)}")
    if not servers:
        raise Problem(60, f"there is no base backup of such a server in {storage.root}")
    found, problems = bases_of(storage, servers[0])
    bases: list[Base] = []
    for base in found:
        try:
            base.authenticate(keys)
        except Problem as problem:
            if not isinstance(problem, Unsigned) or not asked.unsigned or base.id != asked.base.upper():
                problems.append(problem)
                continue
            say(f"warning: {problem}; nothing vouches for what is extracted now")
        bases.append(base)
    for each in problems:
        say(f"warning: {each}; it is passed over")
    wal = Wal(storage, servers[0], keys, asked.unsigned)
    line = wal.line(asked.timeline or max((int(name[:8], 16) for name in wal.parts), default=1))
    # Only those from which WAL leads along that line.
    bases = [
        base
        for base in bases
        if any(base.timeline == timeline and base.stop_lsn <= left for timeline, _, left in line)
    ]
    full = [base for base in bases if base.parent is None]
    usable = [base for base in full if base.taken_at <= (asked.to_time or LATEST)]
    if asked.base:
        usable = [base for base in bases if base.id == asked.base.upper()]
    if not usable and problems:
        raise next((each for each in problems if each.exit_code == 41), problems[0])
    if not usable:
        earliest = f": the earliest moment is {for_people(full[-1].taken_at)}" if full else ""
        raise Problem(60, f"there is no full base backup that leads there{earliest}")
    base = usable[0]
    if base.parent is not None:
        raise Problem(
            70,
            f"{base.id} is incremental, a matter for pg_combinebackup of PostgreSQL {base.version}; without --base the "
            "full one before it is taken, and more WAL",
        )
    wal.archive_id = str(base.manifest.get("archive_id") or "")
    return reach_of(base, bases, wal, line, asked.to_time or "")


def reach_of(base: Base, bases: list[Base], wal: Wal, line: Line, target: str) -> Recovery:
    """The WAL that is needed from a base backup on. Raises Problem for a target after the end of it."""
    size, position, needless = base.segment_bytes, wal.position(), NEVER
    if position:
        say(f"the server's WAL was stored up to {for_people(position['at'])}, says position.json")
    else:
        say(
            "warning: nothing says up to where the server's WAL went: whether its end is missing cannot be told"
        )
    if position and position["at"] < target:
        raise Problem(
            60, f"the WAL ends at {for_people(position['at'])}: all of it comes back without --to-time"
        )
    if target:
        # What follows a base backup that was begun an hour later, whatever two clocks say, is not needed.
        later = datetime.fromisoformat(f"{target[:-1]}+00:00") + timedelta(hours=1)
        begun = [each for each in bases if each.as_of > later.strftime("%Y-%m-%dT%H:%M:%S.%fZ")]
        needless = min((each.stop_lsn for each in begun), default=NEVER)
    segments, missing = wal.reach(line, base.start_lsn, needless, size)
    hole = f"{missing} is missing, or a part of it, and later WAL is here" if missing else ""
    stored_lsn = NEVER
    if segments and needless == NEVER and not hole and position and position["timeline"] == line[-1][0]:
        stored_lsn = position["lsn"]
        end_lsn = number_of(segments[-1], size) * size + wal.filled(segments[-1], size)
        if end_lsn < stored_lsn:
            hole = (
                f"what followed in {segments[-1]} or after it was stored, says position.json, and is missing"
            )
    return Recovery(base, wal, line, segments, hole, target, stored_lsn)


def recover_cluster(storage: Storage, keys: Keys, asked: argparse.Namespace) -> None:
    """Write a server's files, with the WAL that leads to the moment asked for, and say how it is started."""
    into = Path(os.path.abspath(asked.into))
    # It stands in configuration files, in options of docker, and in the name of a socket.
    if not str(into).isprintable() or re.search(r"[\\'\":]", str(into)) or len(os.fsencode(into)) > 80:
        raise Problem(
            70, "--into: name a directory of 80 bytes at most, without quotes, colons and backslashes"
        )
    recovery = recovery_of(storage, keys, asked)
    base, wal, size = recovery.base, recovery.wal, recovery.base.segment_bytes
    say(
        f"base backup {base.id} of server {wal.server}, as of {base.moment}; {len(recovery.segments)} segments"
    )
    tars = [entry for entry in base.objects if entry["role"] != "server_manifest"]
    needed_bytes = sum(entry["plain_bytes"] for entry in tars) + size * len(recovery.segments)
    with appearing(into, needed_bytes) as partial:
        os.mkdir(partial / "data", 0o700)
        reached, hole = write_wal(partial / "data" / "pg_wal", recovery)
        if reached < base.stop_lsn:
            raise Problem(
                40, f"the WAL of base backup {base.id} itself is not whole: {hole or 'it is missing'}"
            )
        after = (
            f"WAL is missing after position {reached >> 32:X}/{reached & 0xFFFFFFFF:X}: {hole}"
            if hole
            else ""
        )
        if after and not asked.up_to_hole:
            raise Problem(40, f"{after}; with --up-to-hole what was before that comes back")
        for entry in tars:
            say(f"{entry['name']}: checking")
            base.verify(entry)
            say(f"{entry['name']}: unpacking")
            target = partial / ("data" if entry["role"] == "data" else f"tablespaces/{int(entry['oid'])}")
            unpack(base.read(entry, keys, decompress=True), target, entry["name"])
        configure(partial, into, recovery)
        say("writing all of it to the disk")
        os.sync()
    for line in how_to_start(into, recovery):
        result(line)
    if after:
        result(f"NOT ALL CAME BACK. {after}")


def write_wal(folder: Path, recovery: Recovery) -> tuple[int, str]:
    """Put the segments where a server finds them; returns how far they reach, and why not further."""
    wal, size, reached = recovery.wal, recovery.base.segment_bytes, 0
    os.mkdir(folder, 0o700)
    for timeline, _, _ in recovery.line:
        if timeline in wal.histories:
            content = wal.content(wal.root, wal.histories[timeline], MOST_HISTORY_BYTES)
            write_file(folder / f"{timeline:08X}.history", [content], sync=False)
    for segment in recovery.segments:
        # Somebody may have put a whole one beside the tails of the last: what was stored by then has to be there.
        last = segment == recovery.segments[-1]
        enough = max(1, recovery.stored_lsn - number_of(segment, size) * size) if last else NEVER
        try:
            content = wal.segment(segment, size, enough)
        except Problem as problem:
            if problem.exit_code not in (40, 70):
                raise
            return reached, str(problem)
        write_file(folder / segment, [content, bytes(size - len(content))], sync=False)
        reached = number_of(segment, size) * size + len(content)
    return reached, recovery.hole


def unpack(blocks: Iterator[bytes], directory: Path, name: str) -> None:
    """Write what is in a tar archive into a directory of ours: files and folders, nothing else, nothing outside."""
    os.makedirs(directory, 0o700, exist_ok=True)
    try:
        source: Any = Pulled(blocks)
        with tarfile.open(fileobj=source, mode="r|", bufsize=64 * 1024, errors="surrogateescape") as archive:
            for member in archive:
                parts = [part for part in member.name.rstrip("/").split("/") if part != "."]
                if any(part in ("", "..") or "\0" in part for part in parts):
                    raise Problem(40, f"{name} is damaged: {shown(member.name)} in it leads elsewhere")
                path = directory.joinpath(*parts)
                if member.isdir():
                    os.makedirs(path, 0o700, exist_ok=True)
                elif parts and member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                    os.makedirs(path.parent, 0o700, exist_ok=True)
                    write_file(path, blocks_of(archive.extractfile(member)), sync=False)
                else:
                    raise Problem(40, f"{name} is damaged: {shown(member.name)} in it is no file or folder")
                archive.members = []  # type: ignore[attr-defined]  # else all of them are remembered
    except (tarfile.TarError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Problem(40, f"{name} is damaged: {error}") from None
    for _ in blocks:
        pass  # what follows the archive's end must be whole as well


# Nothing of production acts in a recovered server: nothing is archived, nobody connected to, no library loaded.
SETTINGS = {
    "restore_command": "exit 1",  # all WAL that there is lies in pg_wal
    "recovery_target_action": "pause",
    "archive_mode": "off",
    "listen_addresses": "",
    "max_logical_replication_workers": "0",
}
# A standby must allow as many as production did: five numbers at this place of pg_control, from PostgreSQL 13 to 18.
CONTROL_FILE_OFFSET = 180
CONTROL_FILE_SETTINGS = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)


def configure(partial: Path, into: Path, recovery: Recovery) -> None:
    """Let the server recover to the target and do nothing else; ``into`` is where the files will be by then."""
    data = partial / "data"
    for name in ("standby.signal", "recovery.signal", "tablespace_map"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(data / name)
    with contextlib.suppress(
        FileNotFoundError
    ):  # what ALTER SYSTEM set: connections and commands of production
        os.rename(data / "postgresql.auto.conf", partial / "postgresql.auto.conf.production")
    write_file(data / "postgresql.auto.conf", [])
    write_file(data / "recovery.signal", [])
    spaces = [int(entry["oid"]) for entry in recovery.base.objects if entry["role"] == "tablespace"]
    if spaces:
        places = "".join(f"{oid} {into}/tablespaces/{oid}\n" for oid in spaces)
        write_file(data / "tablespace_map", [os.fsencode(places)])
    settings = {**SETTINGS, "hba_file": f"{into}/pg_hba.conf", "unix_socket_directories": str(into)}
    settings["recovery_target_timeline"] = str(recovery.line[-1][0])
    if recovery.target:
        settings["recovery_target_time"] = f"{recovery.target[:10]} {recovery.target[11:-1]}+00"
    with contextlib.suppress(OSError, struct.error):
        control = (data / "global" / "pg_control").read_bytes()
        values = struct.unpack_from("<5I", control, CONTROL_FILE_OFFSET)
        settings.update(
            (CONTROL_FILE_SETTINGS[at], str(value)) for at, value in enumerate(values) if value < 2**18
        )
    text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    write_file(partial / "postgresql.conf", [os.fsencode(text)])
    write_file(
        partial / "pg_hba.conf", [b"local all all trust\n"]
    )  # the socket's directory is the owner's alone


TO_START = """
The server's files are in {place}; all that was read is whole. PostgreSQL {version} starts there, with the
locales that production had, as another user than root. With Docker:

  docker run --rm {mounted} {image} chown -R postgres: {place}
  docker run -d --name recovered --network none {mounted} -e {data} {image} -c {config}
  docker logs -f recovered
  docker exec -it -u postgres recovered {psql}

With programs of this machine (on Debian in /usr/lib/postgresql/{version}/bin), as the user whom these files belong to;
root gives them away first, chown -R postgres:

  {pg_ctl}
  {psql}

{end}
A single database goes elsewhere with pg_dump. To make this one production: stop it, give it production's settings
(data/postgresql.conf if it is there; postgresql.auto.conf.production has those of ALTER SYSTEM), start it without
config_file, take a base backup."""
TO_TARGET = """The server replays up to {moment} and waits there, paused and read-only. Look whether it is the moment:
  SELECT pg_get_wal_replay_pause_state(), pg_last_xact_replay_timestamp();
If so, `SELECT pg_wal_replay_resume();` opens it for writing. If it is too early: stop it, write a later moment into
recovery_target_time of postgresql.conf, start it again. If it is too late: run this again, into another directory.
If it ends with "recovery ended before configured recovery target was reached", no transaction ended after that
moment in all this WAL: take the line recovery_target_time out of postgresql.conf and start it again."""


def how_to_start(into: Path, recovery: Recovery) -> Iterator[str]:
    """What a person types to have a server on these files."""
    place, config = str(into), f"config_file={into}/postgresql.conf"
    pg_ctl = [
        "pg_ctl",
        "-D",
        f"{place}/data",
        "-l",
        f"{place}/log",
        "-t",
        "86400",
        "-o",
        f"-c {shell_word(config)}",
    ]
    yield from (
        TO_START[1:]
        .format(
            place=shell_word(place),
            version=recovery.base.version,
            image=f"postgres:{recovery.base.version}",
            mounted=shell_line(["-v", f"{place}:{place}"]),
            data=shell_word(f"PGDATA={place}/data"),
            config=shell_word(config),
            psql=shell_line(
                ["psql", "-h", place, "-U", str(recovery.base.manifest.get("superuser")), "-d", "postgres"]
            ),
            pg_ctl=shell_line([*pg_ctl, "start"]),
            end=TO_TARGET.format(moment=for_people(recovery.target))
            if recovery.target
            else "The server replays all this WAL, then opens for writing.",
        )
        .splitlines()
    )


# --- commands ---


def list_backups(storage: Storage, keys: Keys, database: Optional[str]) -> None:
    """Print every backup, newest first. Needs no key; with one, what is not authentic is marked as such."""
    checking = is_key_given()
    if checking and keys.names():
        try:
            keys.belonging()
        except Problem as problem:
            say(f"note: {problem}")
            checking = False
    found, problems = backups_of(storage, database)
    labels = labels_of(storage, keys if checking else None, problems)
    for backup in found:
        marks = marks_of(backup, keys, checking, problems)
        if checking and not marks and backup.is_deleted(keys):
            continue
        if not checking:
            with contextlib.suppress(Missing):
                storage.open(backup.tombstone).close()
                marks.append("TOMBSTONE")
        stored_bytes = sum(entry["stored_bytes"] for entry in backup.objects)
        tiers = ",".join(sorted(labels.get((backup.database, backup.id), ()))) or "-"
        secrecy = "encrypted" if backup.encrypted else "plain"
        # Two blanks part the columns: none of them has two in a row.
        name = re.sub(" (?= )", r"\\x20", visible(backup.database))
        columns = [backup.id, name, backup.moment, tiers, f"{stored_bytes} bytes", secrecy, *marks]
        result("  ".join(columns))
    servers = list_servers(storage, keys, checking, problems) if database is None else 0
    if not found and not servers:
        say(f"there is no usable backup in {storage.root}")
    elif keys.asked_for() and not checking:
        say("note: without the key nothing of this was checked, and it may be forged; extract checks it")
    for warning in problems:
        say(f"warning: {warning}")
    if any(problem.exit_code == 40 for problem in problems):
        raise Problem(40, "some of it is damaged")


def list_servers(storage: Storage, keys: Keys, checking: bool, problems: list[Problem]) -> int:
    """Print the base backups of each server, and how far its WAL reaches. Returns how many lines that were."""
    lines = 0
    for server in (name[7:] for name in storage.names("") if SERVER.fullmatch(name)):
        bases, damaged = bases_of(storage, server)
        problems += damaged
        for base in bases:
            marks = marks_of(base, keys, checking, problems)
            stored_bytes = sum(entry["stored_bytes"] for entry in base.objects)
            secrecy = "plain" if base.manifest.get("key_id") is None else "encrypted"
            kind = "base backup" if base.parent is None else "incremental base backup"
            columns = [
                base.id,
                f"server {server}",
                base.moment,
                kind,
                f"{stored_bytes} bytes",
                secrecy,
                *marks,
            ]
            result("  ".join(columns))
        wal = Wal(storage, server, keys)
        position = wal.position() if checking or not keys.asked_for() else {}
        if wal.parts:
            until = for_people(position["at"]) if position else "an unknown moment"
            result(f"WAL  server {server}  up to {until}  {len(wal.parts)} segments")
        lines += len(bases) + bool(wal.parts)
    return lines


def marks_of(backup: Backup, keys: Keys, checking: bool, problems: list[Problem]) -> list[str]:
    """What is to be said of a manifest's authenticity behind its line."""
    if not checking:
        return ["UNSIGNED"] if keys.asked_for() and "mac" not in backup.manifest else []
    try:
        backup.authenticate(keys)
    except Unsigned as problem:
        return [problem.mark]
    except Problem as problem:
        if problem.exit_code not in (40, 41):
            raise
        problems.append(problem)
        return ["NOT AUTHENTIC" if problem.exit_code == 40 else "KEY NOT OPEN"]
    return []


def labels_of(
    storage: Storage, keys: Optional[Keys], problems: list[Problem]
) -> dict[tuple[str, str], set[str]]:
    """The tiers that point at each backup; with keys, those whose labels are authentic."""
    found: dict[tuple[str, str], set[str]] = {}
    for folder in storage.names(""):
        database = database_of(folder)
        for tier in ("daily", "weekly", "monthly", "checkpoint") if database else ():
            try:
                partitions = storage.names(f"{folder}/tiers/{tier}")
            except Problem:
                continue  # told by whoever looked for its backups
            for partition in partitions:
                name = f"{folder}/tiers/{tier}/{partition}"
                try:
                    label = storage.document(name)
                    if keys is not None:
                        check_document(label, name, keys)
                    found.setdefault((str(database), str(label.get("backup_id"))), set()).add(tier)
                except Problem as problem:
                    problems.append(problem)
    return found


def extract_to_stdout(backup: Backup, keys: Keys, object_name: Optional[str]) -> None:
    """Stream one object to a pipe or file."""
    if sys.stdout.isatty():
        raise Problem(2, "--stdout writes an archive: send it to a file or a program")
    entries = [
        entry
        for entry in backup.objects
        if (
            entry["role"] == "main"
            if object_name is None
            else object_name in (entry["name"], plain_name(entry))
        )
    ]
    if len(entries) != 1:
        names = ", ".join(plain_name(entry) for entry in backup.objects)
        raise Problem(60, f"{backup.id} has no object {object_name or 'of role main'}; it has: {names}")
    tables = [plain_name(entry) for entry in backup.objects if entry["role"] == "table"]
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


def extract_to_directory(backup: Backup, keys: Keys, output: Path, database: str, as_json: bool) -> None:
    """Write every object into a new directory, which appears under its name only once all is well.

    ``database`` is what the commands to restore it, printed at the end, call the restored one.
    """
    if not as_json and database.endswith("\n"):
        raise Problem(
            70, "no shell passes a name on that ends with a line end: name the new one with --as NAME"
        )
    decompress = zstd_reader() is not None
    with appearing(output, sum(entry["plain_bytes"] for entry in backup.objects)) as partial:
        compressed = []
        for entry in backup.objects:
            name = plain = plain_name(entry)
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
    steps = restoring(backup, output, compressed, database)
    if as_json:
        print(json.dumps(plan_of(backup, output, steps), indent=2))
        return
    for line in how_to_restore(backup, output, compressed, database, steps):
        result(line)


@contextlib.contextmanager
def appearing(output: Path, needed_bytes: int) -> Iterator[Path]:
    """A private directory to fill; it appears under its own name at the end of the block, if all went well."""
    if os.path.lexists(output):
        raise Problem(70, f"{output} exists already: name a directory that does not")
    if not output.parent.is_dir():
        raise Problem(70, f"{output.parent} is not a directory")
    if shutil.disk_usage(output.parent).free < needed_bytes:
        raise Problem(70, f"there is no space for {needed_bytes} bytes in {output.parent}")
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=str(output.parent)))  # 0700
    opened = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        swapped = Problem(70, f"somebody put something in the place of {partial}, and may do so again")
        if os.fstat(opened).st_uid != os.geteuid():
            raise swapped
        # Whoever owns the directory around it can do that while we write. Where there is such a name, it stays ours.
        by_descriptor = Path(f"/proc/self/fd/{opened}")
        yield by_descriptor if by_descriptor.is_dir() else partial
        if not os.path.samestat(os.lstat(partial), os.fstat(opened)):
            raise swapped
        os.mkdir(output, 0o700)  # fails if somebody made something of that name meanwhile
        try:
            os.rename(partial, output)
        except OSError:
            os.rmdir(output)
            raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(opened)


def write_file(path: Path, blocks: Iterable[bytes], sync: bool = True) -> None:
    """A new file that only its owner can read; with ``sync`` it is on the disk when this returns."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "wb") as target:
        for block in blocks:
            target.write(block)
        target.flush()
        if sync:
            os.fsync(target.fileno())


# --- what to do with the files ---

# The dump's amounts of type money are written in this locale, whatever the server's is.
ENVIRONMENT = {"PGOPTIONS": "-c lc_monetary=C"}


class Step(NamedTuple):
    """A program to run, with its arguments, in a directory."""

    argv: list[str]
    directory: str


def restoring(backup: Backup, output: Path, compressed: list[str], database: str) -> list[Step]:
    """What makes a database of the files, in order, and removes the files."""
    here, target = str(output), connection_option(database)
    roles = {role: [plain_name(entry) for entry in backup.objects if entry["role"] == role] for role in ROLES}
    programs = [["zstd", "-d", "--rm", name] for name in compressed]
    programs += [["psql", "-X", "-d", "postgres", "-f", name] for name in roles["globals"]]
    programs.append(createdb(database, backup.manifest.get("server") or {}))
    if (backup.manifest.get("server") or {}).get("has_plpgsql") is False:  # every new database has it
        programs.append(["psql", "-X", "-d", target, "-c", "DROP EXTENSION plpgsql"])
    restore = ["pg_restore", "--exit-on-error", "--no-tablespaces", "-d", target]
    for name in roles["main"]:
        if not roles["table"]:
            programs.append([*restore, name])
            continue
        # Keys, indexes and triggers come last: after the rows of the tables that were dumped apart.
        programs.append([*restore, "--section=pre-data", "--section=data", name])
        programs += [[*restore, "--section=data", table] for table in roles["table"]]
        programs.append([*restore, "--section=post-data", name])
    programs.append(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", "database.sql"])
    programs.append(["vacuumdb", "--analyze-only", "-d", target])
    return [*(Step(argv, here) for argv in programs), Step(["rm", "-r", here], "/")]


def plan_of(backup: Backup, output: Path, steps: list[Step]) -> Json:
    """The steps for a program to run: lists of arguments, never text for a shell; and the lines that people get."""
    return {
        "format": 1,
        "backup_id": backup.id,
        "database": backup.database,
        "output": str(output),
        "environment": ENVIRONMENT,
        "steps": [
            {"argv": step.argv, "directory": step.directory, "line": shell_line(step.argv)} for step in steps
        ],
    }


def how_to_restore(
    backup: Backup, output: Path, compressed: list[str], database: str, steps: list[Step]
) -> Iterator[str]:
    """The same steps for a person, who pastes them into a shell."""
    server = backup.manifest.get("server") or {}
    yield f"Everything was whole; it is in {output}. To restore it beside what is there, as a PostgreSQL superuser"
    yield "(where needed with -h HOST -p PORT -U USER, or with PGHOST, PGPORT, PGUSER and PGPASSWORD set; tools of"
    yield f"version {server.get('version', '?')} or newer). They make a database {shown(database)}; if there is one of"
    yield "that name, extract again with --as NAME:"
    yield ""
    yield f"  cd {shell_line([str(output)])}"
    for name, value in ENVIRONMENT.items():
        yield f"  export {name}='{value}'"
    if compressed:
        yield "  # the program zstd is needed, here or on another machine: apt install zstd"
    for step in steps[:-1]:
        yield f"  {shell_line(step.argv)}"
    yield "  # these files are data in the clear, for whoever finds them: this deletes them"
    yield f"  cd / && {shell_line(steps[-1].argv)}"
    yield ""
    yield "Without superuser: leave out globals.sql and database.sql, add --no-owner --no-privileges to pg_restore."


def shell_line(argv: list[str]) -> str:
    """The command for any POSIX shell, on one line, of characters that print."""
    return " ".join(shell_word(word) for word in argv)


def shell_word(word: str) -> str:
    """One word, quoted. What does not print is written as printf(1) reads it: a pasted line end would be a command.

    A line end at the end of the word would be lost (POSIX, command substitution): it is refused before.
    """
    if word.isprintable():
        return shlex.quote(word)
    spelled = ""
    for character in word:
        if character in "%\\":
            spelled += character * 2
        elif character.isprintable() and character not in "'\"$`!":
            spelled += character
        else:
            spelled += "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
    return f"\"$(printf '{spelled}')\""


def connection_option(database: str) -> str:
    """A database's name for -d, where one with `=` or blanks in it would be taken for a connection string."""
    if re.fullmatch(r"[A-Za-z0-9_]+", database):
        return database
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def createdb(database: str, server: Json) -> list[str]:
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
    given = [f"{option}={value}" for option, value in options if value]
    return ["createdb", "--template=template0", *given, "--", database]


# Settings whose value is a list of names, each of them quoted by itself (GUC_LIST_QUOTE in PostgreSQL's source).
LIST_SETTINGS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
LIST = re.compile(r'(?a)\s*(?:"((?:[^"]|"")*)"|([^,"\s][^,\s]*))\s*(,\s*(?=\S)|$)')
PRIVILEGES = ("CREATE", "CONNECT", "TEMPORARY")


def database_sql(manifest: Json) -> str:
    """What belongs to the database and is not in the dump: owner, comment, settings, grants, limits."""
    server = manifest.get("server") or {}
    lines = [
        "-- For psql, connected to the restored database: its owner, comment, settings and grants.",
        "SET client_encoding TO 'UTF8';",
        'SELECT pg_catalog.current_database() AS "DBNAME" \\gset',
    ]
    owner = server.get("owner")
    if owner:
        lines.append(f'ALTER DATABASE :"DBNAME" OWNER TO {identifier(owner)};')
    if server.get("comment"):
        lines.append(f'COMMENT ON DATABASE :"DBNAME" IS {literal(server["comment"])};')
    for setting in server.get("settings") or []:
        name, value = str(setting.get("name")), str(setting.get("value"))
        target = 'ALTER DATABASE :"DBNAME"'
        if setting.get("role"):
            target = f'ALTER ROLE {identifier(setting["role"])} IN DATABASE :"DBNAME"'
        lines.append(f"{target} SET {identifier(name)} TO {setting_value(name, value)};")
    if owner and server.get("acl") is not None:
        for grantee in ("PUBLIC", identifier(owner)):
            lines.append(f'REVOKE ALL ON DATABASE :"DBNAME" FROM {grantee};')
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
        found = LIST.match(rest)
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
    return f"E'{doubled}'"


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
    listing = commands.add_parser("list", help="show the backups; needs no key, with one it checks them")
    extract = commands.add_parser("extract", help="check, decrypt and decompress a backup")
    extract.add_argument("backup_id", help="as `list` shows it, or: latest")
    for command in (listing, extract):
        command.add_argument("--database", help="only this database's backups")
    cluster = commands.add_parser("cluster", help="bring a whole server back, by a base backup and WAL")
    cluster.add_argument("--into", type=Path, required=True, help="a directory that does not exist yet")
    cluster.add_argument(
        "--to-time",
        metavar="TIME",
        type=moment_asked,
        help='with its zone: "2026-11-22 14:31:07+01:00"; default: all WAL',
    )
    cluster.add_argument("--base", metavar="ID", help="start from this base backup, as `list` shows it")
    cluster.add_argument("--server", metavar="ID", help="of this server, where there are several")
    cluster.add_argument(
        "--timeline", metavar="N", type=int, help="along this timeline (default: the newest)"
    )
    cluster.add_argument(
        "--up-to-hole", action="store_true", help="also where WAL is missing or damaged: what was before that"
    )
    cluster.add_argument(
        "--unsigned",
        action="store_true",
        help="with --base: also one without a MAC, and WAL that is not sealed",
    )
    target = extract.add_mutually_exclusive_group(required=True)
    target.add_argument("--output", type=Path, help="a directory that does not exist yet")
    target.add_argument("--stdout", action="store_true", help="write one object to standard output")
    extract.add_argument(
        "--as", dest="name", metavar="NAME", help="with --output: what the restored database is to be called"
    )
    extract.add_argument(
        "--json",
        action="store_true",
        help="with --output: print the steps for a program, as lists of arguments",
    )
    extract.add_argument("--object", help="with --stdout: which object (default: the main dump)")
    extract.add_argument(
        "--unsigned",
        action="store_true",
        help="also one without a MAC, though the storage has keys: may be forged",
    )
    extract.add_argument(
        "--deleted", action="store_true", help="also one that has a tombstone: may be incomplete"
    )
    asked = parser.parse_args()
    if asked.command == "cluster" and asked.unsigned and not asked.base:
        parser.error("--unsigned goes with the id of a base backup: see list")
    if asked.command == "extract":
        if asked.object and not asked.stdout:
            parser.error("--object goes with --stdout")
        if asked.stdout and (asked.name is not None or asked.json):
            parser.error("--as and --json go with --output")
        # https://www.postgresql.org/docs/current/limits.html: longer names are cut without a word.
        if asked.name is not None and not 1 <= len(os.fsencode(asked.name)) <= 63:
            parser.error("--as: the name of a database has 1 to 63 bytes")
        if asked.backup_id == "latest" and (asked.unsigned or asked.deleted):
            parser.error("--unsigned and --deleted go with the id of a backup: see list")
    return asked


def moment_asked(text: str) -> str:
    """The moment as documents have it, in UTC. Raises what argparse tells people."""
    try:
        moment = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text.strip()))
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"write it as 2026-11-22T14:31:07+01:00, or with Z for UTC: {text!r}"
        ) from None


def run(asked: argparse.Namespace) -> None:
    """Do what was asked for."""
    if os.open not in os.supports_dir_fd:
        raise Problem(10, "this needs Linux, macOS or another POSIX system (on Windows: WSL)")
    root = asked.storage.resolve()
    if not root.is_dir():
        raise Problem(30, f"{root} is not a directory")
    storage = Storage(root)
    keys = Keys(storage)
    if asked.command == "list":
        list_backups(storage, keys, asked.database)
        return
    if asked.command == "cluster":
        recover_cluster(storage, keys, asked)
        return
    backup = chosen(storage, keys, asked)
    backup.open_manifest(keys)
    say(f"{backup.id} of {shown(backup.database)}, as of {backup.moment}")
    if asked.stdout:
        extract_to_stdout(backup, keys, asked.object)
    else:
        output = Path(os.path.abspath(asked.output))
        extract_to_directory(backup, keys, output, asked.name or backup.database, asked.json)


def stopped(number: int, _frame: object) -> NoReturn:
    """Leave by an exception, so that what is half written is removed."""
    raise SystemExit(128 + number)


def main() -> int:
    """Run, and turn problems into a sentence and an exit code."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stopped)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
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
