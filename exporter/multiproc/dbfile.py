"""One multiprocess `.db` file, read again and again at the price of what changed.

We read with `pread`, never mmap: reading a mapping past a truncation would kill the process.
"""

import os
import stat
import time
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from exporter.multiproc.faults import BadFileError
from exporter.multiproc.shape import HEADER_BYTES, USED, Shape, Shapes

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

_TICK = 100_000_000
"""Nanoseconds within which two changes of a file may leave the same mtime."""


class Look(NamedTuple):
    """What tells cheaply that a file has changed."""

    size: int
    mtime_ns: int
    head: bytes


class Found(Enum):
    """What a read found."""

    NOTHING = "the same bytes as the read before"
    NUMBERS = "other numbers"
    GROWTH = "more entries"
    ANOTHER = (
        "other keys, or fewer: a file that was written anew in the place of the last one, or a first read"
    )


class DbFile:
    """One file, read again and again at the price of what changed."""

    def __init__(
        self,
        path: str,
        identity: tuple[int, int],
        shapes: Shapes,
        *,
        max_size: int,
        scratch: bytearray | None = None,
        stays_open: bool = True,
    ) -> None:
        """Take the file at `path` while its (st_dev, st_ino) is `identity`; refuse it above `max_size` bytes.

        Files that are not read at the same time may share a `scratch` buffer: it stays in the processor's cache.
        One that does not stay open between two reads takes longer to read, and no descriptor.
        """
        self.shape = shapes.none
        self.cells: list[Any] = []
        """The numbers of the last good read, by entry; another list where that found ANOTHER."""
        self.changes: Sequence[slice] = ()
        """Which of the cells the last read that found a difference may have changed."""
        self._fd = -1
        self._path = path
        self._identity = identity
        self._shapes = shapes
        self._max_size = max_size
        self._scratch = bytearray() if scratch is None else scratch
        self._stays_open = stays_open
        self._mtime = 0
        """The mtime for which the keys are known to be those of `shape`; 0 where none is."""
        self._data = bytearray()
        """The bytes in use, as of the last good read."""
        self._known: list[memoryview] = []
        """The bytes of each group, in `_data`."""

    def read(self) -> Found:
        """Read the bytes in use now, and say what is new.

        Raises BadFileError, and keeps what it has, or FileNotFoundError once the path no longer names the file.
        """
        try:
            found = self._read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(error) from None
        if not self._stays_open:
            self.close()
        return found

    def _read(self) -> Found:
        if self._fd < 0:
            self._fd = _open(self._path, self._identity)
        if self._data:
            # The hot path: most reads end here, having compared two equal buffers.
            scratch, size = self._scratch, len(self._data)
            if os.preadv(self._fd, [memoryview(scratch)[:size]], 0) == size:
                if scratch.startswith(self._data):
                    return Found.NOTHING
                (used,) = USED.unpack_from(scratch)
                if used == size and self._has_known_keys(scratch):
                    self._take_numbers()
                    return Found.NUMBERS
        return self._read_anew()

    def keys(self, start: int = 0) -> Iterable[bytes]:
        """Return the keys of the entries from number `start` on."""
        return self.shape.keys(self._data, start)

    def close(self) -> None:
        """Close the file until the next read, if any."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _read_anew(self) -> Found:
        """Read a file that is new, or whose `used` is not what it was."""
        data = _read(self._fd, self._max_size)
        if self._data and len(data) >= len(self._data) and self._has_known_keys(data):
            found, shape = Found.NUMBERS, self.shape
            if len(data) > shape.used:
                found = Found.GROWTH
                shape = shape.grown(data)
        else:
            found = Found.ANOTHER
            shape = self._shapes.find(data)
            self.cells, self._known, self._mtime = [], [], 0
        self._take_groups(data, shape)
        self._scratch.extend(bytes(max(0, len(data) - len(self._scratch))))
        return found

    def _take_numbers(self) -> None:
        """Take in the groups of the scratch buffer that are not as they were."""
        scratch, fresh, shape, changes = self._scratch, memoryview(self._scratch), self.shape, []
        for (start, places, numbers), known in zip(self.shape.groups, self._known, strict=True):
            if not scratch.startswith(known, start):
                known[:] = fresh[start : start + numbers.size]
                self.cells[places] = shape.cells(numbers.unpack_from(known))
                changes.append(places)
        self.changes = changes

    def _take_groups(self, data: bytearray, shape: Shape) -> None:
        """Take in all bytes; groups that are as they were stay."""
        changes = []
        for number, group in enumerate(shape.groups):
            same = number < len(self._known) and group is self.shape.groups[number]
            if not (same and data.startswith(self._known[number], group.start)):
                self.cells[group.cells] = shape.cells(group.numbers.unpack_from(data, group.start))
                changes.append(group.cells)
        self.changes = changes
        self.shape = shape
        self._data = data
        view = memoryview(data)
        self._known = [view[group.start : group.start + group.numbers.size] for group in shape.groups]

    def _has_known_keys(self, data: bytearray) -> bool:
        """Whether the known entries stand in `data` too; only a rewrite, which moves the mtime, changes them."""
        mtime = os.fstat(self._fd).st_mtime_ns
        if mtime == self._mtime:
            return True
        heads = self.shape.heads()
        if heads.unpack_from(data) != heads.unpack_from(self._data):
            return False
        self._mtime = mtime if _is_past(mtime) else 0
        return True


class Contents(NamedTuple):
    """What a file says at one moment."""

    shape: Shape
    data: bytearray
    """The bytes in use."""

    def keys(self) -> Iterable[bytes]:
        """Return the keys of its entries."""
        return self.shape.keys(self.data)

    def cells(self) -> list[Any]:
        """Return the numbers, by entry."""
        return self.shape.all_cells(self.data)


def read_once(path: str, identity: tuple[int, int], shapes: Shapes, *, max_size: int) -> Contents:
    """Read a file without keeping it open; raises as `DbFile.read` does."""
    try:
        fd = _open(path, identity)
        try:
            data = _read(fd, max_size)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(error) from None
    return Contents(shapes.find(data), data)


def look(path: str, identity: tuple[int, int]) -> Look | None:
    """Return what any later change makes another; None where nothing tells. FileNotFoundError as of `DbFile.read`."""
    try:
        fd = _open(path, identity)
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        head = os.pread(fd, HEADER_BYTES, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
    return Look(info.st_size, info.st_mtime_ns, head) if _is_past(info.st_mtime_ns) else None


def is_set_up(path: str) -> bool:
    """Whether a writer has set a file up: has said how many bytes are in use."""
    try:
        fd = os.open(path, _OPEN_FLAGS)
    except OSError:
        return False
    try:
        return any(os.pread(fd, USED.size, 0))
    except OSError:
        return False
    finally:
        os.close(fd)


def _open(path: str, identity: tuple[int, int]) -> int:
    fd = os.open(path, _OPEN_FLAGS)
    info = os.fstat(fd)
    if (info.st_dev, info.st_ino) != identity or not stat.S_ISREG(info.st_mode):
        os.close(fd)
        raise FileNotFoundError(path)
    return fd


def _read(fd: int, max_size: int) -> bytearray:
    """Return the bytes in use of an open file; BadFileError where they cannot be told."""
    info = os.fstat(fd)
    head = os.pread(fd, HEADER_BYTES, 0)
    size = info.st_size
    if size == 0 or head == bytes(HEADER_BYTES):
        raise BadFileError("empty", "is empty: its writer has not set it up yet")
    if size > max_size:
        raise BadFileError("too_large", f"is {size} bytes, more than the {max_size} allowed")
    if len(head) < HEADER_BYTES:
        raise BadFileError("truncated", f"is {size} bytes, less than its {HEADER_BYTES}-byte header")
    (used,) = USED.unpack_from(head)
    if used < HEADER_BYTES:
        raise BadFileError("corrupt", f"says that {used} bytes are in use")
    if used > size:
        raise BadFileError("truncated", f"says that {used} bytes are in use, but has {size}")
    data = bytearray(used)
    if os.preadv(fd, [data], 0) != used:
        raise BadFileError("truncated", f"ends before byte {used}, which is in use")
    return data


def _is_past(mtime_ns: int) -> bool:
    """Whether a change from now on would move this mtime."""
    return mtime_ns + _TICK < time.time_ns()


def _unreadable(error: OSError) -> BadFileError:
    return BadFileError("unreadable", f"cannot be read: {error.strerror}")
