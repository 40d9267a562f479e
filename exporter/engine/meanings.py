"""What the families of inference engines mean: figure -> where each engine has it. A new engine is a new table.

Families are named as in OpenMetrics, a counter without `_total`. Of a figure's sources the first that a worker has
counts; so newer names stand before older ones. The newest are those of SGLang 0.5.23, vLLM 0.33, TokenSpeed 0.1.1.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias


class Source(NamedTuple):
    """Series that make up a figure: those of a family, or only those with one of the `values` in a label."""

    family: str
    label: str = ""
    values: tuple[str, ...] = ()


Sources: TypeAlias = Mapping[str, tuple[Source, ...]]
"""The sources of each figure, best first."""


@dataclass(frozen=True)
class Engine:
    """One engine's names for the figures: gauges as they are, counters and histograms by what they increase by."""

    name: str
    prefix: str
    """What the names of the engine's families begin with."""
    gauges: Sources = field(default_factory=dict)
    counters: Sources = field(default_factory=dict)
    histograms: Sources = field(default_factory=dict)


def _families(names: Mapping[str, str]) -> Sources:
    """Return sources that are whole families; several names of one figure are separated by spaces."""
    return {figure: tuple(map(Source, families.split())) for figure, families in names.items()}


_PREFILL = ("prefill_compute", "prefill_cache")
_SCHEDULER_TOKENS = "sglang:realtime_tokens"
"""What schedulers count themselves: the only counts of tokens where another program serves the requests."""

SGLANG = Engine(
    "sglang",
    "sglang:",
    gauges=_families(
        {
            "running": "sglang:num_running_reqs",
            "queued": "sglang:num_queue_reqs",
            "kv_cache_usage": "sglang:token_usage",
            "kv_cache_tokens": "sglang:max_total_num_tokens",
            "cache_hit_ratio": "sglang:cache_hit_rate",
            "accept_rate": "sglang:spec_accept_rate",
            "accept_length": "sglang:spec_accept_length",
            "prefill_bootstrap": "sglang:num_prefill_bootstrap_queue_reqs sglang:num_prefill_prealloc_queue_reqs",
            "prefill_inflight": "sglang:num_prefill_inflight_queue_reqs",
            "decode_prealloc": "sglang:num_decode_prealloc_queue_reqs",
            "decode_transfer": "sglang:num_decode_transfer_queue_reqs",
        }
    ),
    counters={
        **_families(
            {
                "requests": "sglang:num_requests",
                "aborted": "sglang:num_aborted_requests",
                "failed_bootstraps": "sglang:num_bootstrap_failed_reqs",
                "failed_transfers": "sglang:num_transfer_failed_reqs",
            }
        ),
        "prompt_tokens": (Source("sglang:prompt_tokens"), Source(_SCHEDULER_TOKENS, "mode", _PREFILL)),
        "cached_tokens": (
            Source("sglang:cached_tokens"),
            Source(_SCHEDULER_TOKENS, "mode", ("prefill_cache",)),
        ),
        "queried_tokens": (Source("sglang:prompt_tokens"), Source(_SCHEDULER_TOKENS, "mode", _PREFILL)),
        "generated_tokens": (
            Source("sglang:generation_tokens"),
            Source(_SCHEDULER_TOKENS, "mode", ("decode",)),
        ),
    },
    histograms=_families(
        {
            "time_to_first_token": "sglang:time_to_first_token_seconds",
            "inter_token": "sglang:inter_token_latency_seconds sglang:time_per_output_token_seconds",
            "end_to_end": "sglang:e2e_request_latency_seconds",
            "queue": "sglang:queue_time_seconds",
            "transfer_milliseconds": "sglang:kv_transfer_latency_ms",
        }
    ),
)

VLLM = Engine(
    "vllm",
    "vllm:",
    gauges=_families(
        {
            "running": "vllm:num_requests_running",
            "queued": "vllm:num_requests_waiting",
            "kv_cache_usage": "vllm:kv_cache_usage_perc vllm:gpu_cache_usage_perc",
        }
    ),
    counters={
        **_families(
            {
                "requests": "vllm:request_success",
                "prompt_tokens": "vllm:prompt_tokens",
                "cached_tokens": "vllm:prefix_cache_hits vllm:gpu_prefix_cache_hits",
                "queried_tokens": "vllm:prefix_cache_queries vllm:gpu_prefix_cache_queries",
                "generated_tokens": "vllm:generation_tokens",
                "drafts": "vllm:spec_decode_num_drafts",
                "draft_tokens": "vllm:spec_decode_num_draft_tokens",
                "accepted_tokens": "vllm:spec_decode_num_accepted_tokens",
            }
        ),
        "aborted": (Source("vllm:request_success", "finished_reason", ("abort",)),),
    },
    histograms=_families(
        {
            "time_to_first_token": "vllm:time_to_first_token_seconds",
            "inter_token": "vllm:inter_token_latency_seconds vllm:time_per_output_token_seconds",
            "end_to_end": "vllm:e2e_request_latency_seconds",
            "queue": "vllm:request_queue_time_seconds",
        }
    ),
)

