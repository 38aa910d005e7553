"""The heartbeat: a service elsewhere hears of every backup, and raises the alarm when it hears nothing.

The URL is asked as healthchecks.io and those compatible with it want it (https://healthchecks.io/docs/http_api/):
``URL/start`` at the beginning, ``URL`` after success, ``URL/fail`` after failure. That a ping does not get through is
said, and never becomes a failure of the backup, nor its delay by more than seconds: its absence is what the service is
there for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Literal
from urllib.error import URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request

from recyclic_backups.notify.line import CutOff, Line, post, talk_for

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
) -> Iterator[None]:
    """Tell the service of the work inside the ``with`` block; without a URL do nothing.

    ``say`` gets a sentence, without the URL, when a ping does not get through. An exception after which somebody
    ``will_retry`` by himself is no failure yet.
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
    _tell(url, "success", say)


def address(url: str, beat: Beat) -> str:
    """Where a beat is told; what follows a ``?`` stays behind it. Pure."""
    if beat == "success":
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{beat}"))


def _tell(url: str, beat: Beat, say: Callable[[str], None]) -> None:
    try:
        reason = talk_for(DEADLINE_SECONDS, lambda line: _ping(line, address(url, beat)))
    except CutOff:
        reason = f"it was not done within {DEADLINE_SECONDS} s"
    if reason:
        say(f"the heartbeat ({beat}) did not reach {urlsplit(url).hostname}: {reason}")


def _ping(line: Line, where: str) -> str:
    """Why it did not get through; empty if it did."""
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            # Asked with POST, as the API wants it from those who write; http(s) is what the settings allow.
            request = Request(where, data=b"", method="POST")  # noqa: S310
            status, _answer = post(line, request, timeout_seconds=TIMEOUT_SECONDS)
            if status < 300:
                return ""
            reason = f"it answered {status}"
        except CutOff:
            raise
        except URLError as error:
            reason = getattr(error.reason, "strerror", None) or type(error.reason).__name__
        except (OSError, HTTPException, ValueError) as error:
            reason = type(error).__name__
        if line.is_cut:
            raise CutOff
    return reason
