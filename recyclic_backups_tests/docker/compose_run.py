"""``make compose-test``: a stranger copies the folder, fills ``.env``, types one command; then everything goes wrong.

Needs an engine with Compose 2.24.4 or newer, curl and openssl; without an engine it ends with an error, unless
``COMPOSE_TEST_SKIP_WITHOUT_ENGINE=1``. Two variables for engines that are not the machine's own:
``COMPOSE_TEST_REACH``, a command in front of curl that reaches published ports, and ``COMPOSE_TEST_RESTART_ENGINE``, a
command that restarts the engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime

from recyclic_backups_tests.docker.bad_week import (
    another_release,
    the_daemon_dies,
    the_engine_restarts,
    the_history_is_lost,
    the_last_day,
)
from recyclic_backups_tests.docker.elsewhere import beside, development, staging
from recyclic_backups_tests.docker.first_evening import a_person, first_evening, the_door, the_night
from recyclic_backups_tests.docker.lost_machine import the_machine_is_lost
from recyclic_backups_tests.docker.receiver import the_receiver, the_receiver_ends
from recyclic_backups_tests.docker.seeing import zone_of_noon
from recyclic_backups_tests.docker.stack import copied, say
from recyclic_backups_tests.skipping import objection


def why_not() -> str:
    """What is missing here, or nothing."""
    for program in ("docker", "curl", "openssl"):
        if shutil.which(program) is None:
            return f"there is no {program} on this machine"
    for question in (["docker", "info"], ["docker", "compose", "version"]):
        if subprocess.run(question, capture_output=True, check=False).returncode != 0:
            return f"`{' '.join(question)}` gets no answer: no engine, no Compose, or no right to use them"
    return ""


def main() -> int:
    """Everything, in the order of a bad week."""
    if reason := why_not():
        problem = objection(f"engine: {reason}")
        if problem or os.environ.get("COMPOSE_TEST_SKIP_WITHOUT_ENGINE") != "1":
            say(f"error: {problem or reason}")
            say("hint: COMPOSE_TEST_SKIP_WITHOUT_ENGINE=1 lets this end well all the same")
            return 1
        say(f"skipped: {reason}")
        return 0
    zone, today = zone_of_noon(datetime.now(UTC))
    day = f"{today:%Y-%m-%d}"
    with copied() as stack:
        first_evening(stack, zone, today)
        the_door(stack)
        the_night(stack, zone, day)
        a_person(stack)
        the_receiver(stack)
        the_machine_is_lost(stack)
        the_receiver_ends(stack)
        the_daemon_dies(stack, day)
        another_release(stack, day)
        the_engine_restarts(stack)
        the_history_is_lost(stack, day)
        the_last_day(stack)
        beside(stack)
        staging(stack)
        development(stack)
    say(
        "all of it was seen"
        if os.environ.get("COMPOSE_TEST_RESTART_ENGINE")
        else "all of it was seen, but for what NOT SHOWN says"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
