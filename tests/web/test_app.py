"""Every path but the metrics, and what all answers share."""

import json

import aiohttp
import pytest
from blockbuster import blockbuster_ctx

from exporter.worker.status import FileStatus
from tests.web.serving import a_status, serving

PATHS = ["/", "/status.json", "/healthz", "/-/healthy", "/readyz", "/-/ready", "/metrics"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_takes_get_and_head_and_nothing_else(path: str) -> None:
    plain = {"Accept-Encoding": "identity"}
    async with serving() as served, aiohttp.ClientSession(headers=plain) as client:
        async with client.get(served.url + path) as got:
            assert (got.status, got.headers["Cache-Control"]) == (200, "no-store")
            assert got.headers["X-Content-Type-Options"] == "nosniff"
            assert got.headers["Server"] == "smg-exporter"
            length = len(await got.read())
        async with client.head(served.url + path) as head:
            assert head.status == 200
            assert head.headers["Content-Type"] == got.headers["Content-Type"]
            assert int(head.headers["Content-Length"]) == length
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            async with client.request(method, served.url + path) as refused:
                assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
                assert await refused.text() == f"{method} is not allowed; use GET, HEAD\n"


async def test_an_unknown_path_is_404_and_names_those_there_are() -> None:
    async with serving(telemetry_path="/worker") as served, aiohttp.ClientSession() as client:
        async with client.get(f"{served.url}/metrics") as answer:
            text = await answer.text()
            assert answer.status == 404
        assert text.count("\n") == 1
        assert all(path in text for path in ("/worker", "/status.json", "/healthz", "/readyz"))
        async with client.get(f"{served.url}/worker") as answer:
            assert await answer.read() == served.source.body


async def test_metrics_win_over_a_page_of_the_same_path() -> None:
    async with (
        serving(telemetry_path="/") as served,
        aiohttp.ClientSession() as client,
        client.get(f"{served.url}/") as answer,
    ):
        assert await answer.read() == served.source.body


@pytest.mark.parametrize("path", ["/readyz", "/-/ready"])
async def test_readiness_asks_the_status(path: str) -> None:
    status = a_status(problem="no such directory: /run/prom")
    async with serving(status=lambda: status) as served, aiohttp.ClientSession() as client:
        async with client.get(served.url + path) as answer:
            assert (answer.status, await answer.text()) == (503, "no such directory: /run/prom\n")
        async with client.get(f"{served.url}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        status = a_status()
        async with client.get(served.url + path) as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_status_json_holds_every_fact_even_of_names_that_are_no_text() -> None:
    status = a_status(files=(FileStatus("é_\udcff\x1b\\.db", "skipped", "odd"),) * 3000)
    async with (
        serving(status=lambda: status) as served,
        aiohttp.ClientSession() as client,
        client.get(f"{served.url}/status.json") as answer,
    ):
        assert answer.headers["Content-Type"] == "application/json"
        facts = json.loads((await answer.read()).decode())
    assert len(facts["files"]) == 3000
    assert facts["files"][0] == {"name": "é_\\udcff\x1b\\.db", "state": "skipped", "reason": "odd"}
    assert (facts["ready"], facts["worker_up"], facts["last_scrape"]) == (True, True, None)


async def test_the_page_is_html_that_may_load_nothing() -> None:
    async with serving() as served, aiohttp.ClientSession() as client, client.get(served.url) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
        assert "Worker is up" in await answer.text()


async def test_serving_never_blocks_the_loop() -> None:
    with blockbuster_ctx():
        async with serving() as served, aiohttp.ClientSession() as client:
            for path in (*PATHS, "/unknown"):
                async with client.get(served.url + path) as answer:
                    assert answer.status in {200, 404}
