"""The door in front of Dagster's real webserver: what may somebody do there who may look?"""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemotePartitionSetOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from recyclic_backups_tests.docker.door import Door, door, nginx
from recyclic_backups_tests.docker.mutations import BACKFILL, ENDED_BACKFILL, every_mutation
from recyclic_backups_tests.ports import free_port

pytestmark = pytest.mark.skipif(
    nginx() is None, reason="nginx: none on this machine (apt-get install nginx-light)"
)

PAGES = {"index.html": "<!DOCTYPE html><title>report</title>", "metrics.prom": "recyclic_backups_up 1.0\n"}


HARMLESS = {"logTelemetry", "setNuxSeen"}
"""Mutations that Dagster asks no permission for: one writes nowhere (telemetry is off), the other hides a dialog."""


@contextmanager
def _webserver(home: Path, *options: str) -> Iterator[int]:
    port = free_port()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (home / "workspace.yaml").write_text(
        "load_from: [{python_module: {module_name: recyclic_backups.definitions, location_name: recyclic_backups}}]\n"
    )
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    log = home / "webserver.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dagster_webserver",
                *options,
                "-h",
                "127.0.0.1",
                "-p",
                str(port),
                "-w",
                "workspace.yaml",
            ],
            cwd=home,
            env={**kept, "DAGSTER_HOME": str(home), "BACKUP_STORAGE": f"file://{home}/backups"},
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            give_up_at = time.monotonic() + 120
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < give_up_at, log.read_text()
                    time.sleep(0.3)
            yield port
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def in_front_of_dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The door with Dagster's webserver for those who look; the operator's is not needed."""
    home = tmp_path_factory.mktemp("door")
    (home / "dagster").mkdir()
    _leave_a_backfill(home / "dagster")
    with _webserver(home / "dagster", "--read-only") as port:
        upstreams = {"backup-ui": free_port(), "backup-ui-readonly": port}
        with door(home, upstreams, pages=PAGES) as found:
            found.ask("/report", user="viewer")
            yield found


def _leave_a_backfill(home: Path) -> None:
    """One that runs and one that failed: Dagster looks for them before it asks who wants to do something to them."""
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    origin = RemotePartitionSetOrigin(
        repository_origin=RemoteRepositoryOrigin(
            code_location_origin=ManagedGrpcPythonEnvCodeLocationOrigin(
                loadable_target_origin=LoadableTargetOrigin(module_name="recyclic_backups.definitions"),
                location_name="recyclic_backups",
            ),
            repository_name="__repository__",
        ),
        partition_set_name="daily_backup_job_partition_set",
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for backfill_id, status in (
            (BACKFILL, BulkActionStatus.REQUESTED),
            (ENDED_BACKFILL, BulkActionStatus.COMPLETED_FAILED),
        ):
            instance.add_backfill(
                PartitionBackfill(
                    backfill_id=backfill_id,
                    status=status,
                    from_failure=False,
                    tags={},
                    backfill_timestamp=1795750000.0,
                    partition_set_origin=origin,
                    partition_names=["2026-11-20"],
                )
            )


def _post(opened: Door, document: Any, **headers: str) -> tuple[int, Any]:
    answer = opened.ask("/graphql", user="viewer", body=json.dumps(document).encode(), headers=headers)
    try:
        return answer.status, json.loads(answer.body)
    except ValueError:
        return answer.status, answer.body.decode("utf-8", "replace")


def _is_refused(name: str, said: Any) -> bool:
    text = json.dumps(said)
    if isinstance(said, Mapping) and isinstance(said.get("data"), Mapping):
        result = said["data"].get(name)
        if isinstance(result, Mapping) and result.get("__typename") == "UnauthorizedError":
            return True
    return "UnauthorizedError" in text or "PermissionCheck" in text or "permission" in text.lower()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_viewer_starts_changes_and_deletes_nothing_by_any_mutation_that_there_is(
    in_front_of_dagster: Door,
) -> None:
    """Attack prevented: who may look launches a run, stops one, switches a schedule off, or wipes the history."""
    allowed = {}
    for name, document in every_mutation():
        _, said = _post(in_front_of_dagster, {"query": document})
        if not _is_refused(name, said):
            allowed[name] = said
    assert set(allowed) <= HARMLESS, allowed


def _asked_by_websocket(opened: Door, query: str) -> list[Any]:
    """What Dagster says to a query over graphql-ws (the protocol of its pages), until it is silent."""
    said: list[Any] = []
    login = opened.login("viewer")["Authorization"]
    key = base64.b64encode(os.urandom(16)).decode()
    with opened.connect() as client:
        client.settimeout(4)
        client.sendall(
            (
                f"GET /graphql HTTP/1.1\r\nHost: localhost:{opened.port}\r\nAuthorization: {login}\r\n"
                f"Origin: https://localhost:{opened.port}\r\nCookie: {opened.cookies['viewer']}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: graphql-ws\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            buffer += client.recv(65536)
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        client.sendall(_frame({"type": "connection_init", "payload": {}}))
        client.sendall(_frame({"id": "1", "type": "start", "payload": {"query": query}}))
        try:
            while True:
                while (found := _unframed(buffer)) is None:
                    if not (part := client.recv(65536)):
                        return said
                    buffer += part
                text, buffer = found
                said.append(json.loads(text) if text.startswith(b"{") else text.decode("latin-1"))
        except TimeoutError:
            return said


def _frame(message: Any) -> bytes:
    """A masked text frame (RFC 6455, section 5.2)."""
    payload, mask = json.dumps(message).encode(), os.urandom(4)
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return b"\x81" + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def _unframed(buffer: bytes) -> tuple[bytes, bytes] | None:
    """The payload of the first frame, and what follows it; None where it is not whole yet."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1] & 0x7F, 2
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(buffer) < 2 + size:
            return None
        length, start = int.from_bytes(buffer[2 : 2 + size], "big"), 2 + size
    return (
        (buffer[start : start + length], buffer[start + length :]) if len(buffer) >= start + length else None
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_viewer_starts_nothing_over_a_websocket_a_batch_or_another_content_type(
    in_front_of_dagster: Door,
) -> None:
    """Attack prevented: a way into Dagster that looks at rights less closely than the one its pages take."""
    launch = dict(every_mutation())["launchRun"]
    said = _asked_by_websocket(in_front_of_dagster, launch)
    assert "connection_ack" in json.dumps(said)
    assert "LaunchRunSuccess" not in json.dumps(said)
    for document in (
        [{"query": launch}],
        {"query": launch, "extensions": {"persistedQuery": {"version": 1}}},
    ):
        _, answer = _post(in_front_of_dagster, document)
        assert "LaunchRunSuccess" not in json.dumps(answer)
    answer = in_front_of_dagster.ask(
        "/graphql",
        user="viewer",
        body=launch.encode(),
        headers={"Content-Type": "application/graphql"},
    )
    assert b"UnauthorizedError" in answer.body
    assert in_front_of_dagster.ask(f"/graphql?query={quote(launch)}", user="viewer").status == 403
    _, runs = _post(in_front_of_dagster, {"query": "{ runsOrError { ... on Runs { results { runId } } } }"})
    assert runs == {"data": {"runsOrError": {"results": []}}}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_alias_a_fragment_or_a_second_operation_is_no_way_around(in_front_of_dagster: Door) -> None:
    """Attack prevented: a mutation under another name, behind a query that is allowed."""
    wipe = 'wipeAssets(assetPartitionRanges: [{assetKey: {path: ["recyclic", "daily_backup"]}}])'
    documents = [
        {"query": f"mutation {{ a: {wipe} {{ __typename }} b: setNuxSeen }}"},
        {
            "query": f"query Q {{ __typename }} mutation M {{ a: {wipe} {{ __typename }} }}",
            "operationName": "M",
        },
        {"query": f"mutation M {{ ...F }} fragment F on Mutation {{ a: {wipe} {{ __typename }} }}"},
    ]
    for document in documents:
        _, said = _post(in_front_of_dagster, document)
        assert said["data"]["a"]["__typename"] == "UnauthorizedError"
