"""Every option, once: name, type, default and meaning; and which command takes which.

A command's options are a plain frozen dataclass, put together from the groups of options that it shares with others.
`settings` fills them in; nothing here imports pydantic, so the daemon, which lives with them, goes without its memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from exporter import addresses
from exporter.errors import SettingsError
from exporter.values import (
    Bytes,
    Collector,
    File,
    Format,
    Host,
    Hosts,
    Labels,
    Liveness,
    LogFormat,
    LogLevel,
    Port,
    Ranks,
    Refresh,
    Requests,
    Rounds,
    Size,
    Switch,
    TargetTimeout,
    Text,
    Url,
    UrlPath,
    User,
    WhenDown,
    Workers,
)

ENV_PREFIX = "SMG_EXPORTER_"
FALLBACK_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
DEMO_GRPC_PORT = 8001
GROUPS = ("worker", "workers", "listening", "asking", "merging", "limits", "output", "general")
"""The titles under which `--help` lists options, in order."""

_USUAL = {"port": "listen_port", "host": "listen_host"}
"""Other programs' names of options -> ours."""

Problem: TypeAlias = tuple[str, str]
"""An option's name, and what is wrong with it beside the other ones."""

_NOT_STOCK = ("per_process", "max_file_size", "when_worker_down")
"""Options that mean nothing to the stock collector: it merges every file, of any size, whoever lives."""

_numbers = count()


class Option(NamedTuple):
    """What is said of an option in one place, for whoever explains or completes it."""

    number: int
    """Rises in the order of declaration."""
    group: str
    meaning: str
    metavar: str
    default: str
    """As `--help` shows it."""
    name: str = ""
    type: Any = None
    """Without the None of an option that may be absent."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that there are, where they can be counted."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value on the command line."""
        return self.type is bool

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given more than once."""
        return get_origin(self.type) in {tuple, dict}


def option(
    group: str,
    meaning: str,
    metavar: str = "",
    *,
    default: object = None,
    factory: Callable[[], object] | None = None,
    shown: str = "",
) -> Any:
    """Return a dataclass field with its words in `--help`, `shown` for a default that is no plain value."""
    said = {"option": Option(next(_numbers), group, meaning, metavar, shown or str(default))}
    if factory:
        return field(default_factory=factory, metadata=said)
    return field(default=default, metadata=said)


def flag(name: str) -> str:
    """Return an option's name as the command line spells it: `--grpc-port`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return an option's name as the environment spells it: `SMG_EXPORTER_GRPC_PORT`."""
    return ENV_PREFIX + name.upper()


def no_such_option(name: str, spell: Callable[[str], str] = str, known: Iterable[str] = ()) -> str:
    """Return what is wrong with an option's name that is not `known`: and which one, spelled so, may be meant."""
    bare = name.lstrip("-").replace("-", "_")
    near = [_USUAL[bare]] if bare in _USUAL else get_close_matches(bare, [*(known or ALL)], n=1)
    return f"no such option{f'; did you mean {spell(near[0])}?' if near else ''}"


# --- Groups of options ---


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all commands' options have in common."""

    config: File | None = option("general", "TOML or YAML file of these options", "FILE", shown="none")

    def problems(self) -> list[Problem]:
        """Return each option that is missing, or contradicts another one."""
        return [*self._problems()]

    def _problems(self) -> Iterator[Problem]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class WorkerPort(Options):
    """The worker's gRPC port, from which other things are derived."""

    grpc_port: Port | None = option(
        "worker", "the worker's gRPC port", "PORT", shown=f"required; demo: {DEMO_GRPC_PORT}"
    )

    @property
    def worker_port(self) -> int:
        """The worker's gRPC port; SettingsError where it is not known."""
        if self.grpc_port is None:
            raise SettingsError(_spelled(*_missing("grpc_port")))
        return self.grpc_port


@dataclass(frozen=True, kw_only=True)
class StaticLabels(Options):
    """Labels that we add."""

    label: Labels = option(
        "merging", "static label on every series; repeatable", "NAME=VALUE", factory=dict, shown="none"
    )


@dataclass(frozen=True, kw_only=True)
class FileOptions(Options):
    """What of a worker's files counts."""

    liveness: Liveness = option(
        "merging", "whether a writer's pid is looked up in this pid namespace", default="auto"
    )
    when_worker_down: WhenDown = option(
        "merging", "what becomes of gauges once every writer has died", default="drop-gauges"
    )
    max_file_size: Bytes = option("limits", "larger .db files are skipped", "SIZE", default=Size(256 << 20))


