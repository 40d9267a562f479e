"""The example configurations of Prometheus: a worker's series keep their `worker_addr`."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.paths import SERVICE_DISCOVERY
from tests.support.daemon import ROOT

FILES = sorted((ROOT / "config" / "prometheus").glob("*.yml"))


def jobs(file: Path) -> list[dict[str, Any]]:
    content = yaml.safe_load(file.read_text("utf-8"))
    return content.get("scrape_configs", []) if isinstance(content, dict) else []


def by_sd(job: dict[str, Any]) -> bool:
    """Whether a job takes its targets from a fleet, which labels each with its `worker_addr`."""
    return any(source["url"].endswith(SERVICE_DISCOVERY) for source in job.get("http_sd_configs", []))


BY_SD = {f"{file.name}: {job['job_name']}": job for file in FILES for job in jobs(file) if by_sd(job)}


def test_three_examples_take_their_targets_from_a_fleet() -> None:
    assert len(BY_SD) == 3


@pytest.mark.parametrize("job", BY_SD.values(), ids=BY_SD)
def test_a_target_that_has_worker_addr_does_not_rename_that_of_its_series(job: dict[str, Any]) -> None:
    assert job["honor_labels"] is True


def test_the_example_keeps_two_of_smgs_facts() -> None:
    kept = {
        rule["source_labels"][0]: rule["target_label"]
        for rule in BY_SD["fleet-http-sd.yml: smg-workers"]["relabel_configs"]
    }
    assert kept == {"__meta_smg_model_id": "model_id", "__meta_smg_worker_type": "worker_type"}
