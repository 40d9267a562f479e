"""Buckets and their quantiles: by hand, and odd cases; tests/peers/test_engine_view.py compares with PromQL."""

import math

import pytest

from exporter.engine.buckets import Buckets

INF = math.inf


def test_interpolation_is_linear_between_the_bounds_of_a_bucket() -> None:
    assert Buckets((1.0, 2.0, INF), [2, 6, 8]).quantiles([0.125, 0.5]) == [0.5, 1.5]


def test_a_value_beyond_the_last_finite_bound_is_that_bound() -> None:
    assert Buckets((1.0, 2.0, INF), [2, 6, 8]).quantiles([0.99]) == [2.0]


def test_a_first_bound_of_zero_is_not_interpolated() -> None:
    assert Buckets((0.0, 1.0, INF), [6, 8, 8]).quantiles([0.5]) == [0.0]


def test_counts_that_fall_with_their_bound_are_taken_to_stay() -> None:
    assert Buckets((1.0, 2.0, INF), [4, 3, 8]).quantiles([0.5]) == [1.0]


@pytest.mark.parametrize(
    "buckets",
    [
        Buckets((), []),
        Buckets((INF,), [3]),
        Buckets((1.0, 2.0), [2, 3]),
        Buckets((1.0, INF), [0, 0]),
        Buckets((1.0, INF), [math.nan, math.nan]),
    ],
    ids=["no bucket", "only +Inf", "no +Inf", "nothing counted", "no numbers"],
)
def test_what_is_unknown_is_none(buckets: Buckets) -> None:
    assert buckets.quantiles([0.5, 0.9]) == [None, None]


def test_buckets_of_several_series_add_up_bound_by_bound() -> None:
    some = Buckets((1.0, INF), [2, 3])
    assert some.plus(Buckets((1.0, INF), [1, 1])) == Buckets((1.0, INF), [3, 4])
    assert some.plus(Buckets((0.5, INF), [1, 1])) == Buckets((0.5, 1.0, INF), [1, 2, 4])
