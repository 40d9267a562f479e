"""The families in files of one kind, and their series with the constants that dead writers and lost files left."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias

from prometheus_client.utils import floatToGoString

from exporter import model
from exporter.model import Labels
from exporter.multiproc.merge import Row

SeriesKey: TypeAlias = tuple[Labels, str]


class Series:
    """One series: a single sample, or a histogram's buckets, sum and count."""

    __slots__ = (
        "columns",
        "constants",
        "family",
        "holders",
        "is_histogram",
        "key",
        "labels",
        "name",
        "outlives",
    )

    def __init__(self, family: "Family", name: str, labels: Labels) -> None:
        self.family = family
        self.name = name
        """The sample's name; for a histogram, the family's name."""
        self.labels = labels
        self.key = labels, name
        """Identifies the series within its family, and orders the series of a family."""
        self.is_histogram = family.type == "histogram"
        self.columns: tuple[float, ...] = ()
        """The columns, ascending: SUM and the buckets' upper bounds for a histogram, else just 0."""
        self.constants: Sequence[Row] = ()
        """Condensed rows: the shares of dead writers' files and of files that are gone."""
        self.holders = 0
        """Number of placements with cells of this series."""
        self.outlives = False
        """Whether the series stays when no file holds it any more, such as a counter whose file is gone."""

    @property
    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name and labels of each sample; made on demand, since they are seldom needed."""
        if not self.is_histogram:
            return [(self.name, self.labels)]
        bucket = f"{self.name}_bucket"
        return [
            *((bucket, tuple(sorted((*self.labels, _le(bound))))) for bound in self.columns[1:]),
            (f"{self.name}_sum", self.labels),
            (f"{self.name}_count", self.labels),
        ]

    def add_columns(self, *columns: float) -> None:
        """Add columns, which are 0 in the constants that are there already."""
        ordered = tuple(sorted({*self.columns, *columns}))
        if ordered != self.columns:
            self.constants = [_realign(row, self.columns, ordered) for row in self.constants]
            self.columns = ordered


class Family(model.Family):
    """One metric family of one kind of file, and its series."""

    def __init__(self, name: str, help_text: str, kind: str, metric_type: str) -> None:
        super().__init__(name, metric_type, help_text)
        self.kind = kind
        """The kind of the family's files: a key of `RULES`."""
        self._series: dict[SeriesKey, Series] = {}

    def __iter__(self) -> Iterator[Series]:
        """Yield the series."""
        return iter(self._series.values())

    def __contains__(self, series: Series) -> bool:
        """Whether this very series, not one with the same labels, is still here."""
        return self._series.get(series.key) is series

    def __bool__(self) -> bool:
        """Whether there is any series."""
        return bool(self._series)

    def find(self, name: str, labels: Labels) -> Series:
        """Return the series with that name and labels; make it if there is none."""
        series = self._series.get((labels, name))
        if series is None:
            series = Series(self, name, labels)
            self._series[series.key] = series
        return series

    def remove(self, series: Series) -> None:
        """Forget a series."""
        del self._series[series.key]

    def clear(self) -> None:
        """Forget all series."""
        self._series.clear()


def _realign(row: Row, columns: Sequence[float], new_columns: Sequence[float]) -> Row:
    """Return the row's cells in the order of the new columns, with 0 for columns that the row lacks."""
    cells = dict(zip(columns, row, strict=True))
    return [cells.get(column, 0.0) for column in new_columns]


@lru_cache(maxsize=2048)
def _le(bound: float) -> tuple[str, str]:
    return "le", floatToGoString(bound)  # as OpenMetrics 1.0, "Canonical Numbers": 1.0, 1e+06, +Inf
