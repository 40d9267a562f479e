"""Expositions as a strict reader sees them."""

import math
from collections.abc import Iterator
from itertools import groupby, pairwise

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "summary": ("", "_count", "_sum", "_created"),
}


class Exposition:
    """The samples of a body in one of the formats."""

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        parse = parse_openmetrics if openmetrics else parse_text
        self.families: list[Metric] = list(parse(text))
        self.samples: list[Sample] = [sample for family in self.families for sample in family.samples]

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return {sample.name for sample in self.samples}

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of the samples of that name with at least those labels."""
        return [sample.value for sample in self.matching(name, **labels)]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the one sample of that name with at least those labels; None where there is none."""
        values = self.values(name, **labels)
        assert len(values) <= 1, (name, labels, values)
        return values[0] if values else None

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of the samples of that name."""
        return [sample.labels for sample in self.matching(name)]

    def matching(self, name: str, **labels: str) -> Iterator[Sample]:
        """Return the samples of that name with at least those labels."""
        return (
            sample
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def check(self) -> None:
        """Fail for what Prometheus would take without a word: duplicates, stray samples, odd histograms."""
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in self.samples]
        assert len(series) == len(set(series)), "a series is there twice"
        names = [family.name for family in self.families]
        assert len(names) == len(set(names)), "a family is there twice"
        for family in self.families:
            expected = {family.name + suffix for suffix in _SUFFIXES.get(family.type, ("",))}
            assert {sample.name for sample in family.samples} <= expected, family
            if family.type == "histogram":
                _check_histogram(family)


def _check_histogram(family: Metric) -> None:
    def own_labels(sample: Sample) -> list[tuple[str, str]]:
        return sorted((name, value) for name, value in sample.labels.items() if name != "le")

    for labels, group in groupby(family.samples, own_labels):
        samples = list(group)
        buckets = [sample for sample in samples if sample.name.endswith("_bucket")]
        bounds = [float(bucket.labels["le"]) for bucket in buckets]
        assert bounds == sorted(bounds), (family.name, labels, bounds)
        assert bounds[-1] == math.inf, (family.name, labels)
        assert all(low.value <= high.value for low, high in pairwise(buckets)), (family.name, labels)
        (count,) = (sample.value for sample in samples if sample.name == f"{family.name}_count")
        assert count == buckets[-1].value, (family.name, labels)
