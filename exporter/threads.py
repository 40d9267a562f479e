"""Blocking work in daemon threads: one that hangs on a disk does not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TypeVar, cast

T = TypeVar("T")


class DaemonThread:
    """A daemon thread that runs pieces of work one after another.

    asyncio and the interpreter wait for an executor's threads at their end; they do not wait for this one.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, or raise what it raises. If the caller is cancelled first, it is skipped."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.submit(lambda: None if result.done() else work(), partial(settle, result))
        return await result

    def submit(self, work: Callable[[], T], then: Callable[[T | None, BaseException | None], None]) -> None:
        """Queue work; afterwards, call `then` in the event loop with the result or the exception of `work`."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            outcome = outcome_of(work)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(then, *outcome)

        self.put(run)

    def put(self, work: Callable[[], object]) -> None:
        """Queue work that raises nothing, and whose result nobody waits for; any thread may call this."""
        self._work.put(work)

    def end(self) -> None:
        """End the thread after the work that is queued."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


_idle: list[DaemonThread] = []


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in an idle thread, a new one if need be; return its result, or raise its exception."""
    thread = _idle.pop() if _idle else DaemonThread()
    result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def work_and_rest() -> T:
        try:
            return work()
        finally:
            _idle.append(thread)

    thread.submit(
        work_and_rest, partial(settle, result)
    )  # also for a caller that is cancelled: the thread must rest
    return await result


def outcome_of(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return what `work` returns and None, or None and what it raises."""
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - passed on to those who wait
        return None, error


def settle(result: "asyncio.Future[T]", value: T | None, error: BaseException | None) -> None:
    """Set a future's result or exception, unless it is done: its waiter may have been cancelled."""
    if result.done():
        return
    if error is None:
        result.set_result(cast("T", value))
    else:
        result.set_exception(error)
