"""The derived ports of all workers: each is found there as if it had an exporter of its own."""

import logging
from collections.abc import Callable, Mapping, Sequence

from exporter.logs import fields
from exporter.web.listen import ListenError, open_sockets
from exporter.web.server import Server
from exporter.worker.found import FoundWorker

_GRACE = 1.0
"""Seconds that scrapes in flight get when a worker is forgotten."""

_logger = logging.getLogger(__name__)


class DerivedPorts:
    """Listens on a port of each worker, as the workers come and go."""

    def __init__(self, hosts: Sequence[str], make_server: Callable[[FoundWorker], Server]) -> None:
        """Listen on `hosts`, all interfaces if there is none; `make_server` makes a worker's server."""
        self._hosts = hosts
        self._make_server = make_server
        self._servers: dict[FoundWorker, Server | None] = {}
        """What listens for each worker; None where the port cannot be had."""

    async def follow(self, workers: Mapping[FoundWorker, int]) -> None:
        """Listen for these workers, on these ports, and for no others.

        A port that is in use is logged once, and tried again each time.
        """
        for worker in self._servers.keys() - workers:
            if server := self._servers.pop(worker):
                await server.stop(_GRACE)
        for worker, port in workers.items():
            if self._servers.get(worker) is None:
                self._servers[worker] = await self._listen(worker, port, quiet=worker in self._servers)

    async def close(self) -> None:
        """Stop listening."""
        await self.follow({})

    async def _listen(self, worker: FoundWorker, port: int, *, quiet: bool) -> Server | None:
        try:
            sockets = open_sockets(self._hosts, port)
        except ListenError as error:
            if not quiet:
                about = fields(worker=dict(worker.labels).get("worker_addr", ""), problem=error)
                _logger.warning("a worker has no derived port", extra=about)
            return None
        server = self._make_server(worker)
        await server.start(sockets)
        return server
