"""Options that several commands take."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from exporter import addresses
from exporter.errors import SettingsError
from exporter.options.option import Options, Problem, flag, missing, option
from exporter.options.values import Bytes, File, Hosts, Labels, Port, Size, User, whole


@dataclass(frozen=True, kw_only=True)
class WorkerPort(Options):
    """The option for the worker's gRPC port."""

    grpc_port: Port | None = option(
        "worker",
        "the worker's gRPC port; not needed with --listen-port",
        "PORT",
        shown=f"none; demo: {addresses.DEMO_GRPC_PORT}",
    )

    @property
    def worker_port(self) -> int | None:
        """The worker's gRPC port, if it is given: what is derived from it may be given instead."""
        return self.grpc_port


@dataclass(frozen=True, kw_only=True)
class StaticLabels(Options):
    """The option for labels added to every series."""

    label: Labels = option(
        "metrics", "static label on every series; repeatable", "NAME=VALUE", factory=dict, shown="none"
    )


@dataclass(frozen=True, kw_only=True)
class FileSize(Options):
    """How large a worker's files may be."""

    max_file_size: Bytes = option("limits", "skip larger .db files", "SIZE", default=Size(256 << 20))


@dataclass(frozen=True, kw_only=True)
class Listening(Options):
    """Where a daemon listens."""

    listen_host: Hosts = option(
        "listening",
        "address that the exporter listens on; repeatable",
        "HOST",
        default=(),
        shown="all interfaces, IPv4 and IPv6",
    )
    listen_port: Port | None = option(
        "listening",
        "port that the exporter listens on",
        "PORT",
        shown=f"gRPC port + 10000; - 10000 where that passes 65535; fleet: {addresses.FLEET_PORT}; "
        f"node: {addresses.NODE_PORT}",
    )

    def local_url(self, port: int, path: str = "/") -> str:
        """Return a URL of what listens on a port of these hosts, for clients on this machine."""
        return f"http://{addresses.host_port(addresses.local_host(self.listen_host), port)}{path}"


@dataclass(frozen=True, kw_only=True)
class DerivedPort(WorkerPort, Listening):
    """The port of a worker's exporter."""

    @property
    def metrics_port(self) -> int:
        """The port to listen on; SettingsError if it is neither given nor derived."""
        if self.listen_port:
            return self.listen_port
        if self.worker_port is None:
            name, reason = missing_port()
            raise SettingsError(f"{flag(name)}: {reason}")
        return addresses.derived_metrics_port(self.worker_port)

    @property
    def port_rule(self) -> str:
        """How `metrics_port` was chosen, as a phrase."""
        if self.listen_port or self.worker_port is None:
            return f"chosen by {flag('listen_port')}"
        offset = self.metrics_port - self.worker_port
        return f"derived from {flag('grpc_port')} {self.worker_port} ({offset:+d})"


def missing_port() -> Problem:
    """Return the problem of a worker's exporter with neither `--grpc-port` nor `--listen-port`."""
    return missing("grpc_port", instead=f"give {flag('listen_port')}")


@dataclass(frozen=True, kw_only=True)
class Serving(Listening):
    """How a daemon serves."""

    web_config: File | None = option(
        "listening", "TLS and users, in Prometheus' web configuration file format", "FILE", shown="none"
    )
    max_requests: Annotated[int, whole(1, 10_000)] = option(
        "limits", "largest number of scrapes in flight; further ones get 503", "N", default=40
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "output", "lowest severity to log", default="info"
    )
    log_format: Literal["logfmt", "json"] = option("output", "format of log lines", default="logfmt")


@dataclass(frozen=True, kw_only=True)
class DefaultPort(Serving):
    """How a daemon serves that has a port by default."""

    _PORT: ClassVar[int]

    @property
    def metrics_port(self) -> int:
        """The port to listen on."""
        return self.listen_port or self._PORT

    @property
    def port_rule(self) -> str:
        """How `metrics_port` was chosen, as a phrase."""
        return f"chosen by {flag('listen_port')}" if self.listen_port else "the default"


@dataclass(frozen=True, kw_only=True)
class TargetTrust(Options):
    """How https targets are verified."""

    target_ca_file: File | None = option(
        "authentication", "CA certificates to verify https targets against", "FILE", shown="the system's"
    )


@dataclass(frozen=True, kw_only=True)
class Credentials(Options):
    """As which user an exporter is asked."""

    user: User | None = option(
        "authentication", "name of a user in the exporter's web configuration", "NAME", shown="none"
    )
    password_file: File | None = option(
        "authentication", "file with that user's password", "FILE", shown="none"
    )

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if bool(self.user) != bool(self.password_file):
            name, other = ("user", "password_file") if self.user else ("password_file", "user")
            yield name, f"is of no use without {flag(other)}"
