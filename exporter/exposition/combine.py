"""Combines the families of several sources into one snapshot: each family once, with the blocks of all sources.

Sources are workers, or anything else that gives a `Snapshot`. They must not have a series in common: every one adds the
same label names, with values of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import is_
from typing import TypeAlias

from exporter.model import Family, FamilyValues, Samples, Snapshot, names

_Key: TypeAlias = tuple[str, str]
"""A family's name and type."""


class Combiner:
    """Combines successive snapshots. What did not change is the same object as in the last call, for renderers.

    Only what the last call used is kept.
    """

    def __init__(self) -> None:
        self.left_out = 0
        """Number of the sources' families that the last call left out, as an earlier source has one of their names."""
        self._snapshots: Sequence[Snapshot] = ()
        self._result: Snapshot = ()
        self._claims = _Claims()
        self._families: Mapping[_Key, _Combined] = {}

    def combine(self, snapshots: Sequence[Snapshot]) -> Snapshot:
        """Return all families, sorted by name; in each, the sources' blocks in the order of the sources.

        Where sources give a family different types, or different families the same name, the first source's is taken.
        """
        if not _are_same(snapshots, self._snapshots):
            self._snapshots = snapshots
            self._result = snapshots[0] if len(snapshots) == 1 else self._combine(snapshots)
        return self._result

    def _combine(self, snapshots: Sequence[Snapshot]) -> Snapshot:
        parts: dict[_Key, list[FamilyValues]] = {}
        for values in chain.from_iterable(snapshots):
            parts.setdefault((values.family.name, values.family.type), []).append(values)
        if parts.keys() != self._claims.wanted:
            self._claims = _Claims(parts)
        self.left_out = sum(len(parts[key]) for key in self._claims.refused)
        known = self._families
        self._families = {
            key: known.get(key) or _Combined(parts[key][0].family) for key in self._claims.accepted
        }
        return [family.take(parts[key]) for key, family in self._families.items()]


class _Claims:
    """Which families may be exported, so that no name is used twice: the first that claims a name has it."""

    def __init__(self, wanted: Iterable[_Key] = ()) -> None:
        self.wanted = set(wanted)
        self.refused: list[_Key] = []
        accepted = []
        taken: set[str] = set()
        for key in wanted:
            if taken.isdisjoint(claimed := names(*key)):
                taken |= claimed
                accepted.append(key)
            else:
                self.refused.append(key)
        self.accepted = sorted(accepted)


class _Combined:
    """A family of several sources."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._parts: Sequence[FamilyValues] = ()
        self._samples: Sequence[Samples] = ()
        self._values = FamilyValues(family, (), ())

    def take(self, parts: Sequence[FamilyValues]) -> FamilyValues:
        """Return the family with the samples and values of all `parts`; the same object if no part changed."""
        if not _are_same(parts, self._parts):
            samples = [part.samples for part in parts]
            if not _are_same(samples, [part.samples for part in self._parts]):
                self._samples = list(chain.from_iterable(samples))
            self._values = FamilyValues(
                self._family, self._samples, [block for part in parts for block in part.values]
            )
            self._parts = parts
        return self._values


def _are_same(some: Sequence[object], others: Sequence[object]) -> bool:
    """Whether two sequences hold the same objects."""
    return len(some) == len(others) and all(map(is_, some, others))
