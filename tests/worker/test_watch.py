"""The watch: what it looks at when it is woken, and that it is woken."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from watchfiles import awatch

from exporter.multiproc import listing
from exporter.multiproc.fileset import FileSet
from exporter.multiproc.listing import Listing, list_directory
from exporter.multiproc.liveness import Evidence, Liveness, State, Writer
from exporter.multiproc.processes import Process
from exporter.worker import watch
from exporter.worker.watch import Watcher
from tests.support.files import Processes
from tests.support.writers import writers

PROMISED = 1.0
"""Seconds within which a change is picked up."""
SLACK = 1.0
"""Seconds that a busy machine may add."""
ONE = Processes({"1": Process("1", 1, 0.0)})


class Wakeups:
    """Wakes a watcher when the test says so."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[None] = asyncio.Queue()
        self.waited_for: list[tuple[FileSet, bool]] = []
        self.closed = False

    async def wait(self, files: FileSet, *, hurry: bool) -> None:
        self.waited_for.append((files, hurry))
        if len(self.waited_for) > 1:
            self._queue.task_done()
        await self._queue.get()

    def close(self) -> None:
        self.closed = True

    async def wake(self) -> None:
        """Wake it; return when it has looked, and told whom it tells."""
        self._queue.put_nowait(None)
        async with asyncio.timeout(PROMISED + SLACK):
            await self._queue.join()


class Watched:
    """A running watcher that looks when told to."""

    def __init__(self, watcher: Watcher, wakeups: Wakeups) -> None:
        self.watcher = watcher
        self.changes = 0
        self.hurry = False
        self._wakeups = wakeups

    def looked(self, changed: bool) -> bool:  # noqa: FBT001 - as the watcher calls it
        self.changes += changed
        return self.hurry

    async def names(self) -> list[str]:
        """Look; return the names of the files that count."""
        await self._wakeups.wake()
        return sorted(self.watcher.current.files)


@asynccontextmanager
async def watched(
    directory: Path,
    liveness: Liveness = Liveness.OFF,
    evidence: Evidence | None = None,
) -> AsyncIterator[Watched]:
    wakeups = Wakeups()
    it = Watched(Watcher(str(directory), liveness, wakeups, evidence or Processes({})), wakeups)
    async with running(it.watcher, it.looked):
        yield it


