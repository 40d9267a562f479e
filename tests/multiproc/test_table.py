import math
from dataclasses import dataclass
from itertools import chain

import pytest

from exporter.multiproc.families import Families
from exporter.multiproc.series import STAMP
from exporter.multiproc.table import Snapshot, Table
from tests.support.files import bucket, counter, gauge, total

MAX = 1.7e308


@dataclass(eq=False)
class File:
    """A file's numbers, and the kind of its metrics."""

    kind: str
    pid: str
    keys: list[str]
    values: tuple[float, ...]
    changes: tuple[slice, ...] = (slice(None),)


def laid_out(*files: File, dead: tuple[File, ...] = ()) -> Table:
    """Return the table of families of files, of which those that are dead have been settled."""
    families = Families((), (), per_process=False)
    for file in (*dead, *files):
        stamped = "recent" in file.kind
        for index, key in enumerate(file.keys):
            series, column = families.place(file.kind, file.pid, key.encode())
            series.add(file, index * (1 + stamped), column)
            if stamped:
                series.add(file, index * 2 + 1, STAMP)
            series.arrange()
    for family in families:
        for series in family:
            for file in dead:
                if file in dict(series.places):
                    series.settle(file)
    return Table(families, files)


def values(snapshot: Snapshot) -> list[float]:
    return list(chain.from_iterable(snapshot.blocks))


def said(table: Table) -> dict[str, float]:
    """Return the values by sample name and the last label's value."""
    samples = [sample for family in table.snapshot.families for sample in family.samples]
    return {
        name + (f" {labels[-1][1]}" if labels else ""): value
        for (name, labels), value in zip(samples, values(table.snapshot), strict=True)
    }


def test_nothing() -> None:
    table = laid_out()
    assert not list(table.snapshot.families)
    assert values(table.snapshot) == []
    assert table.update(set())


def test_values_are_in_the_order_of_the_families() -> None:
    one = File("counter", "1", [counter("b"), counter("a", x="2"), counter("a", x="1")], (1.0, 2.0, 3.0))
    two = File("gauge_max", "1", [gauge("aa")], (4.0,))
    table = laid_out(one, two)
    assert [family.name for family in table.snapshot.families] == ["a", "aa", "b"]
    assert values(table.snapshot) == [3.0, 2.0, 4.0, 1.0]


def test_an_update_takes_in_what_changed() -> None:
    one = File("counter", "1", [counter("a"), counter("b")], (1.0, 2.0))
    two = File("counter", "2", [counter("a")], (10.0,))
    table = laid_out(one, two)
    before = table.snapshot
    assert said(table) == {"a_total": 11.0, "b_total": 2.0}
    one.values = (3.0, 4.0)
    assert table.update({one})
    assert said(table) == {"a_total": 13.0, "b_total": 4.0}
    assert values(before) == [11.0, 2.0]
    assert table.snapshot.families is before.families


def test_an_update_that_changes_nothing_gives_the_same_snapshot() -> None:
    one = File("counter", "1", [counter("a"), counter("b")], (1.0, 2.0))
    table = laid_out(one)
    before = table.snapshot
    one.values = (1.0, 2.0)
    assert table.update({one})
    assert table.snapshot is before


def test_blocks_without_a_change_stay_the_same_objects() -> None:
    simple = [counter("c", i=f"{i:03}") for i in range(200)]
    keys = [total("h"), bucket("h", "1.0"), bucket("h", "2.0"), bucket("h", "+Inf")]
    one = File("counter", "1", simple, (0.0,) * 200)
    two = File("histogram", "1", keys, (0.0, 1.0, 1.0, 1.0))
    shared = [File("counter", pid, [counter("x")], (1.0,)) for pid in "12"]
    table = laid_out(one, two, *shared)

    def change(file: File, numbers: tuple[float, ...]) -> list[tuple[float, ...]]:
        """Return the blocks that are other ones after a change."""
        before = table.snapshot.blocks
        file.values = numbers
        assert table.update({file})
        return [new for new, old in zip(table.snapshot.blocks, before, strict=True) if new is not old]

    for index in (0, 63, 64, 128, 199):
        (block,) = change(one, tuple(float(i == index) for i in range(200)))[-1:]
        assert sum(block) == 1.0
        assert len(block) < len(simple)
    assert change(two, (0.0, 1.0, 2.0, 1.0)) == [(1.0, 3.0, 4.0, 0.0, 4.0)]
    assert change(shared[1], (2.0,)) == [(3.0,)]
    assert change(shared[0], (1.0,)) == []


def test_only_what_a_file_says_to_have_changed_is_looked_at() -> None:
    one = File("counter", "1", [counter("c", i=f"{i:03}") for i in range(200)], (0.0,) * 200)
    table = laid_out(one)
    one.values = (1.0,) * 200
    one.changes = (slice(190, 200),)
    assert table.update({one})
    assert values(table.snapshot)[0] == 0.0
    assert values(table.snapshot)[199] == 1.0


