"""One scrape of one target: a body, or the reason why there is none, in bounded memory whatever the target sends."""

import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import cast

import aiohttp
from aiohttp import hdrs
from isal import isal_zlib

from exporter.errors import SettingsError
from exporter.scraping.resolver import Resolver

ACCEPT = "text/plain;version=0.0.4"
"""The Accept header: the one format that every worker has."""

TIMEOUT = "timeout"
TOO_LARGE = "too_large"

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
    TOO_LARGE,
    "truncated",
)
"""Every reason for which the scrape of a target fails, here or in callers."""

_HEADERS = {
    hdrs.ACCEPT: ACCEPT,
    hdrs.ACCEPT_ENCODING: "gzip",
    hdrs.USER_AGENT: "smg-exporter",
}
_KEEPALIVE = 75.0
"""Seconds for which an idle connection is kept: longer than the usual scrape interval of a minute."""
_DNS_TTL = 30
"""Seconds for which a host's addresses are cached."""
_READ_BUFFER = 1 << 16
"""Bytes of a body that are read ahead; a larger buffer would take more memory, and gain nothing."""
_GZIP = 31
"""zlib's window bits for the gzip format."""
_MEMBERS = 64
"""Most gzip members of a body: what is left is copied for each."""
_SHORT_LINE = 64
"""Bytes of a line; the lines of an exposition are longer on average."""
_FEW_LINES = 10_000
"""Lines that are read however few bytes are allowed."""


_GzipError = cast("type[Exception]", isal_zlib.error)  # isal's stub declares an instance, not a class


class TargetFailure(Exception):  # noqa: N818 - an outcome to count and to show, not a fault of ours
    """A failed scrape: `reason` is one of `REASONS`, the message a line that says more."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A body as it was received."""

    chunks: Sequence[bytes]
    compressed: bool

    def body(self, limit: int) -> bytes:
        """Return the decompressed body; not for the event loop, as it takes a while.

        Raises TargetFailure if the body is cut off, or larger than `limit` bytes, or has far more lines than an
        exposition of that size: each takes memory and time, however short.
        """
        data = b"".join(self.chunks)
        body = _gunzip(data, limit) if self.compressed else data
        most = max(limit // _SHORT_LINE, _FEW_LINES)
        if body.count(b"\n") > most:
            raise TargetFailure(TOO_LARGE, f"the body has more than {most} lines, the most that are read")
        return body


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS context that verifies https targets; SettingsError if `--target-ca-file` cannot be used."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"--target-ca-file: {str(ca_file)!r} is not usable: {error.strerror}") from None


def make_session(tls: ssl.SSLContext, user: tuple[str, str] | None = None) -> aiohttp.ClientSession:
    """Return the session of all scrapes: it keeps connections for the next scrape, but no cookies.

    `user`, a name and a password, is sent to every target.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,  # the caller limits the number of scrapes
            keepalive_timeout=_KEEPALIVE,
            ttl_dns_cache=_DNS_TTL,
            resolver=Resolver(),
            ssl=tls,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auth=aiohttp.BasicAuth(*user, encoding="utf-8") if user else None,
        timeout=aiohttp.ClientTimeout(total=None),  # the caller limits the time
        auto_decompress=False,
        read_bufsize=_READ_BUFFER,
        trust_env=False,
    )


async def scrape(
    session: aiohttp.ClientSession,
    url: str,
    on_head: Callable[[], Awaitable[None]] | None = None,
    *,
    limit: int,
) -> Answer:
    """Return a target's answer of at most `limit` bytes; raises TargetFailure if there is none, or no text exposition.

    The caller limits the time. `on_head` is awaited between response headers and body. Nothing of the request that
    caused the scrape is passed on to the target, and no redirect is followed.
    """
    try:
        async with session.get(url, headers=_HEADERS, allow_redirects=False) as response:
            compressed = _check(response)
            if on_head:
                await on_head()
            return Answer(await _read(response, limit), compressed)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(error) from None


def _check(response: aiohttp.ClientResponse) -> bool:
    """Return whether the body is compressed; raises TargetFailure if the headers announce no text exposition."""
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
            raise TargetFailure("encoding", f"the body is not valid gzip: {error}") from None
        left -= len(part)
        if left < 0:
            raise _too_large(limit)
        if not member.eof:
            raise TargetFailure("truncated", "the gzip body is cut off")
        parts.append(part)
        if len(parts) > _MEMBERS:
            raise TargetFailure("encoding", f"the gzip body has more than {_MEMBERS} members")
        data = member.unused_data
    return b"".join(parts)


def _too_large(limit: int) -> TargetFailure:
    return TargetFailure(TOO_LARGE, f"the body is larger than {limit} bytes, the most that is read")


def explain(error: Exception) -> str:
    """Return what failed in a request, in a line: aiohttp's own texts tell of its settings, such as `ssl:default`."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
            text = f"the certificate is not trusted: {getattr(cause, 'verify_message', '') or cause}"
        case aiohttp.ClientConnectorDNSError():
            text = f"the host's address is not known: {error.os_error.strerror}"
        case aiohttp.ClientConnectorSSLError():
            reason = getattr(error.os_error, "reason", None) or "refused"
            text = f"no TLS connection: {reason.replace('_', ' ').lower()}"
        case aiohttp.ClientConnectorError():
            text = f"cannot connect: {_of_system(error.os_error)}"
        case aiohttp.ClientPayloadError():
            text = "the body is cut off or malformed"
        case aiohttp.ServerDisconnectedError():
            text = "the connection was closed before an answer came"
        case aiohttp.ClientResponseError():
            text = f"the answer is not valid HTTP: {error.message.partition(':')[0]}"
        case OSError():
            text = f"the connection broke: {_of_system(error)}"
        case _:
            text = str(error) or type(error).__name__
    return " ".join(text.split())


def _of_system(error: OSError) -> str:
    """Return the system's message; asyncio puts an address in its place."""
    return os.strerror(error.errno) if error.errno else str(error) or "closed by the other side"


def _failure(error: Exception) -> TargetFailure:
    """Return the TargetFailure for an exception of aiohttp."""
    match error:
        case aiohttp.ClientSSLError() | ssl.SSLError():
            reason = "tls"
        case aiohttp.ClientConnectorError():
            reason = "connect"
        case aiohttp.ClientPayloadError():
            reason = "truncated"
        case aiohttp.ServerDisconnectedError() | OSError():
            reason = "connection"
        case _:
            reason = "protocol"
    return TargetFailure(reason, explain(error))
