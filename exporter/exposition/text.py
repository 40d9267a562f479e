"""Renders families in the text formats and in OpenMetrics; blocks that did not change are not rendered again.

The formats have the same lines for samples, and differ in headers and ending. Names are escaped by the negotiated
scheme; `:` is legal in a metric name, and stays under every scheme.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, compress
from operator import is_not
from typing import TypeAlias

from prometheus_client.openmetrics.exposition import ALLOWUTF8, DOTS, escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString
from pydantic_core import to_json

from exporter.model import Family, FamilyValues, Format, Samples, Snapshot, family_name, names

_SAME_IN_JSON = 1e-4, 1e6
"""Range in which JSON and Go write a float identically (0 too)."""

_LEGACY_NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")


def header(name: str, metric_type: str, help_text: str, format_: Format) -> bytes:
    """Return the HELP and TYPE lines of a family; `name` is the family's name in that format."""
    help_text = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if format_.is_openmetrics:
        help_text = help_text.replace('"', r"\"")
    elif metric_type == "unknown":
        metric_type = "untyped"
    return f"# HELP {name} {help_text}\n# TYPE {name} {metric_type}\n".encode()


def ending(format_: Format) -> bytes:
    """Return the last line of an exposition: `# EOF` in OpenMetrics, nothing in the text formats."""
    return b"# EOF\n" if format_.is_openmetrics else b""


def escape(value: str) -> str:
    """Return a label's value, escaped for double quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Renderer:
    """Renders successive snapshots in one format and one escaping scheme.

    The text of each block is kept, and so is a template of it, in which only the values are left out. Only blocks with
    other samples or values than before are written again.
    """

    def __init__(self, format_: Format, escaping: str = "underscores", taken: Iterable[str] = ()) -> None:
        """Escape names by that scheme: `underscores`, `allow-utf-8`, `dots` or `values`.

        A family is left out if one of its names is in `taken`: names that the exposition has from elsewhere.
        """
        self._format = format_
        self._escaping = escaping
        self._taken = frozenset(taken)
        self._snapshot: Snapshot = ()
        self._samples: Sequence[Sequence[Samples]] = ()
        """The samples of each family that the text is laid out for."""
        self._texts: Sequence[_FamilyText] = ()
        self._chunks: Sequence[bytes] = ()

    def render(self, snapshot: Snapshot) -> Sequence[bytes]:
        """Return the text of a snapshot, in chunks, without the ending; the same object for the same snapshot."""
        if snapshot is not self._snapshot:
            samples = [values.samples for values in snapshot]
            if len(samples) != len(self._samples) or any(map(is_not, samples, self._samples)):
                self._lay_out(snapshot)
                self._samples = samples
            changed = [
                (text, values)
                for text, values in zip(self._texts, snapshot, strict=True)
                if values is not text.values
            ]
            _write(chain.from_iterable(text.take(values) for text, values in changed))
            for text, _ in changed:
                text.join()
            self._chunks = list(chain.from_iterable(text.chunks for text in self._texts))
            self._snapshot = snapshot
        return self._chunks

    def _lay_out(self, snapshot: Snapshot) -> None:
        """Prepare the text of each family; a family that was there before keeps its text.

        Different names may be the same when escaped. So a family is left out if a family before it has one of its
        names: a name used twice would make the scrape fail, or falsify it.
        """
        known = {id(text.family): text for text in self._texts}
        taken = set(self._taken)
        self._texts = []
        for values in snapshot:
            text = known.get(id(values.family)) or _FamilyText(values.family, self._format, self._escaping)
            text.lay_out(values.samples)
            text.is_shown = taken.isdisjoint(text.names)
            taken.update(text.names)
            self._texts.append(text)


class _FamilyText:
    """The text of one family."""

    def __init__(self, family: Family, format_: Format, escaping: str) -> None:
        name = family_name(family.name, family.type, format_)
        self.family = family
        self.values: FamilyValues | None = None
        """The values that were taken over last; None if the text must be joined again."""
        self.chunks: Sequence[bytes] = ()
        """The family's text."""
        self.is_shown = True
        """Whether the family is rendered: not if one of its names is taken."""
        self.names = {_escape_metric(taken, escaping) for taken in names(name, family.type, format_)}
        """The escaped names of the family and of all samples that it may have."""
        self._header = header(_escape_metric(name, escaping), family.type, family.help, format_)
        self._escaping = escaping
        self._samples: Sequence[Samples] = ()
        self._blocks: Sequence[_BlockText] = ()

    def lay_out(self, samples: Sequence[Samples]) -> None:
        """Prepare all text but the values; a block that was there before keeps its text."""
        self.values = None
        if samples is self._samples:
            return
        known = dict(zip(map(id, self._samples), self._blocks, strict=True))
        self._blocks = [known.get(id(block)) or _BlockText(block, self._escaping) for block in samples]
        if not all(block.is_plain for block in self._blocks):
            seen: set[str] = set()
            self._blocks = [_BlockText(block, self._escaping, seen) for block in samples]
        self._samples = samples

    def take(self, values: FamilyValues) -> Iterator["_Change"]:
        """Take over the family's values; yield the blocks whose values changed, which must be written again."""
        self.values = values
        for text, block in zip(self._blocks, values.values, strict=True):
            if block is not text.values:
                text.values = block
                yield text, block if text.has_line is None else list(compress(block, text.has_line))

    def join(self) -> None:
        """Renew `chunks`, once the changed blocks are written."""
        self.chunks = [self._header, *[block.text for block in self._blocks]] if self.is_shown else ()


