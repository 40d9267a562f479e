"""Families -> the text format and OpenMetrics; what did not change is not rendered again.

Both formats share the lines of the samples, and differ in headers and ending. Names are escaped as the escaping scheme
says; `:` is a legal character of a metric name, and stays under every scheme.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import compress, islice
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import ALLOWUTF8, DOTS, escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString
from pydantic_core import to_json

OPENMETRICS_END = b"# EOF\n"

_PLAIN = 1e-4, 1e6
"""From the one up to the other, JSON's text of a number is Go's; so it is for 0."""

_LEGACY_NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")

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
    def blocks(self) -> Sequence[Sequence[float]]:
        """The values of the samples, in order; a block is another object when a value of it is another."""


class FixedFamily(NamedTuple):
    """A family of prometheus_client's, with labels added."""

    name: str
    type: str
    help: str
    samples: Samples


class FixedSnapshot(NamedTuple):
    """Families of prometheus_client's, and their values."""

    families: Sequence[FixedFamily]
    blocks: Sequence[Sequence[float]]


class Renderer:
    """Renders the same families again and again, in one format and under one escaping scheme.

    The text is kept block by block, and so are its pieces: what stands before the first value, that value, what stands
    between it and the second, and so on. For a block that is another, the values are put between, and all is joined.
    """

    def __init__(self, escaping: str, *, openmetrics: bool, taken: Collection[str] = ()) -> None:
        """Escape names by that scheme: `underscores`, `allow-utf-8`, `dots` or `values`. `taken` are others' names."""
        self._escaping = escaping
        self._taken = taken
        self._openmetrics = openmetrics
        self._families: Sequence[Family] | None = None
        self._blocks: Sequence[Sequence[float] | None] = ()
        self._layouts: list[_Layout] = []
        self._chunks: list[bytes] = []
        """The text of every block, and what follows the last."""

    def render(self, snapshot: Snapshot) -> Sequence[bytes]:
        """Return a snapshot's text, in parts, without OpenMetrics' ending; the same object for the same snapshot."""
        if snapshot.families is not self._families:
            self._lay_out(snapshot)
            self._families = snapshot.families
        if snapshot.blocks is not self._blocks:
            self._chunks = self._chunks.copy()
            for number, (block, before) in enumerate(zip(snapshot.blocks, self._blocks, strict=True)):
                if block is not before:
                    self._chunks[number] = self._layouts[number].write(block)
            self._blocks = snapshot.blocks
        return self._chunks

    def _lay_out(self, snapshot: Snapshot) -> None:
        """Make the pieces anew, but for the values."""
        starts, end = self._starts(snapshot.families)
        each = iter(starts)
        self._layouts = [_Layout(list(islice(each, len(block)))) for block in snapshot.blocks]
        self._chunks = [b""] * len(self._layouts) + [end.encode()]
        self._blocks = [None] * len(self._layouts)

    def _starts(self, families: Iterable[Family]) -> tuple[list[str], str]:
        """Return what stands before the value of each sample, headers included, and what follows the last.

        Names that differ may be one when escaped: a family whose names are others' already is left out, and so is a
        sample that another of its family is like. Either would fail, or falsify, the scrape. They have no text.
        """
        starts: list[str] = []
        headers = ""
        taken = set(self._taken)
        for family in families:
            samples = family.samples
            header = _header(
                family.name, family.type, family.help, self._escaping, openmetrics=self._openmetrics
            )
            names = {
                header.split(" ", 3)[2],
                *(_escape_metric(name, self._escaping) for name, _ in samples),
            }
            is_free = names.isdisjoint(taken)
            taken |= names
            headers += header if is_free else ""
            seen = set()
            for name, labels in samples:
                start = _sample_start(name, labels, self._escaping)
                if is_free and start not in seen:
                    starts.append(f"{headers}{start} ")
                    headers = ""
                else:
                    starts.append("")
                seen.add(start)
        return starts, headers


class _Layout:
    """The pieces of a block's text."""

    def __init__(self, starts: Sequence[str]) -> None:
        """Take what stands before each value; nothing stands before one that has no line."""
        self._has_line = None if all(starts) else list(map(bool, starts))
        self._pieces = [piece for start in starts if start for piece in ("\n" + start, "")]
        if self._pieces:
            self._pieces[0] = self._pieces[0][1:]
            self._pieces.append("\n")

    def write(self, values: Sequence[float]) -> bytes:
        """Return the text with those values."""
        if self._has_line is not None:
            values = list(compress(values, self._has_line))
        # The texts of values are let go at once: the next ones then find their memory in the processor's cache.
        pieces = self._pieces.copy()
        pieces[1::2] = _format(values)
        return "".join(pieces).encode()


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
    return FixedSnapshot(families, [[float(sample.value) for metric in ordered for sample in metric.samples]])


def _format(values: Sequence[float]) -> Sequence[str]:
    """Return each value's text, as Go writes it: with the digits of Python's repr, at a fifth of its price."""
    texts = to_json(values).decode()[1:-1].split(",") if values else []
    lowest, highest = _PLAIN
    for at in [at for at, value in enumerate(values) if not (lowest <= value < highest) and value]:
        texts[at] = _format_odd(values[at])
    return texts


_format_odd = lru_cache(maxsize=1024)(floatToGoString)


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
