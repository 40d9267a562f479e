r"""What a text exposition says, but for its values: the one place that knows the text format 0.0.4 line by line.

A line is a start and a value: `http_requests_total{code="200"} ` and `3.0\n`. The starts of one worker's exposition
hardly ever change from scrape to scrape, so what they mean is found out once, and kept as a `Layout`.

What is wrong is left out, by family: a line that cannot be read costs its family, and one of no family only itself.
Strict where the parsers of Prometheus and promtool are: names, labels, escapes, UTF-8, numbers.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from prometheus_client.utils import floatToGoString

PIECES = 3
"""What a line is written from: its head, the worker's address, its value."""

Labels: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names and values as they stand in an exposition: the values escaped, without their quotes."""

BROKEN_FAMILY = "broken_family"
DUPLICATE_SERIES = "duplicate_series"
STRAY_LINE = "stray_line"

NUMBER = (
    rb"(?:[0-9]++(?:\.[0-9]*+)?+(?:[eE][+-]?[0-9]++)?+"  # first, since nearly all are of this kind
    rb"|[+-]?(?:(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+|(?i:inf|nan)))"
)
"""A sample's value, as Go and Python both take it."""

_NAME = re.compile(rb"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(
    rb'([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\[\\n"])*+)"[ \t]*+(?:,[ \t]*+|\Z)'
)
_TAIL = re.compile(rb"[ \t]++(%b)(?:[ \t]++(-?[0-9]{1,18}))?+[ \t]*+" % NUMBER)
OWN_ENDING = re.compile(rb'worker_addr="[A-Za-z0-9_.:/\[\]-]*+"\} ')
"""What a start ends in where the worker names itself in its last label: nothing that a label value could contain."""

_ESCAPE = re.compile(r"\\([\\n])")
_TYPES = {name: name for name in (b"counter", b"gauge", b"histogram", b"summary", b"untyped")}
_TYPES[b"unknown"] = b"untyped"
_SUFFIXES = {b"histogram": (b"_bucket", b"_count", b"_sum"), b"summary": (b"_count", b"_sum")}
_BOUNDS = (b"le", b"quantile")
_VALUE = itemgetter(1)


class Family(NamedTuple):
    """A family of one exposition."""

    name: bytes
    type: bytes
    """As the text format calls it: `untyped`, not `unknown`."""
    help: str
    runs: tuple[slice, ...]
    """Where its samples are among the lines' pieces, `PIECES` a line, in the order they are to be written in."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The lines of an exposition, but for their values."""

    starts: list[bytes]
    """What each line begins with, up to its value; a line without one is all start."""
    heads: list[bytes]
    """What is written in place of each start, up to the worker's address."""
    openmetrics_heads: list[bytes]
    """The same for OpenMetrics; the same object where nothing differs."""
    families: tuple[Family, ...]
    samples: int
    size: int
    """Bytes of all starts."""
    faults: Mapping[str, int]
    """What was left out: how often, by reason."""
    repeatable: bool
    """Whether every later body of these starts, with a number after each that has one now, has this layout."""
    has_timestamps: bool
    own_ending: bytes
    """What starts end in where the worker names itself in its last label; else nothing."""


def read_layout(
    body: bytes, labels: Labels = (), *, keep_address: bool = False
) -> tuple[Layout, list[bytes]]:
    r"""Return an exposition's layout and each line's value, such as `3.0\n`; empty for a line without one.

    Every series is to get a `worker_addr` as its last label, so what the worker says of that goes, unless it is to be
    kept. And it gets the `labels`; one of the same name that is there already is kept as `exported_<name>`.
    """
    return _Reader(body, labels, keep_address=keep_address).read()


def escape(value: str) -> bytes:
    """Return a label value as it stands in an exposition."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"").encode()


def ending(worker_addr: bytes) -> bytes:
    """Return what is written after a head: the worker's address, escaped."""
    return b'worker_addr="%b"} ' % worker_addr


@dataclass(slots=True)
class _Draft:
    """A family that is being read."""

    name: bytes
    type: bytes = b""
    help: str | None = None
    broken: bool = False
    lines: list[int] = field(default_factory=list)
    places: list[tuple[int, float, int]] = field(default_factory=list)
    """For each line of a histogram or summary, its place: group, bound, line."""
    groups: dict[Labels, int] = field(default_factory=dict)

    def runs(self) -> Iterator[slice]:
        """Yield its lines as runs of adjacent ones: those of a group together, bounds ascending."""
        if self.places:
            self.lines = [line for _, _, line in sorted(self.places)]
        begin = 0
        for end, line in enumerate(self.lines, 1):
            if end == len(self.lines) or self.lines[end] != line + 1:
                yield slice(PIECES * self.lines[begin], PIECES * (line + 1))
                begin = end