@asynccontextmanager
async def running(watcher: Watcher, on_look: Callable[[bool], bool]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a watcher; with the block it is cancelled, and has to end at once."""
    task = asyncio.create_task(watcher.run(on_look))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=PROMISED)
        assert task.done()


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    return make(tmp_path / "worker")


def make(directory: Path, *names: str) -> Path:
    """Make a directory, if need be, and empty files in it."""
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).touch()
    return directory


def put_in_place(directory: Path, other: Path) -> None:
    """Rename another directory to where one was."""
    directory.rename(directory.with_name("gone"))
    other.rename(directory)


def tick_of(directory: Path) -> int:
    """Return the time of a directory's last change, as its file system's clock ticks."""
    return directory.stat().st_mtime_ns


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# --- Looking ---


async def test_files_come_and_go(directory: Path) -> None:
    async with watched(directory) as it:
        assert await it.names() == []
        make(directory, "counter_2.db", "counter_1.db", "notes.txt")
        assert await it.names() == ["counter_1.db", "counter_2.db"]
        (directory / "counter_1.db").unlink()
        assert await it.names() == ["counter_2.db"]
        assert it.watcher.current.removed == 1
        make(directory, "counter_1.db")
        assert await it.names() == ["counter_1.db", "counter_2.db"]
        assert it.watcher.current.removed == 1
        assert it.watcher.current.epoch == 0


async def test_a_look_that_finds_nothing_new_is_no_change(directory: Path) -> None:
    async with watched(directory) as it:
        await it.names()
        before, changes = it.watcher.current, it.changes
        await it.names()
        make(directory, "notes.txt")
        os.utime(directory, (1, 1))
        await it.names()
        assert it.watcher.current is before
        assert it.changes == changes
        make(directory, "counter_1.db")
        await it.names()
        assert it.changes == changes + 1


async def test_a_missing_directory_is_waited_for(directory: Path) -> None:
    shutil.rmtree(directory)
    async with watched(directory) as it:
        assert await it.names() == []
        assert it.watcher.current.problem == f"{directory}: No such file or directory"
        changes = it.changes
        await it.names()
        assert it.changes == changes, "that it is still missing is no news"
        make(directory, "counter_1.db")
        assert await it.names() == ["counter_1.db"]
        assert not it.watcher.current.problem


async def test_a_file_in_the_directorys_place_is_a_problem(directory: Path) -> None:
    shutil.rmtree(directory)
    make(directory.parent, directory.name)
    async with watched(directory) as it:
        assert await it.names() == []
        assert it.watcher.current.problem == f"{directory}: Not a directory"


async def test_a_directory_that_vanishes_and_comes_back_is_another_workers(directory: Path) -> None:
    make(directory, "counter_1.db")
    async with watched(directory) as it:
        await it.names()
        shutil.rmtree(directory)
        assert await it.names() == []
        assert it.watcher.current.problem.endswith("No such file or directory")
        make(directory, "counter_1.db")
        assert await it.names() == ["counter_1.db"]
        assert it.watcher.current.epoch == 1
        assert it.watcher.current.removed == 0


async def test_a_directory_renamed_into_place_is_another_workers(directory: Path) -> None:
    make(directory, "counter_1.db")
    other = make(directory.with_name("other"), "counter_1.db")
    async with watched(directory) as it:
        await it.names()
        put_in_place(directory, other)
        assert await it.names() == ["counter_1.db"]
        assert it.watcher.current.epoch == 1


async def test_an_emptied_directory_begins_another_worker(directory: Path) -> None:
    make(directory, "counter_1.db")
    async with watched(directory) as it:
        await it.names()
        (directory / "counter_1.db").unlink()
        assert await it.names() == []
        assert it.watcher.current.epoch == 1
        assert it.watcher.current.removed == 0
        make(directory, "counter_2.db")
        assert await it.names() == ["counter_2.db"]
        assert it.watcher.current.epoch == 1


# --- Listing only when there may be something new ---


@pytest.fixture(name="listings")
def _listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list that grows by a path with each real listing."""
    listings: list[str] = []

    def list_and_count(path: str, before: Listing | None) -> Listing:
        listings.append(path)
        return list_directory(path, before)

    monkeypatch.setattr(listing, "list_directory", list_and_count)
    return listings


def age(directory: Path) -> None:
    """Make a directory's mtime that of a change long ago."""
    os.utime(directory, (1_000_000_000, 1_000_000_000))


async def test_a_directory_at_rest_is_not_listed_again(directory: Path, listings: list[str]) -> None:
    age(directory)
    async with watched(directory) as it:
        for _ in range(3):
            await it.names()
        assert len(listings) == 1
        make(directory, "counter_1.db")
        assert await it.names() == ["counter_1.db"]
        assert len(listings) == 2


async def test_two_changes_within_one_tick_are_both_seen(directory: Path) -> None:
    async with watched(directory) as it:
        make(directory, "counter_1.db")
        tick = tick_of(directory)
        assert await it.names() == ["counter_1.db"]
        make(directory, "counter_2.db")
        os.utime(directory, ns=(tick, tick))  # as a coarse clock would have it
        assert await it.names() == ["counter_1.db", "counter_2.db"]


async def test_a_change_that_leaves_the_mtime_is_seen_a_little_later(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(directory)
    async with watched(directory) as it:
        await it.names()
        make(directory, "counter_1.db")
        age(directory)
        assert await it.names() == [], "or this test shows nothing"
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + listing._RELIST)
        assert await it.names() == ["counter_1.db"]


async def test_a_clock_set_back_does_not_stop_the_listing(
    directory: Path, listings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    age(directory)
    async with watched(directory) as it:
        await it.names()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 3600)
        await it.names()
        assert len(listings) == 2


# --- Processes ---


async def test_a_writer_that_dies_is_a_change(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(directory, "counter_1.db")
    processes = Processes({"1": Process("1", 1, 0.0)})
    with caplog.at_level(logging.INFO, "exporter"):
        async with watched(directory, Liveness.ON, processes) as it:
            await it.names()
            assert it.watcher.current.worker_up is True
            changes = it.changes
            processes.living = {}
            await it.names()
            assert it.watcher.current.worker_up is False
            assert it.changes == changes + 1
    events = [record for record in caplog.records if record.message == "worker state changed"]
    assert [vars(event)["fields"] for event in events] == [
        {"worker": "up", "directory": str(directory), "live": 1, "processes": "1"},
        {"worker": "down", "directory": str(directory), "dead": 1, "processes": "1"},
    ]


async def test_files_that_move_without_a_process_make_liveness_unknown(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(directory, "counter_7.db")
    async with watched(directory, Liveness.AUTO, Processes({})) as it:
        await it.names()
        assert it.watcher.current.worker_up is False
        it.watcher.report_moved({"7"})
        await it.names()
        assert it.watcher.current.worker_up is None
        await it.names()
        assert it.watcher.current.writers["7"].state is State.UNKNOWN
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "liveness is unknown" in warning.message


async def test_what_moved_is_told_to_one_look_only(directory: Path) -> None:
    make(directory, "counter_7.db")
    processes = Processes({"7": Process("7", 1, 0.0)})
    async with watched(directory, Liveness.ON, processes) as it:
        processes.living = {"7": Process("7", 1, time.time() + 60)}  # a stranger, it seems
        await it.names()
        assert it.watcher.current.worker_up is False
        it.watcher.report_moved({"7"})
        await it.names()
        assert it.watcher.current.worker_up is True, "it writes, so it is no stranger"
        processes.living = {"7": Process("7", 2, time.time() + 60)}
        await it.names()
        assert it.watcher.current.worker_up is False


async def test_in_a_pid_namespace_of_its_own_it_looks_up_no_pid(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "alone_in_pid_namespace", lambda: True)
    make(directory, "counter_1.db")
    async with watched(directory, Liveness.AUTO, ONE) as it:
        await it.names()
        assert it.watcher.current.worker_up is None
    async with watched(directory, Liveness.ON, ONE) as it:
        await it.names()
        assert it.watcher.current.worker_up is True


async def test_an_operator_is_told_what_became_of_the_directory(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "exporter"):
        async with watched(directory) as it:
            await it.names()
            make(directory, "counter_1.db")
            await it.names()
            make(directory, "counter_2.db")
            await it.names()
            shutil.rmtree(directory)
            await it.names()
            await it.names()
            make(directory)
            await it.names()
    assert [record.message for record in caplog.records] == [
        "watching directory",
        "directory cannot be read",
        "watching directory",
    ]


async def test_a_fault_of_the_watch_reaches_who_runs_it(directory: Path) -> None:
    class Faulty(Processes):
        def find_process(self, pid: str) -> Process | None:
            raise LookupError(f"a fault of {pid}")

    make(directory, "counter_1.db")
    wakeups = Wakeups()
    watcher = Watcher(str(directory), Liveness.ON, wakeups, Faulty({}))
    async with running(watcher, lambda _: False) as task:
        await asyncio.wait({task}, timeout=PROMISED + SLACK)
        with pytest.raises(LookupError, match="a fault of 1"):
            task.result()
    assert wakeups.closed


# --- Before a scrape ---


async def test_a_scrape_has_a_fresh_look(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(str(directory), Liveness.OFF)
    assert watcher.fresh().files == {}
    make(directory, "counter_1.db")
    now = time.monotonic()
    assert watcher.fresh().files == {}, "the last look is fresh enough"
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.6)
    assert list(watcher.fresh().files) == ["counter_1.db"]
    assert watcher.current is watcher.fresh()


async def test_what_a_scrape_saw_is_no_news_to_the_watch(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "exporter"):
        async with watched(directory) as it:
            await it.names()
            changes = it.changes
            make(directory, "counter_1.db")
            it.watcher.last_look = None
            assert list(it.watcher.fresh().files) == ["counter_1.db"]
            assert await it.names() == ["counter_1.db"]
            assert it.changes == changes
    assert [record.message for record in caplog.records] == ["watching directory"]


async def test_it_hurries_where_it_is_told_to(directory: Path) -> None:
    async with watched(directory) as it:
        await it.names()
        it.hurry = True
        await it.names()
        assert it._wakeups.waited_for[-1] == (it.watcher.current, True)
        it.hurry = False
        await it.names()
        assert it._wakeups.waited_for[-1] == (it.watcher.current, False)


# --- Waking up, for real ---


class Real:
    """A running watcher that is woken as in production."""

    def __init__(self, directory: Path, liveness: Liveness) -> None:
        self.watcher = Watcher(str(directory), liveness)
        self._change = asyncio.Event()

    def looked(self, _changed: bool) -> bool:  # noqa: FBT001 - as the watcher calls it
        self._change.set()
        return False

    async def until(self, condition: Callable[[], bool], within: float = PROMISED + SLACK) -> None:
        """Wait for changes until one makes the condition true."""
        async with asyncio.timeout(within):
            while not condition():
                self._change.clear()
                await self._change.wait()

    def has(self, *names: str) -> Callable[[], bool]:
        return lambda: tuple(sorted(self.watcher.current.files)) == names

    def listed(self) -> bool:
        return self.watcher.current.listing is not None


@asynccontextmanager
async def really_watched(directory: Path, liveness: Liveness = Liveness.OFF) -> AsyncIterator[Real]:
    it = Real(directory, liveness)
    async with running(it.watcher, it.looked):
        yield it


async def test_a_new_file_is_picked_up_within_a_second(directory: Path) -> None:
    async with really_watched(directory) as it:
        await it.until(it.listed)
        make(directory, "counter_1.db")
        await it.until(it.has("counter_1.db"))
        (directory / "counter_1.db").rename(directory / "counter_2.db")
        await it.until(it.has("counter_2.db"))


async def test_an_event_alone_is_enough(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_TICK", 3600)
    async with really_watched(directory) as it:
        await it.until(it.listed)
        for number in range(1, 20):  # the first may come before anybody listens
            make(directory, f"counter_{number}.db")
            with suppress(TimeoutError):
                await it.until(it.has(*names_in(directory)), within=0.5)
                break
        else:
            pytest.fail("no event came")


@pytest.mark.parametrize("error", [OSError("no space for a watch"), RuntimeError("too many instances")])
async def test_without_inotify_the_ticks_alone_will_do(
    directory: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: object, **__: object) -> AsyncIterator[None]:
        raise error
        yield

    monkeypatch.setattr(watch, "awatch", fail)
    monkeypatch.setattr(watch, "_TICK", 0.5)
    async with really_watched(directory) as it:
        await it.until(it.listed)
        make(directory, "counter_1.db")
        await it.until(it.has("counter_1.db"))


async def test_where_many_directories_are_watched_another_has_the_ticks(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[object] = []
    monkeypatch.setattr(watch, "awatch", lambda *_, **__: watched.append(_))
    monkeypatch.setattr(watch, "_watches", asyncio.Semaphore(0))
    monkeypatch.setattr(watch, "_TICK", 0.2)
    async with really_watched(directory) as it:
        await it.until(it.listed)
        make(directory, "counter_1.db")
        await it.until(it.has("counter_1.db"))
    assert not watched


async def test_a_directory_that_appears_is_picked_up_within_a_second(directory: Path) -> None:
    shutil.rmtree(directory)
    async with really_watched(directory) as it:
        await it.until(lambda: bool(it.watcher.current.problem))
        make(directory, "counter_1.db")
        await it.until(it.has("counter_1.db"))


async def test_a_directory_removed_and_made_again_is_picked_up_within_a_second(directory: Path) -> None:
    async with really_watched(directory) as it:
        await it.until(it.listed)
        for number in (1, 2):
            shutil.rmtree(directory)
            make(directory, f"counter_{number}.db")
            await it.until(it.has(f"counter_{number}.db"))
            make(directory, f"gauge_all_{number}.db")
            await it.until(it.has(f"counter_{number}.db", f"gauge_all_{number}.db"))


async def test_a_directory_renamed_into_place_is_watched_as_the_first_was(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches: list[str] = []

    def watch_and_count(path: str, **options: Any) -> AsyncIterator[object]:
        watches.append(path)
        return awatch(path, **options)

    monkeypatch.setattr(watch, "awatch", watch_and_count)
    other = make(directory.with_name("other"), "counter_1.db")
    async with really_watched(directory) as it:
        await it.until(it.listed)
        put_in_place(directory, other)
        await it.until(it.has("counter_1.db"))
        make(directory, "counter_2.db")
        await it.until(it.has("counter_1.db", "counter_2.db"))
    assert len(watches) > 1, "a watch of the first directory hears nothing of the second"


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_death_is_seen_at_once_or_at_the_next_tick(
    directory: Path, monkeypatch: pytest.MonkeyPatch, *, is_told: bool
) -> None:
    def refuse(_pid: int) -> int:
        raise PermissionError

    if not is_told:
        monkeypatch.setattr(os, "pidfd_open", refuse)
        monkeypatch.setattr(watch, "_BLIND_TICK", 0.3)
    monkeypatch.setattr(watch, "_TICK", 3600)
    monkeypatch.setattr(watch, "_EVENT_STEP", 50)
    with writers(directory, 2) as processes:
        for process in processes:
            await asyncio.to_thread(process.add, "c")
        async with really_watched(directory, Liveness.ON) as it:
            for process, up in zip(processes, (True, False), strict=True):
                await it.until(lambda: set(it.watcher.current.living) >= {str(process.pid)})  # noqa: B023 - at once
                await asyncio.to_thread(process.kill)
                await it.until(lambda: it.watcher.current.worker_up is up)  # noqa: B023 - as above
                await it.until(lambda: str(process.pid) not in it.watcher.current.living)  # noqa: B023 - as above


async def test_no_descriptor_is_left_when_processes_are_watched_no_more(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    pidfd_open = os.pidfd_open

    def noted(pid: int) -> int:
        opened.append(pidfd_open(pid))
        return opened[-1]

    monkeypatch.setattr(os, "pidfd_open", noted)
    waker = watch.EventsAndTicks()
    alone = FileSet(str(directory), listing=list_directory(str(directory)))
    me = replace(alone, writers={str(os.getpid()): Writer(State.LIVE)})
    for files, count in ((me, 1), (me, 1), (alone, 1), (me, 2)):
        await waker.wait(files, hurry=True)
        assert len(opened) == count
    waker.close()
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


async def test_a_process_that_ended_before_it_is_watched_is_seen_at_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_TICK", 3600)
    files = FileSet(
        str(directory), listing=list_directory(str(directory)), writers={"4194999": Writer(State.LIVE)}
    )
    waker = watch.EventsAndTicks()
    async with asyncio.timeout(SLACK):
        await waker.wait(files, hurry=False)
    waker.close()


@pytest.mark.parametrize("exists", [True, False])
async def test_it_ends_at_once_when_cancelled(directory: Path, *, exists: bool) -> None:
    if not exists:
        shutil.rmtree(directory)
    async with really_watched(directory) as it:
        await it.until(lambda: it.listed() or bool(it.watcher.current.problem))
        start = time.monotonic()
    assert time.monotonic() - start < 0.5
