"""The simulated server: continuous batching over a fixed KV cache, as a discrete-event simulation.

The simulation uses no clock, file or metric. `Server.advance(to)` moves it to a moment and returns what happened;
the result does not depend on the size of the steps, so processes with the same seed and start time agree without
communication.

The scheduler is SGLang's in outline: waiting requests are prefilled, in chunks, before anything is decoded;
otherwise one decode pass adds a token to every running request. A pass takes longer the more it does. When
the cache is full, the youngest requests are retracted and wait again.
"""

import math
from collections import deque
from dataclasses import dataclass

from exporter.demo.events import (
    STATS_INTERVAL,
    Aborted,
    Arrived,
    Event,
    Finished,
    FirstToken,
    ForwardPass,
    Load,
    PassKind,
    Retracted,
    Scheduled,
    StatsWindow,
)
from exporter.demo.workload import LONGEST_REQUEST, Request, Traffic, generator, requests


@dataclass(frozen=True)
class ServerSpec:
    """The simulated server's size and speed: an 8B model with a small cache. Times are seconds."""

    kv_capacity: int = 40_960
    """Tokens the KV cache holds."""
    context_length: int = LONGEST_REQUEST
    max_running: int = 48
    max_queued: int = 256
    """A request that finds this many waiting is refused."""
    prefill_chunk: int = 2048
    """Most prompt tokens in one pass."""
    cuda_graph_max_batch: int = 32
    """Largest decode batch a captured graph exists for."""
    prefill_base: float = 0.012
    prefill_per_token: float = 0.00005
    decode_base: float = 0.018
    decode_per_request: float = 0.0002
    decode_per_context_token: float = 0.0000001
    pass_overhead: float = 0.0015
    """Scheduling and bookkeeping on the CPU around each pass."""
    pace: float = 1.0
    """How many times as long as on the usual GPU a pass takes."""
    jitter: float = 0.05
    """Spread of a pass's time around its mean."""
    new_token_ratio_initial: float = 0.4
    """The share of `max_new_tokens` reserved for each request at first; the share falls while nothing is retracted."""
    new_token_ratio_minimum: float = 0.03
    new_token_ratio_decay: float = 0.0015
    """How much the ratio falls with each decode pass."""


@dataclass(slots=True, eq=False)
class _Job:
    """A request and its progress."""

    request: Request
    generated: int = 0
    kv_tokens: int = 0
    to_prefill: int = 0
    cached_tokens: int = 0
    chunked: bool = False
    scheduled: float | None = None
    first_token: float | None = None
    last_token: float = 0.0

    @property
    def context(self) -> int:
        return self.request.prompt_tokens + self.generated

    @property
    def plannable_tokens(self) -> int:
        """The number of further tokens that the client allows."""
        return self.request.max_new_tokens - self.generated


@dataclass(frozen=True, slots=True)
class _PassInFlight:
    kind: PassKind
    jobs: tuple[_Job, ...]
    tokens: tuple[int, ...]
    """Tokens computed for each job."""
    cached_tokens: int
    start: float
    forward_seconds: float
    end: float


