"""Families -> the text format and OpenMetrics; what did not change is not rendered again.

Both formats share the lines of the samples, and differ in headers and ending. Names are escaped as the escaping scheme
says; `:` is a legal character of a metric name, and stays under every scheme.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import ALLOWUTF8, DOTS, escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString

OPENMETRICS_END = b"# EOF\n"

_PLAIN = 1e6
"""Below it, and for nothing but finite numbers, Python's repr of a float is Go's."""


_LEGACY_NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")

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


class Snapshot(Protocol):
    """Families and the values of all their samples at one moment."""

    @property
    def families(self) -> Sequence[Family]:
        """The families in order; another object when they are other ones, or have other samples."""

    @property
    def values(self) -> Sequence[float]:
        """The value of each sample, in order; another object when one is another."""

    @property
    def before(self) -> Sequence[float] | None:
        """The values that `changed` compares with, if any."""

    @property
    def changed(self) -> Sequence[int]:
        """Where values differ from those before."""


class FixedFamily(NamedTuple):
    """A family of prometheus_client's, with labels added."""

    name: str
    type: str
    help: str
    samples: Samples


class FixedSnapshot(NamedTuple):
    """Families of prometheus_client's, and their values."""

    families: Sequence[FixedFamily]
    values: Sequence[float]
    before: None = None
    changed: Sequence[int] = ()


class Renderer:
    """Renders the same families again and again, in one format and under one escaping scheme.

    The text is kept in pieces: what stands before the first value, that value, what stands between it and the second,
    and so on. Values that changed are written over; then one join makes the text.
    """

    def __init__(self, escaping: str, *, openmetrics: bool, taken: Collection[str] = ()) -> None:
        """Escape names by that scheme: `underscores`, `allow-utf-8`, `dots` or `values`. `taken` are others' names."""
        self._escaping = escaping
        self._taken = taken
        self._openmetrics = openmetrics
        self._families: Sequence[Family] | None = None
        self._values: Sequence[float] | None = None
        self._hidden: set[int] = set()
        """Which values have no line."""
        self._pieces: list[str] = []
        self._chunks: list[bytes] = []
        """The text of every `_CHUNK` samples."""

    def render(self, snapshot: Snapshot) -> Sequence[bytes]:
        """Return a snapshot's text, in parts, without OpenMetrics' ending; the same object for the same snapshot."""
        if snapshot.families is not self._families:
            self._families = snapshot.families
            self._values = None
            self._lay_out(snapshot.families)
        if snapshot.values is not self._values:
            follows = snapshot.before is self._values and self._values is not None
            self._write(snapshot.values, snapshot.changed if follows else range(len(snapshot.values)))
            self._values = snapshot.values
        return self._chunks

    def _write(self, values: Sequence[float], changed: Sequence[int]) -> None:
        """Write the values at `changed` over those written before, and join anew the chunks that they are in."""
        pieces = self._pieces
        if self._hidden:
            kept = [i for i in range(len(values)) if i not in self._hidden]
            values, changed = [values[i] for i in kept], range(len(kept))
        if 2 * len(changed) < len(values):
            chunks = {i // _CHUNK for i in changed}
            values = [values[i] for i in changed]
            for i, text in zip(changed, map(repr, values), strict=True):
                pieces[2 * i + 1] = text
        else:
            chunks = set(range(len(self._chunks)))
            changed = range(len(values))
            pieces[1::2] = map(repr, values)
        for at in [at for at, value in enumerate(values) if not -_PLAIN < value < _PLAIN]:
            pieces[2 * changed[at] + 1] = _format_large(values[at])  # where Go's text is not Python's
        self._chunks = self._chunks.copy()
        for chunk in chunks | {len(self._chunks) - 1}:
            start = 2 * _CHUNK * chunk
            self._chunks[chunk] = "".join(pieces[start : start + 2 * _CHUNK]).encode()

    def _lay_out(self, families: Iterable[Family]) -> None:
        """Make the pieces anew, but for the values.

        Names that differ may be one when escaped: a family whose names are others' already is left out, and so is a
        sample that another of its family is like. Either would fail, or falsify, the scrape.
        """
        pieces: list[str] = []
        gap = ""
        taken = set(self._taken)
        positions = count()
        self._hidden.clear()
        for family in families:
            header = _header(
                family.name, family.type, family.help, self._escaping, openmetrics=self._openmetrics
            )
            names = {
                header.split(" ", 3)[2],
                *(_escape_metric(name, self._escaping) for name, _ in family.samples),
            }
            is_free = names.isdisjoint(taken)
            taken |= names
            gap += header if is_free else ""
            starts = set()
            for (name, labels), position in zip(family.samples, positions, strict=False):
                start = _sample_start(name, labels, self._escaping)
                if is_free and start not in starts:
                    pieces += f"{gap}{start} ", ""
                    gap = "\n"
                else:
                    self._hidden.add(position)
                starts.add(start)
        self._pieces = [*pieces, gap]
        self._chunks = [b""] * (len(self._pieces) // (2 * _CHUNK) + 1)


def take_metrics(
    metrics: Iterable[Metric], label: Callable[[Mapping[str, str]], Iterable[tuple[str, str]]]
) -> FixedSnapshot:
    """Return prometheus_client's families by name; `label` makes the labels of each sample, in order, of its own."""
    ordered = sorted(metrics, key=attrgetter("name"))
    families = [
        FixedFamily(
            metric.name,
            metric.type,
            metric.documentation,
            [(sample.name, label(sample.labels)) for sample in metric.samples],
        )
        for metric in ordered
    ]
    return FixedSnapshot(families, [float(sample.value) for metric in ordered for sample in metric.samples])


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
    name = _escape_metric(name, escaping)
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


@lru_cache(maxsize=4096)
def _escape_metric(name: str, escaping: str) -> str:
    # Said here too, for prometheus_client has changed its mind about `:` more than once.
    return name if _LEGACY_NAME.fullmatch(name) and escaping != DOTS else escape_metric_name(name, escaping)


@lru_cache(maxsize=4096)
def _escape_pair(label: str, value: str, escaping: str) -> tuple[str, str]:
    text = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return escape_label_name(label, escaping), text
