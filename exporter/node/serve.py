"""`smg-exporter node`: every worker of this host, in one answer."""

from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from exporter import paths
from exporter.node.app import make_app
from exporter.node.parts import Node
from exporter.options import NodeOptions
from exporter.service.run import run
from exporter.web.listen import Endpoint


def serve(options: NodeOptions) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code. SettingsError if `--web-config` cannot be used."""
    return run(partial(make, options), endpoint(options), options.web_config)


def endpoint(options: NodeOptions) -> Endpoint:
    """Return the hosts and the port to listen on."""
    return Endpoint(options.listen_host, options.metrics_port, options.port_rule)


@asynccontextmanager
async def make(options: NodeOptions) -> AsyncIterator["NodeDaemon"]:
    """Make a node's daemon."""
    yield NodeDaemon(Node(options), options.max_requests)


class NodeDaemon:
    """A node, as a `service.run.Daemon`."""

    metrics_path = paths.NODE_METRICS

    def __init__(self, node: Node, max_requests: int) -> None:
        self._node = node
        self.app = make_app(node, max_requests=max_requests)
        self.facts = {"node": node.node_name}

    @property
    def tasks(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The looks at all processes, and the watches of directories."""
        return {
            "the looks at all processes": self._node.run(),
            "the watch of the directories": self._node.room.run(),
        }

    @property
    def problem(self) -> str:
        """Why no worker can be found; empty if nothing stands in the way."""
        return self._node.problem

    @property
    def ready(self) -> bool:
        """Whether a look has ended."""
        return not self._node.problem

    async def look(self) -> None:
        """Look at all processes."""
        await self._node.look()

    def summary(self, port: int) -> str:
        """Return the node's state in one line."""
        if self._node.problem:
            return self._node.problem
        count = len(self._node.members.live)
        return f"serving {count} worker{'s' * (count != 1)} on port {port}"

    def stuck(self, longest: float) -> str:
        """Return an empty text: a worker or a look that hangs is left out by itself."""
        return self._node.room.stuck(longest)
