"""Lists of entries for ``pg_restore --use-list``, in files that have no name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from recyclic_backups.errors import StorageError


@contextmanager
def list_file_of(
    entries: Sequence[int] | None, scratch: Path | None
) -> Iterator[tuple[Path | None, tuple[int, ...]]]:
    """A private file of entry ids, and the descriptors that whoever reads it must inherit.

    No names, hence nothing personal, are written to disk. Where a process can open what it has inherited (fd(4)), the
    file has no name, so that none stays if we are killed.
    """
    if entries is None:
        yield None, ()
        return
    inherited = Path("/dev/fd")
    with ExitStack() as stack:
        try:
            file: IO[str]
            if inherited.is_dir():
                file = stack.enter_context(tempfile.TemporaryFile("w", dir=scratch))
                path = inherited / str(file.fileno())
                descriptors: tuple[int, ...] = (file.fileno(),)
            else:
                file = stack.enter_context(tempfile.NamedTemporaryFile("w", dir=scratch))
                path, descriptors = Path(str(file.name)), ()
            file.writelines(f"{entry};\n" for entry in entries)
            file.flush()
        except OSError as error:
            raise StorageError(
                f"a list of entries cannot be written to {scratch or tempfile.gettempdir()}: {error.strerror}",
                "free some space there, or set BACKUP_SCRATCH to another directory",
            ) from error
        yield path, descriptors
