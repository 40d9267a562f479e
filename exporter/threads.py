"""Blocking work beside the event loop, in threads that cannot keep the process when a disk hangs."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class _Thread:
    """A thread that does one piece of work after another."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def do(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def _run(self) -> None:
        while True:
            self._work.get()()


_idle: list[_Thread] = []


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, called in a thread that has nothing else to do.

    An executor's threads are waited for at the end of the loop and of the process; these are not. They are used again,
    for each thread has memory of its own.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    thread = _idle.pop() if _idle else _Thread()

    def run() -> None:
        report: Callable[[], None]
        try:
            report = partial(result.set_result, work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            report = partial(result.set_exception, error)
        _idle.append(thread)
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(_unless_done, result, report)

    thread.do(run)
    return await result


def _unless_done(result: "asyncio.Future[T]", report: Callable[[], None]) -> None:
    if not result.done():  # who waited may have been cancelled
        report()
