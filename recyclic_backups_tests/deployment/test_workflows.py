""".github/workflows, and the gates of docs/application.md: read as GitHub reads them, every command understood."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from recyclic_backups.cli.commands import parser
from recyclic_backups_tests.conftest import PREFERRED_MAJORS
from recyclic_backups_tests.docs.pages import PROJECT, blocks, read

HOME = PROJECT / ".github" / "workflows"
WORKFLOWS = sorted(HOME.glob("*.yml"))
APPLICATION = [path for path in WORKFLOWS if path.name.startswith("application-")]
TRIGGERS = True
"""What YAML 1.1, and PyYAML with it, makes of the key ``on``."""


def _workflow(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text())
    return found


def _scripts(path: Path) -> list[str]:
    return [
        step["run"]
        for job in _workflow(path)["jobs"].values()
        for step in job.get("steps", [])
        if "run" in step
    ]


def _our_commands(script: str) -> list[list[str]]:
    """The arguments of every ``recyclic-backups`` in a script, variables standing for one word each."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        starts = [number for number, word in enumerate(words) if Path(word).name == "recyclic-backups"]
        found += [words[start + 1 :] for start in starts]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_well_formed(path: Path) -> None:
    """Loss prevented: a gate that never ran, since the file that held it was never read."""
    workflow = _workflow(path)
    assert set(workflow) <= {"name", TRIGGERS, "permissions", "concurrency", "env", "jobs"}
    assert workflow["permissions"] in ({}, {"contents": "read"}), "a workflow may no more than it needs"
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] > 0
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
    for script in _scripts(path):
        assert "${{" not in script, "a value put into a script is a command: it goes through a variable"
        subprocess.run(["/bin/sh", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("path", APPLICATION, ids=lambda path: path.name)
def test_commands_of_the_applications_workflows_are_understood(path: Path) -> None:
    """Loss prevented: a deployment that stops, or worse goes on, because of a usage message."""
    commands = [command for script in _scripts(path) for command in _our_commands(script)]
    assert commands
    for command in commands:
        try:
            parser().parse_args(command)
        except SystemExit as end:
            raise AssertionError(f"{path.name}: recyclic-backups {' '.join(command)}") from end


def test_the_gates_are_in_the_order_that_the_page_says() -> None:
    """Loss prevented: a migration that begins although nobody has seen a backup restored."""
    page = read("docs/application.md")
    (example,) = [yaml.safe_load(each.text) for each in blocks(page) if each.language == "yaml"]
    order = ["backup-validation", "migrate", "deploy", "backup-after-deploy"]
    jobs = example["jobs"]
    assert list(jobs) == order
    assert [jobs[name].get("needs") for name in order] == [None, *order[:-1]]
    called = [job["uses"].rpartition("/")[2].partition("@")[0] for job in jobs.values() if "uses" in job]
    assert sorted(called) == [path.name for path in APPLICATION]
    for name, file in zip(("backup-validation", "migrate", "backup-after-deploy"), called, strict=True):
        inputs = _workflow(HOME / file)[TRIGGERS]["workflow_call"]["inputs"]
        given = set(jobs[name].get("with", {}))
        assert given <= set(inputs)
        assert {each for each, about in inputs.items() if about.get("required")} <= given
    commands = [
        " ".join(command)
        for file in called
        for script in _scripts(HOME / file)
        for command in _our_commands(script)
    ]
    assert [command.split()[0] for command in commands] == ["validate", "drill", "guard", "backup"]


def test_every_gate_runs_where_the_settings_are() -> None:
    """Loss prevented: a backup of the database that the defaults name, on the runner itself."""
    for path in APPLICATION:
        for script in _scripts(path):
            assert script.splitlines()[0] == 'cd "$DIRECTORY"'
        for job in _workflow(path)["jobs"].values():
            assert job["runs-on"][0] == "self-hosted"


def test_our_own_workflow_tries_every_version_and_calls_targets_that_there_are() -> None:
    """Loss prevented: a version of PostgreSQL that is promised and was never tried."""
    jobs = _workflow(HOME / "test.yml")["jobs"]
    versions = [int(each) for each in jobs["test"]["strategy"]["matrix"]["postgresql"]]
    assert versions == [15, 16, 17, 18]
    assert set(PREFERRED_MAJORS) <= set(versions)
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    called = {
        name for script in _scripts(HOME / "test.yml") for name in re.findall(r"\bmake ([a-z-]+)", script)
    }
    assert {"check", "test", "compose-test"} <= called
    assert called <= targets
    stages = set(re.findall(r"^FROM .* AS (\S+)$", read("docker/Dockerfile"), re.MULTILINE))
    for script in _scripts(HOME / "test.yml"):
        for file, _, stage in re.findall(r"docker build -f (\S+)( --target (\S+))?", script):
            assert (PROJECT / file).is_file()
            assert not stage or stage in stages
