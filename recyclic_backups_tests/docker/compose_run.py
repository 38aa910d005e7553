"""``make compose-test``: a stranger copies the folder, fills ``.env``, types one command; then everything goes wrong.

Needs an engine with Compose 2.24.4 or newer, curl and openssl; without an engine it says so and ends. Two variables for
engines that are not the machine's own: ``COMPOSE_TEST_REACH``, a command in front of curl that reaches published ports,
and ``COMPOSE_TEST_RESTART_ENGINE``, a command that restarts the engine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import yaml  # type: ignore[import-untyped]

from recyclic_backups_tests.docker import browser_visit
from recyclic_backups_tests.docker.stack import PASSWORD, PORT, Stack, copied, say
from recyclic_backups_tests.docs.pages import PROJECT

BESIDE_PORT = PORT + 1


def why_not() -> str:
    """What is missing here, or nothing."""
    for program in ("docker", "curl", "openssl"):
        if shutil.which(program) is None:
            return f"there is no {program} on this machine"
    for question in (["docker", "info"], ["docker", "compose", "version"]):
        if subprocess.run(question, capture_output=True, check=False).returncode != 0:
            return f"`{' '.join(question)}` gets no answer: no engine, no Compose, or no right to use them"
    return ""


def zone_of_noon(now: datetime) -> tuple[str, datetime]:
    """A time zone where it is about noon, so that no midnight comes between; and the time there."""
    hours = 12 - now.hour
    # POSIX counts the other way round (tz database, file etcetera).
    name = f"Etc/GMT{-hours:+d}" if hours else "Etc/GMT"
    return name, now + timedelta(hours=hours)


def until(sentence: str, look: Callable[[], Any], seconds: float = 240) -> Any:
    """What `look` finds, asked again until it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            say(f"seen: {sentence}")
            return found
        time.sleep(2)
    raise AssertionError(f"not seen within {seconds:.0f} s: {sentence}")


def expect(sentence: str, true: object, got: object = "") -> None:
    """Say what was seen, or fail."""
    if not true:
        raise AssertionError(f"not so: {sentence} {got}")
    say(f"seen: {sentence}")


def first_evening(stack: Stack, zone: str, today: datetime) -> None:
    """Copy, fill, one command; then prove it."""
    stack.types("copy", stack.home)
    stack.settings(
        POSTGRES_HOST="postgres",
        POSTGRES_USER="recyclic",
        POSTGRES_PASSWORD=f"'{PASSWORD}'",
        BACKUP_UI_PORT=str(PORT),
        BACKUP_UI_ADDRESS="127.0.0.1",
        BACKUP_UI_NAME="localhost",
        BACKUP_TIME="23",  # not before the day is over
        BACKUP_MINUTE="59",
        BACKUP_TIMEZONE=zone,
        BACKUP_START_DATE=f"{today:%Y-%m-%d}",
    )
    stack.compose("up", "--detach", "--wait", "postgres")
    said = stack.types("start", stack.home)
    stack.users = dict(re.findall(r"^  (operator|viewer) +(\w+)", said, re.MULTILINE))
    expect(
        "docker/first-run: built, validated, everything healthy",
        set(stack.users) == {"operator", "viewer"},
        said,
    )
    proven = stack.types("prove", stack.home)
    expect(
        "the README's commands take a backup and prove it",
        proven.splitlines()[-1].strip() == "equal",
        proven,
    )
    stack.psql("postgres", "DROP DATABASE recyclic_restored")
    again = stack.run("./first-run", "--prepare")
    expect("run again, it changes nothing", again == "", again)
    expect("no password is left in .env", PASSWORD not in (stack.docker / ".env").read_text(encoding="utf-8"))
    inspected = stack.run("docker", "inspect", *stack.compose("ps", "--quiet").split())
    containers = {
        each["Config"]["Labels"]["com.docker.compose.service"]: each for each in json.loads(inspected)
    }
    del containers["postgres"]
    open_to = {
        name for name, each in containers.items() if any((each["NetworkSettings"]["Ports"] or {}).values())
    }
    expect("only the door is published", open_to == {"backup-door"}, open_to)
    secrets = [
        file.read_text(encoding="utf-8")
        for file in (stack.docker / "secrets").iterdir()
        if file.stat().st_size
    ]
    told = json.dumps([each["Config"]["Env"] for each in containers.values()])
    expect("docker inspect shows no secret", not [each for each in secrets if json.dumps(each)[1:-1] in told])
    writable = {name for name, each in containers.items() if not each["HostConfig"]["ReadonlyRootfs"]}
    roots = {
        name
        for name, each in containers.items()
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", each["Config"]["User"])
    }
    expect(
        "every root is read-only, no user is root but that of Dagster's database",
        (writable, roots) == (set(), {"backup-history"}),
    )


