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

The file is preallocated and doubles when it is full, so `used` is at most its size. It is append-only: an entry never
moves, and `used` grows after the entry is whole. Writers change values and stamps in place through mmap, at any time.
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

MOST_KEY_BYTES = 1 << 20
"""The longest key that is read, in bytes. A sparse file takes next to no disk, but all its bytes of memory."""

_LENGTH = Struct("=i")
_NUMBERS_BYTES = 16
_GROUP = 64
"""Entries that are compared, and unpacked, together: few enough to leave most of a file alone if little changed."""


class EntryGroup(NamedTuple):
    """Neighbouring entries of a file that are compared, and unpacked, together."""

    start: int
    """The position of the group's first byte in the file."""
    cells: slice
    numbers: Struct
    """Unpacks the values of the entries, with their stamps if the kind has stamps."""


class Shape:
    """Where the values of a file are, between its keys. Files with the same keys may have the same shape."""

    def __init__(self, skips: Sequence[int], *, stamped: bool, groups: Sequence[EntryGroup] = ()) -> None:
        """Describe a file by its `skips`: the number of bytes from the start of each entry to its value.

        `groups` are the first groups, if they are known. A cell is a value, or (value, stamp) if `stamped`.
        """
        self.skips = skips
        self.stamped = stamped
        self.groups: Sequence[EntryGroup] = [*groups, *_groups(skips, groups, stamped=stamped)]
        self.used = HEADER_BYTES + sum(skips) + _NUMBERS_BYTES * len(skips)
        """Bytes in use of a file of this shape."""

    def grown(self, data: bytearray) -> "Shape":
        """Return the shape of bytes that begin with this shape; raises BadFileError if no valid entries follow."""
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
        """Return all cells in bytes of this shape."""
        cells: list[Any] = []
        for group in self.groups:
            cells += self.cells(group.numbers.unpack_from(data, group.start))
        return cells

    def cells(self, numbers: Sequence[float]) -> Iterable[Any]:
        """Return unpacked numbers as cells."""
        return zip(numbers[::2], numbers[1::2], strict=True) if self.stamped else numbers

    def heads(self) -> Struct:
        """Return a struct that unpacks the head of each entry: its length, key and padding."""
        # Not kept: it is large, and seldom needed.
        return Struct(f"={HEADER_BYTES}x" + "".join(f"{skip}s{_NUMBERS_BYTES}x" for skip in self.skips))


class Shapes:
    """The shapes of the files of one kind, so that files with the same keys are parsed once."""

    MOST = 64
    """Most shapes that are remembered, as for 64 ranks. A file of a forgotten shape only takes longer to read."""

    def __init__(self, *, stamped: bool) -> None:
        self.none = Shape((), stamped=stamped)
        """The shape of a file without entries."""
        self._known: OrderedDict[tuple[int, bytes], _Known] = OrderedDict()
        """The last shapes, by the file's bytes in use and its first entry's head."""
        self._are_shrunk = True
        """Whether no shape was found since the last `shrink`."""

    def find(self, data: bytearray) -> Shape:
        """Return the shape of a file's bytes in use; raises BadFileError if they are no valid entries."""
        if len(data) == HEADER_BYTES:
            return self.none
        start, skip = next(_entries(data, HEADER_BYTES))
        about = len(data), bytes(data[start : start + skip])
        known = self._known.get(about)
        if known is None or not known.is_shape_of(data):
            known = self._known[about] = _Known(self.none.grown(data), data)
        self._known.move_to_end(about)
        self._are_shrunk = False
        if len(self._known) > self.MOST:
            self._known.popitem(last=False)
        return known.shape

    def shrink(self) -> None:
        """Keep only a digest of each shape's heads: less memory, but the next file of that shape takes longer."""
        if not self._are_shrunk:
            self._are_shrunk = True
            for known in self._known.values():
                known.shrink()


class _Known:
    """A shape, and the heads of its entries or a digest of them, by which files of that shape are recognized."""

    def __init__(self, shape: Shape, data: bytearray) -> None:
        self.shape = shape
        self._heads: Struct | None = shape.heads()
        self._found: tuple[bytes, ...] = self._heads.unpack_from(data)
        self._digest = b""

    def is_shape_of(self, data: bytearray) -> bool:
        """Whether a file of the same size, with these bytes in use, has this shape."""
        if self._heads:
            return self._heads.unpack_from(data) == self._found
        heads = self.shape.heads()
        found = heads.unpack_from(data)
        if _digest(found) != self._digest:
            return False
        self._heads, self._found = heads, found
        return True

    def shrink(self) -> None:
        """Keep only a digest of the heads."""
        if self._heads:
            self._heads, self._found, self._digest = None, (), self._digest or _digest(self._found)


def _digest(found: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(found), digest_size=16).digest()


def _groups(skips: Sequence[int], before: Sequence[EntryGroup], *, stamped: bool) -> Iterator[EntryGroup]:
    """Yield the groups after the groups `before`; `skips` are the bytes from each entry's start to its value."""
    entry = "dd" if stamped else "d8x"
    start = HEADER_BYTES + sum(group.numbers.size for group in before)
    for cell in range(_GROUP * len(before), len(skips), _GROUP):
        some = skips[cell : cell + _GROUP]
        numbers = Struct("=" + "".join(f"{skip}x{entry}" for skip in some))
        yield EntryGroup(start, slice(cell, cell + len(some)), numbers)
        start += numbers.size


def _entries(data: bytearray, position: int) -> Iterator[tuple[int, int]]:
    """Yield each entry's start, and the number of bytes from there to its value; ends on any input."""
    end = len(data)
    while position < end:
        if position + _LENGTH.size > end:
            raise BadFileError("corrupt", f"ends within an entry at byte {position}")
        (length,) = _LENGTH.unpack_from(data, position)
        skip = _LENGTH.size + length + 8 - (length + _LENGTH.size) % 8
        if length <= 0 or position + skip + _NUMBERS_BYTES > end:
            raise BadFileError("corrupt", f"has a key length of {length} at byte {position}")
        if length > MOST_KEY_BYTES:
            text = f"has a key of {length} bytes at byte {position}, more than the {MOST_KEY_BYTES} allowed"
            raise BadFileError("too_large", text)
        yield position, skip
        position += skip + _NUMBERS_BYTES
