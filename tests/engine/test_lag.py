"""Ranks that lag: which pace is slow, and for how long it must be."""

import pytest

from exporter.engine.lag import SECONDS, Lag, slow
from exporter.engine.ranks import Rank

ONE, TWO, THREE = (Rank(dp=number) for number in "123")
BUSY = 10.0


def test_a_rank_with_less_than_half_of_the_usual_pace_is_slow() -> None:
    running = {ONE: BUSY, TWO: BUSY, THREE: BUSY}
    assert slow({ONE: 100, TWO: 90, THREE: 44}, running) == {THREE}
    assert slow({ONE: 100, TWO: 90, THREE: 46}, running) == set()
    assert slow({ONE: 100, TWO: 90, THREE: 0}, running) == {THREE}


def test_of_two_ranks_the_slower_one_can_lag() -> None:
    assert slow({ONE: 100, TWO: 40}, {ONE: BUSY, TWO: BUSY}) == {TWO}


def test_the_pace_is_that_of_each_request() -> None:
    assert slow({ONE: 100, TWO: 40}, {ONE: 20, TWO: 8}) == set()
    assert slow({ONE: 100, TWO: 100}, {ONE: 10, TWO: 30}) == {TWO}


@pytest.mark.parametrize(
    ("tokens", "running"),
    [
        ({ONE: 100.0, TWO: 0.0}, {ONE: BUSY, TWO: 3.0}),
        ({ONE: 100.0, TWO: 0.0}, {ONE: 3.0, TWO: BUSY}),
        ({ONE: 0.0, TWO: 0.0}, {ONE: BUSY, TWO: BUSY}),
        ({ONE: 100.0, TWO: 0.0}, {ONE: BUSY}),
        ({ONE: 100.0, Rank(): 0.0}, {ONE: BUSY, Rank(): BUSY}),
        ({ONE: 100.0, TWO: float("nan")}, {ONE: BUSY, TWO: BUSY}),
        ({}, {}),
    ],
    ids=["little to do", "idle others", "all stand still", "unknown load", "no rank", "no number", "nothing"],
)
def test_where_a_pace_tells_nothing_no_rank_is_slow(
    tokens: dict[Rank, float], running: dict[Rank, float]
) -> None:
    assert slow(tokens, running) == set()


class Ranks:
    """Two busy ranks, the second of which is slow where the test says so."""

    def __init__(self) -> None:
        self.lag = Lag()

    def read(self, time: float, *, slow: bool) -> bool:
        """Read both; return whether the second one lags, as the first never does."""
        self.lag.take(time, {ONE: 100, TWO: 10 if slow else 100}, {ONE: BUSY, TWO: BUSY})
        assert ONE not in self.lag.ranks
        return TWO in self.lag.ranks


def test_a_rank_lags_once_it_has_been_slow_for_long_enough() -> None:
    ranks = Ranks()
    assert [ranks.read(time, slow=True) for time in (0, SECONDS - 1, SECONDS, SECONDS + 1)] == [
        False,
        False,
        True,
        True,
    ]
    assert not ranks.read(SECONDS + 2, slow=False)


def test_a_break_begins_anew() -> None:
    ranks = Ranks()
    story = [(0, True), (10, True), (12, False), (14, True), (20, True)]
    assert not any(ranks.read(time, slow=is_slow) for time, is_slow in story)
    assert ranks.read(14 + SECONDS, slow=True)


def test_a_clock_that_is_set_back_begins_anew() -> None:
    ranks = Ranks()
    assert not any(ranks.read(time, slow=True) for time in (1000, 500, 510))
    assert ranks.read(500 + SECONDS, slow=True)


def test_a_read_that_fails_ends_it() -> None:
    ranks = Ranks()
    ranks.read(0, slow=True)
    assert ranks.read(SECONDS, slow=True)
    ranks.lag.take(SECONDS + 1, {}, {})
    assert ranks.lag.ranks == set()
