"""Whether this machine is ready: its environment, where drills run, and who is told of problems."""

from __future__ import annotations

import os
from collections.abc import Iterator

from recyclic_backups import wiring
from recyclic_backups.config.env_file import secrets_for_everybody
from recyclic_backups.config.settings import Settings
from recyclic_backups.notify.send import why_unusable
from recyclic_backups.postgres.account import MAKE_USER, USERS, Account
from recyclic_backups.postgres.confinement import lacking
from recyclic_backups.postgres.startup import VERIFIED_MODES, is_of_libpq
from recyclic_backups.postgres.tls import is_this_machine
from recyclic_backups.validation.finding import Finding


def check_environment(settings: Settings) -> Iterator[Finding]:
    """What was read, what was meant otherwise, and who else can read it."""
    yield Finding(
        "settings",
        "ok",
        f"{settings.environment}, times are {settings.calendar.timezone}; {settings.read_from}",
    )
    for sentence in settings.misspelt:
        yield Finding("settings", "warning", sentence, "docs/settings.md lists every setting")
    if settings.dotenv is not None and (exposed := secrets_for_everybody(settings.dotenv)):
        yield Finding(
            "secrets",
            "warning",
            f"every user of this machine may read {', '.join(exposed)} in {settings.dotenv.name}",
            f"chmod 600 {settings.dotenv.name}",
        )
    if unread := sorted(name for name in os.environ if is_of_libpq(name)):
        yield Finding(
            "environment",
            "warning",
            f"{', '.join(unread)}: set, and not read by this program nor by those it runs",
            "POSTGRES_* alone say where to connect, and as whom; see docs/settings.md",
        )


def check_drills(settings: Settings) -> Iterator[Finding]:
    """Where drills run, and what keeps the code of restored databases from what else is on this machine."""
    if (staging := settings.drill_server) is not None:
        where = f"on the staging server {staging.label}"
        if staging.sslmode in VERIFIED_MODES or staging.host == "localhost" or is_this_machine(staging.host):
            yield Finding("drills", "ok", where)
        else:
            yield Finding(
                "drills",
                "warning",
                f"{where}: every drill sends it all rows, and who answers is not checked",
                "unless nobody can be in between: add ?sslmode=verify-full&sslrootcert=FILE to DRILL_SERVER_URL",
            )
        return
    account = Account.for_servers()
    if account.shared:
        yield Finding(
            "drills",
            "warning",
            f"throwaway servers run as the user {USERS[-1]!r}, and any other program of that user can read what is "
            "restored into them",
            f"make a user for them alone: {MAKE_USER}",
        )
    if missing := lacking(same_user=not account.change):
        hint = (
            f"a kernel with Landlock, or root and a user {USERS[0]!r}, or DRILL_SERVER_URL on another machine"
        )
        yield Finding("drills", "warning", missing, hint)
    else:
        yield Finding(
            "drills", "ok", "throwaway servers reach their own files alone, and can run no program (Landlock)"
        )


def check_alerts(settings: Settings) -> Iterator[Finding]:
    """Somebody is told of problems, and somebody notices silence."""
    problems = {each.name: why_unusable(each) for each in wiring.channels(settings)}
    told = [name for name, problem in problems.items() if problem is None]
    if told:
        yield Finding("alerts", "ok", f"told: {', '.join(told)}")
    for problem in problems.values():
        if problem is not None:
            yield Finding(
                "alerts",
                "warning",
                f"{problem}: nobody is told there",
                "correct it (docs/alerts.md), then send a test: recyclic-backups notify-test",
            )
    if not wiring.channels(settings):
        yield Finding(
            "alerts",
            "warning",
            "nobody is told of problems: no channel is configured",
            "set NOTIFICATION_EMAIL, NOTIFICATION_TELEGRAM_TOKEN or NOTIFICATION_URLS; see docs/alerts.md",
        )
    if settings.heartbeat_url:
        yield Finding("heartbeat", "ok", "each daily backup pings HEARTBEAT_URL")
    else:
        yield Finding(
            "heartbeat",
            "warning",
            "nobody notices silence: HEARTBEAT_URL is not set",
            "a machine that is dead sends no mail; see docs/alerts.md",
        )
