"""Plays a worker between two scrapes: changes counters, gauges and histograms in its files.

prometheus_client itself writes into the mapped files. The number of changed lines of the exposition is known
beforehand, and is compared with what each contender then serves.
"""

import json
import random
import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Protocol

from prometheus_client.mmap_dict import MmapedDict

NOTHING, SOME, ALL = 0.0, 0.2, 1.0
"""Shares of a worker's lines to change between two scrapes."""


class _Series(Protocol):
    lines: int
    """The number of its lines in the exposition."""

    def write(self, lines: int) -> int:
        """Change at most `lines` lines; return how many."""


class _Number:
    """A counter that is incremented, or a gauge that is set."""

    def __init__(self, file: MmapedDict, key: str, kind: str, chance: random.Random) -> None:
        self.lines = 1
        self._file, self._key, self._kind, self._chance = file, key, kind, chance

    def write(self, lines: int) -> int:
        if lines < self.lines:
            return 0
        value, _ = self._file.read_value(self._key)
        if self._kind == "counter":
            self._file.write_value(self._key, value + self._chance.randint(1, 512), 0.0)
        else:
            stamp = time.time() if self._kind == "gauge_mostrecent" else 0.0
            self._file.write_value(self._key, abs(value + self._chance.gauss(0.0, 10.0)), stamp)
        return self.lines


class _Histogram:
    """A histogram. An observation changes sum and count, and the bucket it falls in with all higher ones."""

    def __init__(self, file: MmapedDict, keys: Iterable[str], chance: random.Random) -> None:
        bounds = {json.loads(key)[2].get("le"): key for key in keys}
        self._sum = bounds.pop(None)
        self._buckets = [bounds[bound] for bound in sorted(bounds, key=float)]
        self._file, self._chance = file, chance
        self.lines = len(self._buckets) + 2  # sum and count

    def write(self, lines: int) -> int:
        """Observe a random value; one in the lowest bucket, if all lines have to change."""
        lowest = max(0, self.lines - lines)
        if lowest >= len(self._buckets):
            return 0
        bucket = lowest if lines == self.lines else self._chance.randrange(lowest, len(self._buckets))
        self._add(self._buckets[bucket], 1.0)
        self._add(self._sum, self._chance.expovariate(1.0))
        return self.lines - bucket

    def _add(self, key: str, amount: float) -> None:
        value, _ = self._file.read_value(key)
        self._file.write_value(key, value + amount, 0.0)


class Traffic:
    """Plays the processes that write the given files."""

    def __init__(self, files: Iterable[Path], seed: int = 1) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - the same traffic in each run
        self._files: list[MmapedDict] = []
        self._series: dict[str, list[_Series]] = {"counter": [], "gauge": [], "histogram": []}
        for path in sorted(files):
            kind, _, _ = path.stem.rpartition("_")
            self._series[kind.partition("_")[0]] += self._open(path, kind)

    def change(self, share: float) -> int:
        """Change a share of the lines of counters, gauges and histograms; return the number of changed lines."""
        changed = 0
        for series in self._series.values():
            self._chance.shuffle(series)
            budget = round(share * sum(one.lines for one in series))
            for one in series:
                written = one.write(one.lines if share == ALL else budget)
                budget -= written
                changed += written
        return changed

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def _open(self, path: Path, kind: str) -> list[_Series]:
        file = MmapedDict(str(path))
        self._files.append(file)
        keys = [key for key, *_ in file.read_all_values()]
        if kind == "histogram":
            groups = groupby(sorted(keys, key=label_set), key=label_set)
            return [_Histogram(file, group, self._chance) for _, group in groups]
        return [_Number(file, key, kind, self._chance) for key in keys]


def changed_lines(before: bytes, after: bytes) -> tuple[int, int]:
    """Return the number of sample lines of `after` that are not in `before`, and of all sample lines of `after`."""
    old, new = ({line for line in body.splitlines() if not line.startswith(b"#")} for body in (before, after))
    return len(new - old), len(new)


def label_set(key: str) -> tuple[str, str]:
    """Return family name and labels, without `le`: the same for all entries of one histogram."""
    family, _, labels, _ = json.loads(key)
    labels.pop("le", None)
    return family, json.dumps(labels, sort_keys=True)
