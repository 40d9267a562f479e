"""Options of `demo`, and those of the exporters that it runs."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from exporter import addresses
from exporter.options.fleet import FleetOptions
from exporter.options.option import Problem, flag, option
from exporter.options.values import Directory, decimal, whole
from exporter.options.worker import ServeOptions, WorkerServing

DEMO_PORT_STEP = 10
"""From a simulated worker's gRPC port to the next one's: a real worker takes more ports beside its own."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions(WorkerServing):
    """Options of `demo`."""

    ranks: Annotated[int, whole(1, 64)] = option("worker", "the number of schedulers", "N", default=2)
    workers: Annotated[int, whole(1, 16)] = option(
        "worker", "the number of simulated workers; a fleet is over several", "N", default=1
    )
    speed: Annotated[float, decimal(0.1, 10, "a number")] = option(
        "worker", "how many times as fast the story goes: quiet, rush, ..., restart", "FACTOR", default=1.0
    )

    @property
    def worker_port(self) -> int:
        """The first simulated worker's gRPC port, which nobody listens on."""
        return self.grpc_port or addresses.DEMO_GRPC_PORT

    def serving(self, directory: Path, number: int = 0) -> ServeOptions:
        """Return the options of `serve` for the directory of a simulated worker."""
        same = {
            each.name: getattr(self, each.name) for each in fields(ServeOptions) if hasattr(self, each.name)
        }
        same |= {
            "grpc_port": self.worker_port + DEMO_PORT_STEP * number,
            "multiproc_dir": (Directory(str(directory)),),
        }
        return ServeOptions(**same | ({"listen_port": None} if self.workers > 1 else {}))

    @property
    def fleet(self) -> FleetOptions:
        """The options of `fleet` for all simulated workers, of which there are several."""
        same = {
            each.name: getattr(self, each.name) for each in fields(FleetOptions) if hasattr(self, each.name)
        }
        exporters = [self.serving(Path(), number) for number in range(self.workers)]
        workers = tuple(f"{it.worker_address}={it.metrics_url}" for it in exporters)
        return FleetOptions(**same | {"worker": workers, "label": {}})  # their exporters have the labels

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if self.workers > 1:
            last = self.worker_port + DEMO_PORT_STEP * (self.workers - 1)
            if last > addresses.MAX_PORT:
                yield (
                    "grpc_port",
                    f"{self.worker_port} leaves no room: worker {self.workers} would be on {last}",
                )
            for name in ("worker_addr", "web_config"):
                if getattr(self, name):
                    yield name, f"is for one worker, but {flag('workers')} is {self.workers}"
