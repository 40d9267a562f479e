import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.discovery.finder import Finder
from exporter.discovery.workers import Worker as Finding
from exporter.multiproc.engine import Engine
from exporter.multiproc.fileset import FileSet
from exporter.worker import reads
from exporter.worker.found import FoundWorker, SharedNamespaces, open_directory
from tests.support.hosts import TestsProcesses, container, hosted
from tests.support.waiting import eventually


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number


@pytest.fixture
def finder() -> Finder:
    return Finder(TestsProcesses())


def find(finder: Finder) -> Finding:
    """Wait until a worker is found."""
    return eventually(lambda: finder.look().workers, "a worker")[0]


def serve(finding: Finding, finder: Finder) -> FoundWorker:
    """Return a worker that serves what was found."""

    def engine(file_set: Callable[[], FileSet]) -> Engine:
        return Engine(file_set, labels=[("worker_addr", "a")])

    descriptor = open_directory(finding, finder)
    return FoundWorker(finding, descriptor, SharedNamespaces(finder.proc), engine, (("worker_addr", "a"),))


def is_shared(worker: FoundWorker) -> bool:
    """Whether the worker has no thread of its own any more."""
    return worker._reads._thread is reads._shared_thread()


def names(worker: FoundWorker) -> list[str]:
    """Return the names of the families that are served now."""
    return [values.family.name for values in worker.snapshot]


@asynccontextmanager
async def watched(worker: FoundWorker) -> AsyncIterator[None]:
    """Have a worker's directory watched."""
    watch = asyncio.create_task(worker.watch())
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        worker.end()


async def until(done: Callable[[], bool], what: str) -> None:
    """Wait, in the event loop, until something is so."""
    async with asyncio.timeout(15):
        while not done():  # noqa: ASYNC110 - what other threads do is polled
            await asyncio.sleep(0.02)
    assert done(), what


@pytest.fixture(params=["here", "in a container"])
def prefix(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Give the beginning of a worker's command line, for a worker of this host and for one in a container."""
    return [] if request.param == "here" else container(tmp_path)


async def test_a_worker_is_served_live_and_its_last_counters_stay(
    finder: Finder, tmp_path: Path, prefix: list[str]
) -> None:
    before = open_files()
    with hosted(tmp_path, writers=2, prefix=prefix):
        worker = serve(find(finder), finder)
        async with watched(worker):
            await worker.look()
            assert names(worker) == ["answers", "load"]
            summary = worker.summary()
            assert summary.process_counts == {"live": 2}
            assert summary.worker_up
            assert summary.directory == str(tmp_path)
            assert not summary.problem
            worker.retire("its last process has ended")
            await until(lambda: worker.summary().worker_up is False, "the end")
            assert names(worker) == ["answers"]
            assert worker.summary().problem == "its last process has ended"
            assert worker.summary().process_counts == {"dead": 2}
            assert worker.summary().series == 1
            await until(lambda: is_shared(worker), "the thread's end")
            await worker.look()
            assert names(worker) == ["answers"]
    await until(lambda: open_files() <= before, "all files closed")


async def test_the_end_of_a_container_is_seen(finder: Finder, tmp_path: Path) -> None:
    with hosted(tmp_path, prefix=container(tmp_path)):
        worker = serve(find(finder), finder)
        await worker.look()
        assert worker.summary().worker_up
    await worker.look()
    assert worker.summary().worker_up is False
    assert names(worker) == ["answers"]
    worker.end()


async def test_counters_stay_when_the_files_go_before_the_end_is_known(
    finder: Finder, tmp_path: Path
) -> None:
    with hosted(tmp_path / "metrics"):
        worker = serve(find(finder), finder)
        await worker.look()
        shutil.rmtree(tmp_path / "metrics")
        await worker.look()
        assert names(worker) == ["answers"]
        worker.end()


def test_a_process_whose_directory_is_gone_leads_nowhere(finder: Finder, tmp_path: Path) -> None:
    with hosted(tmp_path / "metrics"):
        finding = find(finder)
        shutil.rmtree(tmp_path / "metrics")
        with pytest.raises(FileNotFoundError, match="no process leads to it"):
            open_directory(finding, finder)
        (tmp_path / "metrics").mkdir()  # another directory of that name
        with pytest.raises(FileNotFoundError, match="no process leads to it"):
            open_directory(finding, finder)


async def test_the_next_process_leads_to_the_directory_when_the_first_has_ended(
    finder: Finder, tmp_path: Path
) -> None:
    with hosted(tmp_path):
        finding = find(finder)
        gone = finding._replace(pids=(2**22 - 1, *finding.pids))
        worker = serve(gone, finder)
        await worker.look()
        assert names(worker) == ["answers", "load"]
        worker.end()


async def test_a_watch_that_fails_is_no_end(
    finder: Finder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosted(tmp_path):
        worker = serve(find(finder), finder)

    async def fail(_on_look: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(worker.watcher, "run", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        await worker.watch()
    worker.end()
