"""The last cells of dead writers' files: constants of the series, which can be taken back file by file."""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import lt
from typing import NamedTuple

from exporter.multiproc.families import Families
from exporter.multiproc.merge import Row, Rule
from exporter.multiproc.placement import Placement
from exporter.multiproc.series import Series

LINGER = 5.0
"""Seconds for which a dead writer's files are still followed: a new process with its pid may write and die unseen."""
_MOST_PENDING = 64
"""Most files of one placement that wait to be added to the constants together."""


class _Buried(NamedTuple):
    """A file of a dead writer."""

    placement: Placement
    numbers: "array[float]"
    """The file's last cells, flattened: value, stamp, value, stamp, ... where the kind is stamped."""


class Dead:
    """The dead writers' files of one kind that are constants now."""

    def __init__(self, rule: Rule, families: Families) -> None:
        self._rule = rule
        self._families = families
        self._buried: dict[str, _Buried] = {}
        self._pending: defaultdict[Placement, list[array[float]]] = defaultdict(list)
        """The last cells of files that the constants do not include yet."""
        self._outdated: set[Series] = set()
        """Series whose constants must be computed again: a file that may have determined them was taken back."""

    def __contains__(self, name: str) -> bool:
        """Whether the file of that name is a constant."""
        return name in self._buried

    def placement_of(self, name: str) -> Placement:
        """Return the placement of the file of that name."""
        return self._buried[name].placement

    def bury(self, name: str, placement: Placement, row: Row) -> None:
        """Keep the last cells of a file; `apply` makes the constants include them."""
        buried = _Buried(placement, numbers := self._pack(row))
        if self._buried.get(name) == buried:
            return
        placement.dead += 1  # first: `resume` releases the file's old placement, which may be this one
        if name in self._buried:
            self.resume(name, placement, row)
        self._buried[name] = buried
        pending = self._pending[placement]
        pending.append(numbers)
        if len(pending) == _MOST_PENDING:
            self._add(placement, pending)
            pending.clear()

    def apply(self) -> None:
        """Bring the constants of all series up to date with the files kept here."""
        self._add_pending()
        self._compute_outdated()

    def resume(self, name: str, placement: Placement, row: Row) -> None:
        """Forget a file to which another process writes now; `row` has its present cells.

        If the process goes on from the old cells, with the same keys and no sum that fell, the old cells are taken
        back. Else the process made the file anew, and the old file counts as dropped.
        """
        buried = self._buried[name]
        fell = self._rule.outlives_files and any(map(lt, row, buried.numbers))
        if fell or not placement.begins_with(buried.placement):
            self.drop(name)
        else:
            self._take_back(name)

    def drop(self, name: str) -> None:
        """Forget a file that is gone; its share in counters, histograms and summaries stays for ever."""
        if not self._rule.outlives_files:
            self._take_back(name)
            return
        self._add_pending()
        placement, _ = self._forget(name)
        _outlive(placement)
        self._families.release(placement)

    def keep_row(self, placement: Placement, row: Row) -> None:
        """Add the last cells of a followed file that is gone to the constants, for ever."""
        self._add(placement, [self._pack(row)])
        _outlive(placement)

    def _take_back(self, name: str) -> None:
        """Forget a file, and take its share out of the constants."""
        self._add_pending()
        placement, numbers = self._forget(name)
        for series, row in self._rows(placement, [self._unpack(numbers)]):
            if self._rule.subtract:
                series.constants = self._rule.subtract(series.constants, row)
            elif self._rule.finish(row) and self._may_determine(series.constants[0], row):
                self._outdated.add(series)
        self._families.dirty.update(placement.held)
        self._families.release(placement)

    def _forget(self, name: str) -> _Buried:
        buried = self._buried.pop(name)
        buried.placement.dead -= 1
        return buried

    def _add(self, placement: Placement, files: Sequence["array[float]"]) -> None:
        """Add the last cells of files of one placement to the constants of the series."""
        if files:
            rows = self._rule.condense([self._unpack(numbers) for numbers in files])
            for series, row in self._rows(placement, rows):
                series.constants = self._rule.condense([*series.constants, row])
            self._families.dirty.update(placement.held)

    def _may_determine(self, constant: Row, row: Row) -> bool:
        """Whether a constant, such as a maximum, may be the row of one file. Cells may be NaN, equal to nothing."""
        return row == constant or self._rule.merge([row, constant]) != constant

    def _add_pending(self) -> None:
        for placement, pending in self._pending.items():
            self._add(placement, pending)
        self._pending.clear()

    def _compute_outdated(self) -> None:
        """Compute outdated constants from the remaining files: one file cannot be subtracted from a maximum."""
        outdated, self._outdated = self._outdated, set()
        files: defaultdict[Placement, list[Row]] = defaultdict(list)
        for placement, numbers in self._buried.values() if outdated else ():
            files[placement].append(self._unpack(numbers))
        found: dict[Series, list[Row]] = {series: [] for series in outdated}
        for placement, rows in files.items():
            if not found.keys().isdisjoint(placement.series):
                for series, row in self._rows(placement, self._rule.condense(rows)):
                    if series in found:
                        found[series].append(row)
        for series, rows in found.items():
            series.constants = self._rule.condense(rows) if rows else ()

    def _rows(self, placement: Placement, rows: Sequence[Row]) -> Iterator[tuple[Series, Row]]:
        """Yield each series with each of its rows: the cells of one file, in the order of the series' columns."""
        for family in placement.families:
            for series, shares in placement.shares(family).items():
                for cells in shares:
                    order = [cells.get(column) for column in series.columns]
                    for row in rows:
                        yield series, [0.0 if cell is None else row[cell] for cell in order]

    def _pack(self, row: Row) -> "array[float]":
        return array("d", chain.from_iterable(row) if self._rule.stamped else row)

    def _unpack(self, numbers: "array[float]") -> Row:
        return list(zip(numbers[::2], numbers[1::2], strict=True)) if self._rule.stamped else numbers


def _outlive(placement: Placement) -> None:
    for series in placement.held:
        series.outlives = True
