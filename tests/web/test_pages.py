"""Everything but the metrics: readiness, the facts as JSON, the status page."""

import base64
import hashlib
import json
import math

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
        policy = answer.headers["Content-Security-Policy"].split("; ")
        text = await answer.text()
        assert "Worker is up" in text
        for name in ("style", "script"):
            content = text.partition(f"<{name}>")[2].partition(f"</{name}>")[0]
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"{name}-src 'sha256-{digest}'" in policy
        assert {"default-src 'none'", "connect-src 'self'", "base-uri 'none'"} <= set(policy)
        assert len(text) < 60_000


async def test_the_page_of_a_worker_that_is_not_there() -> None:
    async with serving() as served, aiohttp.ClientSession() as client:
        served.views.view = None
        async with client.get(f"{served.url}/?worker=x") as answer:
            assert (answer.status, await answer.text()) == (404, "no worker 'x'; / shows all\n")
        assert served.views.looks == [("x", math.inf, False)]
