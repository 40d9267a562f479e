"""Text expositions of several workers, read -> one. Its samples are joined from pieces that readings have."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.exposition.text import Renderer, ending, header
from exporter.fleet.layout import BROKEN_FAMILY, DUPLICATE_SERIES, STRAY_LINE, FamilyLines
from exporter.fleet.reading import Reading
from exporter.model import Format, Snapshot, names

TYPE_CONFLICT = "type_conflict"
RESERVED_NAME = "reserved_name"
NAME_CLASH = "name_clash"
LEFT_OUT = (BROKEN_FAMILY, DUPLICATE_SERIES, STRAY_LINE, TYPE_CONFLICT, NAME_CLASH, RESERVED_NAME)
"""Every reason for which something is left out."""

_JOINED = 1024
"""Pieces of a chunk of an answer: some 60 kB. Chunks of one size find the place of the last answer's in memory."""


@dataclass(slots=True)
class _Merged:
    """A family of several workers."""

    first: FamilyLines
    """Whose type and help text are that of all."""
    shares: list[tuple[int, slice]] = field(default_factory=list)
    """The readings that have samples of it, by number, and where these are among its pieces."""


def merge(
    readings: Sequence[Reading], format_: Format, own: Snapshot = ()
) -> tuple[list[bytes], Counter[str]]:
    """Return one exposition of all readings, in chunks, and what was left out: how often, by reason.

    Where workers give a family different types, the first one's counts. The `own` families stand among the workers';
    no worker has a family that needs a name of theirs.
    """
    faults: Counter[str] = Counter()
    reserved = set().union(*(names(one.family.name, one.family.type) for one in own))
    families = _gather(readings, reserved, faults)
    if format_.is_openmetrics:
        headers = _openmetrics_headers(families, reserved, faults)
    else:
        headers = {
            name: header(name, merged.first.type, merged.first.help, format_)
            for name, merged in families.items()
        }
    ours = {one.family.name: Renderer(format_).render([one]) for one in own}
    pieces = [reading.pieces(format_) for reading in readings]
    chunks: list[bytes] = []
    for name in sorted({*headers, *ours}):
        chunk = [*ours[name]] if name in ours else [headers[name]]
        for number, place in families[name].shares if name in families else ():
            chunk += pieces[number][place]
        # Not all at once: the join of so many pieces takes more memory than they do.
        chunks += [b"".join(chunk[start : start + _JOINED]) for start in range(0, len(chunk), _JOINED)]
    return [*chunks, ending(format_)], faults


def _gather(
    readings: Sequence[Reading], reserved: Collection[str], faults: Counter[str]
) -> dict[str, _Merged]:
    """Return the families of all readings by name: those that go together."""
    families: dict[str, _Merged] = {}
    taken: set[str] = set()
    for number, reading in enumerate(readings):
        for family, place in reading.layout.shares:
            merged = families.get(family.name)
            if merged is None:
                wanted = names(family.name, family.type, Format.TEXT_0_0_4)
                if not wanted.isdisjoint(reserved):
                    faults[RESERVED_NAME] += 1
                    continue
                if not wanted.isdisjoint(taken):
                    faults[NAME_CLASH] += 1
                    continue
                taken |= wanted
                merged = families[family.name] = _Merged(family)
            elif merged.first.type != family.type:
                faults[TYPE_CONFLICT] += 1
                continue
            merged.shares.append((number, place))
    return families


def _openmetrics_headers(
    families: Mapping[str, _Merged], reserved: Iterable[str], faults: Counter[str]
) -> dict[str, bytes]:
    """Return HELP and TYPE of each family that OpenMetrics can have, by its name in the text format.

    Sample names stay as they are. So a counter is one only if it ends in `_total`, and if no other family has a use
    for its name without that; else its type is unknown. Creation times, families of their own in the text format, are a
    part of others here, and go.
    """
    headers: dict[str, bytes] = {}
    taken = set(reserved)

    def add(family: FamilyLines, name: str, type_: str) -> bool:
        wanted = names(name, type_)
        if not wanted.isdisjoint(taken):
            return False
        taken.update(wanted)
        headers[family.name] = header(name, type_, family.help, Format.OPENMETRICS_1_0_0)
        return True

    counters = []
    for merged in families.values():
        family = merged.first
        if family.type == "counter":
            counters.append(family)
        elif not _is_creation_time(family.name, families):
            add(family, family.name, family.type)
    for family in counters:
        short = family.name.removesuffix("_total")
        is_counter = short != family.name and add(family, short, "counter")
        if not is_counter and not add(family, family.name, "unknown"):
            faults[NAME_CLASH] += 1
    return headers


def _is_creation_time(name: str, families: Mapping[str, _Merged]) -> bool:
    if not name.endswith("_created"):
        return False
    base = name.removesuffix("_created")
    return f"{base}_total" in families or (
        base in families and families[base].first.type in {"histogram", "summary"}
    )
