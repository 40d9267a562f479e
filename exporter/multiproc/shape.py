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
moves, and `used` grows after the entry is whole. Writers change numbers in place through mmap, at any time.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Any, NamedTuple

from exporter.multiproc.faults import BadFileError

HEADER_BYTES = 8
USED = Struct("=i")
"""The header's first field."""

_LENGTH = Struct("=i")
_NUMBERS_BYTES = 16
_GROUP = 32
"""Entries that are compared, and unpacked, as one: few enough to leave most of a file alone when little changed."""


class EntryGroup(NamedTuple):
    """Some neighbouring entries."""

    start: int
    """The first byte."""
    cells: slice
    numbers: Struct


class Shape:
    """Where the numbers of a file are, between its keys. Files with the same keys may share it."""

    def __init__(self, skips: Sequence[int], *, stamped: bool, groups: Sequence[EntryGroup] = ()) -> None:
        """Take how many bytes there are from the start of each entry to its value; `groups` are the first of its own.

        A cell is a number, or a number and its stamp where they are `stamped`.
        """
        self.skips = skips
        self.stamped = stamped
        self.groups: Sequence[EntryGroup] = [*groups, *_groups(skips, groups, stamped=stamped)]
        self.used = HEADER_BYTES + sum(skips) + _NUMBERS_BYTES * len(skips)
        """Bytes in use of a file of this shape."""

    def grown(self, data: bytearray) -> "Shape":
        """Return the shape of bytes that begin with this one; BadFileError where what follows are no entries."""
        more = [skip for _, skip in _entries(data, self.used)]
        whole = self.groups[: len(self.skips) // _GROUP]
        return Shape([*self.skips, *more], stamped=self.stamped, groups=whole)

    def keys(self, data: bytearray, start: int = 0) -> Iterator[bytes]:
        """Yield the keys in bytes of this shape, from entry number `start` on."""
        position = HEADER_BYTES + sum(self.skips[:start]) + _NUMBERS_BYTES * start
        for skip in self.skips[start:]:
            (length,) = _LENGTH.unpack_from(data, position)
            yield bytes(data[position + _LENGTH.size : position + _LENGTH.size + length])
            position += skip + _NUMBERS_BYTES

    def all_cells(self, data: bytearray) -> list[Any]:
        """Return the cells of bytes of this shape."""
        cells: list[Any] = []
        for group in self.groups:
            cells += self.cells(group.numbers.unpack_from(data, group.start))
        return cells

    def cells(self, numbers: Sequence[float]) -> Iterable[Any]:
        """Return the cells that numbers make up."""
        return zip(numbers[::2], numbers[1::2], strict=True) if self.stamped else numbers

    def heads(self) -> Struct:
        """Return what unpacks all that is no number: of each entry its length, key and padding."""
        # Not kept: it is large, and seldom needed.
        return Struct(f"={HEADER_BYTES}x" + "".join(f"{skip}s{_NUMBERS_BYTES}x" for skip in self.skips))


class Shapes:
    """The shapes of the files of one kind, so that files with the same keys are parsed once."""

    MOST = 64
    """How many are remembered: those of as many ranks. A file of another shape takes longer to read, no more."""

    def __init__(self, *, stamped: bool) -> None:
        self.none = Shape((), stamped=stamped)
        """That of a file without entries."""
        self._known: OrderedDict[tuple[int, bytes], _Known] = OrderedDict()
        """By size and first entry."""

    def find(self, data: bytearray) -> Shape:
        """Return the shape of a file's bytes in use; BadFileError where they are no entries."""
        if len(data) == HEADER_BYTES:
            return self.none
        start, skip = next(_entries(data, HEADER_BYTES))
        about = len(data), bytes(data[start : start + skip])
        known = self._known.get(about)
        if known is None or not known.is_shape_of(data):
            known = self._known[about] = _Known(self.none.grown(data), data)
        self._known.move_to_end(about)
        if len(self._known) > self.MOST:
            self._known.popitem(last=False)
        return known.shape

    def shrink(self) -> None:
        """Remember less of each shape: recognizing the next file of that shape takes longer."""
        for known in self._known.values():
            known.shrink()


class _Known:
    """A shape, and what tells the files that have it: all that is no number of them, or a digest of that."""

    def __init__(self, shape: Shape, data: bytearray) -> None:
        self.shape = shape
        self._heads: Struct | None = shape.heads()
        self._found: tuple[bytes, ...] = self._heads.unpack_from(data)
        self._digest = b""

    def is_shape_of(self, data: bytearray) -> bool:
        """Whether it is the shape of a file of the same size."""
        if self._heads:
            return self._heads.unpack_from(data) == self._found
        heads = self.shape.heads()
        found = heads.unpack_from(data)
        if _digest(found) != self._digest:
            return False
        self._heads, self._found = heads, found
        return True

    def shrink(self) -> None:
        """Keep a digest only."""
        if self._heads:
            self._heads, self._found, self._digest = None, (), self._digest or _digest(self._found)


def _digest(found: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(found), digest_size=16).digest()


def _groups(skips: Sequence[int], before: Sequence[EntryGroup], *, stamped: bool) -> Iterator[EntryGroup]:
    """Yield the groups, after those `before`, of a file with so many bytes from each entry's start to its value."""
    entry = "dd" if stamped else "d8x"
    start = HEADER_BYTES + sum(group.numbers.size for group in before)
    for cell in range(_GROUP * len(before), len(skips), _GROUP):
        some = skips[cell : cell + _GROUP]
        numbers = Struct("=" + "".join(f"{skip}x{entry}" for skip in some))
        yield EntryGroup(start, slice(cell, cell + len(some)), numbers)
        start += numbers.size


def _entries(data: bytearray, position: int) -> Iterator[tuple[int, int]]:
    """Yield each entry's start and the bytes from there to its value; every step goes forward."""
    end = len(data)
    while position < end:
        if position + _LENGTH.size > end:
            raise BadFileError("corrupt", f"ends within an entry at byte {position}")
        (length,) = _LENGTH.unpack_from(data, position)
        skip = _LENGTH.size + length + 8 - (length + _LENGTH.size) % 8
        if length <= 0 or position + skip + _NUMBERS_BYTES > end:
            raise BadFileError("corrupt", f"has a key length of {length} at byte {position}")
        yield position, skip
        position += skip + _NUMBERS_BYTES
