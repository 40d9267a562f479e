"""The layout of a body: which families its lines make up, and where the samples of each family are.

A family with a malformed line is left out as a whole; a malformed line of no family is left out alone.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from exporter.model import SUFFIXES, Format
from exporter.scraping.line import Broken, Header, Line, Sample

PIECES = 3
"""Pieces that a sample is written from: its head, the worker's address, its value."""

BROKEN_FAMILY = "broken_family"
DUPLICATE_SERIES = "duplicate_series"
STRAY_LINE = "stray_line"

_SUFFIXES = SUFFIXES[Format.TEXT_0_0_4]


@dataclass(frozen=True, slots=True, eq=False)
class FamilyLines:
    """One family of a body, read from its lines."""

    name: str
    type: str
    help: str
    lines: tuple[Line, ...]
    order: tuple[int, ...]
    """The numbers of the lines that are samples, in the order of our answer."""
    heads: tuple[bytes, ...]
    """The head of each sample, in the same order."""
    openmetrics_heads: tuple[bytes, ...]
    """The heads for an answer in OpenMetrics."""
    duplicates: int
    is_broken: bool


@dataclass(frozen=True, slots=True, eq=False)
class BodyLayout:
    """All of a body but its values."""

    lines: tuple[Line, ...]
    starts: list[bytes]
    """The start of each line."""
    families: dict[str, FamilyLines]
    """All families, broken ones included, by name."""
    begins: dict[str, int]
    """The number of each family's first line."""
    shares: list[tuple[FamilyLines, slice]]
    """Each family that is not broken, and the slice of its samples' pieces; `heads` are sorted family by family."""
    pick: Callable[[Sequence[bytes]], Sequence[bytes]]
    """Given the values of all lines, returns the values of the samples, in the order of `heads`."""
    heads: list[bytes]
    openmetrics_heads: list[bytes]
    faults: Mapping[str, int]
    """How often something was left out, by reason."""

    @property
    def samples(self) -> int:
        """Number of samples, without those left out."""
        return len(self.heads)


def make_layout(lines: tuple[Line, ...], like: BodyLayout | None = None) -> BodyLayout:
    """Return the layout of a body; families with the same lines in `like`, or all of `like`, are used again."""
    if like and lines == like.lines:
        return like
    known = like.families if like else {}
    places, stray = _by_family(lines)
    faults = Counter({STRAY_LINE: sum(isinstance(lines[place], Broken) for place in stray)})
    families = {}
    shares = []
    order: list[int] = []
    heads: list[bytes] = []
    openmetrics_heads: list[bytes] = []
    for name, family_places in places.items():
        family_lines = tuple([lines[place] for place in family_places])
        family = known.get(name)
        if family is None or family.lines != family_lines:
            family = _read_family(name, family_lines)
        families[name] = family
        faults[DUPLICATE_SERIES] += family.duplicates
        faults[BROKEN_FAMILY] += family.is_broken
        if not family.is_broken:
            begin = len(order)
            order += [family_places[index] for index in family.order]
            heads += family.heads
            openmetrics_heads += family.openmetrics_heads
            shares.append((family, slice(PIECES * begin, PIECES * len(order))))
    return BodyLayout(
        lines,
        [line.start for line in lines],
        families,
        {name: family_places[0] for name, family_places in places.items() if family_places},
        shares,
        _picker(order),
        heads,
        heads if openmetrics_heads == heads else openmetrics_heads,
        +faults,
    )


def _picker(order: Sequence[int]) -> Callable[[Sequence[bytes]], Sequence[bytes]]:
    """Return a function that gives the items at these places, in this order."""
    # itemgetter is faster, but returns no sequence for one place, and takes no fewer.
    return itemgetter(*order) if len(order) > 1 else lambda values: [values[place] for place in order]


def _by_family(lines: Iterable[Line]) -> tuple[dict[str, list[int]], list[int]]:
    """Return the line numbers of each family, by its name, and the numbers of the lines before the first family.

    A line that names no family belongs to the family of the line before it.
    """
    headers = [line for line in lines if isinstance(line, Header)]
    types = dict.fromkeys([header.family for header in headers], "")
    types |= {header.family: header.type for header in headers if header.type is not None}
    places: dict[str, list[int]] = {name: [] for name in types}
    by_sample_name: dict[bytes, list[int]] = {}
    stray: list[int] = []
    current = stray
    for place, line in enumerate(lines):
        if line.name in by_sample_name:
            current = by_sample_name[line.name]
        elif line.name:
            current = by_sample_name[line.name] = places.setdefault(_owner(line.name.decode(), types), [])
        elif isinstance(line, Header):
            current = places[line.family]
        current.append(place)
    return places, stray


def _owner(name: str, types: Mapping[str, str]) -> str:
    """Return the name of the family to which samples of that name belong."""
    if types.get(name, "histogram") == "histogram":  # no family, or one without samples of its own name
        for suffix in _SUFFIXES["histogram"]:
            base = name.removesuffix(suffix)
            if base != name and suffix in _SUFFIXES.get(types.get(base, ""), ()):
                return base
    return name


def _read_family(name: str, lines: tuple[Line, ...]) -> FamilyLines:
    type_, help_text, is_broken = _read_headers(lines)
    own_name = name.encode()
    bounded = {"histogram": own_name + b"_bucket", "summary": own_name}.get(type_)
    groups: dict[bytes, int] = {}
    series = set()
    samples: list[tuple[int, float, int, bytes, bytes]] = []
    duplicates = 0
    for index, line in enumerate(lines):
        if not isinstance(line, Sample):
            is_broken |= isinstance(line, Broken)
            continue
        bound = math.inf
        openmetrics_head = line.head
        if line.name == bounded:
            bound = line.le if type_ == "histogram" else line.quantile
            openmetrics_head = line.openmetrics_head
        elif bounded and line.name == own_name:  # a histogram has no sample of its own name
            bound = math.nan
        if math.isnan(bound):
            is_broken = True
        elif line.series in series:
            duplicates += 1
        else:
            series.add(line.series)
            group = groups.setdefault(line.group, len(groups)) if bounded else 0
            samples.append((group, bound, index, line.head, openmetrics_head))
    samples.sort()  # each histogram or summary together, with ascending bounds; else in the order of the lines
    order, heads, openmetrics_heads = (tuple(map(itemgetter(item), samples)) for item in (2, 3, 4))
    return FamilyLines(
        name, type_ or "unknown", help_text, lines, order, heads, openmetrics_heads, duplicates, is_broken
    )


def _read_headers(lines: Iterable[Line]) -> tuple[str, str, bool]:
    """Return a family's type and help text, empty if there is none, and whether a type is unknown or contradicted."""
    headers = [line for line in lines if isinstance(line, Header)]
    types = [header.type for header in headers if header.type is not None]
    helps = [header.help for header in headers if header.type is None]
    return types[-1] if types else "", helps[0] if helps else "", "" in types or len(set(types)) > 1
