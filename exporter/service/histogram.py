"""Durations by phase as a histogram: an own metric, cheap enough to be observed and told at every scrape."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import is_not

from exporter import model
from exporter.model import Family, FamilyValues, Samples, add_labels

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0)
"""Upper bounds in seconds, from a read in which nothing changed to one that a scrape cannot wait for."""


class Histogram:
    """A histogram with the label `phase`. One thread may observe a phase while others observe others, or tell."""

    def __init__(
        self, name: str, help_text: str, phases: Sequence[str], labels: Collection[tuple[str, str]] = ()
    ) -> None:
        """Have a series for each of `phases` from the start, at 0; add the constant `labels` to every one."""
        self._family = Family(name, "histogram", help_text)
        samples: list[Samples] = [tuple(_samples(name, phase, labels)) for phase in phases]
        self._blocks = {phase: [0.0] * (len(BUCKETS) + 3) for phase in phases}
        """By phase: the cumulative buckets, `+Inf` included, then sum and count. A block is replaced, never changed."""
        self._values = FamilyValues(self._family, samples, list(self._blocks.values()))

    @property
    def names(self) -> set[str]:
        """Every name that the metric takes up in any format."""
        return model.names(self._family.name, self._family.type)

    def observe(self, durations: Mapping[str, float]) -> None:
        """Count one duration of each phase given, in seconds."""
        for phase, seconds in durations.items():
            *buckets, total, count = self._blocks[phase]
            first = bisect_left(BUCKETS, seconds)
            buckets[first:] = [number + 1 for number in buckets[first:]]
            self._blocks[phase] = [*buckets, total + seconds, count + 1]

    def tell(self) -> FamilyValues:
        """Return the family with its present values; the same object as last time if nothing was observed."""
        blocks = list(self._blocks.values())
        if any(map(is_not, blocks, self._values.values)):
            self._values = self._values._replace(values=blocks)
        return self._values


def _samples(
    name: str, phase: str, labels: Collection[tuple[str, str]]
) -> Iterator[tuple[str, model.Labels]]:
    for bound in (*map(str, BUCKETS), "+Inf"):
        yield f"{name}_bucket", add_labels({"phase": phase, "le": bound}, labels)
    for suffix in ("_sum", "_count"):
        yield name + suffix, add_labels({"phase": phase}, labels)
