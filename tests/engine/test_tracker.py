"""A worker as known so far: its history, failures, and above all its memory."""

import gc
import json
import tracemalloc
from random import Random

import pytest

from exporter.engine.tracker import BUDGET, FIGURES, Tracker
from exporter.model import Family, FamilyValues, Labels
from tests.support.snapshots import Snapshots, counter, gauge, histogram, snapshot

FLEET = (64 << 20) // 500
"""The budget of each of five hundred workers."""


def test_before_the_first_read_all_is_unknown() -> None:
    tracker = Tracker()
    view = tracker.view()
    assert (view["up"], view["engine"], view["requests"]["running"]) == (None, None, None)
    assert view["history"] == {"times": [], **{name: [] for name in FIGURES}}
    json.dumps(view, allow_nan=False)


def test_a_brief_view_has_no_ranks_and_a_short_history() -> None:
    tracker = Tracker()
    tracker.take(1000, snapshot(gauge("sglang:num_running_reqs", {'tp_rank="0"': 3})), up=True)
    view = tracker.view(brief=True)
    assert (view["requests"]["running"], view["ranks"]) == (3, [])
    assert view["history"] == {
        "times": [1000],
        "running": [3],
        "queued": [None],
        "generated_per_second": [None],
    }


def test_the_history_has_what_the_view_had() -> None:
    tracker = Tracker()
    for number in range(4):
        lines = gauge("sglang:num_running_reqs", {"": number}) + counter(
            "sglang:prompt_tokens", {"": 20 * number}
        )
        tracker.take(1000 + 2 * number, snapshot(lines), up=True)
    history = tracker.view(since=1002)["history"]
    assert history["times"] == [1004, 1006]
    assert history["running"] == [2, 3]
    assert history["prompt_per_second"] == [10, 10]
    assert history["queued"] == [None, None]


def test_a_failed_read_makes_all_unknown_and_counters_go_on_after_it() -> None:
    tracker = Tracker()
    for time, requests in ((1000, 50), (1010, 60)):
        tracker.take(time, snapshot(counter("sglang:num_requests", {'model_name="m"': requests})), up=True)
    tracker.fail(1020, up=False)
    view = tracker.view()
    assert (view["up"], view["time"], view["model"]) == (False, 1020, "m")
    assert view["requests"]["per_second"] is None
    assert view["history"]["requests_per_second"] == [None, 1, None]
    tracker.take(1030, snapshot(counter("sglang:num_requests", {'model_name="m"': 90})), up=True)
    assert tracker.view()["requests"]["per_second"] == pytest.approx(40 / 30)


def test_a_rank_that_lags_is_marked_and_the_worker_in_a_brief_view_too() -> None:
    tracker, snapshots = Tracker(), Snapshots()
    for number in range(12):
        lines = gauge("sglang:num_running_reqs", {f'dp_rank="{rank}"': 9 for rank in range(3)})
        decoded = {
            f'dp_rank="{rank}",mode="decode"': number * (100.0, 100.0, 30.0)[rank] for rank in range(3)
        }
        tracker.take(
            1000 + 2 * number, snapshots.of(lines + counter("sglang:realtime_tokens", decoded)), up=True
        )
    view, brief = tracker.view(), tracker.view(brief=True)
    assert [(rank["rank"], rank["lags"]) for rank in view["ranks"]] == [
        ("dp 0", False),
        ("dp 1", False),
        ("dp 2", True),
    ]
    assert view["condition"] == {"state": "lagging", "text": "Serving, but rank dp 2 lags"}
    assert (brief["condition"], brief["ranks"]) == (view["condition"], [])
    tracker.fail(1030, up=True)
    assert tracker.view()["ranks"] == []


def test_an_engine_stays_what_it_was_while_it_restarts() -> None:
    tracker = Tracker()
    tracker.take(1000, snapshot(gauge("sglang:num_running_reqs", {"": 3})), up=True)
    tracker.take(1002, snapshot(gauge("others", {"": 3})), up=True)
    assert (tracker.view()["engine"], tracker.view()["requests"]["running"]) == ("sglang", None)


HUGE, INF, NAN, TINY = 1.7e308, float("inf"), float("nan"), 5e-324


def odd(value: float, bound: str) -> str:
    """Return families of two ranks whose values are odd, and whose histogram has an odd bound."""
    groups = {'dp_rank="0"': value, 'dp_rank="1"': value}
    buckets = {bound: value, "1e308": value, "1.7e308": value, "+Inf": value}
    return "".join(
        [
            *(gauge(f"sglang:{name}", groups) for name in ("num_running_reqs", "token_usage")),
            gauge("sglang:max_total_num_tokens", groups),
            *(
                counter(f"sglang:{name}", groups)
                for name in ("num_requests", "prompt_tokens", "cached_tokens")
            ),
            histogram("sglang:time_to_first_token_seconds", {'dp_rank="0"': buckets}),
        ]
    )


