"""Options of `demo`, and those of the exporter that it runs."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from exporter import addresses, paths
from exporter.options.node import NodeOptions
from exporter.options.option import Options, Problem, flag, option
from exporter.options.values import Directory, decimal, whole
from exporter.options.worker import ServeOptions, WorkerServing

DEMO_PORT_STEP = 10
"""From a simulated worker's gRPC port to the next one's: a real worker takes more ports beside its own."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions(WorkerServing):
    """Options of `demo`."""

    ranks: Annotated[int, whole(1, 64)] = option("worker", "the number of schedulers", "N", default=2)
    workers: Annotated[int, whole(1, 16)] = option(
        "worker", "the number of simulated workers; node serves several", "N", default=1
    )
    speed: Annotated[float, decimal(0.1, 10, "a number")] = option(
        "worker", "how many times as fast the story goes: quiet, rush, ..., restart", "FACTOR", default=1.0
    )

    @property
    def worker_port(self) -> int:
        """The first simulated worker's gRPC port."""
        return self.grpc_port or addresses.DEMO_GRPC_PORT

    def port(self, number: int) -> int:
        """Return the gRPC port of a simulated worker; the first one's number is 0."""
        return self.worker_port + DEMO_PORT_STEP * number

    def serving(self, directory: Path, number: int = 0) -> ServeOptions:
        """Return the options of `serve` for the directory of a simulated worker."""
        given = self._given_to(ServeOptions) | {
            "grpc_port": self.port(number),
            "multiproc_dir": (Directory(str(directory)),),
        }
        return ServeOptions(**given | ({"listen_port": None} if self.workers > 1 else {}))

    @property
    def node(self) -> NodeOptions:
        """The options of `node` for several simulated workers."""
        given = self._given_to(NodeOptions)
        return NodeOptions(**given | {"node_name": self.host, "derived_ports": True})

    @property
    def all_metrics_url(self) -> str:
        """The URL of the metrics of all simulated workers, for clients on this machine."""
        if self.workers == 1:
            return self.metrics_url
        return self.local_url(self.node.metrics_port, paths.NODE_METRICS)

    @property
    def page_url(self) -> str:
        """The URL of the page of all simulated workers, for browsers on this machine."""
        return self.local_url(self.node.metrics_port if self.workers > 1 else self.metrics_port)

    def _given_to(self, options: type[Options]) -> dict[str, Any]:
        """Return the values of the options that another command has too."""
        return {each.name: getattr(self, each.name) for each in fields(options) if hasattr(self, each.name)}

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if self.workers > 1:
            if (last := self.port(self.workers - 1)) > addresses.MAX_PORT:
                yield (
                    "grpc_port",
                    f"{self.worker_port} leaves no room: worker {self.workers} would be on {last}",
                )
            of_node = {each.name for each in fields(NodeOptions)} | {"grpc_port", "grpc_host"}
            for each in fields(WorkerServing):
                if each.name not in of_node and getattr(self, each.name) != each.default:
                    yield each.name, f"is for one worker, but {flag('workers')} is {self.workers}"
