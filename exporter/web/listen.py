"""Listening sockets, opened before anything else starts, so that a taken port is found out first."""

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

BACKLOG = 128
UNREAD_TIMEOUT_MS = 30_000
"""How long the kernel keeps a connection whose peer takes nothing of what was sent, even one closed by us."""

_REASONS = {
    errno.EADDRINUSE: "the port is in use",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "the address is not one of this machine",
    errno.EAFNOSUPPORT: "this machine has no IPv6",
}
_NO_IPV6 = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class ListenError(OSError):
    """A host and port that cannot be listened on; its str is one line with the reason.

    `errno` is the system's, or getaddrinfo's for a host that cannot be resolved.
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
        """Whether another port would do; else the host is at fault."""
        return self.errno in {errno.EADDRINUSE, errno.EACCES}


@dataclass(frozen=True)
class Endpoint:
    """Where a daemon is to listen."""

    hosts: Sequence[str]
    """All interfaces where there is none."""
    port: int
    rule: str
    """What chose the port, to end a sentence with."""

    def open(self) -> list[socket.socket]:
        """Return listening sockets, as `open_sockets` does; it may raise ListenError."""
        return open_sockets(self.hosts, self.port)

    def problem(self) -> str:
        """Return why it cannot be listened on now, and the way out; an empty text where it can."""
        try:
            self.attempt()
        except ListenError as error:
            return self.explain(error)
        return ""

    def attempt(self) -> None:
        """Listen for a moment; it may raise ListenError."""
        for sock in self.open():
            sock.close()

    def explain(self, error: ListenError) -> str:
        """Return what went wrong, and the way out, in a line."""
        if error.is_of_the_port:
            return f"{error}; it was {self.rule}: choose another with --listen-port"
        return f"{error}; name another address with --listen-host"


def open_sockets(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Return a listening socket for each address of `hosts`; of all interfaces where there are none.

    Clients may connect from now on; they wait until a server accepts them. Where the machine has no IPv6, a
    host that has IPv4 too does without. With port 0 each socket gets a free port of its own. Resolves names,
    so it may block. ListenError, and no socket left open, where any address fails.
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
    """Return (family, socket address) of a host; the wildcards for an empty one."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, ValueError) as error:  # ValueError: no host name at all
        number = error.errno if isinstance(error, socket.gaierror) else None
        raise ListenError(host, port, number, "the host name cannot be resolved") from error
    return [(family, address) for family, _, _, _, address in found]


def _listen(family: int, address: Any) -> socket.socket:
    """Return a listening socket; an IPv6 one leaves IPv4 to its own."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_MS)  # clients inherit it
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_error(host: str, port: int, error: OSError) -> ListenError:
    number = error.errno or 0
    return ListenError(host, port, number, _REASONS.get(number) or os.strerror(number))
