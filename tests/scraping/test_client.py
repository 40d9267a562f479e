"""One target, of every kind that there is trouble with."""

import asyncio
import gzip
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from typing import NoReturn

import aiohttp
import pytest
import trustme

from exporter.scraping.client import Answer, TargetFailure, explain, make_session, scrape
from tests.support import targets
from tests.support.targets import BODY, TEXT, Behaviour, answer, bomb, gzipped, head, serving

LIMIT = 1 << 20


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with make_session(ssl.create_default_context()) as made:
        yield made


async def at_once() -> None:
    """Take the body when it comes."""


async def ask(session: aiohttp.ClientSession, url: str, within: float = targets.DEADLINE) -> bytes:
    async with asyncio.timeout(within):
        got = await scrape(session, url, at_once, limit=LIMIT)
    return got.body(LIMIT)


async def reason(session: aiohttp.ClientSession, url: str) -> str:
    with pytest.raises(TargetFailure) as caught:
        await ask(session, url)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert not re.search(r"ssl:|Errno|b'|<|Client\w*Error|None", text), "words of a library's"
    return caught.value.reason


GOOD: dict[str, tuple[Behaviour, bytes]] = {
    "plain": (answer(), BODY),
    "gzip": (gzipped(gzip.compress(BODY)), BODY),
    "x-gzip": (answer(gzip.compress(BODY), more="Content-Encoding: X-GZIP\r\n"), BODY),
    "gzip of two members": (gzipped(gzip.compress(BODY) + gzip.compress(BODY)), BODY + BODY),
    "no version": (answer(content_type="text/plain"), BODY),
    "charset": (answer(content_type='Text/Plain; charset="utf-8"; version="0.0.4"'), BODY),
    "empty": (answer(b""), b""),
}


@pytest.mark.parametrize(("behave", "body"), GOOD.values(), ids=GOOD)
async def test_a_good_answer_is_a_body(
    session: aiohttp.ClientSession, behave: Behaviour, body: bytes
) -> None:
    async with serving(behave) as server:
        assert await ask(session, server.url) == body


OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
BAD: dict[str, tuple[Behaviour, str]] = {
    "404": (answer(status="404 Not Found"), "status"),
    "500": (answer(status="500 Internal Server Error"), "status"),
    "204": (answer(b"", status="204 No Content"), "status"),
    "redirect": (answer(b"", status="302 Found", more="Location: /other\r\n"), "redirect"),
    "HTML": (answer(b"<html></html>", content_type="text/html"), "content_type"),
    "JSON": (answer(b"{}", content_type="application/json"), "content_type"),
    "OpenMetrics, though text was asked for": (answer(content_type=OPENMETRICS), "content_type"),
    "text 1.0.0": (answer(content_type="text/plain; version=1.0.0"), "content_type"),
    "no Content-Type": (answer(content_type=None), "content_type"),
    "blank Content-Type": (answer(content_type=""), "content_type"),
    "nonsense Content-Type": (answer(content_type=";;"), "content_type"),
    "brotli": (answer(more="Content-Encoding: br\r\n"), "encoding"),
    "no gzip": (gzipped(BODY), "encoding"),
    "gzip cut off": (gzipped(gzip.compress(BODY)[:-9]), "truncated"),
    "gzip cut off in its head": (gzipped(gzip.compress(BODY)[:5]), "truncated"),
    "gzip with a wrong sum": (gzipped(gzip.compress(BODY)[:-8] + b"\0" * 8), "encoding"),
    "gzip and then something": (gzipped(gzip.compress(BODY) + b"and more than a head"), "encoding"),
    "gzip of nothing at all": (gzipped(b""), "truncated"),
    "gzip bomb": (gzipped(bomb(LIMIT + 1)), "too_large"),
    "gzip of more members than make sense": (gzipped(gzip.compress(b"") * 65), "encoding"),
    "gzip of short lines": (gzipped(gzip.compress(b"\n" * 20_000)), "too_large"),
    "large": (answer(b"#" * (LIMIT + 1)), "too_large"),
    "endless": (targets.endless, "too_large"),
    "cut off": (targets.cut_off, "truncated"),
    "reset": (targets.reset, "connection"),
    "no HTTP": (targets.no_http, "protocol"),
    "a long header": (targets.long_header, "protocol"),
}


@pytest.mark.parametrize(("behave", "expected"), BAD.values(), ids=BAD)
async def test_a_bad_answer_is_a_reason(
    session: aiohttp.ClientSession, behave: Behaviour, expected: str
) -> None:
    async with serving(behave) as server:
        assert await reason(session, server.url) == expected


