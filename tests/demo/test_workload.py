from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo.story import Act, Story
from exporter.demo.workload import (
    LONGEST_OUTPUT,
    LONGEST_PROMPT,
    VERY_LONG_PROMPT,
    Request,
    Traffic,
    requests,
)

seeds = st.integers(min_value=0, max_value=2**32)


def until(seed: int, end: float, traffic: Traffic) -> list[Request]:
    return list(takewhile(lambda request: request.arrival <= end, requests(seed, traffic)))


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_is_the_same_traffic(seed: int) -> None:
    first, second = requests(seed, Traffic()), requests(seed, Traffic())
    assert list(islice(first, 50)) == list(islice(second, 50))
    assert list(islice(requests(seed, Traffic()), 50)) != list(islice(requests(seed + 1, Traffic()), 50))


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_requests_come_in_order_and_are_possible(seed: int) -> None:
    stream = list(islice(requests(seed, Traffic()), 300))
    assert all(earlier.arrival < later.arrival for earlier, later in pairwise(stream))
    for request in stream:
        assert 1 <= request.prompt_tokens <= LONGEST_PROMPT
        assert 1 <= request.output_tokens <= request.max_new_tokens <= LONGEST_OUTPUT
        assert 0 <= request.shared_prefix <= 1
        assert request.deadline > request.arrival


def test_the_mean_rate_is_kept() -> None:
    steady = Traffic(mean_rate=2.0, burst_factor=1.0)
    assert len(until(1, 2000, steady)) / 2000 == pytest.approx(2.0, rel=0.1)


def test_the_rate_follows_the_story() -> None:
    story = Story((Act("calm", 100, rate=0.5), Act("rush", 100, rate=4.0)))
    arrivals = [request.arrival for request in until(1, 200, Traffic(story=story, burst_factor=1.0))]
    calm = sum(arrival < 100 for arrival in arrivals)
    assert (len(arrivals) - calm) / calm == pytest.approx(8, rel=0.3)


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_an_act_with_a_long_prompt_has_one(speed: float) -> None:
    story = Story((Act("before", 60), Act("now", 60, long_prompt=True), Act("after", 60)), speed)
    traffic = Traffic(story=story)
    (long,) = [it for it in until(1, 200, traffic) if it.prompt_tokens > LONGEST_PROMPT]
    assert 60 / speed < long.arrival < 70 / speed
    assert long.prompt_tokens == VERY_LONG_PROMPT
    assert long.prompt_tokens + long.max_new_tokens <= traffic.longest_request


def test_bursts_bring_more() -> None:
    calm = Traffic(burst_factor=1.0)
    bursty = Traffic(burst_factor=6.0, burst_gap=20.0)
    assert len(until(1, 600, bursty)) > 1.5 * len(until(1, 600, calm))
