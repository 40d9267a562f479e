"""Reads a worker's text exposition: a body -> its layout and its values.

A body that differs from the worker's last one only in values costs a split and a check of the values. Of any other
body, only new lines are parsed, and only families with other lines than before are made anew. Nothing else is cached.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from operator import ne
from weakref import WeakValueDictionary

from exporter.model import Format, Labels
from exporter.scraping.layout import PIECES, BodyLayout, make_layout
from exporter.scraping.line import OWN_ADDRESS, VALUE, Line, LineReader

_value = re.compile(VALUE)
_values = re.compile(rb"(?:%b)*+" % VALUE)
_UNKNOWN = Line(b"")


class BadExpositionError(ValueError):
    """A body that is no text exposition at all; the message is one line."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Reading:
    """One worker's exposition, read."""

    layout: BodyLayout
    own_addresses: list[bytes]
    """The own address of each line, between start and value, or b""; an empty list if no line has one."""
    size: int
    """Number of bytes in all starts and own addresses."""
    values: list[bytes]
    r"""The value of each line, such as `3.0\n`; empty if a line has none."""
    timestamps: bool
    """Whether values may have timestamps."""
    address: bytes
    """The `worker_addr` label, if any, and the closing brace: written between a sample's head and its value."""

    def pieces(self, format_: Format) -> list[bytes]:
        """Return the pieces of all samples, `PIECES` for each."""
        layout = self.layout
        values = layout.pick(self.values)
        pieces = [self.address] * (PIECES * len(values))
        pieces[::PIECES] = layout.openmetrics_heads if format_.is_openmetrics else layout.heads
        pieces[2::PIECES] = _in_seconds(values) if format_.is_openmetrics and self.timestamps else values
        return pieces

    def values_of(self, name: str) -> list[float]:
        """Return the values of a family whose samples have its own name, as a gauge's do."""
        layout = self.layout
        family = layout.families.get(name)
        if family is None or family.is_broken:
            return []
        places = [layout.lines.index(family.lines[index], layout.begins[name]) for index in family.order]
        return [float(self.values[place].split()[0]) for place in places]


class BodyReader:
    """Reads the expositions of several workers; readings share the lines and families that they have in common."""

    def __init__(self, labels: Labels = (), *, keeps_addresses: bool = False) -> None:
        """Put `labels`, whose values are escaped already, on every series, beside `worker_addr`.

        If the reader `keeps_addresses`, a series keeps its own `worker_addr`, and gets none if it has none.
        """
        self._labels = labels
        self._keeps_addresses = keeps_addresses
        self._by_length: WeakValueDictionary[int, Reading] = WeakValueDictionary()
        """The last reading of each number of lines, as long as something else refers to it."""

    def read(self, body: bytes, worker_addr: bytes = b"", before: Reading | None = None) -> Reading:
        """Read a text exposition; `before` is the last reading of the same worker.

        Raises BadExpositionError if there are faults, and no sample.
        """
        texts = _split(body)
        address = b"} " if self._keeps_addresses else b'worker_addr="%b"} ' % worker_addr
        reading = _read_again(texts, len(body), before, address)
        if reading is None:
            alike = self._nearest(len(texts))
            reading = _read_again(texts, len(body), alike, address)
            reading = reading or self._read(texts, body, before or alike, address)
        if reading.layout.faults and not reading.layout.samples:
            raise BadExpositionError("not a text exposition: none of its lines can be read")
        self._by_length[len(texts)] = reading
        return reading

    def _nearest(self, length: int) -> Reading | None:
        """Return the reading whose number of lines is nearest to `length`."""
        nearest = min(self._by_length, key=lambda other: abs(other - length), default=0)
        return self._by_length.get(nearest)

    def _read(self, texts: list[bytes], body: bytes, like: Reading | None, address: bytes) -> Reading:
        """Read a body line by line; take the lines and families that `like` has too from there."""
        match = None if self._keeps_addresses else OWN_ADDRESS.search(body)
        own_address = match[0] if match else b""
        layout = like.layout if like else None
        known = dict(zip(layout.starts, layout.lines, strict=True)) if layout else {}
        begins = [text[: text.rfind(b" ") + 1] for text in texts]
        lines = [known.get(begin.removesuffix(own_address), _UNKNOWN) for begin in begins]
        values = list(map(bytes.removeprefix, texts, begins))
        reader = LineReader(known, own_address, self._labels, keeps_address=self._keeps_addresses)
        for index, line in enumerate(lines):
            if line is _UNKNOWN:
                lines[index], values[index] = reader.read(texts[index])
        if not _values.fullmatch(b"".join(values)):  # some known start has no value after it
            for index, value in enumerate(values):
                if value and not _value.fullmatch(value):
                    lines[index], values[index] = reader.read(texts[index])
        layout = make_layout(tuple(lines), layout)
        own_addresses = (
            [own_address if line.has_own_address else b"" for line in lines] if own_address else []
        )
        size = sum(map(len, layout.starts)) + sum(map(len, own_addresses))
        return Reading(layout, own_addresses, size, values, b" " in b"".join(values), address)


def _split(body: bytes) -> list[bytes]:
    r"""Return a body's lines, each with its `\n`. A last line that is cut off is marked by a `\n` in front instead."""
    # splitlines would split at \r too, which may stand in a label value.
    texts = re.findall(rb"[^\n]*+\n|[^\n]++", body) if b"\r" in body else body.splitlines(keepends=True)
    if not body.endswith(b"\n") and texts:
        texts[-1] = b"\n" + texts[-1]
    return texts


def _read_again(texts: list[bytes], size: int, before: Reading | None, address: bytes) -> Reading | None:
    """Return the reading of a body of that size if it differs from `before` only in values; else None."""
    if before is None or len(texts) != len(before.values):
        return None
    values = list(map(bytes.removeprefix, texts, before.layout.starts))
    if before.own_addresses:
        values = list(map(bytes.removeprefix, values, before.own_addresses))
    # A line with another start was left whole by `removeprefix`, which makes the sum too large.
    if sum(map(len, values)) != size - before.size:
        return None
    changed = b"".join(compress(values, map(ne, values, before.values)))
    if not _values.fullmatch(changed):
        return None
    timestamps = before.timestamps or b" " in changed
    return Reading(before.layout, before.own_addresses, before.size, values, timestamps, address)


def _in_seconds(values: Iterable[bytes]) -> list[bytes]:
    """Return the values with timestamps in seconds, for OpenMetrics, in place of the text format's milliseconds."""
    return [_with_seconds(*value.split()) if b" " in value else value for value in values]


def _with_seconds(value: bytes, milliseconds: bytes) -> bytes:
    seconds, rest = divmod(abs(int(milliseconds)), 1000)
    sign = b"-" if milliseconds.startswith(b"-") else b""
    return b"%b %b%d.%03d\n" % (value, sign, seconds, rest)
