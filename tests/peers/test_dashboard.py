"""The Grafana dashboard: each panel's queries give data in a real Prometheus that has scraped the demo."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.daemon import ROOT, daemon
from tests.support.peers import program
from tests.support.scrapers import Scraper, prometheus
from tests.support.waiting import eventually

DASHBOARD = json.loads((ROOT / "config" / "grafana" / "sglang-workers.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
QUERIES = {
    f"{panel['title']}: {target['legendFormat'] or target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}

WITHIN = 40.0
"""Seconds within which the demo's first requests have come and gone, and been scraped."""


def filled(expression: str, **chosen: str) -> str:
    """Return a query as Grafana sends it: all is chosen where nothing is."""
    values = {"__rate_interval": "10s"} | {
        name: variable["allValue"] for name, variable in VARIABLES.items() if "allValue" in variable
    }
    return re.sub(r"\$(\w+)", lambda match: (values | chosen)[match[1]], expression)


@pytest.fixture(scope="module", name="server")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraper]:
    program("prometheus")
    directory = tmp_path_factory.mktemp("dashboard")
    (directory / "demo").mkdir()
    with ExitStack() as stack:
        demo = stack.enter_context(daemon(directory / "demo", "demo", "--ranks=2"))
        yield stack.enter_context(prometheus(directory, {"sglang": demo}))


@pytest.mark.peer
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_gives_data(server: Scraper, name: str) -> None:
    query = filled(QUERIES[name])

    def numbers() -> list[float]:
        return [value for _, value in server.query(query) if not math.isnan(value)]

    eventually(numbers, query, within=WITHIN)


@pytest.mark.peer
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_about_the_chosen_worker(server: Scraper, name: str) -> None:
    assert server.query(filled(QUERIES[name], worker_addr="grpc://another:1")) == []


@pytest.mark.peer
@pytest.mark.parametrize("name", sorted({"worker_addr", "model_name"}))
def test_a_variable_has_values(server: Scraper, name: str) -> None:
    match = re.fullmatch(r"label_values\((.*), (\w+)\)", VARIABLES[name]["definition"])
    assert match

    def values() -> Any:
        return server.get(f"label/{match[2]}/values", **{"match[]": filled(match[1])})

    eventually(values, name)


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
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_a_panel_says_what_it_shows_and_in_what_unit(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
