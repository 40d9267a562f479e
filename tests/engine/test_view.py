"""The figures of one worker: of each engine, of several ranks, and of what is unknown."""

from typing import Any

import pytest

from exporter.engine.tracker import Tracker
from tests.support.snapshots import Snapshots, counter, gauge, histogram

BUCKETS = {"0.1": 0.0, "1": 0.0, "+Inf": 0.0}


def view(*reads: str, seconds: float = 10) -> dict[str, Any]:
    """Return the view of a worker after these expositions, so many seconds apart."""
    tracker, snapshots = Tracker(), Snapshots()
    for number, text in enumerate(reads):
        tracker.take(1000 + seconds * number, snapshots.of(text), up=True)
    return tracker.view()


def ranks(**values: float) -> dict[str, float]:
    """Return values by labels: `d0t1=3` is that of dp_rank 0, tp_rank 1."""
    return {f'dp_rank="{name[1]}",tp_rank="{name[3]}"': value for name, value in values.items()}


def leaves(figures: Any) -> list[Any]:
    if isinstance(figures, dict):
        return [leaf for value in figures.values() for leaf in leaves(value)]
    return [figures]


def test_an_empty_read_tells_nothing() -> None:
    found = view("", "")
    assert (found.pop("up"), found.pop("time"), found.pop("window_seconds")) == (True, 1010, 10)
    assert found.pop("condition")["state"] == "unknown"
    assert found.pop("ranks") == []
    assert found.pop("history")["times"] == [1000, 1010]
    assert set(leaves(found)) == {None}


def test_sglang() -> None:
    def read(number: int) -> str:
        return "".join(
            [
                gauge("sglang:num_running_reqs", {'model_name="llama",tp_rank="0"': 20 + number}),
                gauge("sglang:num_queue_reqs", {'tp_rank="0"': 3}),
                gauge("sglang:token_usage", {'tp_rank="0"': 0.5}),
                counter(
                    "sglang:num_requests", {'is_streaming="true"': 50 * number, 'is_streaming="false"': 7}
                ),
                counter("sglang:num_aborted_requests", {"": 0}),
                counter("sglang:prompt_tokens", {"": 1000 * number}),
                counter(
                    "sglang:cached_tokens",
                    {'cache_source="device"': 200 * number, 'cache_source="host"': 50 * number},
                ),
                counter("sglang:generation_tokens", {"": 400 * number}),
                histogram(
                    "sglang:e2e_request_latency_seconds",
                    {"": {"0.1": 5.0 * number, "1": 10.0 * number, "+Inf": 10.0 * number}},
                ),
                histogram("sglang:queue_time_seconds", {"": BUCKETS}),
            ]
        )

    found = view(read(0), read(1))
    assert (found["engine"], found["model"]) == ("sglang", "llama")
    assert found["requests"] == {"running": 21, "queued": 3, "per_second": 5, "aborted_per_second": 0}
    assert found["tokens"] == {
        "prompt_per_second": 100,
        "cached_per_second": 25,
        "generated_per_second": 40,
        "cache_hit_ratio": 0.25,
        "cache_hit_ratio_worst": 0.25,
    }
    assert (found["kv_cache_usage"], found["kv_cache_usage_worst"]) == (0.5, 0.5)
    latency = found["latency_seconds"]
    assert latency["end_to_end"] == {
        "p50": pytest.approx(0.1),
        "p95": pytest.approx(0.91),
        "p99": pytest.approx(0.982),
    }
    assert latency["queue"] == {"p50": None, "p95": None, "p99": None}  # nothing came
    assert latency["inter_token"] == {"p50": None, "p95": None, "p99": None}  # no such family
    assert found["speculative"] is found["disaggregation"] is None
    assert found["ranks"] == [
        {"rank": "tp 0", "tp_rank": "0", "lags": False, "running": 21, "queued": 3, "kv_cache_usage": 0.5}
    ]


def test_schedulers_alone_tell_of_tokens() -> None:
    """As where SMG's Rust servicer serves the requests."""

    def read(number: int) -> str:
        modes = {"prefill_compute": 300, "prefill_cache": 100, "decode": 200}
        return counter(
            "sglang:realtime_tokens",
            {
                f'mode="{mode}",tp_rank="{rank}"': tokens * number - rank * (number == 1)
                for mode, tokens in modes.items()
                for rank in (0, 1)
            },
        )

    found = view(read(0), read(1))
    assert found["tokens"]["prompt_per_second"] == 40
    assert found["tokens"]["cached_per_second"] == 10
    assert found["tokens"]["generated_per_second"] == 20
    assert found["tokens"]["cache_hit_ratio"] == 0.25
    assert [rank["generated_per_second"] for rank in found["ranks"]] == [20, 19.9]


