"""The fleet's endpoints, over real targets."""

import gzip
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import pytest

from exporter.fleet.app import make_app
from exporter.fleet.client import make_session, scrape
from exporter.fleet.fanout import Fanout
from exporter.fleet.sources import Discovery, Source, SourceError
from exporter.fleet.status import Observer
from exporter.fleet.targets import Target, from_option, from_smg
from exporter.fleet.telemetry import Telemetry, target_metrics
from exporter.web.listen import open_sockets
from exporter.web.server import Server
from tests.fleet.targets import answer, serving
from tests.support.compare import of_openmetrics, types
from tests.support.expositions import Exposition


@dataclass
class Served:
    """A running fleet."""

    url: str
    session: aiohttp.ClientSession

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, Mapping[str, str], bytes]:
        plain = {"Accept-Encoding": "identity"}
        async with self.session.request(
            method, self.url + path, headers=plain | dict(headers or {})
        ) as response:
            return response.status, response.headers, await response.read()


class Away:
    async def read(self) -> list[Target]:
        raise SourceError("smg: away")


@asynccontextmanager
async def fleet(*targets: Target, source: Source | None = None) -> AsyncIterator[Served]:
    discovery = Discovery(targets, [source] if source else [])
    async with make_session(ssl.create_default_context()) as session:
        fanout = Fanout(
            lambda: discovery.targets,
            partial(scrape, session, limit=1 << 20),
            target_metrics,
            labels={},
            target_timeout=2.0,
            max_target_bytes=1 << 20,
            no_target=lambda: discovery.problem,
        )
        telemetry = Telemetry(discovery, fanout)
        observer = Observer(discovery, fanout)
        app = make_app(
            fanout, telemetry.registry, observer, max_requests=4, on_response=telemetry.count_scrape
        )
        server = Server(app)
        sockets = open_sockets(["127.0.0.1"], 0)
        await server.start(sockets)
        try:
            yield Served(f"http://127.0.0.1:{sockets[0].getsockname()[1]}", session)
        finally:
            await server.stop(0.1)
            fanout.close()


async def test_engine_metrics_is_negotiated() -> None:
    async with serving(answer()) as worker, fleet(from_option(worker.worker)) as served:
        status, headers, body = await served.get("/engine_metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        Exposition(body.decode()).check()
        accept = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
        status, headers, body = await served.get("/engine_metrics", accept)
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
        assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert types(of_openmetrics(gzip.decompress(body)))["up_to"] == "gauge"


@pytest.mark.parametrize("escaping", ["allow-utf-8", "underscores", "values", "dots"])
async def test_the_content_type_says_no_escaping_that_the_body_has_not(escaping: str) -> None:
    async with serving(answer()) as worker, fleet(from_option(worker.worker)) as served:
        accept = {"Accept": f"text/plain;version=1.0.0;escaping={escaping}"}
        _, headers, body = await served.get("/engine_metrics", accept)
        said = "underscores" if escaping == "dots" else escaping
        assert headers["Content-Type"] == f"text/plain; version=1.0.0; charset=utf-8; escaping={said}"
        assert b"\nup_to{" in body


async def test_head_has_the_length_and_no_body() -> None:
    async with serving(answer()) as worker, fleet(from_option(worker.worker)) as served:
        status, headers, body = await served.get("/engine_metrics", method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 100


async def test_the_fleets_own_metrics_tell_of_targets_and_sources() -> None:
    source = Source("smg", Away())
    await source.refresh()
    async with serving(answer()) as worker, serving(answer(status="500 No")) as bad:
        targets = from_option(worker.worker), from_option(bad.worker)
        async with fleet(*targets, source=source) as served:
            await served.get("/engine_metrics")
            _, _, body = await served.get("/metrics")
    own = Exposition(body.decode())
    own.check()
    assert own.values("smg_exporter_target_up", worker_addr=worker.worker) == [1]
    assert own.values("smg_exporter_target_up", worker_addr=bad.worker) == [0]
    assert own.values("smg_exporter_target_failures_total", reason="status") == [1]
    assert own.values("smg_exporter_target_failures_total", reason="timeout") == [0]
    assert own.values("smg_exporter_discovery_up", source="smg") == [0]
    assert own.values("smg_exporter_scrapes_total", code="200") == [1]
    assert own.values("smg_exporter_targets") == [2]
    assert not own.values("up_to")


async def test_no_target_is_503_and_why() -> None:
    source = Source("smg", Away())
    await source.refresh()
    async with fleet(source=source) as served:
        for path in ("/engine_metrics", "/readyz"):
            status, _, body = await served.get(path)
            assert (status, body) == (503, b"no target: smg: away\n")
        assert (await served.get("/healthz"))[0] == 200
        assert (await served.get("/sd"))[2] == b"[]\n"


async def sd(*targets: Target) -> Any:
    async with fleet(*targets) as served:
        status, headers, body = await served.get("/sd")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    return json.loads(body)


async def test_sd_names_each_exporter_and_what_is_known_of_its_worker() -> None:
    smg = {"url": "grpc://[::1]:8001@1", "model_id": "m", "worker_type": "decode", "labels": {"a.b": "c"}}
    other = "grpc://h:1=https://x/m?collect=a&collect=b&x="
    assert await sd(from_smg(smg), from_option(other)) == [
        {
            "targets": ["[::1]:18001"],
            "labels": {
                "a_b": "c",
                "model_id": "m",
                "worker_type": "decode",
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


async def test_the_status_page_shows_targets_and_escapes_what_others_say() -> None:
    evil = from_smg({"url": "grpc://127.0.0.1:1", "labels": {"team": "<script>alert(1)</script>"}})
    async with serving(answer()) as worker, fleet(from_option(worker.worker), evil) as served:
        await served.get("/engine_metrics")
        _, headers, body = await served.get("/")
        text = body.decode()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "1 of 2 targets down" in text
        assert worker.worker in text
        assert "<script>" not in text
        _, _, body = await served.get("/status.json")
    facts = json.loads(body)
    assert facts["ready"] is True
    assert [target["state"] for target in facts["targets"]] == ["up", "down"]
    assert facts["targets"][1]["problem"]
    assert facts["targets"][0]["samples"] == 1


async def test_what_is_not_there_is_404_with_what_is() -> None:
    async with fleet() as served:
        status, _, body = await served.get("/nope")
        assert status == 404
        assert b"/engine_metrics, /metrics, /sd" in body
        assert (await served.get("/sd", method="POST"))[0] == 405
