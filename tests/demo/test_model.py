"""The simulated server's numbers agree with each other, for every seed and every way to cut the time."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo.events import (
    STATS_INTERVAL,
    Aborted,
    Arrived,
    Event,
    Finished,
    FirstToken,
    ForwardPass,
    PassKind,
    Retracted,
    Scheduled,
    StatsWindow,
)
from exporter.demo.model import Server, ServerSpec
from exporter.demo.story import Act, Story
from exporter.demo.workload import Traffic

END = 40.0
TIGHT = ServerSpec(kv_capacity=12_000, new_token_ratio_initial=0.1, new_token_ratio_minimum=0.01)
PATIENT = Traffic(impatient_share=0.0)
HEAVY = Traffic(mean_rate=8.0)

servers = st.builds(
    Server,
    st.integers(min_value=0, max_value=2**32),
    st.sampled_from([ServerSpec(), TIGHT]),
    st.sampled_from([Traffic(), PATIENT, HEAVY, Traffic(mean_rate=0.3)]),
)
cuts = st.lists(st.floats(min_value=0, max_value=END), max_size=30).map(sorted)
bounded = settings(max_examples=20, deadline=None)

E = TypeVar("E")


def of(kind: type[E], events: Iterable[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


@given(st.integers(min_value=0, max_value=2**32), st.sampled_from([ServerSpec(), TIGHT]), cuts)
@bounded
def test_steps_do_not_matter(seed: int, spec: ServerSpec, cuts: list[float]) -> None:
    whole, cut = Server(seed, spec), Server(seed, spec)
    events = whole.advance(END)
    assert [event for to in (*cuts, END) for event in cut.advance(to)] == events
    assert cut.load == whole.load


@given(servers, cuts)
@bounded
def test_requests_are_conserved(server: Server, cuts: list[float]) -> None:
    inside = 0
    for to in (*cuts, END):
        events = server.advance(to)
        inside += len(of(Arrived, events)) - len(of(Finished, events)) - len(of(Aborted, events))
        assert server.load.running + server.load.queued == inside


@given(servers, cuts)
@bounded
def test_cache_and_batch_stay_within_limits(server: Server, cuts: list[float]) -> None:
    for to in (*cuts, END):
        server.advance(to)
        load = server.load
        assert load.kv_used + load.kv_evictable + load.kv_available == server.spec.kv_capacity
        assert min(load.kv_used, load.kv_evictable, load.kv_available) >= 0
        assert load.kv_used == sum(job.kv_tokens for job in server._running)
        assert load.running <= server.spec.max_running
        assert load.retracted <= load.queued <= server.spec.max_queued + server.spec.max_running
        assert server.spec.new_token_ratio_minimum <= load.new_token_ratio <= 1


@given(servers)
@bounded
def test_output_tokens_are_the_requests_sum(server: Server) -> None:
    events = server.advance(END)
    passes = of(ForwardPass, events)
    jobs = [*server._running, *server._waiting]
    generated = len(of(FirstToken, events)) + sum(len(done.inter_token_latencies) for done in passes)
    owned = sum(done.request.output_tokens for done in of(Finished, events))
    owned += sum(gone.output_tokens for gone in of(Aborted, events))
    assert generated == owned + sum(job.generated for job in jobs)
    decoded = sum(done.computed_tokens for done in passes if done.kind is PassKind.DECODE)
    assert decoded <= generated


@given(st.integers(min_value=0, max_value=2**32), st.sampled_from([ServerSpec(), TIGHT]))
@bounded
def test_inter_token_latencies_add_up_to_decode_time(seed: int, spec: ServerSpec) -> None:
    server = Server(seed, spec, PATIENT)
    events = server.advance(END)
    gaps = sum(sum(done.inter_token_latencies) for done in of(ForwardPass, events))
    finished = sum(done.decode_time for done in of(Finished, events))
    begun = [(job.first_token, job.last_token) for job in (*server._running, *server._waiting)]
    assert gaps == pytest.approx(finished + sum(last - first for first, last in begun if first is not None))


@given(servers)
@bounded
def test_latencies_agree(server: Server) -> None:
    events = server.advance(END)
    first_tokens = {event.request: event.time_to_first_token for event in of(FirstToken, events)}
    for done in of(Finished, events):
        assert min(done.queue_time, done.prefill_time, done.decode_time) >= 0
        assert first_tokens[done.request] == pytest.approx(done.queue_time + done.prefill_time)
        assert done.end_to_end >= first_tokens[done.request] > done.queue_time
        gaps = done.request.output_tokens - 1
        if done.time_per_output_token is None:
            assert gaps == 0
        else:
            assert done.time_per_output_token * gaps == pytest.approx(done.decode_time)
        assert 0 <= done.cached_tokens < done.request.prompt_tokens


@given(servers)
@bounded
def test_windows_agree_with_events(server: Server) -> None:
    events = server.advance(END)
    windows, passes = of(StatsWindow, events), of(ForwardPass, events)
    assert len(windows) == END / STATS_INTERVAL
    for window in windows:
        assert window.busy_seconds + window.idle_seconds == pytest.approx(STATS_INTERVAL)
        assert min(window.busy_seconds, window.idle_seconds) >= 0
    assert sum(window.cached_prompt_tokens for window in windows) == sum(
        done.cached_tokens for done in passes
    )
    prefilled = sum(done.computed_tokens for done in passes if done.kind is PassKind.PREFILL)
    assert sum(window.computed_prompt_tokens for window in windows) == prefilled
    load = server.load
    assert load.throughput == windows[-1].output_tokens / STATS_INTERVAL
    assert load.occupancy == windows[-1].busy_seconds / STATS_INTERVAL
    last = next((one for one in reversed(windows) if one.computed_prompt_tokens), None)
    if last:
        tokens = last.cached_prompt_tokens + last.computed_prompt_tokens
        assert load.cache_hit_rate == last.cached_prompt_tokens / tokens


@given(servers)
@bounded
def test_passes_follow_each_other(server: Server) -> None:
    passes = of(ForwardPass, server.advance(END))
    for done in passes:
        assert 0 < done.forward_seconds < done.end - done.start
        assert done.batch_size <= server.spec.max_running
        if done.kind is PassKind.PREFILL:
            assert done.computed_tokens <= server.spec.prefill_chunk
        else:
            assert done.computed_tokens == done.batch_size == len(done.inter_token_latencies)
            assert done.cuda_graph == (done.batch_size <= server.spec.cuda_graph_max_batch)
    assert all(earlier.end <= later.start for earlier, later in pairwise(passes))


def test_a_larger_batch_takes_longer() -> None:
    passes = of(ForwardPass, Server(1, ServerSpec(jitter=0.0)).advance(300))
    decodes = [done for done in passes if done.kind is PassKind.DECODE]
    small = [done.forward_seconds for done in decodes if done.batch_size <= 5]
    large = [done.forward_seconds for done in decodes if done.batch_size >= 30]
    assert max(small) < min(large)


def test_a_full_cache_retracts_and_everyone_is_served_in_the_end() -> None:
    server = Server(3, TIGHT, Traffic(mean_rate=1.2, impatient_share=0.0))
    events: list[Event] = []
    waiting_again = 0
    for step in range(1, 1200):
        events += server.advance(step / 10)
        waiting_again = max(waiting_again, server.load.retracted)
    assert of(Retracted, events)
    assert waiting_again > 0
    served = {done.request for done in of(Finished, events)}
    inside = {job.request for job in (*server._running, *server._waiting)}
    assert served | inside == {event.request for event in of(Arrived, events)}
    # A retracted request waits a second time, and that is no second queue time.
    assert len(of(Scheduled, events)) <= len(of(Arrived, events))


def test_a_full_queue_refuses() -> None:
    server = Server(1, ServerSpec(max_queued=2, max_running=2), Traffic(mean_rate=20.0, impatient_share=0.0))
    aborted = of(Aborted, server.advance(30))
    assert aborted
    assert all(event.output_tokens == 0 for event in aborted)


def test_impatient_clients_are_let_go() -> None:
    server = Server(1, traffic=Traffic(impatient_share=1.0, patience=0.5))
    events = server.advance(120)
    aborted = of(Aborted, events)
    assert len(aborted) > len(of(Finished, events)) > 0
    assert any(event.output_tokens for event in aborted)
    assert all(math.isfinite(event.request.deadline) for event in aborted)


def test_a_server_without_traffic_is_idle() -> None:
    server = Server(1, traffic=Traffic(mean_rate=1e-9))
    windows = of(StatsWindow, server.advance(5))
    assert [window.idle_seconds for window in windows] == [STATS_INTERVAL] * 5
    assert server.load.running == server.load.queued == server.load.throughput == 0


@pytest.mark.parametrize("traffic", [Traffic(), Traffic(story=Story())], ids=["steady", "story"])
def test_a_cache_smaller_than_a_request_is_refused(traffic: Traffic) -> None:
    with pytest.raises(ValueError, match="cannot hold a request"):
        Server(1, ServerSpec(kv_capacity=traffic.longest_request - 1), traffic)
    assert Server(1, ServerSpec(kv_capacity=traffic.longest_request), traffic).advance(1)


@pytest.mark.parametrize(("pace", "lag"), [(2.0, 1.0), (1.0, 2.0)])
def test_a_pass_takes_longer_on_a_slow_server_and_where_a_rank_lags(pace: float, lag: float) -> None:
    def first_pass(pace: float, lag: float) -> ForwardPass:
        traffic = Traffic(story=Story((Act("all the time", 1, lag=lag),)))
        return of(ForwardPass, Server(1, ServerSpec(pace=pace), traffic).advance(END))[0]

    usual, slow = first_pass(1.0, 1.0), first_pass(pace, lag)
    assert slow.forward_seconds == pytest.approx(2 * usual.forward_seconds)
