"""Real TLS: who gets in, and files that change while the server runs."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from blockbuster import blockbuster_ctx

from exporter.web.access.access import Access
from tests.support.certificates import Authority
from tests.web.serving import DEADLINE, Connection, Served, connected, serving

pytestmark = pytest.mark.usefixtures("_info")
SERVER = "cert_file: server.crt, key_file: server.key"
REFUSALS = (ssl.SSLError, ConnectionError)


@pytest.fixture(name="_info")
def _all_events(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path)
    authority.issue("server")
    return authority


def write(directory: Path, *more: str) -> Path:
    """Write the file, with these keys beside the certificate's."""
    file = directory / "web.yml"
    file.write_text(f"tls_server_config: {{{', '.join((SERVER, *more))}}}\n")
    return file


@asynccontextmanager
async def tls_connected(served: Served, context: ssl.SSLContext) -> AsyncIterator[Connection]:
    """Open a bare connection over TLS."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def handshake(served: Served, context: ssl.SSLContext) -> ssl.SSLObject:
    """Return the client's side of a connection that has got an answer; one of REFUSALS where it got none."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            if not (await reader.readline()).startswith(b"HTTP/1.1 200"):
                raise ConnectionError
            side: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return side
        finally:
            writer.transport.abort()


async def serial(served: Served, context: ssl.SSLContext) -> object:
    """Return the serial number of the certificate that a new connection is shown."""
    certificate = (await handshake(served, context)).getpeercert()
    assert certificate
    return certificate["serialNumber"]


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.getMessage()}|{getattr(record, 'fields', {})}" for record in caplog.records]


# --- Getting in ---


@pytest.mark.parametrize("path", ["/metrics", "/", "/healthz"])
async def test_https_is_served_and_http_is_not(tmp_path: Path, authority: Authority, path: str) -> None:
    async with serving(access=Access(write(tmp_path))) as served, aiohttp.ClientSession() as client:
        async with client.get(f"https://127.0.0.1:{served.port}{path}", ssl=authority.client()) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await client.get(served.url + path)


async def test_a_large_body_arrives_whole(tmp_path: Path, authority: Authority) -> None:
    async with serving(access=Access(write(tmp_path))) as served, aiohttp.ClientSession() as client:
        served.source.body = bytes(range(256)) * 20_000
        async with client.get(f"https://127.0.0.1:{served.port}/metrics", ssl=authority.client()) as answer:
            assert await answer.read() == served.source.body


@pytest.mark.parametrize(
    ("client_auth_type", "admitted"),
    [
        ("NoClientCert", {"", "client", "stranger"}),
        ("RequestClientCert", {"", "client", "stranger"}),
        ("VerifyClientCertIfGiven, client_ca_file: ca.crt", {"", "client"}),
        ("RequireAndVerifyClientCert, client_ca_file: ca.crt", {"client"}),
    ],
)
async def test_client_certificates(
    tmp_path: Path,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    client_auth_type: str,
    admitted: set[str],
) -> None:
    authority.issue("client")
    Authority(tmp_path, "stranger-ca").issue("stranger")
    access = Access(write(tmp_path, f"client_auth_type: {client_auth_type}"))
    async with serving(access=access) as served:
        for name in ("", "client", "stranger"):
            context = authority.client(name)
            if name in admitted:
                assert await handshake(served, context)
            else:
                with pytest.raises(REFUSALS):
                    await handshake(served, context)
    assert events(caplog) == [], "no client writes our log"