class _Block(NamedTuple):
    """The labels of a line, read."""

    out: bytes
    """As they are to be written, between braces, without the worker's address."""
    openmetrics_out: bytes
    """The same, with a bound as OpenMetrics writes numbers."""
    series: Labels
    """In order of names, so that it is equal for the same series."""
    group: Labels
    """The same without the bound."""
    bounds: Mapping[bytes, float]
    """`le` and `quantile`, where they are; NaN for what is no number."""


class _Reader:
    """Reads one exposition, in two passes: a family's type may come after its samples."""

    def __init__(self, body: bytes, labels: Labels, *, keep_address: bool) -> None:
        self._lines = body.split(b"\n")
        cut_off = self._lines.pop()  # what comes after the last newline
        if cut_off:
            self._lines.append(cut_off)
        self._cut_off = cut_off
        own = OWN_ENDING.search(body)
        self._own_ending = own[0] if own else b""
        self._utf8 = _is_utf8(body)
        self._keep_address = keep_address
        self._labels = labels
        self._drafts: dict[bytes, _Draft] = {}
        self._owners: dict[bytes, _Draft] = {}
        self._blocks: dict[bytes, _Block | None] = {}
        self._series: set[tuple[bytes, Labels]] = set()
        self._faults: Counter[str] = Counter()
        self._starts: list[bytes] = []
        self._heads: list[bytes] = []
        self._openmetrics_heads: dict[int, bytes] = {}
        self._values: list[bytes] = []
        self._repeatable = not cut_off
        self._has_timestamps = False

    def read(self) -> tuple[Layout, list[bytes]]:
        """Read it; once."""
        headers = {
            index: self._read_header(line) for index, line in enumerate(self._lines) if line.startswith(b"#")
        }
        current: _Draft | None = None
        for index, line in enumerate(self._lines):
            if index in headers:
                current = headers[index] or current
                self._keep(line + b"\n")
            elif not line.strip(b" \t"):
                self._keep(line + b"\n")
            elif draft := self._read_sample(line):
                current = draft
            else:
                current = self._refuse(line, current)
        return self._layout(), self._values

    def _layout(self) -> Layout:
        sound = [draft for draft in self._drafts.values() if not draft.broken]
        self._faults[BROKEN_FAMILY] += len(self._drafts) - len(sound)
        openmetrics_heads = self._heads
        if self._openmetrics_heads:
            openmetrics_heads = list(self._heads)
            for index, head in self._openmetrics_heads.items():
                openmetrics_heads[index] = head
        return Layout(
            starts=self._starts,
            heads=self._heads,
            openmetrics_heads=openmetrics_heads,
            families=tuple(
                Family(draft.name, draft.type or b"untyped", draft.help or "", tuple(draft.runs()))
                for draft in sound
            ),
            samples=sum(len(draft.lines) for draft in sound),
            size=sum(map(len, self._starts)),
            faults=+self._faults,
            repeatable=self._repeatable,
            has_timestamps=self._has_timestamps,
            own_ending=self._own_ending,
        )

    def _read_header(self, line: bytes) -> _Draft | None:
        """Take note of a HELP or TYPE line and return its family; None for any other comment."""
        words = line[1:].split(None, 2)
        if len(words) < 2 or words[0] not in {b"HELP", b"TYPE"}:  # noqa: PLR2004 - a keyword and a name
            return None
        keyword, name, text = (*words, b"")[:3]
        if not _NAME.fullmatch(name):
            return None
        draft = self._drafts.setdefault(name, _Draft(name))
        if keyword == b"HELP":
            if draft.help is None:
                draft.help = _unescape_help(text)
            return draft
        type_ = _TYPES.get(text.strip(b" \t"), b"")
        draft.broken |= not type_ or draft.type not in {b"", type_}
        draft.type = type_
        return draft

    def _read_sample(self, line: bytes) -> _Draft | None:
        """Take a sample's line and return its family; None for what is no sample of a family, and not taken."""
        head, brace, tail = line.rpartition(b"}")
        if brace:
            name, opened, labels = head.partition(b"{")
        else:
            name, opened, labels = re.split(rb"[ \t]", line, maxsplit=1)[0], b"{", b""
            tail = line[len(name) :]
        number = _TAIL.fullmatch(tail)
        if labels not in self._blocks:
            self._blocks[labels] = self._read_block(labels)
        block = self._blocks[labels]
        name = name.rstrip(b" \t")
        owner = self._owners.get(name) or self._owner(name)
        cut_off = line is self._cut_off
        if not (opened and number and block and owner) or cut_off or not (self._utf8 or _is_utf8(line)):
            return None
        if not self._place(name, owner, block):
            return None
        value, timestamp = number.groups()
        self._keep(line[: -len(value)], self._head(name, block.out), value + b"\n")
        if len(tail) != number.end(1):  # a timestamp, or blanks
            self._repeatable = False
            if timestamp:
                self._has_timestamps = True
                self._values[-1] = b"%b %b\n" % (value, timestamp)
        return owner

    def _place(self, name: bytes, owner: _Draft, block: _Block) -> bool:
        """Put the next line into its family; return whether it belongs there. A duplicate does not get a place."""
        index = len(self._starts)
        series = name, block.series
        bound = None
        if owner.type in _SUFFIXES:
            bound_label = _bound_label(owner, name)
            bound = block.bounds.get(bound_label) if bound_label else math.inf
            if bound is None or math.isnan(bound):
                return False
            if bound_label and block.openmetrics_out != block.out:
                self._openmetrics_heads[index] = self._head(name, block.openmetrics_out)
        if series in self._series:
            self._faults[DUPLICATE_SERIES] += 1
            return True
        self._series.add(series)
        owner.lines.append(index)
        if bound is not None:
            group = owner.groups.setdefault(block.group, len(owner.groups))
            owner.places.append((group, bound, index))
        return True

    def _refuse(self, line: bytes, current: _Draft | None) -> _Draft | None:
        """Take note of a line that cannot be read: its family's fault, by name, else by its place in the text."""
        self._keep(line + b"\n")
        name = _NAME.match(line)
        draft = (self._owner(name[0]) if name else None) or current
        if draft is None:
            self._faults[STRAY_LINE] += 1
        else:
            draft.broken = True
        return draft

    def _keep(self, start: bytes, head: bytes = b"", value: bytes = b"") -> None:
        self._starts.append(start)
        self._heads.append(head)
        self._values.append(value)

    def _owner(self, name: bytes) -> _Draft | None:
        """Return the family that samples of a name are of, new where none is known; None where it is no name."""
        if name in self._owners:
            return self._owners[name]
        if not _NAME.fullmatch(name):
            return None
        draft = self._drafts.get(name)
        if draft is None or draft.type == b"histogram":  # which has no sample of its own name
            for suffix in _SUFFIXES[b"histogram"]:
                base = self._drafts.get(name.removesuffix(suffix))
                if base and name.endswith(suffix) and suffix in _SUFFIXES.get(base.type, ()):
                    draft = base
        if draft is None:
            draft = self._drafts[name] = _Draft(name)
        self._owners[name] = draft
        return draft

    def _head(self, name: bytes, labels: bytes) -> bytes:
        """Return what is written before the worker's address, or before the value where that is kept."""
        if self._keep_address:
            return b"%b{%b} " % (name, labels) if labels else name + b" "
        return b"%b{%b," % (name, labels) if labels else name + b"{"

    def _read_block(self, text: bytes) -> _Block | None:
        """Return the labels between two braces; None where they are malformed."""
        pairs = _pairs(text)
        if pairs is None:
            return None
        if not self._keep_address:
            pairs.pop(b"worker_addr", None)
        self._add_labels(pairs)
        out = openmetrics_out = _write(pairs.items())
        series = tuple(sorted(filter(_VALUE, pairs.items())))
        bounds = {}
        group = series
        if b"le" in pairs or b"quantile" in pairs:
            bounds = {name: _bound(value) for name, value in series if name in _BOUNDS}
            group = tuple(pair for pair in series if pair[0] not in _BOUNDS)
            numbers = {name: floatToGoString(bound).encode() for name, bound in bounds.items()}
            openmetrics_out = _write((pairs | numbers).items())
        return _Block(out, openmetrics_out, series, group, bounds)

    def _add_labels(self, pairs: dict[bytes, bytes]) -> None:
        for name, value in self._labels:
            if name in pairs:
                exported = b"exported_" + name
                while exported in pairs:
                    exported = b"exported_" + exported
                pairs[exported] = pairs[name]
            pairs[name] = value


def _pairs(text: bytes) -> dict[bytes, bytes] | None:
    """Return the names and escaped values between two braces; None where they are malformed."""
    found = _LABEL.findall(text)
    pairs = dict(found)
    if len(pairs) < len(found):
        return None
    if _write(found) == text:  # as it nearly always is written
        return pairs
    text = text.strip(b" \t")
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if match is None:
            return None
        position = match.end()
    return pairs


def _write(labels: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b",".join([b'%b="%b"' % label for label in labels])


def _bound_label(owner: _Draft, name: bytes) -> bytes:
    """Return the label that a sample of a histogram or summary needs to have; nothing for counts and sums."""
    if owner.type == b"histogram":
        return b"le" if name == owner.name + b"_bucket" else _no_bound(owner, name)
    return b"quantile" if name == owner.name else b""


def _no_bound(owner: _Draft, name: bytes) -> bytes:
    # A histogram has no sample of its own name: that one lacks what it cannot have.
    return b"\0" if name == owner.name else b""


def _bound(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _unescape_help(text: bytes) -> str:
    r"""Return a help text; what is no escape of the format (`\\`, `\n`) stands for itself."""
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else "\\", text.decode(errors="replace"))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
