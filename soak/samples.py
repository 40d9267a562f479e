"""Samples: parsed from the exporter's answers, and from prometheus_client's own merge of files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from soak.parts import Samples

_OWN = ("smg_exporter_", "process_")


class Exposition(NamedTuple):
    """A body in the text format."""

    samples: Samples
    """The worker's."""
    counters: Samples
    """The samples that only grow: of counters, histograms and summaries."""
    own: Samples
    """The exporter's own."""


def read(body: bytes) -> Exposition:
    """Parse a body. prometheus_client's parser would take longer than the exporter's answer."""
    samples: dict[str, float] = {}
    counters: dict[str, float] = {}
    own: dict[str, float] = {}
    grows = False
    for line in body.decode().split("\n")[
        :-1
    ]:  # and not at what else `splitlines` takes for the end of a line
        if line.startswith("#"):
            if line.startswith("# TYPE "):
                grows = not line.endswith((" gauge", " untyped", " unknown"))
            continue
        key, _, number = line.rpartition(" ")
        if key.startswith(_OWN):
            own[key] = float(number)
            continue
        value = samples[key] = float(number)
        if grows:
            counters[key] = value
    return Exposition(samples, counters, own)


def of_stock(files: Iterable[Path], labels: Mapping[str, str] | None = None) -> Samples:
    """Return the samples of prometheus_client's own merge of files, with labels added."""
    registry = CollectorRegistry()
    registry.register(_Merged(MultiProcessCollector.merge(list(map(str, files))), labels or {}))
    return read(generate_latest(registry)).samples


def readable(path: Path) -> bool:
    """Whether prometheus_client can read a file."""
    try:
        MultiProcessCollector.merge([str(path)])
    except Exception:  # noqa: BLE001 - on bad files it raises exceptions of many types
        return False
    return True


class _Merged(Collector):
    def __init__(self, metrics: Iterable[Metric], labels: Mapping[str, str]) -> None:
        self._metrics = list(metrics)
        for metric in self._metrics:
            metric.samples = [
                sample._replace(labels={**sample.labels, **labels}) for sample in metric.samples
            ]

    def collect(self) -> Iterable[Metric]:
        return self._metrics
