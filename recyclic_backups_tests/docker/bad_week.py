"""What happens then: the daemon killed, another release, a reboot, the history lost, nothing left but the storage."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable

from recyclic_backups_tests.docker.seeing import expect, until
from recyclic_backups_tests.docker.stack import Stack, not_shown


def under_way(stack: Stack, day: str, seconds: int) -> tuple[str, Callable[[], bool]]:
    """A backup that cannot go on for so many seconds: its run, and whether it is still at it."""
    lock = f"BEGIN; LOCK TABLE sales IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({seconds}); COMMIT"
    stack.psql("recyclic", lock, "--detach")
    held = (
        "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock'"
        " AND relation = 'sales'::regclass"
    )
    until("somebody holds a lock that the dump waits for", lambda: stack.psql("recyclic", held) == "1")
    run_id = stack.launch("daily_backup_job", {"dagster/partition": day})

    def started() -> bool:
        return any(each["runId"] == run_id and each["status"] == "STARTED" for each in stack.runs())

    until("a run is under way", started)
    return run_id, started


def the_daemon_dies(stack: Stack, day: str) -> None:
    """Killed in the middle of a run, which goes on; and it comes back by itself."""
    run_id, started = under_way(stack, day, 30)
    daemon = stack.compose("ps", "--quiet", "backup-daemon").strip()
    # Its init ends with it, as when the kernel's memory killer takes it; `docker kill` would count as wanted.
    kill = "kill -9 $(cat /proc/1/task/1/children)"
    stack.compose("exec", "-T", "backup-daemon", "sh", "-c", kill, check=False)
    count = ("docker", "inspect", "--format", "{{.RestartCount}} {{.State.Running}}", daemon)
    until(
        "the daemon was killed, and is back",
        lambda: re.fullmatch(r"[1-9]\d* true", stack.run(*count).strip()),
    )
    expect("the run was under way meanwhile", started())
    expect("it went on", until("the run ended", lambda: stack.ended(run_id)) == "SUCCESS")
    health = stack.launch("health_job")
    expect(
        "and works", until("a run that it started ended", lambda: stack.ended(health)) == "SUCCESS", health
    )


def another_release(stack: Stack, day: str) -> None:
    """Copied over the folder and started while a backup runs, which is not lost."""
    image = ("docker", "inspect", "--format", "{{.Image}} {{.State.StartedAt}}")
    before = stack.run(*image, stack.compose("ps", "--quiet", "backup-code").strip())
    with (stack.home / "recyclic_backups/__init__.py").open("a", encoding="utf-8") as file:
        file.write("\n# another release\n")
    stack.compose(
        "build", "backup-code"
    )  # what takes long, so that the run below is still at it when it matters
    run_id, started = under_way(stack, day, 45)
    log = stack.home.parent / "another-release.log"
    with (
        log.open("w") as said,
        subprocess.Popen(
            ["./first-run"], cwd=stack.docker, env=stack.environment, stdout=said, stderr=said
        ) as rollout,
    ):
        until(
            "the old container lets it end",
            lambda: f"waiting for {run_id}" in stack.compose("logs", "backup-code"),
        )
        expect("it is at it", started())
        expect("the new image was rolled out", rollout.wait() == 0, log.read_text())
    after = stack.run(*image, stack.compose("ps", "--quiet", "backup-code").strip())
    expect("another image runs", before.split()[0] != after.split()[0], (before, after))
    expect("the backup that ran meanwhile succeeded", stack.ended(run_id) == "SUCCESS", stack.runs())
    failed = [each for each in stack.runs() if each["status"] == "FAILURE"]
    expect("and nothing else failed", not failed, failed)


def healthy(stack: Stack) -> bool:
    """Whether everything that has a health check passes it."""
    found = [json.loads(line) for line in stack.compose("ps", "--format", "json", check=False).splitlines()]
    return len(found) >= 8 and all(each["Health"] == "healthy" for each in found)


def the_engine_restarts(stack: Stack) -> None:
    """What a reboot does."""
    command = os.environ.get("COMPOSE_TEST_RESTART_ENGINE", "")
    if not command:
        not_shown("restart: the engine is not restarted (COMPOSE_TEST_RESTART_ENGINE is not set)")
        return
    stack.run("sh", "-c", command)
    until("everything is healthy after a restart of the engine", lambda: healthy(stack), 400)
    expect("the door opens", until("it answers", lambda: stack.query("{version}")))


def the_history_is_lost(stack: Stack, day: str) -> None:
    """Dagster's database is gone; the storage tells it again."""
    stack.compose("rm", "--stop", "--force", "backup-history")
    stack.run("docker", "volume", "rm", "recyclic-compose-test_history")
    stack.compose("up", "--detach", "--wait", "backup-history")
    stack.compose("restart", "backup-code")
    stack.compose("up", "--detach", "--wait", "backup-code")
    stack.compose("restart", "backup-daemon", "backup-ui", "backup-ui-readonly")
    expect(
        "Dagster remembers no run of the day",
        not [
            each
            for each in until("it answers", lambda: [stack.runs()])
            for each in each
            if each["jobName"].startswith("drill")
        ],
    )
    until("the day is there again, told by the storage", lambda: day in stack.partitions(), 300)


def the_last_day(stack: Stack) -> None:
    """Nothing runs but the database: the rescue image restores."""
    services = [name for name in stack.compose("ps", "--services").split() if name != "postgres"]
    stack.compose("stop", "--timeout", "20", *services)
    expect(
        "the rescue image restores, equal",
        "equal" in stack.rescue("restore", "latest", "--into", "recyclic_back").splitlines()[-1],
    )
    counted = stack.psql("recyclic_back", "SELECT count(*) FROM deposits")
    expect("20000 rows are there", counted == "20000", counted)
    stack.compose("--profile", "rescue", "down", "--volumes", "--timeout", "10")
