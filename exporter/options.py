"""All options: name, type, default and meaning, declared once; and the options of each command.

A command's options are a frozen dataclass that inherits from groups of options shared with other commands. `settings`
fills them in. Nothing here imports pydantic: daemons keep this module loaded, and pydantic takes much memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args, get_origin, get_type_hints

from exporter import addresses, paths
from exporter.errors import SettingsError
from exporter.values import (
    Bytes,
    Collector,
    Directories,
    Directory,
    Duration,
    File,
    ForgetAfter,
    Format,
    Host,
    Hosts,
    Labels,
    Liveness,
    LogFormat,
    LogLevel,
    MostSeries,
    MostWorkers,
    Pattern,
    Port,
    Ranks,
    Refresh,
    Requests,
    Rounds,
    Simulated,
    Size,
    Speed,
    Switch,
    TargetTimeout,
    Text,
    Url,
    UrlPath,
    Urls,
    User,
    WhenDown,
    Window,
    Workers,
)

ENV_PREFIX = "SMG_EXPORTER_"
FALLBACK_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
DEMO_GRPC_PORT = 8001
DEMO_PORT_STEP = 10
"""From a simulated worker's gRPC port to the next one's: a real worker takes more ports beside its own."""
GROUPS = ("worker", "workers", "listening", "authentication", "metrics", "limits", "output", "general")
"""The titles under which `--help` lists options, in order."""

_USUAL = {"port": "listen_port", "host": "listen_host"}
"""Names that other programs use for an option -> our names, for hints."""

Problem: TypeAlias = tuple[str, str]
"""An option's name, and how it conflicts with other options or why it is missing."""

_NOT_STOCK = ("per_process", "max_file_size")
"""Options without effect on the stock collector, which merges all files, of any size."""

_LOOPBACK = "127.0.0.1"

_numbers = count()


class Option(NamedTuple):
    """An option's description, for `--help`, completion and messages."""

    number: int
    """Rises in the order of declaration."""
    group: str
    meaning: str
    metavar: str
    default: str
    """As `--help` shows it."""
    name: str = ""
    type: Any = None
    """The type of its values, without `| None`."""

    @property
    def choices(self) -> tuple[str, ...]:
        """All allowed values, if the type is a Literal; else empty."""
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
    """Return a dataclass field with its description. `shown` is the default as `--help` shows it, if not `default`."""
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
    """Return the message for an unknown option: it suggests the nearest of `known`, as `spell` writes it."""
    bare = name.lstrip("-").replace("-", "_")
    near = [_USUAL[bare]] if bare in _USUAL else get_close_matches(bare, [*(known or ALL)], n=1)
    return f"no such option{f'; did you mean {spell(near[0])}?' if near else ''}"


