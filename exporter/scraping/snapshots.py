"""A target's readings -> snapshots like those of our own merge, for all that takes snapshots."""

from collections.abc import Callable, Collection, Iterator, Sequence
from operator import is_not

from exporter.model import Family, FamilyValues, Labels, Snapshot, names
from exporter.scraping.layout import BodyLayout, FamilyLines
from exporter.scraping.line import split_head
from exporter.scraping.reading import Reading


class Snapshots:
    """Makes the snapshots of one target's successive readings; what is as before is the same object.

    Names and types are as in OpenMetrics: a counter whose name does not end in `_total`, or is another family's without
    that, gets the type unknown. Families without samples are left out, and so are timestamps.
    """

    def __init__(self, wanted: Callable[[str, str], bool] = lambda _name, _type: True) -> None:
        """Take only families that are `wanted`, by name and type."""
        self._wanted = wanted
        self._layout: BodyLayout | None = None
        self._shares: Sequence[_Share] = ()
        self._snapshot: Snapshot = ()

    def take(self, reading: Reading) -> Snapshot:
        """Return the snapshot of a reading."""
        layout = reading.layout
        if layout is not self._layout:
            self._shares = sorted(self._lay_out(layout), key=lambda share: share.values.family.name)
            self._layout = layout
        texts = layout.pick(reading.values)
        if reading.timestamps:
            texts = [text.split()[0] for text in texts]
        values = [share.take(texts) for share in self._shares]
        if len(values) != len(self._snapshot) or any(map(is_not, values, self._snapshot)):
            self._snapshot = values
        return self._snapshot

    def _lay_out(self, layout: BodyLayout) -> Iterator["_Share"]:
        """Yield the share of each family; a family with the same lines as before keeps its share."""
        known = {share.lines: share for share in self._shares}
        taken: set[str] = set().union(
            *(names(lines.name, lines.type) for lines, _ in layout.shares if lines.type != "counter")
        )
        end = 0
        for lines, _ in layout.shares:
            begin, end = end, end + len(lines.heads)
            if not lines.heads:
                continue
            family = _family(lines, taken)
            if not self._wanted(family.name, family.type):
                continue
            share = known.get(lines)
            if share is None or share.values.family.type != family.type:
                share = _Share(lines, family)
            share.place = slice(begin, end)
            yield share


class _Samples:
    """Name and labels of each sample of a family; made on demand, since they are seldom needed."""

    def __init__(self, heads: Sequence[bytes]) -> None:
        self._heads = heads

    def __iter__(self) -> Iterator[tuple[str, Labels]]:
        return map(split_head, self._heads)


class _Share:
    """A family, and where its values are among those of a reading."""

    def __init__(self, lines: FamilyLines, family: Family) -> None:
        self.lines = lines
        self.place = slice(0)
        self.values = FamilyValues(family, [_Samples(lines.openmetrics_heads)], [[]])
        self._texts: Sequence[bytes] = ()

    def take(self, texts: Sequence[bytes]) -> FamilyValues:
        """Return the family with its values among `texts`; the same object if no value changed."""
        texts = texts[self.place]
        if texts != self._texts:
            self._texts = texts
            self.values = self.values._replace(values=[list(map(float, texts))])
        return self.values


def _family(lines: FamilyLines, taken: Collection[str]) -> Family:
    """Return the family, named as in OpenMetrics; `taken` are the names of all families but counters."""
    if lines.type != "counter":
        return Family(lines.name, lines.type, lines.help)
    short = lines.name.removesuffix("_total")
    if short == lines.name or short in taken:
        return Family(lines.name, "unknown", lines.help)
    return Family(short, "counter", lines.help)
