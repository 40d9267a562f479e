"""Hosts, ports and worker addresses, IPv6 included."""

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_PORT = 65535
METRICS_PORT_OFFSET = 10_000
FLEET_PORT = 29010
"""Default port of the fleet exporter."""
NODE_PORT = 29011
"""Default port of the node exporter."""
DEMO_GRPC_PORT = 8001
"""gRPC port of the first simulated worker."""

_URL = re.compile(
    r"([a-z]+)://(\[[^\[\]]*\]|[^\[\]:/?#@]*)(?::([0-9]{1,5}))?(/[^?#\s]*)?(\?[^#\s]*)?", re.IGNORECASE
)
_RANK = re.compile(r"@[0-9]+/?\Z")
_IPC = re.compile(r"ipc://[A-Za-z0-9@/._~%+:-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")  # IPv4 addresses too


class AddressError(ValueError):
    """An invalid host, port or URL; its str is one line with the value."""


def derived_metrics_port(grpc_port: int) -> int:
    """Return the port of a worker's metrics: 10000 above its gRPC port, or below where above passes 65535."""
    _check_port(grpc_port)
    above = grpc_port + METRICS_PORT_OFFSET
    return above if above <= MAX_PORT else grpc_port - METRICS_PORT_OFFSET


def bare_host(host: str) -> str:
    """Return a host name or IP address without the brackets of IPv6; AddressError if it is neither."""
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    valid = _is_ipv6(bare) if bracketed or ":" in bare else _HOST_NAME.fullmatch(bare)
    if not valid:
        raise AddressError(f"{host!r} is not a host name or IP address")
    return bare


def host_port(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 host in brackets; AddressError if either is invalid."""
    _check_port(port)
    bare = bare_host(host)
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address leads back to the machine that uses it."""
    try:
        return ipaddress.ip_address(bare_host(host)).is_loopback
    except ValueError:  # AddressError is one
        return host.lower() == "localhost"


def is_ambiguous(address: str) -> bool:
    """Whether the worker that an address means depends on the machine that uses it, as with `grpc://127.0.0.1:8001`."""
    try:
        return is_loopback(host_of(address))
    except AddressError:
        return False


def local_host(listening: Sequence[str]) -> str:
    """Return a host at which a client on this machine reaches a server that listens on `listening` (empty: all)."""
    everywhere = not listening or {"0.0.0.0", "::"} & set(listening)
    return "localhost" if everywhere else listening[0]


def worker_address(host: str, grpc_port: int) -> str:
    """Return the address that names a worker, as in the `worker_addr` label: `grpc://host:port`."""
    return f"grpc://{host_port(host, grpc_port)}"


class WorkerUrl(NamedTuple):
    """A worker's URL. All data-parallel ranks of a server have the same one."""

    scheme: str
    """`grpc`, `grpcs`, `http` or `https`."""
    host: str
    """Lower case, an IPv6 address without brackets."""
    port: int | None
    """None if the URL has no port, which only an HTTP worker's may lack."""
    path: str
    """The path of an HTTP worker's URL, without a trailing slash."""

    @property
    def address(self) -> str:
        """The worker's address, as in the `worker_addr` label."""
        return f"{self.scheme}://{self._authority}{self.path}"

    @property
    def metrics_url(self) -> str:
        """The worker's default metrics URL."""
        if self.scheme in {"http", "https"}:
            return f"{self.address}/metrics"
        return self.metrics_url_at(derived_metrics_port(self.port or 0))

    def metrics_url_at(self, port: int) -> str:
        """Return the worker's metrics URL for a port; AddressError if the port is invalid."""
        scheme = "https" if self.scheme == "https" else "http"
        return f"{scheme}://{host_port(self.host, port)}/metrics"

    @property
    def _authority(self) -> str:
        if self.port is not None:
            return host_port(self.host, self.port)
        return f"[{self.host}]" if ":" in self.host else self.host


def worker_url(text: str) -> WorkerUrl:
    """Parse a worker's URL, with or without `@RANK`; AddressError if it is invalid."""
    scheme, host, port, path, query = _split_url(_RANK.sub("", text), text)
    if scheme not in {"grpc", "grpcs", "http", "https"}:
        raise AddressError(f"{text!r} is not a URL that begins with grpc://, grpcs://, http:// or https://")
    if query:
        raise AddressError(f"{text!r} is not a worker's URL: it has a query")
    if scheme.startswith("grpc"):
        if port is None or path not in {"", "/"}:
            raise AddressError(
                f"{text!r} is not a gRPC worker's URL: scheme, host and port, and nothing more"
            )
        derived_metrics_port(port)
    return WorkerUrl(scheme, host, port, path.rstrip("/"))


def ipc_address(text: str) -> str:
    """Return the address of a ZMQ worker, from its `ipc://` URL with or without `@RANK`; AddressError if it is none."""
    address = _RANK.sub("", text)
    if not _IPC.fullmatch(address):
        raise AddressError(f"{text!r} is not a ZMQ worker's URL of the form ipc:///path")
    return address


def http_url(text: str, default_path: str = "") -> str:
    """Return an HTTP URL, normalized; an empty path becomes `default_path`. AddressError if it is invalid."""
    scheme, host, port, path, query = _split_url(text, text)
    if scheme not in {"http", "https"}:
        raise AddressError(f"{text!r} is not a URL that begins with http:// or https://")
    return WorkerUrl(scheme, host, port, f"{path or default_path}{query}").address


def metrics_url(text: str) -> str:
    """Return the URL of a metrics endpoint, normalized; AddressError if it is invalid."""
    return http_url(text, "/metrics")


def host_of(url: str) -> str:
    """Return the host of a URL, normalized as in `WorkerUrl`; AddressError if the URL is invalid."""
    return _split_url(url, url)[1]


def port_of(url: str) -> int:
    """Return the port of an HTTP URL, the scheme's if it has none; AddressError if the URL is invalid."""
    scheme, _, port, _, _ = _split_url(url, url)
    return port or (443 if scheme == "https" else 80)


def worker_and_metrics_url(text: str) -> tuple[WorkerUrl, str]:
    """Parse `WORKER[=METRICS]`: a worker's URL, and its metrics URL, by default derived from the first."""
    first, equals, second = text.partition("=")
    worker = worker_url(first)
    return worker, metrics_url(second) if equals else worker.metrics_url


def _split_url(text: str, shown: str) -> tuple[str, str, int | None, str, str]:
    """Return scheme, host, port, path and query. A URL with a user name is an error."""
    match = _URL.fullmatch(text)
    if match is None:
        raise AddressError(f"{shown!r} is not a URL of the form scheme://host:port")
    scheme, host, port, path, query = match.groups()
    try:
        _check_port(int(port or 1))
        bare = bare_host(host)
    except AddressError as error:
        raise AddressError(f"{shown!r} is not a URL: {error}") from None
    host = str(ipaddress.IPv6Address(bare)) if ":" in bare else bare.lower()
    return scheme.lower(), host, None if port is None else int(port), path or "", query or ""


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _check_port(port: int) -> None:
    if not 1 <= port <= MAX_PORT:
        raise AddressError(f"{port} is not a port from 1 to {MAX_PORT}")
