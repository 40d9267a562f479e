"""Merges the readings of several workers into one exposition, by joining the pieces of their samples."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.exposition.text import Renderer, ending, header
from exporter.model import Format, Snapshot, names
from exporter.scraping.admission import NAME_CLASH, RESERVED_NAME, TYPE_CONFLICT
from exporter.scraping.layout import FamilyLines
from exporter.scraping.reading import Reading

_CHUNK = 1024
"""Pieces in a chunk of an answer, some 60 kB: chunks of one size reuse the memory of the last answer's chunks."""


@dataclass(slots=True)
class _Merged:
    """A family with the samples of several workers."""

    first: FamilyLines
    """The family of the first worker, whose type and help text count for all."""
    shares: list[tuple[int, slice]] = field(default_factory=list)
    """For each reading with this family: the reading's number, and where the family is among the reading's pieces."""


def merge(
    readings: Sequence[Reading], format_: Format, own: Snapshot = ()
) -> tuple[list[bytes], Counter[str]]:
    """Return one exposition of all readings, in chunks, and how often something was left out, by reason.

    If workers give a family different types, the first worker's counts, and the family is left out of workers with
    another. The `own` families are added; a worker's family that needs one of their names is left out.
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
        # In chunks: one join of that many pieces would take more memory than the pieces do.
        chunks += [b"".join(chunk[start : start + _CHUNK]) for start in range(0, len(chunk), _CHUNK)]
    return [*chunks, ending(format_)], faults


def _gather(
    readings: Sequence[Reading], reserved: Collection[str], faults: Counter[str]
) -> dict[str, _Merged]:
    """Return the families of all readings, by name; leave out families whose type or names conflict."""
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
    """Return HELP and TYPE of each family that can be written in OpenMetrics, by its name in the text format.

    Sample names are not changed, and OpenMetrics 1.0 demands that a counter's end in `_total`. So a counter whose name
    does not, or whose name without `_total` is another family's, gets the type unknown. `_created` gauges, as clients
    write them in the text format, are left out: in OpenMetrics such samples belong to the family that was created.
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
