"""One view of a storage for everybody in a process who looks often: sensors, and the questions of one run.

Within :func:`looking`, the storage is asked for one listing every :data:`SECONDS`. As long as that listing is the same
as before, what was read beside it is not read again, for :data:`KEPT` at most. A year of backups then costs a remote
storage a thousand calls a day and not millions. Whoever is about to act on what was seen asks anew (:func:`ask_anew`),
and so does everybody after a write of this process. Whoever takes, restores or deletes backups has no part in it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from recyclic_backups.errors import ObjectMissing
from recyclic_backups.storage.store import (
    Child,
    ObjectReader,
    ObjectWriter,
    Store,
    StoredObject,
    StrangeEntry,
)

T = TypeVar("T")

SECONDS = 100.0
"""Sensors look once a minute: every second time the storage is asked."""

KEPT = timedelta(hours=1)
"""What lies outside the listing (keys, recover.py, what people were told of) is looked at so often at least."""

_SERVER = re.compile(r"server\.[0-9]+")
"""The folders of WAL and base backups. They change all the time while the database's own listing stays the same, and
have thousands of names: they are listed once an hour, or as often as the rest while something is wrong there."""


@dataclass(frozen=True, slots=True)
class _Look:
    clock: Callable[[], datetime]
    age: timedelta


_look: ContextVar[_Look | None] = ContextVar("look", default=None)


@contextmanager
def looking(clock: Callable[[], datetime], seconds: float) -> Iterator[None]:
    """Within the block, :func:`shared` gives a view that is at most so many seconds old; with 0 it gives none."""
    token = _look.set(_Look(clock, timedelta(seconds=seconds)) if seconds else None)
    try:
        yield
    finally:
        _look.reset(token)


def shared(store: Store, folder: str, listed_after: Callable[[datetime], str]) -> Store:
    """The view of a storage, or the storage itself where nobody is :func:`looking`.

    The listing is of ``folder``, of names after ``listed_after`` of the time at which it was last begun anew.
    """
    look, view = _look.get(), _views.setdefault((store.url, folder), _View(folder))
    servers = _servers.setdefault(store.url, _Servers())
    if look is None:
        view.forget()  # what is about to be written goes past the view
        servers.forget()
        return store
    return SharedStore(store, view, servers, look, listed_after)


def ask_anew() -> None:
    """Forget what was seen: whoever acts on it must know how things are now."""
    for view in list(_views.values()):
        view.forget()
    for servers in list(_servers.values()):
        servers.forget()


def newest(store: Store, name: str, *, anew: bool) -> bytes:
    """A small object of a server's, which is replaced more often than that folder is listed.

    It may be newer than what :meth:`Store.get` answers, which goes with the listing. ``anew`` asks the storage, else
    what it answered last is good enough. Raises as :meth:`Store.get`.
    """
    return store.newest(name, anew=anew) if isinstance(store, SharedStore) else store.get(name)


def forget_servers(store: Store) -> None:
    """Forget what was seen of the servers' folders: it is known to be old."""
    if isinstance(store, SharedStore):
        store.servers.forget()


def watch_servers(store: Store, *, closely: bool) -> None:
    """Look at the servers' folders as often as at the rest, while something is wrong there, or once an hour."""
    if isinstance(store, SharedStore):
        store.servers.kept = timedelta(seconds=SECONDS) if closely else KEPT


def are_watched_closely(store: Store) -> bool:
    """Whether something was wrong in the servers' folders at the last look."""
    return isinstance(store, SharedStore) and store.servers.kept != KEPT


@dataclass
class _View:
    """What the storage answered. ``listing`` is the one that is compared, None while nothing is known."""

    folder: str
    listing: tuple[StoredObject | StrangeEntry, ...] | None = None
    after: str = ""
    listed_at: datetime | None = None
    begun_at: datetime | None = None
    answers: dict[tuple[str, ...], Any] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def forget(self) -> None:
        with self.lock:
            self.listing = None
            self.answers.clear()


@dataclass
class _Servers:
    """What a storage answered about the folders of servers, which all databases share. All of it is of one hour."""

    kept: timedelta = KEPT
    begun_at: datetime | None = None
    answers: dict[tuple[str, ...], Any] = field(default_factory=dict)
    newest: dict[str, bytes] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def forget(self) -> None:
        with self.lock:
            self.begun_at = None
            self.answers.clear()
            self.newest.clear()

    def answer(self, asked: tuple[str, ...], ask: Callable[[], T], now: datetime) -> T:
        with self.lock:
            if not _is_within(self.kept, self.begun_at, now):
                self.forget()
                self.begun_at = now
            if asked not in self.answers:
                self.answers[asked] = ask()
            found: T = self.answers[asked]
            return found


_views: dict[tuple[str, str], _View] = {}
_servers: dict[str, _Servers] = {}


