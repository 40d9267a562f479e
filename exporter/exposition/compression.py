"""Encodes a body as negotiated, and keeps its compressed first part, which often is the same in the next body.

A gzip body is one member (RFC 1952) of two runs of deflate blocks (RFC 1951). The first run ends on a byte boundary,
and the second does not refer back to it. So the first run can be used again; only the check sum covers both.
"""

import struct
from collections.abc import Sequence
from functools import partial

from isal import isal_zlib

from exporter.exposition.negotiation import Encoding

_HEADER = bytes.fromhex("1f8b08000000000000ff")  # deflate, no name, no time, unknown system
_LEVEL = 1
_FASTEST = 0
"""The level of what is compressed anew each time, and is small."""
_RAW = -15
"""Deflate with a window of 2^15 bytes, and no header of its own."""
_TOGETHER = 8
"""Chunks that are joined and compressed in one call: more calls take longer, and larger copies take more memory."""

_compressor = partial(isal_zlib.compressobj, _LEVEL, isal_zlib.DEFLATED, _RAW)


class Encoder:
    """Encodes bodies, and keeps the compressed first part of the last one."""

    def __init__(self) -> None:
        self._first: Sequence[bytes] | None = None
        self._run = b""
        self._checksum = 0
        self._size = 0

    def encode(self, encoding: Encoding, first: Sequence[bytes], rest: bytes = b"") -> list[bytes]:
        """Return the body of `first` and `rest`, in chunks; cheap if `first` is the same object as in the last call."""
        match encoding:
            case Encoding.IDENTITY:
                return [*first, rest]
            case Encoding.GZIP:
                return [self._gzip(first, rest)]

    def _gzip(self, first: Sequence[bytes], rest: bytes) -> bytes:
        if first is not self._first:
            self._run, self._checksum, self._size = _run(first)
            self._first = first
        checksum = isal_zlib.crc32(rest, self._checksum)
        trailer = struct.pack("<II", checksum, (self._size + len(rest)) & 0xFFFFFFFF)
        ending = isal_zlib.compress(rest, _FASTEST, _RAW)
        return b"".join((_HEADER, self._run, ending, trailer))


def _run(chunks: Sequence[bytes]) -> tuple[bytes, int, int]:
    """Return the chunks as a run of deflate blocks that ends on a byte boundary, their CRC-32 and their size."""
    compressor = _compressor()
    parts = []
    checksum = size = 0
    for start in range(0, len(chunks), _TOGETHER):
        data = b"".join(chunks[start : start + _TOGETHER])
        parts.append(compressor.compress(data))
        checksum = isal_zlib.crc32(data, checksum)
        size += len(data)
    return b"".join([*parts, compressor.flush(isal_zlib.Z_FULL_FLUSH)]), checksum, size
