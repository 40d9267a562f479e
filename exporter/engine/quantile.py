"""Quantiles of a histogram: the same numbers as PromQL's `histogram_quantile`."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """Return a quantile of a histogram's buckets, which are counts (any unit) by upper bound, cumulative.

    A value is interpolated within its bucket; one beyond the last finite bound is that bound. None if nothing was
    counted, or if the buckets do not end with +Inf.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != math.inf:  # noqa: PLR2004 - +Inf and one more
        return None
    counts = list(accumulate((buckets[bound] for bound in bounds), max))  # rounding may have broken the order
    rank = q * counts[-1]
    if not rank > 0:
        return None
    at = bisect_left(counts, rank, hi=len(counts) - 1)
    if at == len(counts) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    start, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    return start + (bounds[at] - start) * ((rank - below) / (counts[at] - below))
