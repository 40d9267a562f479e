"""systemd's protocols for services: passed sockets, status notifications, the watchdog.

See sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3). Their environment variables are for this process only and
are no options: they are read here, not in settings, and removed so that no child inherits them. The protocols are too
small to take a package for them.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field

from exporter.logs import fields

_FIRST_FD = 3
_PERIOD = 5.0
"""Most seconds between two notifications."""
_UNTIL_READY = 0.1

_logger = logging.getLogger(__name__)


class PassedSocketError(Exception):
    """systemd passed a descriptor that is no listening TCP socket; its str is one line with number and name."""


@dataclass(frozen=True)
class ServiceManager:
    """What systemd passed in the environment; all empty if systemd did not start this process."""

    sockets: dict[socket.socket, str] = field(default_factory=dict)
    """Listening TCP sockets -> their names (FileDescriptorName=)."""
    address: str = ""
    """NOTIFY_SOCKET: the path of a socket, or @ and an abstract name; empty: send no notifications."""
    watchdog: float = 0.0
    """Longest time in seconds between two watchdog notifications; 0: there is no watchdog."""

    def tell(self, *assignments: str) -> None:
        """Send VARIABLE=VALUE assignments; errors are ignored."""
        if not self.address or not assignments:
            return
        datagram = "\n".join(map(_one_line, assignments))
        address = self.address.encode("utf-8", "surrogateescape")
        if address.startswith(b"@"):
            address = b"\0" + address[1:]
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.sendto(datagram.encode("utf-8", "backslashreplace"), address)

    async def report(
        self, status: Callable[[], str], ready: Callable[[], bool], stuck: Callable[[float], str]
    ) -> None:
        """Send notifications until cancelled.

        `status` returns a line for people. `stuck` gets a number of seconds, and returns which piece of work has been
        running for longer: while it returns one, watchdog notifications stop, so that systemd restarts this process.
        """
        period = min(_PERIOD, self.watchdog / 2 or _PERIOD)
        is_ready, told, complained = False, "", ""
        while True:
            news = []
            if not is_ready and ready():
                is_ready = True
                news.append("READY=1")
            if (text := status()) != told:
                told = text
                news.append(f"STATUS={text}")
            if self.watchdog:
                problem = stuck(self.watchdog)
                if not problem:
                    news.append("WATCHDOG=1")
                elif problem != complained:
                    _logger.error(
                        "stuck; systemd's watchdog will restart this process", extra=fields(problem=problem)
                    )
                complained = problem
            self.tell(*news)
            await asyncio.sleep(period if is_ready else min(period, _UNTIL_READY))


def take(environment: MutableMapping[str, str]) -> ServiceManager:
    """Remove systemd's variables from the environment, and return their meaning, passed sockets included.

    PassedSocketError if a passed file descriptor is no listening TCP socket.
    """
    names = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    given = {name: environment.pop(name, "") for name in names}
    ours = str(os.getpid())
    sockets = {}
    if given["LISTEN_PID"] == ours:
        labels = given["LISTEN_FDNAMES"].split(":")
        for index in range(_number(given["LISTEN_FDS"])):
            name = labels[index] if index < len(labels) else "unknown"
            sockets[_listening(_FIRST_FD + index, name)] = name
    address = given["NOTIFY_SOCKET"] if given["NOTIFY_SOCKET"].startswith(("/", "@")) else ""
    watched = given["WATCHDOG_PID"] in {"", ours}
    return ServiceManager(sockets, address, _number(given["WATCHDOG_USEC"]) / 1e6 if watched else 0.0)


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the system's own signature
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise _error(descriptor, name, f"is no socket: {error.strerror}") from None
    if (
        sock.family not in {socket.AF_INET, socket.AF_INET6}
        or sock.type != socket.SOCK_STREAM
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        sock.close()
        raise _error(descriptor, name, "is not a listening TCP socket: say ListenStream=PORT and Accept=no")
    return sock


def _error(descriptor: int, name: str, fault: str) -> PassedSocketError:
    return PassedSocketError(f"file descriptor {descriptor} ({name}), passed by systemd, {fault}")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")
