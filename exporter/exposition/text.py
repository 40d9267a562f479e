"""Families -> the text format and OpenMetrics; what did not change is not rendered again.

Both formats share the lines of the samples, and differ in headers and ending. Names are escaped as the escaping scheme
says; `:` is a legal character of a metric name, and stays under every scheme.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import TypeAlias

from prometheus_client.openmetrics.exposition import ALLOWUTF8, DOTS, escape_label_name, escape_metric_name
from prometheus_client.utils import floatToGoString
from pydantic_core import to_json

from exporter.model import Family, FamilyValues, Format, Samples, Snapshot, family_name, names

_PLAIN = 1e-4, 1e6
"""From the one up to the other, JSON's text of a number is Go's; so it is for 0."""

_LEGACY_NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")


def header(name: str, metric_type: str, help_text: str, format_: Format) -> bytes:
    """Return the HELP and TYPE lines of a family that the format calls `name`."""
    help_text = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if format_.is_openmetrics:
        help_text = help_text.replace('"', r"\"")
    elif metric_type == "unknown":
        metric_type = "untyped"
    return f"# HELP {name} {help_text}\n# TYPE {name} {metric_type}\n".encode()


def ending(format_: Format) -> bytes:
    """Return what an exposition ends in."""
    return b"# EOF\n" if format_.is_openmetrics else b""


def escape(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class Renderer:
    """Renders the same families again and again, in one format and under one escaping scheme.

    The text is kept block by block, and so are its pieces: what stands before the first value, that value, what stands
    between it and the second, and so on. Only blocks with other samples, or other values, are written.
    """

    def __init__(self, format_: Format, escaping: str = "underscores", taken: Iterable[str] = ()) -> None:
        """Escape names by that scheme: `underscores`, `allow-utf-8`, `dots` or `values`. `taken` are others' names."""
        self._format = format_
        self._escaping = escaping
        self._taken = frozenset(taken)
        self._snapshot: Snapshot = ()
        self._texts: Sequence[_FamilyText] = ()
        self._chunks: Sequence[bytes] = ()

    def render(self, snapshot: Snapshot) -> Sequence[bytes]:
        """Return a snapshot's text, in parts, without its ending; the same object for the same snapshot."""
        if snapshot is not self._snapshot:
            samples = [values.samples for values in snapshot]
            if len(samples) != len(self._texts) or not all(map(_FamilyText.has, self._texts, samples)):
                self._lay_out(snapshot)
            _write(chain.from_iterable(map(_FamilyText.take, self._texts, snapshot)))
            self._chunks = [chunk for text in self._texts for chunk in text.chunks()]
            self._snapshot = snapshot
        return self._chunks

    def _lay_out(self, snapshot: Snapshot) -> None:
        """Prepare the texts of families; those of families that were there already stay.

        Names that differ may be one when escaped: a family whose names are others' already is left out. It would fail,
        or falsify, the scrape.
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
        self.is_shown = True
        """Whether it has a text at all."""
        self.names = {_escape_metric(taken, escaping) for taken in names(name, family.type, format_)}
        """Every name that it takes up, as it is written."""
        self._header = header(_escape_metric(name, escaping), family.type, family.help, format_)
        self._escaping = escaping
        self._samples: Sequence[Samples] = ()
        self._blocks: Sequence[_BlockText] = ()

    def has(self, samples: Sequence[Samples]) -> bool:
        """Whether it is laid out for these."""
        return samples is self._samples

    def lay_out(self, samples: Sequence[Samples]) -> None:
        """Prepare all but the values. The texts of blocks that were there already stay."""
        if samples is self._samples:
            return
        known = dict(zip(map(id, self._samples), self._blocks, strict=True))
        self._blocks = [known.get(id(block)) or _BlockText(block, self._escaping) for block in samples]
        if not all(block.is_plain for block in self._blocks):
            seen: set[str] = set()
            self._blocks = [_BlockText(block, self._escaping, seen) for block in samples]
        self._samples = samples

    def take(self, values: FamilyValues) -> Iterator["_Change"]:
        """Take the family's values; yield the blocks that are to be written."""
        if not self.is_shown:
            return
        for text, block in zip(self._blocks, values.values, strict=True):
            if block is not text.values:
                text.values = block
                yield text, block if text.has_line is None else list(compress(block, text.has_line))

    def chunks(self) -> Iterable[bytes]:
        """Return the text."""
        return [self._header, *[block.text for block in self._blocks]] if self.is_shown else ()


class _BlockText:
    """The text of a block, and its pieces."""

    def __init__(self, samples: Samples, escaping: str, seen: set[str] | None = None) -> None:
        """Prepare all but the values.

        Samples that differ may be alike when escaped: one that was `seen` has no line. It would fail the scrape.
        """
        self.values: Sequence[float] | None = None
        self.text = b""
        self.is_plain = True
        """Whether no name had to be escaped, so that samples that differ have lines that differ."""
        starts = []
        for name, labels in samples:
            start, is_plain = _sample_start(name, labels, escaping)
            self.is_plain = self.is_plain and is_plain
            starts.append("" if seen is not None and start in seen else f"{start} ")
            if seen is not None:
                seen.add(start)
        self.has_line = None if all(starts) else list(map(bool, starts))
        self._pieces = [piece for start in starts if start for piece in (b"\n" + start.encode(), b"")]
        if self._pieces:
            self._pieces[0] = self._pieces[0][1:]
            self._pieces.append(b"\n")

    def write(self, values: Sequence[bytes]) -> None:
        """Put texts of values between the pieces."""
        pieces = self._pieces.copy()
        pieces[1::2] = values
        self.text = b"".join(pieces)


_Change: TypeAlias = tuple[_BlockText, Sequence[float]]
"""A block to be written, and the values of its lines."""


def _write(changes: Iterable[_Change]) -> None:
    """Write blocks anew."""
    changes = list(changes)
    texts = _format([value for _, values in changes for value in values])
    end = 0
    for block, values in changes:
        start, end = end, end + len(values)
        block.write(texts[start:end])


def _format(values: Sequence[float]) -> list[bytes]:
    """Return each value's text, as Go writes it: with the digits of Python's repr, at a fifth of its price."""
    texts = to_json(values)[1:-1].split(b",") if values else []
    lowest, highest = _PLAIN
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
    return escape_label_name(label, escaping), escape(value)
