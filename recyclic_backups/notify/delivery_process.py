"""One delivery in a process of its own, which is killed when its time is over.

A socket's timeout begins anew with every byte, a resolver of names has none, and apprise's hundred plugins hold
connections that nobody else can reach. A process can be ended, whoever speaks how slowly, and sends nothing afterwards:
nothing is delivered that was called failed. Requests come on standard input, where no list of processes shows their
secrets. Logs of libraries hold URLs with their secrets: they end here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import resource
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from recyclic_backups.postgres.process import keep_to_ourselves

MOST_MEMORY_BYTES = 512 << 20
"""Of the process: an answer may have no end, and libraries read to it. A delivery needs a tenth of it."""

_PARTING_SECONDS = 2
_LONGEST_ANSWER_BYTES = 100_000
_LOUD_LOGGERS = ("apprise", "urllib3", "requests")
_VERDICT = b"verdict "
_OF_OURS = re.compile("(BACKUP|DAGSTER|DRILL|HEARTBEAT|NOTIFICATION|POSTGRES|SMTP)_")
"""Variables with keys and passwords among them: others of our user read what a process was given."""


class DeadlineExceeded(TimeoutError):
    """The time was over. Whether the other side acted on what it had heard is not known."""


def run_with_deadline(request: Mapping[str, Any], deadline_seconds: float) -> str:
    """Let a process do what the request says. Returns why it failed, without a secret of ours; empty if it did not.

    Raises DeadlineExceeded, OSError when no process can be started.
    """
    is_over, said = False, b""
    given = {name: value for name, value in os.environ.items() if not _OF_OURS.match(name)}
    with subprocess.Popen(
        # The modules of this process and no others: not what lies in the working directory (-P).
        [sys.executable, "-P", "-m", __name__],
        env={**given, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as courier:
        try:
            letter = json.dumps({**request, "deadline_seconds": deadline_seconds}).encode()
            said, _ = courier.communicate(letter, timeout=deadline_seconds)
        except subprocess.TimeoutExpired as error:
            is_over, said = True, error.stdout or b""
        finally:
            courier.kill()
            courier.wait()
    # A mail is taken before the good-bye, during which the time may end.
    for line in said.splitlines():
        if line.startswith(_VERDICT):
            return str(json.loads(line.removeprefix(_VERDICT)))
    if is_over:
        raise DeadlineExceeded
    return "the process that delivers ended and said nothing"


def main() -> None:
    """Do what standard input says, and write why it failed to standard output."""
    keep_to_ourselves()
    request = json.load(sys.stdin)
    signal.setitimer(signal.ITIMER_REAL, request["deadline_seconds"])  # also where nobody is left to end us
    with contextlib.suppress(OSError, ValueError):  # a lower limit is there, or the system knows none
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    try:
        reason = _WAYS[request["way"]](request)
    except Exception as error:  # noqa: BLE001 - a hundred plugins, each with exceptions of its own
        reason = f"{request['name']} failed ({type(error).__name__})"
    _report(reason)


def _report(reason: str) -> None:
    # Past whatever a plugin has made of the standard output.
    os.write(1, b"\n" + _VERDICT + json.dumps(reason).encode() + b"\n")


def _mail(request: Mapping[str, Any]) -> str:
    """One conversation with the mail server."""
    where = f"{request['host']}:{request['port']}"
    mail = EmailMessage()
    for header, value in request["headers"].items():
        mail[header] = value
    try:
        mail.set_content(request["body"])
        _hand_in(request, mail)
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(str(code) for code, _ in error.recipients.values())
        return f"{where} does not take mail for {request['recipient']} ({codes})"
    except smtplib.SMTPAuthenticationError as error:
        return f"{where} refused the login of {request['user']} ({error.smtp_code})"
    except smtplib.SMTPNotSupportedError:
        return f"{where} does not offer STARTTLS, or not the login that is configured"
    except smtplib.SMTPResponseException as error:
        return f"{where} answered {error.smtp_code}"
    except smtplib.SMTPServerDisconnected as error:
        # smtplib wraps what the system said while it waited for an answer.
        cause = error.__context__
        return f"{where} ended the conversation" + (
            f": {_os_reason(cause, request)}" if isinstance(cause, OSError) else ""
        )
    except smtplib.SMTPException as error:
        return f"{where} ended the conversation ({type(error).__name__})"
    except OSError as error:
        return f"{where} cannot be reached: {_os_reason(error, request)}"
    except (
        ValueError
    ) as error:  # an address or a password that is not ASCII, for a server that takes no other
        return f"{where} cannot be given this mail ({type(error).__name__})"
    return ""


def _hand_in(request: Mapping[str, Any], mail: EmailMessage) -> None:
    given = {
        "host": request["host"],
        "port": request["port"],
        "local_hostname": socket.gethostname(),
        "timeout": request["timeout_seconds"],
    }
    tls = ssl.create_default_context()
    connection = smtplib.SMTP_SSL(**given, context=tls) if request["tls"] else smtplib.SMTP(**given)
    try:
        if request["starttls"]:
            connection.starttls(context=tls)
        if request["user"]:
            connection.login(request["user"], request["password"])
        connection.send_message(mail, request["sender"], [request["recipient"]])
        # It is the server's from its 250 after the data on (RFC 5321, section 6.1), whatever becomes of QUIT.
        _report("")
    finally:
        # Not by `with`, which raises for any answer but 221: a refusal before that is the reason to tell.
        with contextlib.suppress(smtplib.SMTPException, OSError, ValueError):
            if connection.sock is not None:
                connection.sock.settimeout(_PARTING_SECONDS)
                connection.quit()
        connection.close()


class _ToTheSameHost(HTTPRedirectHandler):
    """Follows a server to another of its own addresses, or from http to https there.

    Elsewhere, and to http, it would have us ask what it cannot reach itself: what listens on this machine alone.
    """

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """Called by the opener."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        is_upgrade = (before.scheme, after.scheme, after.port or 443) == ("http", "https", 443)
        is_same = (before.scheme, before.port) == (after.scheme, after.port)
        if before.hostname != after.hostname or not (is_same or is_upgrade):
            raise HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _post(request: Mapping[str, Any], data: bytes, content_type: str) -> tuple[int, bytes]:
    """Status and the beginning of the answer, errors of HTTP included. Raises OSError, HTTPException, ValueError."""
    asked = Request(  # noqa: S310 - http(s) is what the settings allow
        request["url"], data=data, headers={"Content-Type": content_type}, method="POST"
    )
    try:
        with build_opener(_ToTheSameHost).open(asked, timeout=request["timeout_seconds"]) as answer:
            return answer.status, answer.read(_LONGEST_ANSWER_BYTES)
    except HTTPError as error:
        with error:
            return error.code, error.read(_LONGEST_ANSWER_BYTES)


