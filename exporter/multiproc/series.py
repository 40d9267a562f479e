"""One family, and its series: the samples of one label set, and the numbers that they are merged from."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from operator import itemgetter
from typing import Protocol, TypeAlias

from prometheus_client.utils import floatToGoString

from exporter.multiproc.merge import RULES, Rule, Vector, exact_parts

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Label names and values, sorted by name."""

SUM = -math.inf
"""The column of a histogram's sum, ahead of its buckets, whose columns are their bounds."""

STAMP = 1.0
"""The column of a `mostrecent` gauge's stamp, behind its value's, 0."""


class Source(Protocol):
    """A file's numbers."""

    @property
    def values(self) -> Sequence[float]:
        """The numbers."""

    @property
    def changes(self) -> Iterable[slice]:
        """Which of them may have changed at the last read."""


class Series:
    """The samples of one label set: one sample, or a histogram's buckets, sum and count."""

    __slots__ = ("_arranged", "_entries", "base", "columns", "labels", "name", "rule")

    def __init__(self, name: str, labels: Labels, rule: Rule) -> None:
        self.name = name
        """The sample's name; a histogram's family's name."""
        self.labels = labels
        self.rule = rule
        self.columns: tuple[float, ...] = ()
        """What the numbers of a vector are: SUM and the buckets' bounds, 0 and STAMP, or just 0."""
        self.base: list[Vector] = []
        """What sources said that are asked no more: few vectors that merge to the same."""
        self._entries: list[tuple[Source, float, int]] = []
        """A source, a column, and where in the source's values its number is."""
        self._arranged = 0
        """How many entries `arrange` has seen."""

    @property
    def is_plain(self) -> bool:
        """Whether it has one source, which has one vector, to which at most constants are to be added."""
        is_alone = [len(vectors) for vectors in self._places().values()] == [1]
        return is_alone and (self.rule.sums or not self.base)

    @property
    def places(self) -> Iterable[tuple[Source, int]]:
        """Where its numbers are, in the order in which they came: a source, and an index of its values."""
        return ((source, index) for source, _, index in self._entries)

    @property
    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name and labels of each sample; made when asked for, since nobody asks often."""
        if self.rule.type != "histogram":
            return [(self.name, self.labels)]
        bucket = f"{self.name}_bucket"
        return [
            *((bucket, tuple(sorted((*self.labels, _le(bound))))) for bound in self.columns[1:]),
            (f"{self.name}_sum", self.labels),
            (f"{self.name}_count", self.labels),
        ]

    def add(self, source: Source, index: int, column: float) -> None:
        """Take the number at `index` of the source's values as `column`. To be followed by `arrange`."""
        self._entries.append((source, column, index))

    def arrange(self, more_columns: Iterable[float] = ()) -> None:
        """Settle the order of columns and samples, after numbers were added."""
        new = self._entries[self._arranged :]
        self._arranged = len(self._entries)
        columns = set(self.columns).union(more_columns, (column for _, column, _ in new))
        if self.rule.type == "histogram":
            columns |= {SUM, math.inf}  # one caught half-written is completed: an exposition is always valid
        ordered = tuple(sorted(columns))
        if ordered != self.columns:
            self.base = [_realign(vector, self.columns, ordered) for vector in self.base]
            self.columns = ordered

    def values(self) -> Vector:
        """Merge the numbers as they are now; return the samples' values, none where it is not to be exported."""
        return self.reader()()

    def reader(self) -> Callable[[], Vector]:
        """Return what merges the numbers as they are whenever it is called; good while sources and columns stay."""
        base, takes, rule = tuple(self.base), self._takes(), self.rule
        if not base and len(takes) == 1:
            ((source, take),) = takes
            return lambda: rule.finish(take(source.values))

        def read() -> Vector:
            vectors = [*base, *[take(source.values) for source, take in takes]]
            return rule.finish(rule.combine(vectors)) if vectors else ()

        return read

    def settle(self, source: Source) -> None:
        """Keep what `source` says now as a constant, and ask it no more."""
        says = [take(source.values) for one, take in self._takes() if one is source]
        self.base = self.rule.condense([*self.base, *says])
        self._entries = [entry for entry in self._entries if entry[0] is not source]
        self._arranged = len(self._entries)

    def keep_constants(self, old: "Series") -> None:
        """Keep of the constants of `old`, which are sums, what is more than the files here say: it is of files gone."""
        self.arrange(old.columns)
        nothing: Vector = (0.0,) * len(self.columns)
        then = zip(
            nothing, *(_realign(vector, old.columns, self.columns) for vector in old.base), strict=True
        )
        now = zip(nothing, *self.base, *(take(source.values) for source, take in self._takes()), strict=True)
        gone = [exact_parts([*was, *(-number for number in is_)]) for was, is_ in zip(then, now, strict=True)]
        gone = [parts if math.fsum(parts) > 0 else [0.0] for parts in gone]
        self.base = self.rule.condense([*self.base, *zip_longest(*gone, fillvalue=0.0)])

    def _takes(self) -> list[tuple[Source, Callable[[Sequence[float]], Vector]]]:
        """Return, for each vector, its source and what picks it out of the source's values."""
        return [
            (source, _taker([places.get(column) for column in self.columns]))
            for source, all_places in self._places().items()
            for places in all_places
        ]

    def _places(self) -> dict[Source, list[dict[float, int]]]:
        """Return each source's columns and where they are; in one pass, since there may be a thousand sources.

        A source has more than one vector where its keys differ in what does not tell series apart: the help text.
        """
        all_places: dict[Source, list[dict[float, int]]] = {}
        for source, column, index in self._entries:
            vectors = all_places.setdefault(source, [{}])
            places = next((places for places in vectors if column not in places), None)
            if places is None:
                vectors.append(places := {})
            places[column] = index
        return all_places


class Family:
    """One metric family: a name, a type, a help text, and its series."""

    def __init__(self, name: str, help_text: str, kind: str) -> None:
        self.name = name
        self.help = help_text
        self.kind = kind
        """What the names of its files say before the pid: a key of `RULES`."""
        self.type = RULES[kind].type
        self._series: dict[tuple[Labels, str], Series] = {}

    def __iter__(self) -> Iterator[Series]:
        """Yield the series by labels, then by name."""
        return (self._series[key] for key in sorted(self._series))

    def find(self, name: str, labels: Labels) -> Series:
        """Return the series of that name and those labels, made if need be."""
        series = self._series.get((labels, name))
        if series is None:
            series = self._series[labels, name] = Series(name, labels, RULES[self.kind])
        return series


def _taker(indices: Sequence[int | None]) -> Callable[[Sequence[float]], Vector]:
    """Return what picks the numbers at `indices` out of others, 0 for None."""
    known = [index for index in indices if index is not None]
    if len(known) < len(indices) or len(known) == 1:
        return lambda numbers: tuple(0.0 if index is None else numbers[index] for index in indices)
    first, last = known[0], known[-1]
    if known == list(range(first, last + 1)):  # as prometheus_client writes a histogram
        return itemgetter(slice(first, last + 1))
    return itemgetter(*known)


def _realign(vector: Vector, columns: Sequence[float], new_columns: Sequence[float]) -> Vector:
    """Put a vector's numbers in the order of other columns; what it lacks is 0."""
    numbers = dict(zip(columns, vector, strict=True))
    return tuple(numbers.get(column, 0.0) for column in new_columns)


@lru_cache(maxsize=4096)
def _le(bound: float) -> tuple[str, str]:
    return "le", floatToGoString(bound)
