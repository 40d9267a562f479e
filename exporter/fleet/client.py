"""One scrape of one target: whatever it answers, a body or a reason, in bounded time and memory."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import cast

import aiohttp
from aiohttp import hdrs
from isal import isal_zlib

ACCEPT = "text/plain;version=0.0.4"
"""All that workers are asked for: the format that every one of them has."""

TIMEOUT = "timeout"

REASONS = (
    "connect",
    "connection",
    "content_type",
    "encoding",
    "exposition",
    "internal",
    "protocol",
    "redirect",
    "status",
    TIMEOUT,
    "tls",
    "too_large",
    "truncated",
)
"""Every reason for which a scrape comes to nothing, those of the callers included."""

_HEADERS = {
    hdrs.ACCEPT: ACCEPT,
    hdrs.ACCEPT_ENCODING: "gzip",
    hdrs.USER_AGENT: "smg-exporter",
}
_KEEPALIVE = 75.0
"""Longer than the usual scrape interval of a minute."""
_DNS_TTL = 30
"""Seconds for which a host's addresses are good."""
_READ_BUFFER = 1 << 16
"""Bytes of a body that are read ahead; of a larger buffer nothing is gained but memory in use."""
_GZIP = 31
"""zlib's window bits for the gzip format."""


_GzipError = cast("type[Exception]", isal_zlib.error)  # whose stub has it as an instance


class TargetFailure(Exception):  # noqa: N818 - an outcome to count and to show, not a fault of ours
    """A scrape that came to nothing: `reason` is a short word to count by, str one line that says more."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, as it came."""

    chunks: Sequence[bytes]
    compressed: bool

    def body(self, limit: int) -> bytes:
        """Return it decompressed; TargetFailure where it is not whole, or larger than `limit` bytes. Takes a while."""
        data = b"".join(self.chunks)
        return _gunzip(data, limit) if self.compressed else data


def make_session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """Return the session of all scrapes: connections are kept and reused, and nothing else is."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # who scrapes counts
            keepalive_timeout=_KEEPALIVE,
            ttl_dns_cache=_DNS_TTL,
            ssl=tls,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # who scrapes has a clock
        auto_decompress=False,
        read_bufsize=_READ_BUFFER,
        trust_env=False,
    )


async def scrape(
    session: aiohttp.ClientSession, url: str, on_head: Callable[[], Awaitable[None]], *, limit: int
) -> Answer:
    """Return what a target answers, of at most `limit` bytes; TargetFailure where that is no text exposition.

    The clock is the caller's; `on_head` is awaited before the body is. Nothing that would tell the target who asks is
    sent, and no redirect is followed.
    """
    try:
        async with session.get(url, headers=_HEADERS, allow_redirects=False) as response:
            compressed = _check(response)
            await on_head()
            return Answer(await _read(response, limit), compressed)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(error) from None


def _check(response: aiohttp.ClientResponse) -> bool:
    """Return whether the body is compressed; TargetFailure where the head already says that it is none of ours."""
    if 300 <= response.status < 400:  # noqa: PLR2004 - HTTP's class of redirects
        raise TargetFailure("redirect", f"answered {response.status}, a redirect, which is not followed")
    if response.status != 200:  # noqa: PLR2004 - HTTP's own number
        raise TargetFailure("status", f"answered {response.status}")
    given = response.headers.get(hdrs.CONTENT_TYPE, "")
    kind = Message()
    kind[hdrs.CONTENT_TYPE] = given
    version = kind.get_param("version", "0.0.4")
    if given.partition(";")[0].strip().lower() != "text/plain" or version != "0.0.4":
        raise TargetFailure("content_type", f"the Content-Type is {given!r}, not text/plain; version=0.0.4")
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower()
    if encoding not in {"identity", "gzip", "x-gzip"}:
        raise TargetFailure("encoding", f"the Content-Encoding is {encoding!r}, though gzip was asked for")
    return encoding != "identity"


async def _read(response: aiohttp.ClientResponse, limit: int) -> list[bytes]:
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks


def _gunzip(data: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    while data or not parts:
        member = isal_zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(data, left + 1)
        except _GzipError as error:
            raise TargetFailure("encoding", f"the body is no gzip: {error}") from None
        left -= len(part)
        if left < 0:
            raise _too_large(limit)
        if not member.eof:
            raise TargetFailure("truncated", "the gzip body is cut off")
        parts.append(part)
        data = member.unused_data
    return b"".join(parts)


def _too_large(limit: int) -> TargetFailure:
    return TargetFailure("too_large", f"the body is larger than {limit} bytes, as --max-target-bytes allows")


def _failure(error: Exception) -> TargetFailure:
    """Return what an exception of aiohttp means for its target."""
    text = " ".join(str(error).split()) or type(error).__name__
    match error:
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return TargetFailure("tls", text)
        case aiohttp.ClientConnectorError():
            return TargetFailure("connect", text)
        case aiohttp.ClientPayloadError():
            return TargetFailure("truncated", f"the body is cut off: {text}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            return TargetFailure("connection", f"the connection broke: {text}")
        case _:
            return TargetFailure("protocol", text)
