"""The server as the guard itself uses it: every session that it opens in the guarded database is counted and named."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import psycopg

from recyclic_backups.postgres.server import APPLICATION_NAME, Server


@dataclass(slots=True)
class Tally:
    """How many sessions were opened, from whatever thread."""

    sessions: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self) -> None:
        """One more."""
        with self.lock:
            self.sessions += 1


@dataclass(frozen=True, slots=True)
class CountedServer(Server):
    """A server whose sessions in ``database`` are counted in ``tally`` and carry ``own_name``.

    A connection is one session; so is a program that is given :meth:`environment`, for each of ours connects once.
    Copies made with ``dataclasses.replace`` count into the same tally.
    """

    database: str = ""
    own_name: str = ""
    tally: Tally = field(default_factory=Tally, compare=False)

    @classmethod
    def of(cls, server: Server, database: str, own_name: str) -> CountedServer:
        """The same server, counted from now on."""
        given = {each.name: getattr(server, each.name) for each in fields(Server)}
        return cls(**given, database=database, own_name=own_name)

    def environment(self, database: str, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """See :meth:`Server.environment`; counted as one session."""
        if database == self.database:
            self.tally.add()
        return {**Server.environment(self, database, settings), "PGAPPNAME": self.own_name}

    def session_began(self, database: str) -> None:
        """Count it."""
        if database == self.database:
            self.tally.add()

    @contextmanager
    def connect(
        self,
        database: str,
        *,
        autocommit: bool = True,
        settings: Mapping[str, str] | None = None,
        application_name: str = APPLICATION_NAME,  # noqa: ARG002 - the guard's own name is what it is known by
    ) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """See :meth:`Server.connect`; counted once it is there."""
        with Server.connect(
            self, database, autocommit=autocommit, settings=settings, application_name=self.own_name
        ) as connection:
            yield connection