@dataclass(frozen=True, kw_only=True)
class WorkerExposition(WorkerPort, StaticLabels, FileOptions):
    """What a worker's metrics look like."""

    grpc_host: Host = option("worker", "the worker's host, for worker_addr", "HOST", default="127.0.0.1")
    worker_addr: Text | None = option("worker", "the worker_addr label", "ADDRESS", shown="grpc://HOST:PORT")
    no_worker_addr_label: Switch = option(
        "worker", "leave that label out, where the scraper adds its own", default=False
    )
    per_process: Switch = option(
        "merging", "merge nothing: one series per process, each with a pid label", default=False
    )
    collector: Collector = option(
        "merging", "stock is prometheus_client's own merge, for comparison", default="incremental"
    )
    no_self_metrics: Switch = option("output", "leave out the exporter's own metrics", default=False)

    @property
    def worker_address(self) -> str:
        """The worker's address, as the `worker_addr` label has it."""
        return self.worker_addr or addresses.worker_address(self.grpc_host, self.worker_port)

    @property
    def static_labels(self) -> dict[str, str]:
        """The labels of every series, in order."""
        return ({} if self.no_worker_addr_label else {"worker_addr": self.worker_address}) | self.label

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if self.worker_addr and self.no_worker_addr_label:
            yield "worker_addr", f"contradicts {flag('no_worker_addr_label')}, which leaves the label out"
        if self.collector == "stock":
            for each in fields(self):
                if each.name in _NOT_STOCK and getattr(self, each.name) != each.default:
                    yield each.name, "not with --collector stock, which merges every file"


@dataclass(frozen=True, kw_only=True)
class WorkerDirectory(Options):
    """Where the worker writes."""

    multiproc_dir: File | None = option(
        "worker", "directory of its .db files", "DIR", shown=f"${FALLBACK_DIRECTORY}"
    )

    @property
    def directory(self) -> Path:
        """The worker's directory; SettingsError where it is not known."""
        if self.multiproc_dir is None:
            raise SettingsError(_spelled(*_missing("multiproc_dir")))
        return self.multiproc_dir

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if self.multiproc_dir is None:
            yield _missing("multiproc_dir")


@dataclass(frozen=True, kw_only=True)
class Listening(Options):
    """Where a daemon listens."""

    listen_host: Hosts = option(
        "listening",
        "address to listen on; repeatable",
        "HOST",
        default=(),
        shown="all interfaces, IPv4 and IPv6",
    )
    listen_port: Port | None = option(
        "listening",
        "port to listen on",
        "PORT",
        shown=f"gRPC port + 10000; - 10000 where that passes 65535; fleet: {addresses.FLEET_PORT}",
    )


@dataclass(frozen=True, kw_only=True)
class Serving(Listening):
    """How a daemon serves."""

    web_config: File | None = option(
        "listening", "TLS and users, in Prometheus' web configuration file format", "FILE", shown="none"
    )
    max_requests: Requests = option("limits", "scrapes in flight; beyond that 503", "N", default=40)
    log_level: LogLevel = option("output", "the least severe events to log", default="info")
    log_format: LogFormat = option("output", "what a log line looks like", default="logfmt")


@dataclass(frozen=True, kw_only=True)
class DerivedPort(WorkerPort, Listening):
    """The port of a worker's exporter."""

    @property
    def metrics_port(self) -> int:
        """The port to listen on."""
        return self.listen_port or addresses.derived_metrics_port(self.worker_port)

    @property
    def port_rule(self) -> str:
        """What chose `metrics_port`, to end a sentence with."""
        if self.listen_port:
            return f"chosen by {flag('listen_port')}"
        offset = self.metrics_port - self.worker_port
        return f"derived from {flag('grpc_port')} {self.worker_port} ({offset:+d})"


@dataclass(frozen=True, kw_only=True)
class WorkerServing(WorkerExposition, DerivedPort, Serving):
    """How a worker's metrics are served."""

    telemetry_path: UrlPath = option("listening", "the path of the metrics", "PATH", default="/metrics")


# --- The options of each command ---


@dataclass(frozen=True, kw_only=True)
class ServeOptions(WorkerServing, WorkerDirectory):
    """Options of `serve` and `check`."""

    def _problems(self) -> Iterator[Problem]:
        if self.grpc_port is None:
            yield _missing("grpc_port")
        yield from super()._problems()


@dataclass(frozen=True, kw_only=True)
class DemoOptions(WorkerServing):
    """Options of `demo`."""

    ranks: Ranks = option("worker", "the number of schedulers", "N", default=2)

    @property
    def worker_port(self) -> int:
        """The simulated worker's gRPC port, which nobody listens on."""
        return self.grpc_port or DEMO_GRPC_PORT

    def serving(self, directory: Path) -> ServeOptions:
        """Return the options that serve a directory as these say."""
        same = {
            each.name: getattr(self, each.name) for each in fields(ServeOptions) if hasattr(self, each.name)
        }
        return ServeOptions(**same | {"grpc_port": self.worker_port, "multiproc_dir": directory})


