"""The Grafana dashboard: each panel's queries give data in a real Prometheus that has scraped the demo."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.worker.telemetry import own_names
from tests.support.daemon import GRPC_PORT, ROOT, daemon, run
from tests.support.expositions import Exposition
from tests.support.peers import program
from tests.support.scrapers import Scraper, prometheus_with_rules
from tests.support.waiting import eventually
from tests.support.writers import writer

DASHBOARD = json.loads((ROOT / "config" / "grafana" / "sglang-workers.json").read_text("utf-8"))
ROWS = [DASHBOARD["panels"], *(row["panels"] for row in DASHBOARD["panels"] if row["type"] == "row")]
"""Panels that are on the screen together: the upper level's, and those of each row that can be folded out."""
PANELS = [panel for row in ROWS for panel in row if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
QUERIES = {
    f"{panel['title']}: {target['legendFormat'] or target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
CHOICES = {"job", "cluster", "namespace", "worker_addr"}
"""Variables that every query heeds."""
RULES = ROOT / "config" / "prometheus" / "recording.rules.yml"

WITHIN = 40.0
"""Seconds within which the demo's first requests have come and gone, and been scraped."""


def filled(expression: str, **chosen: str) -> str:
    """Return a query as Grafana sends it: all is chosen where nothing is."""
    values = {"__rate_interval": "10s"} | {
        name: variable["allValue"] for name, variable in VARIABLES.items() if "allValue" in variable
    }
    return re.sub(r"\$(\w+)", lambda match: (values | chosen)[match[1]], expression)


@pytest.fixture(scope="module", name="server")
def _server(recorded: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraper]:
    """Give a Prometheus that has scraped three hosts, each of which calls its worker the same.

    One has a demo, one a recorded worker, which has all of SGLang's gauges, and one a worker that transfers KV caches.
    """
    program("prometheus")
    directory = tmp_path_factory.mktemp("dashboard")
    with ExitStack() as stack:
        hosts = {}
        for name, options in {
            "demo": ["demo", "--ranks=2", f"--worker-addr=grpc://127.0.0.1:{GRPC_PORT}"],
            "recorded": [f"--multiproc-dir={recorded['tp8']}", "--liveness=off"],
            "prefill": [],
        }.items():
            (directory / name).mkdir()
            hosts[f"sglang-{name}"] = stack.enter_context(daemon(directory / name, *options))
        process = stack.enter_context(writer(directory / "prefill"))
        process.observe("sglang:kv_transfer_latency_ms", 0.1)
        labelled = {"labels": {"cluster": "c", "namespace": "n"}}
        jobs = {
            name: {"static_configs": [{"targets": [f"{host.host}:{host.port}"], **labelled}]}
            for name, host in hosts.items()
        }
        server = stack.enter_context(prometheus_with_rules([RULES], directory, hosts, **jobs))
        first = 'sglang:kv_transfer_latency_ms_count{job="sglang-prefill"}'
        eventually(lambda: server.query(first), "the first transfer is scraped")
        process.observe("sglang:kv_transfer_latency_ms", 0.1)
        yield server


@pytest.mark.peer
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_gives_data(server: Scraper, name: str) -> None:
    query = filled(QUERIES[name])

    def numbers() -> list[float]:
        return [value for _, value in server.query(query) if not math.isnan(value)]

    eventually(numbers, query, within=WITHIN)


@pytest.mark.peer
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_about_what_is_chosen(server: Scraper, name: str) -> None:
    assert set(re.findall(r"\$(\w+)", QUERIES[name])) >= CHOICES
    for variable in CHOICES:
        assert server.query(filled(QUERIES[name], **{variable: "another"})) == [], variable


@pytest.mark.peer
@pytest.mark.parametrize(
    "name", [name for name, variable in VARIABLES.items() if variable["type"] == "query"]
)
def test_a_variable_has_values(server: Scraper, name: str) -> None:
    match = re.fullmatch(r"label_values\((.*), (\w+)\)", VARIABLES[name]["definition"])
    assert match

    def values() -> Any:
        return server.get(f"label/{match[2]}/values", **{"match[]": filled(match[1])})

    eventually(values, name)


@pytest.mark.peer
def test_hosts_that_call_their_workers_the_same_are_told_apart(server: Scraper) -> None:
    panel = next(panel for panel in PANELS if panel["title"] == "Running requests")
    query = filled(panel["targets"][0]["expr"])
    found = eventually(lambda: one if len(one := server.query(query)) > 1 else None, query, within=WITHIN)
    assert len({labels["worker_addr"] for labels, _ in found}) == 1
    assert len({labels["instance"] for labels, _ in found}) == len(found)
    assert "{{instance}}" in panel["targets"][0]["legendFormat"]


@pytest.mark.peer
def test_so_many_workers_are_up_of_so_many(server: Scraper) -> None:
    up, known = (QUERIES[f"Workers up: {legend}"] for legend in ("up", "of all"))
    eventually(lambda: [value for _, value in server.query(filled(known))] == [3], "all are scraped")
    assert [value for _, value in server.query(filled(up))] == [3]


def test_each_name_is_a_rule_s_or_sglang_s_or_ours(recorded: dict[str, Path]) -> None:
    dump = run("dump", "--grpc-port=8001", f"--multiproc-dir={recorded['tp8']}", "--liveness=off")
    served = {sample.name for sample in Exposition(dump.stdout).samples}
    rules = {
        rule["record"]
        for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    }
    used = set(
        re.findall(r"\b(?:worker\w*:|sglang:|smg_exporter_|process_)[\w:]+", " ".join(QUERIES.values()))
    )
    assert used <= served | rules | own_names()
    assert used & rules


def test_it_can_be_imported_into_any_grafana() -> None:
    assert DASHBOARD["schemaVersion"] >= 38
    assert "id" not in DASHBOARD, "the number of a dashboard of somebody's Grafana"
    assert VARIABLES["datasource"]["type"] == "datasource"
    sources = [
        *(target["datasource"] for panel in PANELS for target in panel["targets"]),
        *(panel["datasource"] for panel in PANELS),
        *(variable["datasource"] for variable in VARIABLES.values() if variable["type"] == "query"),
    ]
    assert {source["uid"] for source in sources} == {"${datasource}"}


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    numbers = [panel["id"] for row in ROWS for panel in row]
    assert len(set(numbers)) == len(numbers)
    for row in ROWS:
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in row)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max((x for x, _ in cells), default=0) < 24


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_panel_says_what_it_shows_and_in_what_unit(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