def test_vllm() -> None:
    def read(number: int) -> str:
        return "".join(
            [
                gauge(
                    "vllm:num_requests_running",
                    {'engine="0",model_name="m"': 4, 'engine="1",model_name="m"': 5},
                ),
                gauge("vllm:num_requests_waiting", {'engine="0"': 1, 'engine="1"': 0}),
                gauge("vllm:kv_cache_usage_perc", {'engine="0"': 0.2, 'engine="1"': 0.4}),
                counter(
                    "vllm:request_success",
                    {'finished_reason="stop"': 40 * number, 'finished_reason="abort"': 10 * number},
                ),
                counter("vllm:prompt_tokens", {"": 1000 * number}),
                counter("vllm:generation_tokens", {"": 500 * number}),
                counter("vllm:prefix_cache_queries", {"": 900 * number}),
                counter("vllm:prefix_cache_hits", {"": 300 * number}),
                counter("vllm:spec_decode_num_drafts", {"": 100 * number}),
                counter("vllm:spec_decode_num_draft_tokens", {"": 300 * number}),
                counter("vllm:spec_decode_num_accepted_tokens", {"": 150 * number}),
                histogram(
                    "vllm:time_per_output_token_seconds", {"": {"1": 4.0 * number, "+Inf": 4.0 * number}}
                ),
            ]
        )

    found = view(read(0), read(1))
    assert (found["engine"], found["model"]) == ("vllm", "m")
    assert found["requests"] == {"running": 9, "queued": 1, "per_second": 5, "aborted_per_second": 1}
    assert found["tokens"]["cache_hit_ratio"] == pytest.approx(1 / 3)
    assert found["kv_cache_usage"] == pytest.approx(0.3)
    assert found["kv_cache_usage_worst"] == 0.4
    assert found["speculative"] == {"accept_rate": 0.5, "accept_rate_worst": 0.5, "accept_length": 2.5}
    assert found["latency_seconds"]["inter_token"]["p50"] == 0.5
    assert [rank["dp_rank"] for rank in found["ranks"]] == ["0", "1"]


def test_a_servicer_beside_schedulers() -> None:
    def read(number: int) -> str:
        return gauge("sglang:num_running_reqs", {"": 2}) + counter("smg_servicer_requests", {"": 10 * number})

    found = view(read(0), read(1))
    assert found["engine"] == "sglang"
    assert found["requests"]["running"] == 2
    assert found["requests"]["per_second"] == 1


def test_data_parallel_groups_add_up_and_their_tensor_ranks_do_not() -> None:
    def read(number: int) -> str:
        waited = {"1": 2.0 * number, "+Inf": 4.0 * number}
        return "".join(
            [
                gauge("sglang:num_running_reqs", ranks(d0t0=5, d0t1=4, d1t0=2, d1t1=2)),
                gauge("sglang:token_usage", ranks(d0t0=0.9, d0t1=0.8, d1t0=0.1, d1t1=0.1)),
                gauge("sglang:max_total_num_tokens", ranks(d0t0=100, d0t1=100, d1t0=300, d1t1=300)),
                counter("sglang:num_requests", {"": 10 * number}),
                histogram(
                    "sglang:queue_time_seconds",
                    {f'dp_rank="{dp}",tp_rank="{tp}"': waited for dp in (0, 1) for tp in (0, 1)},
                ),
            ]
        )

    found = view(read(0), read(1))
    assert found["requests"]["running"] == 7
    assert found["kv_cache_usage"] == pytest.approx((0.9 * 100 + 0.1 * 300) / 400)
    assert found["kv_cache_usage_worst"] == 0.9
    assert found["latency_seconds"]["queue"]["p50"] == 1.0
    assert [(rank["dp_rank"], rank["tp_rank"], rank["running"]) for rank in found["ranks"]] == [
        ("0", "0", 5),
        ("0", "1", 4),
        ("1", "0", 2),
        ("1", "1", 2),
    ]
    assert found["ranks"][3]["latency_seconds"]["queue"]["p50"] == 1.0


def test_sglang_speculates() -> None:
    def read(rate: float, length: float) -> str:
        return gauge("sglang:spec_accept_rate", {"": rate}) + gauge("sglang:spec_accept_length", {"": length})

    assert view(read(0.6, 2.4))["speculative"] == {
        "accept_rate": 0.6,
        "accept_rate_worst": 0.6,
        "accept_length": 2.4,
    }
    assert view(read(0, 0))["speculative"] is None


def test_a_prefill_worker_has_queues_and_transfers() -> None:
    def read(number: int) -> str:
        took = {"5": 3.0 * number, "10": 4.0 * number, "+Inf": 4.0 * number}
        return "".join(
            [
                gauge("sglang:num_prefill_inflight_queue_reqs", {"": 4}),
                gauge("sglang:num_prefill_prealloc_queue_reqs", {"": 1}),  # as older releases call it
                counter("sglang:num_transfer_failed_reqs", {"": 20 * number}),
                histogram("sglang:kv_transfer_latency_ms", {"": took}),
            ]
        )

    found = view(read(0), read(1))["disaggregation"]
    assert found["queues"] == {
        "prefill_bootstrap": 1,
        "prefill_inflight": 4,
        "decode_prealloc": None,
        "decode_transfer": None,
    }
    assert found["failed_transfers_per_second"] == 2
    assert found["failed_bootstraps_per_second"] is None
    assert found["transfer_seconds"]["p50"] == pytest.approx(1 / 300)


def test_no_requests_make_no_ratio() -> None:
    still = counter("sglang:prompt_tokens", {"": 5}) + counter("sglang:cached_tokens", {"": 1})
    tokens = view(still, still)["tokens"]
    assert tokens["prompt_per_second"] == 0
    assert tokens["cache_hit_ratio"] is None
    fallback = gauge("sglang:cache_hit_rate", ranks(d0t0=0.5, d1t0=0.1))
    tokens = view(still + fallback, still + fallback)["tokens"]
    assert (tokens["cache_hit_ratio"], tokens["cache_hit_ratio_worst"]) == (pytest.approx(0.3), 0.1)
