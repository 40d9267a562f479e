"""Hosts, ports and worker addresses, IPv6 included."""

import ipaddress
import re

MAX_PORT = 65535
METRICS_PORT_OFFSET = 10_000

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


def worker_address(host: str, grpc_port: int) -> str:
    """Return the address that names a worker, as in the `worker_addr` label: `grpc://host:port`."""
    return f"grpc://{host_port(host, grpc_port)}"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _check_port(port: int) -> None:
    if not 1 <= port <= MAX_PORT:
        raise AddressError(f"{port} is not a port from 1 to {MAX_PORT}")
