"""How the values of several processes become one: the rules by metric type and gauge mode, as a table.

A *vector* is what one process says of one series: the numbers of the entries that make it up. One number for a counter,
a part of a summary or a gauge; (value, stamp) for a `mostrecent` gauge; (sum, bucket, bucket, ...) for a histogram.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, zip_longest
from operator import add
from typing import NamedTuple, TypeAlias

Vector: TypeAlias = tuple[float, ...]


class Rule(NamedTuple):
    """How one kind of file is merged."""

    type: str
    """The metric type."""
    combine: Callable[[Sequence[Vector]], Vector]
    """Several processes' vectors -> one."""
    condense: Callable[[Sequence[Vector]], list[Vector]]
    """Vectors that will not change any more -> as few as combine to the same."""
    finish: Callable[[Vector], Vector]
    """The combined vector -> the values of the series' samples; none where it is not to be exported."""
    sums: bool = False
    """Whether the numbers of processes are added up."""
    live_only: bool = False
    """Whether only living processes count."""
    per_process: bool = False
    """Whether each process keeps a series of its own, told apart by a `pid` label."""
    stamped: bool = False
    """Whether the time of the value matters."""


def exact_parts(values: Iterable[float]) -> list[float]:
    """Return few floats, at least one, whose exact sum is that of `values`."""
    values = list(values)
    if not math.isfinite(total := sum(values)):
        return [total]
    parts: list[float] = []
    while rest := math.fsum([*values, *(-part for part in parts)]):
        parts.append(rest)
    return parts or [0.0]


def exact_sum(numbers: Sequence[float]) -> float:
    """Return the sum, correctly rounded; infinite or NaN where it has no other value."""
    # Correctly rounded, so that the order of files does not matter, and a counter cannot fall by a rounding error when
    # a process dies and its share is added up elsewhere.
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # beyond the largest float, or infinities of both signs
        return sum(numbers)


def _add(vectors: Sequence[Vector]) -> Vector:
    if len(vectors) == 2:  # noqa: PLR2004 - of two numbers, any sum is correctly rounded
        return tuple(map(add, *vectors))
    return tuple(map(exact_sum, zip(*vectors, strict=True)))


def _add_exactly(vectors: Sequence[Vector]) -> list[Vector]:
    return list(zip_longest(*(exact_parts(column) for column in zip(*vectors, strict=True)), fillvalue=0.0))


def _latest(vectors: Sequence[Vector]) -> Vector:
    return max(vectors, key=lambda vector: vector[1])


def _last(vectors: Sequence[Vector]) -> Vector:
    return vectors[-1]


def _as_they_are(vector: Vector) -> Vector:
    return vector


def _if_ever_set(vector: Vector) -> Vector:
    value, stamp = vector
    return (value,) if stamp > 0 else ()


def _cumulate(vector: Vector) -> Vector:
    """(sum, bucket, ...) -> (cumulated bucket, ..., sum, count)."""
    total, *buckets = vector
    cumulated = tuple(accumulate(buckets))
    return (*cumulated, total, cumulated[-1])


def _gauge(combine: Callable[[Sequence[Vector]], Vector], *, live_only: bool) -> Rule:
    latest = combine is _latest
    return Rule(
        "gauge",
        combine,
        _add_exactly if combine is _add else lambda vectors: [combine(vectors)],
        _if_ever_set if latest else _as_they_are,
        sums=combine is _add,
        live_only=live_only,
        per_process=combine is _last,
        stamped=latest,
    )


_MODES: dict[str, Callable[[Sequence[Vector]], Vector]] = {
    "all": _last,
    "max": max,
    "min": min,
    "mostrecent": _latest,
    "sum": _add,
}

RULES: dict[str, Rule] = {
    "counter": Rule("counter", _add, _add_exactly, _as_they_are, sums=True),
    "histogram": Rule("histogram", _add, _add_exactly, _cumulate, sums=True),
    "summary": Rule("summary", _add, _add_exactly, _as_they_are, sums=True),
    **{f"gauge_{mode}": _gauge(combine, live_only=False) for mode, combine in _MODES.items()},
    **{f"gauge_live{mode}": _gauge(combine, live_only=True) for mode, combine in _MODES.items()},
}
"""By what a file's name says before the pid: `counter`, `gauge_livesum`, ..."""
