"""One message by apprise, in a process of its own: ``python -m recyclic_backups.notify.service``.

apprise has a hundred plugins, each with libraries of its own: no one time is for all that such a library says, and
nobody outside can get at its connections. A process can be ended, and then it sends nothing any more. What to send
comes on its standard input, where no list of processes shows it; the verdict goes to standard output. The logs of
apprise and of the libraries below it hold URLs with their secrets: they end here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from recyclic_backups.postgres.process import keep_to_ourselves

_LOUD_LOGGERS = ("apprise", "urllib3", "requests")
_VERDICT = b"verdict "
_OF_OURS = re.compile("(BACKUP|DAGSTER|DRILL|HEARTBEAT|NOTIFICATION|POSTGRES|SMTP)_")
"""Variables with keys and passwords among them: others of our user read what a process was given."""

MOST_MEMORY_BYTES = 512 << 20
"""Of the process: libraries read an answer to its end, and somebody's may have none. A plugin needs a tenth of it."""


class Unanswered(Exception):
    """The process was ended because its time was over, or ended without a verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether apprise knows the URL, and whether the service took the message.

    ``code`` is the HTTP status that the service gave for a reason, ``error`` the class of an exception.
    """

    known: bool
    taken: bool
    code: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Patience:
    """For a service: ``piece_seconds`` for each piece of an answer, where its plugin knows such a thing; after
    ``all_seconds`` the process is killed.
    """

    piece_seconds: float
    all_seconds: float


def hand_over(url: str, title: str, body: str, patience: Patience, *, critical: bool) -> Verdict:
    """Give a message to the service behind a URL of apprise.

    Raises Unanswered, OSError when no process could be started.
    """
    return _asked({"url": url, "title": title, "body": body, "critical": critical}, patience)


def understands(url: str, patience: Patience) -> Verdict:
    """Whether apprise knows the URL; nothing is sent. Raises as :func:`hand_over` does."""
    return _asked({"url": url}, patience)


def _asked(letter: Mapping[str, object], patience: Patience) -> Verdict:
    given = {name: value for name, value in os.environ.items() if not _OF_OURS.match(name)}
    try:
        done = subprocess.run(
            # The modules of this process and no others: not what lies in the working directory (-P).
            [sys.executable, "-P", "-m", __name__],
            env={**given, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)},
            input=json.dumps({**letter, "seconds": patience.piece_seconds}).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience.all_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unanswered(f"was not done within {patience.all_seconds} s") from None
    for line in done.stdout.splitlines():
        if line.startswith(_VERDICT):
            return Verdict(**json.loads(line.removeprefix(_VERDICT)))
    raise Unanswered(f"ended with {done.returncode} and said nothing")


def main() -> None:
    """Do what standard input says."""
    keep_to_ourselves()
    letter = json.load(sys.stdin)
    with contextlib.suppress(OSError, ValueError):  # a lower limit is there, or the system knows none
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    said = _Ear(logging.WARNING)
    for name in _LOUD_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [said], False
    verdict = _verdict(letter, said)
    # Past whatever a plugin has made of the standard output.
    document = {"known": verdict.known, "taken": verdict.taken, "code": verdict.code, "error": verdict.error}
    os.write(1, b"\n" + _VERDICT + json.dumps(document).encode() + b"\n")


class _Ear(logging.Handler):
    """Remembers what is logged, and shows it to nobody."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _verdict(letter: dict[str, str], said: _Ear) -> Verdict:
    # Half a second: another reason why nobody else imports it.
    from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType  # noqa: PLC0415

    url, seconds = letter["url"], letter["seconds"]
    separator = "&" if "?" in url else "?"
    # Whoever is asked does not send us elsewhere, to the pages at 127.0.0.1 for one, unless the URL says so.
    redirect = "" if re.search(r"[?&]redirect=", url) else "&redirect=no"
    service = Apprise(asset=AppriseAsset(async_mode=False, secure_logging=True))
    try:
        known = service.add(f"{url}{separator}rto={seconds}&cto={seconds}{redirect}")
        taken = bool(known and "body" in letter) and service.notify(
            title=letter["title"],
            body=letter["body"],
            body_format=NotifyFormat.TEXT,
            notify_type=NotifyType.FAILURE if letter["critical"] else NotifyType.WARNING,
        )
    except Exception as error:  # noqa: BLE001 - a hundred plugins, each with exceptions of its own
        return Verdict(known=True, taken=False, error=type(error).__name__)
    codes = re.findall(r"error=(\d{3})\b", "\n".join(said.lines))
    return Verdict(known=bool(known), taken=bool(taken), code=codes[-1] if codes else "")


if __name__ == "__main__":
    main()
