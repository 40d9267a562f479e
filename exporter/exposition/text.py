"""Families -> the text format and OpenMetrics; what did not change is not rendered again.

Both formats share the lines of the samples, and differ in headers and ending. Names are escaped as the escaping scheme
says; `:` is a legal character of a metric name, and stays under every scheme.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Protocol

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import ALLOWUTF8, escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString

OPENMETRICS_END = b"# EOF\n"

_PLAIN = 1e6
"""Below it, and for nothing but finite numbers, Python's repr of a float is Go's."""


class SeriesLike(Protocol):
    """Samples that share their labels."""

    @property
    def samples(self) -> Sequence[tuple[str, Iterable[tuple[str, str]]]]:
        """Name and labels of each sample; another object when they change."""

    @property
    def values(self) -> tuple[float, ...]:
        """Their values, or none."""

    @property
    def changed(self) -> int:
        """The version that last changed it."""


class FamilyLike(Protocol):
    """A metric family."""

    @property
    def name(self) -> str:
        """The name, without a counter's `_total`."""

    @property
    def type(self) -> str:
        """The metric type."""

    @property
    def help(self) -> str:
        """The help text."""

    @property
    def changed(self) -> int:
        """The version that last changed any of its series."""

    @property
    def series(self) -> Sequence[SeriesLike]:
        """The series in order; another object when they are other ones."""


class FixedSeries:
    """Samples that were made once, by another collector than ours."""

    changed = 0

    def __init__(
        self, samples: Sequence[tuple[str, Iterable[tuple[str, str]]]], values: Iterable[float]
    ) -> None:
        self.samples = samples
        self.values = tuple(map(float, values))


class FixedFamily:
    """A family that was made once, by another collector than ours."""

    changed = 0

    def __init__(self, metric: Metric, labels: Iterable[tuple[str, str]]) -> None:
        """Take a family of prometheus_client's, and add labels to its samples."""
        self.name = metric.name
        self.type = metric.type
        self.help = metric.documentation
        names = [
            (sample.name, sorted({**sample.labels, **dict(labels)}.items())) for sample in metric.samples
        ]
        self.series = [FixedSeries(names, [sample.value for sample in metric.samples])]


class _RenderedSeries:
    """The lines of one series."""

    __slots__ = ("_escaping", "_samples", "_template", "series", "text")

    def __init__(self, series: SeriesLike, escaping: str) -> None:
        self.series = series
        self.text = ""
        self._escaping = escaping
        self._samples: Sequence[object] | None = None
        self._template = ""

    def render(self) -> None:
        series = self.series
        if series.samples is not self._samples:
            self._samples = series.samples
            self._template = "".join(
                f"{_sample_start(name, labels, self._escaping)} %s\n".replace("%", "%%").replace(
                    "%%s\n", "%s\n"
                )
                for name, labels in series.samples
            )
        values = series.values
        if not values:
            self.text = ""
        elif max(values) < _PLAIN and math.isfinite(sum(values)):
            self.text = self._template % values  # in C, for all lines of a histogram at once
        else:
            self.text = self._template % tuple(map(format_value, values))


class _RenderedFamily:
    """The lines of one family, for one escaping scheme."""

    __slots__ = ("_escaping", "_rendered", "_series", "_version", "family", "lines")

    def __init__(self, family: FamilyLike, escaping: str) -> None:
        self.family = family
        self.lines = b""
        self._escaping = escaping
        self._version = -1
        self._series: Sequence[SeriesLike] | None = None
        self._rendered: list[_RenderedSeries] = []

    def update(self) -> None:
        family, version = self.family, self._version
        if family.changed <= version and family.series is self._series:
            return
        if family.series is not self._series:
            known = {rendered.series: rendered for rendered in self._rendered}
            self._series = family.series
            self._rendered = [
                known.get(series) or _RenderedSeries(series, self._escaping) for series in family.series
            ]
        for rendered in self._rendered:
            if rendered.series.changed > version or not rendered.text:
                rendered.render()
        self.lines = "".join([rendered.text for rendered in self._rendered]).encode()
        self._version = family.changed


class Renderer:
    """Renders families for one escaping scheme, and keeps what it has rendered."""

    def __init__(self, escaping: str) -> None:
        """Escape names by that scheme: `underscores`, `allow-utf-8`, `dots` or `values`."""
        self._escaping = escaping
        self._families: dict[str, _RenderedFamily] = {}
        self._bodies: dict[bool, tuple[list[bytes], bytes]] = {}

    def render(self, families: Iterable[FamilyLike], *, openmetrics: bool) -> bytes:
        """Return the families' text, without OpenMetrics' ending; the object of the last call where nothing changed."""
        kept, self._families = self._families, {}
        parts: list[bytes] = []
        names = set()
        for family in families:
            rendered = kept.get(family.name)
            if rendered is None or rendered.family is not family:
                rendered = _RenderedFamily(family, self._escaping)
            self._families[family.name] = rendered
            rendered.update()
            name, header = _header(
                family.name, family.type, family.help, self._escaping, openmetrics=openmetrics
            )
            if name not in names:  # two names may be one when escaped: the first has it
                names.add(name)
                parts += header, rendered.lines
        before, body = self._bodies.get(openmetrics, ([], b""))
        if parts != before:
            body = b"".join(parts)
            self._bodies[openmetrics] = parts, body
        return body


def render_metrics(
    metrics: Iterable[Metric], labels: Iterable[tuple[str, str]], escaping: str, *, openmetrics: bool
) -> bytes:
    """Return the text of prometheus_client's families, by name, with labels added, without OpenMetrics' ending."""
    families = sorted((FixedFamily(metric, labels) for metric in metrics), key=lambda family: family.name)
    return Renderer(escaping).render(families, openmetrics=openmetrics)


def format_value(value: float) -> str:
    """Format a number as Go does; at a good speed for those that are common."""
    return repr(value) if -_PLAIN < value < _PLAIN else _format_large(value)


_format_large = lru_cache(maxsize=4096)(floatToGoString)


@lru_cache(maxsize=4096)
def _header(
    name: str, metric_type: str, help_text: str, escaping: str, *, openmetrics: bool
) -> tuple[str, bytes]:
    """Return a family's name as it is served, and the HELP and TYPE lines."""
    help_text = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        help_text = help_text.replace('"', r"\"")
    elif metric_type == "counter":
        name += "_total"
    elif metric_type == "unknown":
        metric_type = "untyped"
    name = escape_metric_name(name, escaping)
    return name, f"# HELP {name} {help_text}\n# TYPE {name} {metric_type}\n".encode()


def _sample_start(name: str, labels: Iterable[tuple[str, str]], escaping: str) -> str:
    """Return a sample's line up to its value."""
    name = escape_metric_name(name, escaping)
    pairs = []
    used = set()
    for label, value in labels:
        escaped = escape_label_name(label, escaping)
        while (
            escaped in used
        ):  # two names may be one when escaped; a line with a label twice would fail the scrape
            escaped += "_"
        used.add(escaped)
        text = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        pairs.append(f'{escaped}="{text}"')
    if escaping == ALLOWUTF8 and name.startswith('"'):
        return "{" + ",".join(chain([name], pairs)) + "}"
    return f"{name}{{{','.join(pairs)}}}" if pairs else name
