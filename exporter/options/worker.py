"""Options of the commands on workers' directories: `serve`, `check`, `dump` and `verify`."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from exporter import addresses, paths
from exporter.options.option import Options, Problem, flag, missing, option
from exporter.options.shared import DerivedPort, FileSize, Serving, StaticLabels, WorkerPort, missing_port
from exporter.options.values import Directories, Host, Liveness, Switch, Text, UrlPath, Urls, whole

FALLBACK_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

_LOOPBACK = "127.0.0.1"
_NOT_STOCK = ("per_process", "max_file_size")
"""Options without effect on the stock collector, which merges all files, of any size."""


@dataclass(frozen=True, kw_only=True)
class FileOptions(FileSize):
    """Which of a worker's files are merged."""

    liveness: Liveness = option(
        "metrics",
        "whether to look up writers' pids, in this pid namespace, to tell live writers from dead",
        default="auto",
    )
    when_worker_down: Literal["drop-gauges", "keep-gauges"] = option(
        "metrics", "what to do with gauges once all writers are dead", default="drop-gauges"
    )


@dataclass(frozen=True, kw_only=True)
class WorkerExposition(FileOptions, StaticLabels, WorkerPort):
    """How a worker's metrics are labelled and merged."""

    grpc_host: Host | None = option(
        "worker",
        "the worker's host, for the worker_addr label; if not given, it is found together with the directory",
        "HOST",
        shown=_LOOPBACK,
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
    collector: Literal["incremental", "stock"] = option(
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
        return addresses.worker_address(self.host, self.worker_port)

    @property
    def host(self) -> str:
        """The worker's host, as given or by default."""
        return self.grpc_host or _LOOPBACK

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
        return self.worker_address if self.worker_addr or self.grpc_host else address

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
        "directory of the worker's .db files, or a pattern; repeatable: different labels mean different workers; "
        "serve and check find it through --grpc-port",
        "DIR[,LABEL=VALUE...]",
        default=(),
        shown=f"${FALLBACK_DIRECTORY}",
    )

    @property
    def _finds_directory(self) -> bool:
        """Whether the directory is looked for if it is not given."""
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
            yield missing("multiproc_dir", fallback=FALLBACK_DIRECTORY)
        names = {", ".join(sorted(dict(each.labels))) or "none" for each in self.multiproc_dir}
        if len(names) > 1:
            yield (
                "multiproc_dir",
                f"each needs the same label names, to tell series apart: {'; '.join(sorted(names))}",
            )


@dataclass(frozen=True, kw_only=True)
class LabelledDirectories(WorkerDirectory, WorkerExposition):
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
class WorkerServing(Serving, DerivedPort, WorkerExposition):
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
        """Whether other machines can scrape it under an address, such as `127.0.0.1`, that means themselves there."""
        is_public = not self.listen_host or not all(map(addresses.is_loopback, self.listen_host))
        return is_public and addresses.is_ambiguous(self.static_labels.get("worker_addr", ""))


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
            yield missing_port()
        yield from super()._problems()

    @property
    def _finds_directory(self) -> bool:
        # With neither port given, it is the port that is reported as missing.
        return self.grpc_port is not None or self.listen_port is None

    def _not_beside(self, url: str) -> str:
        """Return why an exposition cannot be served beside the worker's; an empty text if it can."""
        host, own = addresses.host_of(url), addresses.host_of(addresses.worker_address(self.host, 1))
        if not addresses.is_loopback(host) and host != own:
            return f"is not on this host: use a loopback address or that of {flag('grpc_host')}, {self.host}"
        if self.also.count(url) > 1:
            return "is given twice"
        if self.grpc_port and addresses.port_of(url) == self.metrics_port:
            return f"is this exporter itself: its port is {self.port_rule}"
        return ""


@dataclass(frozen=True, kw_only=True)
class DumpOptions(LabelledDirectories):
    """Options of `dump`."""

    format: Literal["text", "openmetrics"] = option("output", "the format to print", default="text")


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(FileOptions, WorkerDirectory):
    """Options of `verify`."""

    rounds: Annotated[int, whole(1, 1_000_000)] = option("metrics", "number of comparisons", "N", default=1)
