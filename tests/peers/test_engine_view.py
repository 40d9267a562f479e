"""The engine view beside a real Prometheus that scraped the same moments: each rate and percentile is PromQL's."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Thread
from typing import Any

import pytest

from exporter.engine.tracker import Tracker
from tests.support.peers import program
from tests.support.scrapers import Scraper, prometheus
from tests.support.snapshots import Snapshots, counter, gauge, histogram
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

SCRAPES = 24
BOUNDS = ("0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf")
RANKS = [(dp, tp) for dp in range(2) for tp in range(2)]


class Engine:
    """A worker of two data-parallel groups of two tensor ranks, whose processes restart now and then."""

    def __init__(self) -> None:
        self._random = Random(7)  # noqa: S311 - values, not secrets
        self._counts: dict[tuple[str, str], list[float]] = {}
        self.bodies: list[str] = []

    def scrape(self) -> bytes:
        """Return the exposition of the next moment."""
        self.bodies.append(
            "".join(
                [
                    f"test_scrape {len(self.bodies)}\n",
                    gauge("sglang:num_running_reqs", self._gauge(40)),
                    gauge("sglang:token_usage", self._gauge(1)),
                    gauge(
                        "sglang:max_total_num_tokens", {labels(*rank): 1000 * (1 + rank[0]) for rank in RANKS}
                    ),
                    *(
                        counter(f"sglang:{name}", {labels: self._count(name, labels) for labels in of_stream})
                        for name in (
                            "num_requests",
                            "num_aborted_requests",
                            "prompt_tokens",
                            "generation_tokens",
                        )
                    ),
                    counter(
                        "sglang:cached_tokens",
                        {source: self._count("cached_tokens", source) for source in of_source},
                    ),
                    *(
                        histogram(
                            f"sglang:{name}", {labels: self._buckets(name, labels) for labels in of_stream}
                        )
                        for name in LATENCIES.values()
                        if name != "queue_time_seconds"
                    ),
                    # Of each group both ranks see the same, but the second starts late.
                    histogram(
                        "sglang:queue_time_seconds",
                        {labels(dp, tp): self._buckets("queue", str(dp), again=tp == 1) for dp, tp in RANKS},
                    ),
                ]
            )
        )
        return self.bodies[-1].encode()

    def _gauge(self, most: float) -> dict[str, float]:
        return {labels(*rank): round(most * self._random.random(), 3) for rank in RANKS}

    def _count(self, name: str, labels: str) -> float:
        (value,) = self._add((name, labels), [self._random.randrange(1, 1000)])
        return value

    def _buckets(self, name: str, labels: str, *, again: bool = False) -> dict[str, float]:
        raw = (
            self._counts[name, labels]
            if again
            else self._add((name, labels), [self._random.randrange(9) for _ in BOUNDS])
        )
        return {bound: sum(raw[: place + 1]) for place, bound in enumerate(BOUNDS)}

    def _add(self, key: tuple[str, str], more: list[float]) -> list[float]:
        before = self._counts.get(key)
        if before is None or self._random.random() < 0.1:  # a restart
            before = [0.0] * len(more)
        self._counts[key] = [count + increase for count, increase in zip(before, more, strict=True)]
        return self._counts[key]


def labels(dp: int, tp: int) -> str:
    return f'dp_rank="{dp}",tp_rank="{tp}"'


of_stream = ('is_streaming="true"', 'is_streaming="false"')
of_source = ('cache_source="device"', 'cache_source="host"')
LATENCIES = {
    "time_to_first_token": "time_to_first_token_seconds",
    "inter_token": "inter_token_latency_seconds",
    "end_to_end": "e2e_request_latency_seconds",
    "queue": "queue_time_seconds",
}


@dataclass(frozen=True)
class Target:
    """What `prometheus` needs to know of a target."""

    host: str
    port: int


@dataclass(frozen=True)
class Scraped:
    """A Prometheus, and what it scraped, with its times in milliseconds."""

    prometheus: Scraper
    bodies: list[str]
    times: list[int]


@pytest.fixture(scope="module", name="scraped")
def _scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    program("prometheus")
    engine = Engine()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = engine.scrape()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        target: Any = Target("127.0.0.1", server.server_port)
        with prometheus(tmp_path_factory.mktemp("prometheus"), {"engine": target}) as it:
            eventually(lambda: it.query("test_scrape > 30"), "enough scrapes", within=30)
            ((series),) = it.get("query", query="test_scrape[2m]")["result"]
            times = {int(number): round(1000 * float(time)) for time, number in series["values"]}
            yield Scraped(it, engine.bodies, [times[number] for number in range(SCRAPES)])
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(
    scope="module", params=[(3, 23), (0, 10), (12, 13)], ids=["long", "from the start", "two reads"]
)
def compared(request: pytest.FixtureRequest, scraped: Scraped) -> "Compared":
    first, last = request.param
    milliseconds = scraped.times[last] - scraped.times[first]
    tracker, snapshots = Tracker(window=milliseconds / 1000), Snapshots()
    for number in range(last + 1):
        tracker.take(scraped.times[number] / 1000, snapshots.of(scraped.bodies[number]), up=True)
    return Compared(scraped, tracker.view(), milliseconds, scraped.times[last] / 1000)


@dataclass(frozen=True)
class Compared:
    """A view, and PromQL's answers for the same window."""

    scraped: Scraped
    view: dict[str, Any]
    milliseconds: int
    time: float

    def promql(self, expression: str) -> float:
        """Return the value of an expression; `WINDOW` in it stands for the window."""
        query = expression.replace("WINDOW", f"{self.milliseconds}ms")
        (series,) = self.scraped.prometheus.get("query", query=query, time=f"{self.time:.3f}")["result"]
        return float(series["value"][1])