# --- Groups of options ---


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of all commands."""

    config: File | None = option("general", "TOML or YAML file of these options", "FILE", shown="none")

    def problems(self) -> list[Problem]:
        """Return the options that are missing or contradict others."""
        return [*self._problems()]

    def _problems(self) -> Iterator[Problem]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class WorkerPort(Options):
    """The option for the worker's gRPC port."""

    grpc_port: Port | None = option(
        "worker",
        "the worker's gRPC port; not needed with --listen-port",
        "PORT",
        shown=f"none; demo: {DEMO_GRPC_PORT}",
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
class FileOptions(FileSize):
    """Which of a worker's files are merged."""

    liveness: Liveness = option(
        "metrics",
        "whether to look up writers' pids, in this pid namespace, to tell live writers from dead",
        default="auto",
    )
    when_worker_down: WhenDown = option(
        "metrics", "what to do with gauges once all writers are dead", default="drop-gauges"
    )


@dataclass(frozen=True, kw_only=True)
class WorkerExposition(WorkerPort, StaticLabels, FileOptions):
    """How a worker's metrics are labelled and merged."""

    grpc_host: Host = option(
        "worker",
        "the worker's host, used in the worker_addr label; if the directory is found, so is the host",
        "HOST",
        default=_LOOPBACK,
    )
    worker_addr: Text | None = option(
        "worker", "value of the worker_addr label", "ADDRESS", shown="grpc://HOST:PORT"
    )
    no_worker_addr_label: Switch = option(
        "worker", "leave out the worker_addr label, if the scraper adds one", default=False
    )
    per_process: Switch = option(
        "metrics", "do not merge: one series per process, each with a pid label", default=False
    )
    collector: Collector = option(
        "metrics",
        "incremental: our merge; stock: prometheus_client's, for comparison, which keeps the gauges of dead workers",
        default="incremental",
    )
    no_self_metrics: Switch = option("output", "leave out the exporter's own metrics", default=False)

    @property
    def worker_address(self) -> str:
        """The worker's address, as the `worker_addr` label has it; empty if neither address nor port is given."""
        if self.worker_addr or self.worker_port is None:
            return self.worker_addr or ""
        return addresses.worker_address(self.grpc_host, self.worker_port)

    @property
    def static_labels(self) -> dict[str, str]:
        """The labels added to every series, in order."""
        return self.labels_of(self.worker_address)

    def labels_of(self, address: str) -> dict[str, str]:
        """Return the labels added to every series of the worker at an address, in order; empty: it has none."""
        is_said = address and not self.no_worker_addr_label
        return ({"worker_addr": address} if is_said else {}) | self.label

    def found_address(self, address: str) -> str:
        """Return the address of a worker that was found: the one that the options give it, else `address`."""
        is_given = self.worker_addr or self.grpc_host != _LOOPBACK
        return self.worker_address if is_given else address

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
    """The option for workers' directories."""

    multiproc_dir: Directories = option(
        "worker",
        "directory of the worker's .db files, or a pattern; repeatable: those with other labels are other workers; "
        "serve and check find it through --grpc-port",
        "DIR[,LABEL=VALUE...]",
        default=(),
        shown=f"${FALLBACK_DIRECTORY}",
    )

    @property
    def _finds_directory(self) -> bool:
        """Whether the directory is found where it is not given."""
        return False

    @property
    def workers(self) -> dict[tuple[tuple[str, str], ...], list[str]]:
        """The directories, and patterns of directories, of each worker, by the labels that tell it from the others."""
        found: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for each in sorted(self.multiproc_dir, key=lambda each: sorted(each.labels)):
            found.setdefault(tuple(sorted(each.labels)), []).append(each.path)
        return found

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if not (self.multiproc_dir or self._finds_directory):
            yield _missing("multiproc_dir")
        names = {", ".join(sorted(dict(each.labels))) or "none" for each in self.multiproc_dir}
        if len(names) > 1:
            yield (
                "multiproc_dir",
                f"each needs the same label names, to tell series apart: {'; '.join(sorted(names))}",
            )


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
        shown=f"gRPC port + 10000; - 10000 where that passes 65535; fleet: {addresses.FLEET_PORT}; "
        f"node: {addresses.NODE_PORT}",
    )

    def local_url(self, port: int, path: str = "/") -> str:
        """Return a URL of what listens on a port of these hosts, for clients on this machine."""
        return f"http://{addresses.host_port(addresses.local_host(self.listen_host), port)}{path}"


@dataclass(frozen=True, kw_only=True)
class Serving(Listening):
    """How a daemon serves."""

    web_config: File | None = option(
        "listening", "TLS and users, in Prometheus' web configuration file format", "FILE", shown="none"
    )
    max_requests: Requests = option("limits", "most scrapes in flight; further ones get 503", "N", default=40)
    log_level: LogLevel = option("output", "lowest severity to log", default="info")
    log_format: LogFormat = option("output", "format of log lines", default="logfmt")


@dataclass(frozen=True, kw_only=True)
class DerivedPort(WorkerPort, Listening):
    """The port of a worker's exporter."""

    @property
    def metrics_port(self) -> int:
        """The port to listen on; SettingsError if it is neither given nor derived."""
        if self.listen_port:
            return self.listen_port
        if self.worker_port is None:
            raise SettingsError(_spelled(*_missing_port()))
        return addresses.derived_metrics_port(self.worker_port)

    @property
    def port_rule(self) -> str:
        """How `metrics_port` was chosen, as a phrase."""
        if self.listen_port or self.worker_port is None:
            return f"chosen by {flag('listen_port')}"
        offset = self.metrics_port - self.worker_port
        return f"derived from {flag('grpc_port')} {self.worker_port} ({offset:+d})"