class SharedStore:
    """A :class:`Store` that answers from the view what it can, and writes through."""

    def __init__(
        self,
        store: Store,
        view: _View,
        servers: _Servers,
        look: _Look,
        listed_after: Callable[[datetime], str],
    ) -> None:
        self._store, self._view, self._look, self._listed_after = store, view, look, listed_after
        self.servers = servers

    @property
    def url(self) -> str:
        """That of the storage."""
        return self._store.url

    def get(self, name: str) -> bytes:
        """A small object: that of the listing is read when it is asked for, another one is remembered."""
        if _server_of(name) is None and self._is_listed(name, ""):
            return self._store.get(name)

        def ask() -> bytes | ObjectMissing:
            try:
                return self._store.get(name)
            except ObjectMissing as missing:
                return missing

        found = self._answer(("get", name), ask)
        if isinstance(found, ObjectMissing):
            raise ObjectMissing(found.message, found.hint)
        return found

    def list(self, prefix: str = "", after: str = "") -> Iterator[StoredObject]:
        """Objects, by the listing where it has them all."""
        if (server := _server_of(prefix)) is not None:
            inside = (item for item in self._in_server(server) if isinstance(item, StoredObject))
            return (item for item in inside if item.name.startswith(prefix) and item.name > after)
        if not self._is_listed(prefix, after):
            return iter(self._answer(("list", prefix, after), lambda: tuple(self._store.list(prefix, after))))
        found = (item for item in self._listing() if isinstance(item, StoredObject))
        return (item for item in found if item.name.startswith(prefix) and item.name > after)

    def everything(self, folder: str = "", after: str = "") -> Iterator[StoredObject | StrangeEntry]:
        """Objects and what is strange, by the listing where it is of that folder."""
        if folder != self._view.folder or not self._is_listed(f"{folder}/", after):
            asked = ("everything", folder, after)
            return iter(self._answer(asked, lambda: tuple(self._store.everything(folder, after))))
        return (item for item in self._listing() if isinstance(item, StrangeEntry) or item.name > after)

    def strange(self, folder: str = "") -> Iterator[StrangeEntry]:
        """What nobody of us made."""
        if (server := _server_of(f"{folder}/")) is not None:
            return (
                item
                for item in self._in_server(server)
                if isinstance(item, StrangeEntry)
                and (f"{item.name}/".startswith(f"{folder}/") or folder.startswith(f"{item.name}/"))
            )
        return iter(self._answer(("strange", folder), lambda: tuple(self._store.strange(folder))))

    def children(self, folder: str = "") -> Sequence[Child]:
        """Everything directly in a folder."""
        return self._answer(("children", folder), lambda: self._store.children(folder))

    def newest(self, name: str, *, anew: bool) -> bytes:
        """See :func:`newest`."""
        with self.servers.lock:
            if anew:
                self.servers.newest[name] = self._store.get(name)
            return self.servers.newest[name] if name in self.servers.newest else self.get(name)

    def create(self, name: str, data: bytes) -> None:
        """Write a small object that must not exist yet."""
        self._changing(name, lambda: self._store.create(name, data))

    def replace(self, name: str, data: bytes) -> None:
        """Write a small object, or swap its content."""
        self._changing(name, lambda: self._store.replace(name, data))

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._changing(name, lambda: self._store.delete(name))

    def discard_partial(self, name: str) -> None:
        """Remove an upload that was never committed."""
        self._changing(name, lambda: self._store.discard_partial(name))

    @contextmanager
    def writer(self, name: str) -> Iterator[ObjectWriter]:
        """An upload."""
        try:
            with self._store.writer(name) as writer:
                yield writer
        finally:
            self._forget(name)

    def reader(self, name: str, offset: int = 0) -> AbstractContextManager[ObjectReader]:
        """An object as it is now."""
        return self._store.reader(name, offset)

    def open_to_others(self) -> str:
        """Who beside its user may change the storage."""
        return self._store.open_to_others()

    def free_bytes(self) -> int | None:
        """Space left now."""
        return self._store.free_bytes()

    def partials(self) -> Iterator[StoredObject]:
        """Uploads that were never committed."""
        return self._store.partials()

    def is_abandoned(self, name: str) -> bool:
        """Whether whoever wrote one of :meth:`partials` is known to be gone."""
        return self._store.is_abandoned(name)

    def _listing(self) -> tuple[StoredObject | StrangeEntry, ...]:
        """The listing, asked for anew if it is too old; where it differs, nothing else is believed any more."""
        view = self._view
        with view.lock:
            now = self._look.clock()
            if view.listing is not None and _is_within(self._look.age, view.listed_at, now):
                return view.listing
            if not _is_within(KEPT, view.begun_at, now):
                view.forget()
                view.after, view.begun_at = self._listed_after(now), now
            before, view.listing = view.listing, None
            found = tuple(self._store.everything(view.folder, view.after))
            if found != before:
                view.answers.clear()
            view.listing, view.listed_at = found, now
            return found

    def _is_listed(self, prefix: str, after: str) -> bool:
        """Whether all names with that prefix after that one are among those that the listing has."""
        with self._view.lock:
            self._listing()
            is_inside = prefix.startswith(f"{self._view.folder}/")
            return is_inside and max(prefix, after) >= self._view.after

    def _answer(self, asked: tuple[str, ...], ask: Callable[[], T]) -> T:
        if _server_of(asked[1]) is not None:
            return self.servers.answer(asked, ask, self._look.clock())
        with self._view.lock:
            self._listing()
            if asked not in self._view.answers:
                self._view.answers[asked] = ask()
            found: T = self._view.answers[asked]
            return found

    def _in_server(self, server: str) -> tuple[StoredObject | StrangeEntry, ...]:
        """Everything in the folder of a server: one listing, whatever is asked of it."""
        return self._answer(("everything", server + "/"), lambda: tuple(self._store.everything(server)))

    def _changing(self, name: str, change: Callable[[], None]) -> None:
        try:
            change()
        finally:
            self._forget(name)

    def _forget(self, name: str) -> None:
        if _server_of(name) is not None:
            self.servers.forget()
        else:
            self._view.forget()


def _server_of(name: str) -> str | None:
    """The folder of the server whose object that is, or None."""
    folder, slash, _ = name.partition("/")
    return folder if slash and _SERVER.fullmatch(folder) else None


def _is_within(age: timedelta, moment: datetime | None, now: datetime) -> bool:
    """Whether that was less than ``age`` ago: not where the clock was set back since."""
    return moment is not None and timedelta(0) <= now - moment < age
