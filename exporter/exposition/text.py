"""Families -> the text format and OpenMetrics; what did not change is not rendered again.

Both formats share the lines of the samples, and differ in headers and ending. Names are escaped as the escaping scheme
says; `:` is a legal character of a metric name, and stays under every scheme.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress, count
from operator import attrgetter, ne
from typing import NamedTuple, Protocol, TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import ALLOWUTF8, escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString

OPENMETRICS_END = b"# EOF\n"

_PLAIN = 1e6
"""Below it, and for nothing but finite numbers, Python's repr of a float is Go's."""


_CHUNK = 64
"""Samples that are joined at a time: some 50 kB, which malloc keeps and does not return to the kernel each time."""

Samples: TypeAlias = Sequence[tuple[str, Iterable[tuple[str, str]]]]
"""Name and labels of each of some samples."""


class Family(Protocol):
    """A metric family, but for the values."""

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
    def samples(self) -> Samples:
        """Name and labels of each sample."""


class FixedFamily(NamedTuple):
    """A family of prometheus_client's, with labels added."""

    name: str
    type: str
    help: str
    samples: Samples

    @classmethod
    def of(cls, metric: Metric, labels: Iterable[tuple[str, str]]) -> "FixedFamily":
        """Take a family as it is."""
        samples = [
            (sample.name, sorted({**sample.labels, **dict(labels)}.items())) for sample in metric.samples
        ]
        return cls(metric.name, metric.type, metric.documentation, samples)


class Renderer:
    """Renders the same families again and again, in one format and under one escaping scheme.

    The text is kept in pieces: what stands before the first value, that value, what stands between it and the second,
    and so on. Values that changed are written over; then one join makes the text.
    """

    def __init__(self, escaping: str, *, openmetrics: bool) -> None:
        """Escape names by that scheme: `underscores`, `allow-utf-8`, `dots` or `values`."""
        self._escaping = escaping
        self._openmetrics = openmetrics
        self._families: Sequence[Family] | None = None
        self._values: Sequence[float] | None = None
        self._kept: list[bool] = []
        """Whether each value has a line."""
        self._pieces: list[str] = []
        self._written: list[float] = []
        """The values in the pieces."""
        self._chunks: list[bytes] = []
        """The text of every `_CHUNK` samples."""

    def render(self, families: Sequence[Family], values: Sequence[float]) -> Sequence[bytes]:
        """Return the text of the families' samples and their values, in parts, without OpenMetrics' ending.

        The same objects are taken for unchanged ones; where nothing changed, so is what is returned.
        """
        if families is not self._families:
            self._lay_out(families)
            self._families, self._values = families, None
        if values is not self._values:
            self._write(list(compress(values, self._kept)))
            self._values = values
        return self._chunks

    def _write(self, values: list[float]) -> None:
        """Write the values that differ over those written before, and join anew the chunks that they are in."""
        pieces, before, self._written = self._pieces, self._written, values
        changed: Sequence[int] = list(compress(count(), map(ne, values, before)))
        chunks: Iterable[int] = {i // _CHUNK for i in changed}
        if not before or 2 * len(changed) > len(values):
            pieces[1::2] = map(repr, values)
            changed = range(len(values))
            chunks = range(len(self._chunks))
        else:
            values = [values[i] for i in changed]
            for i, text in zip(changed, map(repr, values), strict=True):
                pieces[2 * i + 1] = text
        for i, value in zip(changed, values, strict=True):
            if not -_PLAIN < value < _PLAIN:  # where Go's text is not Python's
                pieces[2 * i + 1] = _format_large(value)
        self._chunks = self._chunks.copy()
        for chunk in chunks:
            start = 2 * _CHUNK * chunk
            self._chunks[chunk] = "".join(pieces[start : start + 2 * _CHUNK]).encode()

    def _lay_out(self, families: Iterable[Family]) -> None:
        """Make the pieces anew, but for the values."""
        pieces: list[str] = []
        gap = ""
        for family in self._with_names_of_their_own(families):
            gap += _header(
                family.name, family.type, family.help, self._escaping, openmetrics=self._openmetrics
            )
            for name, labels in family.samples:
                pieces += f"{gap}{_sample_start(name, labels, self._escaping)} ", ""
                gap = "\n"
        self._pieces = [*pieces, gap]
        self._chunks = [b""] * (len(self._pieces) // (2 * _CHUNK) + 1)
        self._written = []

    def _with_names_of_their_own(self, families: Iterable[Family]) -> Iterator[Family]:
        """Yield the families whose names, as they are escaped, are not those of an earlier one."""
        names = set()
        self._kept.clear()
        for family in families:
            name = escape_metric_name(family.name, self._escaping)
            self._kept += [name not in names] * len(family.samples)
            if name not in names:
                names.add(name)
                yield family


def take_metrics(
    metrics: Iterable[Metric], labels: Iterable[tuple[str, str]]
) -> tuple[list[FixedFamily], list[float]]:
    """Return prometheus_client's families by name, with labels added, and the values of their samples."""
    ordered = sorted(metrics, key=attrgetter("name"))
    families = [FixedFamily.of(metric, labels) for metric in ordered]
    return families, [float(sample.value) for metric in ordered for sample in metric.samples]


_format_large = lru_cache(maxsize=4096)(floatToGoString)


def _header(name: str, metric_type: str, help_text: str, escaping: str, *, openmetrics: bool) -> str:
    """Return a family's HELP and TYPE lines."""
    help_text = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        help_text = help_text.replace('"', r"\"")
    elif metric_type == "counter":
        name += "_total"
    elif metric_type == "unknown":
        metric_type = "untyped"
    name = escape_metric_name(name, escaping)
    return f"# HELP {name} {help_text}\n# TYPE {name} {metric_type}\n"


def _sample_start(name: str, labels: Iterable[tuple[str, str]], escaping: str) -> str:
    """Return a sample's line up to its value."""
    name = _escape_metric(name, escaping)
    pairs = [_escape_pair(label, value, escaping) for label, value in labels]
    if len(dict(pairs)) < len(pairs):
        pairs = _tell_apart(pairs)
    texts = [f'{label}="{value}"' for label, value in pairs]
    if escaping == ALLOWUTF8 and name.startswith('"'):
        return "{" + ",".join([name, *texts]) + "}"
    return f"{name}{{{','.join(texts)}}}" if texts else name


def _tell_apart(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lengthen label names that have become equal by escaping: a label twice would fail the whole scrape."""
    values: dict[str, str] = {}
    for label, value in pairs:
        while label in values:
            label += "_"  # noqa: PLW2901 - it is the label's new name
        values[label] = value
    return list(values.items())


_escape_metric = lru_cache(maxsize=4096)(escape_metric_name)


@lru_cache(maxsize=4096)
def _escape_pair(label: str, value: str, escaping: str) -> tuple[str, str]:
    text = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return escape_label_name(label, escaping), text
