"""gzip of a body whose first part often is the one that was compressed last.

The body is one gzip member (RFC 1952) of two runs of deflate blocks (RFC 1951): the first ends on a byte boundary, the
second does not refer back to it. So the first run can be kept, and only the check sum covers both.
"""

import struct
from collections.abc import Iterable, Sequence

from isal import isal_zlib

_HEADER = bytes.fromhex("1f8b08000000000000ff")  # deflate, no name, no time, unknown system
_LEVEL = 1
_RAW = -15
"""Deflate with a window of 2^15 bytes, and no header of its own."""


class Compressor:
    """Compresses bodies, and keeps the run of one first part."""

    def __init__(self) -> None:
        self._first: Sequence[bytes] | None = None
        self._run = b""
        self._checksum = 0
        self._size = 0

    def gzip(self, first: Sequence[bytes], rest: bytes) -> bytes:
        """Return the chunks of `first`, and `rest`, as gzip; cheap when `first` is the object of the last call."""
        if first is not self._first:
            self._run = _deflate(first, isal_zlib.Z_FULL_FLUSH)
            self._checksum = 0
            for chunk in first:
                self._checksum = isal_zlib.crc32(chunk, self._checksum)
            self._size = sum(map(len, first))
            self._first = first
        checksum = isal_zlib.crc32(rest, self._checksum)
        trailer = struct.pack("<II", checksum, (self._size + len(rest)) & 0xFFFFFFFF)
        return b"".join((_HEADER, self._run, _deflate([rest], isal_zlib.Z_FINISH), trailer))


def _deflate(chunks: Iterable[bytes], flush: int) -> bytes:
    compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW)
    return b"".join([*map(compressor.compress, chunks), compressor.flush(flush)])