def test_histograms_are_cumulated() -> None:
    keys = [total("h"), bucket("h", "1.0"), bucket("h", "+Inf")]
    one = File("histogram", "1", keys, (5.0, 1.0, 2.0))
    table = laid_out(one)
    assert said(table) == {"h_bucket 1.0": 1.0, "h_bucket +Inf": 3.0, "h_sum": 5.0, "h_count": 3.0}
    one.values = (6.0, 1.0, 4.0)
    assert table.update({one})
    assert said(table) == {"h_bucket 1.0": 1.0, "h_bucket +Inf": 5.0, "h_sum": 6.0, "h_count": 5.0}


def test_a_histogram_with_a_dead_share() -> None:
    keys = [total("h"), bucket("h", "1.0"), bucket("h", "+Inf")]
    live, dead = (File("histogram", pid, keys, (5.0, 1.0, 2.0)) for pid in "12")
    table = laid_out(live, dead=(dead,))
    assert said(table) == {"h_bucket 1.0": 2.0, "h_bucket +Inf": 6.0, "h_sum": 10.0, "h_count": 6.0}
    live.values = (6.0, 2.0, 2.0)
    assert table.update({live})
    assert said(table) == {"h_bucket 1.0": 3.0, "h_bucket +Inf": 7.0, "h_sum": 11.0, "h_count": 7.0}


@pytest.mark.parametrize(
    ("kind", "value"), [("gauge_max", 5.0), ("gauge_min", 3.0), ("gauge_sum", 8.0), ("counter", 8.0)]
)
def test_a_dead_share_counts_by_the_rule(kind: str, value: float) -> None:
    key = counter("a") if kind == "counter" else gauge("a")
    table = laid_out(File(kind, "1", [key], (3.0,)), dead=(File(kind, "2", [key], (5.0,)),))
    assert values(table.snapshot) == [value]


def test_only_the_dead_are_left() -> None:
    table = laid_out(
        dead=(File("counter", "1", [counter("a")], (3.0,)), File("counter", "2", [counter("a")], (4.0,)))
    )
    assert said(table) == {"a_total": 7.0}


def test_the_setting_of_a_gauge_needs_another_table() -> None:
    one = File("gauge_mostrecent", "1", [gauge("a"), gauge("b")], (1.0, 10.0, 2.0, 0.0))
    table = laid_out(one)
    assert said(table) == {"a": 1.0}
    assert [family.name for family in table.snapshot.families] == ["a", "b"]
    one.values = (5.0, 11.0, 2.0, 0.0)
    assert table.update({one})
    assert said(table) == {"a": 5.0}
    one.values = (5.0, 11.0, 2.0, 12.0)
    assert not table.update({one})
    assert said(laid_out(one)) == {"a": 5.0, "b": 2.0}


def test_one_gauge_set_and_another_unset_at_once_need_another_table() -> None:
    one = File("gauge_mostrecent", "1", [gauge("a"), gauge("b")], (1.0, 10.0, 2.0, 0.0))
    table = laid_out(one)
    one.values = (1.0, 0.0, 2.0, 10.0)
    assert not table.update({one})
    assert said(laid_out(one)) == {"b": 2.0}


def test_gauges_of_which_none_was_ever_set() -> None:
    one = File("gauge_mostrecent", "1", [gauge("a"), gauge("b")], (1.0, 0.0, 2.0, 0.0))
    two = File("counter", "1", [counter("c")], (1.0,))
    assert said(laid_out(one)) == {}
    assert said(laid_out(one, two)) == {"c_total": 1.0}


def test_a_shared_gauge_that_is_set_for_the_first_time_needs_another_table() -> None:
    one, two = (File("gauge_mostrecent", pid, [gauge("a")], (1.0, 0.0)) for pid in "12")
    table = laid_out(one, two)
    assert said(table) == {}
    two.values = (7.0, 1.0)
    assert not table.update({two})
    assert said(laid_out(one, two)) == {"a": 7.0}


def test_more_numbers_need_another_table() -> None:
    one = File("counter", "1", [counter("a")], (1.0,))
    table = laid_out(one)
    one.values = (1.0, 2.0)
    assert not table.update({one})


def test_a_live_share_and_constants_add_up_exactly() -> None:
    dead = tuple(File("counter", pid, [counter("a")], (0.1,)) for pid in "123456789")
    assert values(laid_out(File("counter", "10", [counter("a")], (0.1,)), dead=dead).snapshot) == [1.0]


@pytest.mark.parametrize(
    ("live", "dead", "value"),
    [
        (math.inf, (1.0, 1e-20), math.inf),
        (math.nan, (1.0, 1e-20), math.nan),
        (1.0, (math.inf, 1.0), math.inf),
        (-math.inf, (math.inf, 1.0), math.nan),
        (1.0, (MAX, MAX), math.inf),
        (MAX, (MAX, 1.0), math.inf),
    ],
)
@pytest.mark.parametrize("kind", ["counter", "histogram"])
def test_sums_without_a_finite_value(kind: str, live: float, dead: tuple[float, ...], value: float) -> None:
    key = counter("a") if kind == "counter" else total("a")
    gone = tuple(File(kind, str(pid), [key], (number,)) for pid, number in enumerate(dead, 2))
    table = laid_out(File(kind, "1", [key], (live,)), dead=gone)
    index = 0 if kind == "counter" else 1
    assert values(table.snapshot)[index] == pytest.approx(value, nan_ok=True)
