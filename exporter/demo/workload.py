"""The requests that reach the simulated server: when they come, and what they ask.

Arrivals are a Poisson process whose rate follows a slow wave (a day in ten minutes) and jumps in bursts.
Lengths are log-normal. Everything is drawn from the seed, so the same seed is the same traffic in every
process.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

LONGEST_PROMPT = 8192
LONGEST_OUTPUT = 2048
USUAL_LIMIT = 512
"""What most clients allow to be generated, in tokens."""
LONGEST_REQUEST = LONGEST_PROMPT + LONGEST_OUTPUT
"""Tokens; a server's cache holds at least this many."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one client asks. Times are seconds since the server's start."""

    arrival: float
    prompt_tokens: int
    output_tokens: int
    """Where generation would end by itself; the scheduler does not know it."""
    max_new_tokens: int
    """What the client allows, and what the scheduler must plan for."""
    shared_prefix: float
    """The share of the prompt that earlier requests had too, 0 to 1."""
    streaming: bool
    deadline: float
    """When the client gives up; infinity for most."""


@dataclass(frozen=True)
class Traffic:
    """How much comes, and how it varies."""

    mean_rate: float = 2.2
    """Requests per second, before bursts."""
    wave: float = 0.5
    """How far the slow wave goes from the mean, as a share of it."""
    wave_period: float = 600.0
    burst_factor: float = 3.5
    burst_gap: float = 50.0
    """Mean seconds from one burst's end to the next one's start."""
    burst_seconds: tuple[float, float] = (4.0, 9.0)
    streaming_share: float = 0.8
    shared_prefix_share: float = 0.65
    """The share of requests that begin as earlier ones did."""
    impatient_share: float = 0.015
    patience: float = 4.0
    """Mean seconds before an impatient client gives up."""


def generator(seed: int, purpose: str) -> Random:
    """Return a random generator of its own for each purpose, equal in every process."""
    return Random(f"{seed}/{purpose}")  # noqa: S311 - a simulation has no secrets


def requests(seed: int, traffic: Traffic) -> Iterator[Request]:
    """Yield an endless stream of requests, in order of arrival."""
    rng = generator(seed, "requests")
    for arrival in _arrivals(generator(seed, "arrivals"), traffic):
        yield _request(rng, traffic, arrival)


def _arrivals(rng: Random, traffic: Traffic) -> Iterator[float]:
    """Thin a Poisson process of the highest rate down to the rate of each moment."""
    highest = traffic.mean_rate * (1 + traffic.wave) * traffic.burst_factor
    time = 0.0
    burst_start, burst_end = _next_burst(rng, traffic, after=0.0)
    while True:
        time += rng.expovariate(highest)
        if time > burst_end:
            burst_start, burst_end = _next_burst(rng, traffic, after=burst_end)
        rate = traffic.mean_rate * (1 + traffic.wave * math.sin(2 * math.pi * time / traffic.wave_period))
        if burst_start <= time <= burst_end:
            rate *= traffic.burst_factor
        if rng.random() * highest < rate:
            yield time


def _next_burst(rng: Random, traffic: Traffic, after: float) -> tuple[float, float]:
    start = after + rng.expovariate(1 / traffic.burst_gap)
    return start, start + rng.uniform(*traffic.burst_seconds)


def _request(rng: Random, traffic: Traffic, arrival: float) -> Request:
    # Every draw happens for every request, so one request's nature never shifts the next one's.
    prompt_tokens = _log_normal(rng, median=600, sigma=0.9, low=16, high=LONGEST_PROMPT)
    output_tokens = _log_normal(rng, median=160, sigma=0.8, low=1, high=LONGEST_OUTPUT)
    shares_prefix = rng.random() < traffic.shared_prefix_share
    prefix = rng.betavariate(4, 2)
    streaming = rng.random() < traffic.streaming_share
    impatient = rng.random() < traffic.impatient_share
    patience = rng.expovariate(1 / traffic.patience)
    return Request(
        arrival=arrival,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        max_new_tokens=USUAL_LIMIT if output_tokens <= USUAL_LIMIT else LONGEST_OUTPUT,
        shared_prefix=prefix if shares_prefix else 0.0,
        streaming=streaming,
        deadline=arrival + patience if impatient else math.inf,
    )


def _log_normal(rng: Random, *, median: float, sigma: float, low: int, high: int) -> int:
    return min(high, max(low, round(rng.lognormvariate(math.log(median), sigma))))
