"""Figures as short texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.top import texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (21.0, "21"),
        (0.042, "0.04"),
        (6.7, "6.70"),
        (9.996, "10.0"),
        (21.57, "21.6"),
        (99.96, "100"),
        (999.4, "999"),
        (999.6, "1.00k"),
        (1523.0, "1.52k"),
        (15230.0, "15.2k"),
        (999_900.0, "1.00M"),
        (2.5e9, "2.50G"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert texts.number(value) == text


@given(st.floats(0, 9.99e11))
def test_a_number_fits_its_column(value: float) -> None:
    assert len(texts.number(value)) <= 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0004, "0.40 ms"), (0.18, "180 ms"), (0.9996, "1.00 s"), (2.5, "2.50 s"), (75.0, "75 s")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert texts.duration(seconds) == text


def test_ratios() -> None:
    assert [texts.percent(ratio) for ratio in (None, 0.0, 0.456, 1.0)] == ["-", "0%", "46%", "100%"]
    assert texts.bar(None, 4) == "    "
    bars = [texts.bar(ratio, 4) for ratio in (0.0, 0.5, 0.78125, 1.0, 7.0)]
    assert bars == ["····", "██··", "███▏", "████", "████"]


def test_a_chart_of_one_line() -> None:
    assert texts.chart([None, 0.0, 1.0, 4.0, 7.0]) == [" ▁▁▄▇"]
    assert texts.chart([0.0, 0.0]) == ["▁▁"]
    assert texts.chart([0.5], top=1.0) == ["▄"]
    assert texts.chart([]) == [""]


def test_a_chart_of_several_lines() -> None:
    assert texts.chart([2.0, 8.0, 15.0, None], 2) == ["  ▇ ", "▂██ "]


def test_values_over_time() -> None:
    times = [0.0, 10.0, 11.0, 19.0, 30.0]
    row = texts.over_time(times, [9.0, 1.0, 3.0, 5.0, None], 4, end=40.0, span=40.0)
    assert row == [1.0, 4.0, None, None], "a mean, and what is unknown"
    assert texts.over_time([1.0], [5.0], 3, end=3.0, span=3.0) == [5.0, 5.0, 5.0], "the last value stays"
    assert texts.over_time([], [], 2, end=1.0, span=1.0) == [None, None]


def test_texts_of_others_are_cut_and_made_printable() -> None:
    assert texts.cut("abc", 5) == "abc  "
    assert texts.cut("abcdef", 4) == "abc…"
    assert texts.cut("a\x1b[31m", 20).rstrip() == r"a\x1b[31m"
    assert texts.plain([("a ", "title"), ("b  ", "")]) == "a b"
    assert texts.length([("a ", "title"), ("b", "")]) == 3
