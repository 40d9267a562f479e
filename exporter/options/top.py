"""Options of `top`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from exporter import addresses
from exporter.options.option import Problem, flag, option
from exporter.options.shared import Credentials, DerivedPort, TargetTrust
from exporter.options.values import Switch, Urls, decimal


@dataclass(frozen=True, kw_only=True)
class TopOptions(Credentials, TargetTrust, DerivedPort):
    """Options of `top`."""

    url: Urls = option(
        "workers",
        "exposition to read; on the command line --url can be left out; repeatable",
        "URL",
        default=(),
        shown="the exporter on this machine: that of --grpc-port, else node",
    )
    window: Annotated[float, decimal(1, 600)] = option(
        "metrics", "time over which rates and percentiles are taken", "SECONDS", default=5.0
    )
    once: Switch = option("output", "print a table after one window, and exit", default=False)
    json: Switch = option("output", "print the engine view as JSON after one window, and exit", default=False)

    @property
    def metrics_port(self) -> int:
        """The port to ask on this machine: the given or derived one of a worker's exporter, else the node's default."""
        return super().metrics_port if self.listen_port or self.grpc_port else addresses.NODE_PORT

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if self.once and self.json:
            yield "once", f"contradicts {flag('json')}"
