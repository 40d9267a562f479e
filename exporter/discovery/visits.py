"""Which process a look is visiting, and which ones made looks hang: pure decisions, told across threads.

By a file system of its own, a process can make whoever reads its command line or opens its directory wait without end.
Who waits for a look sees at which process it stands, gives it up, and has the process avoided by the looks after it.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

_FIRST_PAUSE = 60.0
"""Seconds for which a process is avoided after the look that it delayed has ended at last."""

_GROWTH = 4
"""How many times as long each pause is as the one before, for a process that delays looks again and again."""

_LONGEST_PAUSE = 86400.0


class Visit(NamedTuple):
    """A process that is looked into. Each visit is an object of its own, even one more of the same process."""

    pid: int
    start_ticks: int
    """The start of the process, which tells it from a later one of the same pid."""


class GivenUpError(BaseException):
    """Nobody waits for this look any more. No `Exception`, so that nothing but the end of the look handles it."""


class Visits:
    """The visits of one finder: its thread makes them, the one that waits for its looks watches and ends them."""

    def __init__(self, avoided: Collection[Visit] = ()) -> None:
        """Look into no process that is `avoided`; who waits may change these at any time."""
        self.at: Visit | None = None
        """The present visit; None while nothing is read that a process could delay."""
        self._avoided = avoided
        self._is_given_up = False

    def enter(self, pid: int, start_ticks: int) -> bool:
        """Begin a visit, and return True; False if the process is avoided. GivenUpError if the look is given up."""
        self.leave()
        visit = Visit(pid, start_ticks)
        if visit in self._avoided:
            return False
        self.at = visit
        return True

    def leave(self) -> None:
        """End the present visit; GivenUpError if the look is given up."""
        if self._is_given_up:
            raise GivenUpError
        self.at = None

    def give_up(self) -> None:
        """Have the look end at the end of its present visit."""
        self._is_given_up = True


@dataclass(slots=True)
class _Delay:
    """How long a process is avoided."""

    pause: float = _FIRST_PAUSE / _GROWTH
    until: float = math.inf


class Hanging:
    """Processes that made looks hang. Each is avoided until its look has ended, and for a while after that."""

    def __init__(self) -> None:
        self.avoided: set[Visit] = set()
        """The processes that are avoided now; the same object at all times."""
        self._delays: dict[Visit, _Delay] = {}

    def note_hang(self, visit: Visit) -> None:
        """Avoid a process at which a look hangs."""
        delay = self._delays.setdefault(visit, _Delay())
        delay.pause = min(_GROWTH * delay.pause, _LONGEST_PAUSE)
        delay.until = math.inf
        self.avoided.add(visit)

    def note_end(self, visit: Visit, now: float) -> None:
        """Note that a look that hung at a process has ended at last."""
        if visit in self._delays:
            self._delays[visit].until = now + self._delays[visit].pause

    def review(self, lives: Callable[[Visit], bool], now: float) -> None:
        """Forget processes that do not live any more, and no longer avoid those whose time has come."""
        for visit in [*self._delays]:
            if not lives(visit):
                del self._delays[visit]
        self.avoided &= {visit for visit, delay in self._delays.items() if now < delay.until}
