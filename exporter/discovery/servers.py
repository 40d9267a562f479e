"""Which server a process belongs to, and under which address it is known: pure decisions."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.discovery.parsing import Socket, flattened, options

_PORT_OPTIONS = ("--port", "--grpc-port", "-b", "--bind")
_GRPC_SWITCHES = {"--smg-grpc-mode", "--grpc-mode", "--grpc"}
_GRPC_MODULE = re.compile(r"servicer|grpc_server")


@dataclass(frozen=True, slots=True)
class Process:
    """What is known of one process for as long as it lives."""

    pid: int
    parent: int
    start_ticks: int
    group: int = 0
    uid: int = 0
    command: tuple[str, ...] = ()
    capabilities: int = 0
    pids: tuple[int, ...] = ()
    """Its pid in each pid namespace, from ours to its own."""
    pid_namespace: int = 0
    """The number of its pid namespace; 0: ours."""
    net_namespace: int = 0
    """The number of its network namespace; 0: unknown."""
    name: bytes = b""
    """The name, which is another one once the process runs another program."""


class Server(NamedTuple):
    """A process that listens, and the port that its worker is known by."""

    pid: int
    port: int
    scheme: str
    """`grpc` or `http`."""
    host: str
    """The address that it is bound to."""
    inode: int
    """The inode number of its listening socket."""


@dataclass(frozen=True)
class Host:
    """What is known of the sockets of processes; each function is asked only for what is needed."""

    processes: Mapping[int, Process]
    sockets: Callable[[int], frozenset[int]]
    """The inode numbers of a process's sockets, by pid; empty if they may not be seen."""
    listeners: Callable[[Process], Mapping[int, Socket]]
    """The listening sockets of a process's network namespace, by inode number."""
    _listening: dict[int, Mapping[int, Socket]] = field(default_factory=dict)

    def listening(self, pid: int) -> Mapping[int, Socket]:
        """Return the listening sockets that a process holds, by inode number."""
        if pid not in self.processes:
            return {}
        if pid not in self._listening:
            held, listeners = self.sockets(pid), self.listeners(self.processes[pid])
            self._listening[pid] = {inode: listeners[inode] for inode in held & listeners.keys()}
        return self._listening[pid]


def find_server(pid: int, host: Host) -> Server | None:
    """Return the server that a writer of metrics belongs to: the nearest process, itself or an ancestor, that listens.

    A mere part of a server, such as a scheduler, may listen for its own purposes; then the ancestor that it is a part
    of comes first, if that listens too.
    """
    chain = list(_relatives(host.processes[pid], host))
    for at, process in enumerate(chain):
        if not host.listening(process.pid):
            continue
        above = [each for each in chain[at + 1 :] if host.listening(each.pid)]
        inode, socket = _choose(process, host)
        shares = inode in host.listening(process.parent)
        if above and _is_part(process, host) and (shares or not _names_port(process.command, socket.port)):
            continue
        commands = [process.command, *_commands_above(chain[at + 1 :], inode, socket.port, host)]
        scheme = "grpc" if any(map(_says_grpc, commands)) else "http"
        return Server(process.pid, socket.port, scheme, socket.host, inode)
    return None


def named_port(command: Sequence[str]) -> int | None:
    """Return the port that a command line gives its server; None if it gives none."""
    given = options(command)
    for name in _PORT_OPTIONS:
        port = given.get(name, "").rpartition(":")[2]
        if port.isascii() and port.isdigit():
            return int(port)
    return None


def worker_address(server: Server, node_name: str, addresses: Sequence[str]) -> str:
    """Return the address that names a server's worker, as the `worker_addr` label has it: `grpc://host:port`.

    The host is the address that the server is bound to, if that is a specific one that others reach; else the first of
    `addresses`, those of its network namespace where that is not ours; else `node_name`.
    """
    bound = ipaddress.ip_address(server.host)
    is_specific = not (bound.is_unspecified or bound.is_loopback)
    name = server.host if is_specific else next(iter(addresses), node_name)
    return f"{server.scheme}://{f'[{name}]' if ':' in name else name}:{server.port}"


def ancestors(pid: int, processes: Mapping[int, Process]) -> Iterator[Process]:
    """Yield a process and its ancestors, the nearest first."""
    seen = set()
    while pid in processes and pid not in seen:
        seen.add(pid)
        yield processes[pid]
        pid = processes[pid].parent


def _relatives(process: Process, host: Host) -> Iterator[Process]:
    """Yield a process and the ancestors that may be its server.

    A login, a shell or a supervisor starts others in a process group of their own. An ancestor of another group counts
    only if its command line names a port that it listens on.
    """
    for each in ancestors(process.pid, host.processes):
        if each.net_namespace != process.net_namespace:
            return
        is_near = each.group == process.group
        if is_near or any(_names_port(each.command, one.port) for one in host.listening(each.pid).values()):
            yield each


def _choose(process: Process, host: Host) -> tuple[int, Socket]:
    """Return the socket that a server is known by: on the port that its command line names, else on the lowest."""
    held = host.listening(process.pid)
    named = named_port(process.command)
    return min(held.items(), key=lambda item: (item[1].port != named, item[1].port, item[0]))


def _is_part(process: Process, host: Host) -> bool:
    """Whether a process is a mere part of its parent: forked, made by multiprocessing, or renamed as such parts are."""
    parent = host.processes.get(process.parent)
    is_renamed = len(process.command) == 1 and "::" in process.command[0]
    made = "multiprocessing" in " ".join(process.command)
    return is_renamed or made or (parent is not None and parent.command == process.command)


def _commands_above(above: Sequence[Process], inode: int, port: int, host: Host) -> Iterator[Sequence[str]]:
    """Yield the command lines of ancestors for as long as they share the socket or name the port."""
    for each in above:
        if inode not in host.listening(each.pid) and not _names_port(each.command, port):
            return
        yield each.command


def _names_port(command: Sequence[str], port: int) -> bool:
    text = str(port)
    return any(word == text or word.endswith((f"={text}", f":{text}")) for word in flattened(command))


def _says_grpc(command: Sequence[str]) -> bool:
    given = options(command)
    module = given.get("-m") or next(
        (word for word in flattened(command)[1:] if not word.startswith("-")), ""
    )
    return bool(_GRPC_SWITCHES & given.keys()) or _GRPC_MODULE.search(module) is not None
