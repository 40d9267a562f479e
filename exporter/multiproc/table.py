"""All samples of a worker in the order of the exposition, and their values: the merge as operations on whole columns.

Most series have one source: their numbers only have to be brought from the order of the files into that of the
exposition. That, and adding constants, is done for all samples at once, in C. Python's loops see what is left: spans of
samples, each to be compared with what it was, and the few series that several living processes share.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate, compress
from operator import add, itemgetter, ne
from typing import NamedTuple

from exporter.multiproc.merge import Vector, exact_sum
from exporter.multiproc.series import Family, Labels, Series, Source

_LONG_SPAN = 64
"""How many simple samples are compared as one, to learn whether any has changed."""


class ExportedFamily(NamedTuple):
    """A family as it is exported, but for the values."""

    name: str
    type: str
    help: str
    series: list[Series]

    @property
    def samples(self) -> list[tuple[str, Labels]]:
        """Name and labels of each sample."""
        return [sample for series in self.series for sample in series.samples]


class Snapshot(NamedTuple):
    """The families and the values of all their samples at one moment."""

    families: Sequence[ExportedFamily]
    """By name; another object when they are other ones, or have other samples."""
    values: Sequence[float]
    """The value of each sample, in order; another object when one is another."""
    before: Sequence[float] | None
    """The values that `changed` compares with."""
    changed: Sequence[int]
    """Where values differ from those before."""


class _Span(NamedTuple):
    """Neighbouring samples: those of a histogram, whose buckets are to be cumulated, or of simple series."""

    start: int
    end: int
    is_histogram: bool


class _Shared(NamedTuple):
    """A series that is merged by its rule, and where its values go."""

    read: Callable[[], Vector]
    sources: frozenset[Source]
    start: int
    end: int


class Table:
    """The samples of some families; good until series come or go, or a gauge is set for the first time."""

    def __init__(self, families: Iterable[Family], files: Sequence[Source]) -> None:
        """Lay out the samples of `families`, whose sources are among `files`, and take in their values."""
        self._files = files
        sizes = accumulate((len(file.values) for file in files), initial=1)
        self._offsets = dict(zip(files, sizes, strict=False))
        self._order: list[int] = []
        """Where each sample's value is among the files' numbers, which begin with a 0 for those that have none."""
        self._constants: dict[int, list[float]] = {}
        """What is to be added to the values of some samples."""
        self._spans: list[_Span] = []
        self._shared: list[_Shared] = []
        self._stamps: list[int] = []
        """Where the stamps of `mostrecent` gauges are among the files' numbers."""
        exported = [
            ExportedFamily(family.name, family.type, family.help, list(filter(self._lay_out, family)))
            for family in families
        ]
        self._gather = _gatherer(self._order)
        self._gather_stamps = _gatherer(self._stamps)
        places = range(len(self._order)) if self._constants else ()
        self._addends = [exact_sum(self._constants.get(i, ())) for i in places]
        self._inexact = [(i, parts) for i, parts in self._constants.items() if len(parts) > 1]
        numbers = self._numbers()
        self._size = len(numbers)
        self._set = self._which_are_set(numbers)
        self._raw: list[float] = []
        """The samples' numbers before buckets are cumulated."""
        values = [0.0] * len(self._order)
        for read, _, start, end in self._shared:
            values[start:end] = read()
        self.snapshot = Snapshot(exported, values, None, ())
        self.update(set())

    def update(self, changed_files: AbstractSet[Source]) -> bool:
        """Take in the values of files that changed; return False where another table is needed to hold them."""
        numbers = self._numbers()
        if len(numbers) != self._size or self._which_are_set(numbers) != self._set:
            return False
        raw = self._add_constants(self._gather(numbers), numbers)
        before = self.snapshot.values
        values = list(before)
        changed: list[int] = []
        for start, end, is_histogram in self._spans:
            fresh = raw[start:end]
            if fresh != self._raw[start:end]:
                if is_histogram:
                    fresh[:-2] = accumulate(fresh[:-2])
                    fresh[-1] = fresh[-3]
                changed += compress(range(start, end), map(ne, fresh, before[start:end]))
                values[start:end] = fresh
        for read, sources, start, end in self._shared:
            if not sources.isdisjoint(changed_files):
                merged = read()
                if len(merged) != end - start:
                    return False
                changed += range(start, end)
                values[start:end] = merged
        self._raw = raw
        if changed:
            self.snapshot = Snapshot(self.snapshot.families, values, before, changed)
        return True

    def _add_constants(self, raw: list[float], numbers: Sequence[float]) -> list[float]:
        if not self._constants:
            return raw
        raw = list(map(add, raw, self._addends))
        for i, parts in self._inexact:
            raw[i] = exact_sum((numbers[self._order[i]], *parts))
        return raw

    def _lay_out(self, series: Series) -> bool:
        """Find a place for a series; return whether it has samples to put there."""
        start = len(self._order)
        sources = series.sources
        if series.is_plain and (series.rule.sums or not series.base):
            self._lay_out_simple(series, next(iter(sources)))
        else:
            read = series.reader()
            self._order += [0] * len(read())
            self._shared.append(_Shared(read, frozenset(sources), start, len(self._order)))
        return len(self._order) > start

    def _lay_out_simple(self, series: Series, source: Source) -> None:
        offset, start = self._offsets[source], len(self._order)
        indices = [0 if index is None else offset + index for index in series.indices(source)]
        addends = series.base
        is_histogram = series.rule.type == "histogram"
        if series.rule.stamped:
            value, stamp = indices
            self._stamps.append(stamp)
            indices = [value] if source.values[stamp - offset] > 0 else []
        elif is_histogram:
            total, *buckets = indices
            indices = [*buckets, total, 0]  # the count is the last bucket's, once they are cumulated
            addends = [(*vector[1:], vector[0]) for vector in series.base]
        self._order += indices
        for vector in addends:
            for i, number in enumerate(vector, start):
                if number:
                    self._constants.setdefault(i, []).append(number)
        self._add_span(_Span(start, len(self._order), is_histogram))

    def _add_span(self, span: _Span) -> None:
        """Take note of a span; as a part of the last one where both are simple, and not long yet."""
        if span.start == span.end:  # a gauge that was never set
            return
        last = self._spans[-1] if self._spans else span
        if not (span.is_histogram or last.is_histogram) and last.end == span.start < last.start + _LONG_SPAN:
            self._spans[-1] = _Span(last.start, span.end, is_histogram=False)
        else:
            self._spans.append(span)

    def _numbers(self) -> list[float]:
        numbers = [0.0]
        for file in self._files:
            numbers += file.values
        return numbers

    def _which_are_set(self, numbers: list[float]) -> list[bool]:
        return [stamp > 0 for stamp in self._gather_stamps(numbers)]


def _gatherer(indices: Sequence[int]) -> Callable[[list[float]], list[float]]:
    """Return what picks the numbers at `indices` out of others."""
    if len(indices) < 2:  # noqa: PLR2004 - itemgetter returns a tuple from two items up
        return lambda numbers: [numbers[index] for index in indices]
    pick = itemgetter(*indices)
    return lambda numbers: list(pick(numbers))
