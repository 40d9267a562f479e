"""Measures the CPU time of scrapes, each contender in a separate process, all in one run.

Separate processes share no heap, and all have Python's default garbage collector. This process plays the worker: it
writes, then lets the contenders scrape one after another, in random order. So each scrape finds the processor's caches
full of other data, as in production. After some scrapes, all contenders restart in new processes.
"""

import multiprocessing
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.contenders import Make, Steps
from benchmarks.traffic import Traffic, changed_lines

_WARM_UP = 3
"""Scrapes of a process before those that count."""
_SCRAPES_OF_A_PROCESS = 5
"""Scrapes of a process that count. Few, so that several processes are measured: their speeds differ."""
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["__main__", "benchmarks.contenders"])  # imported once, for all forks


class Scrape(NamedTuple):
    """One scrape."""

    seconds: dict[str, float]
    """CPU time by step."""
    changed: float
    """The share of the body's lines that changed since the previous scrape."""


class Cost(NamedTuple):
    """Medians over some scrapes."""

    total: float
    """Seconds of CPU time."""
    steps: dict[str, float]
    """CPU seconds by step."""
    changed: float
    """The share of lines changed, as in `Scrape`."""


class Contender:
    """A contender in its process."""

    def __init__(self, name: str, make: Make, directory: Path) -> None:
        self._name = name
        self._body = b""
        self._body_file = directory.with_name(f"{directory.name}.{name}")
        self._pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_answer, args=(make, directory, self._body_file, theirs))
        self._process.start()
        theirs.close()

    def scrape(self, changed: int | None = None, in_a_row: int = 1) -> Scrape:
        """Let the contender scrape `in_a_row` times; return the last scrape.

        AssertionError if the number of changed lines is not `changed`; None allows any number.
        """
        self._pipe.send(in_a_row)
        seconds = self._pipe.recv()
        before, self._body = self._body, self._body_file.read_bytes()
        others, lines = changed_lines(before, self._body)
        assert changed in (None, others), f"{self._name}: {others} of {lines} lines changed, not {changed}"
        return Scrape(seconds, others / lines)

    def close(self) -> None:
        """End the contender's process."""
        self._pipe.close()
        self._process.join()


def _answer(make: Make, directory: Path, body: Path, pipe: Connection) -> None:
    """Scrape whenever asked over the pipe: the main function of a contender's process."""
    steps = make(directory)
    while True:
        try:
            in_a_row = pipe.recv()
        except EOFError:
            return
        for _ in range(in_a_row):
            result = b""  # frees the old body before making the next
            seconds, result = _take_steps(steps)
        body.write_bytes(result)
        pipe.send(seconds)


def _take_steps(steps: Steps) -> tuple[dict[str, float], bytes]:
    """Run all steps; return the CPU time of each, and the result of the last."""
    seconds = {}
    result: object = b""
    for name, step in steps.items():
        start = time.process_time()
        result = step()
        seconds[name] = time.process_time() - start
    assert isinstance(result, bytes)
    return seconds, result


def measure(
    contenders: Mapping[str, Make],
    directory: Path,
    share: float,
    repeats: int,
    *,
    written: str = "*.db",
    in_a_row: int = 1,
    shared: bool = False,
) -> dict[str, Cost]:
    """Measure scrapes; before each, traffic changes a share of the lines of the `written` files.

    With `in_a_row` scrapes without changes in between, the last counts: its caches are warm. AssertionError if the
    number of changed lines in a contender's body is not what the traffic changed; `shared` turns this check off,
    since values of a series that several files share change one line only.
    """
    scrapes: dict[str, list[Scrape]] = {name: [] for name in contenders}
    for number in range(max(1, repeats // _SCRAPES_OF_A_PROCESS)):
        chance = random.Random(number)  # noqa: S311 - the same order in each run
        with (
            closing(Traffic(directory.glob(written), seed=number)) as traffic,
            _running(contenders, directory) as running,
        ):
            for repeat in range(-_WARM_UP, min(repeats, _SCRAPES_OF_A_PROCESS)):
                changed = traffic.change(share)
                for name in chance.sample(sorted(running), len(running)):
                    scrape = running[name].scrape(None if shared else changed, in_a_row)
                    if repeat >= 0:
                        scrapes[name].append(scrape)
    return {name: _cost(some) for name, some in scrapes.items()}


def measure_first(contenders: Mapping[str, Make], directory: Path, repeats: int) -> dict[str, Cost]:
    """Measure first scrapes, each in a new process."""
    scrapes: dict[str, list[Scrape]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, make in contenders.items():
            with closing(Contender(name, make, directory)) as contender:
                scrapes[name].append(contender.scrape())
    return {name: _cost(some) for name, some in scrapes.items()}


@contextmanager
def _running(contenders: Mapping[str, Make], directory: Path) -> Iterator[dict[str, Contender]]:
    """Run a process for each contender, which scrapes once; yield the contenders."""
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(closing(Contender(name, make, directory)))
            for name, make in contenders.items()
        }
        for contender in running.values():
            contender.scrape()
        yield running


def _cost(scrapes: Sequence[Scrape]) -> Cost:
    return Cost(
        median(sum(scrape.seconds.values()) for scrape in scrapes),
        {name: median(scrape.seconds[name] for scrape in scrapes) for name in scrapes[0].seconds},
        median(scrape.changed for scrape in scrapes),
    )
