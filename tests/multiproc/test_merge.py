import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Gauge

from exporter.multiproc.merge import RULES, Vector, exact_parts

INF = math.inf
NAN = math.nan
MAX = 1.7976931348623157e308

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
SUMS = ["counter", "summary", "histogram", "gauge_sum", "gauge_livesum"]


def merged(kind: str, *vectors: Vector) -> Vector:
    rule = RULES[kind]
    return rule.finish(rule.combine(vectors))


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
    ("kind", "vectors", "expected"),
    [
        ("counter", [(1.0,), (2.0,)], (3.0,)),
        ("summary", [(1.5,), (2.0,)], (3.5,)),
        ("gauge_sum", [(1.0,), (-2.0,)], (-1.0,)),
        ("gauge_livesum", [(1.0,), (-2.0,)], (-1.0,)),
        ("gauge_max", [(1.0,), (3.0,), (2.0,)], (3.0,)),
        ("gauge_livemax", [(-1.0,), (-3.0,)], (-1.0,)),
        ("gauge_min", [(1.0,), (-3.0,), (2.0,)], (-3.0,)),
        ("gauge_livemin", [(1.0,), (INF,)], (1.0,)),
        ("gauge_all", [(1.0,), (2.0,)], (2.0,)),
        ("gauge_liveall", [(1.0,)], (1.0,)),
        ("gauge_mostrecent", [(1.0, 5.0), (2.0, 9.0), (3.0, 7.0)], (2.0,)),
        ("gauge_mostrecent", [(1.0, 5.0), (2.0, 5.0)], (1.0,)),
        ("gauge_mostrecent", [(1.0, 0.0), (2.0, 0.0)], ()),
        ("gauge_livemostrecent", [(0.0, 0.0), (-2.0, 1.0)], (-2.0,)),
        ("histogram", [(10.0, 1.0, 2.0, 3.0), (1.0, 1.0, 0.0, 1.0)], (2.0, 4.0, 8.0, 11.0, 8.0)),
        ("histogram", [(0.0, 0.0)], (0.0, 0.0, 0.0)),
    ],
)
def test_rules(kind: str, vectors: Sequence[Vector], expected: Vector) -> None:
    assert merged(kind, *vectors) == expected


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
        assert RULES[kind].combine([(value,) * width for value in order]) == pytest.approx(
            (expected,) * width, rel=0, abs=0, nan_ok=True
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
    ("values", "part"), [([INF, 1.0], INF), ([INF, -INF], NAN), ([NAN], NAN), ([MAX, MAX], INF)]
)
def test_exact_parts_without_an_exact_sum(values: list[float], part: float) -> None:
    assert exact_parts(values) == pytest.approx([part], nan_ok=True)


@given(
    kind=st.sampled_from(sorted(RULES)),
    numbers=st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=8),
    later=st.tuples(finite, finite, finite),
)
def test_condensed_vectors_combine_to_the_same(
    kind: str, numbers: list[tuple[float, float, float]], later: tuple[float, float, float]
) -> None:
    rule = RULES[kind]
    width = 3 if kind == "histogram" else 1 + rule.stamped
    vectors: list[Vector] = [number[:width] for number in numbers]
    condensed = rule.condense(vectors)
    assert {len(vector) for vector in condensed} == {width}
    assert rule.combine(condensed) == rule.combine(vectors)
    assert rule.combine([*condensed, later[:width]]) == rule.combine([*vectors, later[:width]])
