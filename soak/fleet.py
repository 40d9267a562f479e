"""A fleet: workers with new series at every scrape, workers that come and go, hang, or give invalid answers."""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from benchmarks.directories import workspace
from soak.exporter import SETTLED, Exporter, exporter
from soak.parts import Part, Samples
from soak.samples import Exposition
from tests.support import targets
from tests.support.targets import DEADLINE, Behaviour, serving
from tests.support.waiting import eventually

_WORKERS = 16
_ROUNDS = 500
"""Scrapes with new series, after which all workers restart."""
_FROM = 10
"""The scrape at which memory is noted."""
_MOST_GROWTH = 10.0
"""MiB by which memory may grow, for the series of `_ROUNDS` scrapes."""
_COMPARED = 50
"""Scrapes between two comparisons of all samples."""
_FAULTS: tuple[Behaviour, ...] = (
    targets.hang,
    targets.hang_in_the_body,
    targets.drip,
    targets.endless,
    targets.cut_off,
    targets.reset,
    targets.no_http,
    targets.long_header,
    targets.answer(status="500 Internal Server Error"),
    targets.answer(b"no exposition"),
    targets.gzipped(targets.bomb(1 << 24)),
)
_PATIENCE = ("--target-timeout=1", "--max-target-bytes=1MiB")
_UP = "smg_exporter_target_up"
_FAULTY, _ABSENT = 0.3, 0.2
"""The shares of workers that are faulty or absent at a scrape."""

T = TypeVar("T")


def fleet_series(part: Part) -> None:
    """Add a new series to each of 16 workers before every scrape."""
    whole = part.promise(f"every {_COMPARED}th scrape has all samples of all workers")
    with workspace() as room, _workers() as workers:
        options = [f"--worker={worker.url}" for worker in workers]
        with _fleet(part, room, *options, since=f"round {_FROM}") as subject:
            for number in part.rounds(least=100):
                for worker in workers:
                    worker.series = number % _ROUNDS + 1
                if worker.series == 1:
                    subject.start_anew()
                if number % _COMPARED:
                    subject.fetch()
                else:
                    whole.equal(_samples(workers), subject.scrape().samples, f"round {number}")
                if number == _FROM:
                    subject.note_resources()
                part.done["scrapes of 16 workers with a new series in each"] += 1
            subject.check_resources()


def fleet_targets(part: Part) -> None:
    """Let workers come, go, hang, and give invalid answers."""
    whole = part.promise("all samples of workers that answer well are served, and none of others")
    up = part.promise("smg_exporter_target_up is 1 for workers that answer well, 0 for others")
    with workspace() as room, _workers() as workers:
        file = room / "workers.json"
        _list(file, workers)
        with _fleet(part, room, f"--workers-file={file}", *_PATIENCE, since="all faults at once") as subject:
            whole.equal(_samples(workers), subject.scrape().samples, "at the start")
            for worker, fault in zip(workers, cycle(_FAULTS), strict=False):
                worker.behave = fault
            subject.start_anew()
            up.equal(dict.fromkeys(map(_up, workers), 0.0), _ups(subject.scrape()), "all faults at once")
            for worker in workers:
                worker.behave = worker.answer
            subject.start_anew()
            whole.equal(_samples(workers), subject.scrape().samples, "all well")
            subject.note_resources()
            for number in part.rounds(least=4):
                listed = [worker for worker in workers if part.chance.random() > _ABSENT]
                vanished = [
                    worker for worker in workers if worker not in listed and worker.behave != worker.answer
                ]
                _show(subject, file, listed, vanished)
                for worker in listed:
                    worker.series = part.chance.randint(1, 9)
                    faulty = part.chance.random() < _FAULTY
                    worker.behave = part.chance.choice(_FAULTS) if faulty else worker.answer
                well = [worker for worker in listed if worker.behave == worker.answer]
                subject.start_anew()
                got = subject.scrape()
                whole.equal(_samples(well), got.samples, f"round {number}")
                expected = {_up(worker): float(worker in well) for worker in (*listed, *vanished)}
                up.equal(expected, _ups(got), f"round {number}")
                part.done["workers well"] += len(well)
                part.done["absent"] += len(workers) - len(listed)
                part.done["hanging or faulty"] += len(listed) - len(well)
            for worker in workers:
                worker.behave = worker.answer
            _show(subject, file, workers)
            whole.equal(_samples(workers), subject.scrape().samples, "all well again")
            subject.check_resources()


def _fleet(part: Part, room: Path, *options: str, since: str) -> AbstractContextManager[Exporter]:
    return exporter(
        part, room / "fleet", "fleet", *options, path="/engine_metrics", since=since, most_growth=_MOST_GROWTH
    )


def _up(worker: "_Worker") -> str:
    """Return the series that tells whether a worker is up."""
    return f'{_UP}{{worker_addr="{worker.url}"}}'


def _ups(scraped: Exposition) -> Samples:
    return {key: value for key, value in scraped.own.items() if key.startswith(_UP)}


def _list(file: Path, workers: Sequence["_Worker"]) -> None:
    """Write a workers file atomically."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps([{"targets": [worker.url for worker in workers]}]))
    new.replace(file)


def _show(
    subject: Exporter, file: Path, workers: Sequence["_Worker"], vanished: Sequence["_Worker"] = ()
) -> None:
    """List these workers; return once the fleet has read the file, and keeps those that `vanished` while down."""
    _list(file, workers)
    urls = {worker.url for worker in (*workers, *vanished)}

    def known() -> bool:
        groups = json.loads(subject.get("/sd")[1])
        return {group["labels"]["worker_addr"] for group in groups} == urls

    eventually(known, "the workers file is read again", within=SETTLED)


def _samples(workers: Sequence["_Worker"]) -> Samples:
    return {key: value for worker in workers for key, value in worker.samples().items()}


class _Worker:
    """A simulated exporter of a worker."""

    def __init__(self) -> None:
        self.url = ""
        self.series = 1
        self.behave: Behaviour = self.answer

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        """Answer a scrape with the worker's present number of series."""
        lines = ["# HELP soak_total Requests.", "# TYPE soak_total counter"]
        lines += (f'soak_total{{number="{number}"}} {number}.0' for number in range(self.series))
        await targets.answer("\n".join([*lines, ""]).encode())(writer)

    def samples(self) -> Samples:
        """Return the samples that the fleet must serve of this worker."""
        return {
            f'soak_total{{number="{number}",worker_addr="{self.url}"}}': float(number)
            for number in range(self.series)
        }


@contextmanager
def _workers() -> Iterator[list[_Worker]]:
    """Run the simulated exporters on an event loop in another thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="workers")
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(DEADLINE)

    servers = AsyncExitStack()
    try:
        workers = [_Worker() for _ in range(_WORKERS)]
        for worker in workers:
            server = run(servers.enter_async_context(serving(partial(_behave, worker))))
            worker.url = server.worker
        yield workers
    finally:
        run(servers.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _behave(worker: _Worker, writer: asyncio.StreamWriter) -> None:
    await worker.behave(writer)