def the_door(stack: Stack) -> None:
    """Who gets in, who does not, and what the second user may do."""
    expect("nobody gets in without a password", stack.ask("/")[0] == 401)
    status, page = stack.ask("/", user="operator")
    expect("the operator sees Dagster's page", status == 200 and "Dagster" in page)
    status, page = stack.ask("/report", user="viewer")
    expect("the viewer sees the report", status == 200 and "<html" in page.lower())
    status, page = stack.ask("/metrics", user="viewer")
    expect("and the metrics", status == 200 and "recyclic_backups_up 1.0" in page)
    refused = stack.launch("health_job", user="viewer")
    expect("but starts nothing", "UnauthorizedError" in refused or "permission" in refused.lower(), refused)
    foreign = stack.ask("/graphql", "--header", "Sec-Fetch-Site: cross-site", "--data", "{}", user="operator")
    expect("another site's request in the operator's browser is refused", foreign[0] == 403)
    expect("the operator is let in", stack.query("{version}").get("version"))
    a_person(stack)
    guesses = [stack.ask("/", user="operator", password=f"guess {number}")[0] for number in range(40)]
    expect("who guesses is told to wait", guesses[0] == 401 and guesses[-1] == 429, guesses)
    # While he guesses, one request in three seconds goes through: which one is chance.
    right = [stack.ask("/", user="operator")[0] for _ in range(5)]
    expect("also with the right password, without the cookie", 429 in right, right)
    expect("who had been let in is not", stack.query("{version}").get("version"))


def a_person(stack: Stack) -> None:
    """The same in a browser, as both users."""
    if reason := browser_visit.why_not():
        say(f"NOT SHOWN: a browser at the door: {reason}")
        return
    visit = (sys.executable, "-m", "recyclic_backups_tests.docker.browser_visit", f"https://localhost:{PORT}")
    for user, password in stack.users.items():
        found = json.loads(
            stack.reach(*visit, user, os.environ.get("RECYCLIC_SCREENSHOTS", ""), input=password, cwd=PROJECT)
        )
        expect(
            f"a browser logs in as {user}, sees runs, backups and the report, live",
            found["without a password"] == 401 and found["frames"] > 0 and "door" in found["cookies"],
            found,
        )


