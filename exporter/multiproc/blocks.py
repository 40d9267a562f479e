"""One family laid out in blocks, so that only the blocks whose cells changed are merged again.

A block is one histogram, or a run of neighbouring other series. Each cell of each followed file has a reference to its
block, so a file's changed cells tell which blocks to merge. Where a block's values stay equal they stay the same
object, and the renderer keeps the block's text.
"""

from bisect import bisect
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeAlias

from exporter.model import FamilyValues, Labels
from exporter.multiproc.merge import Cell, Row, Rule, as_they_are
from exporter.multiproc.placement import Cells, FollowedFile, Placement
from exporter.multiproc.series import Family, Series, SeriesKey

_LONGEST_RUN = 32
"""Most series in a block: one changed value makes all of them be written again."""

_LACKING = -1
"""Stands for the cell of a column that a file lacks, which counts as 0."""

_Share: TypeAlias = tuple[Placement, Sequence[int]]
"""Where the files of one placement hold a series: the placement, and the number of the cell of each column."""


class _Part(NamedTuple):
    """A series and all that is merged into it: shares of followed files, and constants."""

    series: Series
    shares: Sequence[_Share]
    constants: Sequence[Row]


class Samples:
    """Name and labels of each sample of a block; where samples came or went, the block gets a new object."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = series

    def __iter__(self) -> Iterator[tuple[str, Labels]]:
        """Yield name and labels of each sample, made on demand: they are seldom needed."""
        return chain.from_iterable(series.samples for series in self.series)


class Block:
    """Neighbouring series of a family that are merged together; each has the same number of rows."""

    __slots__ = ("family", "read", "samples", "series", "values")

    def __init__(self, family: Family, series: Sequence[Series], read: Callable[[], Sequence[float]]) -> None:
        self.family = family
        self.series = series
        self.samples = Samples(series)
        self.read = read
        """Merges the present cells of the files with the constants, and returns the values of the samples."""
        self.values = read()
        """The values as of the last merge."""

    def resume(self, before: "Block") -> None:
        """Take over equal samples and values of `before`, a block of the same series: these are not rendered again."""
        if len(self.values) == len(before.values):
            self.samples = before.samples
            if self.values == before.values:
                self.values = before.values


class Layout:
    """A family's blocks, sorted by labels and name. A series that comes or goes renews only the blocks near it."""

    def __init__(self, family: Family, rule: Rule) -> None:
        self.blocks: Sequence[Block] = []
        self._family = family
        self._rule = rule
        self._block_of: dict[Series, Block] = {}
        self._shown: Sequence[Block] = []
        self._samples: Sequence[Samples] = []

    def renew(self, touched: Iterable[Series], placements: Iterable[Placement]) -> None:
        """Renew the blocks near `touched`: series that came, went, or are in other files than before.

        Each cell of a file of `placements` gets a reference to its new block.
        """
        stale = {block.series: block for block in self._near(touched)}
        kept = [block for block in self.blocks if block.series not in stale]
        firsts = [_first(block) for block in kept]
        parts = self._parts({*touched, *chain(*stale)}, placements)
        blocks: list[Block] = []
        done = 0
        for number, some in groupby(parts, lambda part: bisect(firsts, part.series.key)):
            blocks += kept[done:number]
            done = number
            for run in _runs(some, self._rule):
                blocks.append(block := _block(self._family, run, self._rule))
                if block.series in stale:
                    block.resume(stale[block.series])
        self.blocks = [*blocks, *kept[done:]]
        self._block_of = {series: block for block in self.blocks for series in block.series}
        self._shown = [block for block in self.blocks if block.values]
        self._samples = [block.samples for block in self._shown]

    def values(self) -> FamilyValues:
        """Return samples and values of all blocks as of their last merge."""
        return FamilyValues(self._family, self._samples, [block.values for block in self._shown])

    def _near(self, touched: Iterable[Series]) -> Iterable[Block]:
        """Return the blocks that hold or surround these series, and their neighbours, so that small blocks can join."""
        at = {block: number for number, block in enumerate(self.blocks)}
        firsts = [_first(block) for block in self.blocks]
        near: set[Block] = set()
        for series in touched:
            block = self._block_of.get(series)
            number = at[block] if block else bisect(firsts, series.key) - 1
            near.update(self.blocks[max(0, number - 1) : number + 2])
        return near

    def _parts(self, some: Iterable[Series], placements: Iterable[Placement]) -> list[_Part]:
        """Return the parts of the series that are still in the family, sorted by labels and name."""
        shares: dict[Series, list[_Share]] = {series: [] for series in some if series in self._family}
        for placement in placements:
            if self._family in placement.families:
                for series, rows in placement.shares(self._family, shares).items():
                    shares[series] += ((placement, _in_order(cells, series)) for cells in rows)
        return [_part(self._rule, series, shares[series]) for series in sorted(shares, key=_key)]