def _telegram(request: Mapping[str, Any]) -> str:
    body = {
        "chat_id": request["chat_id"],
        "text": request["text"],
        "link_preview_options": {"is_disabled": True},
    }
    try:
        status, answer = _post(request, json.dumps(body).encode(), "application/json")
    except (OSError, HTTPException, ValueError) as error:
        return f"Telegram cannot be reached: {_os_reason(error, request)}"
    try:
        document = json.loads(answer)
        taken, description = document.get("ok") is True, str(document.get("description", ""))[:200]
    except (ValueError, AttributeError):
        taken, description = False, ""
    if status >= 300:
        return f"Telegram answered {status}: {description or 'no reason given'}"
    return "" if taken else "Telegram did not take the message"


def _ping(request: Mapping[str, Any]) -> str:
    reason = ""
    for _ in range(request["attempts"]):
        try:
            # Asked with POST, as the API wants it from those who write.
            status, _answer = _post(request, b"", "text/plain")
            if status < 300:
                return ""
            reason = f"it answered {status}"
        except (OSError, HTTPException, ValueError) as error:
            reason = _os_reason(error, request)
    return reason


class LogCapture(logging.Handler):
    """Keeps what is logged, and shows it to nobody."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the logger."""
        self.lines.append(record.getMessage())


def _service(request: Mapping[str, Any]) -> str:
    """By apprise; without a ``body`` nothing is sent: whether it knows the URL."""
    # Half a second: another reason why nobody else imports it.
    from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType  # noqa: PLC0415

    logged = LogCapture()
    for name in _LOUD_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logged], False
    url, seconds = request["url"], request["timeout_seconds"]
    separator = "&" if "?" in url else "?"
    # Whoever is asked does not send us elsewhere, to the pages at 127.0.0.1 for one, unless the URL says so.
    redirect = "" if re.search(r"[?&]redirect=", url) else "&redirect=no"
    service = Apprise(asset=AppriseAsset(async_mode=False, secure_logging=True))
    if not service.add(f"{url}{separator}rto={seconds}&cto={seconds}{redirect}"):
        return f"apprise does not understand the URL number {request['number']} of NOTIFICATION_URLS"
    if "body" not in request or service.notify(
        title=request["title"],
        body=request["body"],
        body_format=NotifyFormat.TEXT,
        notify_type=NotifyType.FAILURE if request["critical"] else NotifyType.WARNING,
    ):
        return ""
    codes = re.findall(r"error=(\d{3})\b", "\n".join(logged.lines))
    return f"{request['name']} did not take the message" + (f" ({codes[-1]})" if codes else "")


_WAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "mail": _mail,
    "telegram": _telegram,
    "ping": _ping,
    "service": _service,
}


def _os_reason(error: BaseException, request: Mapping[str, Any]) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    match cause:
        case TimeoutError():
            return f"no answer within {request['timeout_seconds']} s"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {cause.verify_message}"
        case ssl.SSLError():
            return "no TLS connection could be made"
        case OSError():
            return cause.strerror or type(cause).__name__
    return "no answer"


if __name__ == "__main__":
    main()
