"""A histogram's buckets, and quantiles of them: the same numbers as PromQL's `histogram_quantile`."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import add
from typing import NamedTuple


class Buckets(NamedTuple):
    """How much was counted (any unit) up to each upper bound; a counter has one bucket."""

    bounds: tuple[float, ...]
    """Upper bounds, ascending."""
    counts: Sequence[float]
    """Cumulative: each has those before it in it."""

    def plus(self, other: "Buckets") -> "Buckets":
        """Return both together."""
        if self.bounds == other.bounds:
            return Buckets(self.bounds, [*map(add, self.counts, other.counts)])
        counts = dict(zip(self.bounds, self.counts, strict=True))
        for bound, count in zip(other.bounds, other.counts, strict=True):
            counts[bound] = counts.get(bound, 0.0) + count
        bounds = tuple(sorted(counts))
        return Buckets(bounds, [*map(counts.__getitem__, bounds)])

    def quantiles(self, shares: Iterable[float]) -> list[float | None]:
        """Return quantiles; None if nothing was counted, or if the buckets do not end with +Inf.

        A value is interpolated within its bucket; one beyond the last finite bound is that bound.
        """
        if len(self.bounds) < 2 or self.bounds[-1] != math.inf:  # noqa: PLR2004 - +Inf and one more
            return [None for _ in shares]
        counts = list(accumulate(self.counts, max))  # rounding may have broken the order
        return [_quantile(share, self.bounds, counts) for share in shares]


def _quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    rank = share * counts[-1]
    if not rank > 0:
        return None
    at = bisect_left(counts, rank, hi=len(counts) - 1)
    if at == len(counts) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    start, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    return start + (bounds[at] - start) * ((rank - below) / (counts[at] - below))
