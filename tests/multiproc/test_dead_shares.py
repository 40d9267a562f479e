import math
from collections import Counter

import pytest

from exporter.multiproc.dbfile import Contents
from exporter.multiproc.dead_shares import Dead
from exporter.multiproc.families import Families
from exporter.multiproc.merge import RULES, Row
from exporter.multiproc.metric_names import MetricNames
from exporter.multiproc.placement import Placement
from exporter.multiproc.series import Series
from tests.support.files import bucket, contents, counter, gauge, total

INF = math.inf


class Cemetery:
    """The dead of one kind, whose files hold the same keys."""

    def __init__(self, kind: str, *keys: str) -> None:
        self.rule = RULES[kind]
        self.families = Families(kind, MetricNames(), Counter(), labels=(), per_process=False)
        self.dead = Dead(self.rule, self.families)
        self.file = contents(*keys)

    def bury(self, name: str, *cells: object, file: Contents | None = None) -> Placement:
        file = file or self.file
        placement = self.families.placement_of(file.shape, file.keys(), "7")
        self.dead.bury(name, placement, cells)
        return placement

    def constants(self) -> dict[str, Row]:
        """Return what the constants of each series merge to."""
        self.dead.apply()
        return {
            series.name: self.rule.merge(series.constants) if series.constants else ()
            for family in self.families._families.values()
            for series in family
        }


def test_sums_of_many_files_are_exact_and_their_constants_few() -> None:
    it = Cemetery("counter", counter("a"), counter("b"))
    for number in range(1000):
        placement = it.bury(str(number), 0.1, 1.0)
    assert it.constants() == {"a_total": [100.0], "b_total": [1000.0]}
    assert all(len(series.constants) < 5 for series in placement.series if series)


def test_what_is_taken_back_is_as_if_it_had_never_been_there() -> None:
    it = Cemetery("histogram", total("h"), bucket("h", "1.0"), bucket("h", "+Inf"))
    for number in range(200):
        it.bury(str(number), 0.1 * number, 1.0, float(number))
    before = it.constants()
    placement = it.bury("odd", 1e300, 7.0, 1e-300)
    assert it.constants() != before
    it.dead.resume("odd", placement, [1e300, 7.0, 2.0])
    assert it.constants() == before
    assert "odd" not in it.dead


@pytest.mark.parametrize(
    ("kind", "numbers", "after"),
    [
        ("gauge_max", [1.0, 3.0, 2.0], [3.0, 2.0, 3.0]),
        ("gauge_min", [1.0, 3.0, -2.0], [-2.0, -2.0, 1.0]),
        ("gauge_max", [INF, math.nan, 2.0], None),
        ("gauge_sum", [1.0, INF, 2.0], [INF, 3.0, INF]),
    ],
)
def test_the_constants_of_gauges_are_found_again(
    kind: str, numbers: list[float], after: list[float] | None
) -> None:
    for gone in range(3):
        it = Cemetery(kind, gauge("g"))
        for at, number in enumerate(numbers):
            it.bury(str(at), number)
        it.constants()
        it.dead.drop(str(gone))
        left = [[number] for at, number in enumerate(numbers) if at != gone]
        expected = [after[gone]] if after else it.rule.merge(left)
        assert it.constants()["g"] == pytest.approx(expected, nan_ok=True)


def test_the_latest_of_the_others_counts_when_the_latest_goes() -> None:
    it = Cemetery("gauge_mostrecent", gauge("g"), gauge("never_set"))
    for at, stamp in enumerate((5.0, 9.0, 7.0)):
        it.bury(str(at), (float(at), stamp), (0.0, 0.0))
    assert it.constants()["g"] == [(1.0, 9.0)]
    it.dead.drop("1")
    assert it.constants() == {"g": [(2.0, 7.0)], "never_set": [(0.0, 0.0)]}


def test_constants_are_found_again_once_however_many_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Cemetery("gauge_max", gauge("g"))
    for number in range(100):
        it.bury(str(number), float(number))
    assert it.constants() == {"g": [99.0]}
    unpacked = []
    unpack = Dead._unpack

    def counted(dead: Dead, numbers: object) -> Row:
        unpacked.append(numbers)
        return unpack(dead, numbers)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(Dead, "_unpack", counted)
    for number in range(50, 100):
        it.dead.drop(str(number))
    assert it.constants() == {"g": [49.0]}
    assert len(unpacked) <= 50 + 50, "the files that went, and once those that are left"


def test_a_gauge_goes_with_the_last_file_that_has_it() -> None:
    it = Cemetery("gauge_max", gauge("g"))
    it.bury("1", 5.0, 6.0, file=contents(gauge("g"), gauge("h")))
    it.bury("2", 7.0)
    it.dead.drop("2")
    assert it.constants()["g"] == [5.0]
    it.dead.drop("1")
    assert it.constants() == {}


def test_sums_stay_though_the_file_is_gone() -> None:
    it = Cemetery("counter", counter("a"))
    it.bury("1", 5.0)
    placement = it.bury("2", 7.0)
    it.dead.drop("1")
    it.dead.resume("2", placement, [7.0])
    assert it.constants() == {"a_total": [5.0]}
    it.dead.keep_row(it.bury("3", 1.0), [2.0])
    assert it.constants() == {"a_total": [8.0]}


@pytest.mark.parametrize(
    ("keys", "cells", "after"),
    [
        ("ab", (5.0, 1.0), {"a_total": 5.0, "b_total": 1.0}),
        ("ab", (5.0, 2.0), {"a_total": 5.0, "b_total": 2.0}),
        ("abc", (5.0, 1.0, 9.0), {"a_total": 5.0, "b_total": 1.0, "c_total": 9.0}),
        ("ab", (4.0, 2.0), {"a_total": 9.0, "b_total": 3.0}),  # a sum fell
        ("ba", (1.0, 5.0), {"a_total": 10.0, "b_total": 2.0}),  # the file is another one
    ],
)
def test_a_file_that_is_read_again_goes_on_or_is_another(
    keys: str, cells: tuple[float, ...], after: dict[str, float]
) -> None:
    it = Cemetery("counter", counter("a"), counter("b"))
    it.bury("1", 5.0, 1.0)
    for _ in range(2):
        it.bury("1", *cells, file=contents(*map(counter, keys)))
        assert it.constants() == {name: [value] for name, value in after.items()}


def test_a_file_that_says_the_same_again_costs_nothing() -> None:
    it = Cemetery("gauge_mostrecent", gauge("a"))
    it.bury("1", (5.0, 1.0))
    it.constants()
    it.families.dirty.clear()
    it.bury("1", (5.0, 1.0))
    it.constants()
    assert not it.families.dirty


def test_columns_that_a_file_lacks_are_0() -> None:
    it = Cemetery("histogram", total("h"), bucket("h", "1.0"))
    it.bury("1", 5.0, 1.0)
    it.bury("2", 1.0, 2.0, file=contents(bucket("h", "0.5"), bucket("h", "+Inf")))
    assert it.constants() == {"h": [5.0, 1.0, 1.0, 2.0]}


def test_a_series_that_is_there_twice_counts_twice() -> None:
    it = Cemetery("counter", counter("a"), counter("a").replace("Some", "Other"))
    (series, _) = it.bury("1", 5.0, 1.0).series
    assert it.constants() == {"a_total": [6.0]}
    assert isinstance(series, Series)
    it.bury("1", 6.0, 2.0)
    assert it.constants() == {"a_total": [8.0]}