async def test_as_large_as_is_allowed_is_not_too_large(session: aiohttp.ClientSession) -> None:
    halves = gzip.compress(b"#" * (LIMIT // 2)) * 2
    for behave in (answer(b"#" * LIMIT), gzipped(bomb(LIMIT)), gzipped(halves)):
        async with serving(behave) as server:
            assert len(await ask(session, server.url)) == LIMIT


def test_the_number_of_lines_is_limited_by_the_size_that_is() -> None:
    lines = Answer([b"a 1\n" * (1 << 20)], compressed=False)
    assert len(lines.body(64 << 20)) == 4 << 20
    with pytest.raises(TargetFailure, match=r"^the body has more than 524288 lines, the most that are read$"):
        lines.body(32 << 20)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_target_that_does_not_listen_is_a_reason(session: aiohttp.ClientSession, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    url = f"{scheme}://127.0.0.1:{port}/metrics"
    assert await reason(session, url) == "connect"
    with pytest.raises(TargetFailure, match=r"^cannot connect: Connection refused$"):
        await ask(session, url)


async def test_a_host_without_an_address_is_a_reason(session: aiohttp.ClientSession) -> None:
    async def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    session.connector._resolve_host = unknown  # type: ignore[union-attr]
    with pytest.raises(TargetFailure, match=r"^the host's address is not known: Name or service not known$"):
        await ask(session, "http://h.example/metrics")


async def test_an_error_without_a_text_has_its_name_at_least() -> None:
    assert explain(ValueError()) == "ValueError"
    assert explain(ConnectionAbortedError()) == "the connection broke: closed by the other side"


async def test_plain_http_where_tls_is_asked_for_is_a_reason(session: aiohttp.ClientSession) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(head(status="400 Bad Request"))
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await reason(session, f"https://127.0.0.1:{port}/metrics") == "tls"


@pytest.mark.parametrize("behave", [targets.hang, targets.hang_in_the_body, targets.drip])
async def test_the_callers_clock_ends_a_slow_scrape(
    session: aiohttp.ClientSession, behave: Behaviour
) -> None:
    async with serving(behave) as server:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            await ask(session, server.url, within=0.3)
        assert time.monotonic() - start < 2


async def test_a_redirect_is_not_followed(session: aiohttp.ClientSession) -> None:
    async with serving(answer()) as other:
        away = answer(b"", status="301 Moved Permanently", more=f"Location: {other.url}\r\n")
        async with serving(away) as server:
            assert await reason(session, server.url) == "redirect"
        assert other.requests == []


async def test_only_text_is_asked_for_and_nothing_is_told(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with serving(answer(more="Set-Cookie: session=1\r\n")) as server:
        await ask(session, server.url)
        await ask(session, server.url)
    first, second = (request.decode().lower().split("\r\n") for request in server.requests)
    assert first == second
    assert first[0] == "get /metrics http/1.1"
    assert {line.split(":")[0]: line.split(": ")[1] for line in first[1:] if line} == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "text/plain;version=0.0.4",
        "accept-encoding": "gzip",
        "user-agent": "smg-exporter",
    }


async def test_a_connection_is_used_again(session: aiohttp.ClientSession) -> None:
    async with serving(answer()) as server:
        for _ in range(5):
            await ask(session, server.url)
        assert server.connections == 1


async def test_a_kept_connection_that_broke_is_made_anew(session: aiohttp.ClientSession) -> None:
    async def once(writer: asyncio.StreamWriter) -> None:
        writer.write(head(length=len(BODY), content_type=TEXT) + BODY)
        await writer.drain()
        writer.close()

    async with serving(once) as server:
        assert [await ask(session, server.url) for _ in range(3)] == [BODY] * 3


# --- TLS ---

AUTHORITY = trustme.CA()


def certified(name: str, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
async def trusting() -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    async with make_session(context) as made:
        yield made


async def test_a_certificate_of_a_known_authority_is_good(trusting: aiohttp.ClientSession) -> None:
    async with serving(answer(), certified("127.0.0.1")) as server:
        assert await ask(trusting, f"https://127.0.0.1:{server.port}/metrics") == BODY


@pytest.mark.parametrize(
    "context", [certified("other.example"), certified("127.0.0.1", trustme.CA())], ids=["name", "authority"]
)
async def test_a_certificate_for_another_name_or_of_a_stranger_is_not(
    trusting: aiohttp.ClientSession, context: ssl.SSLContext
) -> None:
    async with serving(answer(), context) as server:
        assert await reason(trusting, f"https://127.0.0.1:{server.port}/metrics") == "tls"
        assert server.requests == []
