"""Requests that wait for the same work share its result; work that has begun takes no further requests.

So no result is older than its request, and however many requests come at once, the work is done at most twice.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

B = TypeVar("B")


class Coalescer(Generic[B]):
    """Collects requests in a batch, and begins the batch's work when the previous batch's has ended."""

    def __init__(self, make: Callable[[], B], begin: Callable[[B], None]) -> None:
        """`make` makes an empty batch; `begin` begins the work of a batch. Call `done` when that work has ended."""
        self._make = make
        self._begin = begin
        self._waiting: B | None = None
        self._busy = False

    def join(self) -> B:
        """Return the batch whose work begins next."""
        if self._waiting is None:
            self._waiting = self._make()
            asyncio.get_running_loop().call_soon(self._next)  # later: more requests may be ready now
        return self._waiting

    def done(self) -> None:
        """Note that the running work has ended; begin the next."""
        self._busy = False
        self._next()

    def _next(self) -> None:
        if self._waiting is not None and not self._busy:
            batch, self._waiting = self._waiting, None  # from here on, `join` makes a new batch
            self._busy = True
            self._begin(batch)
