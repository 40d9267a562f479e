"""The facts of the fleet, and the form of them that `/sd` has."""

import json
from types import SimpleNamespace
from typing import Any

from exporter.fleet.fanout import Outcome
from exporter.fleet.sources import Discovery, Source
from exporter.fleet.status import Observer
from exporter.fleet.targets import Target, from_option, from_smg
from exporter.scraping.reading import BodyReader
from tests.fleet.served import Away, fleet


async def sd(*targets: Target) -> Any:
    async with fleet(*targets) as served:
        status, headers, body = await served.get("/sd")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    return json.loads(body)


async def test_sd_names_each_exporter_and_what_is_known_of_its_worker() -> None:
    smg = {"url": "grpc://[::1]:8001@1", "model_id": "m", "worker_type": "decode", "labels": {"a.b": "c"}}
    other = "grpc://h:1=https://x/m?collect=a&collect=b&x="
    assert await sd(from_smg(smg, "smg"), from_option(other)) == [
        {
            "targets": ["[::1]:18001"],
            "labels": {
                "__meta_smg_a_b": "c",
                "__meta_smg_model_id": "m",
                "__meta_smg_worker_type": "decode",
                "worker_addr": "grpc://[::1]:8001",
                "__scheme__": "http",
                "__metrics_path__": "/metrics",
            },
        },
        {
            "targets": ["x:443"],
            "labels": {
                "worker_addr": "grpc://h:1",
                "__scheme__": "https",
                "__metrics_path__": "/m",
                "__param_collect": "a",
                "__param_x": "",
            },
        },
    ]


async def test_what_is_known_of_each_target_and_source() -> None:
    up, down, new = (from_option(f"http://127.0.0.1:{port}") for port in (1, 2, 3))
    source = Source("smg", Away())
    await source.refresh()
    reading = BodyReader().read(b"a 1\nb 2\n", b"w")
    outcomes = {up.metrics_url: Outcome(0.5, reading), down.metrics_url: Outcome(2.0, None, "status", "no")}
    fanout = SimpleNamespace(outcomes=outcomes, last_scrape=7.5, durations={"read": 0.25})
    facts = Observer(Discovery([up, down, new], [source]), fanout).status().as_json()  # type: ignore[arg-type]
    found = [(it["state"], it["problem"], it["seconds"], it["samples"]) for it in facts["targets"]]
    assert found == [("up", "", 0.5, 2), ("down", "no", 2.0, 0), ("unknown", "", None, 0)]
    told = {"name": "smg", "targets": 0, "skipped": 0, "problem": "smg: away", "last_success": None}
    assert list(facts["sources"]) == [told | {"reasons": ()}]
    assert [it["listed"] for it in facts["targets"]] == [True] * 3
    assert (facts["ready"], facts["last_scrape"], facts["scrape_durations"]) == (True, 7.5, {"read": 0.25})
