"""What the simulated server reports: events as they happen, and its load at one moment. Times are seconds."""

from dataclasses import dataclass
from enum import StrEnum

from exporter.demo.workload import Request

STATS_INTERVAL = 1.0
"""Length in seconds of the windows over which throughput, cache hits and occupancy are computed."""


class PassKind(StrEnum):
    """What one forward pass computes."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request came in."""

    request: Request


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A request left the queue for the first time. Not reported again when it was retracted and leaves it once more."""

    queue_time: float


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """One pass over the model has ended."""

    kind: PassKind
    start: float
    end: float
    forward_seconds: float
    """The part of the pass spent on the GPU; the rest is the scheduler's overhead."""
    batch_size: int
    computed_tokens: int
    """Prompt tokens prefilled, or tokens decoded."""
    cached_tokens: int
    """Prompt tokens found in the cache by requests that began in this pass."""
    context_tokens: int
    """Tokens held by the batch's requests."""
    cuda_graph: bool
    inter_token_latencies: tuple[float, ...]
    """One per token that is not its request's first: seconds since the request's previous token."""


@dataclass(frozen=True, slots=True)
class FirstToken:
    """A request got its first token."""

    request: Request
    time_to_first_token: float


@dataclass(frozen=True, slots=True)
class Retracted:
    """A running request lost its cache and waits again."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A request is complete. The latencies add up: queue + prefill + decode = end to end."""

    request: Request
    cached_tokens: int
    queue_time: float
    prefill_time: float
    decode_time: float
    chunked: bool
    """Whether the prompt took more than one pass."""

    @property
    def end_to_end(self) -> float:
        """Seconds from arrival to the last token."""
        return self.queue_time + self.prefill_time + self.decode_time

    @property
    def time_per_output_token(self) -> float | None:
        """Mean seconds between tokens; None if there was only one token."""
        gaps = self.request.output_tokens - 1
        return self.decode_time / gaps if gaps else None


@dataclass(frozen=True, slots=True)
class Aborted:
    """A client gave up, or the queue was full."""

    request: Request
    output_tokens: int


@dataclass(frozen=True, slots=True)
class StatsWindow:
    """The last `STATS_INTERVAL` seconds. `busy_seconds` and `idle_seconds` fill it."""

    busy_seconds: float
    idle_seconds: float
    output_tokens: int
    computed_prompt_tokens: int
    cached_prompt_tokens: int


Event = Arrived | Scheduled | ForwardPass | FirstToken | Retracted | Finished | Aborted | StatsWindow


@dataclass(frozen=True)
class Load:
    """The server's state at one moment."""

    running: int
    queued: int
    retracted: int
    """Queued requests that ran before and were retracted."""
    kv_used: int
    kv_evictable: int
    kv_available: int
    decode_context_tokens: int
    new_token_ratio: float
    cuda_graph: bool
    """Whether the last pass replayed a graph."""
    throughput: float
    """Output tokens per second in the last whole window."""
    cache_hit_rate: float
    """Cached share of the prompt tokens in the last window that prefilled any."""
    occupancy: float
    """Busy share of the last whole window."""
