import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from exporter.discovery.finder import Finder
from exporter.discovery.proc import Proc
from exporter.discovery.visits import GivenUpError, Visit, Visits
from exporter.worker.looks import Looks

PATIENCE = 0.05


class Written:
    """A /proc in files of the test. Who reads the command line of a hanging process waits for a writer of its FIFO."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pid: int, start_ticks: int = 100, *, hangs: bool = False) -> None:
        here = self.path / str(pid)
        here.mkdir()
        (here / "stat").write_text(f"{pid} (python) S 1 1 1 0 -1 0{' 0' * 12} {start_ticks} 0\n")
        (here / "status").write_text(f"Name:\tpython\nUid:\t7\t7\t7\t7\nCapPrm:\t0\nNSpid:\t{pid}\n")
        if hangs:
            os.mkfifo(here / "cmdline")
        else:
            (here / "cmdline").write_text("python\0app.py\0")

    def remove(self, pid: int) -> None:
        here = self.path / str(pid)
        for file in here.iterdir():
            file.unlink()
        here.rmdir()

    def free(self, pid: int) -> None:
        """Have those that wait for the command line read an empty one."""
        (self.path / str(pid) / "cmdline").write_text("")


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


class Time:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Commands(dict[int, tuple[str, ...]]):
    """What a look comes to: the command lines of all processes."""

    def close(self) -> None:
        """Close nothing."""


def commands(finder: Finder) -> Commands:
    return Commands({pid: one.command for pid, one in finder.processes.items()})


async def eventually(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not done():  # noqa: ASYNC110 - what other threads do is polled
            await asyncio.sleep(0.005)


async def test_a_process_that_makes_a_look_hang_is_avoided_while_it_does(
    written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Time()
    looks = Looks(lambda visits: Finder(Proc(str(written.path)), clock, visits=visits), PATIENCE, clock)
    written.add(6, hangs=True)
    written.add(7)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number
    assert await looks.look(commands) is None
    assert [record.getMessage() for record in caplog.records] == [
        "a process makes discovery hang; it is not looked into while it does"
    ]
    for _ in range(3):
        clock.now += 1000
        assert await looks.look(commands) == {6: (), 7: ("python", "app.py")}
    assert looks.finder.findings.denied == {7: 1}
    written.free(6)
    await eventually(lambda: not looks._given_up)
    (written.path / "6" / "cmdline").unlink()
    (written.path / "6" / "cmdline").write_text("python\0other.py\0")
    assert await looks.look(commands) == {6: (), 7: ("python", "app.py")}, "not at once"
    clock.now += 61
    await looks.look(commands)
    clock.now += 2
    assert await looks.look(commands) == {6: ("python", "other.py"), 7: ("python", "app.py")}
    assert looks.finder.findings.denied == {}
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a number


async def test_a_later_process_of_the_same_pid_is_looked_into(written: Written) -> None:
    looks = Looks(lambda visits: Finder(Proc(str(written.path)), visits=visits), PATIENCE)
    written.add(6, hangs=True)
    assert await looks.look(commands) is None
    assert await looks.look(commands) == {6: ()}
    written.free(6)
    await eventually(lambda: not looks._given_up)
    written.remove(6)
    written.add(6, start_ticks=101)
    assert await looks.look(commands) == {6: ("python", "app.py")}


class Opened:
    """A descriptor that a look has opened."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def close(self) -> None:
        os.close(self.descriptor)


async def test_what_a_look_opens_too_late_is_closed(written: Written) -> None:
    looks = Looks(lambda visits: Finder(Proc(str(written.path)), visits=visits), PATIENCE)
    written.add(7)
    os.mkfifo(written.path / "fifo")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number

    def opens(finder: Finder) -> Opened:
        finder.visit(7)
        return Opened(written.path / "fifo")

    assert await looks.look(opens) is None
    (written.path / "fifo").write_text("")
    await eventually(lambda: not looks._given_up)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a number


class Glanced(Visits):
    """Visits that count how often the one who waits sees where they are."""

    def __init__(self, avoided: set[Visit]) -> None:
        self.glances = threading.Semaphore(0)
        self.seen = 0
        super().__init__(avoided)

    @property
    def at(self) -> Visit | None:
        if threading.current_thread() is threading.main_thread():
            self.seen += 1
            self.glances.release()
        return self._at

    @at.setter
    def at(self, visit: Visit | None) -> None:
        self._at = visit


class Slow:
    """A finder that stays in each visit for as long as `wait` lets it."""

    def __init__(self, visits: Visits, wait: Callable[[Visits], object], count: int = 1) -> None:
        self.visits = Glanced(cast("set[Visit]", visits._avoided))
        self.processes: dict[int, object] = {}
        self._wait = wait
        self._count = count

    def look(self) -> None:
        for pid in range(self._count):
            if self.visits.enter(pid, 100):
                self._wait(self.visits)
        self.visits.leave()

    def lives(self, _visit: Visit) -> bool:
        return True


async def test_a_look_that_goes_on_may_take_long() -> None:
    """Each visit lasts for a fifth of the patience, all together for four times as long as that."""

    def wait(visits: Visits) -> None:
        for _ in range(2):
            cast("Glanced", visits).glances.acquire()

    looks = Looks(lambda visits: cast("Finder", Slow(visits, wait, count=20)), PATIENCE)
    assert await looks.look(lambda _: Commands()) == {}
    assert cast("Slow", looks.finder).visits.seen >= 40


async def test_more_looks_than_may_hang_are_waited_for() -> None:
    """Each keeps a thread."""
    free = threading.Event()
    count = 0

    def make(visits: Visits) -> Finder:
        nonlocal count
        count += 1
        return cast("Finder", Slow(visits, lambda _: free.wait(), count))

    looks = Looks(make, PATIENCE / 5)
    try:
        for _ in range(16):
            assert await looks.look(lambda _: Commands()) is None
        last = asyncio.create_task(looks.look(lambda _: Commands()))
        await eventually(lambda: cast("Slow", looks.finder).visits.seen > 30)
        assert not last.done()
    finally:
        free.set()
    assert await last == {}
    await eventually(lambda: not looks._given_up)


async def test_a_look_that_nobody_waits_for_is_given_up() -> None:
    free = threading.Event()
    looks = Looks(lambda visits: cast("Finder", Slow(visits, lambda _: free.wait())))
    before = cast("Slow", looks.finder)
    look = asyncio.create_task(looks.look(lambda _: Commands()))
    await eventually(lambda: before.visits._at is not None)
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    assert looks.finder is not cast("Finder", before)
    free.set()
    await eventually(lambda: not looks._given_up)
    with pytest.raises(GivenUpError):
        before.visits.leave()
    assert await looks.look(lambda _: Commands()) == {}, "nobody is to blame"
