from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo.workload import LONGEST_OUTPUT, LONGEST_PROMPT, Request, Traffic, requests

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
    steady = Traffic(mean_rate=2.0, wave=0.0, burst_factor=1.0)
    assert len(until(1, 2000, steady)) / 2000 == pytest.approx(2.0, rel=0.1)


def test_the_wave_rises_and_falls() -> None:
    waves = Traffic(mean_rate=5.0, wave=0.5, wave_period=600, burst_factor=1.0)
    arrivals = [request.arrival for request in until(1, 600, waves)]
    rising = sum(arrival < 300 for arrival in arrivals)
    assert rising > 1.5 * (len(arrivals) - rising)


def test_bursts_bring_more() -> None:
    calm = Traffic(wave=0.0, burst_factor=1.0)
    bursty = Traffic(wave=0.0, burst_factor=6.0, burst_gap=20.0)
    assert len(until(1, 600, bursty)) > 1.5 * len(until(1, 600, calm))
