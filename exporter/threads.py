"""Blocking work beside the event loop, in threads that cannot keep the process when a disk hangs."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar, cast

T = TypeVar("T")


class DaemonThread:
    """A thread that does one piece of work after another.

    An executor's threads are waited for at the end of the loop and of the process; this one is not.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        # What nobody waits for any more when its turn comes is not done.
        self.submit(lambda: cast("T", None) if result.done() else work(), partial(settle, result))
        return await result

    def submit(self, work: Callable[[], T], then: Callable[[T | None, BaseException | None], None]) -> None:
        """Have work done; then call `then` in the event loop, with what it returned or with what it raised."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            outcome: tuple[T | None, BaseException | None]
            try:
                outcome = work(), None
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
                outcome = None, error
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(then, *outcome)

        self._work.put(run)

    def _run(self) -> None:
        while True:
            self._work.get()()


_idle: list[DaemonThread] = []


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, called in a thread that has nothing else to do."""
    thread = _idle.pop() if _idle else DaemonThread()

    def work_and_rest() -> T:
        try:
            return work()
        finally:
            _idle.append(thread)

    return await thread.run(work_and_rest)


def settle(result: "asyncio.Future[T]", value: T | None, error: BaseException | None) -> None:
    """Give a future its value or error, unless who waited for it has been cancelled."""
    if result.done():
        return
    if error is None:
        result.set_result(cast("T", value))
    else:
        result.set_exception(error)
