"""A stranger copies the folder, fills ``.env``, types one command, and goes to bed."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from recyclic_backups_tests.docker import browser_visit
from recyclic_backups_tests.docker.seeing import expect, until, zone_of_noon
from recyclic_backups_tests.docker.stack import PASSWORD, PORT, Stack, not_shown, say, users_told
from recyclic_backups_tests.docs.pages import PROJECT


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
    stack.users = users_told(said)
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

    who_may_read(stack, containers)
    who_may_ask_the_code_server(stack)


def who_may_ask_the_code_server(stack: Stack) -> None:
    """Attack prevented: a compromised container on the database's network has the code server run its program."""

    def inside(*command: str) -> str:
        return stack.compose("exec", "-T", "backup-code", *command)

    # proc(5): the second column is the address, the fourth the state; 0A listens. 127.0.0.11 is Docker's name server.
    sockets = [line.split() for line in inside("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()]
    listening = {each[1] for each in sockets if each[3] == "0A" and not each[1].startswith("0B00007F:")}
    expect("backup-code listens on no port of any network", not listening, listening)
    modes = inside("stat", "-c", "%a", "/run/recyclic_backups", "/run/recyclic_backups/code.sock").split()
    expect("its socket is for its own user", [each[-2:] for each in modes] == ["00", "00"], modes)
    having = {
        name
        for name in (
            "backup-code",
            "backup-daemon",
            "backup-ui",
            "backup-ui-readonly",
            "backup-pages",
            "backup-door",
        )
        if stack.compose("exec", "-T", name, "ls", "/run/recyclic_backups/code.sock", check=False)
    }
    asks = {"backup-code", "backup-daemon", "backup-ui", "backup-ui-readonly"}
    expect("only daemon and Dagster's pages have it too", having == asks, having)
    expect("no process leaves a core dump", inside("sh", "-c", "ulimit -c").strip() == "0")


def who_may_read(stack: Stack, containers: dict[str, Any]) -> None:
    """Backups, keys and logs: which containers have them at all, and which users."""
    mounted = {
        name: {mount["Destination"]: mount["RW"] for mount in each["Mounts"]}
        for name, each in containers.items()
    }

    def having(place: str) -> dict[str, bool]:
        return {name: there[place] for name, there in mounted.items() if place in there}

    expect(
        "only who takes and who shows backups has them, the latter to read",
        having("/backups") == {"backup-code": True, "backup-pages": False},
        having("/backups"),
    )
    expect(
        "the database's password is where backups are taken, and where settings are read",
        set(having("/run/secrets/postgres_password")) == {"backup-code", "backup-pages"},
    )
    expect(
        "the key too; the door, the daemon and Dagster's pages have neither",
        set(having("/run/secrets/backup_encryption_key")) == {"backup-code", "backup-pages"},
    )
    # Nobody enters a closed directory, whatever the modes in it; Docker's directory of secrets is open, they are not.
    open_to_others = "find /backups /scratch /var/log/recyclic_backups -maxdepth 0 -perm /o=rwx"
    open_to_others += "; find /run/secrets -type f -perm /o=rwx"
    found = stack.compose("exec", "-T", "backup-code", "sh", "-c", open_to_others).split()
    expect("another user of the host or of a container reads no backup, key or log", not found, found)


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
    guesses = [stack.ask("/", user="operator", password=f"guess {number}")[0] for number in range(40)]
    expect("who guesses is told to wait", guesses[0] == 401 and guesses[-1] == 429, guesses)
    # While he guesses, one request in three seconds goes through: which one is chance.
    right = [stack.ask("/", user="operator")[0] for _ in range(5)]
    expect("also with the right password, without the cookie", 429 in right, right)
    expect("who had been let in is not", stack.query("{version}").get("version"))


def a_person(stack: Stack) -> None:
    """The same in a browser, as both users."""
    if reason := browser_visit.why_not():
        not_shown(f"chromium: no browser at the door: {reason}")
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
    soon = zone_of_noon(datetime.now(UTC))[1] + timedelta(
        seconds=240
    )  # a busy machine needs two minutes to begin
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

    run_id = until("the schedule fired", fired, 420)
    expect("its run succeeded", until("the run ended", lambda: stack.ended(run_id)) == "SUCCESS")
    until("the day is there in Dagster", lambda: day in stack.partitions())
    said = until("eight checks answered", lambda: (found := stack.checks()) and len(found) >= 8 and found)
    # `proven` waits for a drill, and nothing was there before to compare with.
    expect(
        "none of them is red",
        said["integrity"] == said["encrypted"] == said["timeliness"] == "SUCCEEDED",
        said,
    )
    backup = json.loads(stack.rescue("list", "--json"))["backups"][0]
    expect("the rescue image lists it, verified", backup["verified_at"] and backup["tiers"], backup)
    for scenario in ("simple", "full"):
        drill = stack.launch(f"drill_{scenario}_job")
        expect(
            f"drill {scenario} passed",
            until(f"drill {scenario} ended", partial(stack.ended, drill)) == "SUCCESS",
            drill,
        )
    expect("the backup is proven", json.loads(stack.rescue("list", "--json"))["backups"][0]["proven_at"])
