"""The reads of one worker's files: those who ask before a read begins share it; later ones get the next."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Protocol, TypeAlias

from exporter.errors import ScrapeError
from exporter.threads import DaemonThread, outcome_of, settle

Then: TypeAlias = Callable[[BaseException | None], object]
"""Called after a read with its error, None if it succeeded, in the reading thread."""


class Readable(Protocol):
    """Something that is read when asked."""

    def ask(self, then: Then) -> None:
        """Have a read begin after this call, and call `then` after it."""

    def withdraw(self, then: Then) -> None:
        """Do not call `then`, unless its read has begun."""


async def asked(readable: Readable) -> None:
    """Have a read begin after this call, and wait until it has ended; an error is ignored."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def then(_: BaseException | None) -> None:
        loop.call_soon_threadsafe(settle, done, None, None)

    readable.ask(then)
    try:
        await done
    finally:
        readable.withdraw(then)


@cache
def _shared_thread() -> DaemonThread:
    return DaemonThread()


class Reads:
    """Reads in a thread of its own, one read at a time. A read that hangs holds up nobody but those who wait for it."""

    def __init__(self, read: Callable[[], None]) -> None:
        self.busy_since: float | None = None
        """When the running read began, in seconds of the monotonic clock; None if none is running."""
        self._read = read
        self._thread = DaemonThread()
        self._lock = threading.Lock()
        self._waiting: list[Then] = []
        self._is_queued = False
        self._is_ended = False

    def ask(self, then: Then | None = None) -> None:
        """Have a read begin after this call, and call `then` after it; at once, with an error, after the end.

        Any thread may ask.
        """
        with self._lock:
            is_ended = self._is_ended
            if then and not is_ended:
                self._waiting.append(then)
            is_queued, self._is_queued = self._is_queued, True
            thread = self._thread
        if is_ended:
            if then:
                then(ScrapeError("the worker is no longer served"))
        elif not is_queued:  # without the lock, which the thread needs at once
            thread.put(self._run)

    def withdraw(self, then: Then) -> None:
        """Do not call `then`, unless its read has begun."""
        with self._lock:
            if then in self._waiting:
                self._waiting.remove(then)

    def rest(self, last: Callable[[], object]) -> None:
        """Do `last`, and end the thread, after the reads that were asked for.

        Later ones, which must find nothing to read any more, share a thread with those of all others that rest.
        """
        with self._lock:
            self._thread.put(last)
            self._thread.put(self._move)

    def end(self, last: Callable[[], object]) -> None:
        """Do `last`, and end the thread, after the reads that were asked for."""
        with self._lock:
            self._is_ended = True
            self._thread.put(last)
            if self._thread is not _shared_thread():
                self._thread.end()

    def _move(self) -> None:
        """Leave the thread for the shared one, once no read is queued in it."""
        with self._lock:
            thread, is_queued = self._thread, self._is_queued
            if not is_queued:
                self._thread = _shared_thread()
        if is_queued:
            thread.put(self._move)
        elif thread is not _shared_thread():
            thread.end()

    def _run(self) -> None:
        self.busy_since = time.monotonic()
        with self._lock:  # from here on, who asks gets the next read
            waiting, self._waiting = self._waiting, []
            self._is_queued = False
        _, error = outcome_of(self._read)
        self.busy_since = None
        for then in waiting:
            then(error)
