"""Increases from read to read: restarts, births, layouts that change, windows, bounds.

That they are PromQL's is in tests/peers/test_engine_view.py.
"""

import math
from collections.abc import Mapping

import pytest

from exporter.engine.buckets import Buckets
from exporter.engine.increases import Increases
from exporter.engine.meanings import COUNTERS, HISTOGRAMS, meaning_of
from exporter.engine.ranks import Rank
from tests.support.snapshots import Snapshots, counter, histogram

REQUESTS = "sglang:num_requests"
TTFT = "sglang:time_to_first_token_seconds"
INF = math.inf


class Worker:
    """A worker whose expositions are read when the test says."""

    def __init__(self, window: float = 60, most_reads: int = 32, most_cells: int = 1000) -> None:
        self.increases = Increases(window, most_reads=most_reads, most_cells=most_cells)
        self._snapshots = Snapshots()

    def read(self, time: float, *lines: str) -> None:
        families = self._snapshots.of("".join(lines))
        meant = ((meaning_of(family.family.name, family.family.type), family) for family in families)
        self.increases.take(time, ((meaning, family) for meaning, family in meant if meaning))

    def requests(self, time: float, *values: float) -> None:
        """Read a counter with a series per value."""
        self.read(
            time, counter(REQUESTS, {f'series="{number}"': value for number, value in enumerate(values)})
        )

    @property
    def increase(self) -> Mapping[Rank, float]:
        return self.increases.window().counters(COUNTERS["requests"])

    @property
    def seconds(self) -> float:
        return self.increases.window().seconds


def test_one_read_tells_nothing() -> None:
    worker = Worker()
    assert worker.increase == {}
    worker.requests(0, 10)
    assert worker.increase == {}
    assert worker.seconds == 0


def test_increases_add_up_over_all_reads_and_series() -> None:
    worker = Worker()
    for time, values in enumerate([(10, 100), (12, 100), (13, 105)]):
        worker.requests(time, *values)
    assert worker.increase == {Rank(): 8}
    assert worker.seconds == 2


def test_a_restart_counts_from_zero_wherever_in_the_window_it_is() -> None:
    worker = Worker()
    for time, value in enumerate([100, 110, 4, 120]):  # two end points would say 20
        worker.requests(time, value)
    assert worker.increase == {Rank(): 10 + 4 + 116}


def test_each_series_restarts_alone() -> None:
    worker = Worker()
    worker.requests(0, 50, 50)
    worker.requests(1, 2, 60)  # their sum restarts nowhere
    assert worker.increase == {Rank(): 2 + 10}


def test_a_series_that_comes_later_counts_from_zero() -> None:
    worker = Worker()
    worker.requests(0, 50)
    worker.requests(1, 50, 7)
    worker.requests(2, 51, 8)
    assert worker.increase == {Rank(): 9}


def test_series_that_go_and_come_back_count_from_zero() -> None:
    worker = Worker()
    worker.requests(0, 50)
    worker.read(1)
    worker.requests(2, 3)
    assert worker.increase == {Rank(): 3}


def test_series_keep_their_values_when_the_layout_changes() -> None:
    worker = Worker()
    worker.read(0, counter(REQUESTS, {'tp_rank="1"': 5, 'tp_rank="2"': 50}))
    worker.read(1, counter(REQUESTS, {'tp_rank="0"': 1, 'tp_rank="2"': 51, 'tp_rank="1"': 7}))
    assert worker.increase == {Rank(tp="0"): 1, Rank(tp="1"): 2, Rank(tp="2"): 1}


def test_what_is_no_number_increases_nothing() -> None:
    worker = Worker()
    for time, value in enumerate([5, math.nan, 8]):
        worker.requests(time, value)
    assert worker.increase == {Rank(): 0}


def test_buckets_increase_by_bound() -> None:
    worker = Worker()
    streams = 'is_streaming="true"', 'is_streaming="false"'
    worker.read(0, histogram(TTFT, {streams[0]: {"0.5": 1, "+Inf": 2}, streams[1]: {"0.5": 0, "+Inf": 0}}))
    worker.read(1, histogram(TTFT, {streams[0]: {"0.5": 2, "+Inf": 4}, streams[1]: {"0.5": 1, "+Inf": 1}}))
    found = worker.increases.window().histograms(HISTOGRAMS["time_to_first_token"])
    assert found == {Rank(): Buckets((0.5, INF), [2, 3])}


