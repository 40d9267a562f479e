"""All families of one kind of file, and the series and column of each entry."""

import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Mapping
from itertools import chain
from math import inf
from typing import TypeAlias
from weakref import WeakValueDictionary

from exporter.model import Labels, add_labels
from exporter.multiproc.budget import TOO_MANY, Budget
from exporter.multiproc.dbformat import Shape
from exporter.multiproc.faults import BadKeyError, Fault
from exporter.multiproc.keys import SUM, read_key
from exporter.multiproc.merge import RULES
from exporter.multiproc.metric_names import MetricNames
from exporter.multiproc.placement import Placement
from exporter.multiproc.series import Family, Series

_Slot: TypeAlias = tuple[Family, Series, float]
"""The family, series and column of an entry."""

_MOST_SLOTS = 8192
"""Most slots that are remembered, for other files with the same entries."""


class Families:
    """The families of one kind."""

    def __init__(
        self,
        kind: str,
        names: MetricNames,
        errors: Counter[str],
        *,
        labels: Collection[tuple[str, str]],
        per_process: bool,
        budget: Budget | None = None,
    ) -> None:
        """Add `labels` to every series, and a `pid` label if `per_process`; count entries left out in `errors`.

        `budget` limits how many series there are.
        """
        self.dirty: set[Series] = set()
        """Series that must be laid out again: they came, went, or are in other files than before."""
        self._kind = kind
        self._rule = RULES[kind]
        self._names = names
        self._errors = errors
        self._budget = budget or Budget(sys.maxsize)
        self._labels = labels
        self._tells_processes_apart = per_process or self._rule.per_process
        self._families: dict[str, Family] = {}
        self._placements: WeakValueDictionary[Shape, Placement] = WeakValueDictionary()
        """The placement of each shape; not used if series get a `pid` label."""
        self._slots: dict[bytes, _Slot | Fault] = {}
        """The slot of each key, or the fault of a bad key; not used if series get a `pid` label."""

    def __contains__(self, family: Family) -> bool:
        """Whether this very family, not one of the same name, is still here."""
        return self._families.get(family.name) is family

    def placement_of(self, shape: Shape, keys: Iterable[bytes], pid: str) -> Placement:
        """Return the placement of a file with this shape and these keys that the process `pid` wrote."""
        placement = None if self._tells_processes_apart else self._placements.get(shape)
        if placement is None or not placement.is_used:
            placement = Placement()
            self.extend(placement, keys, pid)
            if not self._tells_processes_apart:
                self._placements[shape] = placement
        else:
            self._errors.update(fault.reason for fault in self.faults(placement))
        return placement

    def extend(self, placement: Placement, keys: Iterable[bytes], pid: str) -> None:
        """Place entries with these keys, after the entries that the placement has already."""
        held = set(placement.series)
        columns: defaultdict[Series, set[float]] = defaultdict(set)
        known_faults = Counter(fault.reason for fault in self.faults(placement))
        room = self._budget.left
        for key in keys:
            slot = self._slot(key, pid)
            if isinstance(slot, Fault):
                placement.leave_out(slot)
                continue
            family, series, column = slot
            if column not in series.columns and column not in columns.get(series, ()):
                if room <= 0:
                    placement.leave_out(TOO_MANY)
                    self._forget_unused(key, family, series, columns)
                    continue
                room -= 1
            if series not in held:
                held.add(series)
                series.holders += 1
            columns[series].add(column)
            placement.add(family, series, column)
            self.dirty.add(series)
        for series, some in columns.items():
            # A histogram caught half-written gets its sum and +Inf bucket: an exposition without them is not valid.
            before = len(series.columns)
            series.add_columns(*some, *((SUM, inf) if series.is_histogram else ()))
            self._budget.left -= len(series.columns) - before
        self._errors.update(Counter(fault.reason for fault in self.faults(placement)) - known_faults)

    def grown(self, placement: Placement, keys: Iterable[bytes], pid: str) -> Placement:
        """Return the placement of a file that has grown: a copy of its `placement`, and its new entries' `keys`."""
        longer = placement.copy()
        for series in set(longer.held):
            series.holders += 1
        self.extend(longer, keys, pid)
        return longer

    def release(self, placement: Placement) -> None:
        """Remove the series that only this placement holds, unless a file still has the placement."""
        if placement.is_used:
            return
        for family in placement.families:
            for series in placement.series_of(family):
                series.holders -= 1
                if not series.holders and not series.outlives:
                    family.remove(series)
                    self._budget.left += len(series.columns)
                    self.dirty.add(series)
                    self._slots.clear()  # some may lead to the series that is gone
            self._forget_empty(family)

    def _forget_unused(self, key: bytes, family: Family, series: Series, used: Container[Series]) -> None:
        """Remove a series that was made for an entry that is left out, unless other entries have it too."""
        if not series.columns and series not in used:
            family.remove(series)
            self._slots.pop(key, None)
            self._forget_empty(family)

    def _forget_empty(self, family: Family) -> None:
        if not family:
            del self._families[family.name]
            self._names.release(family)

    def clear(self) -> None:
        """Remove all series from their families, which they refer back to."""
        for family in self._families.values():
            family.clear()

    def forget_slots(self) -> None:
        """Forget all slots: they are remembered during one update, for files that are read together."""
        self._slots.clear()

    def faults(self, placement: Placement) -> list[Fault]:
        """Return one fault for each entry of the placement that is left out."""
        conflicts = (
            [self._names.refused[family]] * len(placement.families[family])
            for family in self._names.refused
            if family in placement.families
        )
        return [*placement.bad_keys, *chain.from_iterable(conflicts)]

    def _slot(self, key: bytes, pid: str) -> _Slot | Fault:
        """Return the slot of the entry with that key, or the fault for which it is left out."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._find_slot(key, pid)
            if len(self._slots) < _MOST_SLOTS and not self._tells_processes_apart:
                self._slots[key] = slot
        return slot

    def _find_slot(self, key: bytes, pid: str) -> _Slot | Fault:
        try:
            meaning = read_key(key, self._rule.type)
        except BadKeyError as error:
            return error.fault
        family = self._families.get(meaning.family)
        if family is None:
            family = self._families[meaning.family] = Family(
                meaning.family, meaning.help, self._kind, self._rule.type
            )
            self._names.claim(family)
        return family, family.find(meaning.sample, self._add_labels(meaning.labels, pid)), meaning.column

    def _add_labels(self, own: Mapping[str, str], pid: str) -> Labels:
        if self._tells_processes_apart:
            return add_labels(own, [("pid", pid), *self._labels])
        if self._rule.type == "gauge":  # as the stock collector does: "Gauges cannot use the pid label"
            own = {name: value for name, value in own.items() if name != "pid"}
        return add_labels(own, self._labels)
