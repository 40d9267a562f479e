"""Requests that wait for the same work share it; work that has begun takes nobody else on.

So no answer is older than its question, and however many ask at once, the work is done at most twice.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

B = TypeVar("B")


class Coalescer(Generic[B]):
    """Hands out the batch of the next work, and begins that when the work before it has ended."""

    def __init__(self, make: Callable[[], B], begin: Callable[[B], None]) -> None:
        """Let `make` make an empty batch, and `begin` begin the work of one, at whose end `done` is to be called."""
        self._make = make
        self._begin = begin
        self._waiting: B | None = None
        self._busy = False

    def join(self) -> B:
        """Return the batch of the next work."""
        if self._waiting is None:
            self._waiting = self._make()
            asyncio.get_running_loop().call_soon(self._next)  # not at once: others may be about to ask, too
        return self._waiting

    def done(self) -> None:
        """Go on: the work has ended."""
        self._busy = False
        self._next()

    def _next(self) -> None:
        if self._waiting is not None and not self._busy:
            batch, self._waiting = self._waiting, None  # closed: nobody joins work that has begun
            self._busy = True
            self._begin(batch)
