"""What metrics say, in a form that can be compared."""

import math
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.exposition.text import Renderer, ending
from exporter.model import Family, FamilyValues, Format, Labels, Snapshot, add_labels
from tests.support.expositions import Exposition

Samples: TypeAlias = dict[tuple[str, Labels], float | str]
Facts: TypeAlias = dict[tuple[str, str, str], Samples]
"""(family, type, help) -> sample name and labels -> value."""


def facts(metrics: Iterable[Metric], added: Mapping[str, str] | None = None) -> Facts:
    """Return what metrics say, with labels added; fail where they say something twice."""
    said: Facts = {}
    for metric in metrics:
        samples: Samples = {}
        for sample in metric.samples:
            key = sample.name, tuple(sorted({**sample.labels, **(added or {})}.items()))
            assert key not in samples, f"{key} is there twice"
            samples[key] = "NaN" if math.isnan(sample.value) else float(sample.value)
        family = metric.name, metric.type, metric.documentation
        assert family[0] not in {name for name, _, _ in said}, f"family {metric.name} is there twice"
        said[family] = samples
    return said


def flat(said: Facts) -> Samples:
    """Return the samples of all families."""
    return {key: value for samples in said.values() for key, value in samples.items()}


def types(said: Facts) -> dict[str, str]:
    """Return the families' types by name."""
    return {name: kind for name, kind, _ in said}


def values(metrics: Iterable[Metric]) -> Samples:
    """Return the samples of all metrics."""
    return flat(facts(metrics))


def of_stock(files: Iterable[Path], added: Mapping[str, str] | None = None) -> Facts:
    """Return what prometheus_client's own collector makes of files, with labels added."""
    return facts(MultiProcessCollector.merge(list(map(str, files))), added)


def of_text(text: bytes) -> Facts:
    return facts(parse_text(text.decode()))


def of_openmetrics(text: bytes) -> Facts:
    return facts(parse_openmetrics(text.decode()))


def rendered(snapshot: Snapshot, escaping: str = "underscores") -> tuple[bytes, bytes]:
    """Return the text format and OpenMetrics of a snapshot, from a new renderer."""
    text, openmetrics = (
        text_of(Renderer(format_, escaping), snapshot) + ending(format_)
        for format_ in (Format.TEXT_0_0_4, Format.OPENMETRICS_1_0_0)
    )
    return text, openmetrics


def snapshot_of(metrics: Iterable[Metric], labels: Iterable[tuple[str, str]] = ()) -> list[FamilyValues]:
    """Return prometheus_client's families as a snapshot, by name, with labels added."""
    return [
        FamilyValues(
            Family(metric.name, metric.type, metric.documentation),
            [[(sample.name, add_labels(sample.labels, labels)) for sample in metric.samples]],
            [[float(sample.value) for sample in metric.samples]],
        )
        for metric in sorted(metrics, key=attrgetter("name"))
    ]


def told(metrics: Snapshot, format_: Format = Format.TEXT_0_0_4) -> Exposition:
    """Return the exposition of a daemon's own metrics."""
    text = text_of(Renderer(format_), metrics) + ending(format_)
    return Exposition(text.decode(), openmetrics=format_ is Format.OPENMETRICS_1_0_0)


def text_of(renderer: Renderer, snapshot: Snapshot) -> bytes:
    """Return what a renderer makes of a snapshot, in one piece."""
    return b"".join(renderer.render(snapshot))
