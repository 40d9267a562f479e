"""Refused files, which cannot be read as they are, and when to look at each of them again.

Refused files are closed. A look is cheap, and an update makes as many as fit into a fixed span of time, so that ten
thousand refused files do not hold up a scrape.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from exporter.multiproc.dbfile import Fingerprint, fingerprint
from exporter.multiproc.faults import Fault
from exporter.multiproc.fileset import File

SPAN = 0.003
"""Seconds that the looks of one update may take."""

_SHORTEST_WAIT = 0.05
_LONGEST_WAIT = 4.0
"""Seconds between two looks at a refused file: few for a new file, which its writer may be about to set up."""


@dataclass(eq=False, slots=True)
class _Refused:
    file: File
    fault: Fault
    since: float
    seen: Fingerprint | None
    """The file's fingerprint before its last read; None if it would not tell whether the file changed since."""


class Refusals:
    """The refused files, by name."""

    def __init__(self, directory: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._refused: dict[str, _Refused] = {}
        self._queue: list[tuple[float, int, _Refused]] = []
        """A heap of (when to look, number, refused file), with some files that are refused no longer."""
        self._number = count()

    @property
    def faults(self) -> Mapping[str, Fault]:
        """Why files are refused, by name."""
        return {name: refused.fault for name, refused in self._refused.items()}

    @property
    def overdue(self) -> bool:
        """Whether looks are due for which the last update had no time."""
        return bool(self._queue) and self._queue[0][0] <= self._clock()

    def refuse(self, file: File, fault: Fault, seen: Fingerprint | None = None) -> bool:
        """Refuse a file, whose fingerprint was `seen` before it was read; return whether the fault is new."""
        before = self._refused.get(file.name)
        now = self._clock()
        since = before.since if before else now
        refused = self._refused[file.name] = _Refused(file, fault, since, seen)
        self._put_off(refused, now)
        return before is None or before.fault != fault

    def accept(self, name: str) -> None:
        """Forget a file that could be read now, or is gone."""
        self._refused.pop(name, None)

    def due(self) -> Iterator[tuple[File, Fingerprint | None]]:
        """Yield due files that may have changed, with their fingerprints: to be read now, and accepted or refused."""
        now = self._clock()
        end = time.perf_counter() + SPAN
        while self._queue and self._queue[0][0] <= now and time.perf_counter() < end:
            refused = heappop(self._queue)[2]
            file = refused.file
            if self._refused.get(file.name) is not refused:
                continue
            try:
                seen = fingerprint(f"{self._directory}/{file.name}", file.identity)
            except FileNotFoundError:  # the file went, or was replaced: the next file set will tell
                seen = refused.seen
            if seen is not None and seen == refused.seen:
                self._put_off(refused, now)
            else:
                yield file, seen
                if self._refused.get(file.name) is refused:  # neither accepted nor refused: the file went
                    self._put_off(refused, now)

    def _put_off(self, refused: _Refused, now: float) -> None:
        wait = min(max(now - refused.since, _SHORTEST_WAIT), _LONGEST_WAIT)
        heappush(self._queue, (now + wait, next(self._number), refused))
