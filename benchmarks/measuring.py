"""What a scrape costs: CPU time, each contender in a process of its own, all side by side in one run.

So no heap, cache or garbage is another's, and the garbage collector is as Python sets it up, in every one. This process
plays the worker: it writes, and then has one contender after the other scrape, in random order. A scrape finds the
processor's caches as in life: full of something else. After some scrapes, all start again in new processes.
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
"""Scrapes of a process ahead of those that count."""
_SCRAPES_OF_A_PROCESS = 5
"""How many count. Two processes that run the same code are not equally fast, so there should be several."""
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["__main__", "benchmarks.contenders"])  # imported once, for all


class Scrape(NamedTuple):
    """One scrape."""

    seconds: dict[str, float]
    """CPU time by step."""
    changed: float
    """The share of the body's lines that are others than at the scrape before."""


class Cost(NamedTuple):
    """Medians over some scrapes."""

    total: float
    """Seconds of CPU time."""
    steps: dict[str, float]
    """The same by step."""
    changed: float
    """As of a scrape."""


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
        """Have it scrape so many times in a row; return the last scrape.

        AssertionError where not `changed` lines are others than before; None allows any number.
        """
        self._pipe.send(in_a_row)
        seconds = self._pipe.recv()
        before, self._body = self._body, self._body_file.read_bytes()
        others, lines = changed_lines(before, self._body)
        assert changed in (None, others), f"{self._name}: {others} of {lines} lines changed, not {changed}"
        return Scrape(seconds, others / lines)

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join()


def _answer(make: Make, directory: Path, body: Path, pipe: Connection) -> None:
    """Scrape whenever asked: what a contender's process does."""
    steps = make(directory)
    while True:
        try:
            in_a_row = pipe.recv()
        except EOFError:
            return
        for _ in range(in_a_row):
            result = b""  # lets go of the body before the next one is made
            seconds, result = _take_steps(steps)
        body.write_bytes(result)
        pipe.send(seconds)


def _take_steps(steps: Steps) -> tuple[dict[str, float], bytes]:
    """Return the CPU time of each step, and what the last one returns."""
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
    """Measure scrapes between which traffic changes a share of the lines of the `written` files.

    Of several scrapes `in_a_row`, between which nothing changes, the last counts: it finds its caches warm.
    AssertionError where not exactly the lines that the traffic changed are others in a contender's body; where several
    files have a `shared` series, these are fewer.
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
    """Run a process for each contender, and have each scrape for the first time."""
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
