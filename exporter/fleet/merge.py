"""Text expositions of several workers -> one. Bytes in, bytes out: no sample becomes an object.

A body whose starts of lines are those of the last one (see `layout`) costs a split, a look at its values, and a join.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress
from operator import ne
from typing import NamedTuple

from exporter.fleet.layout import NUMBER, Family, Labels, Layout, read_layout

TYPE_CONFLICT = "type_conflict"
RESERVED_NAME = "reserved_name"
NAME_CLASH = "name_clash"

_VALUES = re.compile(rb"(?:%b\n)*+" % NUMBER)

_SAMPLE_NAMES = {
    b"histogram": (b"", b"_bucket", b"_count", b"_sum"),
    b"summary": (b"", b"_count", b"_sum"),
}
_OPENMETRICS_NAMES = {
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

    def lines(self, *, openmetrics: bool) -> list[bytes]:
        """Return what to write: for each line two pieces, its start and its value."""
        layout, values = self.layout, self.values
        pieces = [b""] * (2 * len(values))
        pieces[::2] = layout.openmetrics_outs if openmetrics else layout.outs
        pieces[1::2] = _in_seconds(values) if openmetrics and layout.has_timestamps else values
        return pieces


def read(body: bytes, added: Labels, before: Reading | None = None) -> Reading:
    """Return what a text exposition says, with labels added; `before` is what the same worker said last.

    BadExpositionError where nothing of it can be read.
    """
    reading = _read_again(body, before) if before else None
    if reading is None:
        reading = Reading(*read_layout(body, added))
    layout = reading.layout
    if layout.faults and not layout.samples:
        raise BadExpositionError("not a text exposition: none of its lines can be read")
    return reading


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
    return Reading(layout, values) if _VALUES.fullmatch(b"".join(changed)) else None


class _Merged:
    """A family of several workers."""

    def __init__(self, family: Family) -> None:
        self.name = family.name
        self.type = family.type
        self.help = family.help
        self.shares: list[tuple[int, tuple[slice, ...]]] = []
        """Whose samples, by the number of the reading, and where they are among its lines."""


def merge(
    readings: Sequence[Reading], own: Reading | None = None, *, openmetrics: bool
) -> tuple[bytes, Counter[str]]:
    """Return one exposition of all readings, by family name, and what was left out: how often, by reason.

    Of a family that two workers give different types, the first one's counts. No worker adds to a family of `own`.
    """
    faults: Counter[str] = Counter()
    families = _gather(readings, own, faults)
    reading_lines = [reading.lines(openmetrics=openmetrics) for reading in (*readings, *filter(None, [own]))]
    named = _openmetrics_headers(families, faults) if openmetrics else _text_headers(families)
    pieces: list[bytes] = []
    for header, family in sorted(named, key=lambda item: item[1].name):
        pieces.append(header)
        for number, runs in family.shares:
            lines = reading_lines[number]
            for run in runs:
                pieces += lines[run]
    if openmetrics:
        pieces.append(b"# EOF\n")
    return b"".join(pieces), faults


def _gather(
    readings: Sequence[Reading], own: Reading | None, faults: Counter[str]
) -> dict[bytes, _Merged]:
    """Return the families of all readings by name; none that has a sample's name of another."""
    families: dict[bytes, _Merged] = {}
    taken: dict[bytes, bytes] = {}
    numbered = [(len(readings), own)] if own else []
    numbered += enumerate(readings)
    for number, reading in numbered:
        for family in reading.layout.families:
            merged = families.get(family.name)
            if merged is None:
                names = [family.name + suffix for suffix in _SAMPLE_NAMES.get(family.type, (b"",))]
                if any(name in taken for name in names):
                    faults[NAME_CLASH] += 1
                    continue
                taken.update(dict.fromkeys(names, family.name))
                merged = families[family.name] = _Merged(family)
            elif merged.shares[0][0] == len(readings):
                faults[RESERVED_NAME] += 1
                continue
            elif merged.type != family.type:
                faults[TYPE_CONFLICT] += 1
                continue
            merged.shares.append((number, family.runs))
    return families


def _text_headers(families: Mapping[bytes, _Merged]) -> list[tuple[bytes, _Merged]]:
    return [
        (_header(family.name, family.type, family.help, openmetrics=False), family)
        for family in families.values()
    ]


def _openmetrics_headers(
    families: Mapping[bytes, _Merged], faults: Counter[str]
) -> list[tuple[bytes, _Merged]]:
    """Return the families with their headers in OpenMetrics, where a counter is named without its `_total`.

    Sample names stay as they are. So a counter that does not end in `_total`, or whose shorter name another
    family has a use for, is of unknown type; and the text format's gauges of creation times go.
    """
    used = {
        family.name + suffix
        for family in families.values()
        if family.type != b"counter"
        for suffix in _OPENMETRICS_NAMES.get(family.type, (b"",))
        if not family.name.endswith(b"_created")
    }
    counters = {
        family.name.removesuffix(b"_total")
        for family in families.values()
        if family.type == b"counter" and family.name.endswith(b"_total")
    } 
    return []