class _BlockText:
    """The text of a block, and the template that it is made from."""

    def __init__(self, samples: Samples, escaping: str, seen: set[str] | None = None) -> None:
        """Prepare all text but the values.

        Different samples may be the same when escaped. So a sample that is in `seen` already gets no line: the same
        sample twice would make the scrape fail.
        """
        self.values: Sequence[float] | None = None
        self.text = b""
        self.is_plain = True
        """Whether no name had to be escaped, so that different samples have different lines."""
        starts = []
        for name, labels in samples:
            start, is_plain = _sample_start(name, labels, escaping)
            self.is_plain = self.is_plain and is_plain
            starts.append("" if seen is not None and start in seen else f"{start} ")
            if seen is not None:
                seen.add(start)
        self.has_line = None if all(starts) else list(map(bool, starts))
        lines = [f"{start.replace('%', '%%')}%b\n" for start in starts if start]
        self._template = "".join(lines).encode()

    def write(self, values: tuple[bytes, ...]) -> None:
        """Put these texts of the values into the template."""
        self.text = self._template % values


_Change: TypeAlias = tuple[_BlockText, Sequence[float]]
"""A block that must be written again, and the values of its lines."""


def _write(changes: Iterable[_Change]) -> None:
    """Write the text of each changed block, formatting all values together."""
    changes = list(changes)
    texts = tuple(_format(list(chain.from_iterable(values for _, values in changes))))
    end = 0
    for block, values in changes:
        start, end = end, end + len(values)
        block.write(texts[start:end])


def _format(values: Sequence[float]) -> list[bytes]:
    """Return the text of each value as Go writes it; where JSON agrees, its encoder is five times as fast as `repr`."""
    texts = to_json(values)[1:-1].split(b",") if values else []
    lowest, highest = _SAME_IN_JSON
    for at in [at for at, value in enumerate(values) if not (lowest <= value < highest) and value]:
        texts[at] = _format_odd(values[at])
    return texts


@lru_cache(maxsize=1024)
def _format_odd(value: float) -> bytes:
    text: str = floatToGoString(value)
    return text.encode()


def _sample_start(name: str, labels: Collection[tuple[str, str]], escaping: str) -> tuple[str, bool]:
    """Return a sample's line up to its value, and whether no name in it had to be escaped."""
    escaped = _escape_metric(name, escaping)
    pairs = [_escape_pair(label, value, escaping) for label, value in labels]
    is_plain = escaped == name and all(
        pair[0] == label for pair, (label, _) in zip(pairs, labels, strict=True)
    )
    if not is_plain and len(dict(pairs)) < len(pairs):
        pairs = _tell_apart(pairs)
    texts = [f'{label}="{value}"' for label, value in pairs]
    if escaping == ALLOWUTF8 and escaped.startswith('"'):
        return "{" + ",".join([escaped, *texts]) + "}", is_plain
    return f"{escaped}{{{','.join(texts)}}}" if texts else escaped, is_plain


def _tell_apart(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Append `_` to label names that escaping made equal: the same label twice would make the whole scrape fail."""
    values: dict[str, str] = {}
    for label, value in pairs:
        while label in values:
            label += "_"  # noqa: PLW2901 - it is the label's new name
        values[label] = value
    return list(values.items())


@lru_cache(maxsize=2048)
def _escape_metric(name: str, escaping: str) -> str:
    # Not left to prometheus_client, whose treatment of `:` under `underscores` is in dispute: client_python #1177.
    return name if _LEGACY_NAME.fullmatch(name) and escaping != DOTS else escape_metric_name(name, escaping)


@lru_cache(maxsize=2048)
def _escape_pair(label: str, value: str, escaping: str) -> tuple[str, str]:
    return escape_label_name(label, escaping), escape(value)
