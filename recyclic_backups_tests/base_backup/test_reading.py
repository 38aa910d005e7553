"""What the server sends is read as Python and PostgreSQL read it, however it is cut into pieces."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recyclic_backups.archive.listing import Listing, Tail
from recyclic_backups.archive.wal import segment_name
from recyclic_backups.base_backup.chain import chain_of
from recyclic_backups.base_backup.relay import Relay, Sink
from recyclic_backups.base_backup.server_manifest import differences, parse_server_manifest
from recyclic_backups.base_backup.tar_files import FileDigest, TarFiles
from recyclic_backups.base_backup.wal_reach import reached_lsn
from recyclic_backups.errors import DamagedData, RecoveryError
from recyclic_backups_tests.retention.test_wal_policy import ServerHistory

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 90
)


def _tar(files: dict[str, bytes], directories: list[str]) -> bytes:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for name in directories:
            directory = tarfile.TarInfo(f"d-{name}")
            directory.type = tarfile.DIRTYPE
            tar.addfile(directory)
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return stored.getvalue()


@given(
    st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6),
    st.lists(NAMES, max_size=2, unique=True),
    st.integers(1, 2000),
)
def test_every_file_of_an_archive_is_hashed(
    files: dict[str, bytes], directories: list[str], piece_bytes: int
) -> None:
    """Loss prevented: a file that is compared with nothing."""
    content = _tar(files, directories)
    tar = TarFiles(b"pg_tblspc/1/", keep=[b"pg_tblspc/1/" + name.encode() for name in files])
    for start in range(0, len(content), piece_bytes):
        tar.write(content[start : start + piece_bytes])
    tar.finish()
    assert {name.decode().removeprefix("pg_tblspc/1/"): kept for name, kept in tar.kept.items()} == files
    assert {name.decode().removeprefix("pg_tblspc/1/"): found for name, found in tar.files.items()} == {
        name: FileDigest(len(data), hashlib.sha256(data).digest()) for name, data in files.items()
    }


@pytest.mark.parametrize("cut", [100, 512, 1000, 1536])
def test_an_archive_that_was_cut_is_told(cut: int) -> None:
    """Loss prevented: the end of a connection taken for the end of an archive."""
    tar = TarFiles()
    tar.write(_tar({"a": b"x" * 700}, [])[:cut])
    with pytest.raises(ValueError, match="ends in the middle"):
        tar.finish()


def test_a_file_of_more_than_eight_gibibytes_has_its_size_in_base_256() -> None:
    """Loss prevented: servers built with segments of any size."""
    item = tarfile.TarInfo("large")
    item.size = 9 << 30
    header = item.tobuf(tarfile.GNU_FORMAT)
    header = header[:257] + b"ustar\x0000" + header[265:]
    chksum = sum(header[:148]) + sum(header[156:512]) + 8 * 32
    header = header[:148] + b"%06o\0 " % chksum + header[156:]
    tar = TarFiles()
    tar.write(header)
    assert tar._size_bytes == 9 << 30


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        (b"a", (124, b"-0000000005 ")),
        (b"a", (124, b"\xff" * 12)),
        (b"a", (156, b"2")),
        (b"a", (156, b"x")),
        (b"a", (345, b"elsewhere")),
        (b"../a", (0, b"")),
        (b"/a", (0, b"")),
        (b"b/./a", (0, b"")),
    ],
    ids=["shorter than nothing", "less than nothing", "link", "extended", "prefix", "above", "root", "dot"],
)
def test_what_nobody_could_unpack_is_no_archive_of_a_server(name: bytes, changed: tuple[int, bytes]) -> None:
    """Attack: whoever took the server's place sends a file without end, or what ends the recovery in a year."""
    header = bytearray(tarfile.TarInfo(name.decode()).tobuf(tarfile.USTAR_FORMAT))
    at, value = changed
    header[at : at + len(value)] = value
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    with pytest.raises(ValueError, match=r"elsewhere|neither a file|no header"):
        TarFiles().write(bytes(header) + b"x" * 5000)


@given(st.binary(max_size=1200))
def test_any_bytes_are_no_surprise(content: bytes) -> None:
    """Attack: a server, or a storage, that sends nonsense: it is damage, and no bug of ours."""
    tar = TarFiles()
    with suppress(ValueError):
        tar.write(content)
        tar.finish()
    with pytest.raises(ValueError, match=r"is no JSON|cannot be understood"):
        parse_server_manifest(content)


_FILE = {"Path": "a", "Size": 1, "Checksum-Algorithm": "SHA256", "Checksum": "00"}


