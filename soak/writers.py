"""Writers that are killed at any moment, and their successors, with a new pid or the same."""

import multiprocessing
import os
import signal
import time
from itertools import count
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple, Self

from prometheus_client import Counter, Gauge, Histogram, Summary

from benchmarks.directories import workspace
from soak.exporter import Exporter, exporter
from soak.parts import Part, Samples
from soak.processes import kill, start, start_as
from soak.samples import of_stock, readable
from tests.support.files import Mode, counter, process, write
from tests.support.waiting import DEADLINE

_WRITERS = 6
_ROUNDS = 6
"""Rounds of killing some writers, before all of a worker's writers are killed."""
_EARLY = 0.2
"""The share of successors that are killed while they start."""
_PAUSE = 0.001
"""Seconds between two requests that a writer counts."""
_MODES: tuple[Mode, ...] = ("all", "livesum", "livemax")
_MARK_PID = 5_000_000
"""Above Linux' highest pid."""


def writers(part: Part) -> None:
    """Kill busy writers at any moment, and start successors; in the end kill all, and start a new worker."""
    sums = part.promise(
        "samples of living and killed writers equal stock's; live gauges count the living only"
    )
    alive = part.promise("living writers are counted, successors with the same pid included")
    idle = part.promise("files of dead writers are not held open")
    with workspace() as room, exporter(part, directory := room / "worker") as subject:
        directory.mkdir()
        subject.settles(alive, _mark(directory, 0), "a first file", others=True)
        for number in part.rounds(least=2):
            subject.empty(directory, sums)
            unopened = subject.resources.descriptors
            if number == 1:
                subject.note_resources()
            with _Worker(part, directory) as worker:
                for kills in range(_ROUNDS):
                    when = f"worker {number}, round {kills}"
                    worker.replace_some(subject)
                    subject.settles(alive, _mark(directory, kills), f"{when}: a new file", others=True)
                    subject.says(alive, 'smg_exporter_processes{state="live"}', _WRITERS, when)
                    worker.signal(signal.SIGSTOP)
                    subject.settles(sums, worker.samples(), when)
                    worker.signal(signal.SIGCONT)
            subject.settles(sums, worker.samples(), f"worker {number}, all writers dead")
            subject.holds_at_most(idle, unopened, f"worker {number}, all writers dead")
        subject.empty(directory, sums)
        subject.check_resources()


def _mark(directory: Path, number: int) -> Samples:
    """Add a file, and return its samples; once they are served, the exporter has looked again."""
    made = write(directory.with_suffix(".staged"), {counter("soak_mark", number=str(number)): 1.0})
    made.rename(directory / f"counter_{_MARK_PID + number}.db")
    return {f'soak_mark_total{{number="{number}"}}': 1.0}


class _Writer(NamedTuple):
    process: ForkProcess
    has_written: Event

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid


class _Worker:
    """Writers that run until the end of the block. The first is never killed before, so its files are whole."""

    def __init__(self, part: Part, directory: Path) -> None:
        self._part = part
        self._directory = directory
        self._writers: list[_Writer] = []

    def __enter__(self) -> Self:
        self._writers += (self._started() for _ in range(_WRITERS))
        return self

    def __exit__(self, *_: object) -> None:
        while self._writers:
            kill(self._writers.pop().process)

    def replace_some(self, subject: Exporter) -> None:
        """Kill some writers between scrapes, and start successors; return once those have written."""
        chance = self._part.chance
        for place in chance.sample(range(1, _WRITERS), chance.randint(1, _WRITERS - 1)):
            alive = False
            while not alive:
                for _ in range(chance.randrange(3)):
                    subject.scrape()
                kill(self._writers[place].process)
                self._part.done["writers killed"] += 1
                self._writers[place] = self._succeed(self._writers[place].pid)
                alive = chance.random() > _EARLY
        for writer in self._writers:
            assert writer.has_written.wait(DEADLINE), "a writer does not write"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all writers; after SIGSTOP, return once all have stopped."""
        for writer in self._writers:
            os.kill(writer.pid, number)
            if number is signal.SIGSTOP:
                os.waitpid(writer.pid, os.WUNTRACED)

    def samples(self) -> Samples:
        """Return the samples that must be served: no live gauges of dead writers, no gauges at all if none lives."""
        living = {str(writer.pid) for writer in self._writers}
        files = []
        for path in self._directory.iterdir():
            kind, _, pid = path.stem.rpartition("_")
            left_out = kind.startswith("gauge_live" if living else "gauge") and pid not in living
            if readable(path) and not left_out:
                files.append(path)
        return of_stock(files)

    def _succeed(self, pid: int) -> _Writer:
        """Start a successor; with probability 1/2 with the same pid, if that can be had."""
        if self._part.chance.random() < 0.5:
            event = multiprocessing.Event()
            if process := start_as(pid, _write, self._directory, event):
                self._part.done["successors with the same pid"] += 1
                return _Writer(process, event)
            self._part.done["same pid not to be had"] += 1
        return self._started()

    def _started(self) -> _Writer:
        event = multiprocessing.Event()
        return _Writer(start(_write, self._directory, event), event)


def _write(directory: Path, has_written: Event) -> None:
    """Count simulated requests until killed."""
    with process(directory, os.getpid()) as registry:
        requests = Counter("soak", "Requests.", registry=registry)
        seconds = Histogram("soak_seconds", "Durations.", registry=registry, buckets=(0.1, 1.0))
        size = Summary("soak_size", "Sizes.", registry=registry)
        gauges = [
            Gauge(f"soak_{mode}", "Load.", registry=registry, multiprocess_mode=mode) for mode in _MODES
        ]
        # A series per process: if two processes set a common one at the same moment, the last is undefined.
        state = Gauge("soak_state", "State.", ["rank"], registry=registry, multiprocess_mode="mostrecent")
        gauges.append(state.labels(os.getpid()))
        for number in count():
            requests.inc()
            seconds.observe(number % 16 / 8)
            size.observe(number % 8)
            for gauge in gauges:
                gauge.set(number)
            has_written.set()
            time.sleep(_PAUSE)
