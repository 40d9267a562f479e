"""Text expositions of several workers, read -> one. Its samples are joined from pieces that readings have."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from exporter.fleet.layout import BROKEN_FAMILY, DUPLICATE_SERIES, STRAY_LINE, Family
from exporter.fleet.reading import Reading

TYPE_CONFLICT = "type_conflict"
RESERVED_NAME = "reserved_name"
NAME_CLASH = "name_clash"
LEFT_OUT = (BROKEN_FAMILY, DUPLICATE_SERIES, STRAY_LINE, TYPE_CONFLICT, NAME_CLASH, RESERVED_NAME)
"""Every reason for which something is left out."""

_JOINED = 1024
"""Pieces of a chunk of an answer: some 60 kB. Chunks of one size find the place of the last answer's in memory."""

_SUFFIXES = {
    b"histogram": (b"", b"_bucket", b"_count", b"_sum"),
    b"summary": (b"", b"_count", b"_sum"),
}
"""What sample names end in, after that of the family, by type; that itself for others."""

_OPENMETRICS_SUFFIXES = {
    b"counter": (b"", b"_total", b"_created"),
    b"histogram": (b"", b"_bucket", b"_count", b"_sum", b"_created"),
    b"summary": (b"", b"_count", b"_sum", b"_created"),
}


@dataclass(slots=True)
class _Merged:
    """A family of several workers."""

    first: Family
    """Whose type and help text are that of all."""
    shares: list[tuple[int, slice]] = field(default_factory=list)
    """The readings that have samples of it, by number, and where these are among its pieces."""


def merge(
    readings: Sequence[Reading], own: Reading | None = None, *, openmetrics: bool
) -> tuple[list[bytes], Counter[str]]:
    """Return one exposition of all readings, in chunks, and what was left out: how often, by reason.

    Where workers give a family different types, the first one's counts. No worker adds to a family of `own`.
    """
    faults: Counter[str] = Counter()
    families = _gather(own, readings, faults)
    pieces = [reading.pieces(openmetrics=openmetrics) for reading in (*readings, *filter(None, [own]))]
    headers = _openmetrics_headers(families, faults) if openmetrics else _text_headers(families)
    chunks = []
    for name in sorted(headers):
        chunk = [headers[name]]
        for number, place in families[name].shares:
            chunk += pieces[number][place]
        # Not all at once: the join of so many pieces takes more memory than they do.
        chunks += [b"".join(chunk[start : start + _JOINED]) for start in range(0, len(chunk), _JOINED)]
    if openmetrics:
        chunks.append(b"# EOF\n")
    return chunks, faults


def _gather(own: Reading | None, readings: Sequence[Reading], faults: Counter[str]) -> dict[bytes, _Merged]:
    """Return the families of all readings by name: those that go together."""
    families: dict[bytes, _Merged] = {}
    names: set[bytes] = set()
    # Its number is that after the others'.
    for number, reading in [*([(len(readings), own)] if own else []), *enumerate(readings)]:
        for family, place in reading.layout.shares:
            merged = families.get(family.name)
            if merged is None:
                sample_names = {family.name + suffix for suffix in _SUFFIXES.get(family.type, (b"",))}
                if sample_names & names:
                    faults[NAME_CLASH] += 1
                    continue
                names |= sample_names
                merged = families[family.name] = _Merged(family)
            elif merged.shares[0][0] == len(readings):
                faults[RESERVED_NAME] += 1
                continue
            elif merged.first.type != family.type:
                faults[TYPE_CONFLICT] += 1
                continue
            merged.shares.append((number, place))
    return families


def _text_headers(families: Mapping[bytes, _Merged]) -> dict[bytes, bytes]:
    """Return HELP and TYPE of each family, by its name."""
    return {
        name: _header(name, family.first.type, family.first.help, openmetrics=False)
        for name, family in families.items()
    }


def _openmetrics_headers(families: Mapping[bytes, _Merged], faults: Counter[str]) -> dict[bytes, bytes]:
    """Return HELP and TYPE of each family that OpenMetrics can have, by its name in the text format.

    Sample names stay as they are. So a counter is one only if it ends in `_total`, and if no other family has a use
    for its name without that; else its type is unknown. Creation times, families of their own in the text format, are a
    part of others here, and go.
    """
    headers: dict[bytes, bytes] = {}
    names: set[bytes] = set()

    def add(family: Family, name: bytes, type_: bytes) -> bool:
        sample_names = {name + suffix for suffix in _OPENMETRICS_SUFFIXES.get(type_, (b"",))}
        if sample_names & names:
            return False
        names.update(sample_names)
        headers[family.name] = _header(name, type_, family.help, openmetrics=True)
        return True

    counters = []
    for merged in families.values():
        family = merged.first
        if family.type == b"counter":
            counters.append(family)
        elif not _is_creation_time(family.name, families):
            add(family, family.name, b"unknown" if family.type == b"untyped" else family.type)
    for family in counters:
        short = family.name.removesuffix(b"_total")
        is_counter = short != family.name and add(family, short, b"counter")
        if not is_counter and not add(family, family.name, b"unknown"):
            faults[NAME_CLASH] += 1
    return headers


def _is_creation_time(name: bytes, families: Mapping[bytes, _Merged]) -> bool:
    if not name.endswith(b"_created"):
        return False
    base = name.removesuffix(b"_created")
    return base + b"_total" in families or (base in families and families[base].first.type in _SUFFIXES)


def _header(name: bytes, type_: bytes, help_text: str, *, openmetrics: bool) -> bytes:
    text = help_text.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        text = text.replace('"', r"\"")
    return b"# HELP %b %b\n# TYPE %b %b\n" % (name, text.encode(), name, type_)
