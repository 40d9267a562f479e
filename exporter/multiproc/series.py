"""One family, and its series: the samples of one label set, and the numbers that they are merged from."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from operator import itemgetter
from typing import Any, Protocol, TypeAlias

from prometheus_client.utils import floatToGoString

from exporter.multiproc.merge import RULES, Vector, exact_parts

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Label names and values, sorted by name."""

SUM = -math.inf
"""The column of a histogram's sum, ahead of its buckets, whose columns are their bounds."""

STAMP = 1.0
"""The column of a `mostrecent` gauge's stamp, behind its value's, 0."""


class Source(Protocol):
    """A file's numbers; the one at -1 is 0."""

    values: tuple[float, ...]


class Series:
    """The samples of one label set: one sample, or a histogram's buckets, sum and count."""

    __slots__ = (
        "_base",
        "_columns",
        "_finish",
        "_only",
        "_rule",
        "_slots",
        "_takes",
        "changed",
        "family",
        "labels",
        "name",
        "samples",
        "values",
    )

    def __init__(self, family: "Family", name: str, labels: Labels) -> None:
        self.family = family
        self.name = name
        """The sample's name; a histogram's family's name."""
        self.labels = labels
        self.samples: tuple[tuple[str, Labels], ...] = ()
        """Name and labels of each sample; a new tuple when they change."""
        self.values: Vector = ()
        """The samples' values; empty while the series is not to be exported."""
        self.changed = 0
        """The version of the collector that last changed samples or values."""
        self._rule = family.rule
        self._finish = family.rule.finish
        self._columns: tuple[float, ...] = ()
        self._slots: dict[Source, dict[float, int]] = {}
        self._takes: dict[Source, itemgetter[Any]] = {}
        self._base: list[Vector] = []
        self._only: tuple[itemgetter[Any], Source] | None = None

    def add(self, source: Source, index: int, column: float) -> None:
        """Take the number at `index` of the source's values as `column`. To be followed by `arrange`."""
        self._slots.setdefault(source, {})[column] = index

    def arrange(self, more_columns: Sequence[float] = ()) -> None:
        """Settle the order of columns and samples, after numbers were added."""
        columns = set(self._columns).union(more_columns, *self._slots.values())
        if self._rule.type == "histogram":
            columns |= {SUM, math.inf}  # one caught half-written is completed: an exposition is always valid
        ordered = tuple(sorted(columns))
        if ordered != self._columns:
            self._base = [_realign(vector, self._columns, ordered) for vector in self._base]
            self._columns = ordered
            self.samples = self._name_samples()
        self._takes = {source: self._take(slots) for source, slots in self._slots.items()}
        self._note_only()

    def merge(self, version: int) -> None:
        """Merge the numbers as they are now; values that change have changed in `version`."""
        if self._only:  # most series are one process's
            take, source = self._only
            vector = take(source.values)
        else:
            vector = self._rule.combine(self._vectors())
        values = self._finish(vector)
        if values == self.values:
            return
        self.family.size += len(values) - len(self.values)
        self.values = values
        self.changed = self.family.changed = version

    def settle(self, source: Source) -> None:
        """Keep what `source` says now as a constant, and ask it no more."""
        take = self._takes.pop(source)
        del self._slots[source]
        self._base = self._rule.condense([*self._base, take(source.values)])
        self._note_only()

    def totals(self) -> dict[float, float]:
        """Return what was merged, by column, before buckets are cumulated."""
        return dict(zip(self._columns, self._rule.combine(self._vectors()), strict=True))

    def top_up(self, floor: Mapping[float, float]) -> None:
        """Make a sum no less in any column than `floor`, what it was before some of its files went."""
        self.arrange(tuple(floor))
        numbers = (
            zip(*self._vectors(), strict=True) if self._base or self._takes else ((),) * len(self._columns)
        )
        missing = []
        for column, now in zip(self._columns, numbers, strict=True):
            parts = exact_parts([floor.get(column, 0.0), *(-number for number in now)])
            missing.append(parts if math.fsum(parts) > 0 else [0.0])
        if any(map(any, missing)):
            self._base = self._rule.condense([*self._base, *zip_longest(*missing, fillvalue=0.0)])
            self._note_only()

    def _note_only(self) -> None:
        single = len(self._takes) == 1 and not self._base
        self._only = next((take, source) for source, take in self._takes.items()) if single else None

    def _vectors(self) -> list[Vector]:
        return [*self._base, *[take(source.values) for source, take in self._takes.items()]]

    def _take(self, slots: Mapping[float, int]) -> "itemgetter[Any]":
        """Return what picks a source's vector out of its values; a slice, where they stand side by side in order."""
        indices = [slots.get(column, -1) for column in self._columns]
        first, end = indices[0], indices[0] + len(indices)
        return itemgetter(slice(first, end)) if indices == list(range(first, end)) else itemgetter(*indices)

    def _name_samples(self) -> tuple[tuple[str, Labels], ...]:
        if self._rule.type != "histogram":
            return ((self.name, self.labels),)
        bounds = map(floatToGoString, self._columns[1:])
        return (
            *((f"{self.name}_bucket", tuple(sorted((*self.labels, ("le", bound))))) for bound in bounds),
            (f"{self.name}_sum", self.labels),
            (f"{self.name}_count", self.labels),
        )


class Family:
    """One metric family: a name, a type, a help text, and its series."""

    def __init__(self, name: str, help_text: str, kind: str) -> None:
        self.name = name
        self.help = help_text
        self.kind = kind
        """What the names of its files say before the pid: a key of `RULES`."""
        self.rule = RULES[kind]
        self.type = self.rule.type
        self.changed = 0
        """The version of the collector that last changed any series."""
        self.size = 0
        """How many samples its series have."""
        self._series: dict[tuple[Labels, str], Series] = {}
        self._ordered: list[Series] | None = None

    @property
    def series(self) -> list[Series]:
        """The series by labels, then by name."""
        if self._ordered is None:
            self._ordered = [self._series[key] for key in sorted(self._series)]
        return self._ordered

    def find(self, name: str, labels: Labels) -> Series:
        """Return the series of that name and those labels, made if need be."""
        series = self._series.get((labels, name))
        if series is None:
            series = self._series[labels, name] = Series(self, name, labels)
            self._ordered = None
        return series


def _realign(vector: Vector, columns: Sequence[float], new_columns: Sequence[float]) -> Vector:
    """Put a vector's numbers in the order of other columns; what it lacks is 0."""
    numbers = dict(zip(columns, vector, strict=True))
    return tuple(numbers.get(column, 0.0) for column in new_columns)
