"""A real Prometheus over node: all workers in one answer, and each by itself through /sd."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.node.running import Host, host, served
from tests.support.daemon import ROOT
from tests.support.peers import program
from tests.support.scrapers import Scraper, prometheus
from tests.support.waiting import eventually

pytestmark = pytest.mark.peer

SHIPPED = ROOT / "config" / "prometheus" / "node.yml"


def jobs(it: Host) -> dict[str, dict[str, Any]]:
    """Return the shipped jobs, the one in the comment too, for this host."""
    text = (
        SHIPPED.read_text("utf-8").replace("\n  # - job_name", "\n  - job_name").replace("\n  #   ", "\n    ")
    )
    whole, apart = yaml.safe_load(text)["scrape_configs"]
    at = f"127.0.0.1:{it.port}"
    whole["static_configs"] = [{"targets": [at]}]
    apart["static_configs"] = []
    (source,) = apart["http_sd_configs"]
    source |= {"url": source["url"].replace("gpu-1.example:29011", at), "refresh_interval": "1s"}
    often = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    return {job["job_name"]: job | often for job in (whole, apart)}


def addresses(server: Scraper, query: str) -> dict[str, float]:
    return {labels["worker_addr"]: value for labels, value in server.query(query)}


def test_prometheus_scrapes_both_ways_and_sees_the_same(tmp_path: Path) -> None:
    program("prometheus")
    with host(tmp_path / "a", tmp_path / "b") as it:
        eventually(lambda: served(it, 2), "two workers")
        both = jobs(it)
        with prometheus(tmp_path, dict.fromkeys(both, it), **both) as server:
            names = {target["labels"]["worker_addr"] for target in it.targets()}
            for job in both:
                eventually(
                    lambda job=job: len(addresses(server, f'answers_total{{job="{job}"}}')) == 2,  # type: ignore[misc]
                    f"both workers in {job}",
                )
            for name, value in (("answers_total", 1), ("load", 3), ("smg_exporter_worker_up", 1)):
                for job in both:
                    assert addresses(server, f'{name}{{job="{job}"}}') == dict.fromkeys(names, value)
            assert addresses(server, 'up{job="smg-workers"}') == dict.fromkeys(names, 1)
            assert [value for _, value in server.query('up{job="smg-exporter-node"}')] == [1]
            assert server.query('{exported_worker_addr!=""}') == []
            assert server.complaints() == []
