"""Listening sockets, opened before anything else starts, so that a port in use is reported at once."""

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

BACKLOG = 128
UNREAD_TIMEOUT_MS = 30_000
"""Milliseconds after which the kernel drops a connection whose peer acknowledges nothing, even a closed one."""

_REASONS = {
    errno.EADDRINUSE: "the port is in use",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "the address is not one of this machine",
    errno.EAFNOSUPPORT: "this machine has no IPv6",
}
_NO_IPV6 = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class ListenError(OSError):
    """Listening on a host and port failed; its str is one line with the reason.

    `errno` is the system's, or getaddrinfo's if the host cannot be resolved.
    """

    def __init__(self, host: str, port: int, number: int | None, reason: str) -> None:
        super().__init__(number, reason)
        self.host = host
        self.port = port
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot listen on {self.host or 'all interfaces'}, port {self.port}: {self.reason}"

    @property
    def is_of_the_port(self) -> bool:
        """Whether the port is at fault; else the host is."""
        return self.errno in {errno.EADDRINUSE, errno.EACCES}


@dataclass(frozen=True)
class Endpoint:
    """The hosts and the port that a daemon listens on."""

    hosts: Sequence[str]
    """Empty: all interfaces."""
    port: int
    rule: str
    """How the port was chosen: `derived from --grpc-port 8001 (+10000)`."""

    def open(self) -> list[socket.socket]:
        """Return listening sockets, as `open_sockets` does. May raise ListenError."""
        return open_sockets(self.hosts, self.port)

    def problem(self) -> str:
        """Return why listening fails now, and a way out; an empty text if it succeeds."""
        try:
            self.attempt()
        except ListenError as error:
            return self.explain(error)
        return ""

    def attempt(self) -> None:
        """Open the sockets, and close them again. May raise ListenError."""
        for sock in self.open():
            sock.close()

    def explain(self, error: ListenError) -> str:
        """Return the error and a way out, in one line."""
        if error.is_of_the_port:
            return f"{error}; it was {self.rule}: choose another with --listen-port"
        return f"{error}; name another address with --listen-host"


def open_sockets(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Return a listening socket for each address of `hosts`; for all interfaces if `hosts` is empty.

    Clients can connect from now on; they wait until a server accepts them. On a machine without IPv6, the IPv6
    addresses of a host that also has IPv4 are skipped. With port 0, each socket gets a free port of its own. Blocks
    while names are resolved. If any address fails, all sockets are closed and ListenError is raised.
    """
    sockets: dict[tuple[int, Any], socket.socket] = {}
    with ExitStack() as on_failure:
        for host in hosts or [""]:
            addresses = _resolve(host, port)
            has_ipv4 = any(family == socket.AF_INET for family, _ in addresses)
            for family, address in addresses:
                if (family, address) in sockets:
                    continue
                try:
                    sock = on_failure.enter_context(_listen(family, address))
                except OSError as error:
                    if has_ipv4 and family == socket.AF_INET6 and error.errno in _NO_IPV6:
                        continue
                    raise _listen_error(host, port, error) from error
                sockets[family, address] = sock
        on_failure.pop_all()
    return list(sockets.values())


def _resolve(host: str, port: int) -> list[tuple[int, Any]]:
    """Return the (family, socket address) pairs of a host; the wildcard addresses for an empty host."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, ValueError) as error:  # ValueError: not encodable as a host name
        number = error.errno if isinstance(error, socket.gaierror) else None
        raise ListenError(host, port, number, "the host name cannot be resolved") from error
    return [(family, address) for family, _, _, _, address in found]


def _listen(family: int, address: Any) -> socket.socket:
    """Return a listening socket. An IPv6 socket does not accept IPv4."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted connections inherit the option.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_error(host: str, port: int, error: OSError) -> ListenError:
    number = error.errno or 0
    return ListenError(host, port, number, _REASONS.get(number) or os.strerror(number))