@pytest.mark.parametrize(
    ("keys", "client", "negotiated"),
    [
        ("min_version: TLS12", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("min_version: TLS13", ssl.TLSVersion.TLSv1_2, None),
        ("min_version: TLS13", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("max_version: TLS12", ssl.TLSVersion.TLSv1_3, "TLSv1.2"),
        ("max_version: TLS13", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
    ],
)
async def test_versions(
    tmp_path: Path, authority: Authority, keys: str, client: ssl.TLSVersion, negotiated: str | None
) -> None:
    context = authority.client()
    context.maximum_version = client
    async with serving(access=Access(write(tmp_path, keys))) as served:
        if negotiated:
            assert (await handshake(served, context)).version() == negotiated
        else:
            with pytest.raises(REFUSALS):
                await handshake(served, context)


@pytest.mark.parametrize(("prefer_server", "chosen"), [("true", "AES256"), ("false", "AES128")])
async def test_cipher_suites_and_whose_order_counts(
    tmp_path: Path, authority: Authority, prefer_server: str, chosen: str
) -> None:
    keys = (
        "max_version: TLS12",
        "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
        f"prefer_server_cipher_suites: {prefer_server}",
    )
    context = authority.client()
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    async with serving(access=Access(write(tmp_path, *keys))) as served:
        cipher = (await handshake(served, context)).cipher()
        assert cipher
        assert chosen in cipher[0]
        context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        with pytest.raises(REFUSALS):
            await handshake(served, context)


async def test_a_curve(tmp_path: Path, authority: Authority) -> None:
    async with serving(access=Access(write(tmp_path, "curve_preferences: [CurveP384]"))) as served:
        context = authority.client()
        assert await handshake(served, context)
        context.set_ecdh_curve("prime256v1")
        with pytest.raises(REFUSALS):
            await handshake(served, context)


# --- Slow clients ---


@pytest.mark.parametrize(
    "start", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_a_handshake_that_is_not_completed_ends(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture, start: bytes
) -> None:
    access = Access(write(tmp_path))
    async with serving(access=access, head_timeout=0.3) as served, connected(served) as bad:
        bad.send(start)
        await bad.rest()
    async with serving(access=access) as served:
        assert await handshake(served, authority.client()), "the server still serves"
    assert events(caplog) == []


async def test_a_connection_without_a_request_ends(tmp_path: Path, authority: Authority) -> None:
    access = Access(write(tmp_path))
    async with (
        serving(access=access, head_timeout=0.5) as served,
        tls_connected(served, authority.client()) as silent,
    ):
        silent.send(b"GET /metr")
        assert await silent.rest() == b""


# --- Files that change ---


async def test_a_renewed_certificate_is_for_new_connections(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    access = Access(write(tmp_path))
    context = authority.client()
    async with serving(access=access) as served, tls_connected(served, context) as kept:
        assert (await kept.get()).startswith(b"HTTP/1.1 200")
        before = await serial(served, context)
        authority.issue("server")
        await access.refresh()
        assert await serial(served, context) != before
        assert (await kept.get()).startswith(b"HTTP/1.1 200"), "the connection outlives it"
    assert events(caplog) == [f"web configuration reloaded|{{'file': {tmp_path / 'web.yml'!r}}}"]


async def test_a_new_client_ca_and_auth_type(tmp_path: Path, authority: Authority) -> None:
    new = Authority(tmp_path, "new-ca")
    new.issue("client")
    new_client = authority.client("client")
    access = Access(write(tmp_path))
    async with serving(access=access) as served:
        assert await handshake(served, authority.client())
        write(tmp_path, "client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.crt")
        await access.refresh()
        for context in (authority.client(), new_client):
            with pytest.raises(REFUSALS):
                await handshake(served, context)
        (tmp_path / "new-ca.crt").replace(tmp_path / "ca.crt")  # the file that is named, under its name
        await access.refresh()
        assert await handshake(served, new_client)
        with pytest.raises(REFUSALS):
            await handshake(served, authority.client())


async def test_a_bad_edit_keeps_what_there_was_and_is_told_once(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path)
    access = Access(file)
    async with serving(access=access) as served:
        before = await serial(served, authority.client())
        for edit in ("max_version: TLS9", "max_version: TLS8"):
            write(tmp_path, edit)
            await access.refresh()
            await access.refresh()
            assert await serial(served, authority.client()) == before
        assert [event.partition("|")[0] for event in events(caplog)] == [
            "web configuration reload failed; keeping the previous one"
        ] * 2
        assert f"{file}: tls_server_config.max_version: 'TLS8' is not TLS12 or TLS13" in events(caplog)[1]
        write(tmp_path, "max_version: TLS12")
        await access.refresh()
        assert (await handshake(served, authority.client())).version() == "TLSv1.2"


@pytest.mark.parametrize("gone", ["web.yml", "server.crt"])
async def test_a_file_that_goes_and_comes_back(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture, gone: str
) -> None:
    access = Access(write(tmp_path))
    file = tmp_path / gone
    async with serving(access=access) as served:
        file.rename(tmp_path / "aside")
        await access.refresh()
        await access.refresh()
        assert await handshake(served, authority.client())
        assert len(caplog.records) == 1
        (tmp_path / "aside").rename(file)
        await access.refresh()
        assert await handshake(served, authority.client())
    assert len(caplog.records) == 2


async def test_a_certificate_comes_before_its_key(tmp_path: Path, authority: Authority) -> None:
    access = Access(write(tmp_path))
    authority.issue("next")
    async with serving(access=access) as served:
        before = await serial(served, authority.client())
        (tmp_path / "next.crt").replace(tmp_path / "server.crt")
        await access.refresh()
        assert await serial(served, authority.client()) == before
        (tmp_path / "next.key").replace(tmp_path / "server.key")
        await access.refresh()
        assert await serial(served, authority.client()) != before


async def test_a_file_newly_named_is_followed_though_it_is_not_there_yet(
    tmp_path: Path, authority: Authority
) -> None:
    access = Access(write(tmp_path))
    async with serving(access=access) as served:
        before = await serial(served, authority.client())
        (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: new.crt, key_file: new.key}")
        await access.refresh()
        authority.issue("new")
        await access.refresh()
        assert await serial(served, authority.client()) != before


@pytest.mark.parametrize("turned", ["off", "on"])
async def test_tls_is_not_turned_on_or_off(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture, turned: str
) -> None:
    with_tls = write(tmp_path).read_text()
    file = tmp_path / "web.yml"
    before, after = (with_tls, "") if turned == "off" else ("", with_tls)
    file.write_text(before)
    access = Access(file)
    async with serving(access=access) as served, aiohttp.ClientSession() as client:
        file.write_text(after)
        await access.refresh()
        assert f"TLS can be turned {turned} by a restart only" in events(caplog)[0]
        if before:
            assert await handshake(served, authority.client())
        else:
            async with client.get(f"{served.url}/healthz") as answer:
                assert answer.status == 200


async def test_the_watch_refreshes(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.web.access.access._INTERVAL", 0.01)
    access = Access(write(tmp_path))
    async with serving(access=access) as served, asyncio.timeout(DEADLINE):
        before = await serial(served, authority.client())
        watching = asyncio.create_task(access.watch())
        authority.issue("server")
        while await serial(served, authority.client()) == before:
            assert not watching.done()
        watching.cancel()


async def test_nothing_blocks_the_loop(tmp_path: Path, authority: Authority) -> None:
    access = Access(write(tmp_path))
    context = authority.client()
    async with serving(access=access) as served:
        with blockbuster_ctx():
            assert await handshake(served, context)
            await access.refresh()
            await asyncio.to_thread(authority.issue, "server")
            await access.refresh()
            assert await handshake(served, context)
