"""The one error tree: what can go wrong, what to do about it, and the exit code it ends with.

Every class stands for one promise that could not be kept. Third-party exceptions are translated into
these where they arise, so that nothing above the adapters knows psycopg, the operating system's errno
values or a cloud library. A *negative answer* (a failed comparison) is a value, not an exception; only the
front doors turn it into :class:`VerdictNegative` to end with the documented exit code.

Messages and hints are shown to operators, stored in Dagster's event log and printed by cron: they never
contain a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from recyclic_backups.own_command import as_called


def printable(name: str) -> str:
    r"""A name as text that can be written anywhere: a byte of it that is no UTF-8 becomes ``\xe9``.

    Python gives such a byte of a file's name as a lone surrogate (PEP 383). It opens the file, and neither JSON, a
    page, a mail nor a terminal takes it. A surrogate that stands for no byte becomes ``\ud800``.
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


class BackupError(Exception):
    """Something the operator has to know: one sentence, a hint, an exit code.

    ``retryable`` says whether the same call may succeed later with nothing changed by a person (a server
    that restarts, a network that hangs). Dagster turns it into a retry; integrity errors are never retryable.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "unexpected"
    """What scripts know it by, beside the exit code: docs/json.md."""

    def __init__(self, message: str, hint: str = "", *, retryable: bool = False) -> None:
        # Here, once for all: any message may hold the name of a file that somebody else made, any hint a command.
        self.message, self.hint = as_called(printable(message)), as_called(printable(hint))
        super().__init__(self.message)
        self.retryable = retryable

    def __str__(self) -> str:
        return self.message


class UsageError(BackupError):
    """The command line or an argument makes no sense."""

    exit_code = 2
    kind = "usage"


class ConfigurationError(BackupError):
    """One or more settings are wrong; the message names every one of them."""

    exit_code = 10
    kind = "configuration"


class DatabaseError(BackupError):
    """The database, or a PostgreSQL program, refused or failed."""

    exit_code = 20
    kind = "database"


class ProgramMissing(DatabaseError):
    """No suitable PostgreSQL program was found; the message names what was found and what is needed."""


class ProgramFailed(DatabaseError):
    """A PostgreSQL program ended with an error, or was killed.

    ``complaint`` is its own sentence. ``toc_entry`` is the id of the archive's entry at which pg_restore stopped, if it
    was one of them. ``claimed_entries`` are all that its complaints name: names and messages of the database's owner
    stand among them, and may look like another one.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        retryable: bool = False,
        complaint: str = "",
        toc_entry: int | None = None,
    ) -> None:
        super().__init__(message, hint, retryable=retryable)
        self.complaint, self.toc_entry = printable(complaint) or self.message, toc_entry
        self.claimed_entries: frozenset[int] = frozenset() if toc_entry is None else frozenset({toc_entry})


class StorageError(BackupError):
    """The storage cannot be reached, read or written."""

    exit_code = 30
    kind = "storage"


class StorageMissing(StorageError):
    """There is nothing where the storage should be, but the place to make it is there."""


class ObjectMissing(StorageError):
    """There is no object of that name in the storage."""


class ObjectExists(StorageError):
    """A create-only object is already there."""


class DamagedData(BackupError):
    """Stored bytes are not the ones that were written."""

    exit_code = 40
    kind = "damaged_data"


class NoUsableKey(BackupError):
    """No configured key opens the data, which themselves are whole."""

    exit_code = 41
    kind = "no_usable_key"


class ArchiveError(BackupError):
    """The WAL archive has a gap, or cannot be written."""

    exit_code = 50
    kind = "archive"


class RecoveryError(BackupError):
    """What was asked for cannot be recovered: no such backup, nothing there yet, target out of reach."""

    exit_code = 60
    kind = "recovery"


class Refused(BackupError):
    """A safety rule forbids it: the target exists, there is no space, the lock is busy, nobody confirmed."""

    exit_code = 70
    kind = "refused"


class VerdictNegative(BackupError):
    """Everything ran, and the answer is no: a comparison, a drill or a health check failed."""

    exit_code = 80
    kind = "verdict"


def most_serious(errors: Iterable[BackupError]) -> int:
    """The exit code of a report on several things: damage first, which no second try puts right, then keys, storage.

    0 without any error; what a person may simply have named wrongly is the least.
    """
    codes = {error.exit_code for error in errors}
    order = (40, 41, 30, 20, 10, 70, 60, 2)
    return next((code for code in order if code in codes), min(codes, default=0))
