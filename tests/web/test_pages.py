"""Everything but the metrics: readiness, the facts as JSON, the status page."""

import json

import aiohttp
import pytest

from exporter.worker.status import FileStatus
from tests.web.serving import a_status, serving


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
