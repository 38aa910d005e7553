"""Compression of the stream between pg_dump and the envelope: zstd (RFC 8878), or none.

One zstd frame per object, with a checksum of its content at the end. The size of the content stands at its
beginning where it is known by then: that of a stream is not, and the manifest's ``plain_bytes`` tells it. Level 2
is the default: on the measured data it was smaller than level 3 and cost 0.7 times its CPU (docs/performance.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, Protocol, cast

from recyclic_backups.errors import DamagedData
from recyclic_backups.frames import MOST_WINDOW_BYTES, WholeFrames

_READ_BYTES = 1 << 20


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Append bytes."""


class Source(Protocol):
    """Where bytes come from; ``b""`` is the end."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes."""


@dataclass(frozen=True, slots=True)
class Compression:
    """``zstd`` at a level of 1 to 19, or ``none``."""

    name: str = "zstd"
    level: int = 2

    @classmethod
    def parse(cls, text: str) -> Compression:
        """``true``, ``zstd``, ``zstd:LEVEL``, ``none`` or ``false``. Raises ValueError with a sentence's end."""
        wanted = text.strip().lower()
        if wanted in ("true", "1", "yes", "on", "zstd"):
            return cls()
        if wanted in ("none", "false", "0", "no", "off"):
            return cls("none", 0)
        match = re.fullmatch(r"zstd:(\d{1,2})", wanted)
        if not match or not 1 <= int(match[1]) <= 19:
            raise ValueError(f"must be true, none or zstd:LEVEL with a level of 1 to 19, not {text!r}")
        return cls("zstd", int(match[1]))

    def __str__(self) -> str:
        return "none" if self.name == "none" else f"{self.name}:{self.level}"

    @property
    def suffix(self) -> str:
        """What compressed objects' names end with."""
        return "" if self.name == "none" else ".zst"


class Compressor:
    """A sink that compresses into another; :meth:`finish` ends the frame, without it the frame is incomplete.

    ``size_bytes`` is how much will be written, where that is known.
    """

    def __init__(self, sink: Sink, compression: Compression, size_bytes: int | None = None) -> None:
        import zstandard  # noqa: PLC0415 - not needed by `--help` and `list`

        self._sink = sink
        self._frame = (
            None
            if compression.name == "none"
            else zstandard.ZstdCompressor(
                level=compression.level, write_checksum=True, write_content_size=True
            ).compressobj(size=-1 if size_bytes is None else size_bytes)
        )

    def write(self, data: bytes | memoryview) -> None:
        """Compress and pass on."""
        packed = data if self._frame is None else self._frame.compress(data)
        if packed:
            self._sink.write(packed)

    def finish(self) -> None:
        """Write what is still inside and the end of the frame."""
        if self._frame is not None:
            self._sink.write(self._frame.flush())


def compressed(data: bytes | bytearray | memoryview, compression: Compression) -> bytes:
    """The frame that a Compressor makes of all of ``data``: for what is in memory, in 0.85 of its time.

    The whole is searched where it lies, instead of a window that is filled again and again.
    """
    import zstandard  # noqa: PLC0415

    compressor = zstandard.ZstdCompressor(
        level=compression.level, write_checksum=True, write_content_size=True
    )
    return compressor.compress(cast("bytes", data))  # any buffer will do, and none of these is copied


class Decompressor:
    """Reads what a Compressor wrote; memory stays flat however well the data were compressed, or claim to be.

    Raises DamagedData when a frame is broken or cut short. That nothing else is missing is for the caller to check
    against ``plain_bytes``.
    """

    def __init__(self, source: Source, *, compressed: bool, name: str) -> None:
        import zstandard  # noqa: PLC0415

        self._name = name
        self._error = zstandard.ZstdError
        self._source: Source = source
        self._watched: _Watched | None = None
        if compressed:
            self._watched = _Watched(source)
            # Only read() is ever called on the source, whatever the stub says.
            file = cast("IO[bytes]", self._watched)
            self._source = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW_BYTES).stream_reader(
                file, read_size=_READ_BYTES, closefd=False, read_across_frames=True
            )

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        try:
            data = self._source.read(size)
            if not data and self._watched is not None:
                self._watched.finish()
        except self._error:
            raise DamagedData(f"the compressed data of {self._name} are broken") from None
        except ValueError as error:
            raise DamagedData(f"the compressed data of {self._name} are broken: {error}") from None
        return data


class _Watched:
    """Compressed bytes on their way to the decompressor, which does not see whether they are whole."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._frames = WholeFrames()
        self._finished = False

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes. Raises ValueError."""
        data = self._source.read(size)
        self._frames.take(data)
        return data

    def finish(self) -> None:
        """Read what the decompressor had no need of, and see that nothing is missing. Raises ValueError."""
        while not self._finished:
            self._finished = not self.read(_READ_BYTES)
        self._frames.finish()