@pytest.mark.parametrize("bound", ["-Inf", "NaN", "0.1", "-1.7e308"])
@pytest.mark.parametrize("value", [1e39, HUGE, INF, NAN, TINY])
def test_odd_values_and_bounds_become_no_odd_figures(value: float, bound: str) -> None:
    tracker, snapshots = Tracker(), Snapshots()
    for number, each in enumerate((0.0, value, value, 2.0)):
        tracker.take(1000 + 2 * number, snapshots.of(odd(each, bound)), up=True)
        json.dumps(tracker.view(), allow_nan=False)


def test_a_sum_beyond_what_a_float_holds_is_unknown() -> None:
    tracker = Tracker()
    tracker.take(1000, snapshot(odd(HUGE, "0.1")), up=True)
    view = tracker.view()
    assert view["requests"]["running"] is None
    assert view["history"]["running"] == [None]


def large(random: Random, series: int, most: int) -> list[FamilyValues]:
    """Return a snapshot of families that all mean something, with random ranks and as many series as one likes."""

    def labels() -> Labels:
        return (("dp_rank", str(random.randrange(most))), ("tp_rank", str(random.randrange(most))))

    def family(name: str, metric_type: str, width: int) -> FamilyValues:
        samples: list[tuple[str, Labels]] = []
        for _ in range(series):
            own = labels()
            samples += [(f"{name}_bucket", (*own, ("le", str(bound)))) for bound in range(width)] or [
                (name, own)
            ]
        return FamilyValues(Family(name, metric_type, ""), [samples], [[random.random() for _ in samples]])

    counters = ("num_requests", "prompt_tokens", "cached_tokens", "generation_tokens")
    histograms = ("time_to_first_token_seconds", "inter_token_latency_seconds", "queue_time_seconds")
    gauges = ("num_running_reqs", "num_queue_reqs", "token_usage")
    return [
        *(family(f"sglang:{name}", "counter", 0) for name in counters),
        *(family(f"sglang:{name}", "gauge", 0) for name in gauges),
        *(family(f"sglang:{name}", "histogram", 30) for name in histograms),
    ]


def moved(snapshot: list[FamilyValues], random: Random) -> list[FamilyValues]:
    """Return a snapshot of the same series with other values."""
    return [family._replace(values=[[random.random() for _ in family.values[0]]]) for family in snapshot]


def taken_by(tracker: Tracker, reads: int, snapshots: list[list[FamilyValues]], start: float) -> None:
    """Let a tracker read `snapshots` in turn, every 2 seconds."""
    for read in range(reads):
        tracker.take(start + 2 * read, snapshots[read % len(snapshots)], up=True)


@pytest.mark.parametrize("budget", [BUDGET, FLEET, FLEET // 4], ids=["a worker", "of 500", "of 2,000"])
@pytest.mark.parametrize(("series", "most"), [(4, 2), (60, 8), (120, 1000)], ids=["few", "some", "hostile"])
def test_memory_is_bounded_whatever_comes(budget: int, series: int, most: int) -> None:
    """What a tracker takes beside the last snapshot, which its source keeps too."""
    random = Random(1)  # noqa: S311 - values, not secrets
    others = [large(random, series, most) for _ in range(3)]
    last = large(random, series, most)
    same = [last, moved(last, random)]
    tracemalloc.start()
    try:
        tracker = Tracker(budget)
        taken_by(tracker, 500, [[]], 1000)  # a long history
        taken_by(tracker, 3, others, 3000)  # series that come and go
        taken_by(tracker, 40, same, 3100)  # as many reads as are remembered
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        json.dumps(tracker.view(), allow_nan=False)
        del tracker
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < before - after < budget


def test_long_names_of_ranks_that_come_and_go_stay_within_the_budget() -> None:
    tracemalloc.start()
    try:
        tracker = Tracker()
        for read in range(20):
            ranks = [f"{read} {number} {'x' * 4000}" for number in range(200)]
            samples = [("sglang:num_requests_total", (("dp_rank", rank),)) for rank in ranks]
            family = FamilyValues(
                Family("sglang:num_requests", "counter", ""), [samples], [[1.0] * len(samples)]
            )
            tracker.take(1000 + 2 * read, [family], up=True)
        del ranks, samples, family
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < BUDGET


def test_a_worker_of_sixteen_ranks_fits_a_fleet_of_five_hundred() -> None:
    tracker = Tracker(FLEET)
    buckets = {str(bound): 1.0 for bound in range(20)} | {"+Inf": 1.0}
    waits = {
        f'dp_rank="{rank}"': {str(bound): 1.0 for bound in range(12)} | {"+Inf": 1.0} for rank in range(16)
    }
    families = ("time_to_first_token_seconds", "inter_token_latency_seconds", "e2e_request_latency_seconds")
    lines = "".join(
        [
            gauge("sglang:num_running_reqs", {f'dp_rank="{rank}"': 1 for rank in range(16)}),
            *(histogram(f"sglang:{name}", {"": buckets}) for name in families),
            histogram("sglang:queue_time_seconds", waits),
        ]
    )
    snapshots = Snapshots()
    for time in (1000, 1002):
        tracker.take(time, snapshots.of(lines.replace(" 1.0", f" {time}")), up=True)
    view = tracker.view()
    assert view["requests"]["running"] == 16
    assert all(latency["p50"] is not None for latency in view["latency_seconds"].values())
