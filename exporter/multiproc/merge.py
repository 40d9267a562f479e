"""How the values of several processes become one: the rules by metric type and gauge mode, as a table.

A *cell* is the value of one entry of a file, or (value, stamp) in the `mostrecent` modes. A *row* has cells of one
file, in the order of the series and columns that are merged; rows of several files are merged column by column.
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import accumulate, zip_longest
from operator import add, itemgetter, neg
from typing import Any, NamedTuple, TypeAlias

Cell: TypeAlias = Any
"""A float, or (float, stamp) where the rule is `stamped`."""
Row: TypeAlias = Sequence[Cell]

_MAX = sys.float_info.max


class Rule(NamedTuple):
    """How one kind of file is merged."""

    type: str
    """The metric type."""
    merge: Callable[[Sequence[Row]], Row]
    """Rows of several files -> one row."""
    condense: Callable[[Sequence[Row]], Sequence[Row]]
    """Rows that will not change any more -> the fewest rows with the same merge."""
    finish: Callable[[Row], Sequence[float]]
    """A merged row of one histogram, or of any number of other series -> the values of their samples."""
    subtract: Callable[[Sequence[Row], Row], Sequence[Row]] | None = None
    """Condensed rows, and a row that went into them -> the rows without it. None if a merge cannot be undone."""
    live_only: bool = False
    """Whether only files of live writers count: the `live` gauge modes."""
    per_process: bool = False
    """Whether each process keeps a series of its own, with a `pid` label: the gauge modes `all` and `liveall`."""
    stamped: bool = False
    """Whether the cell with the newest stamp counts: the `mostrecent` gauge modes (client_python #967)."""

    @property
    def outlives_files(self) -> bool:
        """Whether a file's share stays when the file is gone: Prometheus would take a sum that falls for a reset."""
        return self.type != "gauge"


def exact_parts(numbers: Iterable[float]) -> list[float]:
    """Return few floats, at least one, with exactly the same sum; each infinity and NaN is kept as it is."""
    numbers = list(numbers)
    finite = list(filter(math.isfinite, numbers))
    parts: list[float] = []
    try:
        while rest := math.fsum([*finite, *map(neg, parts)]):
            parts.append(rest)
    except OverflowError:
        parts = []
        exact = sum(map(Fraction, finite))
        while exact:
            parts.append(max(-_MAX, min(_MAX, _to_float(exact))))
            exact -= Fraction(parts[-1])
    return [*parts, *(number for number in numbers if not math.isfinite(number))] or [0.0]


def exact_sum(numbers: Sequence[float]) -> float:
    """Return the sum, correctly rounded; infinite if it is too large, NaN for a NaN or infinities of both signs."""
    # Correctly rounded, so that the order of files does not matter, and a counter cannot fall by a rounding error when
    # a process dies and its share becomes a constant.
    try:
        return math.fsum(numbers)
    except ValueError:  # infinities of both signs
        return math.nan
    except OverflowError:  # a partial sum is too large, or the whole
        infinite = [number for number in numbers if not math.isfinite(number)]
        return sum(infinite) if infinite else _to_float(sum(map(Fraction, numbers)))


def _to_float(exact: Fraction | int) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _add(rows: Sequence[Row]) -> Row:
    if len(rows) == 2:  # noqa: PLR2004 - IEEE 754 rounds the sum of two floats correctly
        return list(map(add, *rows))
    try:
        return list(map(math.fsum, zip(*rows, strict=True)))
    except (OverflowError, ValueError):
        return list(map(exact_sum, zip(*rows, strict=True)))


def _add_exactly(rows: Sequence[Row]) -> Sequence[Row]:
    try:  # nearly always one row has the exact sum
        total = list(map(math.fsum, zip(*rows, strict=True)))
        if not any(map(math.fsum, zip(*rows, map(neg, total), strict=True))):
            return [total]
    except (OverflowError, ValueError):
        pass
    return _rows(map(exact_parts, zip(*rows, strict=True)))


def _subtract(rows: Sequence[Row], row: Row) -> Sequence[Row]:
    if all(map(math.isfinite, row)):
        return _add_exactly([*rows, list(map(neg, row))])
    return _rows(map(_without, zip(*rows, strict=True), row))


def _without(parts: Sequence[float], number: float) -> list[float]:
    """Return the exact parts of the sum of `parts` without `number`, which was added to them earlier."""
    if math.isfinite(number):
        return exact_parts([*parts, -number])
    alike = [math.isnan(part) if math.isnan(number) else part == number for part in parts]
    first = alike.index(True)
    return exact_parts([*parts[:first], *parts[first + 1 :]])


def _rows(columns: Iterable[Sequence[float]]) -> list[Row]:
    return list(map(list, zip_longest(*columns, fillvalue=0.0)))


def _largest(rows: Sequence[Row]) -> Row:
    return list(map(max, *rows)) if len(rows) > 1 else rows[0]


def _smallest(rows: Sequence[Row]) -> Row:
    return list(map(min, *rows)) if len(rows) > 1 else rows[0]


def _latest(rows: Sequence[Row]) -> Row:
    return [max(cells, key=_STAMP) for cells in zip(*rows, strict=True)]


def _last(rows: Sequence[Row]) -> Row:
    return rows[-1]


_STAMP = itemgetter(1)


def as_they_are(row: Row) -> Sequence[float]:
    """Return the row: its cells are the values."""
    return row


# The stock collector has no sample for a gauge that was never set either; client_python #1193 would make it 0.
def _if_ever_set(row: Row) -> Sequence[float]:
    return [value for value, stamp in row if stamp > 0]


def _cumulate(row: Row) -> Sequence[float]:
    """(sum, bucket, ...) -> (cumulated bucket, ..., sum, count)."""
    values = list(accumulate(row[1:]))
    values += row[0], values[-1]
    return values


def _gauge(merge: Callable[[Sequence[Row]], Row], *, live_only: bool) -> Rule:
    stamped = merge is _latest
    return Rule(
        "gauge",
        merge,
        _add_exactly if merge is _add else lambda rows: [merge(rows)],
        _if_ever_set if stamped else as_they_are,
        _subtract if merge is _add else None,
        live_only=live_only,
        per_process=merge is _last,
        stamped=stamped,
    )


_MODES: dict[str, Callable[[Sequence[Row]], Row]] = {
    "all": _last,
    "max": _largest,
    "min": _smallest,
    "mostrecent": _latest,
    "sum": _add,
}

RULES: dict[str, Rule] = {
    "counter": Rule("counter", _add, _add_exactly, as_they_are, _subtract),
    "histogram": Rule("histogram", _add, _add_exactly, _cumulate, _subtract),
    "summary": Rule("summary", _add, _add_exactly, as_they_are, _subtract),
    **{f"gauge_{mode}": _gauge(merge, live_only=False) for mode, merge in _MODES.items()},
    **{f"gauge_live{mode}": _gauge(merge, live_only=True) for mode, merge in _MODES.items()},
}
"""The rule of each kind: `counter`, `gauge_livesum`, ..."""
