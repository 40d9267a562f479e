r"""Reads single lines of a text exposition: the one module that knows the text format 0.0.4.

The line of a sample is split into its start, its own address if it has one (the `worker_addr` that the worker itself
put last), and its value: `hits_total{code="200",`, `worker_addr="w"} ` and `3.0\n`; or `hits_total{code="200"} ` and
`3.0\n`. Any other line is all start.

As strict as the parsers of Prometheus and promtool in names, labels, escapes, UTF-8 and numbers.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from exporter.model import SUFFIXES, Format, Labels, add_labels, relabel

_NUMBER = (
    rb"(?:[0-9]++(?:\.[0-9]*+)?+(?:[eE][+-]?[0-9]++)?+"  # tried first, since nearly all values look so
    rb"|[+-]?(?:(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+|(?i:inf|nan)))"
)
"""A sample's value, in the syntax that Go and Python have in common."""
_TIMESTAMP = rb"-?[0-9]{1,18}+"
VALUE = rb"%b(?: %b)?+\n" % (_NUMBER, _TIMESTAMP)
"""The end of a sample's line: a value, and a timestamp in milliseconds if there is one."""
OWN_ADDRESS = re.compile(rb'worker_addr="[A-Za-z0-9_.:/\[\]-]*+"\} ')
"""An own address. No label value can contain such text, since quotes in a value are escaped."""

_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*+")
_SAMPLE = re.compile(
    rb"((%b)(?:[ \t]*+\{(.*)\})?)[ \t]++(%b)(?:[ \t]++(%b))?+[ \t]*+\n" % (_NAME.pattern, _NUMBER, _TIMESTAMP)
)
_LABEL = re.compile(
    r'([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\[\\n"])*+)"[ \t]*+(?:,[ \t]*+|\Z)'
)
_LABELS = re.compile(rf"[ \t]*+(?:{_LABEL.pattern})*+")
_HEADER = re.compile(rb"\n?#\s*(HELP|TYPE)\s+(%b)(?:\s+(.*?))?\n?" % _NAME.pattern)
_ESCAPE = re.compile(r"\\([\\n])")
_ESCAPE_IN_VALUE = re.compile(r'\\([\\n"])')
_TYPES = {name.encode(): name for name in SUFFIXES[Format.TEXT_0_0_4]} | {b"untyped": "unknown"}
_BOUNDS = ("le", "quantile")
_BEFORE_OWN_ADDRESS = (b"{", b",")


@dataclass(slots=True, eq=False)
class Line:
    """A line without its value. A blank line or a comment is of this very class, other lines of a subclass."""

    start: bytes
    name: bytes = b""
    """The sample's name; empty if the line is not a sample's."""
    head: bytes = b""
    """The text that our answer has in place of the start."""
    has_own_address: bool = False
    """Whether the own address follows the start."""


class Broken(Line):
    """A malformed line; `name` is the metric name that the line begins with, if any."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Header(Line):
    """A HELP or TYPE line."""

    family: str = ""
    """The family's name."""
    type: str | None = None
    """The family's type; empty if the format has no such type, None in a HELP line."""
    help: str = ""


@dataclass(slots=True, eq=False)
class Sample(Line):
    """The line of a sample. Its bound is its `le` or `quantile` label."""

    openmetrics_head: bytes = b""
    """The head with the bound as OpenMetrics 1.0, "Canonical Numbers", writes it; the same object if that is equal."""
    series: bytes = b""
    """The head with its labels sorted and without empty ones: equal for equal series, however they are written."""
    without_bound: bytes | None = None
    """The labels, sorted, without empty ones and without the bound; None if there is no bound."""
    le: float = math.nan
    """The number in `le`; NaN if there is none."""
    quantile: float = math.nan
    """The number in `quantile`; NaN if there is none."""

    @property
    def group(self) -> bytes:
        """A key that is equal for all samples of one histogram or summary, which differ only in name and bound."""
        if self.without_bound is None:
            return self.series.partition(b"{")[2].rstrip(b",} ")
        return self.without_bound


class _LabelSet(NamedTuple):
    """The labels of a sample, in the forms that `Sample` needs them in."""

    written: bytes
    """The labels as our answer has them, up to `worker_addr`."""
    openmetrics: bytes
    ordered: bytes
    without_bound: bytes | None
    le: float
    quantile: float


