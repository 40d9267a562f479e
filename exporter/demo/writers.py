"""Writes the simulated server's events into a process's metrics, as SGLang's processes write theirs.

Features that the simulated server lacks (LoRA, speculative decoding, prefill/decode
disaggregation, grammars, hierarchical cache, data-parallel attention) keep their metrics' initial values:
zero, and gauges never set.
"""

from collections.abc import Iterable
from typing import Protocol

from exporter.demo.catalogue import ProcessMetrics
from exporter.demo.events import (
    Aborted,
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
from exporter.demo.model import ServerSpec
from exporter.demo.workload import generator

MODEL_PARAMETERS = 8.0e9
BYTES_PER_PARAMETER = 2
KV_BYTES_PER_TOKEN = 131_072

HOST_STAGES = {
    "process_batch_result": 0.4,
    "get_next_batch_to_run": 0.25,
    "process_input_requests": 0.1,
    "recv_requests": 0.1,
    "process_queue": 0.05,
    "sanity_check_cache": 0.05,
    "other": 0.05,
}
"""The stages of a scheduler outside the GPU, as shares of a pass's overhead."""

RANK_JITTER = 0.02
"""Largest relative deviation of the times that ranks measure for the same pass."""


class Writer(Protocol):
    """Keeps one process's metrics up to date."""

    def write(self, events: Iterable[Event], load: Load) -> None:
        """Account for events since the last call, and for the load now."""


class SchedulerWriter:
    """A scheduler's metrics: passes, queue, cache. All ranks of a server count the same batches."""

    def __init__(
        self, metrics: ProcessMetrics, spec: ServerSpec, seed: int, tp_rank: int, tp_size: int
    ) -> None:
        self._metrics = metrics
        self._spec = spec
        self._jitter = generator(seed, f"tp_rank {tp_rank}")
        self._tp_size = tp_size
        self._set_constants()

    def write(self, events: Iterable[Event], load: Load) -> None:
        """Account for events since the last call, and for the load now."""
        for event in events:
            match event:
                case ForwardPass():
                    self._count_pass(event)
                case Scheduled():
                    self._metrics.histogram("queue_time_seconds").observe(event.queue_time)
                case Retracted():
                    self._count_retraction(event)
                case Finished():
                    self._observe_stages(event)
                case StatsWindow():
                    self._count_window(event)
                case _:
                    pass  # in the servicer's metrics
        self._set_load(load)

    def _set_constants(self) -> None:
        """Set the gauges whose values are fixed at a server's start."""
        gigabyte = 1e9
        weights = MODEL_PARAMETERS * BYTES_PER_PARAMETER / self._tp_size / gigabyte
        cache = self._spec.kv_capacity * KV_BYTES_PER_TOKEN / self._tp_size / gigabyte
        constants = {
            "max_total_num_tokens": self._spec.kv_capacity,
            "num_pages": self._spec.kv_capacity,
            "page_size": 1,
            "context_len": self._spec.context_length,
            "weight_memory_usage_gb": weights,
            "kv_cache_memory_usage_gb": cache,
            "startup_available_gpu_memory_gb": 80 - weights - cache,
            "max_running_requests_under_SLO": self._spec.max_running,
        }
        for name, value in constants.items():
            self._metrics.gauge(name).set(value)
        for phase, gigabytes in {"load": 0.0, "capture": 0.9, "total": 0.9}.items():
            self._metrics.gauge("graph_memory_usage_gb", phase).set(gigabytes)
        for source, seconds in {"source_0": 6.5, "source_1": 0.4}.items():
            self._metrics.gauge("weight_load_duration_seconds", source).set(seconds)

    def _count_pass(self, event: ForwardPass) -> None:
        counter = self._metrics.counter
        prefill = event.kind is PassKind.PREFILL
        counter("realtime_tokens", "prefill_compute" if prefill else "decode").inc(event.computed_tokens)
        if prefill:
            counter("realtime_tokens", "prefill_cache").inc(event.cached_tokens)
            counter("prefill_effective_tokens", "input").inc(event.computed_tokens + event.cached_tokens)
            counter("prefill_effective_tokens", "device_hit").inc(event.cached_tokens)
        if event.cuda_graph:
            counter("cuda_graph_passes", "decode").inc()
        self._count_seconds(event, overlap="none" if prefill else "full")
        self._count_work(event)

    def _count_seconds(self, event: ForwardPass, overlap: str) -> None:
        forward = self._jittered(event.forward_seconds)
        self._metrics.counter("forward_execution_seconds", "run_batch").inc(forward)
        self._metrics.counter("scheduler_stage_seconds", "run_batch", overlap).inc(forward)
        overhead = self._jittered(event.end - event.start - event.forward_seconds)
        for stage, share in HOST_STAGES.items():
            self._metrics.counter("scheduler_stage_seconds", stage, overlap).inc(overhead * share)

    def _count_work(self, event: ForwardPass) -> None:
        """Estimate the work: two operations per parameter and token, weights read once a pass."""
        read = MODEL_PARAMETERS * BYTES_PER_PARAMETER + event.context_tokens * KV_BYTES_PER_TOKEN
        written = event.computed_tokens * KV_BYTES_PER_TOKEN
        operations = 2 * MODEL_PARAMETERS * event.computed_tokens
        self._metrics.counter("estimated_flops_per_gpu").inc(operations / self._tp_size)
        self._metrics.counter("estimated_read_bytes_per_gpu").inc(read / self._tp_size)
        self._metrics.counter("estimated_write_bytes_per_gpu").inc(written / self._tp_size)

    def _count_retraction(self, event: Retracted) -> None:
        self._metrics.counter("num_retracted_requests").inc()
        self._metrics.counter("num_retracted_input_tokens").inc(event.input_tokens)
        self._metrics.counter("num_retracted_output_tokens").inc(event.output_tokens)

    def _observe_stages(self, event: Finished) -> None:
        stages = {
            "prefill_waiting": event.queue_time,
            "prefill_forward": event.prefill_time,
            "decode_forward": event.decode_time,
        }
        if event.chunked:
            stages["chunked_prefill"] = event.prefill_time
        for stage, seconds in stages.items():
            self._metrics.histogram("per_stage_req_latency_seconds", stage).observe(seconds)

    def _count_window(self, event: StatsWindow) -> None:
        self._metrics.counter("scheduler_idle_seconds").inc(event.idle_seconds)
        self._metrics.counter("scheduler_stage_seconds", "idle", "none").inc(event.idle_seconds)
        # A scheduler's loop spins, so it uses nearly all of one core even when it has nothing to do.
        self._metrics.counter("scheduler_process_cpu_seconds").inc(
            self._jittered(0.97 * (event.busy_seconds + event.idle_seconds))
        )

    def _set_load(self, load: Load) -> None:
        usage = load.kv_used / self._spec.kv_capacity
        gauges = {
            "num_running_reqs": load.running,
            "num_queue_reqs": load.queued,
            "num_grammar_queue_reqs": 0,
            "num_retracted_reqs": load.retracted,
            "num_paused_reqs": 0,
            "gen_throughput": load.throughput,
            "cache_hit_rate": load.cache_hit_rate,
            "decode_sum_seq_lens": load.decode_context_tokens,
            "token_usage": usage,
            "full_token_usage": usage,
            "num_used_tokens": load.kv_used,
            "kv_used_tokens": load.kv_used,
            "kv_evictable_tokens": load.kv_evictable,
            "kv_available_tokens": load.kv_available,
            "utilization": load.running / self._spec.max_running,
            "fwd_occupancy": load.occupancy,
            "new_token_ratio": load.new_token_ratio,
            "is_cuda_graph": load.cuda_graph,
        }
        for name, value in gauges.items():
            self._metrics.gauge(name).set(value)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + self._jitter.uniform(-RANK_JITTER, RANK_JITTER))


