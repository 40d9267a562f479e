"""Families and their series: the metrics in the files of one kind, and what no living writer adds to them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias

from prometheus_client.utils import floatToGoString

from exporter import model
from exporter.model import Labels
from exporter.multiproc.merge import Row

SeriesKey: TypeAlias = tuple[Labels, str]


class Series:
    """The samples of one label set: one sample, or a histogram's buckets, sum and count."""

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
        """The sample's name; a histogram's family's name."""
        self.labels = labels
        self.key = labels, name
        """What tells it from the others of its family, and orders them."""
        self.is_histogram = family.type == "histogram"
        self.columns: tuple[float, ...] = ()
        """What the cells of a row are, ascending: SUM and the buckets' bounds, or just 0."""
        self.constants: Sequence[Row] = ()
        """What files of dead writers, and files that are gone, add: few rows."""
        self.holders = 0
        """How many placements have a cell of it."""
        self.outlives = False
        """Whether it stays though no file holds it any more: a counter whose file is gone."""

    @property
    def samples(self) -> Sequence[tuple[str, Labels]]:
        """Name and labels of each sample; made when asked for, since nobody asks often."""
        if not self.is_histogram:
            return [(self.name, self.labels)]
        bucket = f"{self.name}_bucket"
        return [
            *((bucket, tuple(sorted((*self.labels, _le(bound))))) for bound in self.columns[1:]),
            (f"{self.name}_sum", self.labels),
            (f"{self.name}_count", self.labels),
        ]

    def add_columns(self, *columns: float) -> None:
        """Make room for more numbers; what is there lacks them, so they are 0 there."""
        ordered = tuple(sorted({*self.columns, *columns}))
        if ordered != self.columns:
            self.constants = [_realign(row, self.columns, ordered) for row in self.constants]
            self.columns = ordered


class Family(model.Family):
    """One metric family of one kind of file, and its series."""

    def __init__(self, name: str, help_text: str, kind: str, metric_type: str) -> None:
        super().__init__(name, metric_type, help_text)
        self.kind = kind
        """What the names of its files say before the writer: a key of `RULES`."""
        self._series: dict[SeriesKey, Series] = {}

    def __iter__(self) -> Iterator[Series]:
        """Yield the series."""
        return iter(self._series.values())

    def __contains__(self, series: Series) -> bool:
        """Whether a series is one of these, still."""
        return self._series.get(series.key) is series

    def __bool__(self) -> bool:
        """Whether there is any series."""
        return bool(self._series)

    def find(self, name: str, labels: Labels) -> Series:
        """Return the series of that name and those labels, made if need be."""
        series = self._series.get((labels, name))
        if series is None:
            series = Series(self, name, labels)
            self._series[series.key] = series
        return series

    def remove(self, series: Series) -> None:
        """Forget a series."""
        del self._series[series.key]


def _realign(row: Row, columns: Sequence[float], new_columns: Sequence[float]) -> Row:
    """Put a row's cells in the order of other columns; what it lacks is 0."""
    cells = dict(zip(columns, row, strict=True))
    return [cells.get(column, 0.0) for column in new_columns]


@lru_cache(maxsize=4096)
def _le(bound: float) -> tuple[str, str]:
    return "le", floatToGoString(bound)
