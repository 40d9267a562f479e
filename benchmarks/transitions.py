"""Transitions: the cost of the scrape after a death, a start, a new series, a resumed or a refused file."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from benchmarks.contenders import LABELS, living, ours, stock
from benchmarks.directories import (
    FILES_OF_A_DEAD_PROCESS,
    FIRST_DEAD_PID,
    LIVE_PIDS,
    add_dead_processes,
    recorded,
    web_application,
)
from benchmarks.measuring import measure
from benchmarks.report import Row, milliseconds, times
from benchmarks.traffic import ALL, label_set
from exporter.exposition.text import Renderer
from exporter.model import Format
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet

_FEW_DEAD = 10
_REST = 5
"""Scrapes between two transitions, in which the engine finishes its work for the first."""
PROCESSES = (16, 64)
_FIRST_PID = 6_000_000
"""Above Linux' highest pid, and the pids of dead processes here."""
_, _SERVICER_PID = LIVE_PIDS

_MOST_TIMES_DEAD = 1.5
_MOST_FOR_A_SERIES, _MOST_FOR_A_RESUMED_FILE, _MOST_FOR_REFUSED_FILES = 3e-3, 2e-3, 5e-3
"""Seconds."""
_LEAST_RATIO = 15


class _Worker:
    """A directory, its living processes, and an engine; its clock moves on by a minute with every scrape."""

    def __init__(self, directory: Path) -> None:
        """All processes live whose pids are below FIRST_DEAD_PID."""
        self.directory = directory
        pids = {path.stem.rpartition("_")[2] for path in directory.glob("*.db")}
        self.living = {pid for pid in pids if int(pid) < FIRST_DEAD_PID}
        self._files = FileSet(str(directory))
        self._now = 0.0
        self._engine = Engine(lambda: self._files, labels=LABELS, clock=lambda: self._now)
        self._renderer = Renderer(Format.TEXT_0_0_4)
        self.scrape()

    def scrape(self) -> float:
        """Look, then scrape; return the CPU seconds of the scrape alone: in the exporter, the watch looks."""
        self._files = living(self.directory, self.living, self._files)
        self._now += 60.0
        start = time.process_time()
        self._engine.update()
        b"".join(self._renderer.render(self._engine.snapshot))
        return time.process_time() - start

    def rest(self) -> float:
        """Scrape a few times without changes; return the median CPU seconds."""
        return median(self.scrape() for _ in range(_REST))


def death_row(parent: Path, repeats: int, many: int) -> Row:
    """Measure the scrape after a death and a start, and the next, which makes constants of the dead process's files."""
    workers = [_beside_dead(parent, "death", count) for count in (_FEW_DEAD, many)]
    seconds: list[list[float]] = [[], []]
    for number in range(repeats):
        for worker, taken in zip(workers, seconds, strict=True):
            _die_and_be_born(worker, str(_FIRST_PID + number))
            taken.append(max(worker.scrape(), worker.scrape()))
            worker.rest()
    few, most = map(median, seconds)
    return Row(
        f"the scrape after a death and a birth, tp1 beside {_FEW_DEAD} and {many:,} dead processes",
        f"{milliseconds(few)}, {milliseconds(most)}: {times(most / few)}",
        target=f"≤ {_MOST_TIMES_DEAD:g}x",
        met=most <= few * _MOST_TIMES_DEAD,
    )


def resumed_rows(parent: Path, repeats: int, dead: int) -> Iterator[Row]:
    """Measure scrapes after a new process resumed a dead one's files: the first, and later ones."""
    alone, worker = (_beside_dead(parent, "resumed", count) for count in (0, dead))
    first, later = [], []
    for path in sorted(worker.directory.glob("counter_5*.db"))[:repeats]:
        _, _, pid = path.stem.rpartition("_")
        worker.living.add(pid)
        _increment(path)
        first.append(worker.scrape())
        later.append(worker.rest())
        worker.living.remove(pid)
        worker.rest()
    case = f"tp1 and {dead * FILES_OF_A_DEAD_PROCESS:,} files of dead processes, seven of which another goes on with"
    more = median(later) - alone.rest()
    yield Row(
        f"{case}, above the living ones alone",
        milliseconds(more),
        target=f"≤ {milliseconds(_MOST_FOR_A_RESUMED_FILE)}",
        met=more <= _MOST_FOR_A_RESUMED_FILE,
    )
    yield Row(f"{case}, the first scrape", milliseconds(median(first)))


