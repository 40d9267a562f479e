"""Blocking work beside the event loop, in threads that cannot keep the process when a disk hangs."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class DaemonThread:
    """A thread that does one piece of work after another.

    An executor's threads are waited for at the end of the loop and of the process; this one is not.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def run(self, work: Callable[[], T], when_done: Callable[[], None] | None = None) -> T:
        """Return what `work` returns, or raise what it raises; call `when_done` in the thread, wait or no wait."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def run() -> None:
            report: Callable[[], None]
            try:
                report = partial(result.set_result, work())
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
                report = partial(result.set_exception, error)
            if when_done:
                when_done()
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(_unless_done, result, report)

        self._work.put(run)
        return await result

    def _run(self) -> None:
        while True:
            self._work.get()()


_idle: list[DaemonThread] = []


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, called in a thread that has nothing else to do."""
    thread = _idle.pop() if _idle else DaemonThread()
    return await thread.run(work, when_done=partial(_idle.append, thread))


def _unless_done(result: "asyncio.Future[T]", report: Callable[[], None]) -> None:
    if not result.done():  # who waited may have been cancelled
        report()
