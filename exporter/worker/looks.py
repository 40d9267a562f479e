"""Looks of discovery beside the event loop, given up where a process makes them hang."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from exporter.discovery.finder import Finder
from exporter.discovery.visits import Hanging, Visit, Visits
from exporter.logs import fields
from exporter.threads import in_thread

_PATIENCE = 10.0
"""Seconds of one visit after which the look is given up. However many processes it visits, a look may go on."""

_GLANCES = 10
"""How often in that time it is seen where the look is: of a time in which we were stopped, one glance counts."""

_MOST_HANGING = 16
"""Looks that hang at a time; each keeps a thread. One more is not given up, but waited for."""

_logger = logging.getLogger(__name__)


class Result(Protocol):
    """What a look leads to."""

    def close(self) -> None:
        """Close what it holds open, as nobody waits for it any more."""


R = TypeVar("R", bound=Result)


class Looks:
    """One look at a time."""

    def __init__(
        self,
        make: Callable[[Visits], Finder],
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make` makes a finder with these visits. `patience` and `clock` are in seconds."""
        self._make = make
        self._patience = patience
        self._clock = clock
        self._lock = asyncio.Lock()
        self._hanging = Hanging()
        self._given_up: set[asyncio.Task[Result]] = set()
        self.finder = make(Visits(self._hanging.avoided))

    async def look(self, then: Callable[[Finder], R]) -> R | None:
        """Look, and return what `then` makes of the finder, all in one thread; None if that hangs."""
        async with self._lock:
            finder = self.finder
            looking = asyncio.ensure_future(in_thread(partial(_look, finder, then)))
            try:
                visit = await self._hangs_at(looking, finder.visits)
            except asyncio.CancelledError:
                self._give_up(looking)
                raise
            if visit is None:
                self._hanging.review(finder.lives, self._clock())
                return looking.result()
            _logger.warning(
                "a process makes discovery hang; it is not looked into while it does",
                extra=fields(pid=visit.pid, seconds=self._patience),
            )
            self._give_up(looking, visit)
            return None

    async def _hangs_at(self, looking: "asyncio.Task[R]", visits: Visits) -> Visit | None:
        """Return None once a look has ended, or the visit at which it hangs."""
        at, glances = None, 0
        while True:
            done, _ = await asyncio.wait((looking,), timeout=self._patience / _GLANCES)
            if done:
                return None
            glances = glances + 1 if visits.at is at else 0
            at = visits.at
            if at is not None and glances >= _GLANCES and len(self._given_up) < _MOST_HANGING:
                return at

    def _give_up(self, looking: "asyncio.Task[R]", visit: Visit | None = None) -> None:
        """Leave a look alone: have it end when it can, avoid the process at which it hangs, and close its result."""
        self.finder.visits.give_up()
        if visit:
            self._hanging.note_hang(visit)
        self._given_up.add(looking)
        looking.add_done_callback(partial(self._note_end, visit))
        self.finder = self._make(Visits(self._hanging.avoided))

    def _note_end(self, visit: Visit | None, looking: "asyncio.Task[R]") -> None:
        self._given_up.discard(looking)
        if visit:
            self._hanging.note_end(visit, self._clock())
        if not looking.cancelled() and looking.exception() is None:
            looking.result().close()


def _look(finder: Finder, then: Callable[[Finder], R]) -> R:
    finder.look()
    return then(finder)
