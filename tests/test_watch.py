"""The watch: what it looks at when it is woken, and that it is woken."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from watchfiles import awatch

from exporter import watch
from exporter.multiproc.fileset import Listing, Liveness, State, list_directory
from exporter.multiproc.processes import Process
from exporter.watch import Watcher

PROMISED = 1.0
"""Seconds within which a change is picked up."""
SLACK = 1.0
"""Seconds that a busy machine may add."""


class Wakeups:
    """Wakes a watcher when the test says so."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, _watcher: Watcher) -> AsyncIterator[None]:
        while True:
            await self._queue.get()
            yield
            self._queue.task_done()

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
        self._wakeups = wakeups

    def changed(self) -> None:
        self.changes += 1

    async def names(self) -> list[str]:
        """Look; return the names of the files that count."""
        await self._wakeups.wake()
        return [file.name for file in self.watcher.current.files]


@asynccontextmanager
async def watched(
    directory: Path,
    liveness: Liveness = Liveness.OFF,
    find: Callable[[str], Process | None] = lambda _: None,
) -> AsyncIterator[Watched]:
    wakeups = Wakeups()
    it = Watched(Watcher(str(directory), liveness, wakeups, find), wakeups)
    async with running(it.watcher, it.changed):
        yield it


@asynccontextmanager
async def running(watcher: Watcher, on_change: Callable[[], None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a watcher; with the block it is cancelled, and has to end at once."""
    task = asyncio.create_task(watcher.run(on_change))
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
        assert it.watcher.current.removed == {"counter_1.db"}
        make(directory, "counter_1.db")
        assert await it.names() == ["counter_1.db", "counter_2.db"]
        assert it.watcher.current.removed == frozenset()
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
        assert it.watcher.current.removed == frozenset()


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
        assert it.watcher.current.removed == frozenset()
        make(directory, "counter_2.db")
        assert await it.names() == ["counter_2.db"]
        assert it.watcher.current.epoch == 1


# --- Listing only when there may be something new ---


@pytest.fixture(name="listings")
def _listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list that grows by a path with each real listing."""
    listings: list[str] = []

    def list_and_count(path: str) -> Listing:
        listings.append(path)
        return list_directory(path)

    monkeypatch.setattr(watch, "list_directory", list_and_count)
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
        monkeypatch.setattr(time, "time", lambda: now + watch._RELIST)
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


class Processes:
    """Stands in for /proc."""

    def __init__(self, *pids: str) -> None:
        self.alive = {pid: Process(pid, 1, 0.0) for pid in pids}

    def find(self, pid: str) -> Process | None:
        return self.alive.get(pid)


async def test_a_writer_that_dies_is_a_change(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(directory, "counter_1.db")
    processes = Processes("1")
    with caplog.at_level(logging.INFO, "exporter"):
        async with watched(directory, Liveness.ON, processes.find) as it:
            await it.names()
            assert it.watcher.current.worker_up is True
            changes = it.changes
            processes.alive.clear()
            await it.names()
            assert it.watcher.current.worker_up is False
            assert it.changes == changes + 1
    events = [record for record in caplog.records if record.message == "worker liveness"]
    assert [vars(event)["fields"] for event in events] == [
        {"worker": "up", "processes": "1"},
        {"worker": "down", "processes": "1"},
    ]


async def test_files_that_move_without_a_process_make_liveness_unknown(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(directory, "counter_7.db")
    async with watched(directory, Liveness.AUTO, Processes().find) as it:
        await it.names()
        assert it.watcher.current.worker_up is False
        it.watcher.report_moved({"7"})
        await it.names()
        assert it.watcher.current.worker_up is None
        await it.names()
        assert it.watcher.current.writers["7"].state is State.UNKNOWN
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "treating liveness as unknown" in warning.message


async def test_what_moved_is_told_to_one_look_only(directory: Path) -> None:
    make(directory, "counter_7.db")
    processes = Processes("7")
    async with watched(directory, Liveness.ON, processes.find) as it:
        processes.alive["7"] = Process("7", 1, time.time() + 60)  # a stranger, it seems
        await it.names()
        assert it.watcher.current.worker_up is False
        it.watcher.report_moved({"7"})
        await it.names()
        assert it.watcher.current.worker_up is True, "it writes, so it is no stranger"
        processes.alive["7"] = Process("7", 2, time.time() + 60)
        await it.names()
        assert it.watcher.current.worker_up is False


async def test_in_a_pid_namespace_of_its_own_it_looks_up_no_pid(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "alone_in_pid_namespace", lambda: True)
    make(directory, "counter_1.db")
    async with watched(directory, Liveness.AUTO, Processes("1").find) as it:
        await it.names()
        assert it.watcher.current.worker_up is None
    async with watched(directory, Liveness.ON, Processes("1").find) as it:
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
        "directory taken up",
        "directory cannot be read",
        "directory taken up",
    ]


async def test_a_fault_of_the_watch_reaches_who_runs_it(directory: Path) -> None:
    def fail(_: str) -> None:
        raise LookupError("a fault")

    make(directory, "counter_1.db")
    wakeups = Wakeups()
    watcher = Watcher(str(directory), Liveness.ON, wakeups, fail)
    async with running(watcher, lambda: None) as task:
        waking = asyncio.create_task(wakeups.wake())
        await asyncio.wait({task}, timeout=PROMISED + SLACK)
        waking.cancel()
        with pytest.raises(LookupError, match="a fault"):
            task.result()


# --- Waking up, for real ---


class Real:
    """A running watcher that is woken as in production."""

    def __init__(self, directory: Path) -> None:
        self.watcher = Watcher(str(directory), Liveness.OFF)
        self._change = asyncio.Event()

    def changed(self) -> None:
        self._change.set()

    async def until(self, condition: Callable[[], bool], within: float = PROMISED + SLACK) -> None:
        """Wait for changes until one makes the condition true."""
        async with asyncio.timeout(within):
            while not condition():
                self._change.clear()
                await self._change.wait()

    def has(self, *names: str) -> Callable[[], bool]:
        return lambda: tuple(file.name for file in self.watcher.current.files) == names

    def listed(self) -> bool:
        return self.watcher.current.listing is not None


@asynccontextmanager
async def really_watched(directory: Path) -> AsyncIterator[Real]:
    it = Real(directory)
    async with running(it.watcher, it.changed):
        yield it


async def test_a_new_file_is_picked_up_within_a_second(directory: Path) -> None:
    async with really_watched(directory) as it:
        await it.until(it.listed)
        make(directory, "counter_1.db")
        await it.until(it.has("counter_1.db"))
        (directory / "counter_1.db").rename(directory / "counter_2.db")
        await it.until(it.has("counter_2.db"))


async def test_an_event_alone_is_enough(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_INTERVAL", 3600)
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
    async with really_watched(directory) as it:
        await it.until(it.listed)
        make(directory, "counter_1.db")
        await it.until(it.has("counter_1.db"))


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


@pytest.mark.parametrize("exists", [True, False])
async def test_it_ends_at_once_when_cancelled(directory: Path, *, exists: bool) -> None:
    if not exists:
        shutil.rmtree(directory)
    async with really_watched(directory) as it:
        await it.until(lambda: it.listed() or bool(it.watcher.current.problem))
        start = time.monotonic()
    assert time.monotonic() - start < 0.5
