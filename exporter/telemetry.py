"""The exporter's own metrics, in a registry of their own."""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from exporter import __version__
from exporter.status import FILE_STATES, PROCESS_STATES, Status

PHASES = ("read", "merge", "render", "compress")


class Telemetry:
    """Counts scrapes, and tells as metrics what the status says."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self.registry = CollectorRegistry()
        self._status = status
        self._scrapes: Counter[int] = Counter({200: 0})
        self._process_counts = _StateCounts()
        self._file_counts = _StateCounts()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def count_scrape(self, code: int) -> None:
        """Take note of an answer to a scrape."""
        self._scrapes[code] += 1

    def collect(self) -> Iterable[Metric]:
        """Yield the families, except those of the process."""
        status = self._status()
        durations = status.scrape_durations
        yield _gauge(
            "build_info",
            "Version of the exporter and of Python.",
            {(__version__, platform.python_version()): 1.0},
            ("version", "python_version"),
        )
        yield _gauge("up", "Whether the worker's directory could be read.", {(): status.directory_readable})
        if status.worker_up is not None:
            yield _gauge("worker_up", "Whether some process of the worker lives.", {(): status.worker_up})
        yield _gauge(
            "processes",
            "Processes that wrote metrics, by what is known of them.",
            self._process_counts.count(PROCESS_STATES, status.processes),
            ("state",),
        )
        yield _gauge(
            "files",
            "The worker's .db files, by what is done with them.",
            self._file_counts.count(FILE_STATES, status.files),
            ("state",),
        )
        yield _counter("file_errors", "Files and samples that were left out.", status.file_errors, "reason")
        yield _gauge("series", "Series of the worker.", {(): status.series})
        if status.last_update is not None:
            help_text = "When the worker's metrics changed last."
            yield _gauge("last_update_timestamp_seconds", help_text, {(): status.last_update})
        yield _gauge(
            "scrape_duration_seconds",
            "What the last scrape took, by phase.",
            {(phase,): durations.get(phase, 0.0) for phase in PHASES},
            ("phase",),
        )
        scrapes = {str(code): count for code, count in dict(self._scrapes).items()}
        yield _counter("scrapes", "Scrapes by HTTP status code.", scrapes, "code")


class _StateCounts:
    """Counts things by state; once for the same tuple, which may hold thousands of files."""

    def __init__(self) -> None:
        self._things: Sequence[_HasState] = ()
        self._counts: Counter[str] = Counter()

    def count(self, states: Iterable[str], things: Sequence["_HasState"]) -> dict[tuple[str, ...], float]:
        if things is not self._things:
            self._things, self._counts = things, Counter(thing.state for thing in things)
        return {(state,): float(self._counts[state]) for state in states}


class _HasState(Protocol):
    @property
    def state(self) -> str: ...


def own_names() -> set[str]:
    """Return every name that these metrics may take up in an exposition."""
    everything = Status(
        version="", worker_addr="", directory="", problem="", worker_up=True, started=0, last_update=0
    )
    metrics = list(Telemetry(lambda: everything).registry.collect())
    names = {
        name for metric in metrics for name in (metric.name, *(sample.name for sample in metric.samples))
    }
    return names | {f"{metric.name}_total" for metric in metrics if metric.type == "counter"}


def _gauge(
    name: str, help_text: str, values: Mapping[tuple[str, ...], float], labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"smg_exporter_{name}", help_text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, float(value))
    return family


def _counter(name: str, help_text: str, values: Mapping[str, float], label: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"smg_exporter_{name}", help_text, labels=[label])
    for label_value, value in sorted(values.items()):
        family.add_metric([label_value], value)
    return family
