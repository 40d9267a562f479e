import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.multiproc.blocks import Block, Layout
from exporter.multiproc.keys import SUM
from exporter.multiproc.merge import RULES, Row
from exporter.multiproc.placement import Placement
from exporter.multiproc.series import Family, Series

INF = math.inf


class File:
    """A file that is read again and again."""

    def __init__(self, *cells: object) -> None:
        self.cells: Row = list(cells)
        self.blocks: list[Block | None] = [None] * len(cells)


class Laid:
    """A family of one kind, and the files that hold it."""

    def __init__(self, kind: str = "counter") -> None:
        self.rule = RULES[kind]
        self.family = Family("f", "Help.", kind, self.rule.type)
        self.placements: list[Placement] = []

    def series(self, name: str, *columns: float) -> Series:
        series = self.family.find(name, ())
        series.add_columns(*(columns or (0.0,)))
        return series

    def hold(self, cells: Sequence[tuple[Series, float]], *files: File) -> None:
        """Let files hold those cells, in that order."""
        placement = Placement()
        for series, column in cells:
            placement.add(self.family, series, column)
        placement.followed += files
        self.placements.append(placement)

    def layout(self) -> Layout:
        layout = Layout(self.family, self.rule)
        layout.renew(set(self.family), self.placements)
        return layout

    def values(self) -> list[float]:
        return [value for block in self.layout().values().values for value in block]

    def lengths(self) -> list[int]:
        return [len(block.values) for block in self.layout().blocks]


def names(layout: Layout) -> list[str]:
    return [name for samples in layout.values().samples for name, _ in samples]


def numbered(laid: Laid, count: int) -> list[tuple[Series, float]]:
    return [(laid.series(f"f{number:03}"), 0.0) for number in range(count)]


def test_neighbours_with_one_file_each_are_read_as_one_whichever_files_these_are() -> None:
    it = Laid()
    cells = numbered(it, 6)
    files = [File(*map(float, range(number, 6, 2))) for number in range(2)]
    for number, file in enumerate(files):
        it.hold(cells[number::2], file)
    assert it.values() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    layout = it.layout()
    (block,) = layout.blocks
    assert {one for file in files for one in file.blocks} == {block}
    files[1].cells = [-1.0, -3.0, -5.0]
    assert block.read() == [0.0, -1.0, 2.0, -3.0, 4.0, -5.0]


def test_neighbours_that_the_same_files_share_are_read_as_one_in_whatever_order_they_are_there() -> None:
    it = Laid()
    cells = numbered(it, 40)
    for order in (cells, cells[::-1], cells[20:] + cells[:20]):
        it.hold(order, File(*(float(name.name[1:]) for name, _ in order)))
    assert it.values() == [3.0 * number for number in range(40)]
    assert it.lengths() == [32, 8]


def test_files_with_the_same_keys_are_added_up() -> None:
    it = Laid()
    it.hold(numbered(it, 3), *(File(1.0, 10.0, float(number)) for number in range(64)))
    assert it.values() == [64.0, 640.0, sum(range(64))]


def test_a_series_that_more_files_share_than_its_neighbours_is_a_block_of_its_own() -> None:
    it = Laid()
    a, b, c = numbered(it, 3)
    it.hold([a, b, c], File(1.0, 2.0, 3.0))
    it.hold([b], File(5.0))
    assert it.values() == [1.0, 7.0, 3.0]
    assert it.lengths() == [1, 1, 1]


def test_histograms_whose_files_differ_in_columns_and_order() -> None:
    it = Laid("histogram")
    series = it.series("h", SUM, 1.0, 2.0, INF)
    it.hold([(series, SUM), (series, 1.0), (series, INF)], File(10.0, 1.0, 2.0))
    it.hold([(series, INF), (series, 2.0), (series, SUM)], File(1.0, 5.0, 20.0))
    assert it.values() == [1.0, 6.0, 9.0, 30.0, 9.0]


def test_constants_are_added() -> None:
    it = Laid()
    cells = numbered(it, 3)
    it.hold(cells[:2], File(1.0, 2.0))
    for series, _ in cells[1:]:
        series.constants = [[1e16], [1.0]]
    assert it.values() == [1.0, 1e16 + 4, 1e16]
    assert it.lengths() == [1, 1, 1]


def test_constants_that_are_0_keep_no_series_apart() -> None:
    it = Laid()
    cells = numbered(it, 3)
    it.hold(cells, File(1.0, 2.0, 3.0))
    cells[1][0].constants = [[0.0]]
    assert it.lengths() == [3]
    it = Laid("gauge_max")
    cells = numbered(it, 1)
    it.hold(cells, File(-1.0))
    cells[0][0].constants = [[0.0]]
    assert it.values() == [0.0]


