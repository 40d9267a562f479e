import math
from dataclasses import dataclass

import pytest

from exporter.multiproc.merge import RULES
from exporter.multiproc.series import STAMP, SUM, Family, Series

INF = math.inf


@dataclass(eq=False)
class Numbers:
    """A file's numbers."""

    values: tuple[float, ...]
    changes: tuple[slice, ...] = ()


def series(kind: str, *shares: dict[float, float]) -> Series:
    """Return a series of some sources, each of which has those numbers by column."""
    made = Series("x", (("l", "v"),), RULES[kind])
    for share in shares:
        source = Numbers(tuple(share.values()))
        for index, column in enumerate(share):
            made.add(source, index, column)
    made.arrange()
    return made


def sources(made: Series) -> list[Numbers]:
    return list(dict.fromkeys(source for source, _ in made.places if isinstance(source, Numbers)))


def samples(made: Series) -> dict[str, float]:
    texts = [f"{name}{dict(labels)}" for name, labels in made.samples]
    return dict(zip(texts, made.values(), strict=True))


def test_one_number() -> None:
    made = Series("c_total", (("l", "v"),), RULES["counter"])
    source = Numbers((7.0, 3.0))
    made.add(source, 1, 0.0)
    made.arrange()
    assert list(made.samples) == [("c_total", (("l", "v"),))]
    assert made.values() == (3.0,)
    assert list(made.places) == [(source, 1)]
    source.values = (8.0, 4.0, 5.0)
    assert made.values() == (4.0,)


def test_a_gauge_that_was_never_set_has_no_value() -> None:
    assert series("gauge_mostrecent", {0.0: 5.0, STAMP: 0.0}).values() == ()
    assert series("gauge_mostrecent", {0.0: 5.0, STAMP: 0.0}, {0.0: 6.0, STAMP: 0.5}).values() == (6.0,)


def test_histogram_of_two_processes_with_different_buckets() -> None:
    made = series("histogram", {SUM: 10.0, 1.0: 1.0, INF: 2.0}, {INF: 5.0, 0.5: 4.0, SUM: 20.0})
    assert samples(made) == {
        "x_bucket{'l': 'v', 'le': '0.5'}": 4.0,
        "x_bucket{'l': 'v', 'le': '1.0'}": 5.0,
        "x_bucket{'l': 'v', 'le': '+Inf'}": 12.0,
        "x_sum{'l': 'v'}": 30.0,
        "x_count{'l': 'v'}": 12.0,
    }
    assert made.columns == (SUM, 0.5, 1.0, INF)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ({SUM: 1.0}, (0.0, 1.0, 0.0)),
        ({SUM: 1.0, 1.0: 2.0}, (2.0, 2.0, 1.0, 2.0)),
        ({INF: 1.0}, (1.0, 0.0, 1.0)),
        ({1.0: 1.0, INF: 2.0}, (1.0, 3.0, 0.0, 3.0)),
    ],
)
def test_a_half_written_histogram_is_completed(
    share: dict[float, float], expected: tuple[float, ...]
) -> None:
    made = series("histogram", share)
    assert made.values() == expected
    assert made.samples[-3][1] == (("l", "v"), ("le", "+Inf"))


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (1.0, "1.0"),
        (1e6, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (0.00025, "0.00025"),
        (100.0, "100.0"),
        (-1.0, "-1.0"),
    ],
)
def test_bounds_are_written_as_go_does(bound: float, text: str) -> None:
    assert series("histogram", {bound: 1.0}).samples[0] == ("x_bucket", (("l", "v"), ("le", text)))


def test_settled_shares_stay_and_take_new_buckets() -> None:
    made = series("histogram", {SUM: 10.0, 1.0: 1.0, INF: 2.0})
    (dead,) = sources(made)
    made.settle(dead)
    dead.values = (99.0, 99.0, 99.0)
    assert not sources(made)
    assert made.values() == (1.0, 3.0, 10.0, 3.0)
    live = Numbers((1.0, 5.0))
    made.add(live, 0, SUM)
    made.add(live, 1, 0.1)
    made.arrange()
    assert made.values() == (5.0, 6.0, 8.0, 11.0, 8.0)


@pytest.mark.parametrize(
    ("kind", "shares", "value"),
    [
        ("gauge_max", [1.0, 3.0, 2.0], 3.0),
        ("gauge_min", [1.0, -3.0, 2.0], -3.0),
        ("gauge_all", [1.0], 1.0),
        ("counter", [1.0, 3.0, 2.0], 6.0),
    ],
)
def test_settling_changes_no_value(kind: str, shares: list[float], value: float) -> None:
    made = series(kind, *({0.0: share} for share in shares))
    for source in sources(made):
        assert made.values() == (value,)
        made.settle(source)
        assert len(made.base) == 1
    assert made.values() == (value,)


def test_settling_many_keeps_the_sum_exact_and_the_base_small() -> None:
    made = series("counter", *[{0.0: 0.1}] * 1000)
    assert made.values() == (100.0,)
    for source in sources(made):
        made.settle(source)
    assert made.values() == (100.0,)
    assert len(made.base) < 5


@pytest.mark.parametrize(
    ("now", "constants", "values"),
    [
        ((5.0, 1.0, 1.0), {SUM: 4.0, 1.0: 1.0, INF: 0.0}, (1.0, 2.0, 5.0, 2.0)),
        ((5.0, 1.0, 1.0), {SUM: 6.0, 1.0: 3.0, INF: 1.0}, (3.0, 4.0, 6.0, 4.0)),
        ((5.0, 1.0, 1.0), {SUM: 5.0, 0.5: 2.0}, (2.0, 3.0, 4.0, 5.0, 4.0)),
        ((INF, 1.0, 1.0), {SUM: INF}, (1.0, 2.0, INF, 2.0)),
        ((5.0, 1.0, 1.0), {SUM: INF}, (1.0, 2.0, INF, 2.0)),
        ((5.0, 1.0, 1.0), {SUM: math.nan}, (1.0, 2.0, 5.0, 2.0)),
    ],
)
def test_constants_of_what_is_there_still_are_not_kept_twice(
    now: tuple[float, ...], constants: dict[float, float], values: tuple[float, ...]
) -> None:
    made = series("histogram", dict(zip((SUM, 1.0, INF), now, strict=True)))
    made.keep_constants(settled("histogram", constants))
    assert made.values() == values


def test_constants_of_what_has_no_source_any_more() -> None:
    made = Series("x", (), RULES["counter"])
    assert made.values() == ()
    made.keep_constants(settled("counter", {0.0: 0.0}))
    assert made.values() == (0.0,)
    made.keep_constants(settled("counter", {0.0: 3.0}))
    assert made.values() == (3.0,)


def test_constants_are_kept_exactly() -> None:
    made = Series("x", (), RULES["counter"])
    old = settled("counter", *[{0.0: 0.1}] * 1000)
    made.keep_constants(old)
    assert made.values() == old.values() == (100.0,)
    assert made.base == old.base


def settled(kind: str, *shares: dict[float, float]) -> Series:
    """Return a series whose shares are all constants."""
    made = series(kind, *shares)
    for source in sources(made):
        made.settle(source)
    return made


def test_series_are_in_order() -> None:
    family = Family("s", "Help.", "summary")
    assert family.type == "summary"
    later = family.find("s_sum", (("x", "2"),))
    first = family.find("s_sum", (("x", "1"),))
    count = family.find("s_count", (("x", "1"),))
    assert family.find("s_sum", (("x", "2"),)) is later
    assert list(family) == [count, first, later]
