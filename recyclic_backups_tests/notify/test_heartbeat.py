"""The heartbeat: start, success and failure where a service expects them; and never the backup's own failure."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from recyclic_backups import wiring
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.config.load import load_settings
from recyclic_backups.errors import StorageError
from recyclic_backups.notify import heartbeat as beating
from recyclic_backups.notify.heartbeat import ATTEMPTS, address, heartbeat
from recyclic_backups_tests.notify.receivers import Web, trickling_server

BEGINNING = datetime(2026, 11, 1, 1, 0, tzinfo=UTC)


def test_start_and_success(web: Web) -> None:
    """Loss prevented: an alarm elsewhere that never comes because the service hears what it does not understand."""
    said: list[str] = []
    with heartbeat(f"{web.url}/ping/a-uuid", said.append):
        assert web.paths == ["/ping/a-uuid/start"]
    assert web.asked == [("POST", "/ping/a-uuid/start"), ("POST", "/ping/a-uuid")]
    assert said == []


@pytest.mark.parametrize("failure", [StorageError("the disk is full"), KeyboardInterrupt(), SystemExit(143)])
def test_start_and_failure(web: Web, failure: BaseException) -> None:
    """Loss prevented: a failed or interrupted backup that looks like one that is still running."""
    with pytest.raises(type(failure)), heartbeat(f"{web.url}/ping/a-uuid", print):
        raise failure
    assert web.paths == ["/ping/a-uuid/start", "/ping/a-uuid/fail"]


def test_what_is_tried_again_has_not_failed_yet(web: Web) -> None:
    """Loss prevented: a false alarm for every hiccup of the network."""
    with (
        pytest.raises(StorageError),
        heartbeat(f"{web.url}/a", print, will_retry=lambda error: isinstance(error, StorageError)),
    ):
        raise StorageError("a hiccup")
    assert web.paths == ["/a/start"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_ping_that_does_not_get_through_is_said_and_nothing_else(web: Web, status: int) -> None:
    """Loss prevented: a good backup that is called failed because somebody else's service is down."""
    web.status = status
    said: list[str] = []
    with heartbeat(f"{web.url}/a-secret-uuid", said.append):
        pass
    assert len(web.asked) == 2 * ATTEMPTS
    assert said == [
        f"the heartbeat (start) did not reach 127.0.0.1: it answered {status}",
        f"the heartbeat (success) did not reach 127.0.0.1: it answered {status}",
    ]


def test_nobody_there_is_said_too() -> None:
    """Loss prevented: the same, where there is no network."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        said: list[str] = []
        with heartbeat(f"http://127.0.0.1:{closed.getsockname()[1]}/a-secret-uuid", said.append):
            pass
    assert len(said) == 2
    assert "secret" not in "".join(said)
    assert "Connection refused" in said[0]


def test_a_service_that_trickles_delays_the_backup_by_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss prevented: a backup that never begins, because a service that is not needed for it answers for ever."""
    monkeypatch.setattr(beating, "DEADLINE_SECONDS", 0.3)
    said: list[str] = []
    with trickling_server() as url, heartbeat(f"{url}/a-secret-uuid", said.append):
        assert said == ["the heartbeat (start) did not reach 127.0.0.1: it was not done within 0.3 s"]
    assert len(said) == 2


@contextmanager
def _running(thread: threading.Thread) -> Iterator[None]:
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_an_interrupted_ping_leaves_nothing_behind() -> None:
    """Loss prevented: Ctrl-C that has to wait for somebody else's server."""

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    asked = threading.Event()

    def interrupt_once_asked() -> None:
        if asked.wait(60):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    timer = threading.Thread(target=interrupt_once_asked)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with (
            trickling_server(asked) as url,
            pytest.raises(KeyboardInterrupt),
            _running(timer),
            heartbeat(f"{url}/a-secret-uuid", print),
        ):
            raise AssertionError("the ping came to an end")
    finally:
        signal.signal(signal.SIGALRM, before)


def test_without_a_url_nothing_happens() -> None:
    """Loss prevented: a backup that needs a service."""
    with heartbeat("", print):
        pass


def test_what_follows_the_question_mark_stays_behind_the_path() -> None:
    """Loss prevented: a beat told to another address."""
    assert address("https://hc.example.org/ping/a-uuid/?rid=1", "fail") == (
        "https://hc.example.org/ping/a-uuid/fail?rid=1"
    )
    assert address("https://hc.example.org", "start") == "https://hc.example.org/start"
    assert address("https://hc.example.org/x?y", "success") == "https://hc.example.org/x?y"


def test_only_the_running_days_backup_beats() -> None:
    """Loss prevented: a backfill of last month that tells the service that tonight went well."""
    settings = load_settings({"HEARTBEAT_URL": "https://hc.example.org/a-uuid"})
    assert (
        wiring.heartbeat_for(settings, Tier.DAILY, "2026-11-01", BEGINNING) == "https://hc.example.org/a-uuid"
    )
    assert wiring.heartbeat_for(settings, Tier.DAILY, "2026-10-31", BEGINNING) == ""
    assert wiring.heartbeat_for(settings, Tier.DAILY, "2026-11-01", BEGINNING + timedelta(days=1)) == ""
    assert wiring.heartbeat_for(settings, Tier.WEEKLY, "2026-10-26", BEGINNING) == ""
    assert wiring.heartbeat_for(load_settings({}), Tier.DAILY, "2026-11-01", BEGINNING) == ""
    assert "a-uuid" not in repr(settings)
