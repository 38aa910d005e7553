"""Layers are told by their content, opened with the right key only, and trusted only once their end was seen."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from recyclic_backups.adopt import unwrap
from recyclic_backups.adopt.unwrap import open_archive
from recyclic_backups.errors import DamagedData, NoUsableKey, UsageError
from recyclic_backups_tests.adopt.make_data import CONTENT, DATA, OPTIONS
from recyclic_backups_tests.adopt.old_script import PASSPHRASE, encrypt, wrap

PLAIN = b"PGDMP" + os.urandom(200_000)


def _read(path: Path, *passphrases: str, size: int = 10_000) -> bytes:
    with open_archive(path, passphrases) as archive:
        pieces = []
        while piece := archive.read(size):
            assert len(piece) <= size
            pieces.append(piece)
    return b"".join(pieces)


def _file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "whatever"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("derivation", OPTIONS)
def test_files_of_the_openssl_program_are_opened(derivation: str) -> None:
    """Loss prevented: a year of backups that only a program of another decade can read."""
    assert _read(DATA / f"{derivation}.enc", "not this one, but long", PASSPHRASE) == CONTENT


@pytest.mark.parametrize(
    "layers",
    [
        (),
        ("gzip",),
        ("pbkdf2",),
        ("md5",),
        ("sha256", "gzip"),
        ("pbkdf2", "gzip"),
        ("gzip", "pbkdf2"),
        ("gzip", "md5", "gzip"),
    ],
)
@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_every_wrapping_comes_off_whatever_the_name(
    tmp_path: Path, layers: tuple[str, ...], size: int
) -> None:
    """Loss prevented: a file called .dump that was encrypted, refused for its name."""
    assert _read(_file(tmp_path, wrap(PLAIN, layers)), PASSPHRASE, size=size) == PLAIN


@pytest.mark.parametrize("layers", [("gzip",), ("pbkdf2",), ("pbkdf2", "gzip"), ("gzip", "md5")])
@pytest.mark.parametrize("cut", [1, 7, 16, 5000])
def test_a_file_cut_short_is_damage(tmp_path: Path, layers: tuple[str, ...], cut: int) -> None:
    """Loss prevented: the copy that a full disk ended, taken for a backup."""
    data = wrap(PLAIN, layers)
    # A cut between two blocks leaves chance padding once in 256 times: pg_restore and the inner layer see those.
    if layers == ("pbkdf2",) and cut % 16 == 0:
        return
    with pytest.raises(DamagedData):
        _read(_file(tmp_path, data[:-cut]), PASSPHRASE)


@pytest.mark.parametrize("size", [1, 4, 8, 12, 16, 24])
def test_a_few_bytes_are_damage_or_nothing_we_know(tmp_path: Path, size: int) -> None:
    """Loss prevented: a traceback in the middle of a hundred files."""
    for data in (PLAIN, wrap(PLAIN, ("gzip",)), wrap(PLAIN, ("pbkdf2",))):
        with suppress(DamagedData, UsageError):
            assert PLAIN.startswith(_read(_file(tmp_path, data[:size]), PASSPHRASE))


def test_flipped_bytes_inside_gzip_are_damage(tmp_path: Path) -> None:
    """Loss prevented: rows changed by a failing disk, adopted as they are."""
    data = bytearray(wrap(PLAIN, ("gzip",)))
    data[100_000] ^= 0x40
    with pytest.raises(DamagedData):
        _read(_file(tmp_path, bytes(data)))


def test_members_of_gzip_and_padding_are_one_stream(tmp_path: Path) -> None:
    """Loss prevented: all but the first part of a file that was compressed in parts."""
    parts = gzip.compress(PLAIN[:1000]) + gzip.compress(PLAIN[1000:]) + b"\0" * 512
    assert _read(_file(tmp_path, parts)) == PLAIN


@pytest.mark.parametrize("passphrases", [(), ("another long passphrase",), (PASSPHRASE + " ",)])
@pytest.mark.parametrize("layers", [("pbkdf2",), ("gzip", "md5"), ("sha256", "gzip")])
def test_a_wrong_key_is_said_to_be_one(
    tmp_path: Path, layers: tuple[str, ...], passphrases: tuple[str, ...]
) -> None:
    """Loss prevented: a good backup thrown away as damaged because the key was another one."""
    if passphrases == (PASSPHRASE + " ",):
        passphrases = ("x" + PASSPHRASE,)
    with pytest.raises(NoUsableKey) as caught:
        _read(_file(tmp_path, wrap(PLAIN, layers)), *passphrases)
    assert "BACKUP_ENCRYPTION_OLD_KEYS" in caught.value.hint
    assert all(each not in str(caught.value) + caught.value.hint for each in passphrases)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"--\n-- PostgreSQL database dump\n--\n", "plain SQL"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "plain SQL"),
        (bytes(257) + b"ustar\0" + bytes(300), "tar archive"),
        (b"SQLite format 3\0", "not a backup"),
        (b"\x1f\x8b\x07\0", "not a backup"),
    ],
)
@pytest.mark.parametrize("layers", [(), ("gzip",)])
def test_other_files_are_told_what_they_are(
    tmp_path: Path, content: bytes, said: str, layers: tuple[str, ...]
) -> None:
    """Loss prevented: somebody who believes that a file they gave us is safe now."""
    with pytest.raises(UsageError, match=said):
        _read(_file(tmp_path, wrap(content, layers)))


def test_encrypted_sql_is_no_wrong_key(tmp_path: Path) -> None:
    """Loss prevented: an hour spent looking for another key."""
    with pytest.raises(UsageError, match="plain SQL"):
        _read(_file(tmp_path, encrypt(b"--\n-- PostgreSQL database dump\n--\n")), PASSPHRASE)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """Loss prevented: waiting for ever for a writer of a pipe."""
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "regular"), ("", "directory"), ("missing", "no such file")):
        with pytest.raises(UsageError, match=said):
            _read(tmp_path / name)
    with pytest.raises(DamagedData, match="empty"):
        _read(_file(tmp_path, b""))
    with pytest.raises(DamagedData, match="empty"):
        _read(_file(tmp_path, gzip.compress(b"")))


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Loss prevented: the machine of the night's backup out of memory because a file was large."""
    path = _file(tmp_path, wrap(b"PGDMP" + bytes(64 << 20), ("gzip", "md5", "gzip")))
    tracemalloc.start()
    try:
        with open_archive(path, [PASSPHRASE]) as archive:
            while archive.read(1 << 20):
                pass
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20


@pytest.mark.parametrize("inner", [b"PGDMP", b"no archive"])
def test_gzip_within_gzip_that_unfolds_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: bytes
) -> None:
    """Attack: a file of some kilobytes among the old backups, adopted for years and until the disk is full."""
    monkeypatch.setattr(unwrap, "_SPARE_BYTES", 1 << 20)
    bomb = gzip.compress(gzip.compress(inner + bytes(64 << 20), 9), 9)
    assert len(bomb) < 2000
    with pytest.raises((DamagedData, UsageError)) as refused:
        _read(_file(tmp_path, bomb))
    if inner == b"PGDMP":
        assert "unfolds without end" in str(refused.value)


def test_an_archive_of_zeros_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: an empty database, packed as small as gzip can, that is refused."""
    monkeypatch.setattr(unwrap, "_SPARE_BYTES", 0)
    plain = b"PGDMP" + bytes(16 << 20)
    assert _read(_file(tmp_path, gzip.compress(plain, 9))) == plain