class ServicerWriter:
    """The servicer's metrics: requests as clients see them."""

    def __init__(self, metrics: ProcessMetrics, seed: int) -> None:
        self._metrics = metrics
        self._jitter = generator(seed, "servicer")
        for phase, seconds in {"load": 6.9, "capture": 4.2, "total": 14.6}.items():
            self._metrics.gauge("startup_time_seconds", phase).set(seconds)
        for phase, seconds in {"load": 0.0, "capture": 4.2, "total": 4.2}.items():
            self._metrics.gauge("startup_cuda_graph_time_seconds", phase).set(seconds)

    def write(self, events: Iterable[Event], load: Load) -> None:  # noqa: ARG002 - part of the protocol Writer
        """Account for events since the last call."""
        for event in events:
            match event:
                case ForwardPass():
                    inter_token_latency = self._metrics.histogram("inter_token_latency_seconds")
                    for latency in event.inter_token_latencies:
                        inter_token_latency.observe(latency)
                case FirstToken():
                    streaming = _flag(event.request.streaming)
                    self._metrics.histogram("time_to_first_token_seconds", streaming).observe(
                        event.time_to_first_token
                    )
                case Finished():
                    self._count_request(event)
                case Aborted():
                    self._metrics.counter("num_aborted_requests").inc()
                case StatsWindow():
                    # The gateway asks for loads once a second.
                    seconds = self._jitter.lognormvariate(-7.5, 0.4)
                    self._metrics.histogram("get_loads_duration_seconds").observe(seconds)
                case _:
                    pass  # in the schedulers' metrics

    def _count_request(self, event: Finished) -> None:
        counter, histogram = self._metrics.counter, self._metrics.histogram
        request, streaming = event.request, _flag(event.request.streaming)
        counter("num_requests", streaming).inc()
        counter("prompt_tokens", streaming).inc(request.prompt_tokens)
        counter("generation_tokens", streaming).inc(request.output_tokens)
        counter("cached_tokens", "device").inc(event.cached_tokens)
        histogram("prompt_tokens_histogram").observe(request.prompt_tokens)
        histogram("uncached_prompt_tokens_histogram").observe(request.prompt_tokens - event.cached_tokens)
        histogram("generation_tokens_histogram").observe(request.output_tokens)
        histogram("e2e_request_latency_seconds", streaming).observe(event.end_to_end)
        if event.time_per_output_token is not None:
            histogram("request_time_per_output_token_seconds", streaming).observe(event.time_per_output_token)


def _flag(value: bool) -> str:  # noqa: FBT001 - the value to convert
    return "true" if value else "false"
