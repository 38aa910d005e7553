"""``recover``: the plan first, then a directory that a server can be started on, and what was reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from recyclic_backups.catalog.timestamps import from_text, to_text
from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.server import Server
from recyclic_backups_tests.cli.test_json import differences
from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.recovery.conftest import History

PORT = 5432


@pytest.fixture
def place(scratch_directory: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory of somebody else's, in which a cluster may be made."""
    parent = scratch_directory / f"place-{abs(hash(request.node.name))}"
    parent.mkdir(mode=0o755)
    account = Account.for_servers()
    account.own(parent)
    yield parent / "data"
    subprocess.run(["rm", "-rf", str(parent)], check=True)


@contextmanager
def started(command: Sequence[str], directory: Path, *options: str) -> Iterator[Server]:
    """The server that the report's command starts, with its socket in its directory."""
    log = (directory.parent / "log").open("wb")
    process = subprocess.Popen(
        [*command, "-c", "listen_addresses=", "-c", f"unix_socket_directories={directory}", *options],
        stdout=log,
        stderr=log,
        env={"LC_ALL": "C", "PATH": os.defpath},
        cwd="/",
    )
    try:
        deadline = time.monotonic() + 30
        pid_file = directory / "postmaster.pid"
        while time.monotonic() < deadline:
            assert process.poll() is None, (directory.parent / "log").read_text()
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            if len(lines) >= 8 and lines[7].strip() == "ready":
                break
            time.sleep(0.02)
        yield Server(host=str(directory), port=PORT)
    finally:
        process.terminate()
        process.send_signal(2)
        process.wait(30)
        log.close()


def count(server: Server) -> object:
    """How many members it has."""
    with server.connect("postgres") as connection:
        row = connection.execute("SELECT count(*) FROM public.member").fetchone()
    return None if row is None else row[0]


def test_promoted_it_is_an_ordinary_cluster_of_its_directory_s_owner(
    recovering: Operator, history: History, place: Path
) -> None:
    """Loss: an hour of chown, config and recovery settings by hand at 3 a.m., each of them easy to get wrong."""
    done = recovering.must(
        "recover", "--to-time", to_text(history.before), "--data-directory", str(place), "--promote", "--json"
    ).document
    assert done["promoted"]
    assert done["timeline"] == 2
    assert done["reached"]["at"] == "target"
    assert from_text(done["reached"]["last_commit_time"]) <= history.before
    assert done["data_loss_seconds"] > 0
    owner = place.parent.stat().st_uid
    files = [each.lstat() for each in (place, *place.rglob("*"))]
    assert {each.st_uid for each in files} == {owner}
    assert not any(each.st_mode & 0o077 for each in files if not os.path.islink(place))
    assert not list(place.glob("recyclic*"))
    assert not list(place.glob("*.signal"))
    with started(done["start"], place) as server:
        # production's pg_hba.conf asks for its password
        production = history.site.cluster.server
        known = Server(server.host, server.port, production.user, production.password)
        assert count(known) == 300
        with known.connect("postgres") as connection:
            connection.execute("DELETE FROM public.member")


def test_not_promoted_it_pauses_at_the_same_point_whenever_it_is_started(
    recovering: Operator, history: History, place: Path
) -> None:
    """Loss: a look at the recovered server that moves it past the accident."""
    done = recovering.must(
        "recover", "--to-time", to_text(history.before), "--data-directory", str(place), "--json"
    ).document
    assert not done["promoted"]
    with started(done["start"], place) as server:
        deadline = time.monotonic() + 30
        with server.connect("postgres") as connection:
            while time.monotonic() < deadline:
                row = connection.execute(
                    "SELECT pg_get_wal_replay_pause_state(), pg_last_wal_replay_lsn()::text"
                ).fetchone()
                assert row is not None
                if row[0] == "paused":
                    break
                time.sleep(0.05)
        assert row == ("paused", done["reached"]["lsn"])
        assert count(server) == 300


def test_the_plan_says_what_it_will_be_and_touches_nothing(
    recovering: Operator, history: History, place: Path
) -> None:
    """Loss: a target that is wrong by an hour, noticed after an hour of replay."""
    plan = recovering.must("recover", "--latest", "--dry-run", "--json").document["plan"]
    assert plan["window"]["ending"] == "position"
    assert 0 < plan["data_loss_seconds"] < 3600
    prose = recovering.must(
        "recover",
        "--to-xid",
        str(history.deleting_xid),
        "--exclusive",
        "--dry-run",
        "--data-directory",
        str(place),
    ).out
    assert f"before xid {history.deleting_xid}" in prose
    assert plan["base_id"] in prose
    assert not place.exists()


