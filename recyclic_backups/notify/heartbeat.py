"""The heartbeat: a service elsewhere hears of every backup, and raises the alarm when it hears nothing.

The URL is asked as healthchecks.io and those compatible with it want it (https://healthchecks.io/docs/http_api/):
``URL/start`` at the beginning, ``URL`` after success, ``URL/fail`` after failure. That a ping does not get through is
said, and never becomes a failure of the backup, nor its delay by more than seconds: its absence is what the service is
there for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from recyclic_backups.notify.delivery_process import DeadlineExceeded, run_with_deadline

TIMEOUT_SECONDS = 5
"""For each piece of an answer."""

ATTEMPTS = 2

DEADLINE_SECONDS = 12
"""For all attempts together: the backup waits. A little more than a server that says nothing at all costs."""

Beat = Literal["start", "success", "fail"]


@contextmanager
def heartbeat(
    url: str,
    say: Callable[[str], None],
    *,
    will_retry: Callable[[BaseException], bool] = lambda _error: False,
    doubt: Callable[[], str] = lambda: "",
) -> Iterator[None]:
    """Tell the service of the work inside the ``with`` block; without a URL do nothing.

    ``say`` gets a sentence, without the URL, when a ping does not get through. An exception after which somebody
    ``will_retry`` by himself is no failure yet. After good work ``doubt`` is asked what is wrong beside it, as a
    sentence: then the service is told of a failure, since it is all that tells people where mail is down as well.
    """
    if not url:
        yield
        return
    _tell(url, "start", say)
    try:
        yield
    except BaseException as error:
        if not will_retry(error):
            _tell(url, "fail", say)
        raise
    if reason := doubt():
        say(f"the heartbeat tells of a failure: {reason}")
        _tell(url, "fail", say)
    else:
        _tell(url, "success", say)


def sound_alarm(url: str, say: Callable[[str], None]) -> None:
    """Have the service raise the alarm now, not when the next backup is due; without a URL do nothing."""
    if url:
        _tell(url, "fail", say)


def address(url: str, beat: Beat) -> str:
    """Where a beat is told; what follows a ``?`` stays behind it. Pure."""
    if beat == "success":
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{beat}"))


def _tell(url: str, beat: Beat, say: Callable[[str], None]) -> None:
    request = {
        "way": "ping",
        "name": "the heartbeat",
        "url": address(url, beat),
        "attempts": ATTEMPTS,
        "timeout_seconds": TIMEOUT_SECONDS,
    }
    try:
        reason = run_with_deadline(request, DEADLINE_SECONDS)
    except DeadlineExceeded:
        reason = f"it was not done within {DEADLINE_SECONDS} s"
    except OSError as error:
        reason = f"no process can be started ({error.strerror})"
    if reason:
        say(f"the heartbeat ({beat}) did not reach {urlsplit(url).hostname}: {reason}")
