"""Send a request to an exporter on this machine, over HTTP or HTTPS, whichever it speaks, in bounded time."""

import base64
import socket
import ssl
import time
from dataclasses import dataclass
from functools import partial

from exporter import PROGRAM
from exporter.addresses import host_port

_PATIENCE = 4.0
"""Seconds for the whole exchange: less than a container engine waits for a health check."""
_MAX_SIZE = 64 << 20
"""Most bytes read of an answer."""
_HANDSHAKE, _CERTIFICATE_REQUEST = 22, 13
"""TLS's numbers of a content type and of a handshake message."""


class NoAnswerError(Exception):
    """No HTTP answer came; its str is one line that says why."""


class CertificateWantedError(NoAnswerError):
    """A TLS server asked for a client certificate, and refused us without one."""


class _NotHTTPError(NoAnswerError):
    """Whoever listens does not speak HTTP, at least not over this scheme."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    url: str
    status: int
    server: str
    body: bytes

    @property
    def is_ours(self) -> bool:
        """Whether an smg-exporter gave the answer, by its Server header."""
        return self.server == PROGRAM


def ask(host: str, port: int, path: str, user: tuple[str, str] | None = None) -> Answer:
    """Return the answer to a GET request; NoAnswerError if none comes.

    `user`, a name and a password, is sent only to an exporter that has answered 401, and over the same scheme.
    """
    get = partial(_get, (host, port), path, time.monotonic() + _PATIENCE)
    scheme = "http"
    try:
        answer = get(scheme)
    except _NotHTTPError:  # perhaps TLS
        scheme = "https"
        answer = get(scheme)
    if user and answer.is_ours and answer.status == 401:  # noqa: PLR2004 - HTTP's own number
        answer = get(scheme, user)
    return answer


def _get(
    address: tuple[str, int], path: str, deadline: float, scheme: str, user: tuple[str, str] | None = None
) -> Answer:
    head = [f"GET {path} HTTP/1.0", f"Host: {host_port(*address)}"]
    if user:
        head.append(f"Authorization: Basic {base64.b64encode(':'.join(user).encode()).decode()}")
    request = "\r\n".join([*head, "", ""]).encode()
    url = f"{scheme}://{host_port(*address)}{path}"
    try:
        with socket.create_connection(address, _left(deadline)) as sock:
            data = (_exchange_tls if scheme == "https" else _exchange)(sock, request, deadline)
    except TimeoutError:
        raise NoAnswerError(f"{url}: no answer within {_PATIENCE:g} s") from None
    except CertificateWantedError as error:
        raise CertificateWantedError(f"{url}: {error}") from None
    except ConnectionRefusedError:
        raise NoAnswerError(f"{url}: connection refused") from None
    except OSError as error:  # a TLS server hangs up on plain HTTP, an HTTP server on TLS
        raise _NotHTTPError(f"{url}: {error.strerror or error}") from None
    if not data.startswith(b"HTTP/"):
        raise _NotHTTPError(f"{url}: the answer is not HTTP")
    return _answer(url, data)


def _exchange(sock: socket.socket, request: bytes, deadline: float) -> bytes:
    """Send the request, and return all bytes up to the end of the connection."""
    sock.sendall(request)
    data = bytearray()
    while len(data) < _MAX_SIZE:
        sock.settimeout(_left(deadline))
        if not (chunk := sock.recv(1 << 16)):
            break
        data += chunk
    return bytes(data)


def _exchange_tls(sock: socket.socket, request: bytes, deadline: float) -> bytes:
    # Not verified: the certificate names this machine as scrapers know it, not localhost; no data leaves the machine.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    asked = False  # whether it asked for our certificate, in the handshake

    def note(_: object, direction: str, __: object, content: int, message: int, ___: bytes) -> None:
        nonlocal asked
        asked |= (direction, content, message) == ("read", _HANDSHAKE, _CERTIFICATE_REQUEST)

    # Servers of Python's asyncio send no alert, so this request tells them from those that hang up on anybody.
    context._msg_callback = note  # type: ignore[attr-defined]  # noqa: SLF001 - nothing public tells
    sock.settimeout(_left(deadline))
    with context.wrap_socket(sock, do_handshake_on_connect=False) as wrapped:
        try:
            wrapped.do_handshake()
            data = _exchange(wrapped, request, deadline)
        except (ssl.SSLError, ConnectionError):
            if not asked:
                raise
            data = b""
    if asked and not data:
        raise CertificateWantedError("the server requires a client certificate")
    return data


def _left(deadline: float) -> float:
    """Return the seconds left, at least 1 ms: a socket timeout of 0 would mean non-blocking mode."""
    return max(deadline - time.monotonic(), 1e-3)


def _answer(url: str, data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    code = status.split()[1:2]
    return Answer(url, int(code[0]) if code and code[0].isdecimal() else 0, headers.get("server", ""), body)
