"""Snapshots of several sources, as one."""

import gc
import weakref
from collections.abc import Mapping, Sequence

import pytest

from exporter.exposition.combine import Combiner
from exporter.exposition.text import Renderer
from exporter.model import Family, FamilyValues, Format, Snapshot
from tests.support.compare import text_of


def gauge(name: str, worker: str, value: float = 1.0, metric_type: str = "gauge") -> FamilyValues:
    return FamilyValues(Family(name, metric_type, f"Of {worker}."), [[(name, (("w", worker),))]], [[value]])


def changed(one: FamilyValues, value: float) -> FamilyValues:
    return one._replace(values=[[value]])


def shown(snapshot: Snapshot) -> Sequence[str]:
    return text_of(Renderer(Format.TEXT_0_0_4), snapshot).decode().splitlines()


def by_name(snapshot: Snapshot) -> Mapping[str, FamilyValues]:
    return {values.family.name: values for values in snapshot}


def test_each_family_is_there_once_with_the_blocks_of_all() -> None:
    combined = Combiner().combine(
        [[gauge("b", "1"), gauge("c", "1")], [gauge("a", "2"), gauge("b", "2", 5.0)]]
    )
    assert shown(combined) == [
        "# HELP a Of 2.",
        "# TYPE a gauge",
        'a{w="2"} 1.0',
        "# HELP b Of 1.",
        "# TYPE b gauge",
        'b{w="1"} 1.0',
        'b{w="2"} 5.0',
        "# HELP c Of 1.",
        "# TYPE c gauge",
        'c{w="1"} 1.0',
    ]


def test_a_lone_snapshot_stays_itself() -> None:
    alone = [gauge("a", "1")]
    assert Combiner().combine([alone]) is alone
    assert Combiner().combine([]) == ()


def test_what_did_not_change_is_the_same_object() -> None:
    it = Combiner()
    first, second = [gauge("a", "1"), gauge("b", "1")], [gauge("a", "2"), gauge("b", "2")]
    before = it.combine([first, second])
    assert it.combine([first, second]) is before
    after = it.combine([first, [second[0], changed(second[1], 9)]])
    a, b = by_name(before), by_name(after)
    assert b["a"] is a["a"]
    assert b["b"] is not a["b"]
    assert b["b"].samples is a["b"].samples
    assert b["b"].values[0] is a["b"].values[0], "the block of the first source"
    assert b["b"].values[1] == [9]


def test_families_stay_the_same_objects_when_sources_come_and_go() -> None:
    it = Combiner()
    first, second, third = ([gauge("a", name)] for name in "123")
    families = [
        it.combine(some)[0].family for some in ([first, second], [first, second, third], [second, third])
    ]
    assert families[0] is families[1] is families[2]
    assert shown(it.combine([second, third]))[2:] == ['a{w="2"} 1.0', 'a{w="3"} 1.0']


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (("a", "gauge"), ("a", "counter")),
        (("a", "counter"), ("a_total", "gauge")),
        (("a", "histogram"), ("a_bucket", "gauge")),
    ],
    ids=["another type", "a counter's name", "a histogram's name"],
)
def test_a_name_is_the_first_sources_and_the_laters_family_is_left_out(
    earlier: tuple[str, str], later: tuple[str, str]
) -> None:
    it = Combiner()
    first, second = ([gauge(name, "w", metric_type=kind)] for name, kind in (earlier, later))
    other = gauge("other", "w")
    combined = it.combine([first, [*second, other], second])
    assert [one.family.type for one in combined] == [earlier[1], "gauge"]
    assert combined[1] is not other
    assert it.left_out == 2
    assert [one.family.type for one in it.combine([second, second])] == [later[1]], "the first is gone"
    assert it.left_out == 0


def test_what_is_gone_is_not_kept() -> None:
    it = Combiner()
    gone = gauge("a", "1")
    family = weakref.ref(gone.family)
    it.combine([[gone], [gauge("b", "2")]])
    del gone
    it.combine([[gauge("b", "1")], [gauge("b", "2")]])
    gc.collect()
    assert family() is None
