"""The contract of every storage, as tests. A new storage inherits them and says how to make an empty one."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recyclic_backups.errors import ObjectExists, ObjectMissing, StorageError
from recyclic_backups.storage.store import Store

MEBIBYTE = 1 << 20

# One test for several storages, each with a fixture that the test empties itself.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow]

UNUSUAL_NAMES = [
    "app/with space.dump",
    "app/percent%20sign%zz",
    "app/été/数据 🐘",
    "app/.hidden",
    "app/...",
    "app/a'b\"c\\d",
    "app/line\nbreak",
    "app/" + "x" * 200,
    "app/partial-looking",
]

IMPOSSIBLE_NAMES = ["", "/", "/app", "app/", "app//x", "../x", "app/../x", ".", "app/.", "app/..", "a\0b"]


def upload(store: Store, name: str, data: bytes) -> None:
    """One object by the way of large ones."""
    with store.writer(name) as writer:
        writer.write(data)
        writer.commit()


def read(store: Store, name: str, offset: int = 0, size: int = 1000) -> bytes:
    """The object from the offset on, read to its end."""
    with store.reader(name, offset) as reader:
        return b"".join(iter(lambda: reader.read(size), b""))


def names(store: Store, prefix: str = "") -> list[str]:
    """The names of a listing."""
    return [stored.name for stored in store.list(prefix)]


def at_once(acts: list[Callable[[], object]]) -> list[object]:
    """Results of the acts, or their exceptions, after all have started together."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - handed back to the test
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


