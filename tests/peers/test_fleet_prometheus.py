"""A real Prometheus over real workers: through the fleet's one answer, and directly by what its /sd names."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.peers.test_promtool import LINTED, beyond_names, check_metrics
from tests.support.daemon import ROOT, Daemon, daemon
from tests.support.peers import program
from tests.support.scrapers import Scraper, prometheus
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

WORKERS = ("grpc://10.0.0.1:8001", "grpc://[fd00::2]:8001@1", "http://127.0.0.1:30000")
SHIPPED = ROOT / "config" / "prometheus" / "fleet-http-sd.yml"
ADDRESSES = {worker.partition("@")[0] for worker in WORKERS}


@dataclass(frozen=True)
class Fleet:
    """A fleet over exporters of recorded workers, and the Prometheus that scrapes it and them."""

    daemon: Daemon
    prometheus: Scraper


@pytest.fixture(scope="module", name="fleet")
def _fleet(recorded: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    program("prometheus")
    directory = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        groups = []
        for number, worker in enumerate(WORKERS):
            (directory / f"worker{number}").symlink_to(recorded["tp8" if number == 2 else "tp1"])
            named = f"--worker-addr={worker.partition('@')[0]}"
            exporter = stack.enter_context(daemon(directory / f"worker{number}", "--liveness=off", named))
            facts = {"model_id": f"m{number}", "worker_type": "regular", "tokenizer_path": "/m"}
            groups.append({"targets": [f"{worker}={exporter.url}/metrics"], "labels": facts})
        (directory / "workers.json").write_text(json.dumps(groups))
        file = f"--workers-file={directory / 'workers.json'}"
        running = stack.enter_context(daemon(directory / "fleet", "fleet", file))
        (shipped,) = yaml.safe_load(SHIPPED.read_text("utf-8"))["scrape_configs"]
        jobs: Mapping[str, Any] = {
            "fleet": {"metrics_path": "/engine_metrics", "scrape_interval": "1s", "scrape_timeout": "1s"},
            "direct": {
                **shipped,
                "job_name": "direct",
                "static_configs": [],
                "http_sd_configs": [{"url": f"{running.url}/sd", "refresh_interval": "1s"}],
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
            },
        }
        server = stack.enter_context(prometheus(directory, dict.fromkeys(jobs, running), **jobs))
        query = 'count by (job) (count by (job, worker_addr) ({__name__="sglang:num_queue_reqs"}))'
        eventually(
            lambda: [value for _, value in server.query(query)] == [3, 3], "both jobs have all workers"
        )
        yield Fleet(running, server)


def test_both_ways_bring_the_same_values(fleet: Fleet) -> None:
    for name in (
        "sglang:num_queue_reqs",
        "sglang:e2e_request_latency_seconds_bucket",
        "sglang:cached_tokens_total",
    ):
        selected = f'{{__name__="{name}",job="%s"}}'
        merged, direct = (
            {
                tuple(
                    (label, text)
                    for label, text in sorted(labels.items())
                    if label not in {"job", "instance", "model_id", "worker_type"}
                ): value
                for labels, value in fleet.prometheus.query(selected % job)
            }
            for job in ("fleet", "direct")
        )
        assert merged == direct
        assert {dict(labels)["worker_addr"] for labels in merged} == ADDRESSES


def test_prometheus_knows_each_worker_by_its_address(fleet: Fleet) -> None:
    up = {labels["worker_addr"]: value for labels, value in fleet.prometheus.query('up{job="direct"}')}
    assert up == dict.fromkeys(ADDRESSES, 1.0)
    targets = {
        labels["worker_addr"]: value
        for labels, value in fleet.prometheus.query('smg_exporter_target_up{job="fleet"}')
    }
    assert targets == up


def test_of_what_a_source_says_only_what_relabelling_keeps_is_on_series(fleet: Fleet) -> None:
    for name in ("up", "sglang:num_queue_reqs"):
        kept = {
            (labels["worker_addr"], labels["model_id"], labels["worker_type"])
            for labels, _ in fleet.prometheus.query(f'{{__name__="{name}",job="direct"}}')
        }
        assert kept == {
            (worker.partition("@")[0], f"m{number}", "regular") for number, worker in enumerate(WORKERS)
        }
    assert "tokenizer_path" not in fleet.prometheus.get("labels")


def test_prometheus_has_nothing_to_complain_of(fleet: Fleet) -> None:
    assert fleet.prometheus.complaints() == []


def test_promtool_finds_no_fault_but_names_in_the_merge(fleet: Fleet) -> None:
    answer = fleet.daemon.get("/engine_metrics")
    answer.exposition.check()
    code, lines = check_metrics(answer.text)
    assert code in {0, LINTED}, lines
    assert beyond_names(lines) == []


def test_the_merge_is_strict_openmetrics_too(fleet: Fleet) -> None:
    answer = fleet.daemon.get("/engine_metrics", {"Accept": "application/openmetrics-text;version=1.0.0"})
    answer.exposition.check()
    assert answer.text.endswith("# EOF\n")


def test_the_status_tells_what_each_worker_brought(fleet: Fleet) -> None:
    facts = json.loads(fleet.daemon.get("/status.json").text)
    assert {target["worker_addr"]: target["state"] for target in facts["targets"]} == dict.fromkeys(
        ADDRESSES, "up"
    )
    assert all(target["samples"] > 1000 for target in facts["targets"])
