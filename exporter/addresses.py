"""Hosts, ports and worker addresses, IPv6 included."""

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_PORT = 65535
METRICS_PORT_OFFSET = 10_000
FLEET_PORT = 29010
"""Where the metrics of a whole fleet are."""

_URL = re.compile(
    r"([a-z]+)://(\[[^\[\]]*\]|[^\[\]:/?#@]*)(?::([0-9]{1,5}))?(/[^?#\s]*)?(\?[^#\s]*)?", re.IGNORECASE
)
_RANK = re.compile(r"@[0-9]+/?\Z")
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")  # IPv4 addresses too


class AddressError(ValueError):
    """A host or a port that cannot be one; its str is one line with the value."""


def derived_metrics_port(grpc_port: int) -> int:
    """Return the port of a worker's metrics: 10000 above its gRPC port, or below where above passes 65535."""
    _check_port(grpc_port)
    above = grpc_port + METRICS_PORT_OFFSET
    return above if above <= MAX_PORT else grpc_port - METRICS_PORT_OFFSET


def bare_host(host: str) -> str:
    """Return a host name or IP address without the brackets of IPv6; AddressError where it is neither."""
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    valid = _is_ipv6(bare) if bracketed or ":" in bare else _HOST_NAME.fullmatch(bare)
    if not valid:
        raise AddressError(f"{host!r} is not a host name or IP address")
    return bare


def host_port(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 host in brackets; AddressError where either is wrong."""
    _check_port(port)
    bare = bare_host(host)
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def local_host(listening: Sequence[str]) -> str:
    """Return a host by which one on this machine reaches who listens on these; on all, where there is none."""
    everywhere = not listening or {"0.0.0.0", "::"} & set(listening)
    return "localhost" if everywhere else listening[0]


def worker_address(host: str, grpc_port: int) -> str:
    """Return the address that names a worker, as in the `worker_addr` label: `grpc://host:port`."""
    return f"grpc://{host_port(host, grpc_port)}"


class WorkerUrl(NamedTuple):
    """Where a worker serves: of all data-parallel ranks of a server the same."""

    scheme: str
    """`grpc`, `grpcs`, `http` or `https`."""
    host: str
    """Lower case, an IPv6 address without brackets."""
    port: int | None
    """None where an HTTP worker's URL leaves it to the scheme."""
    path: str
    """Of an HTTP worker's URL, without a slash at its end."""

    @property
    def address(self) -> str:
        """What names the worker, as in the `worker_addr` label."""
        return f"{self.scheme}://{self._authority}{self.path}"

    @property
    def metrics_url(self) -> str:
        """Where its metrics are unless somebody says otherwise."""
        if self.scheme in {"http", "https"}:
            return f"{self.address}/metrics"
        return self.metrics_url_at(derived_metrics_port(self.port or 0))

    def metrics_url_at(self, port: int) -> str:
        """Return where its metrics are if they are on that port; AddressError where it cannot be one."""
        scheme = "https" if self.scheme == "https" else "http"
        return f"{scheme}://{host_port(self.host, port)}/metrics"

    @property
    def _authority(self) -> str:
        if self.port is not None:
            return host_port(self.host, self.port)
        return f"[{self.host}]" if ":" in self.host else self.host


def worker_url(text: str) -> WorkerUrl:
    """Return a worker's URL, read; AddressError where it is none."""
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


def http_url(text: str, default_path: str = "") -> str:
    """Return an HTTP URL in one spelling, with a path where it has none; AddressError where it is none."""
    scheme, host, port, path, query = _split_url(text, text)
    if scheme not in {"http", "https"}:
        raise AddressError(f"{text!r} is not a URL that begins with http:// or https://")
    return WorkerUrl(scheme, host, port, f"{path or default_path}{query}").address


def metrics_url(text: str) -> str:
    """Return the URL of a metrics endpoint in one spelling; AddressError where it is none."""
    return http_url(text, "/metrics")


def host_of(url: str) -> str:
    """Return the host of a URL, as `WorkerUrl` has it; AddressError where it has none."""
    return _split_url(url, url)[1]


def worker_and_metrics_url(text: str) -> tuple[WorkerUrl, str]:
    """Return the two URLs that `WORKER[=METRICS]` names, the second derived where it is not given."""
    first, equals, second = text.partition("=")
    worker = worker_url(first)
    return worker, metrics_url(second) if equals else worker.metrics_url


def _split_url(text: str, shown: str) -> tuple[str, str, int | None, str, str]:
    """Return scheme, host, port, path and query; user names and passwords are none of our business."""
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
