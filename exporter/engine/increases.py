"""By how much counters and histograms increased over a window: reads -> increases by rank.

As PromQL has it: series by series from read to read, and a value below the one before is a restart from 0. Unlike in
PromQL, a series that comes while others of its worker are known counts from 0 too.

Of each read one number a cell is kept, the sum of the cell's increases since the start; so what increased between any
two reads is a difference. A cell is a counter's or a bucket's sum over all series of one rank.
"""

import math
from array import array
from collections import deque
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import sub
from typing import NamedTuple, TypeAlias

from exporter.engine.buckets import Buckets
from exporter.engine.meanings import Meaning, Source
from exporter.engine.ranks import LONGEST_TEXT, Rank, rank_of
from exporter.model import FamilyValues, Labels, Samples

_NONE = -1
"""Stands for the cell of a sample that does not count, such as a histogram's `_sum`."""


class _Group(NamedTuple):
    """Neighbouring cells: a counter's one, or a histogram's buckets."""

    selected: str
    """The value of the label by which the family's figures are told apart, if there is one."""
    rank: Rank
    bounds: tuple[float, ...]
    """The upper bounds of a histogram's buckets; 0 alone for a counter."""


class _Layout:
    """Where the samples of one family are counted, and their values as of the last read."""

    def __init__(self, samples: Sequence[Samples]) -> None:
        self.samples = samples
        self.starts = array("i")
        """The first cell of each group."""
        self.cells: Sequence[array[int]] = ()
        """The cell of each sample of each block."""
        self.values: Sequence[Sequence[float]] = ()


_GROUP_CELLS = 2
"""A group takes as much memory as so many cells, beside its cells."""

_Groups: TypeAlias = Mapping[str, Mapping[_Group, int]]
"""The first cell of each group, by family."""


class Window:
    """What increased between two reads."""

    def __init__(
        self,
        seconds: float,
        groups: _Groups,
        used: Container[int],
        last: Sequence[float],
        first: Sequence[float],
    ) -> None:
        """Tell the difference of the cells of the `last` and of the `first` read.

        Groups count whose first cell is `used`: a series of the last read is in them; and those that increased.
        """
        self.seconds = seconds
        """The time between the two reads; 0 if there has been one only."""
        self._groups = groups
        self._used = used
        self._last = last
        self._first = first

    def counters(self, sources: Iterable[Source]) -> dict[Rank, float]:
        """Return the increase by rank, from the first source with any."""
        return {rank: buckets.counts[0] for rank, buckets in self.histograms(sources).items()}

    def histograms(self, sources: Iterable[Source]) -> dict[Rank, Buckets]:
        """Return the increase of each bucket by rank, from the first source with any."""
        return next(filter(None, self._find_all(sources)), {})

    def of_each_rank(self, sources: Iterable[Source]) -> dict[Rank, Buckets]:
        """Return the same, for each rank from the first source that has it."""
        found = [*self._find_all(sources)]
        return {rank: buckets for each in reversed(found) for rank, buckets in each.items()}

    def _find_all(self, sources: Iterable[Source]) -> Iterator[dict[Rank, Buckets]]:
        return map(self._find, sources if self.seconds > 0 else ())

    def _find(self, source: Source) -> dict[Rank, Buckets]:
        found: dict[Rank, Buckets] = {}
        for group, start in self._groups.get(source.family, {}).items():
            if not source.label or group.selected in source.values:
                cells = slice(start, start + len(group.bounds))
                last, first = self._last[cells], self._first[cells]
                if start not in self._used and last == first:
                    continue
                increase = Buckets(group.bounds, [*map(sub, last, first)])
                found[group.rank] = found[group.rank].plus(increase) if group.rank in found else increase
        return found


NOTHING = Window(0.0, {}, (), (), ())
"""The window of no reads."""


