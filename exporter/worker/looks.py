"""Looks of discovery beside the event loop, given up where a process makes them hang."""

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from exporter.discovery.finder import Finder
from exporter.logs import fields
from exporter.threads import in_thread

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds after which a look is given up. A file system of a container's own can delay it without end."""

_logger = logging.getLogger(__name__)


class Looks:
    """One look at a time."""

    def __init__(self, make: Callable[[Collection[int]], Finder], patience: float = _PATIENCE) -> None:
        """`make` makes a finder that does not look into processes of these pids."""
        self._make = make
        self._patience = patience
        self._avoided: set[int] = set()
        self._lock = asyncio.Lock()
        self.finder = make(())

    async def look(self, then: Callable[[Finder], T]) -> T | None:
        """Look, and return what `then` makes of the finder, all in one thread; None if that hangs."""
        async with self._lock:
            finder = self.finder
            try:
                async with asyncio.timeout(self._patience):
                    return await in_thread(partial(_look, finder, then))
            except TimeoutError:
                if finder.at is not None:
                    self._avoided.add(finder.at)
                _logger.warning(
                    "a process makes discovery hang, and is not looked into any more",
                    extra=fields(pid=finder.at, seconds=self._patience),
                )
                self.finder = self._make(self._avoided)
                return None


def _look(finder: Finder, then: Callable[[Finder], T]) -> T:
    finder.look()
    return then(finder)
