"""A short history of figures, coarser with age, in bounded memory."""

import math
from array import array
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

LENGTH = 1800.0
"""Seconds that the history goes back."""

_SPACINGS = ((120.0, 1.5), (600.0, 10.0), (LENGTH, 30.0))
"""Up to an age, in seconds, the least time between two rows, in seconds."""

MOST_ROWS = 172
"""As many rows as fit these ages, and a few at their edges."""

_Row: TypeAlias = tuple[float, "array[float]"]
"""A time, and the figures then; NaN where one is unknown."""

_time = itemgetter(0)


class History:
    """Rows of figures, each with its time."""

    def __init__(self, figures: Sequence[str], most_rows: int = MOST_ROWS) -> None:
        """Keep the history of `figures`, in `most_rows` rows at most: with fewer rows, it is coarser."""
        self._figures = figures
        self._most_rows = max(1, most_rows)
        self._coarseness = max(1.0, MOST_ROWS / self._most_rows)
        self._rows: list[_Row] = []

    def add(self, time: float, values: Mapping[str, float | None]) -> None:
        """Add the figures at `time`; None where one is unknown. Of older rows, as many are kept as fit their age."""
        last = self._rows[-1][0] if self._rows else -math.inf
        older = (
            [row for row in self._rows if time - row[0] <= LENGTH] if time > last else []
        )  # the clock may go back
        kept: list[_Row] = []
        for row in older:
            if not kept or row[0] - kept[-1][0] >= self._spacing(time - row[0]):
                kept.append(row)
        known = (math.nan if value is None else value for value in map(values.__getitem__, self._figures))
        self._rows = [*kept, (time, array("f", known))][-self._most_rows :]

    def since(self, time: float, figures: Iterable[str]) -> dict[str, Any]:
        """Return the `times` after `time`, and the values then of each of `figures`, by its name."""
        rows = self._rows[bisect(self._rows, time, key=_time) :]
        places = {name: self._figures.index(name) for name in figures}
        columns = {name: [_rounded(row[place]) for _, row in rows] for name, place in places.items()}
        return {"times": list(map(_time, rows)), **columns}

    def _spacing(self, age: float) -> float:
        return next(spacing for up_to, spacing in _SPACINGS if age <= up_to) * self._coarseness


def _rounded(value: float) -> float | None:
    """Return a value with the digits that single precision holds; None if it is unknown, or beyond that precision."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
