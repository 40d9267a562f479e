"""A real Prometheus that scrapes the daemon of a live worker."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.daemon import GRPC_PORT, Daemon, daemon
from tests.support.scrapers import Scraper, prometheus
from tests.support.waiting import eventually
from tests.support.writers import Writer, writer

pytestmark = pytest.mark.peer

WORKER = f"grpc://127.0.0.1:{GRPC_PORT}"


@dataclass(frozen=True)
class Scraped:
    """Two workers, of which one is to be killed, their exporters, and the Prometheus that scrapes these."""

    prometheus: Scraper
    doomed: Writer


@pytest.fixture(scope="module", name="scraped")
def _scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    directory = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        targets: dict[str, Daemon] = {}
        for job in ("alive", "doomed"):
            (directory / job).mkdir()
            process = stack.enter_context(writer(directory / job))
            process.add("sglang:requests", 3, model="m")
            process.set("sglang:load", 5)
            process.set("sglang:rank", 4, "all")
            process.observe("sglang:latency", 0.5)
            targets[job] = stack.enter_context(daemon(directory / job))
        server = stack.enter_context(prometheus(directory, targets))
        eventually(lambda: len(server.query('{__name__="sglang:load"}')) == 2, "both workers are scraped")
        yield Scraped(server, process)


def test_names_and_labels_arrive_as_they_are(scraped: Scraped) -> None:
    ((labels, value),) = scraped.prometheus.query('sglang:requests_total{job="alive"}')
    assert value == 3
    assert labels.items() >= {"worker_addr": WORKER, "model": "m"}.items()
    names = set(scraped.prometheus.get("label/__name__/values"))
    assert {
        "sglang:load",
        "sglang:rank",
        "sglang:latency_bucket",
        "sglang:latency_sum",
        "sglang:latency_count",
        "smg_exporter_worker_up",
    } <= names
    assert not [name for name in names if name.startswith("sglang_")]


def test_types_and_help_texts_arrive(scraped: Scraped) -> None:
    # In OpenMetrics, which this Prometheus prefers, a counter's family has no `_total`.
    for name, type_ in {
        "sglang:requests": "counter",
        "sglang:load": "gauge",
        "sglang:latency": "histogram",
        "smg_exporter_scrapes": "counter",
    }.items():
        (metadata,) = scraped.prometheus.get("metadata", metric=name)[name]
        assert metadata["type"] == type_
        assert metadata["help"]
    (metadata,) = scraped.prometheus.get("metadata", metric="sglang:load")["sglang:load"]
    assert metadata["help"] == "What sglang:load says."


def test_functions_work_on_what_arrived(scraped: Scraped) -> None:
    (quantile,) = scraped.prometheus.query(
        'histogram_quantile(0.5, sum by (le) (sglang:latency_bucket{job="alive"}))'
    )
    assert 0.1 < quantile[1] <= 1


def test_every_scrape_succeeds_without_a_complaint(scraped: Scraped) -> None:
    it = scraped.prometheus
    eventually(lambda: it.query('count_over_time(up{job="alive"}[1m]) > 5'), "a few scrapes")
    assert [value for _, value in it.query("min_over_time(up[1m])")] == [1, 1]
    for target in it.get("targets")["activeTargets"]:
        assert (target["health"], target["lastError"]) == ("up", "")
    assert it.complaints() == []


def test_a_dead_workers_gauges_are_stale_and_its_counters_are_not(scraped: Scraped) -> None:
    it = scraped.prometheus
    scraped.doomed.kill()
    killed = time.monotonic()
    eventually(lambda: not it.query('sglang:load{job="doomed"}'), "its gauges go")
    assert time.monotonic() - killed < 4, "a gauge that is merely old goes after five minutes"
    assert it.query('sglang:rank{job="doomed"}') == []
    assert [value for _, value in it.query('sglang:requests_total{job="doomed"}')] == [3]
    assert [value for _, value in it.query('smg_exporter_worker_up{job="doomed"}')] == [0]
    assert [value for _, value in it.query('min_over_time(up{job="doomed"}[1m])')] == [1]
    assert [value for _, value in it.query('sglang:load{job="alive"}')] == [5]
