"""Blocking work beside the event loop, in threads that cannot keep the process when a disk hangs."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, called in a thread of its own.

    An executor's threads are waited for at the end of the loop and of the process; this one is not.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        report: Callable[[], None]
        try:
            report = partial(result.set_result, work())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who waits
            report = partial(result.set_exception, error)
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(_unless_done, result, report)

    threading.Thread(target=run, daemon=True).start()
    return await result


def _unless_done(result: "asyncio.Future[T]", report: Callable[[], None]) -> None:
    if not result.done():  # who waited may have been cancelled
        report()