@dataclass(frozen=True, kw_only=True)
class DumpOptions(WorkerExposition, WorkerDirectory):
    """Options of `dump`."""

    format: Format = option("output", "the format to print", default="text")

    def _problems(self) -> Iterator[Problem]:
        if self.grpc_port is None and not (self.worker_addr or self.no_worker_addr_label):
            yield _missing("grpc_port")
        yield from super()._problems()


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(FileOptions, WorkerDirectory):
    """Options of `verify`."""

    rounds: Rounds = option("merging", "how often to compare", "N", default=1)


@dataclass(frozen=True, kw_only=True)
class FleetOptions(StaticLabels, Serving):
    """Options of `fleet` and `check fleet`."""

    worker: Workers = option(
        "workers",
        "worker to scrape, and its metrics URL where it is not the usual; repeatable",
        "URL[=METRICS]",
        default=(),
        shown="none",
    )
    workers_file: File | None = option(
        "workers",
        "workers to scrape, in Prometheus' file_sd format; re-read on change",
        "FILE",
        shown="none",
    )
    smg_url: Url | None = option("workers", "SMG gateway to ask for its workers", "URL", shown="none")
    smg_api_key_file: File | None = option(
        "workers", "API key for that gateway, sent to nobody else", "FILE", shown="none"
    )
    smg_refresh: Refresh = option("workers", "how often to ask it", "SECONDS", default=10.0)
    target_timeout: TargetTimeout = option("limits", "how long one worker may take", "SECONDS", default=5.0)
    max_target_bytes: Bytes = option(
        "limits", "larger answers of a worker are refused", "SIZE", default=Size(64 << 20)
    )
    target_ca_file: File | None = option(
        "workers", "certificate authorities of https workers", "FILE", shown="the system's"
    )

    @property
    def metrics_port(self) -> int:
        """The port to listen on."""
        return self.listen_port or addresses.FLEET_PORT

    @property
    def port_rule(self) -> str:
        """What chose `metrics_port`, to end a sentence with."""
        return f"chosen by {flag('listen_port')}" if self.listen_port else "the default of fleet"

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if not (self.worker or self.workers_file or self.smg_url):
            name, reason = _missing("worker")
            yield name, f"{reason}; or {flag('workers_file')}, or {flag('smg_url')}"
        if self.smg_api_key_file and not self.smg_url:
            yield "smg_api_key_file", f"is for a gateway, but there is no {flag('smg_url')}"


@dataclass(frozen=True, kw_only=True)
class HealthcheckOptions(DerivedPort):
    """Options of `healthcheck`."""

    user: User | None = option("asking", "user of its web configuration to ask as", "NAME", shown="none")
    password_file: File | None = option("asking", "file with that user's password", "FILE", shown="none")

    @property
    def metrics_port(self) -> int:
        """The port to ask: a worker's exporter's where it can be told, else the fleet's."""
        return super().metrics_port if self.listen_port or self.grpc_port else addresses.FLEET_PORT

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if bool(self.user) != bool(self.password_file):
            name, other = ("user", "password_file") if self.user else ("password_file", "user")
            yield name, f"is of no use without {flag(other)}"


def described(options: type[Options]) -> dict[str, Option]:
    """Return what there is to say of each of a command's options, by name, in the order of `--help`."""
    types = get_type_hints(options)
    found = [
        each.metadata["option"]._replace(name=each.name, type=_without_none(types[each.name]))
        for each in fields(options)
    ]
    found.sort(key=lambda each: (GROUPS.index(each.group), each.number))
    return {each.name: each for each in found}


def _missing(name: str) -> Problem:
    """Return what is wrong where an option is needed and was not given."""
    fallback = f" or {FALLBACK_DIRECTORY}" if name == "multiproc_dir" else ""
    return name, f"required; or set {variable(name)}{fallback}, or {name} in the --config file"


def _spelled(name: str, reason: str) -> str:
    return f"{flag(name)}: {reason}"


def _without_none(kind: Any) -> Any:
    """Return T of `T | None`."""
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return kinds[0] if type(None) in get_args(kind) else kind


ALL: Mapping[str, Option] = {
    name: each
    for options in (ServeOptions, DemoOptions, DumpOptions, VerifyOptions, FleetOptions, HealthcheckOptions)
    for name, each in described(options).items()
}
"""The options of all commands, by name."""