def test_a_series_of_which_nothing_is_left_but_a_0_is_still_there() -> None:
    it = Laid()
    it.series("f").constants = [[0.0]]
    assert it.values() == [0.0]


def test_a_series_without_files_and_constants_has_no_sample() -> None:
    it = Laid()
    it.series("f")
    assert it.values() == []
    assert names(it.layout()) == []


def test_gauges_that_were_never_set_have_no_sample_and_say_so_when_they_are_set() -> None:
    it = Laid("gauge_mostrecent")
    cells = numbered(it, 4)
    file = File((1.0, 5.0), (2.0, 0.0), (3.0, 0.0), (4.0, 5.0))
    it.hold(cells, file)
    layout = it.layout()
    assert [list(block.values) for block in layout.blocks] == [[1.0], [], [4.0]]
    assert names(layout) == ["f000", "f003"]
    file.cells[2] = (3.0, 9.0)  # type: ignore[index] # it is a list
    block = file.blocks[2]
    assert block
    assert len(block.read()) > len(block.values)
    assert it.values() == [1.0, 3.0, 4.0]


@pytest.mark.parametrize("constants", [[], [[(7.0, 6.0)]]])
def test_the_latest_of_several_files_and_constants(constants: list[Row]) -> None:
    it = Laid("gauge_mostrecent")
    (cell,) = numbered(it, 1)
    it.hold([cell], File((1.0, 5.0)), File((2.0, 1.0)))
    cell[0].constants = constants
    assert it.values() == [7.0 if constants else 1.0]


def test_what_is_laid_out_anew_goes_on_with_what_is_as_it_was() -> None:
    it = Laid()
    cells = numbered(it, 70)
    file = File(*map(float, range(70)))
    it.hold(cells, file)
    layout = it.layout()
    old = layout.values()
    file.cells[33] = -1.0  # type: ignore[index] # it is a list
    layout.renew(set(it.family), it.placements)
    new = layout.values()
    assert [one is other for one, other in zip(new.samples, old.samples, strict=True)] == [True, True, True]
    assert [one is other for one, other in zip(new.values, old.values, strict=True)] == [True, False, True]
    assert (new.values[1][1], old.values[1][1]) == (-1.0, 33.0)


def test_other_samples_are_another_object_though_they_are_as_many() -> None:
    it = Laid("histogram")
    series = it.series("h", SUM, 1.0, INF)
    it.hold([(series, SUM), (series, 1.0), (series, INF)], File(1.0, 1.0, 1.0))
    layout = it.layout()
    before = layout.values().samples
    it.family.remove(series)
    other = it.series("h", SUM, 2.0, INF)
    it.placements.clear()
    it.hold([(other, SUM), (other, 2.0), (other, INF)], File(1.0, 1.0, 1.0))
    layout.renew({series, other}, it.placements)
    assert layout.values().samples[0] is not before[0]
    series = other
    series.add_columns(3.0)
    layout.renew({series}, it.placements)
    assert len(list(layout.values().samples[0])) == len(layout.values().values[0]) == 5


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_layout_that_grew_and_shrank_is_like_a_new_one(data: st.DataObject) -> None:
    """It has the same samples and values, and not many more blocks; blocks far from what changed stay."""
    it = Laid()
    file = File()
    it.hold([], file)
    (placement,) = it.placements
    layout = it.layout()
    for _ in range(data.draw(st.integers(1, 6))):
        blocks = layout.blocks
        touched = set()
        for number in data.draw(st.lists(st.integers(0, 999), max_size=60, unique=True), "new"):
            if (name := f"f{number:03}") not in names(layout):
                touched.add(series := it.series(name))
                placement.add(it.family, series, 0.0)
                file.cells.append(float(number))  # type: ignore[attr-defined] # it is a list
                file.blocks.append(None)
        present = sorted(set(it.family) - touched, key=lambda one: one.name)
        gone = data.draw(st.lists(st.sampled_from(present), max_size=40, unique=True)) if present else []
        for series in gone:
            it.family.remove(series)
            for cell in [cell for cell, one in enumerate(placement.series) if one is series]:
                placement.series[cell] = None
                placement.families[it.family].remove(cell)
        touched |= set(gone)
        layout.renew(touched, it.placements)
        assert names(layout) == sorted(one.name for one in it.family)
        assert [value for block in layout.values().values for value in block] == it.values()
        assert len(set(blocks) & set(layout.blocks)) >= len(blocks) - 3 * len(touched)
        assert len(layout.blocks) <= len(names(layout)) // 8 + 3