def test_the_window_is_the_same(compared: Compared) -> None:
    # Unix seconds of today are floats 2.4e-7 apart, and the window is the difference of two.
    assert compared.view["window_seconds"] == pytest.approx(compared.milliseconds / 1000, abs=5e-7)


@pytest.mark.parametrize(
    ("group", "figure", "name"),
    [
        ("requests", "per_second", "num_requests"),
        ("requests", "aborted_per_second", "num_aborted_requests"),
        ("tokens", "prompt_per_second", "prompt_tokens"),
        ("tokens", "cached_per_second", "cached_tokens"),
        ("tokens", "generated_per_second", "generation_tokens"),
    ],
)
def test_rates(compared: Compared, group: str, figure: str, name: str) -> None:
    expected = compared.promql(f"sum(rate(sglang:{name}_total[WINDOW]))")
    assert expected > 0
    assert compared.view[group][figure] == pytest.approx(expected, rel=2e-6)


def test_the_cache_hit_ratio(compared: Compared) -> None:
    hits, all_ = (f"sum(increase(sglang:{name}_tokens_total[WINDOW]))" for name in ("cached", "prompt"))
    assert compared.view["tokens"]["cache_hit_ratio"] == pytest.approx(compared.promql(f"{hits} / {all_}"))


@pytest.mark.parametrize("percentile", ["p50", "p95", "p99"])
@pytest.mark.parametrize("latency", LATENCIES)
def test_percentiles(compared: Compared, latency: str, percentile: str) -> None:
    rates = f"rate(sglang:{LATENCIES[latency]}_bucket[WINDOW])"
    merged = (
        f"sum by (le) (max by (le, dp_rank) ({rates}))" if latency == "queue" else f"sum by (le) ({rates})"
    )
    expected = compared.promql(f"histogram_quantile(0.{percentile[1:]}, {merged})")
    assert math.isfinite(expected)
    assert compared.view["latency_seconds"][latency][percentile] == pytest.approx(expected, rel=2e-6)


def test_percentiles_of_a_rank(compared: Compared) -> None:
    for rank in compared.view["ranks"]:
        chosen = f'dp_rank="{rank["dp_rank"]}",tp_rank="{rank["tp_rank"]}"'
        rates = f"rate(sglang:queue_time_seconds_bucket{{{chosen}}}[WINDOW])"
        expected = compared.promql(f"histogram_quantile(0.95, {rates})")
        assert rank["latency_seconds"]["queue"]["p95"] == pytest.approx(expected, rel=2e-6)


def test_gauges(compared: Compared) -> None:
    running = compared.promql("sum(max by (dp_rank) (sglang:num_running_reqs))")
    assert compared.view["requests"]["running"] == pytest.approx(running)
    usage, size = (f"max by (dp_rank) (sglang:{name})" for name in ("token_usage", "max_total_num_tokens"))
    expected = compared.promql(f"sum({usage} * {size}) / sum({size})")
    assert compared.view["kv_cache_usage"] == pytest.approx(expected)
    assert compared.view["kv_cache_usage_worst"] == pytest.approx(compared.promql("max(sglang:token_usage)"))
