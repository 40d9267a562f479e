"""All samples of a worker in the order of the exposition, and their values: the merge as operations on whole columns.

Most series have one source: their numbers only have to be brought from the order of the files into that of the
exposition. That, and adding constants, is done for all samples at once, in C. Python's loops see what is left:
histograms, to cumulate their buckets, and series that several living processes share.
"""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import accumulate
from operator import add, itemgetter
from typing import NamedTuple

from exporter.multiproc.merge import Vector, exact_sum
from exporter.multiproc.series import Family, Labels, Series, Source


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


@dataclass
class _Shared:
    """A series that is merged by its rule, and where its values go."""

    series: Series
    sources: frozenset[Source]
    place: slice
    values: Vector


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
        self._histograms: list[tuple[int, int]] = []
        """Where the buckets of each histogram begin and end; its sum and its count follow."""
        self._shared: list[_Shared] = []
        self._stamps: list[int] = []
        """Where the stamps of `mostrecent` gauges are among the files' numbers."""
        self.families = [
            ExportedFamily(family.name, family.type, family.help, list(filter(self._lay_out, family)))
            for family in families
        ]
        """The families and their samples, in order. It never changes."""
        self._gather = _gatherer(self._order)
        self._gather_stamps = _gatherer(self._stamps)
        self._addends = [exact_sum(self._constants.get(i, ())) for i in range(len(self._order))]
        self._inexact = [(i, parts) for i, parts in self._constants.items() if len(parts) > 1]
        numbers = self._numbers()
        self._size = len(numbers)
        self._set = self._which_are_set(numbers)
        self.values: Sequence[float] = ()
        """The value of each sample; another object when they change."""
        self.update(set(files))

    def update(self, changed: AbstractSet[Source]) -> bool:
        """Take in the values of files that changed; return False where another table is needed to hold them."""
        numbers = self._numbers()
        if len(numbers) != self._size:
            return False
        if self._which_are_set(numbers) != self._set:
            return False
        values = self._gather(numbers)
        if self._constants:
            values = list(map(add, values, self._addends))
            for i, parts in self._inexact:
                values[i] = exact_sum((numbers[self._order[i]], *parts))
        for start, end in self._histograms:
            buckets = list(accumulate(values[start:end]))
            values[start:end] = buckets
            values[end + 1] = buckets[-1]
        for shared in self._shared:
            if not shared.sources.isdisjoint(changed):
                shared.values = shared.series.values()
                if len(shared.values) != shared.place.stop - shared.place.start:
                    return False
            values[shared.place] = shared.values
        self.values = values
        return True

    def _lay_out(self, series: Series) -> bool:
        """Find a place for a series; return whether it has samples to put there."""
        start = len(self._order)
        sources = series.sources
        if len(sources) == 1 and (series.rule.sums or not series.base):
            self._lay_out_simple(series, next(iter(sources)), start)
        else:
            values = series.values()
            self._order += [0] * len(values)
            place = slice(start, len(self._order))
            self._shared.append(_Shared(series, frozenset(sources), place, values))
        return len(self._order) > start

    def _lay_out_simple(self, series: Series, source: Source, start: int) -> None:
        offset = self._offsets[source]
        indices = [0 if index is None else offset + index for index in series.indices(source)]
        addends = series.base
        if series.rule.stamped:
            value, stamp = indices
            self._stamps.append(stamp)
            indices = [value] if source.values[stamp - offset] > 0 else []
        elif series.rule.type == "histogram":
            total, *buckets = indices
            indices = [*buckets, total, 0]
            addends = [(*vector[1:], vector[0]) for vector in series.base]
            self._histograms.append((start, start + len(buckets)))
        self._order += indices
        for vector in addends:
            for i, number in enumerate(vector, start):
                if number:
                    self._constants.setdefault(i, []).append(number)

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
