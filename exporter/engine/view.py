"""The figures of one worker at one moment: its gauges and what increased over the window, as the engine view has them.

What is unknown, or beyond what a float holds, is None: never 0, infinite or NaN.
"""

import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from exporter.engine import ranks
from exporter.engine.buckets import Buckets
from exporter.engine.gauges import Gauges
from exporter.engine.increases import Window
from exporter.engine.meanings import COUNTERS, GAUGES, HISTOGRAMS
from exporter.engine.ranks import Rank

Figures: TypeAlias = dict[str, Any]
"""Figures as JSON has them."""

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCIES = ("time_to_first_token", "inter_token", "end_to_end", "queue")
_RANK_COUNTERS = {
    "prompt_tokens": "prompt_per_second",
    "cached_tokens": "cached_per_second",
    "generated_tokens": "generated_per_second",
    "queried_tokens": "",
}
"""The counters that a rank's figures are made of, and the rate that each gives."""
QUEUES = ("prefill_bootstrap", "prefill_inflight", "decode_prealloc", "decode_transfer")


class _Read(NamedTuple):
    """What the last read says of all ranks together."""

    gauges: Gauges
    window: Window

    def number(self, gauge: str) -> float | None:
        """Return a gauge that counts something."""
        found = self.gauges.find(GAUGES[gauge], sum)
        return _finite(ranks.total(found)) if found else None

    def ratio(
        self, gauge: str, weight: str = "", worst: Callable[[Iterable[float]], float] = max
    ) -> "_Ratio":
        """Return a gauge that is a ratio, and the worst of all ranks; `weight` is a gauge to weight ranks by."""
        found = self.gauges.find(GAUGES[gauge], worst)
        if not found:
            return _UNKNOWN
        weights = self.gauges.find(GAUGES.get(weight, ()), max)
        return _Ratio(_finite(ranks.ratio(found, weights)), _finite(worst(found.values())))

    def increases(self, counter: str) -> dict[Rank, float]:
        """Return the increase of a counter over the window, by rank."""
        return self.window.counters(COUNTERS[counter])

    def per_second(self, counter: str) -> float | None:
        """Return a counter's rate."""
        found = self.increases(counter)
        return _finite(ranks.total(found) / self.window.seconds) if found else None

    def quotient(self, counter: str, of: str) -> "_Ratio":
        """Return the quotient of two counters' increases, and the lowest of all data-parallel groups."""
        parts, wholes = (ranks.of_groups(self.increases(name), float) for name in (counter, of))
        shared = [(parts[group], wholes[group]) for group in parts if wholes.get(group, 0.0) > 0]
        if not shared:
            return _UNKNOWN
        value = sum(part for part, _ in shared) / sum(whole for _, whole in shared)
        return _Ratio(_finite(value), _finite(min(part / whole for part, whole in shared)))

    def percentiles(self, histogram: str) -> Figures | None:
        """Return the percentiles of what a histogram counted in the window; None if nothing is known of it."""
        found = self.window.histograms(HISTOGRAMS[histogram])
        return _percentiles(ranks.merged(found)) if found else None


class _Ratio(NamedTuple):
    value: float | None
    worst: float | None


_UNKNOWN = _Ratio(None, None)


def figures(gauges: Gauges, window: Window) -> Figures:
    """Return a worker's figures."""
    read = _Read(gauges, window)
    hits = read.quotient("cached_tokens", "queried_tokens")
    if hits.value is None:
        hits = read.ratio("cache_hit_ratio", worst=min)
    usage = read.ratio("kv_cache_usage", weight="kv_cache_tokens")
    return {
        "requests": {
            "running": read.number("running"),
            "queued": read.number("queued"),
            "per_second": read.per_second("requests"),
            "aborted_per_second": read.per_second("aborted"),
        },
        "tokens": {
            "prompt_per_second": read.per_second("prompt_tokens"),
            "cached_per_second": read.per_second("cached_tokens"),
            "generated_per_second": read.per_second("generated_tokens"),
            "cache_hit_ratio": hits.value,
            "cache_hit_ratio_worst": hits.worst,
        },
        "kv_cache_usage": usage.value,
        "kv_cache_usage_worst": usage.worst,
        "latency_seconds": {name: read.percentiles(name) or dict.fromkeys(PERCENTILES) for name in LATENCIES},
        "speculative": _speculative(read),
        "disaggregation": _disaggregation(read),
    }


