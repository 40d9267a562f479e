"""The metrics endpoint, end to end."""

import asyncio
import logging

import aiohttp
import pytest

from exporter.errors import ScrapeError
from exporter.exposition.negotiation import Encoding
from exporter.model import Format
from exporter.web.metrics import time_budget
from tests.web.serving import DEADLINE, connected, serving

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"


@pytest.mark.parametrize(
    ("accept", "content_type", "format_"),
    [
        ("*/*", TEXT, Format.TEXT_0_0_4),
        ("application/openmetrics-text;version=1.0.0,*/*;q=0.1", OPENMETRICS, Format.OPENMETRICS_1_0_0),
        (
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            Format.TEXT_1_0_0,
        ),
    ],
)
async def test_the_content_type_is_what_the_body_is(accept: str, content_type: str, format_: Format) -> None:
    async with serving() as served, aiohttp.ClientSession() as client:
        async with client.get(f"{served.url}/metrics", headers={"Accept": accept}) as answer:
            assert (answer.status, await answer.read()) == (200, served.source.body)
            assert answer.headers["Content-Type"] == content_type
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"
            assert answer.headers["Cache-Control"] == "no-store"
        wanted, _ = await served.arrival()
        assert wanted.format is format_
        assert await served.code() == 200


async def test_accept_on_several_lines_is_one_list() -> None:
    async with serving() as served, connected(served) as connection:
        answer = await connection.get(
            "/metrics", b"Accept: text/plain;q=0.5\r\nAccept: application/openmetrics-text\r\n"
        )
        assert f"Content-Type: {OPENMETRICS}\r\n".encode() in answer


async def test_gzip_only_where_accepted() -> None:
    async with serving() as served, aiohttp.ClientSession(auto_decompress=False) as client:
        for accepted, encoding in (("gzip", Encoding.GZIP), ("identity", Encoding.IDENTITY)):
            async with client.get(f"{served.url}/metrics", headers={"Accept-Encoding": accepted}) as answer:
                body = await answer.read()
            wanted, _ = await served.arrival()
            assert wanted.encoding is encoding
            assert body.startswith(b"\x1f\x8b") is (encoding is Encoding.GZIP)
            assert answer.headers.get("Content-Encoding", "identity") == encoding


async def test_head_has_the_length_and_no_body() -> None:
    async with serving() as served, connected(served) as connection:
        connection.send(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = (await connection.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: %d" % len(served.source.body) in head
        assert body == b""


async def test_a_scrape_error_is_503_and_its_reason() -> None:
    async with serving() as served, aiohttp.ClientSession() as client:
        served.source.error = ScrapeError("cannot read /run/\udcff\n: gone")
        async with client.get(f"{served.url}/metrics") as answer:
            assert (answer.status, await answer.text()) == (503, "cannot read /run/\\udcff\\n: gone\n")
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert await served.code() == 503


async def test_an_unexpected_error_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served, aiohttp.ClientSession() as client:
        served.source.error = RuntimeError("a secret of the inside")
        async with client.get(f"{served.url}/metrics") as answer:
            assert answer.status == 500
            assert "secret" not in await answer.text()
        assert await served.code() == 500
    assert [record.getMessage() for record in caplog.records] == ["scrape failed"]


async def test_a_scrape_that_never_ends_is_503_in_the_scrapers_time() -> None:
    async with serving(gated=True) as served, aiohttp.ClientSession() as client:
        async with client.get(f"{served.url}/metrics", headers={TIMEOUT: "0.2"}) as answer:
            assert answer.status == 503
            assert "took longer than 0.18 s" in await answer.text()
        assert served.source.cancelled.is_set()
        assert await served.code() == 503


@pytest.mark.parametrize(
    ("header", "budget"),
    [
        ("10.000", 9.5),
        ("15", 14.5),
        ("1", 0.9),
        ("0.1", 0.09),
        ("3600", 59.5),
        (None, 9.5),
        ("", 9.5),
        ("soon", 9.5),
        ("0", 9.5),
        ("-1", 9.5),
        ("inf", 9.5),
        ("nan", 9.5),
        ("1e400", 9.5),
    ],
)
def test_time_budget(header: str | None, budget: float) -> None:
    assert time_budget(header) == pytest.approx(budget)


async def test_the_source_is_told_its_budget() -> None:
    async with serving() as served, aiohttp.ClientSession() as client:
        await client.get(f"{served.url}/metrics", headers={TIMEOUT: "20"})
        assert (await served.arrival())[1] == 19.5


async def test_requests_in_flight_are_limited() -> None:
    async with serving(gated=True, max_requests=2) as served, aiohttp.ClientSession() as client:
        first, second = (asyncio.create_task(client.get(f"{served.url}/metrics")) for _ in range(2))
        await served.arrival()
        await served.arrival()
        async with client.get(f"{served.url}/metrics") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert await refused.text() == "2 scrapes are in flight, as many as --max-requests allows\n"
        async with client.get(f"{served.url}/healthz") as healthy:
            assert healthy.status == 200, "other endpoints have no part in the limit"
        served.source.gate.set()
        assert [(await task).status for task in (first, second)] == [200, 200]
        async with client.get(f"{served.url}/metrics") as again:
            assert again.status == 200
        assert [await served.code() for _ in range(4)] == [503, 200, 200, 200]


async def test_a_client_that_goes_away_ends_its_scrape() -> None:
    async with serving(gated=True, max_requests=1) as served:
        async with connected(served) as connection:
            connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n%b: 60\r\n\r\n" % TIMEOUT.encode())
            await served.arrival()
        assert await served.code() == 499
        assert served.source.cancelled.is_set()
        served.source.gate.set()
        async with aiohttp.ClientSession() as client, client.get(f"{served.url}/metrics") as answer:
            assert answer.status == 200, "its place is free again"


async def test_a_client_that_takes_nothing_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(max_requests=1, send_timeout=0.2) as served, connected(served) as connection:
        served.source.body = b"x" * 50_000_000  # more than the kernel takes on both sides
        connection.pause()
        connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await served.code() == 499
        served.source.body = b"x 1\n"
        async with connected(served) as another, asyncio.timeout(DEADLINE):
            assert (await another.get("/metrics")).startswith(b"HTTP/1.1 200 OK")
        connection.resume()
        assert len(await connection.rest()) < 50_000_000
    assert not caplog.records
