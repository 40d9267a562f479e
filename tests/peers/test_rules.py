"""The Prometheus files: its own checker takes them, and each alert fires when it should and not when it should not."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.worker.telemetry import own_names
from tests.support.daemon import ROOT, run
from tests.support.expositions import Exposition
from tests.support.peers import program

pytestmark = pytest.mark.peer

FOLDER = ROOT / "config" / "prometheus"
RECORDING, ALERTS, UNIT_TESTS = "recording.rules.yml", "alerts.rules.yml", "rules.test.yml"

OF_PROMETHEUS = {"up", "scrape_duration_seconds"}
"""Metrics that Prometheus itself makes for each target."""


def rules(name: str) -> list[dict[str, Any]]:
    """Return the rules of all groups of a file."""
    groups = yaml.safe_load((FOLDER / name).read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERT_NAMES = [rule["alert"] for rule in rules(ALERTS)]


def promtool(*words: str, within: Path = FOLDER) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program("promtool"), *words], cwd=within, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", RECORDING, ALERTS),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", UNIT_TESTS),
    ],
    ids=" ".join,
)
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    result = promtool(*words)
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_is_content_with_the_relabeling_of_annotated_pods(tmp_path: Path) -> None:
    config = yaml.safe_load((FOLDER / "kubernetes-annotations.yml").read_text("utf-8"))
    for job in config["scrape_configs"]:
        # Debian's Prometheus is built without Kubernetes.
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    result = promtool("check", "config", "prometheus.yml", within=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("broken", ["vector(0) > 1", "vector(1)"], ids=["never_fires", "always_fires"])
def test_the_unit_tests_notice_each_alert_that(broken: str, tmp_path: Path) -> None:
    for name in (RECORDING, UNIT_TESTS):
        shutil.copy(FOLDER / name, tmp_path)
    changed = {"groups": [{"name": "broken", "rules": [rule | {"expr": broken} for rule in rules(ALERTS)]}]}
    (tmp_path / ALERTS).write_text(json.dumps(changed))  # which is YAML too
    result = promtool("test", "rules", UNIT_TESTS, within=tmp_path)
    noticed = re.findall(r"alertname: (\w+), time:", result.stdout + result.stderr)
    assert sorted(set(noticed)) == sorted(ALERT_NAMES)


@pytest.mark.parametrize("alert", ALERT_NAMES)
def test_the_unit_tests_have_an_alert_fire_and_be_silent(alert: str) -> None:
    groups = yaml.safe_load((FOLDER / UNIT_TESTS).read_text("utf-8"))["tests"]
    cases = [case for group in groups for case in group.get("alert_rule_test", ())]
    fires = [bool(case["exp_alerts"]) for case in cases if case["alertname"] == alert]
    assert set(fires) == {True, False}


@pytest.mark.parametrize("rule", rules(ALERTS), ids=ALERT_NAMES)
def test_each_alert_says_how_bad_it_is_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    texts = rule["annotations"]
    assert texts.keys() == {"summary", "description", "runbook_url"}
    assert "{{" in texts["summary"], "whom it is about"
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
    assert texts["runbook_url"] == f"{repository}/blob/main/docs/runbooks.md#{rule['alert'].lower()}"


def test_another_address_of_the_runbooks_is_put_everywhere_as_the_document_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    (command,) = re.findall(r"^ *(sed -i .*)$", text, re.MULTILINE)
    placeholder, address = command.split("|")[1:3]
    before = {path: path.read_text("utf-8") for path in (ROOT / "config").rglob("*.y*ml")}
    shutil.copytree(ROOT / "config", tmp_path / "config")
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    for path, content in before.items():
        changed = tmp_path / path.relative_to(ROOT)
        assert changed.read_text("utf-8") == content.replace(placeholder, address)
    assert address in (tmp_path / "config" / "prometheus" / ALERTS).read_text("utf-8")
    result = promtool("test", "rules", UNIT_TESTS, within=tmp_path / "config" / "prometheus")
    assert result.returncode == 0, result.stdout + result.stderr


def shipped_jobs() -> set[str]:
    """Return the jobs that the configurations beside the rules make, and the operator of the Kubernetes manifests."""
    jobs = set()
    for path in (ROOT / "config").rglob("*.y*ml"):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            if not isinstance(document, dict):
                continue
            jobs |= {job["job_name"] for job in document.get("scrape_configs", ())}
            if document.get("kind") in {"PodMonitor", "ServiceMonitor"}:
                spec = document["spec"]
                jobs.add(spec["selector"]["matchLabels"][spec["jobLabel"]])
    return jobs


def test_the_unit_tests_miss_an_exporter_under_each_job_name_that_is_shipped() -> None:
    groups = yaml.safe_load((FOLDER / UNIT_TESTS).read_text("utf-8"))["tests"]
    cases = [case for group in groups for case in group.get("alert_rule_test", ())]
    missed = {
        alert["exp_labels"]["job"]
        for case in cases
        if case["alertname"] == "SmgExporterDown"
        for alert in case["exp_alerts"]
    }
    assert len(shipped_jobs()) > 5
    assert shipped_jobs() <= missed


def test_the_same_jobs_are_ours_to_every_alert() -> None:
    assert len(set(re.findall(r'job=~"[^"]*"', (FOLDER / ALERTS).read_text("utf-8")))) == 1


def test_the_rules_have_names_of_level_metric_and_operation() -> None:
    for rule in rules(RECORDING):
        assert re.fullmatch("worker(_mode|_le)?:sglang_[a-z0-9_]+:[a-z0-9]+(_rate5m)?", rule["record"])


def test_no_runbook_is_left_over() -> None:
    text = (ROOT / "docs" / "runbooks.md").read_text("utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ALERT_NAMES


def test_each_metric_of_a_rule_exists(recorded: dict[str, Path]) -> None:
    dump = run("dump", "--grpc-port=8001", f"--multiproc-dir={recorded['tp8']}", "--liveness=off")
    assert dump.returncode == 0, dump.stderr
    served = {sample.name for sample in Exposition(dump.stdout).samples}
    made = {rule["record"] for rule in rules(RECORDING)}
    used = set()
    of_fleet = (ROOT / "tests" / "golden" / "fleet-own.txt").read_text("utf-8")
    own = own_names() | set(re.findall(r"^# TYPE (\S+)", of_fleet, re.MULTILINE))
    for rule in rules(RECORDING) + rules(ALERTS):
        used |= set(re.findall(r"\b(?:worker\w*:|sglang:|smg_exporter_|scrape_|up\b)[\w:]*", rule["expr"]))
    assert used - served - made - own - OF_PROMETHEUS == set()
    assert {name for name in used if name.startswith("sglang:")}
