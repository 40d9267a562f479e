"""Text expositions of several workers -> one. Bytes in, bytes out: no sample becomes an object.

A body whose starts of lines are those of the last one (see `layout`) costs a split, a look at its values, and a join.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import compress
from operator import ne
from typing import NamedTuple

from exporter.fleet.layout import (
    BROKEN_FAMILY,
    DUPLICATE_SERIES,
    NUMBER,
    OWN_ENDING,
    PIECES,
    STRAY_LINE,
    Family,
    Labels,
    Layout,
    ending,
    read_layout,
)

TYPE_CONFLICT = "type_conflict"
RESERVED_NAME = "reserved_name"
NAME_CLASH = "name_clash"
LEFT_OUT = (BROKEN_FAMILY, DUPLICATE_SERIES, STRAY_LINE, TYPE_CONFLICT, NAME_CLASH, RESERVED_NAME)
"""Every reason for which something is left out."""

_JOINED = 1024
"""Pieces of a chunk of an answer: some 60 kB. Chunks of one size find the place of the last answer's in memory."""

_VALUES = re.compile(rb"(?:%b\n)*+" % NUMBER)

_SUFFIXES = {
    b"histogram": (b"", b"_bucket", b"_count", b"_sum"),
    b"summary": (b"", b"_count", b"_sum"),
}
"""What sample names end in, after that of the family, by type; that itself for others."""

_OPENMETRICS_SUFFIXES = {
    b"counter": (b"", b"_total", b"_created"),
    b"histogram": (b"", b"_bucket", b"_count", b"_sum", b"_created"),
    b"summary": (b"", b"_count", b"_sum", b"_created"),
}


class BadExpositionError(ValueError):
    """A body that holds nothing of an exposition; its str is one line."""


class Reading(NamedTuple):
    """One worker's exposition, read."""

    layout: Layout
    values: list[bytes]
    r"""By line, such as `3.0\n`; empty where a line has none."""
    ending: bytes
    """What is written between a head and a value."""

    def pieces(self, *, openmetrics: bool) -> list[bytes]:
        """Return what to write, `PIECES` for each line."""
        layout, values = self.layout, self.values
        pieces = [self.ending] * (PIECES * len(values))
        pieces[::PIECES] = layout.openmetrics_heads if openmetrics else layout.heads
        pieces[2::PIECES] = _in_seconds(values) if openmetrics and layout.has_timestamps else values
        return pieces


class Reader:
    """Reads the expositions of several workers, of which many are alike but for their values and addresses."""

    def __init__(self, labels: Labels = ()) -> None:
        """Put `labels` on every series, beside `worker_addr`."""
        self._labels = labels
        self._alike: dict[int, Reading] = {}
        """The last reading of each number of lines."""

    def read(self, body: bytes, worker_addr: bytes, before: Reading | None = None) -> Reading:
        """Return what a text exposition says; `before` is what that worker said last.

        BadExpositionError where nothing of it can be read.
        """
        reading = _read_again(body, before) if before else None
        if reading is None:
            written = ending(worker_addr)
            reading = self._read_alike(body, written) or Reading(*read_layout(body, self._labels), written)
        if reading.layout.faults and not reading.layout.samples:
            raise BadExpositionError("not a text exposition: none of its lines can be read")
        self._alike[len(reading.values)] = reading
        return reading

    def _read_alike(self, body: bytes, written: bytes) -> Reading | None:
        """Return a reading by the layout of another worker, if the body differs in the address only."""
        other = self._alike.get(body.count(b"\n"))
        if other is None:
            return None
        own = OWN_ENDING.search(body)
        own_ending = own[0] if own else b""
        as_other = _read_again(body.replace(own_ending, other.layout.own_ending) if own else body, other)
        if as_other is None:
            return None
        layout, values, _ = as_other
        if own_ending != layout.own_ending:
            starts = list(map(bytes.removesuffix, body.splitlines(keepends=True), values))
            layout = replace(layout, starts=starts, size=sum(map(len, starts)), own_ending=own_ending)
        return Reading(layout, values, written)


def read_own(body: bytes) -> Reading:
    """Return what an exposition of our own says; its labels stay as they are."""
    return Reading(*read_layout(body, keep_address=True), b"")


def _read_again(body: bytes, before: Reading) -> Reading | None:
    """Return a reading of the same layout, if the body has it."""
    layout = before.layout
    # splitlines would split at \r too, which may stand in a label value.
    if not layout.repeatable or not body.endswith(b"\n") or b"\r" in body:
        return None
    lines = body.splitlines(keepends=True)
    if len(lines) != len(layout.starts):
        return None
    values = list(map(bytes.removeprefix, lines, layout.starts))
    # A start that was not there leaves its line whole, which is too much.
    if sum(map(len, values)) != len(body) - layout.size:
        return None
    changed = compress(values, map(ne, values, before.values))
    return before._replace(values=values) if _VALUES.fullmatch(b"".join(changed)) else None


