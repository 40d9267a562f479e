"""A story: which act is on at a moment, and what they are together."""

import math

import pytest

from exporter.demo.story import ACTS, STEADY, Act, Story

FIRST, SECOND = Act("first", 10), Act("second", 20)


@pytest.mark.parametrize(
    ("time", "act"), [(0, FIRST), (9.9, FIRST), (10, SECOND), (29.9, SECOND), (1e9, SECOND)]
)
def test_acts_follow_each_other_and_the_last_goes_on(time: float, act: Act) -> None:
    assert Story((FIRST, SECOND)).act(time) is act


def test_a_faster_story_is_shorter() -> None:
    story = Story((FIRST, SECOND), speed=10.0)
    assert story.seconds == 3.0
    assert story.act(0.99) is FIRST
    assert story.act(1.01) is SECOND


def test_without_a_story_nothing_changes() -> None:
    assert STEADY.act(0) is STEADY.act(math.inf)
    assert (STEADY.act(0).rate, STEADY.act(0).lag, STEADY.act(0).long_prompt) == (1.0, 1.0, False)


def test_the_story_is_quiet_then_a_rush_then_a_long_prompt_then_a_rank_that_lags() -> None:
    quiet, rush, *later = ACTS
    assert 4 * quiet.rate < rush.rate
    assert [act.long_prompt for act in later].index(True) < [act.lag > 1 for act in later].index(True)
