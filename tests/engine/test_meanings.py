"""What families mean: the names that the recorded worker has, and how strangers are told apart."""

from collections.abc import Mapping

import pytest

from exporter.demo.catalogue import load
from exporter.engine.meanings import (
    ENGINES,
    MEANINGS,
    SGLANG,
    SMG_SERVICER,
    TOKENSPEED,
    Engine,
    engine_of,
    meaning_of,
)

SERVICER_HAS = {
    "smg_servicer_e2e_request_latency_seconds": "histograms",
    "smg_servicer_generation_tokens": "counters",
    "smg_servicer_inter_token_latency_seconds": "histograms",
    "smg_servicer_prompt_tokens": "counters",
    "smg_servicer_prompt_tokens_cached": "counters",
    "smg_servicer_request_generation_tokens": "histograms",
    "smg_servicer_request_prompt_tokens": "histograms",
    "smg_servicer_request_time_per_output_token_seconds": "histograms",
    "smg_servicer_requests": "counters",
    "smg_servicer_requests_active": "gauges",
    "smg_servicer_requests_refused": "counters",
    "smg_servicer_state": "gauges",
    "smg_servicer_time_to_first_token_seconds": "histograms",
}
"""Families of a Rust servicer: recorded from one for SGLang, of tokenspeed-smg 1.13.0.post20261027."""
TOKENSPEED_HAS = {
    "tokenspeed:e2e_request_latency_seconds": "histograms",
    "tokenspeed:generation_tokens": "counters",
    "tokenspeed:inter_token_latency_seconds": "histograms",
    "tokenspeed:iteration_tokens_total": "histograms",
    "tokenspeed:jit_serving_compile_seconds": "counters",
    "tokenspeed:jit_serving_compiles": "counters",
    "tokenspeed:kv_cache_usage_perc": "gauges",
    "tokenspeed:num_nan_aborted_requests": "counters",
    "tokenspeed:num_requests": "counters",
    "tokenspeed:num_requests_running": "gauges",
    "tokenspeed:num_requests_waiting": "gauges",
    "tokenspeed:prefix_cache_hits": "counters",
    "tokenspeed:prompt_tokens": "counters",
    "tokenspeed:request_success": "counters",
    "tokenspeed:request_time_per_output_token_seconds": "histograms",
    "tokenspeed:spec_decode_num_accepted_tokens": "counters",
    "tokenspeed:spec_decode_num_draft_tokens": "counters",
    "tokenspeed:spec_decode_num_drafts": "counters",
    "tokenspeed:time_to_first_token_seconds": "histograms",
}
"""What the metrics classes of TokenSpeed 0.1.1 write."""
LABELS = {"smg_servicer_requests": {"finish_reason": {"abort", "cut", "error", "length", "stop"}}}
"""Their labels beside those of the process, and the values of these."""


def test_the_recorded_worker_has_the_names_that_the_table_puts_first() -> None:
    recorded = {metric.name: metric.type for metric in load().metrics}
    for metric_type, table in (
        ("gauge", SGLANG.gauges),
        ("counter", SGLANG.counters),
        ("histogram", SGLANG.histograms),
    ):
        assert {sources[0].family: recorded.get(sources[0].family) for sources in table.values()} == {
            sources[0].family: metric_type for sources in table.values()
        }


def test_labels_that_select_series_are_recorded_too() -> None:
    recorded = {metric.name: metric for metric in load().metrics}
    chosen = [source for sources in SGLANG.counters.values() for source in sources if source.label]
    assert chosen
    for source in chosen:
        metric = recorded[source.family]
        place = metric.labels.index(source.label)
        assert set(source.values) <= {series[place] for series in metric.series}


@pytest.mark.parametrize(("engine", "has"), [(TOKENSPEED, TOKENSPEED_HAS), (SMG_SERVICER, SERVICER_HAS)])
def test_an_engine_has_the_families_of_its_table(engine: Engine, has: Mapping[str, str]) -> None:
    for kind in ("gauges", "counters", "histograms"):
        for source in (one for sources in getattr(engine, kind).values() for one in sources):
            assert has[source.family] == kind
            if source.label:
                assert set(source.values) <= LABELS[source.family][source.label]


def test_each_engines_families_begin_with_its_prefix_and_have_one_type() -> None:
    types: dict[str, str] = {}
    for engine in ENGINES:
        for name, table in vars(engine).items():
            if name in {"gauges", "counters", "histograms"}:
                for source in (source for sources in table.values() for source in sources):
                    assert source.family.startswith(engine.prefix)
                    assert types.setdefault(source.family, name) == name


def test_a_family_is_known_in_every_spelling() -> None:
    meaning = meaning_of("sglang:num_requests", "counter")
    assert meaning is MEANINGS["sglang:num_requests"]
    assert meaning_of("sglang:num_requests_total", "counter") is meaning
    assert meaning_of("sglang_num_requests", "counter") is meaning
    assert meaning_of("sglang:num_requests", "unknown") is meaning


def test_other_families_mean_nothing() -> None:
    assert meaning_of("sglang:of_tomorrow", "counter") is None
    assert meaning_of("sglang:num_requests", "histogram") is None
    assert meaning_of("sglang:kv_transfer_latency_ms", "gauge") is None  # as older releases have it
    assert meaning_of("sglang:queue_time_seconds", "unknown") is None


def test_the_first_engine_counts_where_there_are_several() -> None:
    assert engine_of(["smg_servicer_requests", "sglang:num_running_reqs"]) == "sglang"
    assert engine_of(["smg_servicer_requests"]) == "smg-servicer"
    assert engine_of(["vllm:prompt_tokens"]) == "vllm"
    assert engine_of([]) is None
