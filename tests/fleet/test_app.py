"""The fleet's endpoints, over real targets."""

import gzip
import json

import pytest

from exporter.fleet.sources import Source, SourceError
from exporter.fleet.targets import Target, from_option
from tests.fleet.served import Away, fleet
from tests.support.compare import of_openmetrics, types
from tests.support.expositions import Exposition
from tests.support.targets import answer, serving


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


async def test_a_list_that_may_lack_targets_is_an_error_so_that_prometheus_keeps_its_last_one() -> None:
    class Late:
        is_away = True

        async def read(self) -> list[Target]:
            if self.is_away:
                raise SourceError("smg: away")
            return [from_option("http://b")]

    reader = Late()
    source = Source("smg", reader)
    async with fleet(from_option("http://a"), source=source) as served:
        await source.refresh()
        status, _, body = await served.get("/sd")
        assert (status, body) == (503, b"not all targets are known: smg: away\n")
        reader.is_away = False
        await source.refresh()
        reader.is_away = True
        await source.refresh()
        status, _, body = await served.get("/sd")
        assert (status, [group["targets"] for group in json.loads(body)]) == (200, [["a:80"], ["b:80"]])


async def test_what_is_not_there_is_404_with_what_is() -> None:
    async with fleet() as served:
        status, _, body = await served.get("/nope")
        assert status == 404
        assert b"/engine_metrics, /metrics, /sd" in body
        assert (await served.get("/sd", method="POST"))[0] == 405
