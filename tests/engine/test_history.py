"""The history: what it keeps with age, and how many rows."""

from itertools import pairwise

import pytest

from exporter.engine.history import LENGTH, MOST_ROWS, History


def test_rows_come_back_with_their_times() -> None:
    history = History(["a", "b"])
    history.add(10, {"a": 1.5, "b": None, "more": 3})
    history.add(20, {"a": None, "b": 0.1})
    assert history.since(0, ["a", "b"]) == {"times": [10, 20], "a": [1.5, None], "b": [None, 0.1]}
    assert history.since(10, ["a", "b"]) == {"times": [20], "a": [None], "b": [0.1]}
    assert history.since(20, ["a", "b"]) == {"times": [], "a": [], "b": []}


def test_some_of_the_figures_can_be_asked_for() -> None:
    history = History(["a", "b"])
    history.add(10, {"a": 1, "b": 2})
    assert history.since(0, ["b"]) == {"times": [10], "b": [2]}


def test_it_goes_back_half_an_hour_and_is_coarser_with_age() -> None:
    history = History(["a"])
    for time in range(0, 7200, 2):
        history.add(time, {"a": time})
    found = history.since(0, ["a"])
    times = found["times"]
    assert found["a"] == times
    assert times[-1] == 7198
    assert 7198 - LENGTH <= times[0] <= 7198 - LENGTH + 40
    gaps = [(7198 - later, later - earlier) for earlier, later in pairwise(times)]
    assert {gap for age, gap in gaps if age <= 100} == {2}
    assert {gap for age, gap in gaps if 120 < age <= 580} == {10}
    assert all(30 <= gap < 40 for age, gap in gaps if age > 620)


@pytest.mark.parametrize("interval", [0.01, 0.5, 1, 1.7, 2, 9, 15, 60])
@pytest.mark.parametrize("most_rows", [1, 10, 60, MOST_ROWS])
def test_rows_are_bounded_whatever_comes(interval: float, most_rows: int) -> None:
    history = History(["a"], most_rows)
    for read in range(2000):
        history.add(read * interval, {"a": 0})
    times = history.since(-1, [])["times"]
    assert 1 <= len(times) <= most_rows
    assert times[-1] == 1999 * interval
    reach = min(LENGTH, 1999 * interval)
    assert most_rows < 60 or times[-1] - times[0] >= 0.9 * reach


def test_a_clock_that_is_set_back_begins_anew() -> None:
    history = History(["a"])
    for time in (100, 110, 50, 60):
        history.add(time, {"a": time})
    assert history.since(0, [])["times"] == [50, 60]
