"""Snapshots of text expositions, as our own merge makes them: what is as before is the same object."""

import re
from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.model import Family, FamilyValues, Labels


class Snapshots:
    """Makes the snapshots of one worker's successive expositions."""

    def __init__(self) -> None:
        self._before: dict[str, FamilyValues] = {}

    def of(self, text: str) -> list[FamilyValues]:
        """Return the snapshot of an exposition; lines may be indented."""
        families = parse_text(re.sub(r"(?m)^\s+", "", text))
        self._before = {family.name: self._family(family) for family in families}
        return sorted(self._before.values(), key=lambda values: values.family.name)

    def _family(self, family: Metric) -> FamilyValues:
        samples: list[tuple[str, Labels]] = [
            (sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples
        ]
        values = [sample.value for sample in family.samples]
        before = self._before.get(family.name)
        if before is None or list(before.samples[0]) != samples:
            return FamilyValues(
                Family(family.name, family.type, family.documentation), [tuple(samples)], [values]
            )
        return before if before.values == [values] else before._replace(values=[values])


def snapshot(text: str) -> list[FamilyValues]:
    """Return the snapshot of a single exposition."""
    return Snapshots().of(text)


def counter(name: str, values: dict[str, float]) -> str:
    """Return the lines of a counter, named without `_total`; its values by their labels: `{'tp_rank="0"': 3}`."""
    return _lines(
        f"{name}_total", "counter", ((f"{name}_total", labels, value) for labels, value in values.items())
    )


def gauge(name: str, values: dict[str, float]) -> str:
    """Return the lines of a gauge."""
    return _lines(name, "gauge", ((name, labels, value) for labels, value in values.items()))


def histogram(name: str, values: dict[str, dict[str, float]]) -> str:
    """Return the lines of a histogram; the counts of its buckets, cumulative, by `le` and by labels."""
    samples = [
        (f"{name}_bucket", ",".join(filter(None, (labels, f'le="{bound}"'))), count)
        for labels, buckets in values.items()
        for bound, count in buckets.items()
    ]
    ends = [(name, labels, list(buckets.values())[-1]) for labels, buckets in values.items()]
    sums = [
        (f"{name}{suffix}", labels, count) for name, labels, count in ends for suffix in ("_sum", "_count")
    ]
    return _lines(name, "histogram", samples + sums)


def _lines(name: str, metric_type: str, samples: Iterable[tuple[str, str, float]]) -> str:
    lines = [f"{sample}{{{labels}}} {value}\n" for sample, labels, value in samples]
    return f"# TYPE {name} {metric_type}\n{''.join(lines)}"