class LineReader:
    """Reads lines of one body; remembers labels, since many lines have the same."""

    def __init__(
        self, known: dict[bytes, Line], own_address: bytes, labels: Labels, *, keeps_address: bool
    ) -> None:
        """Take lines with a known start from `known`, and add new ones to it; `own_address` is the one in the body.

        Unless a reader `keeps_address`, the worker's own `worker_addr` is dropped: each series gets one of ours, as its
        last label. The `labels`, whose values are escaped already, are added to each series.
        """
        self._known = known
        self._own_address = own_address
        self._labels = labels
        self._keeps_address = keeps_address
        self._label_sets: dict[bytes, _LabelSet | None] = {}
        """The labels by the text between the braces; None if that is malformed."""
        self._shared: dict[bytes, bytes] = {}
        """Names, and labels without a bound, so that equal ones are one object."""

    def read(self, text: bytes) -> tuple[Line, bytes]:
        r"""Read a line; return it and its value, such as `3.0\n`, which is empty unless the line is a sample's."""
        match = None if text.startswith(b"#") else _SAMPLE.fullmatch(text)
        if match:
            begin, name, labels, value, timestamp = match.groups()
            start = begin + b" "
            if (plain := start.removesuffix(self._own_address)).endswith(_BEFORE_OWN_ADDRESS):
                start = plain
            line = self._known.get(start) or self._read_sample(start, name, labels or b"")
            if line:
                return line, b"%b %b\n" % (value, timestamp) if timestamp else value + b"\n"
        line = self._known.get(text)
        if line is None:
            line = self._known[text] = _read_other(text)
        return line, b""

    def _read_sample(self, start: bytes, name: bytes, labels: bytes) -> Sample | None:
        """Read the line of a sample, and add the line to the known ones; None if the labels are malformed."""
        if labels not in self._label_sets:
            self._label_sets[labels] = self._read_labels(labels)
        found = self._label_sets[labels]
        if found is None:
            return None
        head = _head(name, found.written)
        if head == start:
            head = start  # keep one object, not two that are equal
        sample = self._known[start] = Sample(
            start,
            self._shared.setdefault(name, name),
            head,
            start.endswith(_BEFORE_OWN_ADDRESS),
            head if found.openmetrics == found.written else _head(name, found.openmetrics),
            head if found.ordered == found.written else _head(name, found.ordered),
            found.without_bound,
            found.le,
            found.quantile,
        )
        return sample

    def _read_labels(self, written: bytes) -> _LabelSet | None:
        try:
            text = written.decode()
        except UnicodeDecodeError:
            return None
        if not _LABELS.fullmatch(text):
            return None
        found = _LABEL.findall(text)
        pairs = dict(found)
        if len(pairs) < len(found):
            return None
        if not self._keeps_address:
            pairs.pop("worker_addr", None)
        pairs = relabel(pairs, self._labels)
        written = _write(pairs.items())
        names = [name for name in sorted(pairs) if pairs[name]]
        ordered = written if names == list(pairs) else _write([(name, pairs[name]) for name in names])
        openmetrics, without_bound = written, None
        bounds = {name: _bound(pairs[name]) for name in _BOUNDS if name in pairs}
        if bounds:
            without_bound = _write([(name, pairs[name]) for name in names if name not in bounds])
            without_bound = self._shared.setdefault(without_bound, without_bound)
            numbers = {name: floatToGoString(bound) for name, bound in bounds.items() if pairs[name]}
            if not numbers.items() <= pairs.items():
                openmetrics = _write((pairs | numbers).items())
        le, quantile = [bounds.get(name, math.nan) for name in _BOUNDS]
        return _LabelSet(written, openmetrics, ordered, without_bound, le, quantile)


def split_head(head: bytes) -> tuple[str, Labels]:
    """Return the sample's name and its labels, unescaped, sorted and without empty ones; `head` is a `Sample`'s."""
    name, _, labels = head.decode().partition("{")
    found = {label: _unescape(value) for label, value in _LABEL.findall(labels) if value}
    return name, add_labels(found, ())


def _unescape(value: str) -> str:
    return _ESCAPE_IN_VALUE.sub(lambda match: "\n" if match[1] == "n" else match[1], value)


def _head(name: bytes, labels: bytes) -> bytes:
    """Return the text of a sample up to `worker_addr`."""
    return b"%b{%b," % (name, labels) if labels else name + b"{"


def _read_other(text: bytes) -> Line:
    """Read a line that is no well-formed sample."""
    if header := _HEADER.fullmatch(text):
        keyword, name, rest = header.groups()
        family = name.decode()
        if keyword == b"TYPE":
            return Header(text, family=family, type=_TYPES.get((rest or b"").strip(b" \t"), ""))
        return Header(text, family=family, help=_unescape_help(rest or b""))
    content = text.lstrip(b"\n")  # a line that is cut off begins with one
    if content.startswith(b"#") or not content.strip(b" \t\n"):
        return Line(text)
    match = _NAME.match(content)
    return Broken(text, match[0] if match else b"")


def _unescape_help(text: bytes) -> str:
    r"""Return a help text, unescaped; a backslash that begins neither `\\` nor `\n` stands for itself."""
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else "\\", text.decode(errors="replace"))


def _write(labels: Iterable[tuple[str, str]]) -> bytes:
    return ",".join([f'{name}="{value}"' for name, value in labels]).encode()


def _bound(text: str) -> float:
    try:
        return float(text.encode())  # of bytes, for `float` of a str accepts digits beyond ASCII
    except ValueError:
        return math.nan