@pytest.mark.parametrize("wrong", ["full", "running", "file", "no parent"])
def test_nothing_that_exists_is_written_over(recovering: Operator, place: Path, wrong: str) -> None:
    """Loss: the damaged production directory, all that is left of the last minutes, overwritten by a recovery."""
    words = {"full": "not empty", "running": "data directory of a server", "file": "no directory"}
    if wrong == "file":
        place.touch()
    elif wrong == "no parent":
        place = place / "below"
    else:
        place.mkdir()
        (place / ("postmaster.pid" if wrong == "running" else "keep")).write_text("1\n")
    refused = recovering.run("recover", "--latest", "--data-directory", str(place))
    assert refused.code == 70
    assert words.get(wrong, "there is no directory") in refused.err


def test_a_recovery_that_fails_leaves_the_directory_as_empty_as_it_was(
    recovering: Operator, history: History, place: Path, tmp_path: Path
) -> None:
    """Loss: half a server that somebody starts; and a second try that is refused since the first one left files."""
    site = history.copy(tmp_path / "copy")
    plan = site.plan(__import__("recyclic_backups.recovery.target", fromlist=["LATEST"]).LATEST)
    file = site.file_of(plan.window.segments(plan.base.stop_lsn, plan.window.end_lsn)[1])
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    place.mkdir(mode=0o750)
    Account.for_servers().own(place)
    before = place.stat()
    failed = recovering.run(
        "recover", "--latest", "--data-directory", str(place), BACKUP_STORAGE=f"file://{site.directory}"
    )
    assert failed.code == 40
    assert file.name.partition(".")[0] in failed.err
    assert not list(place.iterdir())
    assert (place.stat().st_uid, place.stat().st_mode) == (before.st_uid, before.st_mode)


def test_a_moment_outside_every_window_is_60_and_names_the_nearest(recovering: Operator) -> None:
    """Loss: a person at 3 a.m. who tries one moment after the other."""
    for moment in ("2020-01-01 00:00", "2090-01-01 00:00"):
        refused = recovering.run("recover", "--to-time", moment, "--dry-run")
        assert refused.code == 60
        assert "--to-time 20" in refused.err


@pytest.mark.parametrize(
    "words", [("--to-time", "yesterday"), ("--to-lsn", "x"), ("--to-xid", "0"), ("--latest", "--exclusive")]
)
def test_a_target_that_makes_no_sense_is_one_sentence(recovering: Operator, words: tuple[str, ...]) -> None:
    """Loss: a traceback at night."""
    refused = recovering.run("recover", *words, "--dry-run")
    assert refused.code == 2
    assert "Traceback" not in refused.err


def test_every_report_is_as_the_page_says(recovering: Operator, history: History, place: Path) -> None:
    """Loss prevented: a field that a script reads, gone after an update; or one that nobody knows of."""
    server = history.site.cluster.server
    moment, where = (
        to_text(history.deleted),
        {"POSTGRES_HOST": server.host, "POSTGRES_PORT": str(server.port)},
    )
    printed = {
        "recover, with its plan alone": recovering.must(
            "recover", "--to-time", moment, "--dry-run", "--json"
        ),
        "recover": recovering.must("recover", "--latest", "--data-directory", str(place), "--json"),
        "recover, with --look": recovering.must("recover", "--look", "--json"),
        "restore, as it was at a moment": recovering.must(
            "restore", "--at-time", moment, "--into", "json_look", "--json", **where
        ),
    }
    history.site.sql("DROP DATABASE json_look")
    for name, outcome in printed.items():
        assert not differences(name, outcome.out), name


def test_a_folder_that_anybody_can_make_does_not_have_somebody_choose_between_servers(
    recovering: Operator, history: History
) -> None:
    """Attack: at 3 a.m. `recover` asks which of two servers is meant, and one of them is nobody's."""
    server = history.site.directory / f"server.{history.site.system_identifier}"
    forged = server.with_name("server.1")
    shutil.copytree(server, forged)
    try:
        done = recovering.must("recover", "--latest", "--dry-run", "--json")
        assert done.document["plan"]["system_identifier"] == history.site.system_identifier
        assert "passed over" in done.err
        assert recovering.run("wal", "fetch", "0" * 24).code == 60
        assert recovering.run("recover", "--latest", "--dry-run", "--server", "1").code == 60
    finally:
        shutil.rmtree(forged)