def new_series_rows(directory: Path, repeats: int) -> Iterator[Row]:
    """Measure what a new series, of a counter and of a histogram, adds to the cost of the next scrape."""
    worker = _Worker(directory)
    for kind in ("counter", "histogram"):
        path = min(directory.glob(f"{kind}_*.db"))
        file = MmapedDict(str(path))
        keys = [key for key, *_ in file.read_all_values()]
        seconds, rest = [], []
        for number in range(repeats):
            for key in _series_like(keys, number):
                file.write_value(key, 1.0, 0.0)
            seconds.append(worker.scrape())
            rest.append(worker.rest())
        file.close()
        more = median(seconds) - median(rest)
        yield Row(
            f"the scrape after one new series of a {kind}, {directory.name}, above nothing changed",
            milliseconds(more),
            target=f"≤ {milliseconds(_MOST_FOR_A_SERIES)}",
            met=more <= _MOST_FOR_A_SERIES,
        )


def refused_row(directory: Path, repeats: int, refused: int) -> Row:
    """Measure what unreadable files add to a scrape, and how many of them are held open."""
    worker = _Worker(directory)
    without = median(worker.scrape() for _ in range(repeats))
    damaged = {str(directory / f"counter_{_FIRST_PID + number}.db") for number in range(refused)}
    for path in damaged:
        Path(path).write_bytes(b"damaged")
    more = median(worker.scrape() for _ in range(repeats)) - without
    held = sum(path in damaged for path in _open_files())
    return Row(
        f"a scrape beside {refused:,} files that cannot be read, {directory.name}, above one without",
        f"{milliseconds(more)}; {held} held open",
        target=f"≤ {milliseconds(_MOST_FOR_REFUSED_FILES)}; 0",
        met=more <= _MOST_FOR_REFUSED_FILES and not held,
    )


def web_application_rows(parent: Path, repeats: int, processes: Iterable[int] = PROCESSES) -> Iterator[Row]:
    """Measure processes that all have the same series, as in a web application, with every value changed."""
    for count in processes:
        directory = web_application(parent, count)
        costs = measure({"ours": ours, "stock": stock}, directory, ALL, repeats, shared=True)
        mine, theirs = costs["ours"].total, costs["stock"].total
        yield Row(
            f"a web application's {count} processes that share all series, every value changed",
            milliseconds(mine),
            milliseconds(theirs),
            ratio=times(theirs / mine),
            target=f"≥ {_LEAST_RATIO}x",
            met=theirs / mine >= _LEAST_RATIO,
        )


def _beside_dead(parent: Path, purpose: str, count: int) -> _Worker:
    (root := parent / f"{purpose}-{count}").mkdir()
    directory = recorded("tp1", root)
    add_dead_processes(directory, count)
    return _Worker(directory)


def _die_and_be_born(worker: _Worker, pid: str) -> None:
    """Replace the scheduler by a new one, with another pid, that writes the same series."""
    (dead,) = worker.living - {_SERVICER_PID}
    for path in sorted(worker.directory.glob(f"*_{dead}.db")):
        path.with_stem(path.stem.replace(dead, pid)).write_bytes(path.read_bytes())
    worker.living.remove(dead)
    worker.living.add(pid)


def _increment(path: Path) -> None:
    file = MmapedDict(str(path))
    key = next(key for key, *_ in file.read_all_values())
    value, _ = file.read_value(key)
    file.write_value(key, value + 1.0, 0.0)
    file.close()


def _series_like(keys: Sequence[str], number: int) -> Iterator[str]:
    """Yield the keys of a new series: the first series' keys with one more label."""
    for key in keys:
        if label_set(key) == label_set(keys[0]):
            family, sample, labels, help_text = json.loads(key)
            labels["number"] = str(number)
            yield mmap_key(family, sample, list(labels), list(labels.values()), help_text)


def _open_files() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            yield os.readlink(descriptor)  # noqa: PTH115 - a plain string is compared
