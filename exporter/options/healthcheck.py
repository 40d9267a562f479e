"""Options of `healthcheck`."""

from dataclasses import dataclass

from exporter import addresses
from exporter.options.shared import Credentials, DerivedPort


@dataclass(frozen=True, kw_only=True)
class HealthcheckOptions(Credentials, DerivedPort):
    """Options of `healthcheck`."""

    @property
    def metrics_port(self) -> int:
        """The port to ask: the given or derived one of a worker's exporter, else the fleet's default."""
        return super().metrics_port if self.listen_port or self.grpc_port else addresses.FLEET_PORT
