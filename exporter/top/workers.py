"""An exposition's snapshot -> a snapshot of each worker in it, by the worker's name; and whether that worker is up."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TypeAlias

from exporter.engine.meanings import meaning_of
from exporter.model import FamilyValues, Labels, Samples, Snapshot

_NAMING = ("worker_addr", "directory")
"""The labels that say which worker a series is of; the first one that a series has counts."""

_TARGET_UP, _WORKER_UP, _EXPORTER = "smg_exporter_target_up", "smg_exporter_worker_up", "smg_exporter_up"
"""Our own metrics that tell whether a worker is up, and one that every exporter of a worker has."""
_OURS = frozenset({_TARGET_UP, _WORKER_UP, _EXPORTER})

_Pick: TypeAlias = Callable[[Sequence[float]], Sequence[float]]


class Workers:
    """Tells apart the workers of successive snapshots of one exposition."""

    def __init__(self) -> None:
        self._families: Mapping[str, _Split] = {}

    def take(self, snapshot: Snapshot) -> dict[str, list[FamilyValues]]:
        """Return the families of each worker by its name, those that the engine view or `is_up` has use for.

        An exposition that names no worker is of one, whose name is empty; of another, series of no worker are left out.
        """
        known, self._families = self._families, {}
        found: dict[str, list[FamilyValues]] = {}
        families = {}
        for one in snapshot:
            name = one.family.name
            if name in _OURS or meaning_of(name, one.family.type):
                split = known.get(name)
                if split is None or split.samples is not one.samples:
                    split = _Split(one.samples)
                families[name] = split
                for worker, values in split.take(one):
                    found.setdefault(worker, []).append(values)
        self._families = families
        if len(found) > 1:
            found.pop("", None)
        return found


class _Split:
    """Where the samples of each worker are in a family."""

    def __init__(self, samples: Sequence[Samples]) -> None:
        self.samples = samples
        places: dict[str, list[int]] = {}
        flat = list(chain.from_iterable(samples))
        for place, (_, labels) in enumerate(flat):
            places.setdefault(_worker(labels), []).append(place)
        self._lone = next(iter(places)) if len(places) == 1 else None
        self._parts: list[tuple[str, Sequence[Samples], _Pick]] = [
            (worker, [[flat[place] for place in some]], _picker(some)) for worker, some in places.items()
        ]

    def take(self, family: FamilyValues) -> Sequence[tuple[str, FamilyValues]]:
        """Return each worker's part of the family."""
        if self._lone is not None:
            return [(self._lone, family)]
        flat = list(chain.from_iterable(family.values))
        return [
            (worker, FamilyValues(family.family, samples, [pick(flat)]))
            for worker, samples, pick in self._parts
        ]


def _picker(places: Sequence[int]) -> _Pick:
    # itemgetter is faster, but returns no sequence for one place.
    return itemgetter(*places) if len(places) > 1 else lambda values: [values[place] for place in places]


def _worker(labels: Labels) -> str:
    known = dict(labels)
    return next((known[name] for name in _NAMING if name in known), "")


def is_up(families: Snapshot) -> bool | None:
    """Return whether a worker is up, as our own metrics tell; None if they do not know. Without them, it is."""
    told = {one.family.name: min(chain.from_iterable(one.values), default=None) for one in families}
    known = [value for name in (_TARGET_UP, _WORKER_UP) if (value := told.get(name)) is not None]
    if known:
        return min(known) > 0
    return None if _EXPORTER in told else True