_key = attrgetter("key")


def _first(block: Block) -> SeriesKey:
    return block.series[0].key


def _in_order(cells: Cells, series: Series) -> Sequence[int]:
    return [cells.get(column, _LACKING) for column in series.columns]


def _part(rule: Rule, series: Series, shares: Sequence[_Share]) -> _Part:
    # Sums that are 0, as most dead processes leave them, need not be added where a followed file has a share too.
    adds_nothing = shares and rule.subtract and not any(map(any, series.constants))
    return _Part(series, shares, () if adds_nothing else series.constants)


def _runs(parts: Iterable[_Part], rule: Rule) -> Iterator[Sequence[_Part]]:
    """Yield the runs of neighbouring series that make up one block each."""
    present = (part for part in parts if part.shares or part.constants)
    for _, group in groupby(present, partial(_block_key, rule)):
        run = list(group)
        for start in range(0, len(run), _LONGEST_RUN):
            yield run[start : start + _LONGEST_RUN]


def _block_key(rule: Rule, part: _Part) -> Hashable:
    """Return a key that is equal for neighbours that can be in one block."""
    if part.series.is_histogram:
        return part.series
    # A `mostrecent` gauge that was never set has no sample; once it is set, its block is noticed by its extra value.
    is_set = not rule.stamped or any(rule.finish([cell]) for cell in _cells(part))
    placements = None if _has_one_source(part) else tuple(placement for placement, _ in part.shares)
    return placements, bool(part.constants), is_set


def _cells(part: _Part) -> Iterator[Cell]:
    """Yield the cells and constants of a series that has a single column."""
    for placement, cells in part.shares:
        yield from (source.cells[cells[0]] for source in placement.followed)
    yield from (row[0] for row in part.constants)


def _has_one_source(part: _Part) -> bool:
    return len(part.shares) == 1 and len(part.shares[0][0].followed) == 1


def _block(family: Family, run: Sequence[_Part], rule: Rule) -> Block:
    """Return the block of a run, and give each cell that belongs to the block a reference to it."""
    rows: list[Callable[[], Row]] = []
    owned: list[tuple[FollowedFile, Sequence[int]]] = []
    for of_each in zip(*(part.shares for part in run), strict=True):
        placement = of_each[0][0]
        if all(other is placement for other, _ in of_each):
            cells = [cell for _, some in of_each for cell in some]
            rows += (_from_one(source, cells) for source in placement.followed)
            owned += ((source, cells) for source in placement.followed)
        else:
            pairs = [(other.followed[0], some[0]) for other, some in of_each]
            rows.append(_from_many(pairs))
            owned += ((source, [cell]) for source, cell in pairs)
    block = Block(family, tuple(part.series for part in run), _reader(rows, _constants(run), rule))
    for source, some in owned:
        for cell in some:
            if cell != _LACKING:
                source.blocks[cell] = block
    return block


def _reader(
    rows: Sequence[Callable[[], Row]], constants: Sequence[Row], rule: Rule
) -> Callable[[], Sequence[float]]:
    """Return a function that calls each of `rows`, and merges their results with the `constants`."""
    merge, finish = rule.merge, rule.finish
    if len(rows) != 1 or constants:
        return lambda: finish(merge([*constants, *[row() for row in rows]]))
    (row,) = rows
    return row if finish is as_they_are else lambda: finish(row())


def _from_one(source: FollowedFile, cells: Sequence[int]) -> Callable[[], Row]:
    """Return a function that picks these cells of the file."""
    if _LACKING in cells:
        return lambda: [0.0 if cell == _LACKING else source.cells[cell] for cell in cells]
    first, last = cells[0], cells[-1]
    if cells == list(range(first, last + 1)):  # side by side, as prometheus_client writes a histogram
        some = slice(first, last + 1)
        return lambda: source.cells[some]
    pick = itemgetter(*cells)
    return lambda: pick(source.cells)


def _from_many(pairs: Sequence[tuple[FollowedFile, int]]) -> Callable[[], Row]:
    """Return a function that picks one cell of each file."""
    return lambda: [source.cells[cell] for source, cell in pairs]


def _constants(run: Sequence[_Part]) -> Sequence[Row]:
    """Return rows with the constants of all series of a run, side by side; a series with fewer rows adds zeros."""
    width = max(len(part.constants) for part in run)
    return [
        [
            cell
            for series, _, constants in run
            for cell in (constants[row] if row < len(constants) else (0.0,) * len(series.columns))
        ]
        for row in range(width)
    ]