TOKENSPEED = Engine(
    "tokenspeed",
    "tokenspeed:",
    gauges=_families(
        {
            "running": "tokenspeed:num_requests_running",
            "queued": "tokenspeed:num_requests_waiting",
            "kv_cache_usage": "tokenspeed:kv_cache_usage_perc",
        }
    ),
    counters=_families(
        {
            "requests": "tokenspeed:num_requests",
            "prompt_tokens": "tokenspeed:prompt_tokens",
            "cached_tokens": "tokenspeed:prefix_cache_hits",
            "queried_tokens": "tokenspeed:prompt_tokens",
            "generated_tokens": "tokenspeed:generation_tokens",
            "drafts": "tokenspeed:spec_decode_num_drafts",
            "draft_tokens": "tokenspeed:spec_decode_num_draft_tokens",
            "accepted_tokens": "tokenspeed:spec_decode_num_accepted_tokens",
        }
    ),
    histograms=_families(
        {
            "time_to_first_token": "tokenspeed:time_to_first_token_seconds",
            "inter_token": "tokenspeed:inter_token_latency_seconds",
            "end_to_end": "tokenspeed:e2e_request_latency_seconds",
        }
    ),
)

SMG_SERVICER = Engine(
    "smg-servicer",
    "smg_servicer_",
    counters={
        **_families(
            {
                "requests": "smg_servicer_requests",
                "prompt_tokens": "smg_servicer_prompt_tokens",
                "cached_tokens": "smg_servicer_prompt_tokens_cached",
                "queried_tokens": "smg_servicer_prompt_tokens",
                "generated_tokens": "smg_servicer_generation_tokens",
            }
        ),
        "aborted": (Source("smg_servicer_requests", "finish_reason", ("abort",)),),
    },
    histograms=_families(
        {
            "time_to_first_token": "smg_servicer_time_to_first_token_seconds",
            "inter_token": "smg_servicer_inter_token_latency_seconds",
            "end_to_end": "smg_servicer_e2e_request_latency_seconds",
        }
    ),
)
"""The Rust servicer before the schedulers of any engine. Its gauge of active requests counts waiting ones too."""

ENGINES = (SGLANG, VLLM, TOKENSPEED, SMG_SERVICER)
"""All engines. Where a worker has families of several, the first is its engine, and the others fill in."""


def _merged(tables: Iterator[Sources]) -> Sources:
    merged: dict[str, tuple[Source, ...]] = {}
    for table in tables:
        for figure, sources in table.items():
            merged[figure] = merged.get(figure, ()) + sources
    return merged


GAUGES = _merged(engine.gauges for engine in ENGINES)
COUNTERS = _merged(engine.counters for engine in ENGINES)
HISTOGRAMS = _merged(engine.histograms for engine in ENGINES)


@dataclass(frozen=True)
class Meaning:
    """What the engine view needs to know of a family."""

    family: str
    type: str
    """`gauge`, `counter` or `histogram`."""
    label: str
    """The label that tells the family's figures apart; empty if none does."""
    place: int
    """The family's place among all: where there is no room for all of a worker's, the first are kept."""


def _meanings() -> Mapping[str, Meaning]:
    meanings: dict[str, Meaning] = {}
    for type_, table in (("gauge", GAUGES), ("counter", COUNTERS), ("histogram", HISTOGRAMS)):
        for family, label, _ in (source for sources in table.values() for source in sources):
            known = meanings.get(family, Meaning(family, type_, label, len(meanings)))
            meanings[family] = replace(known, label=known.label or label)
    # Programs on the way, SMG's gateway among them, rewrite the colon.
    return {name.replace(":", "_"): meaning for name, meaning in meanings.items()} | meanings


MEANINGS = _meanings()
"""The families that mean something, by name, in every spelling."""


def meaning_of(name: str, metric_type: str) -> Meaning | None:
    """Return the meaning of a family of that type; None if it has none."""
    meaning = MEANINGS.get(name) or MEANINGS.get(name.removesuffix("_total"))
    if meaning and (
        metric_type == meaning.type or (metric_type == "unknown" and meaning.type != "histogram")
    ):
        return meaning
    return None


def engine_of(families: Collection[str]) -> str | None:
    """Return the name of the engine that has these families; None if there are none."""
    names = (engine.name for engine in ENGINES if any(name.startswith(engine.prefix) for name in families))
    return next(names, None)
