r"""What one line of a text exposition says, but for its value: the one place that knows the text format 0.0.4.

A sample's line is a start, an own address or nothing, and a value: `hits_total{code="200",`, `worker_addr="w"} ` and
`3.0\n`; or `hits_total{code="200"} ` and `3.0\n`. Any other line is all start.

Strict where the parsers of Prometheus and promtool are: names, labels, escapes, UTF-8, numbers.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.utils import floatToGoString

from exporter.model import SUFFIXES, Format, Labels, relabel

_NUMBER = (
    rb"(?:[0-9]++(?:\.[0-9]*+)?+(?:[eE][+-]?[0-9]++)?+"  # first, since nearly all are of this kind
    rb"|[+-]?(?:(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+|(?i:inf|nan)))"
)
"""A sample's value, as Go and Python both take it."""
_TIMESTAMP = rb"-?[0-9]{1,18}+"
VALUE = rb"%b(?: %b)?+\n" % (_NUMBER, _TIMESTAMP)
"""What a sample's line ends in: a value and, where there is one, a timestamp in milliseconds."""
OWN_ADDRESS = re.compile(rb'worker_addr="[A-Za-z0-9_.:/\[\]-]*+"\} ')
"""A series' last label where that is the worker's address: nothing that a label value could contain."""

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
_TYPES = {name.encode(): name for name in SUFFIXES[Format.TEXT_0_0_4]} | {b"untyped": "unknown"}
_BOUNDS = ("le", "quantile")
_BEFORE_OWN_ADDRESS = (b"{", b",")


@dataclass(slots=True, eq=False)
class Line:
    """What a line says; nothing but this where it is blank or a comment."""

    start: bytes
    name: bytes = b""
    """That of its sample; empty where there is none."""
    head: bytes = b""
    """What is written in place of its start."""
    has_own_address: bool = False
    """Whether the own address comes after its start."""


class Broken(Line):
    """A line that cannot be read; its name is what it begins with."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Header(Line):
    """A HELP or TYPE line."""

    family: str = ""
    """The name that it has."""
    type: str | None = None
    """Empty for what is no type; None in a HELP line."""
    help: str = ""


@dataclass(slots=True, eq=False)
class Sample(Line):
    """A sample's line."""

    openmetrics_head: bytes = b""
    """The head with its bound as OpenMetrics writes numbers; the same object where that makes no difference."""
    series: bytes = b""
    """The head with its labels in order of names: equal for the same series, however it is written."""
    without_bound: bytes | None = None
    """Its labels in that order but for the bound; None where it has no bound."""
    le: float = math.nan
    """The bound of a histogram's bucket; NaN where there is none."""
    quantile: float = math.nan

    @property
    def group(self) -> bytes:
        """What is equal for series of a histogram or summary that differ in the bound only."""
        if self.without_bound is None:
            return self.series.partition(b"{")[2].rstrip(b",} ")
        return self.without_bound


class _LabelSet(NamedTuple):
    """What stands between two braces."""

    written: bytes
    """As it is to be written, up to the worker's address."""
    openmetrics: bytes
    ordered: bytes
    without_bound: bytes | None
    le: float
    quantile: float


class LineReader:
    """Reads lines of one body, of which many have the same labels."""

    def __init__(self, known: dict[bytes, Line], own_address: bytes, labels: Labels) -> None:
        """Take from `known`, by start, what is there, and put there what is not; `own_address` is the worker's.

        Every series is to get a `worker_addr` as its last label, so what the worker says of that goes. And it gets the
        `labels`, whose values are escaped.
        """
        self._known = known
        self._own_address = own_address
        self._labels = labels
        self._label_sets: dict[bytes, _LabelSet | None] = {}
        """By the text between the braces."""
        self._shared: dict[bytes, bytes] = {}
        """Names and labels without a bound, each once."""

    def read(self, text: bytes) -> tuple[Line, bytes]:
        r"""Return what a line says, and its value, such as `3.0\n`; empty where it has none."""
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
        """Return what a sample's line says; None where its labels are malformed."""
        if labels not in self._label_sets:
            self._label_sets[labels] = self._read_labels(labels)
        found = self._label_sets[labels]
        if found is None:
            return None
        head = _head(name, found.written)
        if head == start:
            head = start  # one object of the two
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


def _head(name: bytes, labels: bytes) -> bytes:
    """Return what is written before the worker's address."""
    return b"%b{%b," % (name, labels) if labels else name + b"{"


def _read_other(text: bytes) -> Line:
    """Return what a line says that is no sample's."""
    if header := _HEADER.fullmatch(text):
        keyword, name, rest = header.groups()
        family = name.decode()
        if keyword == b"TYPE":
            return Header(text, family=family, type=_TYPES.get((rest or b"").strip(b" \t"), ""))
        return Header(text, family=family, help=_unescape_help(rest or b""))
    said = text.lstrip(b"\n")  # which is in front of a line that is cut off
    if said.startswith(b"#") or not said.strip(b" \t\n"):
        return Line(text)
    match = _NAME.match(said)
    return Broken(text, match[0] if match else b"")


def _unescape_help(text: bytes) -> str:
    r"""Return a help text; what is no escape of the format (`\\`, `\n`) stands for itself."""
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else "\\", text.decode(errors="replace"))


def _write(labels: Iterable[tuple[str, str]]) -> bytes:
    return ",".join([f'{name}="{value}"' for name, value in labels]).encode()


def _bound(text: str) -> float:
    try:
        return float(text.encode())  # which takes no digits but ASCII's
    except ValueError:
        return math.nan
