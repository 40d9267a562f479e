"""What all applications have in common: methods, answers to what is not there, headers."""

import aiohttp
import pytest
from blockbuster import blockbuster_ctx

from tests.web.serving import serving

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


async def test_serving_never_blocks_the_loop() -> None:
    with blockbuster_ctx():
        async with serving() as served, aiohttp.ClientSession() as client:
            for path in (*PATHS, "/unknown"):
                async with client.get(served.url + path) as answer:
                    assert answer.status in {200, 404}
