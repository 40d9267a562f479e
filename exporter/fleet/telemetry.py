"""The fleet's own metrics: of each target for `/engine_metrics`, and all of them, in a registry of their own."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from exporter import __version__
from exporter.fleet.client import REASONS
from exporter.fleet.fanout import Fanout, Outcomes
from exporter.fleet.merge import LEFT_OUT
from exporter.fleet.sources import Discovery
from exporter.fleet.targets import Target
from exporter.web.metrics import CLIENT_GONE

_PREFIX = "smg_exporter_"
_CODES = (200, CLIENT_GONE, 500, 503)
"""What scrapes of the fleet end in."""
K = TypeVar("K", int, str)


class Telemetry:
    """Counts answers, and tells as metrics what fan-out and discovery know."""

    def __init__(self, discovery: Discovery, fanout: Fanout) -> None:
        self.registry = CollectorRegistry()
        self._discovery = discovery
        self._fanout = fanout
        self._scrapes: Counter[int] = Counter()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def count_scrape(self, code: int) -> None:
        """Take note of an answer to a scrape of the fleet."""
        self._scrapes[code] += 1

    def collect(self) -> Iterable[Metric]:
        """Yield the families, except those of the process."""
        fanout, targets = self._fanout, self._discovery.targets
        help_text = "Version of the exporter and of Python."
        info = GaugeMetricFamily(f"{_PREFIX}build_info", help_text, labels=("version", "python_version"))
        info.add_metric((__version__, platform.python_version()), 1.0)
        yield info
        help_text = "Targets known, each metrics URL once."
        yield GaugeMetricFamily(f"{_PREFIX}targets", help_text, len(targets))
        yield from target_metrics(targets, fanout.outcomes)
        yield _counter("target_failures", "Failed scrapes of targets.", fanout.failures, REASONS, "reason")
        help_text = "What was left out of answers, the rest of its worker being served."
        yield _counter("left_out", help_text, fanout.left_out, LEFT_OUT, "reason")
        help_text = "What the last answer took, by phase."
        yield _gauge("scrape_duration_seconds", help_text, fanout.durations, "phase")
        yield _counter("scrapes", "Scrapes of the fleet by HTTP status code.", self._scrapes, _CODES, "code")
        yield from self._sources()

    def _sources(self) -> Iterable[Metric]:
        sources = self._discovery.sources
        up = {source.name: float(not source.problem) for source in sources}
        targets = {source.name: float(len(source.targets)) for source in sources}
        skipped = {source.name: float(source.skipped) for source in sources}
        read = {source.name: source.last_success for source in sources if source.last_success is not None}
        yield _gauge(
            "discovery_up", "Whether a source of targets was read when it last was to be.", up, "source"
        )
        yield _gauge("discovery_targets", "Targets in the last good reading of a source.", targets, "source")
        help_text = "Entries in the last good reading of a source that are no targets."
        yield _gauge("discovery_skipped", help_text, skipped, "source")
        help_text = "When a source was read last."
        yield _gauge("discovery_last_success_timestamp_seconds", help_text, read, "source")


def target_metrics(targets: Sequence[Target], outcomes: Outcomes) -> Iterable[Metric]:
    """Yield what came of each target; a target without an outcome is not up."""
    known = {
        target.worker_addr: outcomes[target.metrics_url]
        for target in targets
        if target.metrics_url in outcomes
    }
    up = {target.worker_addr: 0.0 for target in targets}
    up |= {worker: float(outcome.reading is not None) for worker, outcome in known.items()}
    seconds = {worker: outcome.seconds for worker, outcome in known.items()}
    samples = {worker: float(outcome.samples) for worker, outcome in known.items()}
    yield _gauge("target_up", "Whether the last scrape of a target brought metrics.", up, "worker_addr")
    help_text = "What the last scrape of a target took."
    yield _gauge("target_scrape_duration_seconds", help_text, seconds, "worker_addr")
    yield _gauge(
        "target_samples", "Samples that the last scrape of a target brought.", samples, "worker_addr"
    )


def target_text(targets: Sequence[Target], outcomes: Outcomes) -> bytes:
    """Return `target_metrics` in the text format."""
    registry = CollectorRegistry()
    registry.register(_Fixed(target_metrics(targets, outcomes)))
    return generate_latest(registry)


class _Fixed:
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _gauge(name: str, help_text: str, values: Mapping[str, float], label: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(_PREFIX + name, help_text, labels=[label])
    for label_value, value in values.items():
        family.add_metric([label_value], value)
    return family


def _counter(
    name: str, help_text: str, counts: Mapping[K, int], always: Iterable[K], label: str
) -> CounterMetricFamily:
    """Return a family that has `always` these label values: a rate needs a zero to start from."""
    family = CounterMetricFamily(_PREFIX + name, help_text, labels=[label])
    # Copied at once: another thread counts on, and may add a label value.
    for label_value, value in sorted({**dict.fromkeys(always, 0), **counts}.items()):
        family.add_metric([str(label_value)], value)
    return family
