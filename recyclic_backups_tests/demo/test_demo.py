"""The demonstration, run as a newcomer runs it: a program of its own that leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import pytest

PATIENCE_SECONDS = 300
pytestmark = pytest.mark.timeout(2 * PATIENCE_SECONDS)  # so that it is a test that ends it, and cleans up

ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
HOSTILE = {
    # If the demonstration read any of these, it would fail or reach somebody's database.
    "POSTGRES_HOST": "production.invalid",
    "POSTGRES_DB": "members",
    "BACKUP_STORAGE": "file:///nowhere/at/all",
    "BACKUP_TIMEZONE": "Europe/Atlantis",
    "BACKUP_ENCRYPTION_KEY": "short",
}


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that a server's own user can reach: pytest's are closed to everybody else."""
    with TemporaryDirectory(prefix="demo-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def _demo(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demonstration at work; it and all that it started are gone after the block, whatever happens in it."""
    (directory / ".env").write_text("POSTGRES_HOST=production.invalid\nBACKUP_TIME=99\n")
    temporary = directory / "tmp"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "recyclic_backups", "demo", "--scale", "0.02", *arguments],
        cwd=directory,
        env={**ENVIRONMENT, **HOSTILE, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _processes_naming(path: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(path).encode() in words and int(process.name) != os.getpid():
            found.append(words.replace(b"\0", b" ")[:200].decode(errors="replace"))
    return found


def test_the_demonstration_ends_in_equal_and_leaves_nothing(directory: Path) -> None:
    """Loss prevented: a newcomer whose first two minutes fail never has a backup."""
    with _demo(directory, "--no-ui") as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert out.splitlines()[-1] == "equal", err
    assert "public.sales" in out
    assert "integrity    passed" in err
    assert "the same row is back" in err
    assert err.count(" s): passed") + err.count("min): passed") == 4, err
    assert "is read as" not in err, "what is recovered is read without power, too"
    assert "encryption.key" in err
    assert list((directory / "tmp").iterdir()) == []
    assert _processes_naming(directory) == []
    assert not (directory / "backups").exists()


@pytest.mark.slow
def test_what_is_kept_can_be_listed_and_verified_and_is_private(directory: Path) -> None:
    """Loss prevented: a demonstration whose backups only the demonstration can read."""
    kept = directory / "kept"
    with _demo(directory, "--no-ui", "--keep", str(kept)) as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert out.splitlines()[-1] == "equal", err
    assert (kept / "encryption.key").stat().st_mode & 0o077 == 0
    # The page that is named is the one that health_job writes anew every hour (Layout.report).
    page = kept / "backups" / "recyclic" / "report.html"
    assert page.as_uri() in err
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    for command in (["list"], ["verify", "--all"]):
        outcome = subprocess.run(
            [sys.executable, "-m", "recyclic_backups", *command],
            cwd=kept,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stderr
        assert "passed" in outcome.stdout or "daily" in outcome.stdout
    bases = list((kept / "backups").glob("server.*/base/*/manifest.json"))
    assert len(bases) == 1, "the receiver took another base backup than the one that was asked for"
    again = _demo_again(directory, kept)
    assert again.returncode == 30
    assert "not empty" in again.stderr


def _demo_again(directory: Path, kept: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recyclic_backups", "demo", "--no-ui", "--keep", str(kept)],
        cwd=directory,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_ui_comes_up_and_goes_away_with_ctrl_c(directory: Path) -> None:
    """Loss prevented: a port and five processes left on a volunteer's laptop."""
    with _demo(directory) as process:
        assert process.stderr is not None
        address = ""
        for line in process.stderr:
            if "Dagster is at " in line:
                address = line.split("Dagster is at ")[1].split(": ")[0]
            if "Ctrl-C" in line:
                break
        assert address.startswith("http://127.0.0.1:")
        with urlopen(f"{address}/server_info", timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "equal"
    give_up_at = time.monotonic() + 60
    while _processes_naming(directory) and time.monotonic() < give_up_at:
        time.sleep(0.2)
    assert _processes_naming(directory) == []
    assert list((directory / "tmp").iterdir()) == []
