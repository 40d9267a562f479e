"""Quantiles: by hand, and the odd cases of `histogram_quantile`; the real one is in tests/peers/test_engine_view.py."""

import math

import pytest

from exporter.engine.quantile import quantile

INF = math.inf


def test_interpolation_is_linear_between_the_bounds_of_a_bucket() -> None:
    assert quantile(0.5, {1.0: 2, 2.0: 6, INF: 8}) == 1.5
    assert quantile(0.125, {1.0: 2, 2.0: 6, INF: 8}) == 0.5


def test_a_value_beyond_the_last_finite_bound_is_that_bound() -> None:
    assert quantile(0.99, {1.0: 2, 2.0: 6, INF: 8}) == 2.0


def test_a_first_bound_of_zero_is_not_interpolated() -> None:
    assert quantile(0.5, {0.0: 6, 1.0: 8, INF: 8}) == 0.0


def test_counts_that_fall_with_their_bound_are_taken_to_stay() -> None:
    assert quantile(0.5, {1.0: 4, 2.0: 3, INF: 8}) == 1.0


@pytest.mark.parametrize(
    "buckets",
    [{}, {INF: 3}, {1.0: 2, 2.0: 3}, {1.0: 0, INF: 0}, {1.0: math.nan, INF: math.nan}],
    ids=["no bucket", "only +Inf", "no +Inf", "nothing counted", "no numbers"],
)
def test_what_is_unknown_is_none(buckets: dict[float, float]) -> None:
    assert quantile(0.5, buckets) is None
