"""Where the cells of a file belong: found out once for all files of a kind that hold the same keys."""

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from exporter.multiproc.faults import Fault
from exporter.multiproc.merge import Row
from exporter.multiproc.series import Family, Series

if TYPE_CHECKING:
    from exporter.multiproc.blocks import Block

Cells: TypeAlias = Mapping[float, int]
"""Which entries of a file make up a row of a series, by column."""


class FollowedFile(Protocol):
    """A file that is read again and again."""

    cells: Row
    """What it says now, by entry."""
    blocks: "list[Block | None]"
    """The block that each cell is read into."""


class Placement:
    """The series and column of each cell of files with the same keys, and these files."""

    def __init__(self) -> None:
        self.series: list[Series | None] = []
        """By cell; None for an entry that is left out."""
        self.columns: list[float] = []
        """By cell."""
        self.families: dict[Family, list[int]] = {}
        """The cells of each family."""
        self.bad_keys: list[Fault] = []
        """Why entries are left out, one by one."""
        self.followed: list[FollowedFile] = []
        """The files that are read again and again."""
        self.dead = 0
        """How many files of dead writers there are."""

    @property
    def is_used(self) -> bool:
        """Whether there is such a file."""
        return bool(self.followed or self.dead)

    @property
    def held(self) -> Iterable[Series]:
        """The series of its cells, once for each cell."""
        return filter(None, self.series)

    def copy(self) -> "Placement":
        """Return another placement of the same keys, without files."""
        twin = Placement()
        twin.series, twin.columns, twin.bad_keys = (
            self.series.copy(),
            self.columns.copy(),
            self.bad_keys.copy(),
        )
        twin.families = {family: cells.copy() for family, cells in self.families.items()}
        return twin

    def add(self, family: Family, series: Series, column: float) -> None:
        """Place the next entry."""
        self.families.setdefault(family, []).append(len(self.series))
        self.series.append(series)
        self.columns.append(column)

    def leave_out(self, fault: Fault) -> None:
        """Leave the next entry out."""
        self.bad_keys.append(fault)
        self.series.append(None)
        self.columns.append(0.0)

    def begins_with(self, other: "Placement") -> bool:
        """Whether all that has a place there has the same place here."""
        count = len(other.series)
        return self.series[:count] == other.series and self.columns[:count] == other.columns

    def series_of(self, family: Family) -> Iterable[Series]:
        """Return the series of a family that are held, each once."""
        return {series for cell in self.families[family] if (series := self.series[cell])}

    def shares(self, family: Family, among: Container[Series] | None = None) -> dict[Series, list[Cells]]:
        """Return the cells of each series of a family, or of those `among` some.

        They make up more than one row where keys differ only in what does not tell series apart: the help text.
        """
        shares: dict[Series, list[Cells]] = {}
        for cell in self.families[family]:
            series, column = self.series[cell], self.columns[cell]
            assert series is not None  # noqa: S101 - a family has no cells that are left out
            if among is not None and series not in among:
                continue
            rows = shares.setdefault(series, [{}])
            row = next((row for row in rows if column not in row), None)
            if row is None:
                rows.append(row := {})
            row[column] = cell  # type: ignore[index] # it is a dict that was made here
        return shares
