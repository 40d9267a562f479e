"""The bytes of one multiprocess `.db` file, as prometheus_client's MmapedDict writes them.

In native byte order, a file is

    int32    used        bytes in use, this header included; 0 until the writer has set the file up
    4 bytes  padding
    entries, each
        int32    length  of the key, > 0
        bytes    key     UTF-8 JSON: [family name, sample name, {label: value}, help]
        spaces           1 to 8, so that the value is 8-aligned
        float64  value
        float64  stamp   Unix seconds; only gauges of the `mostrecent` modes set it, else 0

The file is preallocated and doubles, so its size bounds `used` but does not tell it. It is append-only: an entry never
moves, and `used` grows after the entry is whole. Writers change values in place through mmap, at any time.

We read with `pread`, never mmap: reading a mapping past a truncation would kill the process.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from itertools import chain
from struct import Struct
from typing import NamedTuple

_INT = Struct("=i")
_HEADER_BYTES = 8
_NUMBERS_BYTES = 16
_decode_json = json.JSONDecoder().decode
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


_BLOCK = 32
"""Entries that are compared, and unpacked, as one: few enough to leave most of a file alone when little changed."""

UNREAD: list[float] = []
"""The values of a file that has not been read, or could not be."""


class BadDataError(Exception):
    """What cannot be used as it is; `reason` is one word for a metric's label, the text is for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class BadFileError(BadDataError):
    """A whole file."""


class BadKeyError(BadDataError):
    """One entry of a file."""


class Key(NamedTuple):
    """What an entry's key says."""

    family: str
    sample: str
    labels: dict[str, str]
    help: str


def parse_key(key: bytes) -> Key:
    """Return what `key` says, or raise BadKeyError."""
    try:
        family, sample, labels, help_text = _decode_json(key.decode())
        texts = (family, sample, help_text, *labels, *labels.values())
        "".join(texts).encode()  # refuses what is no text, and lone surrogates, which no exposition can carry
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadKeyError("bad_key", f"a key is not [family, sample, labels, help]: {error}") from None
    if not (family and sample and all(labels)):
        raise BadKeyError("bad_key", "a key has an empty name")
    return Key(family, sample, labels, help_text)


class _Block(NamedTuple):
    """Some neighbouring entries; the first of them have the header with them."""

    start: int
    """The first byte."""
    values: slice
    numbers: Struct


