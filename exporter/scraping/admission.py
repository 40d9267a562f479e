"""Which part of a snapshot can be served beside another snapshot: no series twice, and no name in two families."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress
from operator import is_

from exporter.model import Family, FamilyValues, Labels, Samples, Snapshot, names
from exporter.scraping.layout import BROKEN_FAMILY, DUPLICATE_SERIES, STRAY_LINE

TYPE_CONFLICT = "type_conflict"
RESERVED_NAME = "reserved_name"
NAME_CLASH = "name_clash"
LEFT_OUT = (BROKEN_FAMILY, DUPLICATE_SERIES, STRAY_LINE, TYPE_CONFLICT, NAME_CLASH, RESERVED_NAME)
"""Every reason for which a line, a series or a family of a target is left out of an answer."""

_BOUNDS = {"histogram": "le", "summary": "quantile"}
"""The label that tells the samples of one series apart, by metric type."""


class Admission:
    """Admits of successive snapshots what is not there already."""

    def __init__(self, reserved: Collection[str] = ()) -> None:
        """Admit no family that needs one of the `reserved` names."""
        self.left_out: Counter[str] = Counter()
        """How many families and series of the last snapshot were left out, by reason."""
        self._reserved = frozenset(reserved)
        self._families: tuple[Sequence[Family], Sequence[Family]] = ((), ())
        """The families of both snapshots of the last call, from which the next two attributes were made."""
        self._refused: Mapping[Family, str] = {}
        self._shared: Mapping[str, _Shared] = {}
        """Families that both snapshots have, by name."""

    def admit(self, snapshot: Snapshot, others: Snapshot) -> Snapshot:
        """Return the part of `snapshot` that can be added to `others`: whole families, and whole series."""
        families = [one.family for one in others], [one.family for one in snapshot]
        if families != self._families:
            self._judge(*families)
            self._families = families
        self.left_out = Counter(self._refused.values())
        there = {one.family.name: one for one in others if one.family.name in self._shared}
        admitted = []
        for one in snapshot:
            if one.family in self._refused:
                continue
            if shared := self._shared.get(one.family.name):
                admitted.append(shared.take(one, there[one.family.name]))
                self.left_out[DUPLICATE_SERIES] += shared.duplicates
            else:
                admitted.append(one)
        return [one for one in admitted if any(one.samples)]

    def _judge(self, others: Iterable[Family], families: Iterable[Family]) -> None:
        """Find out which families are refused, and which both sides have."""
        types = {family.name: family.type for family in others}
        taken: set[str] = set().union(*(names(name, type_) for name, type_ in types.items()))
        refused: dict[Family, str] = {}
        shared = {}
        for family in families:
            wanted = names(family.name, family.type)
            if not wanted.isdisjoint(self._reserved):
                refused[family] = RESERVED_NAME
            elif family.name in types:
                if types[family.name] == family.type:
                    shared[family.name] = self._shared.get(family.name) or _Shared(family.type)
                else:
                    refused[family] = TYPE_CONFLICT
            elif not wanted.isdisjoint(taken):
                refused[family] = NAME_CLASH
        self._refused, self._shared = refused, shared


class _Shared:
    """A family that both sides have: which of its samples are of series that the others lack."""

    def __init__(self, metric_type: str) -> None:
        self.duplicates = 0
        """Number of series that both have."""
        self._bound = _BOUNDS.get(metric_type, "")
        self._compared: tuple[Sequence[Samples], Sequence[Samples]] = ((), ())
        """The samples of both sides, from which the rest was made."""
        self._masks: Sequence[Sequence[bool]] = ()
        """For each block, which of its samples are admitted."""
        self._admitted: Sequence[Samples] = ()

    def take(self, family: FamilyValues, other: FamilyValues) -> FamilyValues:
        """Return the family without the series that `other` has."""
        if not all(map(is_, (family.samples, other.samples), self._compared)):
            self._compare(family.samples, other.samples)
        blocks = zip(family.values, self._masks, strict=True)
        return family._replace(
            samples=self._admitted, values=[list(compress(values, mask)) for values, mask in blocks]
        )

    def _compare(self, samples: Sequence[Samples], others: Sequence[Samples]) -> None:
        taken = set(self._series(others))
        self.duplicates = len(taken.intersection(self._series(samples)))
        self._masks = [[series not in taken for series in self._series([block])] for block in samples]
        self._admitted = [
            list(compress(block, mask)) for block, mask in zip(samples, self._masks, strict=True)
        ]
        self._compared = samples, others

    def _series(self, blocks: Iterable[Samples]) -> Iterator[Labels]:
        """Yield what identifies the series of each sample within the family: its labels without the bound."""
        for _, labels in chain.from_iterable(blocks):
            yield tuple(label for label in labels if label[0] != self._bound)
