"""What files of dead writers said last: constants of the series, which can be taken back file by file."""

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

_MOST_PENDING = 64
"""Files with the same keys that are added up at a time."""


class _Buried(NamedTuple):
    """A file of a dead writer."""

    placement: Placement
    numbers: "array[float]"
    """What it said last: its cells, one after the other."""


class Dead:
    """The files of dead writers of one kind, by name."""

    def __init__(self, rule: Rule, families: Families) -> None:
        self._rule = rule
        self._families = families
        self._buried: dict[str, _Buried] = {}
        self._pending: defaultdict[Placement, list[array[float]]] = defaultdict(list)
        """What is no part of the constants yet."""
        self._lost: set[Series] = set()
        """Series whose constants are to be found again, since a file that may have made them has gone."""

    def __contains__(self, name: str) -> bool:
        """Whether a file is one of these."""
        return name in self._buried

    def placement_of(self, name: str) -> Placement:
        """Return where the cells of a file belong."""
        return self._buried[name].placement

    def bury(self, name: str, placement: Placement, row: Row) -> None:
        """Keep what a file said last; it is a part of the constants once `apply` is called."""
        buried = _Buried(placement, numbers := self._pack(row))
        if self._buried.get(name) == buried:
            return
        placement.dead += 1  # before it leaves the other one, which may be the same
        if name in self._buried:
            self.resume(name, placement, row)
        self._buried[name] = buried
        pending = self._pending[placement]
        pending.append(numbers)
        if len(pending) == _MOST_PENDING:
            self._add(placement, pending)
            pending.clear()

    def apply(self) -> None:
        """Make the constants of the series what all files say that are here."""
        self._add_pending()
        self._find_lost()

    def resume(self, name: str, placement: Placement, row: Row) -> None:
        """Forget a file that another process wrote to, which says this now.

        What it said is taken back where it goes on from there: with the same keys, and no sum that fell.
        """
        buried = self._buried[name]
        fell = self._rule.outlives_files and any(map(lt, row, buried.numbers))
        if fell or not placement.begins_with(buried.placement):
            self.drop(name)
        else:
            self._take_back(name)

    def drop(self, name: str) -> None:
        """Forget a file that is gone; what a counter, histogram or summary said in it stays for ever."""
        if not self._rule.outlives_files:
            self._take_back(name)
            return
        self._add_pending()
        placement, _ = self._forget(name)
        _outlive(placement)
        self._families.release(placement)

    def keep_row(self, placement: Placement, row: Row) -> None:
        """Make what a file that is gone said last a part of the constants for ever."""
        self._add(placement, [self._pack(row)])
        _outlive(placement)

    def _take_back(self, name: str) -> None:
        """Forget a file, and what it said."""
        self._add_pending()
        placement, numbers = self._forget(name)
        for series, row in self._rows(placement, [self._unpack(numbers)]):
            if self._rule.subtract:
                series.constants = self._rule.subtract(series.constants, row)
            elif self._rule.finish(row) and self._may_be_all(series.constants[0], row):
                self._lost.add(series)
        self._families.dirty.update(placement.held)
        self._families.release(placement)

    def _forget(self, name: str) -> _Buried:
        buried = self._buried.pop(name)
        buried.placement.dead -= 1
        return buried

    def _add(self, placement: Placement, files: Sequence["array[float]"]) -> None:
        """Add what files with the same placement said to the constants of the series."""
        if files:
            rows = self._rule.condense([self._unpack(numbers) for numbers in files])
            for series, row in self._rows(placement, rows):
                series.constants = self._rule.condense([*series.constants, row])
            self._families.dirty.update(placement.held)

    def _may_be_all(self, constant: Row, row: Row) -> bool:
        """Whether a constant may be what one file said: the largest, say. Numbers may be NaN, equal to nothing."""
        return row == constant or self._rule.merge([row, constant]) != constant

    def _add_pending(self) -> None:
        for placement, pending in self._pending.items():
            self._add(placement, pending)
        self._pending.clear()

    def _find_lost(self) -> None:
        """Make the constants anew that may be what a file said that has gone: nothing can be subtracted from them."""
        lost, self._lost = self._lost, set()
        files: defaultdict[Placement, list[Row]] = defaultdict(list)
        for placement, numbers in self._buried.values() if lost else ():
            files[placement].append(self._unpack(numbers))
        found: dict[Series, list[Row]] = {series: [] for series in lost}
        for placement, rows in files.items():
            if not found.keys().isdisjoint(placement.series):
                for series, row in self._rows(placement, self._rule.condense(rows)):
                    if series in found:
                        found[series].append(row)
        for series, rows in found.items():
            series.constants = self._rule.condense(rows) if rows else ()

    def _rows(self, placement: Placement, rows: Sequence[Row]) -> Iterator[tuple[Series, Row]]:
        """Yield what files say, series by series."""
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