def _speculative(read: _Read) -> Figures | None:
    """Return how many of the tokens drafted ahead are accepted; None if none are drafted."""
    rate = read.quotient("accepted_tokens", "draft_tokens")
    length = read.quotient("accepted_tokens", "drafts").value
    if rate.value is not None:
        return {
            "accept_rate": rate.value,
            "accept_rate_worst": rate.worst,
            "accept_length": length and 1 + length,
        }
    rate, length = read.ratio("accept_rate", worst=min), read.ratio("accept_length").value
    if not rate.value and not length:  # SGLang says 0 where it drafts nothing
        return None
    return {"accept_rate": rate.value, "accept_rate_worst": rate.worst, "accept_length": length}


def _disaggregation(read: _Read) -> Figures | None:
    """Return queues and transfers between prefill and decode workers; None where neither is in use."""
    queues = {name: read.number(name) for name in QUEUES}
    latency = read.percentiles("transfer_milliseconds") or dict.fromkeys(PERCENTILES)
    failures = {
        f"{name}_per_second": read.per_second(name) for name in ("failed_bootstraps", "failed_transfers")
    }
    if not any((*queues.values(), *latency.values(), *failures.values())):
        return None
    seconds = {name: value and value / 1000 for name, value in latency.items()}
    return {"queues": queues, "transfer_seconds": seconds, **failures}


def paces(gauges: Gauges, window: Window) -> tuple[Mapping[Rank, float], Mapping[Rank, float]]:
    """Return how many tokens each rank generated in the window, and how many requests it runs."""
    generated = window.of_each_rank(COUNTERS["generated_tokens"])
    tokens = {rank: counter.counts[0] for rank, counter in generated.items()}
    return tokens, gauges.of_each_rank(GAUGES["running"], sum)


def of_ranks(gauges: Gauges, window: Window, lagging: Container[Rank] = ()) -> list[Figures]:
    """Return the figures of each rank that the labels of series tell of: those that are known, and whether it lags."""
    numbers = {name: gauges.of_each_rank(GAUGES[name], sum) for name in ("running", "queued")}
    ratios = {name: gauges.of_each_rank(GAUGES[name], max) for name in ("cache_hit_ratio", "kv_cache_usage")}
    counts = {name: window.of_each_rank(COUNTERS[name]) for name in _RANK_COUNTERS}
    histograms = {name: window.of_each_rank(HISTOGRAMS[name]) for name in LATENCIES}
    found = {
        rank for by_rank in (numbers, ratios, counts, histograms) for of in by_rank.values() for rank in of
    }
    ordered = ranks.in_order(filter(any, found))
    figures: list[Figures] = []
    for name, rank in zip(ranks.names(ordered), ordered, strict=True):
        increases = {count: of[rank].counts[0] for count, of in counts.items() if rank in of}
        known = {gauge: of.get(rank) for gauge, of in (numbers | ratios).items()}
        for count, figure in _RANK_COUNTERS.items():
            if figure and count in increases:
                known[figure] = increases[count] / window.seconds
        if increases.get("queried_tokens"):
            known["cache_hit_ratio"] = increases.get("cached_tokens", 0.0) / increases["queried_tokens"]
        latencies = {latency: _percentiles(of[rank]) for latency, of in histograms.items() if rank in of}
        more = {"latency_seconds": latencies} if latencies else {}
        present = {figure: value for figure, value in known.items() if _finite(value) is not None}
        figures.append({"rank": name, **rank.labels, "lags": rank in lagging, **present, **more})
    return figures


def _percentiles(histogram: Buckets) -> Figures:
    found = histogram.quantiles(PERCENTILES.values())
    return dict(zip(PERCENTILES, map(_finite, found), strict=True))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
