"""Families -> the text format and OpenMetrics; what did not change is not rendered again.

Both formats share the lines of the samples, and differ in headers and ending. Names are escaped as the escaping scheme
says; `:` is a legal character of a metric name, and stays under every scheme.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from typing import Protocol, TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import ALLOWUTF8, escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString

OPENMETRICS_END = b"# EOF\n"

_PLAIN = 1e6
"""Below it, and for nothing but finite numbers, Python's repr of a float is Go's."""


Samples: TypeAlias = Sequence[tuple[str, Iterable[tuple[str, str]]]]
"""Name and labels of each of some samples."""


class SeriesLike(Protocol):
    """Samples that share their labels."""

    @property
    def samples(self) -> Samples:
        """What its values are of; another object when that changes."""

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

    def __init__(self, samples: Samples, values: Iterable[float]) -> None:
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


class _RenderedFamily:
    """The text of one family, for one escaping scheme.

    It is kept in pieces: what stands before the first value, that value, what stands between it and the second, and so
    on. Series that changed write over their values; then one join makes the text.
    """

    def __init__(self, family: FamilyLike, escaping: str) -> None:
        self.family = family
        self.version = -1
        """The family's version that the text is of."""
        self.text = b""
        self._escaping = escaping
        self._series: Sequence[SeriesLike] = ()
        self._samples: list[Samples] = []
        self._slots: list[slice] = []
        self._pieces: list[str] = []

    def update(self) -> None:
        """Bring the text up to the family's version."""
        before, self.version = self.version, self.family.changed
        series = self.family.series
        changed = [i for i, each in enumerate(series) if each.changed > before]
        if series is not self._series or any(_samples(series[i]) is not self._samples[i] for i in changed):
            self._lay_out(series)
            changed = list(range(len(series)))
        if len(changed) * 2 > len(series):
            self._pieces[1::2] = _format([value for each in series for value in each.values])
        else:
            for i in changed:
                self._pieces[self._slots[i]] = _format(series[i].values)
        self.text = "".join(self._pieces).encode()

    def _lay_out(self, series: Sequence[SeriesLike]) -> None:
        """Make the pieces anew, but for the values."""
        self._series = series
        self._samples = [_samples(each) for each in series]
        starts = [_sample_start(name, labels, self._escaping) for name, labels in chain(*self._samples)]
        ends = list(accumulate((2 * len(samples) for samples in self._samples), initial=0))
        self._slots = [slice(start + 1, end, 2) for start, end in pairwise(ends)]
        self._pieces = [""] * (2 * len(starts))
        self._pieces[::2] = [f"\n{start} " for start in starts]
        if starts:
            self._pieces[0] = f"{starts[0]} "
            self._pieces.append("\n")


def _samples(series: SeriesLike) -> Samples:
    """Return the samples that have a line."""
    return series.samples if series.values else ()


def _format(values: Sequence[float]) -> Iterable[str]:
    """Format numbers as Go does; in C where Python's repr is the same."""
    plain = not values or (max(values) < _PLAIN and math.isfinite(sum(values)))
    return map(repr if plain else format_value, values)


class Renderer:
    """Renders families for one escaping scheme, and keeps what it has rendered."""

    def __init__(self, escaping: str) -> None:
        """Escape names by that scheme: `underscores`, `allow-utf-8`, `dots` or `values`."""
        self._escaping = escaping
        self._families: Sequence[FamilyLike] = ()
        self._rendered: list[_RenderedFamily] = []
        self._bodies: dict[bool, bytes] = {}

    def render(self, families: Sequence[FamilyLike], *, openmetrics: bool) -> bytes:
        """Return the families' text, without OpenMetrics' ending; the object of the last call where nothing changed."""
        if families is not self._families:
            known = {id(rendered.family): rendered for rendered in self._rendered}
            self._rendered = [
                known.get(id(family)) or _RenderedFamily(family, self._escaping) for family in families
            ]
            self._families = families
            self._bodies.clear()
        for rendered in self._rendered:
            if rendered.family.changed > rendered.version:
                rendered.update()
                self._bodies.clear()
        if openmetrics not in self._bodies:
            self._bodies[openmetrics] = self._join(openmetrics=openmetrics)
        return self._bodies[openmetrics]

    def _join(self, *, openmetrics: bool) -> bytes:
        parts: list[bytes] = []
        names = set()
        for rendered in self._rendered:
            family = rendered.family
            name, header = _header(
                family.name, family.type, family.help, self._escaping, openmetrics=openmetrics
            )
            if name not in names:  # two names may be one when escaped: the first has it
                names.add(name)
                parts += header, rendered.text
        return b"".join(parts)


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
