"""One family laid out in blocks: what changed is merged anew, block by block.

A block is what is read at once: a histogram, or a run of other series. Each cell of each file knows its block, so the
changes of a file tell which blocks to read. A block whose values stay is the same object, which tells the renderer to
leave its text alone.
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
"""Series in a block: few enough to leave most lines alone when little changed."""

_LACKING = -1
"""In place of the cell of a column that a file lacks: it is 0."""

_Share: TypeAlias = tuple[Placement, Sequence[int]]
"""Where files hold a series: their placement, and the cell of each column."""


class _Part(NamedTuple):
    """A series, and what it is made of."""

    series: Series
    shares: Sequence[_Share]
    constants: Sequence[Row]


class Samples:
    """Name and labels of each sample of a block; another object when a sample came or went."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = series

    def __iter__(self) -> Iterator[tuple[str, Labels]]:
        """Make them: nobody asks often."""
        return chain.from_iterable(series.samples for series in self.series)


class Block:
    """Some neighbouring series of a family, which have the same number of rows."""

    __slots__ = ("family", "read", "samples", "series", "values")

    def __init__(self, family: Family, series: Sequence[Series], read: Callable[[], Sequence[float]]) -> None:
        self.family = family
        self.series = series
        self.samples = Samples(series)
        self.read = read
        """Merges what the files say now, and returns the values of the samples."""
        self.values = read()
        """The values as of the last merge."""

    def resume(self, before: "Block") -> None:
        """Go on with the objects of a block of the same series, where they are equal: they are not rendered again."""
        if len(self.values) == len(before.values):
            self.samples = before.samples
            if self.values == before.values:
                self.values = before.values


class Layout:
    """A family in blocks, by labels and name. Only blocks near a series that has changed are ever made anew."""

    def __init__(self, family: Family, rule: Rule) -> None:
        self.blocks: Sequence[Block] = []
        self._family = family
        self._rule = rule
        self._block_of: dict[Series, Block] = {}
        self._shown: Sequence[Block] = []
        self._samples: Sequence[Samples] = []

    def renew(self, touched: Iterable[Series], placements: Iterable[Placement]) -> None:
        """Lay out anew series that came or went, or are in other files, and tell cells of the files their blocks."""
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
        """Return what the blocks have now."""
        return FamilyValues(self._family, self._samples, [block.values for block in self._shown])

    def _near(self, touched: Iterable[Series]) -> Iterable[Block]:
        """Return the blocks that series are in, or between, and their neighbours: so small ones do not become many."""
        at = {block: number for number, block in enumerate(self.blocks)}
        firsts = [_first(block) for block in self.blocks]
        near: set[Block] = set()
        for series in touched:
            block = self._block_of.get(series)
            number = at[block] if block else bisect(firsts, series.key) - 1
            near.update(self.blocks[max(0, number - 1) : number + 2])
        return near

    def _parts(self, some: Iterable[Series], placements: Iterable[Placement]) -> list[_Part]:
        """Return those of some series that are left, by labels and name, and what they are made of."""
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
    # Most dead processes leave sums behind that are 0: nothing needs to be added for them where a file says more.
    is_nothing = shares and rule.subtract and not any(map(any, series.constants))
    return _Part(series, shares, () if is_nothing else series.constants)


def _runs(parts: Iterable[_Part], rule: Rule) -> Iterator[Sequence[_Part]]:
    """Yield the series in runs that can be read as one."""
    present = (part for part in parts if part.shares or part.constants)
    for _, group in groupby(present, partial(_likeness, rule)):
        run = list(group)
        for start in range(0, len(run), _LONGEST_RUN):
            yield run[start : start + _LONGEST_RUN]


def _likeness(rule: Rule, part: _Part) -> Hashable:
    """Return what neighbours need to have in common to be in one block."""
    if part.series.is_histogram:
        return part.series
    # One that was never set has no sample; when it is set for the first time, its block says so by having more values.
    is_set = not rule.stamped or any(rule.finish([cell]) for cell in _cells(part))
    placements = None if _has_one_source(part) else tuple(placement for placement, _ in part.shares)
    return placements, bool(part.constants), is_set


def _cells(part: _Part) -> Iterator[Cell]:
    """Yield what is said of a series that is a single number."""
    for placement, cells in part.shares:
        yield from (source.cells[cells[0]] for source in placement.followed)
    yield from (row[0] for row in part.constants)


def _has_one_source(part: _Part) -> bool:
    return len(part.shares) == 1 and len(part.shares[0][0].followed) == 1


def _block(family: Family, run: Sequence[_Part], rule: Rule) -> Block:
    """Return a block of a run, and tell the cells that it is theirs."""
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
    """Return what merges `constants` and what `rows` return whenever it is called."""
    merge, finish = rule.merge, rule.finish
    if len(rows) != 1 or constants:
        return lambda: finish(merge([*constants, *[row() for row in rows]]))
    (row,) = rows
    return row if finish is as_they_are else lambda: finish(row())


def _from_one(source: FollowedFile, cells: Sequence[int]) -> Callable[[], Row]:
    """Return what picks cells of a file."""
    if _LACKING in cells:
        return lambda: [0.0 if cell == _LACKING else source.cells[cell] for cell in cells]
    first, last = cells[0], cells[-1]
    if cells == list(range(first, last + 1)):  # as prometheus_client writes a histogram
        some = slice(first, last + 1)
        return lambda: source.cells[some]
    pick = itemgetter(*cells)
    return lambda: pick(source.cells)


def _from_many(pairs: Sequence[tuple[FollowedFile, int]]) -> Callable[[], Row]:
    """Return what picks one cell each of several files."""
    return lambda: [source.cells[cell] for source, cell in pairs]


def _constants(run: Sequence[_Part]) -> Sequence[Row]:
    """Return the constants of some series side by side; one that has fewer rows adds 0."""
    width = max(len(part.constants) for part in run)
    return [
        [
            cell
            for series, _, constants in run
            for cell in (constants[row] if row < len(constants) else (0.0,) * len(series.columns))
        ]
        for row in range(width)
    ]
