"""What ``--json`` prints is one object, an error included, and is what docs/json.md says."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recyclic_backups.archive.receive import Receiver, ReceiveTerms
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.cli.commands import parser
from recyclic_backups.envelope.keyring import Keyring
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups.storage.local import LocalStore
from recyclic_backups_tests.archive.conftest import SLOT
from recyclic_backups_tests.base_backup.conftest import forgotten_slot
from recyclic_backups_tests.docs.pages import blocks, read
from recyclic_backups_tests.operator import PASSPHRASE, Operator

PAGE = {
    each.mark.removeprefix("of="): json.loads(each.text)
    for each in blocks(read("docs/json.md"))
    if each.language == "json"
}


OF_SERVERS = {"recover", "wal status", "drill, pitr"}
"""Commands about whole servers: tests beside those of the command compare what they print (:func:`differences`)."""


def differences(name: str, printed: str) -> list[str]:
    """How a report differs in form from the example of that name on the page."""
    return list(_differences(PAGE[name], json.loads(printed)))


def _differences(documented: Any, printed: Any, place: str = "") -> Iterator[str]:
    """How a report differs from its example in form: names, and kinds of values. Nothing is ever a value."""
    if printed is None or documented is None:
        return
    if isinstance(documented, dict) and isinstance(printed, dict):
        # {"…": example}: names of the reader's own, as of tables.
        anything = "…" in documented
        known = {name for name in documented if name != "…"}
        if missing := known - printed.keys():
            yield f"{place}: lacks {sorted(missing)}"
        if not anything and (unknown := printed.keys() - known):
            yield f"{place}: the page does not know {sorted(unknown)}"
        for name, value in printed.items():
            if name in known or anything:
                yield from _differences(documented.get(name, documented.get("…")), value, f"{place}.{name}")
    elif isinstance(documented, list) and isinstance(printed, list):
        for number, value in enumerate(printed if documented else []):
            # Of several examples one has to be it.
            found = [list(_differences(each, value, f"{place}[{number}]")) for each in documented]
            yield from min(found, key=len)
    elif _kind(documented) != _kind(printed):
        yield f"{place}: {printed!r} is no {_kind(documented)}"


def _kind(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def _with_json(found: argparse.ArgumentParser, path: str = "") -> Iterator[str]:
    for action in found._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from _with_json(command, f"{path} {name}".strip())
        elif "--json" in action.option_strings:
            yield path


def test_the_page_has_every_command_that_prints_json() -> None:
    """Loss prevented: a script that is written against a guess."""
    commands = {name.split(",")[0] for name in PAGE} - {"an error"}
    assert commands == {*_with_json(parser(whole=True)), "metrics"}


@contextmanager
def _receiving(cluster: ScratchCluster, operator: Operator) -> Iterator[None]:
    """A receiver of WAL beside the operator, for the block."""
    store = LocalStore.open(operator.storage, create=False)
    repository = Repository(store, "postgres", Keyring(store, PASSPHRASE), encrypt=True)
    terms = ReceiveTerms(SLOT, tail_seconds=0.2, heartbeat_seconds=3600)
    receiver = Receiver(
        cluster.server, repository, terms, clock=lambda: datetime.now(UTC), say=lambda _: None
    )
    stopping = threading.Event()
    thread = threading.Thread(target=receiver.run, args=(stopping,), daemon=True)
    with forgotten_slot(cluster):
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def _reports(cluster: ScratchCluster, operator: Operator, directory: Path) -> Iterator[tuple[str, str, int]]:
    """Reports of all commands: the example on the page, what was printed, and the exit code."""
    live = operator.variables["POSTGRES_DB"]

    def run(name: str, *options: str, **variables: str) -> tuple[str, str, int]:
        command = name.split(",", maxsplit=1)[0].split()
        json_option = [] if name == "metrics" else ["--json"]
        outcome = operator.run(*command, *options, *json_option, **variables)
        return name, outcome.out, outcome.code

    yield "an error", operator.run("show", "latest", "--json").out, 30
    yield run("validate")
    yield run("backup")
    with _receiving(cluster, operator):
        yield run("base-backup")
    yield run("base-backup, with --list", "--list")
    yield run("base-backup, with --verify", "--verify")
    yield run("verify", "--all")
    operator.must("hold", "latest", "--reason", "a dispute", "--until", "2099-12-31")
    yield run("restore, with its plan alone", "latest", "--replace")
    yield run("restore", "latest", "--into", f"{live}_json")
    yield run(
        "restore, into a live database", "latest", "--table", "public.sale", "--merge-into", live, "--yes"
    )
    yield run("list")
    yield run("show", "latest")
    yield run("diagnose")
    for scenario in ("simple", "partial", "full"):
        yield run(f"drill, {scenario}", scenario)
    yield run("expire")
    yield run("status")
    yield run("metrics")
    hook = "json://127.0.0.1:9/hook"
    yield run("alerts", "--once", NOTIFICATION_URLS=hook, XDG_STATE_HOME=str(directory / "state"))
    yield run("notify-test", NOTIFICATION_URLS="json://127.0.0.1:9/hook")
    for verb in ("list", "sheet", "rotate", "seal-manifests"):
        yield run(f"keys {verb}")
    yield run("audit show")
    yield run("audit verify")
    yield run("flags list")
    file = directory / "nothing.dump"
    file.write_text("this is no dump")
    yield run("adopt", str(file))


@pytest.mark.timeout(600)  # three drills among others
def test_every_report_is_as_the_page_says(
    cluster: ScratchCluster, small_operator: Operator, small_database: str, tmp_path: Path
) -> None:
    """Loss prevented: a field that a script reads, gone after an update; or one that nobody knows of."""
    seen = set()
    try:
        for name, printed, code in _reports(cluster, small_operator, tmp_path):
            report = json.loads(printed)
            assert report["format"] == PAGE[name]["format"], name
            assert ("error" in report) is ("error" in PAGE[name]), printed
            if "error" in report:
                assert report["error"]["exit_code"] == code
            assert not list(_differences(PAGE[name], report)), name
            seen.add(name)
    finally:
        with cluster.server.connect("postgres") as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{small_database}_"]
            )
            for (other,) in found.fetchall():
                connection.execute(f'DROP DATABASE "{other}" WITH (FORCE)'.encode())
    elsewhere = {name for name in PAGE if {name, name.split(",")[0]} & OF_SERVERS or "moment" in name}
    assert seen == PAGE.keys() - elsewhere


@pytest.mark.parametrize("arguments", [("no-such-command",), ("list", "--no-such-option"), ("show",)])
def test_also_a_command_that_cannot_be_parsed_ends_with_an_object(
    operator: Operator, arguments: tuple[str, ...]
) -> None:
    """Loss prevented: a script that waits for JSON, and reads nothing."""
    outcome = operator.run(*arguments, "--json")
    assert outcome.code == 2
    error = outcome.document["error"]
    assert (error["exit_code"], error["kind"]) == (2, "usage")
    assert error["message"] in outcome.err
