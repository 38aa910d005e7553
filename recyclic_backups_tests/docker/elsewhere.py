"""The same beside an application, and in staging."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import yaml  # type: ignore[import-untyped]

from recyclic_backups_tests.docker.bad_week import healthy
from recyclic_backups_tests.docker.seeing import expect
from recyclic_backups_tests.docker.stack import PASSWORD, PORT, Stack, users_told

BESIDE_PORT = PORT + 1


def beside(stack: Stack) -> None:
    """The same beside an application's compose file, where nothing starts without the profile."""
    application = stack.home.parent  # the folder recyclic_backups is in it
    (application / ".env").write_text(
        f"POSTGRES_USER=recyclic\nPOSTGRES_PASSWORD='{PASSWORD}'\nBACKUP_UI_PORT={BESIDE_PORT}\n"
        "BACKUP_UI_ADDRESS=127.0.0.1\n",
        encoding="utf-8",
    )
    shutil.rmtree(stack.docker / "secrets")
    services: dict[str, Any] = {}
    for name in ("compose.application.yaml", "compose.test.yaml"):
        services |= yaml.safe_load((stack.docker / "test" / name).read_text(encoding="utf-8"))["services"]
    for name in set(services) - {"postgres"}:
        services[name]["profiles"] = ["backup"]
    written = yaml.safe_dump({"services": services, "volumes": {"application": {}}})
    (application / "docker-compose.yml").write_text(written, encoding="utf-8")
    del stack.environment["RECYCLIC_BACKUPS"]
    files = (application / "docker-compose.yml", stack.docker / "compose.backup.yaml")
    stack.environment["COMPOSE_FILE"] = ":".join(map(str, files))
    expect(
        "without the profile only the application starts",
        stack.compose("config", "--services").split() == ["postgres"],
    )
    both = stack.compose("--profile", "backup", "--profile", "wal", "config", "--services").split()
    expect(
        "with both profiles WAL is received too", {"backup-wal", "backup-code", "postgres"} <= {*both}, both
    )
    stack.types("beside", application)
    expect("beside an application: everything healthy", healthy(stack))
    expect("and a backup is taken", json.loads(stack.rescue("backup", "--json"))["backup_id"])
    stack.compose("--profile", "backup", "--profile", "rescue", "down", "--volumes", "--timeout", "10")


def environment(stack: Stack, name: str) -> None:
    """Start staging or development as its operator does, in a project of its own."""
    stack.environment["COMPOSE_PROJECT_NAME"] = f"recyclic-compose-test-{name}"
    stack.environment["RECYCLIC_BACKUPS"] = str(stack.home)
    shutil.rmtree(stack.docker / "secrets")
    stack.settings(POSTGRES_PASSWORD=f"'{PASSWORD}'")
    files = [
        "compose.yaml",
        f"compose.{name}.yaml",
        "test/compose.application.yaml",
        "test/compose.test.yaml",
    ]
    if name == "staging":
        files.append("test/compose.test.staging.yaml")
    stack.environment["COMPOSE_FILE"] = ":".join(str(stack.docker / each) for each in files)
    stack.compose("up", "--detach", "--wait", "postgres")
    stack.users = users_told(stack.run("./first-run", f"--{name}"))
    expect(f"{name}: everything healthy", healthy(stack))


def staging(stack: Stack) -> None:
    """A door of its own, and drills on a server of their own."""
    directory = stack.home.parent / "backups of staging"
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(directory, 10001, 10001)  # BACKUP_UID where root runs docker/first-run
    stack.settings(BACKUP_DIRECTORY=f"'{directory}'")
    environment(stack, "staging")
    expect("staging's door is at 4433", stack.ask("/", user="operator", port=4433)[0] == 200)
    stack.rescue("backup", "--json")
    expect("the backup is in the host's directory", (directory / "recyclic/backups").is_dir())
    drilled = stack.compose("exec", "-T", "backup-code", "recyclic-backups", "drill", "simple", "--json")
    report = json.loads(drilled)
    expect("a drill passes on its server", report["passed"] and "backup-drills" in report["ground"], drilled)
    stack.compose("--profile", "rescue", "down", "--volumes", "--timeout", "10")


def development(stack: Stack) -> None:
    """Pages without a login, on this machine only."""
    stack.settings(BACKUP_DIRECTORY="")
    environment(stack, "development")
    page = stack.reach(
        "curl", "--silent", "--show-error", "--max-time", "60", "http://127.0.0.1:3000/server_info"
    )
    expect("Dagster answers a developer without a login", "dagster_version" in page, page)
    stack.compose("--profile", "rescue", "down", "--volumes", "--timeout", "10")
