import math

import pytest

from exporter.multiproc.keys import SUM
from exporter.multiproc.series import Family, Series

INF = math.inf


def histogram(*columns: float) -> Series:
    made = Family("x", "Help.", "histogram", "histogram").find("x", (("l", "v"),))
    made.add_columns(*columns)
    return made


def test_one_number_is_one_sample() -> None:
    made = Family("c", "Help.", "counter", "counter").find("c_total", (("l", "v"),))
    made.add_columns(0.0)
    assert list(made.samples) == [("c_total", (("l", "v"),))]


def test_a_histogram_is_its_buckets_a_sum_and_a_count() -> None:
    assert [(name, dict(labels).get("le")) for name, labels in histogram(SUM, INF, 0.5).samples] == [
        ("x_bucket", "0.5"),
        ("x_bucket", "+Inf"),
        ("x_sum", None),
        ("x_count", None),
    ]


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
    assert histogram(SUM, bound).samples[0] == ("x_bucket", (("l", "v"), ("le", text)))


def test_constants_take_new_columns_as_0() -> None:
    made = histogram(SUM, 1.0, INF)
    made.constants = [[10.0, 1.0, 2.0], [0.5, 0.0, 0.0]]
    made.add_columns(0.1, 5.0)
    assert made.columns == (SUM, 0.1, 1.0, 5.0, INF)
    assert made.constants == [[10.0, 0.0, 1.0, 0.0, 2.0], [0.5, 0.0, 0.0, 0.0, 0.0]]


def test_a_series_is_made_once() -> None:
    family = Family("s", "Help.", "summary", "summary")
    later = family.find("s_sum", (("x", "2"),))
    first = family.find("s_sum", (("x", "1"),))
    between = family.find("s_count", (("x", "2"),))
    assert set(family) == {first, between, later}
    assert sorted((later, first, between), key=lambda one: one.key) == [first, between, later]
    assert family.find("s_sum", (("x", "2"),)) is later


def test_a_family_without_series_is_nothing() -> None:
    family = Family("g", "Help.", "gauge_max", "gauge")
    series = family.find("g", ())
    assert family
    family.remove(series)
    assert not family
    assert family.find("g", ()) is not series
