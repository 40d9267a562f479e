"""Present values of the gauges that mean something, by family and rank."""

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from exporter.engine.meanings import Meaning, Source
from exporter.engine.ranks import Rank, rank_of
from exporter.model import FamilyValues, Samples

_BREAKS_DOWN = "priority"
"""A label whose series break down another one, which lacks the label or has it empty: they are left out."""


class _Layout:
    """The series of one family that count, and their values as of the last read."""

    def __init__(self, family: FamilyValues) -> None:
        self.samples: Sequence[Samples] = family.samples
        self.ranks: list[Rank] = []
        self.values = array("d")
        self._blocks = array("i")
        self._places = array("i")
        for block, samples in enumerate(family.samples):
            for place, (_, labels) in enumerate(samples):
                if not any(name == _BREAKS_DOWN and value for name, value in labels):
                    self.ranks.append(rank_of(labels))
                    self._blocks.append(block)
                    self._places.append(place)

    def take(self, family: FamilyValues) -> None:
        blocks = family.values
        self.values = array(
            "d", [blocks[block][place] for block, place in zip(self._blocks, self._places, strict=True)]
        )

    def by_rank(self, combine: Callable[[Sequence[float]], float]) -> dict[Rank, float]:
        found: dict[Rank, list[float]] = {}
        for rank, value in zip(self.ranks, self.values, strict=True):
            if math.isfinite(value):
                found.setdefault(rank, []).append(value)
        return {rank: combine(values) for rank, values in found.items()}


class Gauges:
    """The gauges of one worker as of the last read."""

    def __init__(self, most_samples: int) -> None:
        """Leave out families beyond `most_samples` samples in all."""
        self._most_samples = most_samples
        self._layouts: dict[str, _Layout] = {}

    def take(self, families: Iterable[tuple[Meaning, FamilyValues]]) -> None:
        """Take the gauges of a read; forget the ones before."""
        layouts, self._layouts = self._layouts, {}
        room = self._most_samples
        for meaning, family in families:
            room -= sum(map(len, family.values))
            if room < 0:
                break
            layout = layouts.get(meaning.family)
            if layout is None or layout.samples is not family.samples:
                layout = _Layout(family)
            layout.take(family)
            self._layouts[meaning.family] = layout

    def find(
        self, sources: Iterable[Source], combine: Callable[[Sequence[float]], float]
    ) -> dict[Rank, float]:
        """Return the figure by rank, from the first source with any; `combine` joins several series of a rank."""
        return next(filter(None, self._find(sources, combine)), {})

    def of_each_rank(
        self, sources: Iterable[Source], combine: Callable[[Sequence[float]], float]
    ) -> dict[Rank, float]:
        """Return the figure by rank, for each rank from the first source that has it."""
        found = [*self._find(sources, combine)]
        return {rank: value for each in reversed(found) for rank, value in each.items()}

    def _find(
        self, sources: Iterable[Source], combine: Callable[[Sequence[float]], float]
    ) -> Iterator[dict[Rank, float]]:
        layouts = (self._layouts[source.family] for source in sources if source.family in self._layouts)
        return (layout.by_rank(combine) for layout in layouts)
