"""`smg-exporter node`: every worker of this host, in one answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from exporter import paths
from exporter.discovery.finder import Finder
from exporter.node.app import make_app, make_worker_app
from exporter.node.parts import Node
from exporter.node.ports import DerivedPorts
from exporter.options.node import NodeOptions
from exporter.service.run import load_access, make_server, run
from exporter.web.listen import Endpoint
from exporter.web.server import Server
from exporter.worker.found import FoundWorker

if TYPE_CHECKING:
    from exporter.web.access.access import Access

_PERIOD = 2.0
"""Seconds between two looks."""


def serve(options: NodeOptions) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. SettingsError if `--web-config` cannot be used."""
    access = load_access(options.web_config)
    return run(partial(make, options, access), endpoint(options), access)


def endpoint(options: NodeOptions) -> Endpoint:
    """Return the hosts and the port to listen on."""
    return Endpoint(options.listen_host, options.metrics_port, options.port_rule)


@asynccontextmanager
async def make(
    options: NodeOptions, access: "Access | None" = None, make_finder: Callable[..., Finder] = Finder
) -> AsyncIterator["NodeDaemon"]:
    """Make a node's daemon, with `access` on derived ports. `make_finder` makes what looks at processes."""
    node = Node(options, make_finder)

    def server_of(worker: FoundWorker) -> Server:
        return make_server(make_worker_app(node, worker, max_requests=options.max_requests), access)

    ports = DerivedPorts(options.listen_host, server_of) if options.derived_ports else None
    try:
        yield NodeDaemon(node, options.max_requests, ports)
    finally:
        if ports:
            await ports.close()


class NodeDaemon:
    """A node, as a `service.run.Daemon`."""

    metrics_path = paths.NODE_METRICS

    def __init__(self, node: Node, max_requests: int, ports: DerivedPorts | None = None) -> None:
        self.node = node
        self._ports = ports
        self.app = make_app(node, max_requests=max_requests)
        self.facts = {"node": node.node_name}

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The looks at all processes, and the watches of directories."""
        return {
            "the looks at all processes": self._run(),
            "the watch of the directories": self.node.roster.run(),
        }

    @property
    def problem(self) -> str:
        """Why no worker can be found; empty if nothing stands in the way."""
        return self.node.problem

    @property
    def ready(self) -> bool:
        """Whether a look has ended."""
        return not self.node.problem

    async def look(self) -> None:
        """Look at all processes, and listen for the workers that came."""
        await self.node.look()
        if self._ports:
            await self._ports.follow(self.node.derived_ports)

    async def _run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD)
            await self.look()

    def summary(self, port: int) -> str:
        """Return the node's state in one line."""
        if self.node.problem:
            return self.node.problem
        count = len(self.node.members.live)
        return f"serving {count} worker{'s' * (count != 1)} on port {port}"

    def stuck(self, longest: float) -> str:
        """Return an empty text: a worker or a look that hangs is left out by itself."""
        return self.node.roster.stuck(longest)