class DbFile:
    """One file, read again and again at the price of what changed.

    `values` are the entries' numbers in file order: one per entry, or two, value and stamp, where `stamped`.
    """

    values: list[float]
    changes: Sequence[slice] = ()
    """Which of the values may have changed at the last read that found a difference."""
    restarts: int = 0
    """How often what was known of the file had to be forgotten: it was refused, or rewritten in place."""

    _data: bytearray
    """The bytes in use, as last read."""
    _skips: list[int]
    """How many bytes there are from the start of each entry to its value."""
    _blocks: list[_Block]
    _known: list[memoryview]
    """The bytes of each block, in `_data`."""
    _keys_struct: Struct | None
    """Unpacks the keys."""
    _new_keys: list[bytes]

    def __init__(
        self,
        path: str,
        identity: tuple[int, int],
        *,
        stamped: bool,
        max_size: int,
        scratch: bytearray | None = None,
    ) -> None:
        """Take the file at `path` while its (st_dev, st_ino) is `identity`; refuse it above `max_size` bytes.

        Files that are not read at the same time may share a `scratch` buffer: it stays in the processor's cache.
        """
        self._fd = -1
        self._path = path
        self._identity = identity
        self._max_size = max_size
        self._stamped = stamped
        self._mtime = 0
        self._refusal: tuple[BadFileError, object] | None = None
        self._scratch = bytearray() if scratch is None else scratch
        self._forget()

    def read(self) -> bool:
        """Read the bytes in use now; return whether they differ from the last read.

        Raises BadFileError (again at each call, cheaply, until the file changes), or FileNotFoundError once the path
        no longer names the file.
        """
        try:
            return self._read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise BadFileError("unreadable", f"cannot be read: {error.strerror}") from None

    def _read(self) -> bool:
        if self._fd < 0:
            self._open()
        if self._data:
            # The hot path: most reads end here, having compared two equal buffers.
            scratch, size = self._scratch, len(self._data)
            if os.preadv(self._fd, [memoryview(scratch)[:size]], 0) == size:
                if scratch.startswith(self._data):
                    return False
                (used,) = _INT.unpack_from(scratch)
                if used == size and self._same_keys(scratch):
                    self._take_changes()
                    return True
        self._read_anew()
        return True

    def take_new_keys(self) -> list[bytes]:
        """Return the keys of the entries that appeared since the last call, in file order."""
        keys, self._new_keys = self._new_keys, []
        return keys

    @property
    def used(self) -> int:
        """How many bytes of the file are in use."""
        return len(self._data)

    def rest(self) -> None:
        """Close the file until the next read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Let go of the file and its bytes; `values` stay as last read."""
        self.rest()
        self._data = bytearray()
        self._known = []

    def discard(self) -> None:
        """Close, and let go of all that is known of the file, `values` included."""
        self.close()
        self._forget()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> None:
        fd = os.open(self._path, _OPEN_FLAGS)
        info = os.fstat(fd)
        if (info.st_dev, info.st_ino) != self._identity or not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise FileNotFoundError(self._path)
        self._fd = fd

    def _read_anew(self) -> None:
        """Read a file that is new, or whose `used` is not what it was."""
        info = os.fstat(self._fd)
        head = os.pread(self._fd, _HEADER_BYTES, 0)
        state = (info.st_size, info.st_mtime_ns, head)
        if self._refusal and self._refusal[1] == state:
            raise self._refusal[0]
        try:
            data = self._bytes_in_use(info.st_size, head)
            self._append_entries(data)
        except BadFileError as error:
            self._refusal = error, state
            self._forget()
            self.restarts += 1
            raise
        self._refusal = None
        self._data = data
        self._scratch.extend(bytes(max(0, len(data) - len(self._scratch))))
        self._unpack()

    def _take_changes(self) -> None:
        """Take in the blocks of the scratch buffer that are not as they were."""
        scratch, fresh, changes = self._scratch, memoryview(self._scratch), []
        for (start, places, numbers), known in zip(self._blocks, self._known, strict=True):
            if not scratch.startswith(known, start):
                known[:] = fresh[start : start + len(known)]
                self.values[places] = numbers.unpack_from(known)
                changes.append(places)
        self.changes = changes

    def _bytes_in_use(self, size: int, head: bytes) -> bytearray:
        if size == 0 or head == bytes(_HEADER_BYTES):
            raise BadFileError("empty", "is empty: its writer has not set it up yet")
        if size > self._max_size:
            raise BadFileError("too_large", f"is {size} bytes, more than the {self._max_size} allowed")
        if len(head) < _HEADER_BYTES:
            raise BadFileError("truncated", f"is {size} bytes, less than its {_HEADER_BYTES}-byte header")
        (used,) = _INT.unpack_from(head)
        if used < _HEADER_BYTES:
            raise BadFileError("corrupt", f"says that {used} bytes are in use")
        if used > size:
            raise BadFileError("truncated", f"says that {used} bytes are in use, but has {size}")
        data = bytearray(used)
        if os.preadv(self._fd, [data], 0) != used:
            raise BadFileError("truncated", f"ends before byte {used}, which is in use")
        return data

    def _append_entries(self, data: bytearray) -> None:
        """Take in the entries past those known, or all of them where the known ones are not what they were."""
        known = len(self._data)
        if known and not (len(data) >= known and self._same_keys(data)):
            self._forget()
            self.restarts += 1
            known = 0
        for key, skip in _entries(data, known or _HEADER_BYTES):
            self._new_keys.append(key)
            self._skips.append(skip)
        self._blocks = list(_blocks(self._skips, stamped=self._stamped))
        self._keys_struct = None

    def _same_keys(self, data: bytearray) -> bool:
        """Whether the known entries stand in `data` too; only a rewrite, which moves the mtime, changes them."""
        mtime = os.fstat(self._fd).st_mtime_ns
        if mtime == self._mtime:
            return True
        if self._keys_struct is None:
            keys = "".join(f"{skip}s{_NUMBERS_BYTES}x" for skip in self._skips)
            self._keys_struct = Struct(f"={_HEADER_BYTES}x{keys}")
        if self._keys_struct.unpack_from(data) != self._keys_struct.unpack_from(self._data):
            return False
        self._mtime = mtime
        return True

    def _forget(self) -> None:
        self._data = bytearray()
        self._skips = []
        self._blocks = []
        self._known = []
        self._keys_struct = None
        self._new_keys = []
        self.values = UNREAD

    def _unpack(self) -> None:
        data = memoryview(self._data)
        self._known = [data[start : start + numbers.size] for start, _, numbers in self._blocks]
        unpacked = (block.numbers.unpack_from(data, block.start) for block in self._blocks)
        self.values = list(chain.from_iterable(unpacked))
        self.changes = (slice(None),)


def _blocks(skips: Sequence[int], *, stamped: bool) -> Iterator[_Block]:
    """Yield the blocks of a file that has so many bytes from the start of each entry to its value."""
    entry, width = ("dd", 2) if stamped else ("d8x", 1)
    start = 0
    for first in range(0, len(skips), _BLOCK):
        some = skips[first : first + _BLOCK]
        header = "" if first else f"{_HEADER_BYTES}x"
        numbers = Struct(f"={header}" + "".join(f"{skip}x{entry}" for skip in some))
        yield _Block(start, slice(width * first, width * (first + len(some))), numbers)
        start += numbers.size


def _entries(data: bytearray, position: int) -> Iterator[tuple[bytes, int]]:
    """Yield each entry's key and the bytes from its start to its value; every step goes forward."""
    end = len(data)
    while position < end:
        if position + _INT.size > end:
            raise BadFileError("corrupt", f"ends within an entry at byte {position}")
        (length,) = _INT.unpack_from(data, position)
        start = position + _INT.size
        skip = _INT.size + length + 8 - (length + _INT.size) % 8
        if length <= 0 or position + skip + _NUMBERS_BYTES > end:
            raise BadFileError("corrupt", f"has a key length of {length} at byte {position}")
        yield bytes(data[start : start + length]), skip
        position += skip + _NUMBERS_BYTES