class Increases:
    """Counts what increases from read to read, and remembers as many reads as a window needs."""

    def __init__(self, window: float, *, most_reads: int, most_cells: int) -> None:
        """Remember reads for `window` seconds: closer ones than fit `most_reads` are joined.

        A family that takes more than `most_cells` together with those before it is left out.
        """
        self._window = window
        self._spacing = window / (most_reads - 2)
        self._most_cells = most_cells
        self._most_samples = 3 * most_cells // 2
        self._start_over()

    def _start_over(self) -> None:
        self._layouts: dict[str, _Layout] = {}
        self._groups: dict[str, dict[_Group, int]] = {}
        self._used: Collection[int] = ()
        """The first cells of the groups that series of the last read are in."""
        self._totals = array("d")
        self._reads: deque[tuple[float, array[float]]] = deque()
        self._is_full = False
        self._is_first = True

    def take(self, time: float, families: Iterable[tuple[Meaning, FamilyValues]]) -> None:
        """Take the counters and histograms of a read at `time`, in seconds."""
        if self._is_full and len(self._used) < sum(map(len, self._groups.values())):
            self._start_over()  # to make room
        layouts, self._layouts = self._layouts, {}
        self._is_first = not self._totals
        room = self._most_samples
        for meaning, family in families:
            room -= sum(map(len, family.values))
            if room < 0:
                break
            layout = layouts.get(meaning.family)
            if layout is None or layout.samples is not family.samples:
                layout = self._lay_out(meaning, family, layout)
            self._count(layout, family.values)
            self._layouts[meaning.family] = layout
        self._used = {start for layout in self._layouts.values() for start in layout.starts}
        self._remember(time)

    def window(self, seconds: float = math.inf) -> Window:
        """Return what increased over the window, or the last so many `seconds` of it.

        It begins with the read that makes it the most like the wanted one.
        """
        wanted = min(seconds, self._window)
        if len(self._reads) <= 1:
            return NOTHING
        *earlier, (end, last) = self._reads
        begin, first = min(earlier, key=lambda read: _misfit(end - read[0], wanted))
        first = first + array("d", bytes(8 * (len(last) - len(first))))  # 0 for cells that came later
        return Window(end - begin, self._groups, self._used, last, first)

    def _remember(self, time: float) -> None:
        reads = self._reads
        if reads and time <= reads[-1][0]:  # the clock was set back
            reads.clear()
        if len(reads) > 1 and reads[-1][0] - reads[-2][0] < self._spacing:
            reads.pop()
        reads.append((time, self._totals[:]))
        while len(reads) > 2 and reads[1][0] <= time - self._window:  # noqa: PLR2004 - the edges
            reads.popleft()

    def _count(self, layout: _Layout, values: Sequence[Sequence[float]]) -> None:
        """Add what increased since the last read."""
        totals = self._totals
        for now, before, cells in zip(values, layout.values, layout.cells, strict=False):
            if now is not before:
                for value, last, cell in zip(now, before, cells, strict=True):
                    if value != last and cell != _NONE:
                        if value > last:
                            totals[cell] += value - last
                        elif value < last:
                            totals[cell] += value
        layout.values = values

    def _lay_out(self, meaning: Meaning, family: FamilyValues, before: _Layout | None) -> _Layout:
        """Return the layout of a family whose series are others than before."""
        layout = _Layout(family.samples)
        series = _series(meaning, family)
        groups = {group for group, _ in series}
        if not self._add_cells(meaning.family, groups):
            return layout
        layout.cells = [array("i", [_NONE]) * len(block) for block in family.values]
        starts = self._groups[meaning.family]
        layout.starts.extend(starts[group] for group in groups)
        for group, places in series:
            for cell, (block, place) in enumerate(places, starts[group]):
                layout.cells[block][place] = cell
        layout.values = family.values if self._is_first else _values_before(family, before)
        return layout

    def _add_cells(self, family: str, groups: Iterable[_Group]) -> bool:
        """Make cells for new groups; return False, and make none, if they do not fit."""
        known = self._groups.setdefault(family, {})
        new = [group for group in groups if group not in known]
        taken = len(self._totals) + _GROUP_CELLS * sum(map(len, self._groups.values()))
        if taken + sum(_GROUP_CELLS + len(group.bounds) for group in new) > self._most_cells:
            self._is_full = True
            return False
        for group in new:
            known[group] = len(self._totals)
            self._totals.extend([0.0] * len(group.bounds))
        return True


def _misfit(seconds: float, wanted: float) -> float:
    """Return how many times as long or as short as wanted a window is: one of a moment would be all noise."""
    return max(seconds / wanted, wanted / seconds)


_Place: TypeAlias = tuple[int, int]
"""Block, and place in the block."""


def _series(meaning: Meaning, family: FamilyValues) -> list[tuple[_Group, list[_Place]]]:
    """Return the group of each series, and where its counter or buckets are, in the order of the group's cells."""
    buckets: dict[Labels, list[tuple[float, _Place]]] = {}
    is_histogram = meaning.type == "histogram"
    for block, place, name, labels in _samples(family):
        if not is_histogram:
            if not name.endswith("_created"):
                buckets[labels] = [(0.0, (block, place))]
        elif name.endswith("_bucket") and (bound := _bound(labels)) is not None:
            rest = tuple(label for label in labels if label[0] != "le")
            buckets.setdefault(rest, []).append((bound, (block, place)))
    return [
        (_group(meaning, labels, [bound for bound, _ in found]), [place for _, place in found])
        for labels, found in ((labels, sorted(found)) for labels, found in buckets.items())
    ]


def _samples(family: FamilyValues) -> Iterator[tuple[int, int, str, Labels]]:
    for number, block in enumerate(family.samples):
        for place, (name, labels) in enumerate(block):
            yield number, place, name, labels


def _bound(labels: Labels) -> float | None:
    """Return a bucket's upper bound, which may be infinite; None if there is none."""
    text = next((value for name, value in labels if name == "le"), "")
    try:
        bound = float(text)
    except ValueError:
        return None
    return bound if bound > -math.inf else None  # NaN is not


def _group(meaning: Meaning, labels: Labels, bounds: Sequence[float]) -> _Group:
    selected = next((value for name, value in labels if name == meaning.label), "")
    return _Group(selected[:LONGEST_TEXT], rank_of(labels), _same(tuple(bounds)))


@lru_cache(maxsize=256)
def _same(bounds: tuple[float, ...]) -> tuple[float, ...]:
    return bounds  # the cache makes equal bounds one object, for all workers


def _values_before(family: FamilyValues, before: _Layout | None) -> list[list[float]]:
    """Return the last values of a family's samples; 0 for series that are new."""
    known: dict[tuple[str, Labels], float] = {}
    if before:
        for block, values in zip(before.samples, before.values, strict=False):
            known.update(zip(block, values, strict=True))
    return [[known.get(sample, 0.0) for sample in block] for block in family.samples]
