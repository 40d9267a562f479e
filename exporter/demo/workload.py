"""The requests to the simulated server: arrival times, lengths and clients' behaviour.

Arrivals are a Poisson process whose rate follows a story and jumps in bursts. Lengths are log-normal, except for the
very long prompt that a story may have. All randomness comes from the seed, so the same seed gives the same traffic in
every process.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from exporter.demo.story import STEADY, Act, Story

LONGEST_PROMPT = 8192
LONGEST_OUTPUT = 2048
USUAL_LIMIT = 512
"""Tokens that most clients allow to be generated."""
VERY_LONG_PROMPT = 24_576
"""Tokens of the prompt that a story tells of."""
LONGEST_REQUEST = VERY_LONG_PROMPT + LONGEST_OUTPUT
"""Tokens."""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request. Times are seconds since the server's start."""

    arrival: float
    prompt_tokens: int
    output_tokens: int
    """Tokens after which generation ends by itself; unknown to the scheduler."""
    max_new_tokens: int
    """Most tokens to generate, as set by the client; the scheduler plans with this number."""
    shared_prefix: float
    """The share of the prompt, 0 to 1, that is a prefix of earlier prompts."""
    streaming: bool
    deadline: float
    """When the client gives up; infinity for most."""


@dataclass(frozen=True)
class Traffic:
    """The rate of requests, and how it varies."""

    mean_rate: float = 2.2
    """Requests per second, before bursts."""
    story: Story = STEADY
    """How the rate changes, but for bursts."""
    burst_factor: float = 3.5
    burst_gap: float = 50.0
    """Mean seconds from one burst's end to the next one's start."""
    burst_seconds: tuple[float, float] = (4.0, 9.0)
    streaming_share: float = 0.8
    shared_prefix_share: float = 0.65
    """The share of requests whose prompt shares a prefix with earlier ones."""
    impatient_share: float = 0.015
    patience: float = 4.0
    """Mean seconds before an impatient client gives up."""

    @property
    def longest_request(self) -> int:
        """Most tokens that a request can have; a server's cache holds at least as many."""
        long_prompt = any(act.long_prompt for act in self.story.acts)
        return LONGEST_REQUEST if long_prompt else LONGEST_PROMPT + LONGEST_OUTPUT


def generator(seed: int, purpose: str) -> Random:
    """Return a random generator for one purpose; with the same seed and purpose, the same in every process."""
    return Random(f"{seed}/{purpose}")  # noqa: S311 - a simulation has no secrets


def requests(seed: int, traffic: Traffic) -> Iterator[Request]:
    """Yield an endless stream of requests, in order of arrival."""
    rng = generator(seed, "requests")
    before: Act | None = None
    for arrival in _arrivals(generator(seed, "arrivals"), traffic):
        request, act = _request(rng, traffic, arrival), traffic.story.act(arrival)
        yield _very_long(request) if act.long_prompt and act is not before else request
        before = act


def _arrivals(rng: Random, traffic: Traffic) -> Iterator[float]:
    """Thin a Poisson process of the highest rate down to the rate of each moment."""
    highest = traffic.mean_rate * max(act.rate for act in traffic.story.acts) * traffic.burst_factor
    time = 0.0
    burst_start, burst_end = _next_burst(rng, traffic, after=0.0)
    while True:
        time += rng.expovariate(highest)
        if time > burst_end:
            burst_start, burst_end = _next_burst(rng, traffic, after=burst_end)
        rate = traffic.mean_rate * traffic.story.act(time).rate
        if burst_start <= time <= burst_end:
            rate *= traffic.burst_factor
        if rng.random() * highest < rate:
            yield time


def _next_burst(rng: Random, traffic: Traffic, after: float) -> tuple[float, float]:
    start = after + rng.expovariate(1 / traffic.burst_gap)
    return start, start + rng.uniform(*traffic.burst_seconds)


def _request(rng: Random, traffic: Traffic, arrival: float) -> Request:
    # The number of draws is the same for every request, so no request changes the draws of the next.
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


def _very_long(request: Request) -> Request:
    """Return a request with a prompt that nobody has sent before, and an output that is long enough to be seen."""
    return replace(
        request,
        prompt_tokens=VERY_LONG_PROMPT,
        output_tokens=LONGEST_OUTPUT // 2,
        max_new_tokens=LONGEST_OUTPUT,
        shared_prefix=0.0,
        deadline=math.inf,
    )


def _log_normal(rng: Random, *, median: float, sigma: float, low: int, high: int) -> int:
    return min(high, max(low, round(rng.lognormvariate(math.log(median), sigma))))