class _KVCache:
    """Token slots: used by running requests, evictable (finished, may be hit again), or available."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.evictable = 0

    @property
    def available(self) -> int:
        return self.capacity - self.used - self.evictable

    @property
    def allocatable(self) -> int:
        return self.capacity - self.used

    def lock(self, tokens: int) -> None:
        """Move evictable tokens, which a request shares, to the used ones."""
        self.evictable -= tokens
        self.used += tokens

    def allocate(self, tokens: int) -> None:
        """Move available tokens to the used ones; evict as many as are missing."""
        self.evictable -= max(0, tokens - self.available)
        self.used += tokens

    def release(self, tokens: int, *, keep: bool) -> None:
        """Stop using tokens: with `keep` they become evictable, else available."""
        self.used -= tokens
        if keep:
            self.evictable += tokens


class Server:
    """The simulation. It starts empty at time 0."""

    def __init__(self, seed: int, spec: ServerSpec | None = None, traffic: Traffic | None = None) -> None:
        self.spec = spec or ServerSpec()
        traffic = traffic or Traffic()
        if self.spec.kv_capacity < traffic.longest_request:
            raise ValueError(
                f"a cache of {self.spec.kv_capacity} tokens cannot hold a request of {traffic.longest_request}"
            )
        self.story = traffic.story
        self._jitter = generator(seed, "passes")
        self._arrivals = requests(seed, traffic)
        self._next_arrival = next(self._arrivals)
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._kv = _KVCache(self.spec.kv_capacity)
        self._pass: _PassInFlight | None = None
        self._last_pass_graph = False
        self._new_token_ratio = self.spec.new_token_ratio_initial
        self._events: list[Event] = []
        self._clock = 0.0
        self._windows = 0
        self._reset_window()
        self._throughput = self._cache_hit_rate = self._occupancy = 0.0

    @property
    def load(self) -> Load:
        """The state after the last `advance`."""
        return Load(
            running=len(self._running),
            queued=len(self._waiting),
            retracted=sum(job.scheduled is not None for job in self._waiting),
            kv_used=self._kv.used,
            kv_evictable=self._kv.evictable,
            kv_available=self._kv.available,
            decode_context_tokens=sum(job.context for job in self._running if not job.to_prefill),
            new_token_ratio=self._new_token_ratio,
            cuda_graph=self._last_pass_graph,
            throughput=self._throughput,
            cache_hit_rate=self._cache_hit_rate,
            occupancy=self._occupancy,
        )

    def advance(self, to: float) -> list[Event]:
        """Simulate until `to`, in seconds since the start; return what happened since the last call."""
        while True:
            arrival = self._next_arrival.arrival
            pass_end = self._pass.end if self._pass else math.inf
            window_end = (self._windows + 1) * STATS_INTERVAL
            time = min(arrival, pass_end, window_end)
            if time > to:
                break
            self._move_clock(time)
            if time == arrival:
                self._arrive()
            elif self._pass and time == self._pass.end:
                done, self._pass = self._pass, None
                self._end_pass(done)
            else:
                self._end_window()
            if self._pass is None:
                self._pass = self._start_pass()
        events, self._events = self._events, []
        return events

    def _move_clock(self, time: float) -> None:
        if self._pass:
            self._busy += time - self._clock
        else:
            self._idle += time - self._clock
        self._clock = time

    def _arrive(self) -> None:
        request, self._next_arrival = self._next_arrival, next(self._arrivals)
        self._events.append(Arrived(request))
        if len(self._waiting) < self.spec.max_queued:
            self._waiting.append(_Job(request))
        else:
            self._events.append(Aborted(request, output_tokens=0))

    # Passes

    def _start_pass(self) -> _PassInFlight | None:
        if not self._running and not self._waiting:
            return None
        return self._start_prefill() or self._start_decode()

    def _start_prefill(self) -> _PassInFlight | None:
        """Prefill begun prompts, then new ones as far as cache and batch have room, up to one chunk."""
        budget = self.spec.prefill_chunk
        jobs: list[_Job] = []
        tokens: list[int] = []
        cached = 0
        unfinished = [job for job in self._running if job.to_prefill]
        while budget:
            if unfinished:
                job = unfinished.pop()
            elif self._may_admit():
                job = self._admit()
                cached += job.cached_tokens
            else:
                break
            share = min(budget, job.to_prefill)
            budget -= share
            if share < job.to_prefill and job.first_token is None:
                job.chunked = True
            jobs.append(job)
            tokens.append(share)
        if not jobs:
            return None
        seconds = self.spec.prefill_base + self.spec.prefill_per_token * sum(tokens)
        return self._launch(PassKind.PREFILL, jobs, tokens, cached, seconds)

    def _start_decode(self) -> _PassInFlight:
        """Add a token to every running request, after making room for it."""
        while self._kv.allocatable < len(self._running):
            self._retract()
        for job in self._running:
            job.kv_tokens += 1
        self._kv.allocate(len(self._running))
        ratio = self._new_token_ratio - self.spec.new_token_ratio_decay
        self._new_token_ratio = max(self.spec.new_token_ratio_minimum, ratio)
        seconds = (
            self.spec.decode_base
            + self.spec.decode_per_request * len(self._running)
            + self.spec.decode_per_context_token * sum(job.context for job in self._running)
        )
        return self._launch(PassKind.DECODE, self._running, [1] * len(self._running), 0, seconds)

    def _launch(
        self, kind: PassKind, jobs: list[_Job], tokens: list[int], cached: int, seconds: float
    ) -> _PassInFlight:
        seconds *= self.spec.pace * self.story.act(self._clock).lag
        forward = seconds * (1 + self._jitter.uniform(-self.spec.jitter, self.spec.jitter))
        end = self._clock + forward + self.spec.pass_overhead
        return _PassInFlight(kind, tuple(jobs), tuple(tokens), cached, self._clock, forward, end)

    def _end_pass(self, done: _PassInFlight) -> None:
        latencies = [
            latency
            for job, tokens in zip(done.jobs, done.tokens, strict=True)
            if (latency := self._progress(job, done.kind, tokens)) is not None
        ]
        computed = sum(done.tokens)
        if done.kind is PassKind.PREFILL:
            self._window_computed += computed
            self._window_cached += done.cached_tokens
        self._last_pass_graph = (
            done.kind is PassKind.DECODE and len(done.jobs) <= self.spec.cuda_graph_max_batch
        )
        self._events.append(
            ForwardPass(
                kind=done.kind,
                start=done.start,
                end=done.end,
                forward_seconds=done.forward_seconds,
                batch_size=len(done.jobs),
                computed_tokens=computed,
                cached_tokens=done.cached_tokens,
                context_tokens=sum(job.context for job in done.jobs),
                cuda_graph=self._last_pass_graph,
                inter_token_latencies=tuple(latencies),
            )
        )
        self._drop_complete()
        self._drop_impatient()

    def _progress(self, job: _Job, kind: PassKind, tokens: int) -> float | None:
        """Account for a job's part of a pass; return the time since its previous token, if it got another."""
        if kind is PassKind.PREFILL:
            job.to_prefill -= tokens
            if job.to_prefill:
                return None
        job.generated += 1
        self._window_output += 1
        previous, job.last_token = job.last_token, self._clock
        if job.first_token is None:
            job.first_token = self._clock
            self._events.append(FirstToken(job.request, self._clock - job.request.arrival))
            return None
        return self._clock - previous

    # Requests: in, out, and back

    def _may_admit(self) -> bool:
        """Whether the next waiting request fits, with what the running ones may still need."""
        if not self._waiting or len(self._running) >= self.spec.max_running:
            return False
        if not self._running:
            return True  # a request alone always fits: none is longer than the cache
        job = self._waiting[0]
        growth = job.plannable_tokens + sum(other.plannable_tokens for other in self._running)
        return job.context + self._new_token_ratio * growth <= self._kv.allocatable

    def _admit(self) -> _Job:
        job = self._waiting.popleft()
        wanted = int(job.request.prompt_tokens * job.request.shared_prefix)
        job.cached_tokens = min(wanted, job.request.prompt_tokens - 1, self._kv.evictable)
        job.to_prefill = job.context - job.cached_tokens
        job.kv_tokens = job.context
        self._kv.lock(job.cached_tokens)
        self._kv.allocate(job.to_prefill)
        self._running.append(job)
        if job.scheduled is None:
            job.scheduled = self._clock
            self._events.append(Scheduled(queue_time=self._clock - job.request.arrival))
        return job

    def _retract(self) -> None:
        job = self._running.pop()
        self._kv.release(job.kv_tokens, keep=False)
        job.kv_tokens = 0
        self._waiting.appendleft(job)
        self._new_token_ratio = self.spec.new_token_ratio_initial
        self._events.append(Retracted(job.request.prompt_tokens, job.generated))

    def _drop_complete(self) -> None:
        complete = [job for job in self._running if job.generated >= job.request.output_tokens]
        for job in complete:
            self._leave(job)
            self._events.append(_finished(job))

    def _drop_impatient(self) -> None:
        """Abort requests whose client gave up: between passes, as a scheduler does."""
        gone = [job for job in (*self._running, *self._waiting) if job.request.deadline <= self._clock]
        for job in gone:
            self._leave(job)
            self._events.append(Aborted(job.request, job.generated))

    def _leave(self, job: _Job) -> None:
        queue = self._running if job in self._running else self._waiting
        queue.remove(job)
        self._kv.release(job.kv_tokens, keep=True)

    # Windows

    def _end_window(self) -> None:
        prompt_tokens = self._window_computed + self._window_cached
        self._throughput = self._window_output / STATS_INTERVAL
        self._occupancy = self._busy / STATS_INTERVAL
        if prompt_tokens:
            self._cache_hit_rate = self._window_cached / prompt_tokens
        self._events.append(
            StatsWindow(
                self._busy, self._idle, self._window_output, self._window_computed, self._window_cached
            )
        )
        self._windows += 1
        self._reset_window()

    def _reset_window(self) -> None:
        self._busy = self._idle = 0.0
        self._window_output = self._window_computed = self._window_cached = 0


def _finished(job: _Job) -> Finished:
    if job.scheduled is None or job.first_token is None:
        raise AssertionError("a finished request was scheduled and has a first token")
    return Finished(
        request=job.request,
        cached_tokens=job.cached_tokens,
        queue_time=job.scheduled - job.request.arrival,
        prefill_time=job.first_token - job.scheduled,
        decode_time=job.last_token - job.first_token,
        chunked=job.chunked,
    )
