import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge

from exporter.multiproc.merge import RULES, Row, exact_parts

INF = math.inf
NAN = math.nan
MAX = 1.7976931348623157e308

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
SUMS = ["counter", "summary", "histogram", "gauge_sum", "gauge_livesum"]


def merged(kind: str, *rows: Row) -> Sequence[float]:
    rule = RULES[kind]
    return rule.finish(rule.merge(rows))


def test_all_modes_have_rules() -> None:
    assert {f"gauge_{mode}" for mode in Gauge._MULTIPROC_MODES} == {kind for kind in RULES if "gauge" in kind}
    assert {kind for kind, rule in RULES.items() if rule.live_only} == {
        kind for kind in RULES if "live" in kind
    }
    assert {kind for kind, rule in RULES.items() if rule.per_process} == {"gauge_all", "gauge_liveall"}
    assert {kind for kind, rule in RULES.items() if rule.stamped} == {
        "gauge_mostrecent",
        "gauge_livemostrecent",
    }
    assert {rule.type for kind, rule in RULES.items() if "gauge" in kind} == {"gauge"}


@pytest.mark.parametrize(
    ("kind", "rows", "expected"),
    [
        ("counter", [[1.0], [2.0]], [3.0]),
        ("counter", [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], [6.0, 60.0]),
        ("summary", [[1.5], [2.0]], [3.5]),
        ("gauge_sum", [[1.0], [-2.0]], [-1.0]),
        ("gauge_livesum", [[1.0], [-2.0]], [-1.0]),
        ("gauge_max", [[1.0, 1.0], [3.0, 0.0], [2.0, 5.0]], [3.0, 5.0]),
        ("gauge_livemax", [[-1.0], [-3.0]], [-1.0]),
        ("gauge_min", [[1.0], [-3.0], [2.0]], [-3.0]),
        ("gauge_livemin", [[1.0], [INF]], [1.0]),
        ("gauge_all", [[1.0], [2.0]], [2.0]),
        ("gauge_liveall", [[1.0]], [1.0]),
        ("gauge_mostrecent", [[(1.0, 5.0)], [(2.0, 9.0)], [(3.0, 7.0)]], [2.0]),
        ("gauge_mostrecent", [[(1.0, 5.0)], [(2.0, 5.0)]], [1.0]),
        ("gauge_mostrecent", [[(1.0, 0.0), (7.0, 1.0)], [(2.0, 0.0), (8.0, 0.0)]], [7.0]),
        ("gauge_livemostrecent", [[(0.0, 0.0)], [(-2.0, 1.0)]], [-2.0]),
        ("histogram", [[10.0, 1.0, 2.0, 3.0], [1.0, 1.0, 0.0, 1.0]], [2.0, 4.0, 8.0, 11.0, 8.0]),
        ("histogram", [[0.0, 0.0]], [0.0, 0.0, 0.0]),
    ],
)
def test_rules(kind: str, rows: Sequence[Row], expected: Sequence[float]) -> None:
    assert merged(kind, *rows) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1] * 10, 1.0),
        ([1e308, 1.0, -1e308], 1.0),
        ([1e16, 1.0, 1.0], 1e16 + 2),
        ([INF, 1.0], INF),
        ([-INF, 1.0, -INF], -INF),
        ([INF, -INF], NAN),
        ([NAN, 1.0], NAN),
        ([MAX, MAX], INF),
        ([-MAX, -MAX], -INF),
    ],
)
@pytest.mark.parametrize("kind", SUMS)
def test_sums_are_exact_in_any_order(kind: str, values: list[float], expected: float) -> None:
    width = 2 if kind == "histogram" else 1
    for order in (values, values[::-1]):
        assert RULES[kind].merge([[value] * width for value in order]) == pytest.approx(
            [expected] * width, rel=0, abs=0, nan_ok=True
        )


@given(st.lists(finite, min_size=1, max_size=30))
def test_exact_parts_lose_nothing(values: list[float]) -> None:
    parts = exact_parts(values)
    assert parts
    assert len(parts) <= 12
    assert math.fsum([*values, *(-part for part in parts)]) == 0.0


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0], [1.0, -1.0]])
def test_exact_parts_of_nothing(values: list[float]) -> None:
    assert exact_parts(values) == [0.0]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([INF, 1.0, 2.0], [3.0, INF]),
        ([INF, -INF], [INF, -INF]),
        ([NAN, NAN], [NAN, NAN]),
        ([MAX, MAX], [MAX, MAX]),
    ],
)
def test_exact_parts_of_what_has_no_exact_sum(values: list[float], parts: list[float]) -> None:
    assert exact_parts(values) == pytest.approx(parts, nan_ok=True)


def rows_of(kind: str) -> st.SearchStrategy[list[Row]]:
    cells = st.tuples(finite, finite) if RULES[kind].stamped else finite
    width = 3 if kind == "histogram" else 2
    return st.lists(st.lists(cells, min_size=width, max_size=width), min_size=2, max_size=8)


@given(data=st.data(), kind=st.sampled_from(sorted(RULES)))
def test_condensed_rows_merge_to_the_same(kind: str, data: st.DataObject) -> None:
    rule = RULES[kind]
    later, *rows = data.draw(rows_of(kind))
    condensed = rule.condense(rows)
    assert {len(row) for row in condensed} == {len(later)}
    assert list(rule.merge([*condensed, later])) == list(rule.merge([*rows, later]))


anything = finite | st.sampled_from([INF, -INF, NAN, MAX, -MAX])


@given(data=st.data(), kind=st.sampled_from(SUMS))
def test_what_was_added_can_be_subtracted(kind: str, data: st.DataObject) -> None:
    rule = RULES[kind]
    assert rule.subtract
    rows = data.draw(
        st.lists(st.lists(anything, min_size=2, max_size=2), min_size=1, max_size=6), label="rows"
    )
    condensed = rule.condense(rows)
    while len(rows) > 1:
        condensed = rule.subtract(condensed, rows.pop(data.draw(st.integers(0, len(rows) - 1))))
        assert rule.merge([[0.0, 0.0], *condensed]) == pytest.approx(
            rule.merge([[0.0, 0.0], *rows]), rel=0, abs=0, nan_ok=True
        )


def test_nothing_else_can_be_subtracted() -> None:
    assert {kind for kind, rule in RULES.items() if rule.subtract} == set(SUMS)
