"""Publish a text as a file that readers see whole: the old one or the new one, never half of it."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from recyclic_backups.errors import StorageError


def publish(path: Path, text: str) -> None:
    """Write the file beside its place, then put it there by renaming. Readable by everybody: others watch it.

    What is there keeps its content until then, as node_exporter's textfile collector asks for
    (https://github.com/prometheus/node_exporter#textfile-collector). Raises StorageError.
    """
    temporary: Path | None = None
    try:
        # The name ends otherwise than *.prom: the collector reads no other.
        with NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}", "see --output") from None
    finally:
        if temporary is not None:  # of an interrupted attempt too
            temporary.unlink(missing_ok=True)
