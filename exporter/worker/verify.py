"""`smg-exporter verify`: compare our merge with prometheus_client's own, on live files.

Live files change, so both merges read the same copies. Each round overwrites the copies in place, so that our merge
reads them incrementally. Where we promise to differ from prometheus_client, a note says so, and the difference is left
out of the comparison; any other difference is a fault.
"""

import math
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from exporter.multiproc.collector import metrics
from exporter.multiproc.directories import matches
from exporter.multiproc.engine import Engine
from exporter.multiproc.evidence import HostEvidence
from exporter.multiproc.fileset import FileSet, Plan, decide, unreadable
from exporter.multiproc.listing import list_directory
from exporter.multiproc.liveness import Liveness
from exporter.options.worker import VerifyOptions
from exporter.printable import printable

Facts: TypeAlias = dict[str, object]
"""Type, help or sample, as text -> its value."""

_ROUNDING = 1e-12
"""Relative difference allowed, since a sum of floats depends on the order of additions."""


def verify(options: VerifyOptions) -> int:
    """Compare each directory; exit code 1 if anything differs, or nothing can be compared."""
    directories = list(matches(each.path for each in options.multiproc_dir))
    codes = []
    for directory in directories:
        if len(directories) > 1:
            print(f"{printable(directory)}:")
        codes.append(_verify(directory, options))
    return max(codes)


def _verify(directory: str, options: VerifyOptions) -> int:
    """Compare `options.rounds` times, and print all differences; return 1 if any, or nothing to compare, else 0."""
    faults = 0
    with tempfile.TemporaryDirectory(prefix="smg-exporter-verify-") as copies:
        comparison = _Comparison(directory, options, copies)
        for number in range(1, options.rounds + 1):
            files = comparison.look()
            if not (files.files or files.skipped):
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

    def __init__(self, directory: str, options: VerifyOptions, copies: str) -> None:
        self._options = options
        self._copies = copies
        self._files = FileSet(directory)
        self._copied = FileSet(copies)
        self._engine = self._new_engine()

    def look(self) -> FileSet:
        """Look at the directory; return its file set."""
        before = self._files
        try:
            listing = list_directory(before.directory, before.listing)
        except OSError as error:
            self._files = unreadable(before, f"{before.directory}: {error.strerror}")
        else:
            evidence = HostEvidence(before.directory)
            self._files = decide(before, listing, evidence, Liveness(self._options.liveness))
        return self._files

    def compare(self, files: FileSet) -> tuple[str, list[str], list[str]]:
        """Return what was compared, what we do otherwise as promised, and what differs beyond that."""
        copies = {name: self._copy(name) for name in (*files.files, *files.skipped)}
        copied = {
            name: replace(file, listed=file.listed._replace(device=info.st_dev, inode=info.st_ino))
            for name, file in files.files.items()
            if (info := copies[name])
        }
        self._copied = replace(files, directory=self._copies, files=copied)
        self._engine.update()
        faults = {**self._engine.refused, **self._engine.left_out}
        odd = [
            name
            for name, fault in files.skipped.items()
            if fault.reason == "bad_name" and self._is_read(name)
        ]
        dead = [name for name, file in files.files.items() if file.plan is Plan.LEAVE]
        drops_gauges = files.worker_up is False and self._options.when_worker_down == "drop-gauges"
        notes = [
            *(
                f"promise 1: {printable(name)} {fault.text}"
                for name, fault in files.skipped.items()
                if name not in odd
            ),
            *(f"promise 1: {printable(name)} {fault.text}" for name, fault in faults.items()),
            *(f"promise 2: {printable(name)} is left out: its process is dead" for name in dead),
            *(["promise 3: gauges are left out: all processes are dead"] if drops_gauges else []),
            *([f"promise 4: {files.removed} vanished files stay in the sums"] if files.removed else []),
        ]
        kept = {
            name: file
            for name, file in copied.items()
            if name not in faults and name not in dead and not (drops_gauges and file.rule.type == "gauge")
        }
        engine = self._engine
        if faults or files.removed:  # stock knows neither: compare a new engine on the good copies
            self._copied = replace(self._copied, files=kept)
            engine = self._new_engine()
            engine.update()
        ours = list(metrics(engine.snapshot))
        stock = MultiProcessCollector.merge([f"{self._copies}/{name}" for name in (*kept, *odd)])
        our_facts, stock_facts = _facts(ours), _facts(stock)
        notes += _complete_histograms(our_facts, stock_facts)
        differences = list(_differences(our_facts, stock_facts))
        samples = sum(len(metric.samples) for metric in ours)
        return f"{len(kept)} files, {len(ours)} families, {samples} samples", notes, differences

    def _new_engine(self) -> Engine:
        return Engine(
            lambda: self._copied,
            keep_gauges=self._options.when_worker_down == "keep-gauges",
            max_file_size=self._options.max_file_size,
        )

    def _copy(self, name: str) -> os.stat_result | None:
        """Copy a file over its copy of the last round, if there is one; None if the file is gone."""
        target = Path(self._copies, name)
        try:
            data = _read(Path(self._files.directory, name), self._options.max_file_size)
        except FileNotFoundError:
            return None
        except OSError:
            data = b""
        target.touch()
        with target.open("r+b") as out:
            out.write(data)
            out.truncate()
        return target.stat()

    def _is_read(self, name: str) -> bool:
        """Whether the stock collector reads a file of that name."""
        try:
            return bool(MultiProcessCollector.merge([f"{self._copies}/{name}"]))
        except Exception:  # noqa: BLE001 - it fails in many ways
            return False


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
    """Remove from `ours` the `+Inf` buckets that our merge adds to half-written histograms; return a note on each."""
    added = [name for name in ours if 'le="+Inf"' in name and name not in stock]
    for name in added:
        del ours[name]
    return [f"promise 1: {name} is added, to complete a half-written histogram" for name in added]


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
