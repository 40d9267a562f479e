"""SGLang's metrics as recorded from a real worker, and the prometheus_client objects that write them.

`catalogue.json` was taken from a recorded worker directory (`tests/data/README.md`), one metric a line.
`labels` are a metric's own label names. Labels that all metrics of a role have are in `common_labels`; a scheduler
adds its `tp_rank`. `series` lists the recorded values of a metric's own labels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

PREFIX = "sglang:"

Metric = TypeVar("Metric", bound=MetricWrapperBase)
Series = dict[tuple[str, ...], Metric]


class Role(StrEnum):
    """Which process of a worker writes a metric."""

    SCHEDULER = "scheduler"
    SERVICER = "servicer"


@dataclass(frozen=True)
class MetricSpec:
    """One recorded metric, without the labels common to its role."""

    name: str
    type: str
    """`counter`, `gauge` or `histogram`."""
    role: Role
    help: str
    mode: str = ""
    """The multiprocess mode of a gauge."""
    labels: tuple[str, ...] = ()
    series: tuple[tuple[str, ...], ...] = ((),)
    """The values of `labels` that exist from the start."""
    buckets: tuple[float, ...] = ()
    """A histogram's upper bounds, without `+Inf`."""


@dataclass(frozen=True)
class Catalogue:
    """Every metric of a worker, by role."""

    common_labels: Mapping[Role, Mapping[str, str]]
    metrics: tuple[MetricSpec, ...]

    def labels_of(self, role: Role, tp_rank: int | None = None) -> dict[str, str]:
        """Return the labels that every series of a process has; `tp_rank` is a scheduler's."""
        rank = {} if tp_rank is None else {"tp_rank": str(tp_rank)}
        return {**self.common_labels[role], **rank}


def load() -> Catalogue:
    """Read the recorded metrics that ship with this package."""
    document = json.loads(resources.files(__package__).joinpath("catalogue.json").read_text(encoding="utf-8"))
    return Catalogue(
        common_labels={Role(role): labels for role, labels in document["common_labels"].items()},
        metrics=tuple(_spec(entry) for entry in document["metrics"]),
    )


def _spec(entry: dict[str, Any]) -> MetricSpec:
    return MetricSpec(
        name=entry["name"],
        type=entry["type"],
        role=Role(entry["role"]),
        help=entry["help"],
        mode=entry.get("mode", ""),
        labels=tuple(entry.get("labels", ())),
        series=tuple(tuple(values) for values in entry.get("series", ((),))),
        buckets=tuple(entry.get("buckets", ())),
    )


class ProcessMetrics:
    """One process's metric objects: `gauge("token_usage")`, `counter("realtime_tokens", "decode")`.

    Names leave `sglang:` out; label values are those of `MetricSpec.labels`, in order. All recorded
    series, and so their entries in the files, exist after construction, as on a real worker. An unknown name or
    label value is a KeyError.
    """

    def __init__(self, catalogue: Catalogue, role: Role, tp_rank: int | None = None) -> None:
        self._common = catalogue.labels_of(role, tp_rank)
        self._counters: Series[Counter] = {}
        self._gauges: Series[Gauge] = {}
        self._histograms: Series[Histogram] = {}
        for spec in catalogue.metrics:
            if spec.role is role:
                self._create(spec)

    def counter(self, name: str, *label_values: str) -> Counter:
        """Return one series of a counter, named without `_total`."""
        return self._counters[(name, *label_values)]

    def gauge(self, name: str, *label_values: str) -> Gauge:
        """Return one series of a gauge."""
        return self._gauges[(name, *label_values)]

    def histogram(self, name: str, *label_values: str) -> Histogram:
        """Return one series of a histogram."""
        return self._histograms[(name, *label_values)]

    def _create(self, spec: MetricSpec) -> None:
        names = (*self._common, *spec.labels)
        # No registry: the exporter reads the values from the files; nothing is collected in this process.
        match spec.type:
            case "counter":
                self._add_series(self._counters, spec, Counter(spec.name, spec.help, names, registry=None))
            case "gauge":
                mode: Any = spec.mode  # the client's type lists the modes; ours come from JSON
                gauge = Gauge(spec.name, spec.help, names, registry=None, multiprocess_mode=mode)
                self._add_series(self._gauges, spec, gauge)
            case "histogram":
                histogram = Histogram(spec.name, spec.help, names, registry=None, buckets=spec.buckets)
                self._add_series(self._histograms, spec, histogram)
            case unknown:
                raise ValueError(f"{spec.name}: no metric type {unknown!r}")

    def _add_series(self, series: Series[Metric], spec: MetricSpec, metric: Metric) -> None:
        for values in spec.series:
            labels = {**self._common, **dict(zip(spec.labels, values, strict=True))}
            series[(spec.name.removeprefix(PREFIX), *values)] = metric.labels(**labels)
