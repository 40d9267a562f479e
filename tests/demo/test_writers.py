"""Each process's metrics say what happened in the server."""

from collections.abc import Iterable

import pytest
from prometheus_client.metrics import MetricWrapperBase

from exporter.demo.catalogue import ProcessMetrics, Role, load
from exporter.demo.events import Event, Finished, ForwardPass, PassKind, Retracted, StatsWindow
from exporter.demo.model import Server
from exporter.demo.writers import RANK_JITTER, SchedulerWriter, ServicerWriter

SEED = 1


def value(metric: MetricWrapperBase, suffix: str = "") -> float:
    samples = [sample for family in metric.collect() for sample in family.samples]
    return next(
        sample.value for sample in samples if sample.name.endswith(suffix) and "le" not in sample.labels
    )


def total(metric: MetricWrapperBase) -> float:
    return value(metric, "_total")


@pytest.fixture(scope="module")
def server() -> Server:
    return Server(SEED)


@pytest.fixture(scope="module")
def events(server: Server) -> list[Event]:
    return server.advance(200)


@pytest.fixture(scope="module")
def finished(events: Iterable[Event]) -> list[Finished]:
    return [event for event in events if isinstance(event, Finished)]


@pytest.fixture(scope="module")
def passes(events: Iterable[Event]) -> list[ForwardPass]:
    return [event for event in events if isinstance(event, ForwardPass)]


@pytest.fixture(scope="module")
def servicer(server: Server, events: list[Event]) -> ProcessMetrics:
    metrics = ProcessMetrics(load(), Role.SERVICER)
    ServicerWriter(metrics, SEED).write(events, server.load)
    return metrics


def scheduler_of_rank(rank: int, server: Server, events: list[Event]) -> ProcessMetrics:
    metrics = ProcessMetrics(load(), Role.SCHEDULER, rank)
    SchedulerWriter(metrics, server.spec, SEED, rank, tp_size=2).write(events, server.load)
    return metrics


@pytest.fixture(scope="module")
def scheduler(server: Server, events: list[Event]) -> ProcessMetrics:
    return scheduler_of_rank(0, server, events)


def test_servicer_counts_requests_and_tokens(servicer: ProcessMetrics, finished: list[Finished]) -> None:
    def both(name: str) -> float:
        return total(servicer.counter(name, "true")) + total(servicer.counter(name, "false"))

    assert both("num_requests") == len(finished)
    assert both("prompt_tokens") == sum(done.request.prompt_tokens for done in finished)
    assert both("generation_tokens") == sum(done.request.output_tokens for done in finished)
    assert both("generation_tokens") == value(servicer.histogram("generation_tokens_histogram"), "_sum")
    assert both("prompt_tokens") == value(servicer.histogram("prompt_tokens_histogram"), "_sum")
    cached = total(servicer.counter("cached_tokens", "device"))
    assert cached == sum(done.cached_tokens for done in finished) > 0
    uncached = value(servicer.histogram("uncached_prompt_tokens_histogram"), "_sum")
    assert uncached == both("prompt_tokens") - cached


def test_servicer_splits_latencies_by_streaming(servicer: ProcessMetrics, finished: list[Finished]) -> None:
    for flag, streaming in (("true", True), ("false", False)):
        mine = [done for done in finished if done.request.streaming is streaming]
        end_to_end = servicer.histogram("e2e_request_latency_seconds", flag)
        assert value(end_to_end, "_count") == len(mine) > 0
        assert value(end_to_end, "_sum") == pytest.approx(sum(done.end_to_end for done in mine))
        assert value(servicer.histogram("time_to_first_token_seconds", flag), "_count") >= len(mine)


def test_servicer_observes_every_gap_between_tokens(
    servicer: ProcessMetrics, passes: list[ForwardPass]
) -> None:
    gaps = [gap for done in passes for gap in done.inter_token_latencies]
    histogram = servicer.histogram("inter_token_latency_seconds")
    assert value(histogram, "_count") == len(gaps)
    assert value(histogram, "_sum") == pytest.approx(sum(gaps))