def _manifest(**changes: object) -> bytes:
    document = {
        "PostgreSQL-Backup-Manifest-Version": 1,
        "Files": [_FILE],
        "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100"}],
        **changes,
    }
    lines = json.dumps(document)[:-1].encode() + b",\n"
    return lines + b'"Manifest-Checksum": "' + hashlib.sha256(lines).hexdigest().encode() + b'"}\n'


def test_the_servers_manifest_is_compared_with_its_own_checksum() -> None:
    """Loss prevented: a manifest that was damaged on the way, by which every file then differs, or none."""
    said = parse_server_manifest(_manifest())
    assert (said.start_lsn, said.stop_lsn, said.timeline) == (0x2000028, 0x2000100, 1)
    with pytest.raises(ValueError, match="is not what its own checksum says"):
        parse_server_manifest(_manifest().replace(b'"Size": 1', b'"Size": 2'))
    with pytest.raises(ValueError, match="versions 1 and 2 are known"):
        parse_server_manifest(_manifest(**{"PostgreSQL-Backup-Manifest-Version": 3}))
    for odd in (7, [{**_FILE, "Size": float("inf")}]):
        with pytest.raises(ValueError, match="cannot be understood"):
            parse_server_manifest(_manifest(Files=odd))
    weak = [{"Path": "a", "Size": 1, "Checksum-Algorithm": "CRC32C", "Checksum": "00"}]
    with pytest.raises(ValueError, match="has no SHA-256"):
        parse_server_manifest(_manifest(Files=weak))


def test_each_difference_is_named_and_not_a_million_of_them() -> None:
    """Loss prevented: "something differs"; or a sentence that no screen holds."""
    one, other = FileDigest(1, b"1"), FileDigest(1, b"2")
    assert differences({b"a": one}, {b"a": one}) == ""
    assert differences({b"a": one}, {b"a": other}) == "a has another SHA-256"
    assert differences({b"a": one}, {b"a": FileDigest(2, b"1")}) == "a has 2 bytes instead of 1"
    assert differences({b"a": one}, {b"b\xff": one}) == "a is missing; b\\xff is there and not named"
    many = {str(number).encode(): one for number in range(100)}
    assert differences(many, {}).endswith("4 is missing; and others")


def test_a_chain_is_complete_or_is_none() -> None:
    """Loss prevented: pg_combinebackup in the night of the recovery, that says which link is missing."""
    history = ServerHistory()
    full, one, two = (history.base(incremental=number > 0).manifest for number in range(3))
    all_three = {each.base_id: each for each in (two, one, full)}
    assert chain_of(all_three, two.base_id) == [full, one, two]
    with pytest.raises(DamagedData, match=f"builds on {one.base_id}, which is missing"):
        chain_of({each.base_id: each for each in (two, full)}, two.base_id)
    with pytest.raises(RecoveryError):
        chain_of(all_three, "20260101T000000Z-AAAAAA")


def test_wal_reaches_up_to_the_first_hole_tails_included() -> None:
    """Loss prevented: a base backup that exists, and a hole in the WAL that it needs."""
    size = 1 << 20
    names = [segment_name(1, number * size, size) for number in range(1, 5)]
    listing = Listing({names[0]: "", names[2]: ""}, {names[1]: [Tail(0, 10, ""), Tail(10, 99, "")]}, {})

    def reached(from_lsn: int, to_lsn: int) -> int:
        return reached_lsn(listing, 1, from_lsn, to_lsn, size)

    assert reached(size + 5, 2 * size) == 2 * size
    assert reached(size + 5, 2 * size + 50) == 2 * size + 50
    assert reached(size + 5, 9 * size) == 2 * size + 99
    assert reached(2 * size + 200, 9 * size) == 2 * size + 200
    assert reached(3 * size, 9 * size) == 4 * size
    assert reached_lsn(listing, 2, size, 9 * size, size) == size


def test_what_is_handed_on_comes_in_order_and_an_error_comes_back() -> None:
    """Loss prevented: an archive with its pieces exchanged; a full storage that nobody notices."""
    pieces = [bytes([number % 251]) * 300_000 for number in range(40)]
    taken = io.BytesIO()
    with Relay(taken) as relay:
        for piece in pieces:
            relay.write(memoryview(piece))
        relay.finish()
    assert taken.getvalue() == b"".join(pieces)

    def hand_on(sink: Sink) -> None:
        with Relay(sink) as relay:
            for piece in pieces:
                relay.write(memoryview(piece))
            relay.finish()

    class Full:
        def write(self, data: bytes) -> None:
            raise OSError(f"no room for {len(data)} bytes")

    with pytest.raises(OSError, match="no room"):
        hand_on(Full())
