"""A copy of the project with its containers: what ``make compose-test`` does things to, and asks."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recyclic_backups_tests.docs.pages import PROJECT, block, read
from recyclic_backups_tests.skipping import objection

PAGES = read("README.md") + read("docs/production.md")
PORT = 18443
PASSWORD = 'not $a "secret"'
"""What people put into a .env: quotes and a dollar sign."""

DAILY = '{path:["recyclic","daily_backup"]}'
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def say(sentence: str) -> None:
    """One line of the report, with the time."""
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S}  {sentence}\n")
    sys.stdout.flush()


def not_shown(reason: str) -> None:
    """Say what cannot be looked at here. Raises AssertionError where that may not be (skipping.py)."""
    if problem := objection(reason):
        raise AssertionError(problem)
    say(f"NOT SHOWN: {reason}")


def users_told(printed: str) -> dict[str, str]:
    """The passwords that docker/first-run shows once."""
    return dict(re.findall(r"^  (operator|viewer) +(\w+)", printed, re.MULTILINE))


class Stack:
    """A copy of the project in a folder of its own, and what Compose makes of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.docker = home / "docker"
        files = [
            self.docker / name
            for name in ("compose.yaml", "test/compose.application.yaml", "test/compose.test.yaml")
        ]
        self.environment = {
            **os.environ,
            "COMPOSE_FILE": ":".join(map(str, files)),
            "COMPOSE_PROJECT_NAME": "recyclic-compose-test",
            "RECYCLIC_BACKUPS": str(home),
            "TEST_PASSWORD": PASSWORD,
            "COMPOSE_PROGRESS": "plain",
        }
        self.users: dict[str, str] = {}

    def run(self, *command: str, check: bool = True, **more: Any) -> str:
        """A command in the folder; what it prints. Standard error is shown when it fails."""
        more = {"cwd": self.docker, "env": self.environment, **more}
        done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
        if check and done.returncode != 0:
            raise AssertionError(
                f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return str(done.stdout)

    def types(self, name: str, where: Path) -> str:
        """The commands of the README and of docs/production.md that are marked so, to the letter; what they print."""
        return self.run("sh", "-eu", "-c", block(PAGES, f"compose-test={name}"), cwd=where)

    def compose(self, *arguments: str, check: bool = True) -> str:
        """``docker compose`` with the files of this stack."""
        return self.run("docker", "compose", *arguments, check=check)

    def rescue(self, *arguments: str) -> str:
        """The command line, from the rescue image."""
        return self.compose("run", "--rm", "--no-deps", "-T", "backup-rescue", *arguments)

    def psql(self, database: str, statement: str, *options: str) -> str:
        """What the application's server answers."""
        login = ["-e", f"PGPASSWORD={PASSWORD}", "postgres", "psql", "-U", "recyclic", "-d", database]
        return self.compose("exec", "-T", *options, *login, "-Atc", statement).strip()

    def settings(self, **values: str) -> None:
        """Put these into the .env, in the place of what was there."""
        file = self.docker / ".env"
        text = file.read_text(encoding="utf-8")
        for name, value in values.items():
            kept = [line for line in text.splitlines() if not line.startswith(f"{name}=")]
            text = "\n".join([*kept, f"{name}={value}", ""])
        file.write_text(text, encoding="utf-8")

    def reach(self, *command: str, **more: Any) -> str:
        """A command where published ports are reached."""
        return self.run(*shlex.split(os.environ.get("COMPOSE_TEST_REACH", "")), *command, **more)

    def ask(
        self, path: str, *options: str, user: str = "", password: str | None = None, port: int = PORT
    ) -> tuple[int, str]:
        """Status and body of a page behind the door, by curl; with that user's password where one is named."""
        login = ["--user", f"{user}:{self.users[user] if password is None else password}"] if user else []
        command = ["curl", "--silent", "--show-error", "--max-time", "60"]
        command += ["--cacert", str(self.docker / "secrets/door_certificate")]
        command += ["--write-out", "\n%{http_code}", *login, *options, f"https://localhost:{port}{path}"]
        body, _, status = self.reach(*command, check=False).rpartition("\n")
        return int(status or 0), body

    def query(self, text: str, user: str = "operator") -> Any:
        """The answer of Dagster to a GraphQL query, through the door."""
        jar = str(self.home / f"{user}.cookies")
        status, body = self.ask(
            "/graphql",
            *("--header", "content-type: application/json", "--data", json.dumps({"query": text})),
            *("--cookie", jar, "--cookie-jar", jar),
            user=user,
        )
        if status != 200:
            return {}
        return json.loads(body).get("data") or {"refused": body}

    def launch(self, job: str, tags: dict[str, str] | None = None, user: str = "operator") -> str:
        """Start a run as somebody does who presses the button. Its id, or what Dagster says."""
        given = ",".join(f'{{key:"{key}",value:"{value}"}}' for key, value in (tags or {}).items())
        answer = self.query(
            'mutation{launchRun(executionParams:{selector:{repositoryLocationName:"recyclic_backups",'
            f'repositoryName:"__repository__",jobName:"{job}"}},runConfigData:{{}},executionMetadata:{{tags:[{given}]}}}})'
            "{__typename ... on LaunchRunSuccess{run{runId}} ... on PythonError{message}}}",
            user,
        )
        said = answer.get("launchRun", answer)
        return str(said["run"]["runId"]) if "run" in said else json.dumps(said)

    def runs(self) -> list[dict[str, Any]]:
        """Every run that Dagster remembers, newest first."""
        answer = self.query(
            "{runsOrError(limit:50){... on Runs{results{runId jobName status tags{key value}}}}}"
        )
        found: list[dict[str, Any]] = answer.get("runsOrError", {}).get("results", [])
        return [{**each, "tags": {tag["key"]: tag["value"] for tag in each["tags"]}} for each in found]

    def ended(self, run_id: str) -> str:
        """How that run ended, once it did."""
        return next(
            (each["status"] for each in self.runs() if each["runId"] == run_id and each["status"] in ENDED),
            "",
        )

    def partitions(self) -> set[str]:
        """Days of which Dagster shows a daily backup."""
        answer = self.query(
            f"{{assetNodeOrError(assetKey:{DAILY}){{... on AssetNode{{assetMaterializations{{partition}}}}}}}}"
        )
        return {
            each["partition"] for each in answer.get("assetNodeOrError", {}).get("assetMaterializations", [])
        }

    def checks(self) -> dict[str, str]:
        """What the checks of the newest daily backup said."""
        answer = self.query(
            f"{{assetNodeOrError(assetKey:{DAILY}){{... on AssetNode{{assetChecksOrError{{... on AssetChecks{{checks"
            "{name executionForLatestMaterialization{status evaluation{severity}}}}}}}}"
        )
        found = answer.get("assetNodeOrError", {}).get("assetChecksOrError", {}).get("checks", [])
        return {
            each["name"]: each["executionForLatestMaterialization"]["status"]
            for each in found
            if each["executionForLatestMaterialization"]
        }


@contextmanager
def copied() -> Iterator[Stack]:
    """The folder as a stranger has it, and at the end nothing of it: no container, volume or network.

    With ``--keep`` all of it stays, to be looked at.
    """
    parent = Path(tempfile.mkdtemp(prefix="compose-test-"))
    home = parent / "recyclic_backups"
    no = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", ".env", "secrets")
    storage = {str(PROJECT): {"backups"}}  # and no folder of that name in the package
    shutil.copytree(
        PROJECT, home, ignore=lambda folder, names: {*no(folder, names), *storage.get(folder, set())}
    )
    stack = Stack(home)
    try:
        yield stack
    except BaseException:
        for service in ("backup-code", "backup-daemon", "backup-door", "backup-pages", "backup-wal"):
            logs = stack.compose("logs", "--tail", "25", service, check=False)
            sys.stderr.write(f"--- {service}\n{logs}\n")
        raise
    finally:
        if "--keep" in sys.argv:
            say(
                f"kept: {stack.environment['COMPOSE_PROJECT_NAME']} in {home}; the door's users: {stack.users}"
            )
        else:
            stack.compose(
                "--profile", "rescue", "--profile", "wal", "down", "--volumes", "--timeout", "10", check=False
            )
            # External to Compose; made by the page's command.
            stack.run("docker", "volume", "rm", "recyclic_recovered", check=False)
            shutil.rmtree(parent)