def test_scheduler_counts_passes(scheduler: ProcessMetrics, passes: list[ForwardPass]) -> None:
    decodes = [done for done in passes if done.kind is PassKind.DECODE]
    prefills = [done for done in passes if done.kind is PassKind.PREFILL]
    assert total(scheduler.counter("realtime_tokens", "decode")) == sum(done.batch_size for done in decodes)
    computed = total(scheduler.counter("realtime_tokens", "prefill_compute"))
    cached = total(scheduler.counter("realtime_tokens", "prefill_cache"))
    assert computed == sum(done.computed_tokens for done in prefills)
    assert cached == sum(done.cached_tokens for done in prefills)
    assert total(scheduler.counter("prefill_effective_tokens", "input")) == computed + cached
    graphs = total(scheduler.counter("cuda_graph_passes", "decode"))
    assert 0 < graphs == sum(done.cuda_graph for done in decodes)


def test_scheduler_accounts_for_all_of_its_time(scheduler: ProcessMetrics, events: list[Event]) -> None:
    stages = next(spec for spec in load().metrics if spec.name == "sglang:scheduler_stage_seconds").series
    seconds = sum(total(scheduler.counter("scheduler_stage_seconds", *stage)) for stage in stages)
    windows = [event for event in events if isinstance(event, StatsWindow)]
    assert seconds == pytest.approx(
        sum(window.busy_seconds + window.idle_seconds for window in windows), rel=RANK_JITTER
    )
    idle = total(scheduler.counter("scheduler_idle_seconds"))
    assert idle == pytest.approx(sum(window.idle_seconds for window in windows))


def test_scheduler_counts_retractions(scheduler: ProcessMetrics, events: list[Event]) -> None:
    retracted = [event for event in events if isinstance(event, Retracted)]
    assert total(scheduler.counter("num_retracted_requests")) == len(retracted)
    tokens = sum(event.input_tokens for event in retracted)
    assert total(scheduler.counter("num_retracted_input_tokens")) == tokens


def test_scheduler_observes_stages(scheduler: ProcessMetrics, finished: list[Finished]) -> None:
    for stage in ("prefill_waiting", "prefill_forward", "decode_forward"):
        assert value(scheduler.histogram("per_stage_req_latency_seconds", stage), "_count") == len(finished)
    assert value(scheduler.histogram("queue_time_seconds"), "_count") >= len(finished)


def test_scheduler_gauges_are_the_load(scheduler: ProcessMetrics, server: Server) -> None:
    load, capacity = server.load, server.spec.kv_capacity
    gauge = scheduler.gauge
    assert value(gauge("num_running_reqs")) == load.running
    assert value(gauge("num_queue_reqs")) == load.queued
    assert value(gauge("token_usage")) == load.kv_used / capacity
    assert value(gauge("gen_throughput")) == load.throughput
    parts = ("kv_used_tokens", "kv_evictable_tokens", "kv_available_tokens")
    assert sum(value(gauge(name)) for name in parts) == value(gauge("max_total_num_tokens")) == capacity


def test_ranks_differ_only_in_measured_seconds(server: Server, events: list[Event]) -> None:
    one, two = (scheduler_of_rank(rank, server, events) for rank in (0, 1))
    differing = set()
    for spec in load().metrics:
        if spec.role is Role.SCHEDULER:
            read = {"counter": ProcessMetrics.counter, "gauge": ProcessMetrics.gauge}.get(
                spec.type, ProcessMetrics.histogram
            )
            name = spec.name.removeprefix("sglang:")
            for labels in spec.series:
                first, second = (
                    [
                        sample.value
                        for family in read(one_of, name, *labels).collect()
                        for sample in family.samples
                        if not sample.name.endswith("_created")
                    ]
                    for one_of in (one, two)
                )
                if first != second:
                    differing.add(name)
                    assert first == pytest.approx(second, rel=2 * RANK_JITTER)
    assert differing == {
        "forward_execution_seconds",
        "scheduler_process_cpu_seconds",
        "scheduler_stage_seconds",
    }