def test_buckets_may_change() -> None:
    worker = Worker()
    worker.read(0, histogram(TTFT, {"": {"0.5": 1, "+Inf": 2}}))
    worker.read(1, histogram(TTFT, {"": {"0.25": 1, "0.5": 4, "+Inf": 6}}))
    found = worker.increases.window().histograms(HISTOGRAMS["time_to_first_token"])
    assert found == {Rank(): Buckets((0.25, 0.5, INF), [1, 3, 4])}


def test_a_bucket_without_a_bound_does_not_count() -> None:
    worker = Worker()
    lines = f'# TYPE {TTFT} histogram\n{TTFT}_bucket{{le="x"}} 1\n{TTFT}_bucket{{le="+Inf"}} 1\n'
    for time in (0, 1):
        worker.read(time, lines)
    assert worker.increases.window().histograms(HISTOGRAMS["time_to_first_token"]) == {
        Rank(): Buckets((INF,), [0])
    }


def test_a_label_selects_series() -> None:
    worker = Worker()
    reasons = 'finished_reason="stop"', 'finished_reason="abort"'
    worker.read(0, counter("vllm:request_success", dict.fromkeys(reasons, 1)))
    worker.read(1, counter("vllm:request_success", {reasons[0]: 5, reasons[1]: 2}))
    window = worker.increases.window()
    assert window.counters(COUNTERS["requests"]) == {Rank(): 5}
    assert window.counters(COUNTERS["aborted"]) == {Rank(): 1}


def test_the_window_begins_with_the_read_nearest_to_its_beginning() -> None:
    worker = Worker(window=60)
    for time in range(0, 301, 20):
        worker.requests(time, time)
    assert worker.seconds == 60
    assert worker.increase == {Rank(): 60}
    worker.requests(305, 305)
    assert worker.seconds == 65


def test_reads_that_are_further_apart_than_the_window_are_a_window() -> None:
    worker = Worker(window=60)
    for time in (0, 600, 1200):
        worker.requests(time, time)
    assert (worker.seconds, worker.increase) == (600, {Rank(): 600})
    worker.requests(1202, 1210)
    assert (worker.seconds, worker.increase) == (602, {Rank(): 610})
    worker.requests(1210, 1300)
    assert (worker.seconds, worker.increase) == (10, {Rank(): 100})


@pytest.mark.parametrize("most_reads", [4, 12, 32])
def test_reads_are_joined_beyond_a_bound_and_nothing_is_lost(most_reads: int) -> None:
    worker = Worker(window=60, most_reads=most_reads)
    for read in range(3000):
        worker.requests(read / 10, read % 7)  # restarts in every window
    assert len(worker.increases._reads) <= most_reads + 1
    assert worker.seconds == pytest.approx(60, abs=60 / (most_reads - 2))
    restarts = worker.seconds * 10 / 7
    assert worker.increase[Rank()] == pytest.approx(6 * restarts, rel=0.05)


def test_a_clock_that_is_set_back_begins_a_new_window() -> None:
    worker = Worker()
    worker.requests(100, 1)
    worker.requests(110, 5)
    worker.requests(50, 6)
    assert worker.increase == {}
    worker.requests(52, 9)
    assert (worker.seconds, worker.increase) == (2, {Rank(): 3})


def test_what_is_gone_is_known_as_long_as_the_window_saw_it_increase() -> None:
    worker = Worker(window=10)
    worker.requests(0, 1)
    worker.requests(5, 3)
    worker.read(10)
    assert worker.increase == {Rank(): 2}
    worker.read(20)
    assert worker.increase == {}


def test_families_beyond_the_bound_are_unknown_and_the_others_are_not_hurt() -> None:
    worker = Worker(most_cells=20)
    many = {f'tp_rank="{rank}"': {"1": 1.0, "+Inf": 1.0} for rank in range(7)}
    for time in (0, 1):
        worker.read(time, counter(REQUESTS, {"": time}), histogram(TTFT, many))
    assert worker.increase == {Rank(): 1}
    assert worker.increases.window().histograms(HISTOGRAMS["time_to_first_token"]) == {}


def test_cells_that_no_series_needs_any_more_make_room() -> None:
    worker = Worker(most_cells=20)
    for start in range(0, 100, 5):  # ranks come and go, five at a time
        for time in (start, start + 1, start + 2):
            lines = counter(REQUESTS, {f'tp_rank="{start + rank}"': time for rank in range(5)})
            worker.read(time, lines)
        assert {rank for rank in worker.increase if int(rank.tp) >= start} == {
            Rank(tp=str(start + rank)) for rank in range(5)
        }


def test_a_worker_that_is_found_late_does_not_count_from_zero() -> None:
    worker = Worker()
    worker.read(0)
    worker.requests(1, 1_000_000)
    worker.requests(2, 1_000_003)
    assert worker.increase == {Rank(): 3}
