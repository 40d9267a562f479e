"""Processes and the directories that they write into -> workers: pure decisions."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from exporter.discovery.servers import Host, Server, ancestors, find_server


class Identity(NamedTuple):
    """What tells one worker from every other. A removed directory's inode number may be used again at once."""

    device: int
    inode: int
    birth: int
    """When the directory was made, in nanoseconds since 1970; 0 where the file system does not say."""
    pid_namespace: int
    """The number of its first writer's pid namespace; 0: ours."""


class Clue(NamedTuple):
    """A process that has to do with a directory."""

    pid: int
    path: str
    """The directory, as the process itself names it."""
    directory: tuple[int, int, int]
    """Device, inode and birth of the directory."""
    is_writer: bool
    """Whether it has files of the directory mapped or open; else only its environment names the directory."""


class Worker(NamedTuple):
    """A directory of metrics with living processes, and the server that they belong to."""

    identity: Identity
    path: str
    """The directory as its processes name it: another mount namespace may have another one of that name."""
    pids: tuple[int, ...]
    """Its processes, in our pid namespace, the first one first; the directory is reached through any of them."""
    pid_namespaces: frozenset[int]
    """The numbers of its writers' pid namespaces. File names hold pids of these."""
    server: Server | None
    """The server; None if no process listens, or if that could not be found out."""
    others: tuple[Server, ...] = ()
    """Further servers whose processes write into the same directory: their metrics cannot be told apart."""
    command: tuple[str, ...] = ()
    """The command line of the server, else of the first process."""

    @property
    def port(self) -> int | None:
        """The port that its server is known by; None if it has none."""
        return self.server.port if self.server else None


def find_workers(clues: Iterable[Clue], host: Host) -> Sequence[Worker]:
    """Return the workers, sorted by port, then by path."""
    by_directory: dict[tuple[int, int, int], list[Clue]] = defaultdict(list)
    for clue in clues:
        by_directory[clue.directory].append(clue)
    found = (_worker(each, host) for each in by_directory.values())
    return sorted(
        (worker for worker in found if worker), key=lambda one: (one.port or _NO_PORT, one.path, one.pids)
    )


_NO_PORT = 1 << 16


def _worker(clues: Sequence[Clue], host: Host) -> Worker | None:
    """Return the worker of a directory; None if processes only name it that belong to no server."""
    writers = [clue for clue in clues if clue.is_writer]
    servers = {clue.pid: find_server(clue.pid, host) for clue in clues}
    # A name in the environment counts below a server only: shells and exporters may have it too.
    counted = writers or [clue for clue in clues if (server := servers[clue.pid]) and server.pid != clue.pid]
    if not counted:
        return None
    counted.sort(key=lambda clue: (host.processes[clue.pid].start_ticks, clue.pid))
    first = host.processes[counted[0].pid]
    ranked = _ranked({server for clue in counted if (server := servers[clue.pid])}, host)
    server = ranked[0] if ranked else None
    return Worker(
        Identity(*counted[0].directory, first.pid_namespace),
        counted[0].path,
        tuple(clue.pid for clue in counted),
        frozenset(host.processes[clue.pid].pid_namespace for clue in counted),
        server,
        tuple(ranked[1:]),
        host.processes[server.pid].command if server else first.command,
    )


def _ranked(servers: Collection[Server], host: Host) -> Sequence[Server]:
    """Return the servers of a directory by port, but for those that started another one of them, as a launcher does."""
    above = {
        each.pid for server in servers for each in islice(ancestors(server.pid, host.processes), 1, None)
    }
    by_port = {server.port: server for server in servers if server.pid not in above}
    return [by_port[port] for port in sorted(by_port)]
