"""The skeleton of zstd frames (RFC 8878, section 3.1): whether compressed data are whole.

Decompressors end quietly in the middle of a frame, as at its end. What is missing there may be no byte of the content
but the checksum over it.
"""

from __future__ import annotations

MOST_WINDOW_BYTES = 32 << 20
"""What a frame may make its reader keep. Our levels, 1 to 19, have windows of up to 8 MiB, which RFC 8878 (3.1.1.1.2)
asks every reader to take; by default libraries would let a forged frame take 128 MiB."""

_MAGIC, _SKIPPABLE_MAGIC = 0xFD2FB528, 0x184D2A50
_MOST_BLOCK_BYTES = 128 << 10
_RLE, _RESERVED = 1, 3


class WholeFrames:
    """Looks at compressed bytes as they pass: :meth:`take` all of them in order, then :meth:`finish`.

    Both raise ValueError with the end of a sentence about what is wrong.
    """

    def __init__(self) -> None:
        self._part, self._needed, self._head = "frame", 4, b""
        self._skip = 0
        self._frames = 0
        self._has_checksum = self._single = False
        self._dictionary_bytes = self._size_bytes = 0

    def take(self, data: bytes) -> None:
        """The next bytes."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                at, self._skip = at + step, self._skip - step
                continue
            taken = data[at : at + self._needed - len(self._head)]
            at, self._head = at + len(taken), self._head + taken
            if len(self._head) == self._needed:
                self._read(self._head)
                self._head = b""

    def finish(self) -> None:
        """There are no more bytes."""
        if self._part != "frame" or self._head or self._skip or not self._frames:
            raise ValueError("they are cut short")

    def _read(self, head: bytes) -> None:
        """One header: of a frame, of what can be skipped, or of a block."""
        number = int.from_bytes(head, "little")
        match self._part:
            case "frame" if number == _MAGIC:
                self._next("descriptor", 1)
            case "frame" if number & 0xFFFFFFF0 == _SKIPPABLE_MAGIC:
                self._next("skippable", 4)
            case "frame":
                raise ValueError("there is something that is no zstd frame")
            case "skippable":
                self._end_of_frame(skip=number)
            case "descriptor":
                self._read_descriptor(number)
            case "header":
                self._require_small_window(head)
                self._next("block", 3)
            case _:
                self._read_block(number)

    def _read_descriptor(self, number: int) -> None:
        if number & 0x08:
            raise ValueError("a reserved bit is set")
        self._has_checksum, self._single = bool(number & 0x04), bool(number & 0x20)
        self._dictionary_bytes = (0, 1, 2, 4)[number & 3]
        self._size_bytes = (int(self._single), 2, 4, 8)[number >> 6]
        self._next("header", (0 if self._single else 1) + self._dictionary_bytes + self._size_bytes)

    def _require_small_window(self, head: bytes) -> None:
        if self._single:  # the window is the content
            content_bytes = int.from_bytes(head[self._dictionary_bytes :], "little")
            window_bytes = content_bytes + (256 if self._size_bytes == 2 else 0)
        else:
            window_bytes = (8 + (head[0] & 7)) << (7 + (head[0] >> 3))
        if window_bytes > MOST_WINDOW_BYTES:
            raise ValueError("reading them would take too much memory")

    def _read_block(self, number: int) -> None:
        kind, size_bytes = number >> 1 & 3, number >> 3
        if kind == _RESERVED or size_bytes > _MOST_BLOCK_BYTES:
            raise ValueError("a block is malformed")
        self._skip = 1 if kind == _RLE else size_bytes
        if number & 1:
            self._end_of_frame(skip=self._skip + (4 if self._has_checksum else 0))

    def _next(self, part: str, needed: int) -> None:
        self._part, self._needed = part, needed

    def _end_of_frame(self, *, skip: int) -> None:
        self._next("frame", 4)
        self._skip = skip
        self._frames += 1