@dataclass(slots=True)
class _Merged:
    """A family of several workers."""

    first: Family
    """Whose type and help text are that of all."""
    shares: list[tuple[int, tuple[slice, ...]]] = field(default_factory=list)
    """The readings that have samples of it, by number, and where these are among its pieces."""


def merge(
    readings: Sequence[Reading], own: Reading | None = None, *, openmetrics: bool
) -> tuple[list[bytes], Counter[str]]:
    """Return one exposition of all readings, in chunks, and what was left out: how often, by reason.

    Where workers give a family different types, the first one's counts. No worker adds to a family of `own`.
    """
    faults: Counter[str] = Counter()
    families = _gather(own, readings, faults)
    pieces = [reading.pieces(openmetrics=openmetrics) for reading in (*readings, *filter(None, [own]))]
    headers = _openmetrics_headers(families, faults) if openmetrics else _text_headers(families)
    chunks = []
    for name in sorted(headers):
        chunk = [headers[name]]
        for number, runs in families[name].shares:
            for run in runs:
                chunk += pieces[number][run]
        # Not all at once: the join of so many pieces takes more memory than they do.
        chunks += [b"".join(chunk[start : start + _JOINED]) for start in range(0, len(chunk), _JOINED)]
    if openmetrics:
        chunks.append(b"# EOF\n")
    return chunks, faults


def _gather(own: Reading | None, readings: Sequence[Reading], faults: Counter[str]) -> dict[bytes, _Merged]:
    """Return the families of all readings by name: those that go together."""
    families: dict[bytes, _Merged] = {}
    names: set[bytes] = set()
    # Its number is that after the others'.
    for number, reading in [*([(len(readings), own)] if own else []), *enumerate(readings)]:
        for family in reading.layout.families:
            merged = families.get(family.name)
            if merged is None:
                sample_names = {family.name + suffix for suffix in _SUFFIXES.get(family.type, (b"",))}
                if sample_names & names:
                    faults[NAME_CLASH] += 1
                    continue
                names |= sample_names
                merged = families[family.name] = _Merged(family)
            elif merged.shares[0][0] == len(readings):
                faults[RESERVED_NAME] += 1
                continue
            elif merged.first.type != family.type:
                faults[TYPE_CONFLICT] += 1
                continue
            merged.shares.append((number, family.runs))
    return families


def _text_headers(families: Mapping[bytes, _Merged]) -> dict[bytes, bytes]:
    """Return HELP and TYPE of each family, by its name."""
    return {
        name: _header(name, family.first.type, family.first.help, openmetrics=False)
        for name, family in families.items()
    }


def _openmetrics_headers(families: Mapping[bytes, _Merged], faults: Counter[str]) -> dict[bytes, bytes]:
    """Return HELP and TYPE of each family that OpenMetrics can have, by its name in the text format.

    Sample names stay as they are. So a counter is one only if it ends in `_total`, and if no other family has a use
    for its name without that; else its type is unknown. Creation times, families of their own in the text format, are a
    part of others here, and go.
    """
    headers: dict[bytes, bytes] = {}
    names: set[bytes] = set()

    def add(family: Family, name: bytes, type_: bytes) -> bool:
        sample_names = {name + suffix for suffix in _OPENMETRICS_SUFFIXES.get(type_, (b"",))}
        if sample_names & names:
            return False
        names.update(sample_names)
        headers[family.name] = _header(name, type_, family.help, openmetrics=True)
        return True

    counters = []
    for merged in families.values():
        family = merged.first
        if family.type == b"counter":
            counters.append(family)
        elif not _is_creation_time(family.name, families):
            add(family, family.name, b"unknown" if family.type == b"untyped" else family.type)
    for family in counters:
        short = family.name.removesuffix(b"_total")
        is_counter = short != family.name and add(family, short, b"counter")
        if not is_counter and not add(family, family.name, b"unknown"):
            faults[NAME_CLASH] += 1
    return headers


def _is_creation_time(name: bytes, families: Mapping[bytes, _Merged]) -> bool:
    if not name.endswith(b"_created"):
        return False
    base = name.removesuffix(b"_created")
    return base + b"_total" in families or (base in families and families[base].first.type in _SUFFIXES)


@lru_cache(maxsize=4096)
def _header(name: bytes, type_: bytes, help_text: str, *, openmetrics: bool) -> bytes:
    text = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
    return b"# HELP %b %b\n# TYPE %b %b\n" % (name, text.encode(), name, type_)


def _in_seconds(values: Iterable[bytes]) -> list[bytes]:
    """Return the values with their timestamps, milliseconds in the text format, as OpenMetrics has them."""
    return [_with_seconds(*value.split()) if b" " in value else value for value in values]


def _with_seconds(value: bytes, milliseconds: bytes) -> bytes:
    seconds, rest = divmod(abs(int(milliseconds)), 1000)
    sign = b"-" if milliseconds.startswith(b"-") else b""
    return b"%b %b%d.%03d\n" % (value, sign, seconds, rest)