class StoreContract:
    """Override ``store`` with a fixture that gives an empty storage."""

    memory_limit_bytes: ClassVar[int | None] = 8 * MEBIBYTE
    """What moving a 48 MiB object through the storage may take; None where objects live in memory."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """An empty storage."""
        raise NotImplementedError

    def test_an_object_is_there_once_committed_and_not_before(self, store: Store) -> None:
        """A reader must never take the beginning of a dump for a dump."""
        with store.writer("app/main.dump") as writer:
            writer.write(b"half")
            assert names(store) == []
            with pytest.raises(ObjectMissing):
                store.get("app/main.dump")
            writer.write(b" and half")
            writer.commit()
            assert names(store) == ["app/main.dump"]
        assert store.get("app/main.dump") == b"half and half"

    def test_leaving_without_commit_leaves_nothing(self, store: Store) -> None:
        """When pg_dump dies, the writer is simply left: what it wrote must not become an object."""
        with store.writer("app/main.dump") as writer:
            writer.write(b"half")
        assert names(store) == []

    def test_an_exception_inside_leaves_nothing(self, store: Store) -> None:
        """Some libraries publish the truncated object in this case; ours must not."""
        with suppress(ZeroDivisionError), store.writer("app/main.dump") as writer:
            writer.write(b"half")
            raise ZeroDivisionError
        assert names(store) == []

    def test_an_exception_after_the_commit_takes_nothing_back(self, store: Store) -> None:
        """The commit is the commit: what follows it is another matter."""
        with suppress(ZeroDivisionError), store.writer("app/main.dump") as writer:
            writer.write(b"whole")
            writer.commit()
            raise ZeroDivisionError
        assert store.get("app/main.dump") == b"whole"

    def test_an_abandoned_upload_leaves_the_older_object_alone(self, store: Store) -> None:
        """A second attempt that fails must not cost the first one."""
        upload(store, "app/main.dump", b"older")
        with store.writer("app/main.dump") as writer:
            writer.write(b"newer")
        assert store.get("app/main.dump") == b"older"

    def test_a_writer_takes_nothing_after_its_end(self, store: Store) -> None:
        """Bytes written after the commit would be lost without a word."""
        with store.writer("app/one") as writer:
            writer.write(b"1")
            writer.commit()
            with pytest.raises(StorageError):
                writer.write(b"2")
            with pytest.raises(StorageError):
                writer.commit()
        with store.writer("app/two") as left:
            pass
        with pytest.raises(StorageError):
            left.write(b"2")
        with pytest.raises(StorageError):
            left.commit()
        assert names(store) == ["app/one"]
        assert store.get("app/one") == b"1"

    def test_every_kind_of_bytes_can_be_written(self, store: Store) -> None:
        """The pipeline reuses its buffers: what is stored is their content when they were handed over."""
        buffer = bytearray(b"first")
        with store.writer("app/x") as writer:
            writer.write(buffer)
            buffer[:] = b"again"
            writer.write(memoryview(buffer)[1:3])
            writer.write(b"")
            writer.write(b"!")
            writer.commit()
        assert store.get("app/x") == b"firstga!"

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        """An empty table's data are zero bytes long, and not missing."""
        upload(store, "app/empty", b"")
        store.create("app/created", b"")
        assert store.get("app/empty") == read(store, "app/created") == b""
        assert [stored.size_bytes for stored in store.list()] == [0, 0]

    def test_create_never_overwrites(self, store: Store) -> None:
        """A manifest written twice would make one of two backups unfindable."""
        store.create("app/manifest.json", b"first")
        with pytest.raises(ObjectExists):
            store.create("app/manifest.json", b"second")
        assert store.get("app/manifest.json") == b"first"
        assert names(store) == ["app/manifest.json"]

    def test_of_many_creators_exactly_one_wins(self, store: Store) -> None:
        """Locks and manifests rest on it: two winners would be two owners."""
        for turn in range(10):
            name = f"app/lock-{turn}"
            contents = [f"{turn} {number}".encode() for number in range(8)]
            results = at_once([lambda data=data, name=name: store.create(name, data) for data in contents])  # type: ignore[misc]
            winners = [data for data, result in zip(contents, results, strict=True) if result is None]
            assert winners == [store.get(name)]
            assert sum(isinstance(result, ObjectExists) for result in results) == 7

    def test_replace_makes_and_swaps(self, store: Store) -> None:
        """A label is moved to a newer backup by replacing it."""
        store.replace("app/label.json", b"first")
        store.replace("app/label.json", b"second, longer")
        store.replace("app/label.json", b"3rd")
        assert store.get("app/label.json") == b"3rd"
        assert names(store) == ["app/label.json"]

    def test_readers_see_the_old_or_the_new_and_never_a_mix(self, store: Store) -> None:
        """A label read in the middle of its replacement must name one backup, not half of two."""
        contents = [bytes([letter]) * size for letter, size in [(65, 50_000), (66, 20_000), (67, 70_000)]]
        store.replace("app/label.json", contents[0])
        done = threading.Event()

        def replace_often() -> None:
            try:
                for turn in range(60):
                    store.replace("app/label.json", contents[turn % 3])
            finally:
                done.set()

        def read_often() -> set[bytes]:
            seen = set()
            while not done.is_set():
                seen.add(store.get("app/label.json"))
                seen.add(read(store, "app/label.json", size=4096))
            return seen

        first, *seen = at_once([replace_often, read_often, read_often])
        assert first is None
        for contents_seen in seen:
            assert isinstance(contents_seen, set), contents_seen
            assert contents_seen <= set(contents)

    def test_a_missing_object_is_said_to_be_missing(self, store: Store) -> None:
        """The callers tell "not there" from "cannot be read", and only the first is harmless."""
        store.create("app/dir/object", b"x")
        for name in ["other", "app", "app/dir", "app/dir/object/below", "app/dir/objec", "nowhere/at/all"]:
            with pytest.raises(ObjectMissing):
                store.get(name)
            with pytest.raises(ObjectMissing), store.reader(name):
                pass

    def test_reading_starts_at_the_offset(self, store: Store) -> None:
        """A parallel restore reads tables in the middle of an archive."""
        upload(store, "app/x", b"0123456789")
        assert read(store, "app/x", 0, 3) == b"0123456789"
        assert read(store, "app/x", 4) == b"456789"
        assert read(store, "app/x", 9) == b"9"
        assert read(store, "app/x", 10) == b""
        assert read(store, "app/x", 1000) == b""
        with pytest.raises(StorageError), store.reader("app/x", -1):
            pass

    def test_an_open_reader_outlives_replacement_or_says_so(self, store: Store) -> None:
        """A reader that silently went on in another object would hand out a mix."""
        store.replace("app/x", b"a" * 100)
        with store.reader("app/x") as reader:
            head = reader.read(10)
            store.replace("app/x", b"b" * 100)
            try:
                rest = b"".join(iter(lambda: reader.read(1000), b""))
            except StorageError:
                return
        assert head + rest == b"a" * 100

    def test_the_listing_is_in_the_order_of_names(self, store: Store) -> None:
        """Newest, oldest and "the audit event before" are all found by this order."""
        given_names = ["b", "a/c", "a-b/x", "a/b/c", "a.b", "a/b-c", "a/B", "a0", "é", "Z/1", "a/b/0/9"]
        for name in given_names:
            store.create(name, b"x")
        assert names(store) == sorted(given_names)

    def test_a_prefix_is_the_beginning_of_names_and_not_only_a_directory(self, store: Store) -> None:
        """A prefix matched too widely would delete a stranger's objects, too narrowly it would hide some."""
        every = [
            "app/backups/20261121T01/m",
            "app/backups/20261122T01/m",
            "app/backups/2027/m",
            "app2/x",
            "ap",
        ]
        for name in every:
            store.create(name, b"x")
        whole = "app/backups/20261122T01/m"
        narrow = ["app/backups/2026", "app/backups/20261122T01/", whole, f"{whole}m"]
        for prefix in ["", "a", "ap", "app", "app/", "app2", *narrow, "b", "none/at/all", ".."]:
            assert names(store, prefix) == sorted(name for name in every if name.startswith(prefix)), prefix

    def test_a_listing_begins_after_a_name(self, store: Store) -> None:
        """The end of a log of years is found without listing the years."""
        for name in ("app/a-b/x", "app/a/x", "app/a/y", "app/b", "app/c/z", "other"):
            store.create(name, b"1")
        assert [item.name for item in store.list("app/", after="app/a/x")] == ["app/a/y", "app/b", "app/c/z"]
        assert [item.name for item in store.list("app/", after="app/a0")] == ["app/b", "app/c/z"]
        assert [item.name for item in store.list("app/", after="app/d")] == []
        everything = [item.name for item in store.everything("app", after="app/a/x")]
        assert everything == ["app/a/y", "app/b", "app/c/z"]

    def test_a_version_is_of_one_content(self, store: Store) -> None:
        """Loss prevented: a label that was moved, and is taken for what it was because it was read before."""

        def version() -> str:
            (item,) = store.list()
            return item.version

        store.create("a", b"1")
        before = version()
        store.replace("a", b"2")
        assert not before or version() != before

    def test_a_listing_tells_sizes_and_times(self, store: Store) -> None:
        """Free space and the age of orphans are computed from it."""
        upload(store, "app/x", b"12345")
        [stored] = store.list()
        assert stored.size_bytes == 5
        assert stored.modified_at.utcoffset() == timedelta(0)
        assert abs(stored.modified_at - datetime.now(UTC)) < timedelta(hours=1)

    def test_a_listing_survives_what_happens_meanwhile(self, store: Store) -> None:
        """An expiry beside a `list` must not end it with an error."""
        for number in range(20):
            store.create(f"app/{number:02}/x", b"x")
        found = []
        for stored in store.list("app/"):
            found.append(stored.name)
            for number in range(1, 20):
                store.delete(f"app/{number:02}/x")
        assert found[0] == "app/00/x"
        assert names(store) == ["app/00/x"]

    @pytest.mark.parametrize("name", UNUSUAL_NAMES)
    def test_unusual_names_keep_their_spelling(self, store: Store, name: str) -> None:
        """A name that comes back otherwise would point to no object."""
        upload(store, name, b"written")
        store.replace(name, b"replaced")
        assert names(store) == names(store, name) == [name]
        assert store.get(name) == read(store, name) == b"replaced"
        with pytest.raises(ObjectExists):
            store.create(name, b"x")
        store.delete(name)
        assert names(store) == []

    @pytest.mark.parametrize("name", [*IMPOSSIBLE_NAMES, ".partial-1", "app/.partial-1/x"])
    def test_impossible_names_are_refused_before_anything_happens(self, store: Store, name: str) -> None:
        """A name that climbs out of the storage could overwrite any file of its user."""
        acts: list[Callable[[], object]] = [
            lambda: store.get(name),
            lambda: read(store, name),
            lambda: upload(store, name, b"x"),
            lambda: store.create(name, b"x"),
            lambda: store.replace(name, b"x"),
            lambda: store.delete(name),
        ]
        for act in acts:
            with pytest.raises(StorageError) as refused:
                act()
            assert not isinstance(refused.value, ObjectMissing)
        assert names(store) == []

    @pytest.mark.parametrize("prefix", ["/", "/app", "app//x", "../x", "app/../x", "a\0b/"])
    def test_a_prefix_cannot_leave_the_storage_either(self, store: Store, prefix: str) -> None:
        """Listing outside is how deleting outside would begin."""
        with pytest.raises(StorageError):
            names(store, prefix)

    def test_deleting_twice_ends_the_same(self, store: Store) -> None:
        """An expiry that was interrupted is simply run again."""
        store.create("app/backups/1/manifest.json", b"x")
        store.create("app/backups/1/main.dump", b"x")
        store.delete("app/backups/1/manifest.json")
        store.delete("app/backups/1/manifest.json")
        assert names(store) == ["app/backups/1/main.dump"]
        store.delete("app/backups/1/main.dump")
        store.delete("app/backups/1/main.dump")
        store.delete("never/was/there")
        assert names(store) == []

    def test_deleting_a_name_deletes_nothing_below_or_beside_it(self, store: Store) -> None:
        """One wrong argument must not take a whole database's backups along."""
        for name in ["app/x", "app/x2", "app/y/z"]:
            store.create(name, b"x")
        for name in ["app", "app/y", "app/x/below"]:
            store.delete(name)
        assert names(store) == ["app/x", "app/x2", "app/y/z"]
        store.delete("app/x")
        assert names(store) == ["app/x2", "app/y/z"]

    def test_objects_come_and_go_beside_each_other(self, store: Store) -> None:
        """A deletion that tidies up must not pull the ground from under an upload next to it."""

        def come(number: int) -> None:
            for turn in range(25):
                store.create(f"app/a/b/{number}-{turn}", b"x")
                store.delete(f"app/a/b/{number}-{turn}")
                upload(store, f"app/a/b/{number}", b"y")
                store.delete(f"app/a/b/{number}")
            store.create(f"app/a/b/last-{number}", b"x")

        assert at_once([lambda number=number: come(number) for number in range(4)]) == [None] * 4  # type: ignore[misc]
        assert names(store) == [f"app/a/b/last-{number}" for number in range(4)]

    def test_a_large_object_passes_through_little_memory(self, store: Store) -> None:
        """A dump is larger than the memory of the machine that takes it."""
        chunk = hashlib.sha256(b"seed").digest() * (MEBIBYTE // 32)
        written, found = hashlib.sha256(), hashlib.sha256()
        tracemalloc.start()
        try:
            with store.writer("app/large") as writer:
                for _ in range(48):
                    writer.write(chunk)
                    written.update(chunk)
                writer.commit()
            with store.reader("app/large") as reader:
                while piece := reader.read(MEBIBYTE):
                    found.update(piece)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert found.digest() == written.digest()
        assert [stored.size_bytes for stored in store.list()] == [48 * MEBIBYTE]
        assert self.memory_limit_bytes is None or peak_bytes < self.memory_limit_bytes

    def test_free_space_is_a_number_or_unknown(self, store: Store) -> None:
        """Health compares it with a limit: it must be bytes, or nothing."""
        free = store.free_bytes()
        assert free is None or free > 0

    def test_the_address_can_be_shown(self, store: Store) -> None:
        """It is printed everywhere."""
        assert ":" in store.url

    @settings(max_examples=25, suppress_health_check=SHARED)
    @given(st.data())
    def test_it_behaves_like_a_dictionary(self, store: Store, data: st.DataObject) -> None:
        """Whatever the order of calls, what is listed and read is what was written last."""
        for stored in list(store.list()):
            store.delete(stored.name)
        model: dict[str, bytes] = {}
        some_name = st.sampled_from(["a/x", "a/y", "a-b", "a/b/c", "a/b/d", "z"])
        for _ in range(data.draw(st.integers(0, 12))):
            act = data.draw(st.sampled_from(["upload", "create", "replace", "delete", "abandon"]))
            name, content = data.draw(some_name), data.draw(st.binary(max_size=20))
            if act == "upload":
                upload(store, name, content)
                model[name] = content
            elif act == "create":
                if name in model:
                    with pytest.raises(ObjectExists):
                        store.create(name, content)
                else:
                    store.create(name, content)
                    model[name] = content
            elif act == "replace":
                store.replace(name, content)
                model[name] = content
            elif act == "delete":
                store.delete(name)
                model.pop(name, None)
            else:
                with store.writer(name) as writer:
                    writer.write(content)
        listed = list(store.list())
        assert [(stored.name, stored.size_bytes) for stored in listed] == [
            (name, len(model[name])) for name in sorted(model)
        ]
        assert {name: store.get(name) for name in model} == model
        assert all(earlier.name < later.name for earlier, later in pairwise(listed))