@dataclass(frozen=True, kw_only=True)
class WorkerServing(WorkerExposition, DerivedPort, Serving):
    """How a worker's metrics are served."""

    telemetry_path: UrlPath = option(
        "listening", "path of the metrics endpoint", "PATH", default=paths.WORKER_METRICS
    )

    @property
    def metrics_url(self) -> str:
        """The URL of the metrics, for clients on this machine."""
        return self.local_url(self.metrics_port, self.telemetry_path)

    @property
    def has_ambiguous_address(self) -> bool:
        """Whether other machines can scrape the worker, under an address that may be another worker's there."""
        is_public = not self.listen_host or not all(map(addresses.is_loopback, self.listen_host))
        return is_public and addresses.is_ambiguous(self.static_labels.get("worker_addr", ""))


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


# --- The options of each command ---


@dataclass(frozen=True, kw_only=True)
class LabelledDirectories(WorkerExposition, WorkerDirectory):
    """Workers' directories, and how the metrics in them are labelled and merged."""

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        for name in sorted(
            {name for each in self.multiproc_dir for name, _ in each.labels} & self.label.keys()
        ):
            yield "multiproc_dir", f"the label {name} is given by {flag('label')} too"
        is_plain = len(self.workers) == len(self.multiproc_dir) and not any(
            each.is_pattern for each in self.multiproc_dir
        )
        if self.collector == "stock" and not is_plain:
            yield (
                "collector",
                "stock merges one directory per worker: no pattern, and no two with the same labels",
            )


@dataclass(frozen=True, kw_only=True)
class ServeOptions(WorkerServing, LabelledDirectories):
    """Options of `serve` and `check`."""

    also: Urls = option(
        "worker",
        "another exposition of the worker, on this host, to serve in the same answer; repeatable",
        "URL",
        default=(),
        shown="none",
    )

    def _problems(self) -> Iterator[Problem]:
        for url in self.also:
            if reason := self._not_beside(url):
                yield "also", f"{url!r} {reason}"
        if not (self.grpc_port or self.listen_port):
            yield _missing_port()
        yield from super()._problems()

    @property
    def _finds_directory(self) -> bool:
        return (
            self.grpc_port is not None or self.listen_port is None
        )  # of both missing, the port is what is needed

    def _not_beside(self, url: str) -> str:
        """Return why an exposition cannot be served beside the worker's; an empty text if it can."""
        host, own = addresses.host_of(url), addresses.host_of(addresses.worker_address(self.grpc_host, 1))
        if not addresses.is_loopback(host) and host != own:
            return f"is not on this host: use a loopback address or that of {flag('grpc_host')}, {self.grpc_host}"
        if self.also.count(url) > 1:
            return "is given twice"
        if self.grpc_port and addresses.port_of(url) == self.metrics_port:
            return f"is this exporter itself: its port is {self.port_rule}"
        return ""


@dataclass(frozen=True, kw_only=True)
class DemoOptions(WorkerServing):
    """Options of `demo`."""

    ranks: Ranks = option("worker", "the number of schedulers", "N", default=2)
    workers: Simulated = option(
        "worker", "the number of simulated workers; a fleet is over several", "N", default=1
    )
    speed: Speed = option(
        "worker", "how many times as fast the story goes: quiet, rush, ..., restart", "FACTOR", default=1.0
    )

    @property
    def worker_port(self) -> int:
        """The first simulated worker's gRPC port, which nobody listens on."""
        return self.grpc_port or DEMO_GRPC_PORT

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
    def fleet(self) -> "FleetOptions":
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


@dataclass(frozen=True, kw_only=True)
class DumpOptions(LabelledDirectories):
    """Options of `dump`."""

    format: Format = option("output", "the format to print", default="text")


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(FileOptions, WorkerDirectory):
    """Options of `verify`."""

    rounds: Rounds = option("metrics", "number of comparisons", "N", default=1)