def the_night(stack: Stack, zone: str, day: str) -> None:
    """The schedule fires; the backup, its checks and a drill pass against the service `postgres`."""
    soon = zone_of_noon(datetime.now(UTC))[1] + timedelta(seconds=150)
    stack.settings(BACKUP_TIME=str(soon.hour), BACKUP_MINUTE=str(soon.minute))
    stack.compose("up", "--detach", "--wait")
    say(f"the schedule is at {soon:%H:%M} ({zone})")

    def fired() -> str:
        return next(
            (
                each["runId"]
                for each in stack.runs()
                if "daily_backup" in each["tags"].get("dagster/schedule_name", "")
            ),
            "",
        )

    run_id = until("the schedule fired", fired, 300)
    expect("its run succeeded", until("the run ended", lambda: stack.ended(run_id)) == "SUCCESS")
    until("the day is there in Dagster", lambda: day in stack.partitions())
    said = until("eight checks answered", lambda: (found := stack.checks()) and len(found) >= 8 and found)
    # `proven` waits for a drill, and nothing was there before to compare with.
    expect(
        "none of them is red",
        said["integrity"] == said["encrypted"] == said["timeliness"] == "SUCCEEDED",
        said,
    )
    backup = json.loads(stack.rescue("list", "--json"))[0]
    expect("the rescue image lists it, verified", backup["verified_at"] and backup["tiers"], backup)
    for scenario in ("simple", "full"):
        drill = stack.launch(f"drill_{scenario}_job")
        expect(
            f"drill {scenario} passed",
            until(f"drill {scenario} ended", partial(stack.ended, drill)) == "SUCCESS",
            drill,
        )
    expect("the backup is proven", json.loads(stack.rescue("list", "--json"))[0]["proven_at"])


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
    with subprocess.Popen(["./first-run"], cwd=stack.docker, env=stack.environment) as rollout:
        until(
            "the old container lets it end",
            lambda: f"waiting for {run_id}" in stack.compose("logs", "backup-code"),
        )
        expect("it is at it", started())
        expect("the new image was rolled out", rollout.wait() == 0)
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
        say("NOT SHOWN: a restart of the engine (COMPOSE_TEST_RESTART_ENGINE is not set)")
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
    stack.types("beside", application)
    expect("beside an application: everything healthy", healthy(stack))
    expect("and a backup is taken", json.loads(stack.rescue("backup", "--json"))["backup_id"])
    stack.compose("--profile", "backup", "--profile", "rescue", "down", "--volumes", "--timeout", "10")


def staging(stack: Stack) -> None:
    """Beside production, with a door and a server for drills of its own; and a developer's machine."""
    stack.environment["COMPOSE_PROJECT_NAME"] = "recyclic-compose-test-staging"
    stack.settings(BACKUP_UI_PORT=str(PORT))
    shutil.rmtree(stack.docker / "secrets")
    stack.settings(POSTGRES_PASSWORD=f"'{PASSWORD}'", BACKUP_ENCRYPTION_KEY="")
    files = [
        "compose.yaml",
        "compose.staging.yaml",
        "test/compose.application.yaml",
        "test/compose.test.yaml",
    ]
    stack.environment["COMPOSE_FILE"] = ":".join(str(stack.docker / each) for each in files)
    stack.compose("up", "--detach", "--wait", "postgres")
    said = stack.run("./first-run", "--staging")
    stack.users = dict(re.findall(r"^  (operator|viewer) +(\w+)", said, re.MULTILINE))
    expect("staging is healthy", healthy(stack))
    expect("its door is at 4433", stack.ask("/", user="operator", port=4433)[0] == 200)
    json.loads(stack.rescue("backup", "--json"))
    drilled = stack.compose("exec", "-T", "backup-code", "recyclic-backups", "drill", "simple", "--json")
    expect("a drill passes on its own server", json.loads(drilled)["passed"], drilled)
    stack.compose("--profile", "rescue", "down", "--volumes", "--timeout", "10")


def main() -> int:
    """Everything, in the order of a bad week."""
    if reason := why_not():
        say(f"skipped: {reason}")
        return 0
    zone, today = zone_of_noon(datetime.now(UTC))
    day = f"{today:%Y-%m-%d}"
    with copied() as stack:
        first_evening(stack, zone, today)
        the_door(stack)
        the_night(stack, zone, day)
        the_daemon_dies(stack, day)
        another_release(stack, day)
        the_engine_restarts(stack)
        the_history_is_lost(stack, day)
        the_last_day(stack)
        beside(stack)
    say(
        "all of it was seen"
        if os.environ.get("COMPOSE_TEST_RESTART_ENGINE")
        else "all of it was seen, but for what NOT SHOWN says"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
