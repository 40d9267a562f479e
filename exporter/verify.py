"""`smg-exporter verify`: compare our merge with prometheus_client's own, on live files.

The files move, so both sides read the same copies. The copies are overwritten round by round, so that the incremental
collector is tested as an incremental one. What we promise to do otherwise is said, and done to both sides; any other
difference is a fault.
"""

import math
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.multiproc.collector import IncrementalCollector
from exporter.multiproc.fileset import File, FileSet, Liveness, Plan, decide, list_directory, unreadable
from exporter.multiproc.processes import find_process
from exporter.printable import printable
from exporter.settings import Settings

Facts: TypeAlias = dict[str, object]
"""A family or a sample, as text -> what is said of it."""

_ROUNDING = 1e-12
"""Relative difference that the order of additions may make."""


def verify(settings: Settings) -> int:
    """Compare `settings.rounds` times, print every difference; exit code 1 for one, or nothing to compare."""
    faults = 0
    with tempfile.TemporaryDirectory(prefix="smg-exporter-verify-") as copies:
        comparison = _Comparison(settings, copies)
        for number in range(1, settings.rounds + 1):
            files = comparison.look()
            if not files.files:
                print(f"round {number}: {files.problem or f'{files.directory}: no .db file to compare'}")
                return 1
            size, notes, differences = comparison.compare(files)
            print(f"round {number}: {size}: {f'{len(differences)} differences' if differences else 'equal'}")
            for line in (*notes, *differences):
                print(f"  {line}")
            faults += len(differences)
    return 1 if faults else 0


class _Comparison:
    """Both merges of one directory, round by round."""

    def __init__(self, settings: Settings, copies: str) -> None:
        self._settings = settings
        self._copies = copies
        self._files = FileSet(str(settings.directory))
        self._copied = FileSet(copies)
        self._incremental = self._collector()

    def look(self) -> FileSet:
        """Return what there is to compare now."""
        before = self._files
        try:
            listing = list_directory(before.directory)
        except OSError as error:
            self._files = unreadable(before, f"{before.directory}: {error.strerror}")
        else:
            self._files = decide(before, listing, find_process, Liveness(self._settings.liveness))
        return self._files

    def compare(self, files: FileSet) -> tuple[str, list[str], list[str]]:
        """Return what was compared, what we do otherwise as promised, and what differs beyond that."""
        copied = [
            _copy(file, files.directory, self._copies, self._settings.max_file_size) for file in files.files
        ]
        self._copied = replace(files, directory=self._copies, files=tuple(filter(None, copied)))
        ours = self._incremental.collect()
        notes = [f"promise 1: {printable(name)} {text}" for name, (_, text) in files.skipped.items()]
        notes += [
            f"promise 1: {printable(name)} {problem}" for name, problem in self._incremental.problems.items()
        ]
        notes += [
            f"promise 2: {file.name} is a dead process's" for file in files.files if file.plan is Plan.LEAVE
        ]
        notes += [f"promise 4: {name} went, and its sums stay" for name in sorted(files.removed)]
        drops_gauges = files.worker_up is False and self._settings.when_worker_down == "drop-gauges"
        if drops_gauges:
            notes.append("promise 3: every process is dead, so there are no gauges")
        kept = [
            file
            for file in self._copied.files
            if file.plan is not Plan.LEAVE and file.name not in self._incremental.problems
            if not (drops_gauges and file.rule.type == "gauge")
        ]
        if self._incremental.problems or files.removed:  # the stock collector knows nothing of them
            self._copied = replace(self._copied, files=tuple(kept))
            ours = self._collector().collect()
        stock = MultiProcessCollector.merge([f"{self._copies}/{file.name}" for file in kept])
        our_facts, stock_facts = _facts(ours), _facts(stock)
        notes += _complete_histograms(our_facts, stock_facts)
        differences = list(_differences(our_facts, stock_facts))
        samples = sum(len(metric.samples) for metric in ours)
        return f"{len(kept)} files, {len(list(ours))} families, {samples} samples", notes, differences

    def _collector(self) -> IncrementalCollector:
        return IncrementalCollector(
            None,
            file_set=lambda: self._copied,
            keep_gauges=self._settings.when_worker_down == "keep-gauges",
            max_file_size=self._settings.max_file_size,
        )


def _copy(file: File, directory: str, copies: str, max_size: int) -> File | None:
    """Copy a file's bytes into its copy of the last round, if there is one; return the copy, None if the file went."""
    target = Path(copies, file.name)
    try:
        data = _read(Path(directory, file.name), max_size)
    except FileNotFoundError:
        return None
    except OSError:
        data = b""
    target.touch()
    with target.open("r+b") as out:
        out.write(data)
        out.truncate()
    info = target.stat()
    return replace(file, identity=(info.st_dev, info.st_ino))


def _read(path: Path, max_size: int) -> bytes:
    with path.open("rb") as file:
        head = file.read(8)
        used = int.from_bytes(head[:4], sys.byteorder, signed=True)
        return head + file.read(max(0, min(used, max_size) - len(head)))


def _facts(metrics: Iterable[Metric]) -> Facts:
    facts: Facts = {}
    for metric in metrics:
        facts[f"type of {metric.name}"] = metric.type
        facts[f"help of {metric.name}"] = metric.documentation
        for sample in metric.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            facts[f"{sample.name}{{{labels}}}"] = sample.value
    return facts


def _complete_histograms(ours: Facts, stock: Facts) -> list[str]:
    """Take out the last buckets that we add to histograms caught half-written; say so."""
    added = [name for name in ours if 'le="+Inf"' in name and name not in stock]
    for name in added:
        del ours[name]
    return [f"promise 1: {name} completes a histogram caught half-written" for name in added]


def _differences(ours: Facts, stock: Facts) -> Iterator[str]:
    for name in sorted(ours.keys() | stock.keys()):
        our, their = ours.get(name, "nothing"), stock.get(name, "nothing")
        if not _equal(our, their):
            yield f"{name}: ours {our}, prometheus_client's {their}"


def _equal(our: object, their: object) -> bool:
    if isinstance(our, float) and isinstance(their, float):
        both_nan = math.isnan(our) and math.isnan(their)
        return both_nan or math.isclose(our, their, rel_tol=_ROUNDING)
    return our == their
