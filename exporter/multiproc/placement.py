"""The series and column of each cell of a file: found once for all files of a kind with the same keys."""

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from exporter.multiproc.faults import Fault
from exporter.multiproc.merge import Row
from exporter.multiproc.series import Family, Series

if TYPE_CHECKING:
    from exporter.multiproc.blocks import Block

Cells: TypeAlias = Mapping[float, int]
"""The numbers of the cells of a file that make up one row of a series, by column."""


class FollowedFile(Protocol):
    """A file that is read at every update."""

    cells: Row
    """The file's present cells, by entry."""
    blocks: "list[Block | None]"
    """The block that each cell is merged in; None for a cell without a block."""


class Placement:
    """The series and column of each cell, for all files with the same keys; knows which followed files these are."""

    def __init__(self) -> None:
        self.series: list[Series | None] = []
        """The series of each cell; None for an entry that is left out."""
        self.columns: list[float] = []
        """The column of each cell."""
        self.families: dict[Family, list[int]] = {}
        """The numbers of each family's cells."""
        self.bad_keys: list[Fault] = []
        """One fault for each entry with a bad key."""
        self.followed: list[FollowedFile] = []
        """The followed files with this placement."""
        self.dead = 0
        """Number of dead writers' files with this placement."""

    @property
    def is_used(self) -> bool:
        """Whether any file has this placement."""
        return bool(self.followed or self.dead)

    @property
    def held(self) -> Iterable[Series]:
        """The series of all cells, once for each cell."""
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
        """Whether the first cells here have the same series and columns as all cells of `other`."""
        count = len(other.series)
        return self.series[:count] == other.series and self.columns[:count] == other.columns

    def series_of(self, family: Family) -> Iterable[Series]:
        """Return the distinct series of a family that have cells here."""
        return {series for cell in self.families[family] if (series := self.series[cell])}

    def shares(self, family: Family, among: Container[Series] | None = None) -> dict[Series, list[Cells]]:
        """Return the rows of each series of a family, or only of the series in `among`.

        A series has more than one row if keys in the file differ only in the help text, which tells no series apart.
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
            row[column] = cell  # type: ignore[index] # every row is a dict made here
        return shares
