"""Reads one multiprocess `.db` file, and reads it again at a cost that depends on what changed.

Reads use `pread`, never mmap: reading a mapping past a truncation raises SIGBUS, which would kill the process.
"""

import os
import stat
import time
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from exporter.multiproc.dbformat import HEADER_BYTES, USED, Shape, Shapes
from exporter.multiproc.faults import BadFileError

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

_TICK = 100_000_000
"""Nanoseconds within which two writes to a file may leave the same mtime."""


class Fingerprint(NamedTuple):
    """Tells whether a file has changed since: cheap to take, and different after every change."""

    size: int
    mtime_ns: int
    head: bytes


class Found(Enum):
    """How a file differs from its last good read."""

    NOTHING = "the same bytes"
    NUMBERS = "the same keys, and other values"
    GROWTH = "more entries after the known ones"
    ANOTHER = "other keys or fewer: the file was written anew, or was never read before"


class DbFile:
    """One file that is read repeatedly; a read parses and unpacks only what changed."""

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
        """Read the file at `path` while its (st_dev, st_ino) is `identity`, and only up to `max_size` bytes.

        Files that are not read at the same time may share a `scratch` buffer, which stays in the processor's cache.
        A file that does not stay open between reads takes no descriptor, but longer to read.
        """
        self.shape = shapes.none
        self.cells: list[Any] = []
        """The cells as of the last good read, by entry: a new list after `Found.ANOTHER`, else changed in place."""
        self.changes: Sequence[slice] = ()
        """Slices of `cells` with all that changed in the last read that found a difference."""
        self._fd = -1
        self._path = path
        self._identity = identity
        self._shapes = shapes
        self._max_size = max_size
        self._scratch = bytearray() if scratch is None else scratch
        self._stays_open = stays_open
        self._mtime = 0
        """The file's mtime when its keys were last compared; 0 if the next read must compare them anyway."""
        self._data = bytearray()
        """The bytes in use, as of the last good read."""
        self._known: list[memoryview] = []
        """The part of `_data` that each group of entries takes up."""

    def read(self) -> Found:
        """Read the file, and return how it differs from its last good read.

        Raises BadFileError, and keeps the cells of the last good read. Raises FileNotFoundError once `path` names
        nothing, or another file.
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
        """Return the keys of all entries from entry number `start` on."""
        return self.shape.keys(self._data, start)

    def close(self) -> None:
        """Close the file; the next read would open it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _read_anew(self) -> Found:
        """Read the whole file: at first, or because its length in use or its keys are not as before."""
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
        """Copy the groups of entries that changed from the scratch buffer, and unpack their cells."""
        scratch, data, shape = self._scratch, self._data, self.shape
        changed = [
            group
            for group, known in zip(shape.groups, self._known, strict=True)
            if not scratch.startswith(known, group.start)
        ]
        memoryview(data)[:] = memoryview(scratch)[
            : len(data)
        ]  # at once: one copy for each group takes longer
        for start, places, numbers in changed:
            self.cells[places] = shape.cells(numbers.unpack_from(data, start))
        all_changed = len(changed) == len(shape.groups)
        self.changes = [slice(0, len(self.cells))] if all_changed else [group.cells for group in changed]

    def _take_groups(self, data: bytearray, shape: Shape) -> None:
        """Replace bytes and shape, and unpack the cells of the groups of entries that changed or are new."""
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
        """Whether `data` begins with the known keys. Compares them only if the mtime moved: a rewrite would move it."""
        mtime = os.fstat(self._fd).st_mtime_ns
        if mtime == self._mtime:
            return True
        heads = self.shape.heads()
        if heads.unpack_from(data) != heads.unpack_from(self._data):
            return False
        self._mtime = mtime if _is_past(mtime) else 0
        return True


class Contents(NamedTuple):
    """The shape and bytes of a file at one moment."""

    shape: Shape
    data: bytearray
    """The bytes in use."""

    def keys(self) -> Iterable[bytes]:
        """Return the keys of the file's entries."""
        return self.shape.keys(self.data)

    def cells(self) -> list[Any]:
        """Return the file's cells, by entry."""
        return self.shape.all_cells(self.data)


def read_once(path: str, identity: tuple[int, int], shapes: Shapes, *, max_size: int) -> Contents:
    """Read a file once, without keeping it open; raises the same errors as `DbFile.read`."""
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


def fingerprint(path: str, identity: tuple[int, int]) -> Fingerprint | None:
    """Return a fingerprint that every later change of the file would alter; None if the file has none now.

    Raises FileNotFoundError where `DbFile.read` would.
    """
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
    return Fingerprint(info.st_size, info.st_mtime_ns, head) if _is_past(info.st_mtime_ns) else None


def is_set_up(path: str) -> bool:
    """Whether a writer has set the file up: the header says how many bytes are in use."""
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
    """Return the bytes in use of an open file; raises BadFileError if size and header contradict each other."""
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
        raise BadFileError("corrupt", f"has {used} bytes in use by its header, fewer than the header itself")
    if used > size:
        raise BadFileError("truncated", f"is {size} bytes, fewer than the {used} in use by its header")
    data = bytearray(used)
    if os.preadv(fd, [data], 0) != used:
        raise BadFileError("truncated", f"was cut off before byte {used} while it was read")
    return data


def _is_past(mtime_ns: int) -> bool:
    """Whether the mtime is so old that any change from now on would move it."""
    return mtime_ns + _TICK < time.time_ns()


def _unreadable(error: OSError) -> BadFileError:
    return BadFileError("unreadable", f"cannot be read: {error.strerror}")