@dataclass(frozen=True, kw_only=True)
class FleetOptions(StaticLabels, TargetTrust, Serving):
    """Options of `fleet` and `check fleet`."""

    worker: Workers = option(
        "workers",
        "worker to scrape, with its metrics URL if that is not the default; repeatable",
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
        "workers", "file with the SMG gateway's API key, sent only to the gateway", "FILE", shown="none"
    )
    smg_refresh: Refresh = option(
        "workers", "interval between requests to the SMG gateway", "SECONDS", default=10.0
    )
    target_timeout: TargetTimeout = option(
        "limits", "time limit for scraping one worker", "SECONDS", default=5.0
    )
    max_target_bytes: Bytes = option(
        "limits", "refuse larger answers of a worker", "SIZE", default=Size(64 << 20)
    )

    @property
    def metrics_port(self) -> int:
        """The port to listen on."""
        return self.listen_port or addresses.FLEET_PORT

    @property
    def port_rule(self) -> str:
        """How `metrics_port` was chosen, as a phrase."""
        return f"chosen by {flag('listen_port')}" if self.listen_port else "the default of fleet"

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if not (self.worker or self.workers_file or self.smg_url):
            name, reason = _missing("worker")
            yield name, f"{reason}; or {flag('workers_file')}, or {flag('smg_url')}"
        if self.smg_api_key_file and not self.smg_url:
            yield "smg_api_key_file", f"is for a gateway, but there is no {flag('smg_url')}"


@dataclass(frozen=True, kw_only=True)
class NodeOptions(StaticLabels, FileSize, Serving):
    """Options of `node`."""

    node_name: Text | None = option(
        "worker",
        "host in the worker_addr label of workers that listen on no address of their own",
        "NAME",
        shown="the host's name",
    )
    match: Pattern | None = option(
        "workers", "serve only workers whose command line matches", "REGEX", shown="all"
    )
    ignore: Pattern | None = option(
        "workers", "do not serve workers whose command line matches", "REGEX", shown="none"
    )
    derived_ports: Switch = option("listening", "listen on each worker's derived port as well", default=False)
    kubernetes_labels: Switch = option(
        "workers", "add the labels pod, namespace and container_id of workers in containers", default=False
    )
    forget_after: ForgetAfter = option(
        "workers", "how long an ended worker's counters stay", "DURATION", default=Duration(300)
    )
    max_workers: MostWorkers = option("limits", "most workers that are served", "N", default=256)
    max_series: MostSeries = option(
        "limits", "most series of one worker; further ones are left out", "N", default=200_000
    )

    @property
    def metrics_port(self) -> int:
        """The port to listen on."""
        return self.listen_port or addresses.NODE_PORT

    @property
    def port_rule(self) -> str:
        """How `metrics_port` was chosen, as a phrase."""
        return f"chosen by {flag('listen_port')}" if self.listen_port else "the default of node"

    def _problems(self) -> Iterator[Problem]:
        yield from super()._problems()
        if self.derived_ports and self.web_config:
            yield "derived_ports", f"not with {flag('web_config')}, which protects one port only"


@dataclass(frozen=True, kw_only=True)
class HealthcheckOptions(Credentials, DerivedPort):
    """Options of `healthcheck`."""

    @property
    def metrics_port(self) -> int:
        """The port to ask: the given or derived one of a worker's exporter, else the fleet's default."""
        return super().metrics_port if self.listen_port or self.grpc_port else addresses.FLEET_PORT


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
    window: Window = option(
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


def described(options: type[Options]) -> dict[str, Option]:
    """Return the descriptions of a command's options, by name, in the order of `--help`."""
    types = get_type_hints(options)
    found = [
        each.metadata["option"]._replace(name=each.name, type=_without_none(types[each.name]))
        for each in fields(options)
    ]
    found.sort(key=lambda each: (GROUPS.index(each.group), each.number))
    return {each.name: each for each in found}


def _missing(name: str) -> Problem:
    """Return the problem of a required option that is not given."""
    fallback = f" or {FALLBACK_DIRECTORY}" if name == "multiproc_dir" else ""
    return name, f"required; or set {variable(name)}{fallback}, or {name} in the --config file"


def _missing_port() -> Problem:
    name, reason = _missing("grpc_port")
    return name, f"{reason}; or give {flag('listen_port')}"


def _spelled(name: str, reason: str) -> str:
    return f"{flag(name)}: {reason}"


def _without_none(kind: Any) -> Any:
    """Return T for `T | None`."""
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return kinds[0] if type(None) in get_args(kind) else kind


ALL: Mapping[str, Option] = {
    name: each
    for options in (
        ServeOptions,
        DemoOptions,
        DumpOptions,
        VerifyOptions,
        FleetOptions,
        NodeOptions,
        HealthcheckOptions,
        TopOptions,
    )
    for name, each in described(options).items()
}
"""The options of all commands, by name."""
